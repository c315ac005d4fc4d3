// Folder::verify and Folder::repair: find what is wrong with a folder, and restore what is possible.
#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "file.hpp"
#include "folder.hpp"

namespace ann {
namespace {

namespace files = folder_files;

using Lines = std::vector<std::string>;

bool stands(const Lines& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

/// Return the sequence numbers of the records that a log still has.
std::vector<std::uint64_t> sequences(const LogContents& log) {
    std::vector<std::uint64_t> all;
    std::size_t lost = 0;
    for (std::uint64_t next = 0; all.size() < log.records.size(); ++next) {
        if (lost < log.lost.size() && log.lost[lost] == next) {
            ++lost;
        } else {
            all.push_back(next);
        }
    }
    return all;
}

/// Apply the log to the index again. Records that do not fit are left out and reported.
void replay_all(Index& index, const LogContents& log, const std::string& name, std::size_t threads, Lines& lines,
                bool& failed) {
    const auto all = sequences(log);
    std::string why;
    for (std::size_t i = 0; i < all.size(); ++i) {
        if (files::replay(index, log.records[i], threads, why)) continue;
        lines.push_back(name + ": record " + std::to_string(all[i]) + " cannot be done again: " + why);
        failed = true;
    }
    index.redone(threads);
}

/// Read what is left of a damaged log; nullopt if nothing of it can be read.
std::optional<LogContents> damaged_log(const std::string& path, std::uint64_t number, Lines& lines) {
    const std::string name = files::log(number);
    try {
        LogContents log = files::open_log(path, number, true);
        for (const std::uint64_t lost : log.lost) {
            lines.push_back(name + ": record " + std::to_string(lost) + " is lost");
        }
        return log;
    } catch (const FileError&) {
        lines.push_back(name + ": everything that was written since " + files::segment(number) + " is lost");
        return std::nullopt;
    }
}

void tell_torn(const LogContents& log, const std::string& name, Lines& lines) {
    if (log.torn == 0) return;
    lines.push_back(name + ": " + std::to_string(log.torn) +
                    " bytes at its end are not a complete record: a write that did not end, or a damaged last record");
}

void tell_missing(std::uint64_t missing, const std::string& name, Lines& lines) {
    if (missing == 0) return;
    lines.push_back(name + ": " + std::to_string(missing) +
                    " acknowledged changes are missing at its end: it was cut or replaced, or the power failed before "
                    "they were on the disk");
}

/// Check a folder once; `number` is the number in use, if it is known.
Lines looked_at(const std::string& path, std::optional<std::uint64_t>& number) {
    Lines lines;
    const bool in_use = files::Lock::is_held(path);
    const auto noted = files::Lock::noted(path);  // before the log is read, to which a process may be writing
    const Lines names = files::names(path);
    number = std::nullopt;
    try {
        number = files::read_manifest(path);
    } catch (const FileError& error) {
        lines.push_back(error.what());
    }
    for (const std::string& name : names) {
        const auto segment = files::segment_number(name);
        const auto log = files::log_number(name);
        if (number && segment.value_or(log.value_or(*number)) != *number) continue;  // an orphan
        try {
            if (segment) files::open_segment(path, *segment, Mode::automatic);
            if (log) files::open_log(path, *log);
        } catch (const FileError& error) {
            lines.push_back(error.what());
            if (log) damaged_log(path, *log, lines);
        }
    }
    if (!number) return lines;
    for (const std::string& name : {files::segment(*number), files::log(*number)}) {
        if (!stands(names, name)) lines.push_back(name + ": is missing");
    }
    if (lines.empty()) {
        const auto index = files::open_segment(path, *number, Mode::automatic);
        const LogContents log = files::open_log(path, *number);
        bool failed = false;
        replay_all(*index, log, files::log(*number), 1, lines, failed);
        tell_missing(files::missing(noted, *number, log.records.size()), files::log(*number), lines);
        if (!in_use) tell_torn(log, files::log(*number), lines);
    }
    if (in_use) return lines;  // leftover files may be files that the writer is making
    for (const std::string& name : files::orphans(names, *number)) {
        lines.push_back(name + ": is left over; opening the folder for writing removes it");
    }
    return lines;
}

/// The sections that can be made from the others.
constexpr std::array<std::string_view, 7> of_graph{"mean", "codes", "links", "seeds", "dups", "recall", "outer"};

/// Return the intact sections of a damaged container, whatever its header says. Throws FileError if a section is
/// damaged whose contents are in no other section.
std::vector<std::pair<std::string, std::span<const std::byte>>> whole_sections(std::span<const std::byte> bytes) {
    using namespace container;
    std::vector<std::pair<std::string, std::span<const std::byte>>> found;
    for (std::size_t i = 0; i < most_sections; ++i) {
        const std::size_t at = sizeof(Head) + i * sizeof(Entry);
        if (bytes.size() < at + sizeof(Entry)) break;
        const auto entry = value_at<Entry>(bytes, at);
        const std::string name(entry.text());
        const auto same = [&](const auto& section) { return section.first == name; };
        if (!good_name(name) || std::any_of(found.begin(), found.end(), same)) continue;
        const bool inside = entry.offset <= bytes.size() && entry.length <= bytes.size() - entry.offset;
        const auto section =
            inside ? bytes.subspan(static_cast<std::size_t>(entry.offset), static_cast<std::size_t>(entry.length))
                   : std::span<const std::byte>{};
        const bool whole = inside && entry.checksum == checksum(section);
        const bool needed = std::find(of_graph.begin(), of_graph.end(), name) == of_graph.end();
        if (needed && whole) found.emplace_back(name, section);
        if (needed && !whole) throw FileError(name, "damaged, and nothing else tells what it held");
    }
    return found;
}

/// Return the index of a damaged segment, with a graph built again from its vectors. Throws FileError.
std::unique_ptr<Index> salvaged(const std::string& path, std::uint64_t number, std::size_t threads) {
    const std::string left = path + "/.medann-repair.part";
    try {
        const disk::Contents contents(path + "/" + files::segment(number));
        const auto whole = whole_sections(contents.bytes());
        std::vector<Section> sections;
        for (const auto& [name, bytes] : whole) sections.push_back({name, bytes});
        write_file(left, sections);
        auto index = Index::open(left, Mode::memory, true);
        os::remove(left);
        index->compact(threads, nullptr);
        return index;
    } catch (const FileError& error) {
        os::remove(left);
        throw FileError(files::segment(number), std::string(error.what()) + "; it cannot be repaired");
    }
}

[[noreturn]] void refuse_empty() { throw FileError("folder", "holds no segment: there is nothing to repair"); }

/// Return whether this segment and its log are intact, with every record.
bool is_whole(const std::string& path, std::uint64_t number) {
    try {
        files::open_segment(path, number, Mode::automatic);
        return files::open_log(path, number).torn == 0;
    } catch (const FileError&) {
        return false;
    }
}

/// Return which number was probably in use, if MANIFEST is lost. A checkpoint that was interrupted, or has just
/// finished, leaves two: the log of the older number has everything that the newer segment has, and the newer log has
/// the later changes.
std::uint64_t most_likely(const std::string& path, const Lines& names) {
    std::vector<std::uint64_t> numbers;
    for (const std::string& name : names) {
        if (const auto number = files::segment_number(name)) numbers.push_back(*number);
    }
    std::sort(numbers.rbegin(), numbers.rend());
    if (numbers.empty()) refuse_empty();
    bool nothing_later = !stands(names, files::log(numbers[0]));
    try {
        const LogContents log = files::open_log(path, numbers[0]);
        nothing_later = log.records.empty() && log.torn == 0;
    } catch (const FileError&) {
        // The log is damaged, so it may have later changes.
    }
    return nothing_later && numbers.size() > 1 && is_whole(path, numbers[1]) ? numbers[1] : numbers[0];
}

/// The state of a repair.
struct Repair {
    std::string path;
    std::size_t threads;
    Lines names = {};
    Lines lines = {};
    Lines damaged = {};  ///< names of files to keep with the ending .damaged
    bool manifest_lost = false;
    bool anew = false;  ///< new files must be written
    std::uint64_t number = 0;
    std::uint64_t missing = 0;  ///< acknowledged records that the log lacks
    std::unique_ptr<Index> index = nullptr;
    LogContents log = {};

    void find_number() {
        try {
            number = files::read_manifest(path);
            if (stands(names, files::segment(number))) return;
            lines.push_back(files::segment(number) + ": is missing");
        } catch (const FileError& error) {
            lines.push_back(error.what());
        }
        number = most_likely(path, names);
        manifest_lost = anew = true;
        lines.push_back("MANIFEST: made from the files: " + files::segment(number) + " is used");
    }

    void read_segment() {
        try {
            index = files::open_segment(path, number, Mode::memory);
        } catch (const FileError& error) {
            index = salvaged(path, number, threads);
            lines.push_back(std::string(error.what()) + "; the graph was built again");
            damaged.push_back(files::segment(number));
            anew = true;
        }
    }

    void read_records() {
        const std::string name = files::log(number);
        bool failed = false;
        try {
            log = files::open_log(path, number);
        } catch (const FileError& error) {
            lines.push_back(error.what());
            if (auto found = damaged_log(path, number, lines)) log = std::move(*found);
            failed = true;
        }
        tell_torn(log, name, lines);
        missing = files::missing(files::Lock::noted(path), number, log.records.size() + log.lost.size());
        tell_missing(missing, name, lines);
        replay_all(*index, log, name, threads, lines, failed);
        if (failed && stands(names, name)) damaged.push_back(name);
        anew = anew || failed;
    }

    /// Write new files beside the old ones. Only after that the old files are touched.
    void write() {
        const std::uint64_t next = std::max(files::highest(names), number) + 1;
        index->save(path + "/" + files::segment(next));
        Log::create(path + "/" + files::log(next), next, Sync::os, 0.0);
        const std::string manifest = path + "/" + files::manifest;
        // A second name for the damaged MANIFEST, which may be useful to look at. A failure here does not matter.
        if (manifest_lost) static_cast<void>(os::link(manifest, manifest + ".damaged"));
        files::write_manifest(path, next);
        number = next;
        for (const std::string& name : damaged) {
            const std::string from = path + "/" + name, to = from + ".damaged";
            if (os::rename(from, to)) lines.push_back(name + ": kept as " + name + ".damaged");
        }
    }
};

}  // namespace

std::vector<std::string> Folder::verify(const std::string& path) {
    const std::string at = files::whole_path(path);
    constexpr int attempts = 10;
    for (int attempt = 1;; ++attempt) {
        try {
            std::optional<std::uint64_t> number;
            const Lines lines = looked_at(at, number);
            // If a process is writing, the files may have been replaced before the check ended.
            const bool again = !lines.empty() && number && files::read_manifest(at) != *number;
            if (!again || attempt == attempts) return lines;
        } catch (const FileError& error) {
            if (attempt == attempts) return {error.what()};
        }
    }
}

std::vector<std::string> Folder::repair(const std::string& path, std::size_t threads) {
    Repair repair{.path = files::whole_path(path), .threads = std::max<std::size_t>(threads, 1)};
    repair.names = files::names(repair.path);
    const auto is_segment = [](const std::string& name) { return files::segment_number(name).has_value(); };
    if (std::none_of(repair.names.begin(), repair.names.end(), is_segment)) refuse_empty();  // without making a LOCK
    const files::Lock lock(repair.path);
    repair.names = files::names(repair.path);
    repair.find_number();
    repair.read_segment();
    repair.read_records();
    if (repair.anew) {
        repair.write();
    } else if (repair.log.torn > 0) {
        Log::resume(repair.path + "/" + files::log(repair.number), repair.log, Sync::os, 0.0);
        repair.lines.push_back(files::log(repair.number) + ": the incomplete bytes were removed");
    }
    if (repair.missing > 0) lock.note({repair.number, repair.anew ? 0 : repair.log.records.size(), 0});
    const Lines orphans = files::orphans(files::names(repair.path), repair.number);
    files::remove(repair.path, orphans);
    for (const std::string& name : orphans) {
        if (!stands(repair.names, name)) continue;
        repair.lines.push_back(name + ": removed, as " + (repair.anew ? "there are new files" : "it was left over"));
    }
    disk::sync_folder(repair.path);
    return std::move(repair.lines);
}

}  // namespace ann
