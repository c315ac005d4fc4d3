#include "folder.hpp"

#include <cerrno>
#include <exception>
#include <stdexcept>
#include <utility>

namespace ann {

namespace folder_files {

std::unique_ptr<Index> open_segment(const std::string& path, std::uint64_t number, Mode mode) {
    try {
        return Index::open(path + "/" + segment(number), mode);
    } catch (const FileError& error) {
        throw FileError(segment(number), error.what());
    }
}

LogContents open_log(const std::string& path, std::uint64_t number, bool skip_damage) {
    try {
        return read_log(path + "/" + log(number), skip_damage, number);
    } catch (const FileError& error) {
        throw FileError(log(number), error.reason);
    }
}

bool replay(Index& index, std::span<const std::byte> record, std::size_t threads, std::string& why) {
    try {
        index.redo(Change::decode(record), threads);
        return true;
    } catch (const std::invalid_argument& error) {
        why = error.what();
        return false;
    }
}

std::string whole_path(const std::string& path) {
    if (path.empty()) throw std::invalid_argument("the path of a folder is empty");
    std::string whole = os::text_of(std::filesystem::absolute(os::path_of(path)));
    while (whole.size() > 1 && whole.back() == '/') whole.pop_back();
    return whole;
}

}  // namespace folder_files

namespace {

namespace files = folder_files;

/// The contents of a folder, as read now.
struct Contents {
    std::uint64_t number;
    std::unique_ptr<Index> index;
    LogContents log;
};

Contents contents_of(const std::string& path, std::uint64_t number, Mode mode, std::size_t threads) {
    Contents contents{number, files::open_segment(path, number, mode), files::open_log(path, number)};
    std::string why;
    for (std::size_t i = 0; i < contents.log.records.size(); ++i) {
        if (files::replay(*contents.index, contents.log.records[i], threads, why)) continue;
        throw FileError(files::log(number), "record " + std::to_string(i) + " cannot be done again: " + why);
    }
    contents.index->redone(threads);
    return contents;
}

/// The same while another process writes: its files may be removed before they are read; then newer files are in use.
Contents contents_beside(const std::string& path, Mode mode, std::size_t threads) {
    constexpr int attempts = 10;
    for (int attempt = 1;; ++attempt) {
        const std::uint64_t number = files::read_manifest(path);
        try {
            return contents_of(path, number, mode, threads);
        } catch (const FileError&) {
            const bool again = attempt == 1 || files::read_manifest(path) != number;
            if (attempt == attempts || !again) throw;
        }
    }
}

/// Check that the folder can be opened. A folder with a MANIFEST is an index.
void check_is_index(const std::string& path) {
    const auto names = files::names(path);
    if (std::find(names.begin(), names.end(), files::manifest) != names.end()) return;
    throw FileError("folder", files::highest(names) == 0 ? "holds no index: there is no MANIFEST"
                                                         : "MANIFEST is missing; repair the folder, or, if creating it "
                                                           "was interrupted, remove it");
}

/// A new folder while it is made: files and folder are removed again unless they are kept.
class Founding {
public:
    explicit Founding(std::string path) : path_(std::move(path)), made_(os::make_folder(path_)) {
        if (!made_ && errno != EEXIST) throw FileError("folder", "cannot be made: " + disk::reason_of(errno));
        check_empty();
    }
    Founding(const Founding&) = delete;
    Founding& operator=(const Founding&) = delete;
    ~Founding() {
        if (kept_) return;
        if (locked_) files::remove(path_, {files::manifest, files::segment(1), files::log(1)});
        if (!made_) return;
        if (locked_) files::remove(path_, {files::lock});
        os::remove_folder(path_);
    }

    /// Write `index` as the first segment, with an empty log.
    std::pair<std::unique_ptr<files::Lock>, std::unique_ptr<Log>> lay(const Index& index, const Keeping& keeping) {
        auto lock = std::make_unique<files::Lock>(path_);
        check_empty();  // check again, because another process may have been first
        locked_ = true;
        index.save(path_ + "/" + files::segment(1));
        auto log = Log::create(path_ + "/" + files::log(1), 1, keeping.sync, keeping.seconds);
        if (made_) disk::sync_folder(disk::folder_of(path_));
        files::write_manifest(path_, 1);
        kept_ = true;
        return {std::move(lock), std::move(log)};
    }

private:
    void check_empty() const {
        for (const std::string& name : files::names(path_)) {
            if (name != files::lock) throw FileError("folder", "is not empty: " + name + " stands there");
        }
    }

