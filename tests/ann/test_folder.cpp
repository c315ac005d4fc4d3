#include <folder.hpp>  // src/ann/folder.hpp; in quotes it would be the header of the tests, with ::Folder

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "bytes.hpp"
#include "check.hpp"
#include "folder.hpp"
#include "kept.hpp"

using ann::FileError, ann::Keeping, ann::Mode, ann::Sync;
using kept::Model, kept::Request, kept::What;
using Lines = std::vector<std::string>;

namespace {

constexpr Keeping lazy{.sync = Sync::os};

std::unique_ptr<ann::Folder> made(const std::string& path, const Keeping& keeping = lazy) {
    return ann::Folder::create(path, kept::options, kept::schema, keeping);
}

std::unique_ptr<ann::Folder> opened(const std::string& path, bool read_only = false, const Keeping& keeping = lazy,
                                    Mode mode = Mode::memory) {
    return ann::Folder::open(path, mode, read_only, keeping, 1);
}

Model contents(const std::string& path, bool read_only = true) {
    return kept::contents(opened(path, read_only)->index());
}

void write(ann::Folder& folder, Model& model, const Request& request) {
    folder.write(request.change(), 1, nullptr);
    request.make(model);
}

Lines names(const std::string& path) {
    Lines found = ann::folder_files::names(path);
    std::erase(found, "LOCK");
    return found;
}

bytes::Bytes read(const std::string& path) { return bytes::read(path); }

void put(const std::string& path, const bytes::Bytes& bytes) {
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    CHECK(file.flush().good());
}

void flip(const std::string& path, std::size_t at) {
    bytes::Bytes all = read(path);
    all[at] ^= std::byte{4};
    put(path, all);
}

/// Make a folder with a segment and `changes` changes in its log. Returns the contents that it must have after each
/// change.
std::vector<Model> filled(const std::string& path, std::size_t changes) {
    const auto folder = made(path);
    Model model;
    std::vector<std::int64_t> ids;
    for (std::int64_t id = 0; id < 40; ++id) ids.push_back(id);
    write(*folder, model, Request(What::add, ids, 5));
    folder->checkpoint();
    std::vector<Model> all{model};
    for (std::uint64_t seed = 1; all.size() <= changes; ++seed) {
        const Request request = kept::drawn(seed, model);
        write(*folder, model, request);
        if (folder->index().size() != model.size()) throw check::Failure("a change that does not fit");
        if (model != all.back()) all.push_back(model);
    }
    return all;
}

/// Changes, checkpoints, foldings, and openings of every kind, compared with a map.
void test_life() {
    for (const Sync sync : {Sync::always, Sync::interval, Sync::os}) {
        const Folder place;
        const std::string path = place / "index";
        const Keeping keeping{.sync = sync, .seconds = 0.002, .longest_log = 4000};
        auto folder = made(path, keeping);
        CHECK(names(path) == (Lines{"MANIFEST", "log-1.bin", "segment-1.ann"}));
        Model model;
        std::size_t foldings = 0;
        for (std::uint64_t seed = 0; seed < 240; ++seed) {
            const std::string log = names(path)[1];
            write(*folder, model, kept::drawn(seed, model));
            foldings += names(path)[1] != log;
            if (seed % 20 == 3) folder->sync();
            if (seed % 120 == 7) folder->checkpoint();
            if (seed % 110 == 99) folder->compact(1, nullptr);
            if (seed % 10 != 5) continue;
            CHECK(contents(path) == model && kept::contents(folder->index()) == model);
            CHECK(names(path).size() == 3 && folder->trouble().empty());
            if (seed % 20 != 5) continue;
            folder.reset();
            CHECK(ann::Folder::verify(path).empty());
            const Mode mode = seed % 40 == 5 ? Mode::mapped : Mode::memory;
            CHECK(kept::contents(opened(path, true, keeping, mode)->index()) == model);
            folder = opened(path, false, keeping, mode);
        }
        CHECK(foldings > 0);
    }
}

void test_by_filter() {
    const Folder place;
    const std::string path = place / "index";
    std::vector<Model> models = filled(path, 0);
    Model model = models.back();
    const auto folder = opened(path);
    kept::Bytes missing{std::byte{11}};
    kept::add<std::uint32_t>(missing, {0});
    const auto lacks = [](const auto& row) { return !row.second.depth; };
    const std::size_t without = static_cast<std::size_t>(std::count_if(model.begin(), model.end(), lacks));
    CHECK(without > 0 && folder->set(missing, kept::fields_of({-7})) == without);
    for (auto& [id, row] : model) row.depth = row.depth.value_or(-7);
    CHECK(contents(path) == model && folder->drop(missing, 1, nullptr) == 0);
    kept::Bytes range{std::byte{6}};
    kept::add<std::uint32_t>(range, {0});
    kept::add<std::int64_t>(range, {-7, 300});
    const std::size_t gone = std::erase_if(model, [](const auto& row) { return *row.second.depth <= 300; });
    CHECK(gone > 0 && folder->drop(range, 1, nullptr) == gone);
    CHECK(contents(path) == model && kept::contents(folder->index()) == model);
}

void test_refusals() {
    const Folder place;
    const std::string path = place / "index";
    CHECK(CHECK_THROWS(FileError, opened(path)) == "folder: cannot be read: No such file or directory");
    std::filesystem::create_directory(path);
    CHECK(CHECK_THROWS(FileError, opened(path)) == "folder: holds no index: there is no MANIFEST");
    CHECK(names(path).empty());
    put(path + "/notes", {});
    CHECK(CHECK_THROWS(FileError, made(path)) == "folder: is not empty: notes stands there");
    CHECK(names(path) == Lines{"notes"});
    std::filesystem::remove(path + "/notes");
    CHECK_THROWS(FileError, made(place / "none/index"));
    CHECK_THROWS(std::invalid_argument, made(""));
    CHECK_THROWS(std::invalid_argument, made(place / "new", {.seconds = 0.0}));
    CHECK(!std::filesystem::exists(place / "new"));

    auto folder = made(path + "//");  // the folder exists and is empty
    CHECK(CHECK_THROWS(FileError, opened(path)).starts_with("folder: is being written by another process"));
    CHECK_THROWS(FileError, ann::Folder::repair(path, 1));
    CHECK_THROWS(FileError, made(path));
    Model model;
    const Request first(What::add, {1, 2, 3}, 1);
    write(*folder, model, first);
    CHECK_THROWS(std::invalid_argument, folder->write(first.change(), 1, nullptr));
    const auto reader = opened(path, true);
    CHECK(reader->read_only() && !folder->read_only() && kept::contents(reader->index()) == model);
    CHECK_THROWS(std::invalid_argument, reader->write(Request(What::drop, {1}, 1).change(), 1, nullptr));
    CHECK_THROWS(std::invalid_argument, reader->checkpoint());
    CHECK_THROWS(std::invalid_argument, reader->compact(1, nullptr));
    reader->sync();
    write(*folder, model, Request(What::drop, {1}, 1));
    CHECK(reader->index().size() == 3 && folder->index().size() == 2);

    // A snapshot is the index as it is, also when a reader makes it. The folder can be used afterwards.
    CHECK_THROWS(FileError, folder->snapshot(path));
    folder->snapshot(place / "copy");
    reader->snapshot(place / "older");
    write(*folder, model, Request(What::put, {1, 9}, 2));
    CHECK(contents(place / "copy").size() == 2 && contents(place / "older").size() == 3);
    CHECK(ann::Folder::verify(place / "copy").empty() && ann::Folder::verify(path).empty());
    folder.reset();
    CHECK(contents(path) == model);
}

/// A log that is cut off anywhere has the changes whose records are whole. After that another change can be written.
void test_torn() {
    const Folder place;
    const std::string path = place / "index", log = path + "/log-2.bin";
    const std::vector<Model> models = filled(path, 6);
    const bytes::Bytes whole = read(log);
    std::size_t least = 0;
    for (std::size_t size = 32; size <= whole.size(); size += size + 16 < whole.size() ? 13 : 1) {
        put(log, {whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)});
        const Model there = contents(path);
        while (least < models.size() && models[least] != there) ++least;
        CHECK(least < models.size());
        Model model = there;
        write(*opened(path), model, Request(What::put, {5, 77}, size));
        // What was cut off had been acknowledged, and that is not forgotten.
        for (const std::string& fault : ann::Folder::verify(path)) {
            CHECK(fault.find("acknowledged changes are missing at its end") != std::string::npos);
        }
        CHECK(contents(path) == model);
    }
    CHECK(least + 1 == models.size() && ann::Folder::verify(path).size() == 1);
}

