// What the operating system does for a file: one that appears whole or not at all, and one read as memory.
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
    /// Close now; false where the system reports that what was written is lost (errno says why).
    bool close() { return os::close(std::exchange(number_, -1)); }

private:
    int number_;
};

/// A file under a name of its own in the folder of `path`, removed again unless it is renamed to `path`.
class Temporary {
public:
    explicit Temporary(const std::string& path)
        : target_(path), folder_(path.substr(0, os::name_place(path))), descriptor_(create()) {}
    Temporary(const Temporary&) = delete;
    Temporary& operator=(const Temporary&) = delete;
    ~Temporary() {
        if (kept_) return;
        if (descriptor_.number() >= 0) descriptor_.close();  // Windows removes no file that is open
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

    /// On the disk, under the name that was asked for, and nothing else in its place before.
    void keep() {
        if (!os::sync(descriptor_.number())) fail(errno);
        if (!descriptor_.close()) fail(errno);
        if (!os::rename(name_, target_)) fail(errno);
        kept_ = true;
        // A system that cannot open or synchronise a folder has no more to give; the file itself is whole.
        if (os::sync_folder(folder_) == os::Synced::failed && errno == EIO) fail(EIO);
    }

private:
    int create() {
        for (int attempt = 0;; ++attempt) {
            name_ = folder_ + ".medann-" + std::to_string(os::process_number()) + "-" + std::to_string(attempt) + ".part";
            const int number = os::open(name_, os::Opening::create);
            if (number >= 0) return number;
            if (errno != EEXIST || attempt == 9999) fail(errno);
        }
    }

    [[noreturn]] void fail(int error) const {
        if (error == EBUSY) {  // of Windows alone
            throw FileError("file", "cannot be replaced while it is open or mapped; close it, or write to another name");
        }
        throw FileError("file", "cannot be written: " + reason_of(error));
    }

    std::string target_;
    std::string folder_;
    std::string name_;
    bool kept_ = false;
    Descriptor descriptor_;
};

/// The whole of a regular file as read-only memory.
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
