// The files of a folder: their names, who may write them, and which of them are left over.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <vector>

#include "checksum.hpp"
#include "disk.hpp"
#include "error.hpp"
#include "file.hpp"

namespace ann::disk {

/// Make sure that the names in a folder are on the disk. Throws FileError. A file system that cannot synchronise
/// folders at all is not an error.
inline void sync_folder(const std::string& path) {
    const os::Synced synced = os::sync_folder(path);
    if (synced == os::Synced::not_opened) throw FileError("folder", "cannot be opened: " + reason_of(errno));
    if (synced == os::Synced::failed && errno != EINVAL && errno != ENOTSUP) {
        throw FileError("folder", "cannot be synchronised: " + reason_of(errno));
    }
}

/// Return the folder of a path.
inline std::string folder_of(const std::string& path) { return path.substr(0, os::name_place(path)); }

}  // namespace ann::disk

namespace ann::folder_files {

inline std::string segment(std::uint64_t number) { return "segment-" + std::to_string(number) + ".ann"; }
inline std::string log(std::uint64_t number) { return "log-" + std::to_string(number) + ".bin"; }

inline constexpr const char* manifest = "MANIFEST";
inline constexpr const char* lock = "LOCK";

/// Return the number in "<before><number><behind>", written as this program writes it: without leading zeros.
inline std::optional<std::uint64_t> number_in(std::string_view name, std::string_view before, std::string_view behind) {
    if (!name.starts_with(before) || !name.ends_with(behind) || name.size() <= before.size() + behind.size()) {
        return std::nullopt;
    }
    const std::string_view digits = name.substr(before.size(), name.size() - before.size() - behind.size());
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    const bool whole = error == std::errc() && end == digits.data() + digits.size();
    return whole && std::to_string(number) == digits ? std::optional(number) : std::nullopt;
}

inline std::optional<std::uint64_t> segment_number(std::string_view name) {
    return number_in(name, "segment-", ".ann");
}
inline std::optional<std::uint64_t> log_number(std::string_view name) { return number_in(name, "log-", ".bin"); }

/// Return the names in the folder. Throws FileError.
inline std::vector<std::string> names(const std::string& path) {
    std::error_code error;
    std::vector<std::string> found;
    std::filesystem::directory_iterator at(os::path_of(path), error);
    for (; !error && at != std::filesystem::directory_iterator(); at.increment(error)) {
        found.push_back(os::text_of(at->path().filename()));
    }
    if (error) throw FileError("folder", "cannot be read: " + error.default_error_condition().message());
    std::sort(found.begin(), found.end());
    return found;
}

/// Return the highest number of a segment or a log, of any origin; 0 if there is none.
inline std::uint64_t highest(const std::vector<std::string>& names) {
    std::uint64_t most = 0;
    for (const std::string& name : names) {
        most = std::max({most, segment_number(name).value_or(0), log_number(name).value_or(0)});
    }
    return most;
}

/// Return segments and logs with other numbers than the one in use, and unfinished files: what a crash leaves.
inline std::vector<std::string> orphans(const std::vector<std::string>& names, std::uint64_t number) {
    std::vector<std::string> found;
    for (const std::string& name : names) {
        const bool unfinished = name.starts_with(".medann-") && name.ends_with(".part");
        if (unfinished || segment_number(name).value_or(number) != number ||
            log_number(name).value_or(number) != number) {
            found.push_back(name);
        }
    }
    return found;
}

inline constexpr std::uint64_t format = 1;

/// Return the number of the segment and the log in use. Throws FileError("MANIFEST", ...).
inline std::uint64_t read_manifest(const std::string& path) {
    try {
        const File file = File::open(path + "/" + manifest);
        const auto bytes = file.require("manifest");
        if (bytes.size() != 2 * sizeof(std::uint64_t)) throw FileError("manifest", "not two numbers");
        if (const auto found = container::value_at<std::uint64_t>(bytes, 0); found != format) {
            throw FileError("manifest", "format " + std::to_string(found) + ", but this program reads format " +
                                            std::to_string(format));
        }
        return container::value_at<std::uint64_t>(bytes, sizeof(std::uint64_t));
    } catch (const FileError& error) {
        throw FileError(manifest, error.what());
    }
}

/// Put the files of this number in use. When this returns, all names are on the disk. After a FileError the files may
/// be in use or not.
inline void write_manifest(const std::string& path, std::uint64_t number) {
    const std::array<std::uint64_t, 2> numbers{format, number};
    const Section section{"manifest", std::as_bytes(std::span(numbers))};
    write_file(path + "/" + manifest, {&section, 1});
    disk::sync_folder(path);
}

/// Remove files as far as possible. A file that stays is an orphan; the next process that opens the folder removes it.
inline void remove(const std::string& path, const std::vector<std::string>& names) {
    for (const std::string& name : names) os::remove(path + "/" + name);
}

/// Remove what a crash left, as far as possible.
inline void remove_orphans(const std::string& path, std::uint64_t number) {
    try {
        remove(path, orphans(names(path), number));
    } catch (const FileError&) {
        // The folder cannot be read now; the orphans are removed another time.
    }
}

/// What LOCK holds: how many records of which log were acknowledged. The log may have more, if a process was killed
/// before it noted the last one, but never fewer.
struct Noted {
    std::uint64_t log = 0;      ///< the number of the log
    std::uint64_t records = 0;  ///< in the log
    std::uint64_t missing = 0;  ///< acknowledged records that were not in the log when it was last opened for writing
    std::uint64_t checksum = 0;

