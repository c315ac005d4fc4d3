// A log of records: after a crash an appended record is there as a whole, or not at all.
//
//     offset 0   magic "MEDLOG\r\n", u16 major, u16 minor, u32 byte-order mark, u64 number of the log, u64 checksum of
//                these
//     then       records: u64 bytes of the body, u64 sequence (0, 1, 2, ...), u64 checksum of the body, u64 checksum of
//                these three and the log's number; the body, zeros up to a multiple of 8
//
// The last record may be incomplete or wrong up to the end of the file. It is then the torn tail of a write that was
// never acknowledged: reading ends before it, and a writer cuts it off. A wrong record with an intact record behind it
// is damage in the middle, and an error that names the record. Damage to the last record cannot be distinguished from a
// torn tail.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "disk.hpp"

namespace ann {

enum class Sync : std::uint32_t { always = 0, interval = 1, os = 2 };

/// The result of reading a log.
struct LogContents {
    std::uint64_t number = 0;
    std::vector<std::span<const std::byte>> records;  ///< bodies, each at a multiple of 8; views of the mapping
    std::size_t end = 0;                              ///< bytes up to the end of the last intact record
    std::size_t torn = 0;                             ///< bytes behind `end`
    std::vector<std::uint64_t> lost;                  ///< skipped sequence numbers, if `skip_damage`
    std::shared_ptr<const void> owner;
};

/// Read a whole log. Throws FileError("log", ...) if it is not a log, or is damaged in the middle: the reason names the
/// record by its sequence number and its offset. With `skip_damage` such records are left out and listed; if `number`
/// is given too, the beginning of the log may be damaged as well. The file is copied into memory, so that another
/// program that makes the file shorter does no harm.
LogContents read_log(const std::string& path, bool skip_damage = false,
                     std::optional<std::uint64_t> number = std::nullopt);

/// A log open for appending. Safe for one writer and any number of threads that call sync() or bytes(). The log has its
/// own thread for synchronising.
class Log {
public:
    /// Create a new log at a path where no file is. When this returns, the log and its folder entry are on the disk.
    /// `seconds` is the time between two synchronisations with Sync::interval.
    static std::unique_ptr<Log> create(const std::string& path, std::uint64_t number, Sync sync, double seconds);
    /// Continue a log after `contents`, which was read from this path. The torn tail is cut off.
    static std::unique_ptr<Log> resume(const std::string& path, const LogContents& contents, Sync sync, double seconds);
    Log(const Log&) = delete;
    Log& operator=(const Log&) = delete;
    ~Log();  ///< synchronises with every policy except os; never throws

    /// Append one record, given in pieces. When this returns, the record survives a kill -9; with Sync::always also a
    /// loss of power, and with Sync::interval after that many seconds. Throws FileError if the record cannot be
    /// written. Then the file is as it was before; if that is impossible, every later append fails too, and says so.
    /// Every append also fails after a failed synchronisation, because nobody can know which data the system has lost,
    /// and synchronising again would only hide the loss.
    void append(std::span<const std::span<const std::byte>> pieces);
    /// Write everything to the disk. Throws FileError, also for a failure that happened earlier on the log's own
    /// thread.
    void sync();
    /// Refuse every further append, for this reason.
    void give_up(const std::string& why);
    /// Throw FileError if another process has written to the file, or removed or replaced it. append() calls it first,
    /// so that no record is written over one that another process has acknowledged, or into a file that nobody reads.
    void check_alone() const;
    std::size_t bytes() const;
    /// Return the number of records that the log has.
    std::uint64_t records() const { return sequence_; }

private:
    Log(const std::string& path, os::Opening how, std::uint64_t number, Sync sync);
    void begin(double seconds);
    void write(std::span<const std::span<const std::byte>> pieces);
    void cut_back();
    void check_usable() const;
    void run(std::chrono::duration<double> pause);

    const disk::Descriptor descriptor_;
    const std::uint64_t number_;
    const Sync sync_;
    std::uint64_t sequence_ = 0;        ///< of the next record
    std::atomic<std::size_t> end_ = 0;  ///< bytes of the file
    std::mutex syncing_;                ///< held while the file is synchronised; locked before `mutex_`
    mutable std::mutex mutex_;          ///< protects the members below
    std::condition_variable changed_;
    bool dirty_ = false;  ///< something was written since the last synchronisation began
    bool ending_ = false;
    std::string broken_;  ///< why nothing can be written any more; empty if it can
    std::thread thread_;
};

}  // namespace ann