void test_orphans() {
    const Folder place;
    const std::string path = place / "index";
    const Model model = filled(path, 3).back();
    const Lines left{".medann-1-0.part", "log-7.bin", "segment-1.ann", "segment-3.ann"};
    const Lines others{"log-02.bin", "log-2.bin.damaged", "notes", "segment-.ann", "segment-x.ann"};
    for (const Lines& some : {left, others}) {
        for (const std::string& name : some) put(path + "/" + name, bytes::Bytes(9));
    }
    CHECK(ann::Folder::verify(path).size() == left.size());
    CHECK(contents(path) == model && names(path).size() == 3 + left.size() + others.size());
    CHECK(contents(path, false) == model && names(path).size() == 3 + others.size());
    CHECK(ann::Folder::verify(path).empty());
    const auto folder = opened(path);
    folder->checkpoint();
    CHECK(names(path).size() == 3 + others.size() && contents(path) == model);
}

/// A copy of a folder, to be damaged.
struct Copy {
    explicit Copy(const std::string& from) : path(place / "index") { std::filesystem::copy(from, path); }
    const std::string operator/(const std::string& name) const { return path + "/" + name; }
    Folder place;
    std::string path;
};

bool tells(const Lines& lines, const std::string& what) {
    const auto has = [&](const std::string& line) { return line.find(what) != std::string::npos; };
    return std::any_of(lines.begin(), lines.end(), has);
}

