// An index that lives in a folder: what was acknowledged is there after a crash.
//
//     MANIFEST            a container file (file.hpp), section "manifest": u64 format (1), u64 number
//     segment-<number>.ann   the index as it was, as Index::save writes it: never changed
//     log-<number>.bin    what was written since (log.hpp), one Change a record
//     LOCK                locked by the process that writes
//
// A new segment and an empty log are written under the next number, then MANIFEST is replaced, then the old ones are
// removed: at every moment MANIFEST names files that are whole. Files of other numbers are what a crash left behind;
// opening for writing removes them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "folder_files.hpp"
#include "index.hpp"
#include "log.hpp"

namespace ann {

struct Keeping {
    Sync sync = Sync::interval;
    double seconds = 0.1;                             ///< between two synchronisations under Sync::interval
    std::size_t longest_log = std::size_t{64} << 20;  ///< a log longer than this and half of its segment is folded in
};

/// Safe for any number of threads: those that write wait for each other, readers of index() wait for nobody.
class Folder {
public:
    /// A new index in a folder that is missing or empty. FileError("folder", ...).
    static std::unique_ptr<Folder> create(const std::string& path, const Options& options, Schema schema,
                                          const Keeping& keeping);
    /// The index of a folder, everything in its log done again. FileError, of the file at fault, where it is damaged,
    /// or, for writing, where another process has it. A reader sees what was there when it opened, takes no lock, and
    /// changes no file.
    static std::unique_ptr<Folder> open(const std::string& path, Mode mode, bool read_only, const Keeping& keeping,
                                        std::size_t threads);
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    ~Folder();  ///< synchronises, whatever the policy but os; never throws

    const Index& index() const { return *index_; }
    bool read_only() const { return !lock_; }

    /// As Index::write and the others, and in the log before a reader sees it. FileError where it cannot be written:
    /// then nothing is changed. What changes anything is a std::invalid_argument where read_only().
    std::size_t write(const Change& change, std::size_t threads, const Progress& progress);
    std::size_t drop(std::span<const std::byte> filter, std::size_t threads, const Progress& progress);
    std::size_t set(std::span<const std::byte> filter, std::span<const std::byte> fields);
    /// Dead rows go, late rows are linked, and a new segment is written.
    void compact(std::size_t threads, const Progress& progress);
    /// A new segment, an empty log. FileError: everything that was acknowledged is where it was. Where even that is not
    /// known, which takes a disk that fails at the last step, nothing can be written until a checkpoint succeeds.
    void checkpoint();
    /// Everything on the disk. FileError.
    void sync();
    /// The index as it is now, as a folder of its own at a path that is missing or empty.
    void snapshot(const std::string& path) const;
    /// Why the log could not be folded into a new segment, although it is long; empty where it could. It is tried again
    /// when the log has grown by a quarter.
    std::string trouble() const;

    /// What is wrong with a folder, a line each; empty where nothing is. Reads every byte, changes none. What a crash
    /// leaves is named too, but for a folder that somebody is writing.
    static std::vector<std::string> verify(const std::string& path);
    /// Bring a damaged folder back as far as its bytes go, and say what was done and what is lost, a line each: records
    /// that are damaged are left out, a graph that is damaged is built anew from its vectors, a missing or damaged
    /// MANIFEST is made from the files. Damaged files stay, with the ending .damaged. FileError where the vectors, the
    /// ids or the fields themselves are damaged, and then nothing is changed.
    static std::vector<std::string> repair(const std::string& path, std::size_t threads);

private:
    Folder(std::string path, const Keeping& keeping) : path_(std::move(path)), keeping_(keeping) {}
    void check_writable() const;
    Keep keep();
    void fold_if_long();
    void renew();
    void take_over(std::uint64_t number, std::unique_ptr<Log> log);

    const std::string path_;
    const Keeping keeping_;
    std::unique_ptr<folder_files::Lock> lock_;  ///< nullptr where it is open for reading only
    std::unique_ptr<Index> index_;
    mutable std::mutex writing_;  ///< of what follows
    std::unique_ptr<Log> log_;
    std::uint64_t number_ = 0;   ///< in force
    std::uint64_t highest_ = 0;  ///< of all numbers that were ever used here: none is used twice
    std::size_t segment_bytes_ = 0;
    std::size_t fold_at_ = 0;  ///< bytes of the log before which folding is not tried again
    std::string trouble_;
};

namespace folder_files {

/// The segment, or FileError of its name.
std::unique_ptr<Index> open_segment(const std::string& path, std::uint64_t number, Mode mode);
/// The log, or FileError of its name.
LogContents open_log(const std::string& path, std::uint64_t number, bool skip_damage = false);
/// Do a record of a log again: false and why, where it does not fit.
bool replay(Index& index, std::span<const std::byte> record, std::size_t threads, std::string& why);
/// The path from the root, so that whoever changes folders later harms nothing; without a slash at its end.
std::string whole_path(const std::string& path);

}  // namespace folder_files

}  // namespace ann
