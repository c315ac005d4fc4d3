// What the core needs from the operating system: files, locks, memory and processor features. os_posix.cpp has the
// functions for Linux and macOS, os_windows.cpp for Windows. Other files of the core include no header of a system.
//
// A path is UTF-8. A file is a file descriptor. A function that fails returns false, nullptr, nullopt or -1, and sets
// errno, on Windows too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>

namespace ann::os {

enum class Opening {
    read,    ///< read only; opening a pipe does not wait for its other end
    write,   ///< write only; the file must exist
    create,  ///< write only; the file must not exist (EEXIST)
    lock     ///< read and write; the file is created if it is missing
};

int open(const std::string& path, Opening how);
bool close(int file);

struct Status {
    bool regular;
    std::size_t size;
    std::size_t links;      ///< names of the file; 0 after the last was removed (on Windows always 1)
    std::int64_t modified;  ///< when its bytes last changed, in nanoseconds (on Windows in steps of 100)
};
std::optional<Status> status(int file);

/// These three functions return the number of bytes, which may be less than requested. write_at writes the pieces one
/// behind the other.
std::ptrdiff_t write(int file, std::span<const std::byte> bytes);
std::ptrdiff_t write_at(int file, std::span<const std::span<const std::byte>> pieces, std::size_t at);
std::ptrdiff_t read_at(int file, std::span<std::byte> bytes, std::size_t at);

bool truncate(int file, std::size_t size);
/// Write all bytes to the disk. sync_data may leave out data that reading does not need, such as times.
bool sync(int file);
bool sync_data(int file);

enum class Synced { yes, not_opened, failed };
/// Write the names in a folder to the disk; "" is the working folder. Windows has no such call, and returns yes.
Synced sync_folder(const std::string& path);

/// Rename a file and replace `to`. On Windows this fails (EBUSY) if `to` is mapped, or open for more than a second.
bool rename(const std::string& from, const std::string& to);
bool link(const std::string& from, const std::string& to);
bool remove(const std::string& path);
bool make_folder(const std::string& path);
bool remove_folder(const std::string& path);

enum class Lock { exclusive, shared };
/// Lock a file without waiting (EWOULDBLOCK). The lock ends when the file is closed or the process ends. A forked
/// process shares the lock, which then lasts until both have ended, or one of them calls unlock().
bool lock(int file, Lock how);
bool unlock(int file);

/// Map the first `size` bytes of a file as read-only memory.
const std::byte* map(int file, std::size_t size);
void unmap(const std::byte* bytes, std::size_t size);

/// Return memory of zeros that begins at a page. Where huge_pages is true, use_huge_pages asks for pages of 2 MiB.
void* allocate(std::size_t size);
void release(void* block, std::size_t size);
#if defined(__linux__)
inline constexpr bool huge_pages = true;
#else
inline constexpr bool huge_pages = false;
#endif
void use_huge_pages(void* block, std::size_t size);

int process_number();
bool runs_avx2();
bool runs_avx512();

/// Return the position of the file name in a path.
std::size_t name_place(const std::string& path);
std::filesystem::path path_of(const std::string& text);
/// Return the path as UTF-8 with / between folders.
std::string text_of(const std::filesystem::path& path);

}  // namespace ann::os
