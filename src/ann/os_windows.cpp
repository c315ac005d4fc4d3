#if defined(_WIN32)
#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
// windows.h comes before the headers that build on it.
#include <windows.h>

#include <fcntl.h>
#include <io.h>
#include <process.h>
#include <share.h>
#include <sys/stat.h>

#if defined(__x86_64__) || defined(_M_X64)
#include <cpuid.h>
#endif

#include <algorithm>
#include <cerrno>
#include <climits>

#include "os.hpp"

namespace ann::os {
namespace {

/// Set errno to the error of the last call to Windows, and return false.
bool failed() {
    switch (::GetLastError()) {
        case ERROR_FILE_NOT_FOUND:
        case ERROR_PATH_NOT_FOUND:
        case ERROR_INVALID_NAME:
            errno = ENOENT;
            break;
        case ERROR_FILE_EXISTS:
        case ERROR_ALREADY_EXISTS:
            errno = EEXIST;
            break;
        case ERROR_ACCESS_DENIED:
            errno = EACCES;
            break;
        case ERROR_SHARING_VIOLATION:
        case ERROR_USER_MAPPED_FILE:
            errno = EBUSY;
            break;
        case ERROR_LOCK_VIOLATION:
        case ERROR_IO_PENDING:
            errno = EWOULDBLOCK;
            break;
        case ERROR_DISK_FULL:
        case ERROR_HANDLE_DISK_FULL:
            errno = ENOSPC;
            break;
        case ERROR_DIR_NOT_EMPTY:
            errno = ENOTEMPTY;
            break;
        case ERROR_NOT_ENOUGH_MEMORY:
        case ERROR_COMMITMENT_LIMIT:
            errno = ENOMEM;
            break;
        default:
            errno = EIO;
    }
    return false;
}

/// Try for up to a second, because a file may be in use for a moment, for instance by a virus scanner.
template <typename Work>
bool patiently(const Work& work) {
    for (int attempt = 1;; ++attempt) {
        if (work()) return true;
        const DWORD why = ::GetLastError();
        const bool taken = why == ERROR_ACCESS_DENIED || why == ERROR_SHARING_VIOLATION;
        if (!taken || attempt == 40) return failed();
        ::Sleep(25);
    }
}

HANDLE handle_of(int file) { return reinterpret_cast<HANDLE>(::_get_osfhandle(file)); }

bool is_folder(const std::filesystem::path& path) {
    const DWORD found = ::GetFileAttributesW(path.c_str());
    return found != INVALID_FILE_ATTRIBUTES && (found & FILE_ATTRIBUTE_DIRECTORY) != 0;
}

/// Return the number of bytes that one call of the C library accepts.
unsigned some_of(std::size_t size) { return static_cast<unsigned>(std::min<std::size_t>(size, INT_MAX)); }

}  // namespace

int open(const std::string& path, Opening how) {
    const bool only_read = how == Opening::read;
    const DWORD access = only_read                ? GENERIC_READ
                         : how == Opening::lock ? GENERIC_READ | GENERIC_WRITE
                                                  : GENERIC_WRITE;
    const DWORD making = how == Opening::create ? CREATE_NEW : how == Opening::lock ? OPEN_ALWAYS : OPEN_EXISTING;
    // Other processes may delete the file while it is open, as on POSIX. Started processes do not inherit the handle.
    const DWORD sharing = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
    const std::filesystem::path name = path_of(path);
    HANDLE handle = INVALID_HANDLE_VALUE;
    const bool opened = !is_folder(name) && patiently([&] {
        handle = ::CreateFileW(name.c_str(), access, sharing, nullptr, making, FILE_ATTRIBUTE_NORMAL, nullptr);
        return handle != INVALID_HANDLE_VALUE;
    });
    if (!opened) {
        if (is_folder(name)) errno = EISDIR;
        return -1;
    }
    const int flags = _O_BINARY | (only_read ? _O_RDONLY : how == Opening::lock ? _O_RDWR : _O_WRONLY);
    const int file = ::_open_osfhandle(reinterpret_cast<std::intptr_t>(handle), flags);
    if (file < 0) ::CloseHandle(handle);
    return file;
}

bool close(int file) { return ::_close(file) == 0; }

std::optional<Status> status(int file) {
    struct _stat64 found{};
    if (::_fstat64(file, &found) != 0) return std::nullopt;
    FILETIME when{};
    if (::GetFileTime(handle_of(file), nullptr, nullptr, &when) == 0) when = {};
    const std::int64_t ticks =  // of 100 nanoseconds
        static_cast<std::int64_t>(when.dwHighDateTime) << 32 | static_cast<std::int64_t>(when.dwLowDateTime);
    return Status{(found.st_mode & _S_IFMT) == _S_IFREG, static_cast<std::size_t>(found.st_size), 1, ticks};
}

std::ptrdiff_t write(int file, std::span<const std::byte> bytes) {
    return ::_write(file, bytes.data(), some_of(bytes.size()));
}

std::ptrdiff_t write_at(int file, std::span<const std::span<const std::byte>> pieces, std::size_t at) {
    if (::_lseeki64(file, static_cast<long long>(at), SEEK_SET) < 0) return -1;
    std::ptrdiff_t done = 0;
    for (const auto& piece : pieces) {
        const std::ptrdiff_t written = write(file, piece);
        if (written < 0) return done > 0 ? done : -1;
        done += written;
        if (static_cast<std::size_t>(written) < piece.size()) break;
    }
    return done;
}

std::ptrdiff_t read_at(int file, std::span<std::byte> bytes, std::size_t at) {
    if (::_lseeki64(file, static_cast<long long>(at), SEEK_SET) < 0) return -1;
    return ::_read(file, bytes.data(), some_of(bytes.size()));
}

bool truncate(int file, std::size_t size) {
    const int why = ::_chsize_s(file, static_cast<long long>(size));
    if (why != 0) errno = why;
    return why == 0;
}

bool sync(int file) { return ::FlushFileBuffers(handle_of(file)) != 0 || failed(); }
bool sync_data(int file) { return sync(file); }
Synced sync_folder(const std::string&) { return Synced::yes; }

bool rename(const std::string& from, const std::string& to) {
    const std::filesystem::path old_name = path_of(from), new_name = path_of(to);
    if (is_folder(new_name)) {
        errno = EISDIR;
        return false;
    }
    const DWORD how = MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH;
    const bool moved = patiently([&] { return ::MoveFileExW(old_name.c_str(), new_name.c_str(), how) != 0; });
    // Windows reports a mapped file as one that must not be written.
    const bool there = !moved && ::GetFileAttributesW(new_name.c_str()) != INVALID_FILE_ATTRIBUTES;
    if (there && errno == EACCES) errno = EBUSY;
    return moved;
}

bool link(const std::string& from, const std::string& to) {
    return ::CreateHardLinkW(path_of(to).c_str(), path_of(from).c_str(), nullptr) != 0 || failed();
}

bool remove(const std::string& path) { return ::DeleteFileW(path_of(path).c_str()) != 0 || failed(); }
bool make_folder(const std::string& path) {
    return ::CreateDirectoryW(path_of(path).c_str(), nullptr) != 0 || failed();
}
bool remove_folder(const std::string& path) { return ::RemoveDirectoryW(path_of(path).c_str()) != 0 || failed(); }

bool lock(int file, Lock how) {
    // A byte far behind the end, because a locked byte cannot be read, and it must be possible to copy the folder.
    OVERLAPPED place{};
    place.OffsetHigh = 1u << 30;
    const DWORD flags = LOCKFILE_FAIL_IMMEDIATELY | (how == Lock::exclusive ? LOCKFILE_EXCLUSIVE_LOCK : 0u);
    return ::LockFileEx(handle_of(file), flags, 0, 1, 0, &place) != 0 || failed();
}

bool unlock(int) { return true; }  // closing the file ends the lock, as no process is forked here

const std::byte* map(int file, std::size_t size) {
    const HANDLE section = ::CreateFileMappingW(handle_of(file), nullptr, PAGE_READONLY, 0, 0, nullptr);
    if (section == nullptr) {
        failed();
        return nullptr;
    }
    const void* at = ::MapViewOfFile(section, FILE_MAP_READ, 0, 0, size);
    if (at == nullptr) failed();
    ::CloseHandle(section);  // the view stays valid
    return static_cast<const std::byte*>(at);
}

void unmap(const std::byte* bytes, std::size_t) { ::UnmapViewOfFile(bytes); }

void* allocate(std::size_t size) {
    void* block = ::VirtualAlloc(nullptr, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    if (block == nullptr) failed();
    return block;
}

void release(void* block, std::size_t) { ::VirtualFree(block, 0, MEM_RELEASE); }
void use_huge_pages(void*, std::size_t) {}

int process_number() { return ::_getpid(); }

#if defined(__x86_64__) || defined(_M_X64)
namespace {

/// Return whether the processor has FMA and these bits of cpuid leaf 7, and the system saves the registers of `state`
/// (bits of XCR0).
bool has(unsigned wanted_b, unsigned wanted_c, DWORD64 state) {
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_FMA) == 0) return false;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
    return (b & wanted_b) == wanted_b && (c & wanted_c) == wanted_c && (::GetEnabledXStateFeatures() & state) == state;
}

}  // namespace

bool runs_avx2() { return has(bit_AVX2, 0, 0x6); }
bool runs_avx512() {
    return has(bit_AVX2 | bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ, bit_AVX512VNNI, 0xe6);
}
#else
bool runs_avx2() { return false; }
bool runs_avx512() { return false; }
#endif

std::size_t name_place(const std::string& path) { return path.find_last_of("/\\") + 1; }

std::filesystem::path path_of(const std::string& text) {
    return std::filesystem::path(std::u8string(text.begin(), text.end()));
}

std::string text_of(const std::filesystem::path& path) {
    const std::u8string text = path.generic_u8string();
    return std::string(text.begin(), text.end());
}

}  // namespace ann::os
#endif
