// An index in a folder: every change that was acknowledged is still there after a crash.
//
//     MANIFEST            a container file (file.hpp), section "manifest": u64 format (1), u64 number
//     segment-<number>.ann   the index at one time, as Index::save writes it: never changed
//     log-<number>.bin    the changes since then (log.hpp), one Change in each record
//     LOCK                locked by the process that writes; notes how many records of the log are acknowledged
//
// A new segment and an empty log are written under the next number, then MANIFEST is replaced, then the old files are
// removed. So MANIFEST names complete files at every moment. Files of other numbers are left over from a crash; opening
// for writing removes them.
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
    double seconds = 0.1;                             ///< between two synchronisations, with Sync::interval
    std::size_t longest_log = std::size_t{64} << 20;  ///< a log longer than this and than half its segment is folded in
};

/// Safe for any number of threads: writers wait for each other, readers of index() never wait.
///
/// Only the process that opened the folder for writing writes to it. A process that was forked from it shares its files
/// and its lock, but neither its log's thread nor what it writes later. There every function but index() throws
/// FileError, and the destructor touches no file.
class Folder {
public:
    /// Create a new index in a folder that does not exist or is empty. Throws FileError("folder", ...).
    static std::unique_ptr<Folder> create(const std::string& path, const Options& options, Schema schema,
                                          const Keeping& keeping);
    /// Open the index of a folder; all changes in its log are applied again. Throws FileError of the faulty file if the
    /// file is damaged, or, for writing, if another process holds the lock. A reader sees the state at the time of
    /// opening, takes no lock, and changes no file.
    static std::unique_ptr<Folder> open(const std::string& path, Mode mode, bool read_only, const Keeping& keeping,
                                        std::size_t threads);
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    ~Folder();  ///< synchronises with every policy except os; never throws

    const Index& index() const { return *index_; }
    bool read_only() const { return !lock_; }
    /// Return whether the folder was opened for writing by another process, from which this one was forked.
    bool forked() const;
    /// Throw FileError if forked(). It takes no lock, which a thread of the other process may hold for ever.
    void check_not_forked() const;

    /// As Index::write and the others, but the change is in the log before a reader sees it. Throws FileError if the
    /// log cannot be written; then nothing is changed. Functions that change the index throw std::invalid_argument if
    /// read_only().
    std::size_t write(const Change& change, std::size_t threads, const Progress& progress);
    std::size_t drop(std::span<const std::byte> filter, std::size_t threads, const Progress& progress);
    std::size_t set(std::span<const std::byte> filter, std::span<const std::byte> fields);
    /// Remove dead rows, link late rows, and write a new segment.
    void compact(std::size_t threads, const Progress& progress);
    /// Write a new segment and an empty log. After a FileError every acknowledged change is still in its old file. If
    /// even that is not certain, because the disk failed at the last step, nothing can be written until a checkpoint
    /// succeeds.
    void checkpoint();
    /// Write everything to the disk. Throws FileError.
    void sync();
    /// Write the present state of the index as a new folder at a path that does not exist or is empty.
    void snapshot(const std::string& path) const;
    /// Return why a long log could not be folded into a new segment; empty if it could. Folding is tried again when the
    /// log has grown by a quarter.
    std::string trouble() const;

    /// Return what is wrong with a folder, one line for each fault; empty if nothing is wrong. Reads every byte and
    /// changes none. Files left over from a crash are named too, unless a process is writing to the folder.
    static std::vector<std::string> verify(const std::string& path);
    /// Repair a damaged folder as far as its bytes allow, and return what was done and what is lost, one line each:
    /// damaged records are left out, a damaged graph is built again from its vectors, a missing or damaged MANIFEST is
    /// made from the files. Damaged files stay, with the ending .damaged. Throws FileError if the vectors, the ids or
    /// the fields themselves are damaged; then nothing is changed.
    static std::vector<std::string> repair(const std::string& path, std::size_t threads);

private:
    Folder(std::string path, const Keeping& keeping) : path_(std::move(path)), keeping_(keeping) {}
    void check_writable() const;
    void note();
    Keep keep();
    void fold_if_long();
    void renew();
    void take_over(std::uint64_t number, std::unique_ptr<Log> log, std::uint64_t missing = 0);

    const std::string path_;
    const Keeping keeping_;
    const int process_ = os::process_number();
    std::unique_ptr<folder_files::Lock> lock_;  ///< nullptr if the folder is open for reading only
    std::unique_ptr<Index> index_;
    mutable std::mutex writing_;  ///< protects the members below
    std::unique_ptr<Log> log_;
    std::uint64_t number_ = 0;   ///< of the files in use
    std::uint64_t highest_ = 0;  ///< the highest number that was ever used here: no number is used twice
    std::uint64_t missing_ = 0;  ///< acknowledged records that the log lacked when it was opened
    folder_files::Noted noted_;  ///< what LOCK holds
    std::size_t segment_bytes_ = 0;
    std::size_t fold_at_ = 0;  ///< size of the log in bytes from which folding is tried again
    std::string trouble_;
};

namespace folder_files {

/// Open the segment. A FileError names its file.
std::unique_ptr<Index> open_segment(const std::string& path, std::uint64_t number, Mode mode);
/// Read the log. A FileError names its file.
LogContents open_log(const std::string& path, std::uint64_t number, bool skip_damage = false);
/// Apply a record of a log again. Returns false and the reason if the record does not fit the index.
bool replay(Index& index, std::span<const std::byte> record, std::size_t threads, std::string& why);
/// Return the path from the root, so that a later change of the current folder does no harm; without a slash at its
/// end.
std::string whole_path(const std::string& path);

}  // namespace folder_files

}  // namespace ann
