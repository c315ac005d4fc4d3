// File operations of the operating system: write a file that appears as a whole or not at all, and read a file as
// memory.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <span>
#include <string>
#include <system_error>
#include <utility>

#include "error.hpp"
#include "os.hpp"

namespace ann::disk {

inline std::string reason_of(int error) { return std::generic_category().message(error); }

/// A file descriptor that is closed at the end.
class Descriptor {
public:
    explicit Descriptor(int number) : number_(number) {}
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() {
        if (number_ >= 0) os::close(number_);
    }
    int number() const { return number_; }
    /// Close now. Returns false if the system reports that written data are lost (errno has the reason).
    bool close() { return os::close(std::exchange(number_, -1)); }

private:
    int number_;
};

/// A file under a temporary name in the folder of `path`. It is removed unless it is renamed to `path`.
class Temporary {
public:
    explicit Temporary(const std::string& path)
        : target_(path), folder_(path.substr(0, os::name_place(path))), descriptor_(create()) {}
    Temporary(const Temporary&) = delete;
    Temporary& operator=(const Temporary&) = delete;
    ~Temporary() {
        if (kept_) return;
        if (descriptor_.number() >= 0) descriptor_.close();  // Windows cannot remove an open file
        os::remove(name_);
    }

    void write(std::span<const std::byte> bytes) {
        while (!bytes.empty()) {
            const std::size_t most = std::min(bytes.size(), std::size_t{1} << 30);
            const std::ptrdiff_t written = os::write(descriptor_.number(), bytes.first(most));
            if (written < 0 && errno == EINTR) continue;
            if (written <= 0) fail(written == 0 ? ENOSPC : errno);
            bytes = bytes.subspan(static_cast<std::size_t>(written));
        }
    }

    /// Write the file to the disk and rename it to its target. The target never holds a part of it.
    void keep() {
        if (!os::sync(descriptor_.number())) fail(errno);
        if (!descriptor_.close()) fail(errno);
        if (!os::rename(name_, target_)) fail(errno);
        kept_ = true;
        // Some systems cannot open or synchronise a folder. That is not an error here; the file itself is complete.
        if (os::sync_folder(folder_) == os::Synced::failed && errno == EIO) fail(EIO);
    }

private:
    int create() {
        for (int attempt = 0;; ++attempt) {
            const std::string process = std::to_string(os::process_number());
            name_ = folder_ + ".medann-" + process + "-" + std::to_string(attempt) + ".part";
            const int number = os::open(name_, os::Opening::create);
            if (number >= 0) return number;
            if (errno != EEXIST || attempt == 9999) fail(errno);
        }
    }

    [[noreturn]] void fail(int error) const {
        if (error == EBUSY) {  // only on Windows
            throw FileError("file",
                            "cannot be replaced while it is open or mapped; close it, or write to another name");
        }
        throw FileError("file", "cannot be written: " + reason_of(error));
    }

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
        const Descriptor descriptor(os::open(path, os::Opening::read));
        if (descriptor.number() < 0) throw FileError("file", "cannot be opened: " + reason_of(errno));
        const auto status = os::status(descriptor.number());
        if (!status) throw FileError("file", "cannot be read: " + reason_of(errno));
        if (!status->regular) throw FileError("file", "is not a regular file");
        size_ = status->size;
        if (size_ == 0) throw FileError("file", "is empty");
        data_ = os::map(descriptor.number(), size_);
        if (data_ == nullptr) throw FileError("file", "cannot be mapped: " + reason_of(errno));
    }
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;
    ~Mapping() {
        if (data_ != nullptr) os::unmap(data_, size_);
    }
    std::span<const std::byte> bytes() const { return {data_, size_}; }

private:
    const std::byte* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace ann::disk
