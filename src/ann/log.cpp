#include "log.hpp"

#include <array>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "folder_files.hpp"
#include "log_format.hpp"

namespace ann {

using namespace log_format;

namespace {

[[noreturn]] void refuse(const std::string& why) { throw FileError("log", why); }
[[noreturn]] void fail(const char* what, int error) { refuse(std::string(what) + disk::reason_of(error)); }

}  // namespace

Log::Log(const std::string& path, os::Opening how, std::uint64_t number, Sync sync)
    : descriptor_(os::open(path, how)), number_(number), sync_(sync) {
    if (descriptor_.number() < 0) fail("cannot be opened for writing: ", errno);
}

std::unique_ptr<Log> Log::create(const std::string& path, std::uint64_t number, Sync sync, double seconds) {
    std::unique_ptr<Log> log(new Log(path, os::Opening::create, number, sync));
    try {
        const Head head = head_of(number);
        const std::span<const std::byte> piece = bytes_of(head);
        log->write({&piece, 1});
        if (!os::sync(log->descriptor_.number())) fail("cannot be synchronised: ", errno);
        disk::sync_folder(disk::folder_of(path));
        log->begin(seconds);
    } catch (...) {
        log.reset();  // Windows cannot remove an open file
        os::remove(path);
        throw;
    }
    return log;
}

std::unique_ptr<Log> Log::resume(const std::string& path, const LogContents& contents, Sync sync, double seconds) {
    if (!contents.lost.empty()) throw std::invalid_argument("a damaged log cannot be continued");
    std::unique_ptr<Log> log(new Log(path, os::Opening::write, contents.number, sync));
    const int descriptor = log->descriptor_.number();
    log->sequence_ = contents.records.size();
    log->end_ = contents.end;
    const auto status = os::status(descriptor);
    if (!status) fail("cannot be read: ", errno);
    if (status->size != contents.end + contents.torn) refuse("changed while it was read");
    if (contents.torn > 0 && !os::truncate(descriptor, contents.end)) {
        fail("its torn tail cannot be cut off: ", errno);
    }
    // The records may be only in the system's memory so far, but the caller relies on them.
    if (!os::sync(descriptor)) fail("cannot be synchronised: ", errno);
    log->begin(seconds);
    return log;
}

void Log::begin(double seconds) {
    if (sync_ != Sync::interval) return;
    if (!(seconds > 0.0 && seconds <= 86400.0)) {
        throw std::invalid_argument("the seconds between two synchronisations must be above 0 and at most 86400");
    }
    thread_ = std::thread([this, seconds] { run(std::chrono::duration<double>(seconds)); });
}

Log::~Log() {
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    changed_.notify_one();
    if (thread_.joinable()) thread_.join();
    if (sync_ == Sync::os) return;
    try {
        sync();
    } catch (const FileError&) {
        // The failure cannot be reported here. A caller that must know calls sync() first.
    }
}

void Log::append(std::span<const std::span<const std::byte>> pieces) {
    check_usable();
    check_alone();
    static constexpr std::array<std::byte, 8> zeros{};
    Checksum body;
    std::size_t length = 0;
    std::vector<std::span<const std::byte>> all(1);
    for (const auto& piece : pieces) {
        if (piece.empty()) continue;
        body.add(piece);
        length += piece.size();
        all.push_back(piece);
    }
    RecordHead head{length, sequence_, body.value(), 0};
    head.checksum = checksum_of(head, number_);
    all.front() = bytes_of(head);
    if (padding(length) > 0) all.push_back(std::span(zeros).first(padding(length)));
    const std::size_t before = end_;
    write(all);
    {
        const std::lock_guard lock(mutex_);
        dirty_ = true;
    }
    if (sync_ == Sync::interval) changed_.notify_one();
    if (sync_ == Sync::always) {
        try {
            sync();
        } catch (const FileError&) {
            // The record is not acknowledged, so it should not be found again. The log accepts no more records in any
            // case.
            if (os::truncate(descriptor_.number(), before)) end_ = before;
            throw;
        }
    }
    ++sequence_;
}

/// Write all pieces at the end of the file. After a FileError the file is as it was.
void Log::write(std::span<const std::span<const std::byte>> pieces) {
    std::vector<std::span<const std::byte>> left(pieces.begin(), pieces.end());
    std::size_t at = end_, first = 0;  // `first`: number of pieces that are written completely
    while (first < left.size()) {
        const std::ptrdiff_t written = os::write_at(descriptor_.number(), std::span(left).subspan(first), at);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) {
            const std::string why = "cannot be written: " + disk::reason_of(written == 0 ? ENOSPC : errno);
            cut_back();
            refuse(why);
        }
        auto done = static_cast<std::size_t>(written);
        at += done;
        while (first < left.size() && done >= left[first].size()) done -= left[first++].size();
        if (first < left.size()) left[first] = left[first].subspan(done);
    }
    end_ = at;
}

void Log::cut_back() {
    if (os::truncate(descriptor_.number(), end_)) return;
    // A part of the record is still in the file, and records behind it would not be found.
    give_up("half a record could not be cut off: " + disk::reason_of(errno));
}

void Log::sync() {
    // Only one thread synchronises at a time: the system reports a failure once, and no other caller may return before
    // that.
    const std::lock_guard syncing(syncing_);
    check_usable();
    {
        const std::lock_guard lock(mutex_);
        if (!std::exchange(dirty_, false)) return;
    }
    if (os::sync_data(descriptor_.number())) return;
    give_up("it could not be synchronised: " + disk::reason_of(errno));
    check_usable();
}

void Log::give_up(const std::string& why) {
    const std::lock_guard lock(mutex_);
    if (broken_.empty()) broken_ = why;
}

void Log::check_usable() const {
    const std::lock_guard lock(mutex_);
    if (broken_.empty()) return;
    refuse("can no longer be written, as " + broken_ + "; write a checkpoint, or open the folder again");
}

void Log::check_alone() const {
    {
        const std::lock_guard lock(mutex_);
        if (!broken_.empty()) return;  // a failed write of this process may have left the file in any state
    }
    const auto status = os::status(descriptor_.number());
    if (status && status->links > 0 && status->size == end_) return;
    refuse(
        "another process has changed or removed it, so nothing more is written; close the index and open the folder "
        "again");
}

std::size_t Log::bytes() const { return end_; }

void Log::run(std::chrono::duration<double> pause) {
    std::unique_lock lock(mutex_);
    while (true) {
        changed_.wait(lock, [this] { return ending_ || dirty_; });
        if (changed_.wait_for(lock, pause, [this] { return ending_; })) return;  // the destructor synchronises
        lock.unlock();
        try {
            sync();
        } catch (const FileError&) {
            return;  // the failure is kept as the reason why nothing can be appended any more
        }
        lock.lock();
    }
}

}  // namespace ann