/// Check that damage is found, and that after the repair nothing is wrong and the contents are as expected.
Lines check_repair(const Copy& copy, const Model& expected) {
    CHECK(!ann::Folder::verify(copy.path).empty());
    const Lines done = ann::Folder::repair(copy.path, 1);
    CHECK(!done.empty() && ann::Folder::verify(copy.path).empty());
    CHECK(contents(copy.path) == expected && contents(copy.path, false) == expected);
    CHECK(ann::Folder::repair(copy.path, 1).empty());
    return done;
}

void test_damaged_logs() {
    const Folder place;
    const std::string path = place / "index";
    filled(path, 0);
    Model model = contents(path);
    {
        const auto folder = opened(path);
        // Three records with different ids: any of them may be missing.
        for (std::int64_t i = 0; i < 3; ++i) {
            const Request request(What::put, {100 + i}, static_cast<std::uint64_t>(i));
            folder->write(request.change(), 1, nullptr);
            request.make(model);
        }
    }
    const std::size_t size = read(path + "/log-2.bin").size(), record = (size - 32) / 3;
    for (std::size_t at = 0; at < size; at += 7) {
        const Copy copy(path);
        flip(copy / "log-2.bin", at);
        Model rest = model;
        if (at >= 32) rest.erase(100 + static_cast<std::int64_t>((at - 32) / record));
        if (at >= 32 + 2 * record) {  // as if it had never been written completely
            CHECK(contents(copy.path) == rest && tells(ann::Folder::verify(copy.path), "not a complete record"));
            CHECK(tells(check_repair(copy, rest), "the incomplete bytes were removed"));
            continue;
        }
        const std::string words = CHECK_THROWS(FileError, opened(copy.path));
        CHECK_THROWS(FileError, contents(copy.path));
        const std::string name = "record " + std::to_string((at - 32) / record);
        CHECK(words.starts_with("log-2.bin: ") && (at < 32 || words.find(name) != std::string::npos));
        const Lines done = check_repair(copy, rest);
        CHECK(at < 32 || tells(done, name + " is lost"));
        CHECK(std::filesystem::exists(copy / "log-2.bin.damaged") && !std::filesystem::exists(copy / "log-2.bin"));
    }
    const Copy copy(path);
    std::filesystem::remove(copy / "log-2.bin");
    CHECK_THROWS(FileError, opened(copy.path));
    for (std::int64_t id = 100; id < 103; ++id) model.erase(id);
    CHECK(tells(check_repair(copy, model), "everything that was written since segment-2.ann is lost"));
}

/// An intact record that does not fit the index.
void test_foreign_records() {
    const Folder place;
    const Copy copy([&] {
        filled(place / "index", 2);
        return place / "index";
    }());
    Model model = contents(copy.path);
    {
        const std::string path = copy / "log-2.bin";
        const auto log = ann::Log::resume(path, ann::read_log(path), Sync::os, 0);
        const auto add = [&](const bytes::Bytes& body) {
            const std::span<const std::byte> piece(body);
            log->append({&piece, 1});
        };
        add(Request(What::add, {model.begin()->first}, 3).change().encode());
        add(bytes::Bytes(9));
        const Request last(What::put, {500}, 3);
        add(last.change().encode());
        last.make(model);
    }
    CHECK(CHECK_THROWS(FileError, opened(copy.path)).find("cannot be done again: ids: ") != std::string::npos);
    CHECK(tells(check_repair(copy, model), "cannot be done again: change: too short"));
}

