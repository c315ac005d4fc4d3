// What the C++ tests need: CHECK, CHECK_THROWS, and files in memory.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
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

}  // namespace check