    std::string path_;
    bool made_;
    bool locked_ = false;
    bool kept_ = false;
};

std::size_t bytes_of_segment(const std::string& path, std::uint64_t number) {
    std::error_code error;
    const auto bytes = std::filesystem::file_size(os::path_of(path + "/" + files::segment(number)), error);
    return error ? 0 : static_cast<std::size_t>(bytes);
}

}  // namespace

std::unique_ptr<Folder> Folder::create(const std::string& path, const Options& options, Schema schema,
                                       const Keeping& keeping) {
    std::unique_ptr<Folder> folder(new Folder(files::whole_path(path), keeping));
    folder->index_ = std::make_unique<Index>(options, std::move(schema));
    auto [lock, log] = Founding(folder->path_).lay(*folder->index_, keeping);
    folder->lock_ = std::move(lock);
    folder->highest_ = 1;
    folder->take_over(1, std::move(log));
    return folder;
}

std::unique_ptr<Folder> Folder::open(const std::string& path, Mode mode, bool read_only, const Keeping& keeping,
                                     std::size_t threads) {
    std::unique_ptr<Folder> folder(new Folder(files::whole_path(path), keeping));
    const std::string& at = folder->path_;
    check_is_index(at);
    if (read_only) {
        folder->index_ = contents_beside(at, mode, threads).index;
        return folder;
    }
    folder->lock_ = std::make_unique<files::Lock>(at);
    const auto noted = files::Lock::noted(at);
    folder->noted_ = noted.value_or(files::Noted{});
    Contents contents = contents_of(at, files::read_manifest(at), mode, threads);
    folder->index_ = std::move(contents.index);
    folder->highest_ = std::max(files::highest(files::names(at)), contents.number);
    const std::string log = at + "/" + files::log(contents.number);
    folder->take_over(contents.number, Log::resume(log, contents.log, keeping.sync, keeping.seconds),
                      files::missing(noted, contents.number, contents.log.records.size()));
    files::remove_orphans(at, contents.number);
    return folder;
}

Folder::~Folder() {
    // The log's thread is not in a forked process, so ending it would take for ever.
    if (forked()) static_cast<void>(log_.release());
}

void Folder::take_over(std::uint64_t number, std::unique_ptr<Log> log, std::uint64_t missing) {
    log_ = std::move(log);
    number_ = number;
    segment_bytes_ = bytes_of_segment(path_, number);
    fold_at_ = 0;
    missing_ = missing;
    trouble_.clear();
    note();
}

bool Folder::forked() const { return lock_ && process_ != os::process_number(); }

void Folder::check_not_forked() const {
    if (!forked()) return;
    throw FileError("folder", "was opened for writing by process " + std::to_string(process_) + ", and process " +
                                  std::to_string(os::process_number()) +
                                  " was forked from it; write there, or open the folder after the fork");
}

void Folder::check_writable() const {
    if (read_only()) throw std::invalid_argument("the index was opened for reading only");
    check_not_forked();
}

void Folder::note() {
    const files::Noted now{number_, log_->records(), missing_};
    if (now.log == noted_.log && now.records == noted_.records && now.missing == noted_.missing) return;
    lock_->note(now);
    noted_ = now;
}

Keep Folder::keep() {
    return [this](const Change& change) {
        Change::Head head;
        log_->append(change.pieces(head));
        note();
    };
}

std::size_t Folder::write(const Change& change, std::size_t threads, const Progress& progress) {
    check_writable();
    const std::lock_guard lock(writing_);
    const std::size_t count = index_->write(change, threads, progress, keep());
    fold_if_long();
    return count;
}

std::size_t Folder::drop(std::span<const std::byte> filter, std::size_t threads, const Progress& progress) {
    check_writable();
    const std::lock_guard lock(writing_);
    const std::size_t count = index_->drop(filter, threads, progress, keep());
    fold_if_long();
    return count;
}

std::size_t Folder::set(std::span<const std::byte> filter, std::span<const std::byte> fields) {
    check_writable();
    const std::lock_guard lock(writing_);
    const std::size_t count = index_->set(filter, fields, keep());
    fold_if_long();
    return count;
}

void Folder::compact(std::size_t threads, const Progress& progress) {
    check_writable();
    const std::lock_guard lock(writing_);
    index_->compact(threads, progress);
    renew();
}

void Folder::checkpoint() {
    check_writable();
    const std::lock_guard lock(writing_);
    renew();
}

void Folder::sync() {
    check_not_forked();
    const std::lock_guard lock(writing_);
    if (log_) log_->sync();
}

void Folder::snapshot(const std::string& path) const {
    check_not_forked();  // what the other process writes after the fork would be missing
    Founding(files::whole_path(path)).lay(*index_, {.sync = Sync::os});
}

std::string Folder::trouble() const {
    check_not_forked();
    const std::lock_guard lock(writing_);
    return trouble_;
}

void Folder::fold_if_long() {
    const std::size_t bytes = log_->bytes();
    if (bytes <= std::max({keeping_.longest_log, segment_bytes_ / 2, fold_at_})) return;
    try {
        renew();
    } catch (const std::exception& error) {
        // The change is in the log and acknowledged, so it must not look like a failed change.
        trouble_ = error.what();
        fold_at_ = bytes + bytes / 4;
    }
}

/// Write the index under the next number, and put these files in use.
void Folder::renew() {
    log_->check_alone();
    const std::uint64_t number = ++highest_;
    const std::vector<std::string> fresh{files::segment(number), files::log(number)};
    std::unique_ptr<Log> log;
    try {
        index_->save(path_ + "/" + fresh[0]);
        log = Log::create(path_ + "/" + fresh[1], number, keeping_.sync, keeping_.seconds);
    } catch (...) {
        files::remove(path_, fresh);
        throw;
    }
    try {
        files::write_manifest(path_, number);
    } catch (const std::exception& error) {
        // write_manifest may also fail after the replacement: then the old log is not the log that will be read.
        std::uint64_t in_force = 0;
        try {
            in_force = files::read_manifest(path_);
        } catch (const std::exception&) {
            in_force = 0;  // not known
        }
        if (in_force == number_) {
            log.reset();
            files::remove(path_, fresh);
            throw;
        }
        if (in_force == number) take_over(number, std::move(log));
        log_->give_up(std::string("it is not known which log will be read: ") + error.what());
        throw;
    }
    take_over(number, std::move(log));
    files::remove_orphans(path_, number);
}

}  // namespace ann
