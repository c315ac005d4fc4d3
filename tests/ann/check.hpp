// What the C++ tests need: CHECK, CHECK_THROWS, and files in memory.
#pragma once

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace check {

struct Failure : std::logic_error {
    using std::logic_error::logic_error;
};

/// The count does not order threads: an order would hide races from the thread sanitizer.
inline std::atomic<std::size_t> count{0};
inline void count_one() { count.fetch_add(1, std::memory_order_relaxed); }

inline void verify(bool held, const char* text, const char* file, int line) {
    count_one();
    if (!held) throw Failure(std::string(file) + ":" + std::to_string(line) + ": not so: " + text);
}

/// Return the message that the expression throws as `Wanted`; fail if it throws nothing.
template <typename Wanted, typename Work>
std::string thrown(const Work& work, const char* text, const char* file, int line) {
    try {
        work();
    } catch (const Wanted& error) {
        count_one();
        return error.what();
    }
    throw Failure(std::string(file) + ":" + std::to_string(line) + ": threw nothing: " + text);
}

#define CHECK(condition) ::check::verify(static_cast<bool>(condition), #condition, __FILE__, __LINE__)
#define CHECK_THROWS(Wanted, expression) \
    ::check::thrown<Wanted>([&] { static_cast<void>(expression); }, #expression, __FILE__, __LINE__)

using Bytes = std::vector<std::byte>;

/// Set an environment variable; nullptr removes it.
inline void set_variable(const char* name, const char* value) {
#if defined(_WIN32)
    ::_putenv_s(name, value == nullptr ? "" : value);
#else
    value == nullptr ? ::unsetenv(name) : ::setenv(name, value, 1);
#endif
}

/// Make a folder and return its path.
inline std::string new_folder() {
    for (int number = 0;; ++number) {
        const auto path = std::filesystem::temp_directory_path() / ("ann-" + std::to_string(number));
        if (std::filesystem::create_directory(path)) return path.string();
    }
}

#if defined(__linux__)
/// A file that is in no folder and is opened by its path under /proc.
class MemoryFile {
public:
    explicit MemoryFile(std::span<const std::byte> bytes) : number_(::memfd_create("ann", MFD_CLOEXEC)) {
        if (number_ < 0) throw Failure("memfd_create");
        while (!bytes.empty()) {
            const ssize_t written = ::write(number_, bytes.data(), bytes.size());
            if (written <= 0) throw Failure("write to a memory file");
            bytes = bytes.subspan(static_cast<std::size_t>(written));
        }
    }
    MemoryFile(const MemoryFile&) = delete;
    MemoryFile& operator=(const MemoryFile&) = delete;
    ~MemoryFile() { ::close(number_); }
    std::string path() const { return "/proc/self/fd/" + std::to_string(number_); }

private:
    int number_;
};
#else
/// A file in its own folder. Only Linux has files without a folder.
class MemoryFile {
public:
    explicit MemoryFile(std::span<const std::byte> bytes) : folder_(new_folder()) {
        std::ofstream file(path(), std::ios::binary);
        file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
        if (!file.flush()) throw Failure("write to a file");
    }
    MemoryFile(const MemoryFile&) = delete;
    MemoryFile& operator=(const MemoryFile&) = delete;
    ~MemoryFile() { std::filesystem::remove_all(folder_); }
    std::string path() const { return folder_ + "/file"; }

private:
    std::string folder_;
};
#endif

}  // namespace check
