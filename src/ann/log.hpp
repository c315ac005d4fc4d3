// A log of records: what was appended is there after a crash, whole, or it is not there at all.
//
//     offset 0   magic "MEDLOG\r\n", u16 major, u16 minor, u32 byte-order mark, u64 number of the log, u64 checksum of
//                these
//     then       records: u64 bytes of the body, u64 sequence (0, 1, 2, ...), u64 checksum of the body, u64 checksum of
//                these three and the log's number; the body, zeros up to a multiple of 8
//
// A record that the end of the file cuts off, or whose bytes up to the end of the file are not all there, is the torn
// tail of a write that was never acknowledged: reading ends before it, and a writer cuts it off. A record that is wrong
// while a whole one stands behind it is damage in the middle, and an error that names the record. Damage to the last
// record cannot be told from a torn tail.
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

/// What reading a log found.
struct LogContents {
    std::uint64_t number = 0;
    std::vector<std::span<const std::byte>> records;  ///< bodies, each at a multiple of 8; views of the mapping
    std::size_t end = 0;                              ///< bytes up to the end of the last whole record
    std::size_t torn = 0;                             ///< bytes behind it
    std::vector<std::uint64_t> lost;                  ///< sequences skipped, if `skip_damage`
    std::shared_ptr<const void> owner;
};

/// Read a whole log. FileError("log", ...) where it is no log, or is damaged in the middle: the reason names the record
/// by its sequence and its offset. With `skip_damage` such records are left out, and listed; and where `number` tells
/// what the log's is, its own beginning may be damaged, too. The file is copied into memory: nobody who cuts it short
/// meanwhile does harm.
LogContents read_log(const std::string& path, bool skip_damage = false,
                     std::optional<std::uint64_t> number = std::nullopt);

/// A log open for appending. Safe for one writer, beside any number of threads that call sync() or bytes(); the thread
/// that synchronises is its own.
class Log {
public:
    /// A new log, with nothing in its place before; on the disk, its folder too, when this returns. `seconds` are those
    /// between two synchronisations under Sync::interval.
    static std::unique_ptr<Log> create(const std::string& path, std::uint64_t number, Sync sync, double seconds);
    /// Go on behind `contents`, which was read from this path: the torn tail is cut off.
    static std::unique_ptr<Log> resume(const std::string& path, const LogContents& contents, Sync sync, double seconds);
    Log(const Log&) = delete;
    Log& operator=(const Log&) = delete;
    ~Log();  ///< synchronises, whatever the policy but os; never throws

    /// Append a record given in pieces, one after another. When this returns it will be there after a kill -9; under
    /// Sync::always after a loss of power too, under Sync::interval so many seconds later. FileError where it cannot be
    /// written: then the file is as it was before, or, where that cannot be brought about, every later append fails,
    /// too, and says so. So does every one after a synchronisation that failed: what the system has lost then, nobody
    /// can tell, and asking again would only hide it.
    void append(std::span<const std::span<const std::byte>> pieces);
    /// Everything on the disk. FileError; also of what failed on the log's own thread earlier.
    void sync();
    /// From now on nothing can be appended any more, for this reason.
    void give_up(const std::string& why);
    std::size_t bytes() const;

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
    std::mutex syncing_;                ///< held while the file is synchronised; before `mutex_`
    mutable std::mutex mutex_;          ///< of what follows
    std::condition_variable changed_;
    bool dirty_ = false;  ///< something was written since the last synchronisation began
    bool ending_ = false;
    std::string broken_;  ///< why nothing can be written any more; empty: it can
    std::thread thread_;
};

}  // namespace ann
