// File operations of the operating system: write a file that appears as a whole or not at all, and read a file as
// memory.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <span>
#include <string>
#include <system_error>
#include <utility>

#include "error.hpp"

namespace ann::disk {

inline std::string reason_of(int error) { return std::generic_category().message(error); }

/// A file descriptor that is closed at the end.
class Descriptor {
public:
    explicit Descriptor(int number) : number_(number) {}
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() {
        if (number_ >= 0) ::close(number_);
    }
    int number() const { return number_; }
    /// Close now. Returns false if the system reports that written data are lost (errno has the reason).
    bool close() { return ::close(std::exchange(number_, -1)) == 0; }

private:
    int number_;
};

/// A file under a temporary name in the folder of `path`. It is removed unless it is renamed to `path`.
class Temporary {
public:
    explicit Temporary(const std::string& path)
        : target_(path), folder_(path.substr(0, path.rfind('/') + 1)), descriptor_(create()) {}
    Temporary(const Temporary&) = delete;
    Temporary& operator=(const Temporary&) = delete;
    ~Temporary() {
        if (!kept_) ::unlink(name_.c_str());
    }

    void write(std::span<const std::byte> bytes) {
        while (!bytes.empty()) {
            const std::size_t most = std::min(bytes.size(), std::size_t{1} << 30);
            const ssize_t written = ::write(descriptor_.number(), bytes.data(), most);
            if (written < 0 && errno == EINTR) continue;
            if (written <= 0) fail(written == 0 ? ENOSPC : errno);
            bytes = bytes.subspan(static_cast<std::size_t>(written));
        }
    }

    /// Write the file to the disk and rename it to its target. The target never holds a part of it.
    void keep() {
        if (::fsync(descriptor_.number()) != 0) fail(errno);
        if (!descriptor_.close()) fail(errno);
        if (::rename(name_.c_str(), target_.c_str()) != 0) fail(errno);
        kept_ = true;
        const Descriptor folder(::open(folder_.empty() ? "." : folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        // Some systems cannot open or synchronise a folder. That is not an error here; the file itself is complete.
        if (folder.number() >= 0 && ::fsync(folder.number()) != 0 && errno == EIO) fail(EIO);
    }

private:
    int create() {
        for (int attempt = 0;; ++attempt) {
            name_ = folder_ + ".medann-" + std::to_string(::getpid()) + "-" + std::to_string(attempt) + ".part";
            const int number = ::open(name_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
            if (number >= 0) return number;
            if (errno != EEXIST || attempt == 9999) fail(errno);
        }
    }

    [[noreturn]] void fail(int error) const { throw FileError("file", "cannot be written: " + reason_of(error)); }

    std::string target_;
    std::string folder_;
    std::string name_;
    bool kept_ = false;
    Descriptor descriptor_;
};

/// The contents of a regular file as read-only memory.
class Mapping {
public:
    explicit Mapping(const std::string& path) {
        // Without O_NONBLOCK opening a pipe would wait for its other end.
        const Descriptor descriptor(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
        if (descriptor.number() < 0) throw FileError("file", "cannot be opened: " + reason_of(errno));
        struct stat status{};
        if (::fstat(descriptor.number(), &status) != 0) throw FileError("file", "cannot be read: " + reason_of(errno));
        if (!S_ISREG(status.st_mode)) throw FileError("file", "is not a regular file");
        size_ = static_cast<std::size_t>(status.st_size);
        if (size_ == 0) throw FileError("file", "is empty");
        void* at = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor.number(), 0);
        if (at == MAP_FAILED) throw FileError("file", "cannot be mapped: " + reason_of(errno));
        data_ = static_cast<const std::byte*>(at);
    }
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;
    ~Mapping() {
        if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
    }
    std::span<const std::byte> bytes() const { return {data_, size_}; }

private:
    const std::byte* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace ann::disk
