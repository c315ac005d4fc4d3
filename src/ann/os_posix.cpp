#if !defined(_WIN32)
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>

#include "os.hpp"

namespace ann::os {

int open(const std::string& path, Opening how) {
    switch (how) {
        case Opening::read:
            return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        case Opening::write:
            return ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
        case Opening::create:
            return ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        case Opening::lock:
            return ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    }
    errno = EINVAL;
    return -1;
}

bool close(int file) { return ::close(file) == 0; }

std::optional<Status> status(int file) {
    struct stat found{};
    if (::fstat(file, &found) != 0) return std::nullopt;
#if defined(__APPLE__)
    const struct timespec& when = found.st_mtimespec;
#else
    const struct timespec& when = found.st_mtim;
#endif
    const std::int64_t modified = static_cast<std::int64_t>(when.tv_sec) * 1'000'000'000 + when.tv_nsec;
    return Status{S_ISREG(found.st_mode), static_cast<std::size_t>(found.st_size),
                  static_cast<std::size_t>(found.st_nlink), modified};
}

std::ptrdiff_t write(int file, std::span<const std::byte> bytes) { return ::write(file, bytes.data(), bytes.size()); }

std::ptrdiff_t write_at(int file, std::span<const std::span<const std::byte>> pieces, std::size_t at) {
    constexpr std::size_t most = 64;  // pieces in one call; a change has eight, and every system accepts at least 16
    std::array<struct iovec, most> blocks;
    const std::size_t count = std::min(pieces.size(), most);
    for (std::size_t i = 0; i < count; ++i) {
        blocks[i] = {const_cast<std::byte*>(pieces[i].data()), pieces[i].size()};  // only read, never written to
    }
    return ::pwritev(file, blocks.data(), static_cast<int>(count), static_cast<off_t>(at));
}

std::ptrdiff_t read_at(int file, std::span<std::byte> bytes, std::size_t at) {
    return ::pread(file, bytes.data(), bytes.size(), static_cast<off_t>(at));
}

bool truncate(int file, std::size_t size) { return ::ftruncate(file, static_cast<off_t>(size)) == 0; }

#if defined(__APPLE__)
// On macOS fsync leaves the bytes in the memory of the disk. Some file systems do not support F_FULLFSYNC.
bool sync(int file) { return ::fcntl(file, F_FULLFSYNC) == 0 || ::fsync(file) == 0; }
bool sync_data(int file) { return sync(file); }
#else
bool sync(int file) { return ::fsync(file) == 0; }
bool sync_data(int file) { return ::fdatasync(file) == 0; }
#endif

Synced sync_folder(const std::string& path) {
    const int folder = ::open(path.empty() ? "." : path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) return Synced::not_opened;
    const bool done = ::fsync(folder) == 0;
    const int why = errno;
    ::close(folder);
    errno = why;
    return done ? Synced::yes : Synced::failed;
}

bool rename(const std::string& from, const std::string& to) { return ::rename(from.c_str(), to.c_str()) == 0; }
bool link(const std::string& from, const std::string& to) { return ::link(from.c_str(), to.c_str()) == 0; }
bool remove(const std::string& path) { return ::unlink(path.c_str()) == 0; }
bool make_folder(const std::string& path) { return ::mkdir(path.c_str(), 0777) == 0; }
bool remove_folder(const std::string& path) { return ::rmdir(path.c_str()) == 0; }

bool lock(int file, Lock how) { return ::flock(file, (how == Lock::exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0; }
bool unlock(int file) { return ::flock(file, LOCK_UN) == 0; }

const std::byte* map(int file, std::size_t size) {
    void* at = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
    return at == MAP_FAILED ? nullptr : static_cast<const std::byte*>(at);
}

void unmap(const std::byte* bytes, std::size_t size) { ::munmap(const_cast<std::byte*>(bytes), size); }

void* allocate(std::size_t size) {
    void* block = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return block == MAP_FAILED ? nullptr : block;
}

void release(void* block, std::size_t size) { ::munmap(block, size); }

void use_huge_pages([[maybe_unused]] void* block, [[maybe_unused]] std::size_t size) {
#if defined(MADV_HUGEPAGE)
    ::madvise(block, size, MADV_HUGEPAGE);
#endif
}

int process_number() { return static_cast<int>(::getpid()); }

#if defined(__x86_64__)
bool runs_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool runs_avx512() {
    return runs_avx2() && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni");
}
#else
bool runs_avx2() { return false; }
bool runs_avx512() { return false; }
#endif

std::size_t name_place(const std::string& path) { return path.rfind('/') + 1; }
std::filesystem::path path_of(const std::string& text) { return text; }
std::string text_of(const std::filesystem::path& path) { return path.string(); }

}  // namespace ann::os
#endif