void test_damaged_files() {
    const Folder place;
    const std::string path = place / "index";
    const Model model = filled(path, 5).back();
    for (const bool gone : {false, true}) {
        const Copy copy(path);
        if (gone) std::filesystem::remove(copy / "MANIFEST");
        if (!gone) flip(copy / "MANIFEST", 4100);
        CHECK(CHECK_THROWS(FileError, opened(copy.path)).find("MANIFEST") != std::string::npos);
        CHECK(tells(check_repair(copy, model), "segment-2.ann is used"));
        CHECK(std::filesystem::exists(copy / "MANIFEST.damaged") == !gone);
    }
    {  // A checkpoint that was interrupted: the newer files have fewer changes.
        const Copy copy(path);
        {
            opened(copy.path)->checkpoint();
        }
        for (const std::string name : {"segment-2.ann", "log-2.bin"}) {
            std::filesystem::copy(path + "/" + name, copy / name);
        }
        std::filesystem::remove(copy / "MANIFEST");
        check_repair(copy, model);
    }
    for (const std::string name : {"segment-2.ann", "all"}) {
        const Copy copy(path);
        for (const std::string& file : names(copy.path)) {
            if (file == name || name == "all") std::filesystem::remove(copy / file);
        }
        CHECK(!ann::Folder::verify(copy.path).empty());
        CHECK(CHECK_THROWS(FileError, ann::Folder::repair(copy.path, 1)) ==
              "folder: holds no segment: there is nothing to repair");
    }
}

/// Return where a section of a container is.
std::pair<std::size_t, std::size_t> place_of(const bytes::Bytes& file, std::string_view name) {
    for (std::size_t i = 0; i < bytes::entries(file); ++i) {
        const std::size_t at = bytes::table_at + i * bytes::entry_size;
        const auto entry = bytes::get<ann::container::Entry>(file, at);
        if (entry.text() == name) return {entry.offset, entry.length};
    }
    throw check::Failure("no section " + std::string(name));
}

void test_damaged_segments() {
    const Folder place;
    const std::string path = place / "index";
    Model model;
    {
        const auto folder = made(path);
        std::vector<std::int64_t> ids;
        for (std::int64_t id = 0; id < 1100; ++id) ids.push_back(id % 2 == 0 ? id : 3000 - id);
        write(*folder, model, Request(What::add, ids, 1));
        write(*folder, model, Request(What::drop, {8, 10}, 1));
        folder->checkpoint();
        write(*folder, model, Request(What::put, {12, 8}, 2));
    }
    const bytes::Bytes segment = read(path + "/segment-2.ann");
    for (const std::string_view name : {"mean", "codes", "links", "seeds", "recall"}) {
        const Copy copy(path);
        const auto [at, length] = place_of(segment, name);
        flip(copy / "segment-2.ann", at + length / 2);
        CHECK(CHECK_THROWS(FileError, opened(copy.path)) == "segment-2.ann: " + std::string(name) + ": wrong checksum");
        CHECK(tells(check_repair(copy, model), "the graph was built again"));
        CHECK(opened(copy.path)->index().stats().linked > 1000);
        CHECK(std::filesystem::exists(copy / "segment-2.ann.damaged"));
    }
    for (const std::size_t at : {std::size_t{3}, bytes::size_at, std::size_t{3000}}) {  // only the header
        const Copy copy(path);
        flip(copy / "segment-2.ann", at);
        check_repair(copy, model);
    }
    for (const std::string_view name : {"vectors", "ids", "live", "fields", "params", "schema"}) {
        const Copy copy(path);
        const auto [at, length] = place_of(segment, name);
        flip(copy / "segment-2.ann", at + length / 2);
        const Lines before = names(copy.path);
        CHECK(tells(ann::Folder::verify(copy.path), std::string(name) + ": wrong checksum"));
        CHECK_THROWS(FileError, ann::Folder::repair(copy.path, 1));
        CHECK(names(copy.path) == before && read(copy / "MANIFEST") == read(path + "/MANIFEST"));
    }
}

/// Readers in other processes, simulated by openings that know nothing of the writer, while its files change.
void test_beside() {
    const Folder place;
    const std::string path = place / "index";
    auto folder = made(path);
    Model model;
    write(*folder, model, Request(What::add, {0}, 0));
    std::atomic<bool> done{false};
    std::string wrong;
    std::thread reading([&] {
        try {
            while (!done) {
                const auto reader = opened(path, true);
                const Model seen = kept::contents(reader->index());
                CHECK(seen.size() == static_cast<std::size_t>(seen.rbegin()->first) + 1);
            }
        } catch (const std::exception& error) {
            wrong = error.what();
        }
    });
    for (std::int64_t id = 1; id < 120; ++id) {
        write(*folder, model, Request(What::add, {id}, 0));
        if (id % 3 == 0) folder->checkpoint();
    }
    done = true;
    reading.join();
    CHECK(wrong.empty());
    CHECK(contents(path) == model);
}

}  // namespace

void test_folder() {
    test_life();
    test_by_filter();
    test_refusals();
    test_torn();
    test_orphans();
    test_damaged_logs();
    test_foreign_records();
    test_damaged_files();
    test_damaged_segments();
    test_beside();
}
