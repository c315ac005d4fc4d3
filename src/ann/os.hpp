// What the core asks of the operating system: files, locks, memory and processor features. os_posix.cpp answers on Linux
// and macOS, os_windows.cpp on Windows. No other file of the core includes a header of an operating system.
//
// A path is UTF-8. A file is a number as POSIX gives it. A function that fails returns false, nullptr or -1, and errno
// says why, on Windows too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>

namespace ann::os {

enum class Opening {
    read,    ///< a pipe is opened without waiting for its other end
    write,   ///< the file exists
    create,  ///< EEXIST where a file of that name exists
    lock     ///< read and write; made where it is missing
};

int open(const std::string& path, Opening how);
bool close(int file);

struct Status {
    bool regular;
    std::size_t size;
};
std::optional<Status> status(int file);

/// These three return how many bytes were written or read, which may be fewer than asked for. write_at takes the pieces
/// one after another.
std::ptrdiff_t write(int file, std::span<const std::byte> bytes);
std::ptrdiff_t write_at(int file, std::span<const std::span<const std::byte>> pieces, std::size_t at);
std::ptrdiff_t read_at(int file, std::span<std::byte> bytes, std::size_t at);

bool truncate(int file, std::size_t size);
/// All bytes are on the disk when this returns. sync_data may leave out what is not needed to read them, such as times.
bool sync(int file);
bool sync_data(int file);

enum class Synced { yes, not_opened, failed };
/// The names in a folder are on the disk; "" is the working folder. Windows has no such call: there it is always yes.
Synced sync_folder(const std::string& path);

/// Replaces `to`. On Windows this fails for as long as `to` is mapped or, after a second of trying, open.
bool rename(const std::string& from, const std::string& to);
bool link(const std::string& from, const std::string& to);
bool remove(const std::string& path);
bool make_folder(const std::string& path);
bool remove_folder(const std::string& path);

enum class Lock { exclusive, shared };
/// Does not wait: EWOULDBLOCK where another open file holds it. The lock ends when the file is closed, also by the end
/// of the process.
bool lock(int file, Lock how);

/// The first `size` bytes of a file as read-only memory; nullptr.
const std::byte* map(int file, std::size_t size);
void unmap(const std::byte* bytes, std::size_t size);

/// Memory of zeros that begins on a page; nullptr. With huge_pages a block may ask for pages of 2 MiB.
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

/// Where the name begins in a path: behind the last separator of folders, 0 where there is none.
std::size_t name_place(const std::string& path);
std::filesystem::path path_of(const std::string& text);
/// UTF-8, with / between folders.
std::string text_of(const std::filesystem::path& path);

}  // namespace ann::os