    std::uint64_t sum() const { return ann::checksum(std::as_bytes(std::span(this, 1)).first(3 * sizeof log)); }
};
static_assert(sizeof(Noted) == 32 && std::is_trivially_copyable_v<Noted>);

/// The lock of the one process that writes. The system releases it when the process, and every process that was forked
/// from it, has ended for any reason.
class Lock {
public:
    explicit Lock(const std::string& folder) : descriptor_(os::open(folder + "/" + lock, os::Opening::lock)) {
        if (descriptor_.number() < 0) throw FileError("folder", "cannot be written: LOCK: " + disk::reason_of(errno));
        if (os::lock(descriptor_.number(), os::Lock::exclusive)) return;
        if (errno != EWOULDBLOCK) throw FileError("folder", "cannot be locked: " + disk::reason_of(errno));
        throw FileError("folder",
                        "is being written by another process, or by one that was forked from it, or was opened twice; "
                        "close it there, or open it here for reading only");
    }
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;
    /// Release the lock also for processes that were forked from this one. Such a process only closes the file.
    ~Lock() {
        if (process_ == os::process_number()) os::unlock(descriptor_.number());
    }

    /// Note how many records are acknowledged. A failure does no harm: then fewer are noted than there are.
    void note(Noted noted) const {
        noted.checksum = noted.sum();
        const auto piece = std::as_bytes(std::span(&noted, 1));
        static_cast<void>(os::write_at(descriptor_.number(), {&piece, 1}, 0));
    }

    /// Return what was noted; nothing is noted where an earlier version wrote the folder.
    static std::optional<Noted> noted(const std::string& folder) {
        const disk::Descriptor file(os::open(folder + "/" + lock, os::Opening::read));
        Noted found;
        const std::span bytes = std::as_writable_bytes(std::span(&found, 1));
        const bool whole = file.number() >= 0 && os::read_at(file.number(), bytes, 0) == sizeof found;
        return whole && found.checksum == found.sum() ? std::optional(found) : std::nullopt;
    }

    /// Return whether a process holds the lock now.
    static bool is_held(const std::string& folder) {
        const disk::Descriptor file(os::open(folder + "/" + lock, os::Opening::read));
        return file.number() >= 0 && !os::lock(file.number(), os::Lock::shared) && errno == EWOULDBLOCK;
    }

private:
    disk::Descriptor descriptor_;
    const int process_ = os::process_number();
};

/// Return how many acknowledged records a log with `found` records lacks, by what was noted before it was read.
inline std::uint64_t missing(const std::optional<Noted>& noted, std::uint64_t log, std::uint64_t found) {
    if (!noted || noted->log != log) return 0;
    return noted->missing + (noted->records > found ? noted->records - found : 0);
}

}  // namespace ann::folder_files
