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

#include "array.hpp"
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

/// Whether the bytes of a file are copied into memory or mapped. With `automatic` a file of up to `most_copied` bytes
/// is copied.
enum class Hold { automatic, mapped };
inline constexpr std::size_t most_copied = std::size_t{256} << 20;

/// The bytes of a regular file as read-only memory.
///
/// A copy stays what it was. Mapped bytes follow the file: if another program overwrites it in place they change, and
/// if it makes the file shorter, reading what is gone ends this process. changed() tells both, but only afterwards.
class Contents {
public:
    explicit Contents(const std::string& path, Hold hold = Hold::automatic)
        : descriptor_(os::open(path, os::Opening::read)) {
        if (descriptor_.number() < 0) throw FileError("file", "cannot be opened: " + reason_of(errno));
        status_ = status();
        if (!status_.regular) throw FileError("file", "is not a regular file");
        if (status_.size == 0) throw FileError("file", "is empty");
        mapped_ = hold == Hold::mapped || status_.size > most_copied;
        if (mapped_) {
            data_ = os::map(descriptor_.number(), status_.size);
            if (data_ == nullptr) throw FileError("file", "cannot be mapped: " + reason_of(errno));
        } else {
            copy();
        }
    }
    Contents(const Contents&) = delete;
    Contents& operator=(const Contents&) = delete;
    ~Contents() {
        if (mapped_ && data_ != nullptr) os::unmap(data_, status_.size);
    }
    std::span<const std::byte> bytes() const { return {data_, status_.size}; }
    bool is_mapped() const { return mapped_; }

    /// Return whether a mapped file has another size or another time of its last change than when it was opened. A file
    /// that was replaced or removed is not changed: the old one stays until it is closed.
    bool changed() const {
        if (!mapped_) return false;
        const auto now = os::status(descriptor_.number());
        return !now || now->size != status_.size || now->modified != status_.modified;
    }

private:
    os::Status status() const {
        const auto found = os::status(descriptor_.number());
        if (!found) throw FileError("file", "cannot be read: " + reason_of(errno));
        return *found;
    }

    void copy() {
        copy_.resize(status_.size);
        for (std::size_t at = 0; at < status_.size;) {
            const std::ptrdiff_t got = os::read_at(descriptor_.number(), {copy_.data() + at, status_.size - at}, at);
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) throw FileError("file", "cannot be read: " + reason_of(errno));
            if (got == 0) throw FileError("file", "became shorter while it was read");
            at += static_cast<std::size_t>(got);
        }
        data_ = copy_.data();
        static_cast<void>(descriptor_.close());
    }

    Descriptor descriptor_;  ///< open as long as the file is mapped
    os::Status status_{};
    Array<std::byte> copy_;
    const std::byte* data_ = nullptr;
    bool mapped_ = false;
};

}  // namespace ann::disk
