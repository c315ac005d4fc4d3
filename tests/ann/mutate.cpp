// Small index files, logs, filters, fields, ids and changes, altered at random by a seeded mutator that knows their
// structure; index files are also cut off at every length.
//
//     ann_mutate [N [SEED]]             try N altered inputs of each kind (default 100,000)
//     ann_mutate KIND [N [SEED]]        only one kind: open, log, filter, payload, ids or change
//     ann_mutate --corpus FOLDER        write the unaltered inputs, a folder for each kind, as a corpus for libFuzzer
//     ann_mutate --one KIND N SEED      write input number N of SEED to stdout, to examine a failure
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "answers.hpp"
#include "bytes.hpp"
#include "check.hpp"
#include "folder.hpp"
#include "fuzz.hpp"
#include "index.hpp"
#include "log.hpp"
#include "log_format.hpp"
#include "model.hpp"
#include "random.hpp"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

namespace {

using bytes::Bytes;
using filters::Program;
using model::Dice, model::Id, model::What;

Bytes saved(const ann::Index& index) {
    const Folder folder;
    index.save(folder / "index");
    return bytes::read(folder / "index");
}

Bytes plain_file(const ann::Options& options, std::size_t n) {
    const std::vector<float> vectors = clustered(n, options.dim, options.seed, n > 1000 ? 560 : n);
    ann::Index index(options);
    index.add(vectors.data(), n, 1, nullptr);
    return saved(index);
}

Id id_of(std::size_t i, bool texts) {
    if (texts) return "id " + std::to_string(i);
    return static_cast<std::int64_t>(i * 3);
}

std::vector<Id> some_ids(std::size_t first, std::size_t last, bool texts) {
    std::vector<Id> ids;
    for (std::size_t i = first; i < last; ++i) ids.push_back(id_of(i, texts));
    return ids;
}

model::Request request(What what, std::size_t dim, const std::vector<Id>& ids, Dice& dice) {
    std::vector<filters::Row> rows;
    if (what != What::drop) {
        for (std::size_t i = 0; i < ids.size(); ++i) rows.push_back(model::drawn_row(dice));
    }
    const bool brings = what == What::add || what == What::put;
    return model::request(what, dim, model::batch_of(ids), rows,
                          brings ? clustered(ids.size(), dim, dice.below(1000), 560) : std::vector<float>{});
}

/// Return a file with fields of all kinds, dead rows, and ids.
Bytes full_file(const ann::Options& options, std::size_t n, bool texts) {
    Dice dice(options.seed);
    ann::Index index(options, model::schema);
    index.write(request(What::add, options.dim, some_ids(0, n, texts), dice).change(), 1, nullptr);
    index.write(request(What::put, options.dim, some_ids(n / 3, n / 2, texts), dice).change(), 1, nullptr);
    index.write(request(What::drop, options.dim, some_ids(2, n / 5, texts), dice).change(), 1, nullptr);
    return saved(index);
}

std::vector<Bytes> whole_files() {
    using ann::Metric, ann::Refine;
    // The smallest indexes that have a graph, and some without a graph.
    const ann::Options l2{2, Metric::l2, Refine::float32, 4, 8, 1};
    const ann::Options cosine{3, Metric::cosine, Refine::float16, 4, 8, 2};
    const ann::Options product{1, Metric::inner_product, Refine::float32, 5, 8, 3};
    return {
        plain_file(l2, 1100),   plain_file(cosine, 1030),   plain_file(product, 1025),     plain_file(l2, 9),
        plain_file(cosine, 0),  full_file(l2, 1080, false), full_file(cosine, 1060, true), full_file(product, 40, true),
        full_file(l2, 0, false)};
}

std::vector<Bytes> whole_changes() {
    std::vector<Bytes> all;
    for (std::uint64_t seed = 0; seed < 4; ++seed) {
        for (const What what : {What::add, What::put, What::drop, What::set}) {
            Dice dice(seed);
            std::vector<Id> ids;
            const std::int64_t first = what == What::add ? 100 : 0;
            for (std::int64_t i = 0; i < 5; ++i) ids.emplace_back(first + i * 2);
            all.push_back(request(what, 2, ids, dice).change().encode());
        }
    }
    const Program three = model::numbers(3);
    all.push_back(ann::Change{What::add, 2, three.bytes, {}, std::vector<float>(6, 1.0f)}.encode());
    return all;
}

std::vector<Bytes> whole_logs() {
    const Folder folder;
    std::vector<Bytes> logs;
    for (const std::size_t records : {0u, 1u, 9u}) {
        const std::string path = folder / "log" + std::to_string(records);
        const auto log = ann::Log::create(path, 7, ann::Sync::os, 0);
        const std::vector<Bytes> changes = whole_changes();
        for (std::size_t i = 0; i < records; ++i) {
            const std::span<const std::byte> all(changes[i]);
            log->append({&all, 1});
        }
        logs.push_back(bytes::read(path));
    }
    return logs;
}

std::vector<Bytes> whole_filters() {
    const auto number = static_cast<std::int64_t>(3);
    const Program tag = Program().among(model::species, {"tag1", "tag3"}),
                  low = Program().range(model::depth, number, number * 9),
                  box = Program().box(model::place, -20, 170, 30, -150),
                  ids = Program().has_id({"id4", "id-9", "none"});
    const Program batch = model::batch_of(some_ids(0, 6, false));
    const Program polygon =
        Program().polygon(model::place, {{{0, 0}, {0, 60}, {60, 60}, {60, 0}}, {{10, 10}, {10, 20}, {20, 20}}});
    const std::vector<Program> all{
        tag,
        low,
        box,
        ids,
        polygon,
        Program().u8(10).u32(batch.bytes.size()).raw(batch.bytes),
        Program().among(model::who, {"who3", "who30"}, true),
        Program().among_wholes(model::seen, {1}),
        Program().among_wholes(model::when, {1'000'000, 999'000'000}, true),
        Program().range(model::length, -0.25, 0.75),
        Program().circle(model::place, 40, -10, 3e6),
        Program().missing(model::length),
        Program().joined(0, {tag, low, Program().inverse(box)}),
        Program().joined(1, {polygon, Program().joined(0, {}), ids, Program().missing(model::who)}),
        Program().at_least(2, {tag, low, box, Program().missing(model::place), Program().inverse(ids)}),
    };
    std::vector<Bytes> programs;
    for (const Program& program : all) programs.push_back(program.bytes);
    return programs;
}

std::vector<Bytes> whole_payloads() {
    std::vector<Bytes> all;
    for (std::uint64_t seed = 0; seed < 6; ++seed) {
        Dice dice(seed);
        std::vector<filters::Row> rows;
        for (std::size_t i = dice.below(12); i > 0; --i) rows.push_back(model::drawn_row(dice));
        all.push_back(filters::encode(model::schema, {0, 1, 2, 3, 4, 5, 6}, rows));
        all.push_back(filters::encode(model::schema, {static_cast<std::size_t>(seed)}, rows));
    }
    return all;
}

std::vector<Bytes> whole_ids() {
    return {model::numbers(0).bytes, model::numbers(900).bytes, model::batch_of(some_ids(0, 9, false)).bytes,
            model::batch_of(some_ids(0, 12, true)).bytes, model::batch_of({std::string("\xc3\xa4\xe2\x82\xac")}).bytes};
}

struct Part {
    std::string name;
    Bytes bytes;
};

std::vector<Part> parts_of(const Bytes& file) {
    std::vector<Part> parts;
    for (std::size_t i = 0; i < bytes::entries(file); ++i) {
        const std::size_t at = bytes::table_at + i * bytes::entry_size;
        ann::container::Entry entry{};
        std::memcpy(&entry, file.data() + at, sizeof entry);
        const auto first = file.begin() + static_cast<std::ptrdiff_t>(entry.offset);
        parts.push_back({std::string(entry.text()), Bytes(first, first + static_cast<std::ptrdiff_t>(entry.length))});
    }
    return parts;
}

/// Return a container of these parts with the required layout and right checksums, made without a disk.
Bytes joined(const std::vector<Part>& parts) {
    using namespace ann::container;
    Bytes file(page);
    std::vector<Entry> table;
    for (const Part& part : parts) {
        file.resize(static_cast<std::size_t>(aligned(file.size())));
        Entry entry{{}, file.size(), part.bytes.size(), 0};
        std::copy(part.name.begin(), part.name.end(), entry.name.begin());
        table.push_back(entry);
        file.insert(file.end(), part.bytes.begin(), part.bytes.end());
    }
    const auto count = static_cast<std::uint32_t>(table.size());
    const auto length = static_cast<std::uint32_t>(header_length(count));
    const Head head{magic, major_version, minor_version, byte_order, length, count, file.size()};
    std::memcpy(file.data(), &head, sizeof head);
    for (std::size_t i = 0; i < table.size(); ++i) bytes::put(file, bytes::table_at + i * bytes::entry_size, table[i]);
    bytes::seal(file);
    return file;
}

/// Return a number that often causes errors: an end of a range, a size of a small file, NaN or infinity.
std::uint64_t awkward(Dice& dice) {
    constexpr std::uint64_t known[] = {9,    1024,       1025,       1030,       1099,
                                       1100, 0x7f800000, 0x7fc00000, 0x7f7fffff, 0x7ff0000000000000};
    if (dice.heads()) return known[dice.below(std::size(known))];
    return (std::uint64_t{1} << dice.below(64)) - dice.below(3) + 1;
}

/// Change some values of `where`, as bytes, as words of 4 or as words of 8.
void change_values(Bytes& where, std::size_t first, std::size_t length, Dice& dice) {
    if (length == 0) return;
    for (std::size_t times = 1 + dice.below(4); times > 0; --times) {
        const std::size_t size = std::size_t{1} << dice.below(4);
        if (length < size) continue;
        const std::size_t at = first + dice.below(length / size) * size;
        std::uint64_t value = dice.heads() ? awkward(dice) : dice.below(~std::size_t{0});
        const std::size_t kind = dice.below(4);
        if (kind == 0) {  // one more or one less
            std::memcpy(&value, where.data() + at, size);
            value += dice.heads() ? 1 : ~std::uint64_t{0};
        }
        // The same value as another place or as the place before.
        if (kind == 1) std::memcpy(&value, where.data() + first + dice.below(length / size) * size, size);
        if (kind == 2 && at >= first + size) std::memcpy(&value, where.data() + at - size, size);
        std::memcpy(where.data() + at, &value, size);
    }
}

/// Change the contents or the length of a section, remove one, double it, or swap two. All checksums are right.
Bytes with_other_sections(const Bytes& whole, Dice& dice) {
    std::vector<Part> parts = parts_of(whole);
    const std::size_t one = dice.below(parts.size()), other = dice.below(parts.size());
    Bytes& content = parts[one].bytes;
    const std::size_t size = content.size();
    switch (dice.below(8)) {
        case 0: content.resize(dice.below(size + 1)); break;
        case 1: content.resize(size + 1 + dice.below(64)); break;
        case 2: std::swap(content, parts[other].bytes); break;
        case 3: parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(one)); break;
        case 4: std::swap(parts[one], parts[other]); break;
        default: change_values(content, 0, size, dice);
    }
    return joined(parts);
}

Bytes changed_file(const std::vector<Bytes>& whole, Dice& dice) {
    Bytes file = whole[dice.below(whole.size())];
    if (dice.below(3) != 0) return with_other_sections(file, dice);
    switch (dice.below(4)) {
        case 0: file.resize(dice.below(file.size())); break;
        case 1: change_values(file, 0, bytes::table_at + bytes::entries(file) * bytes::entry_size, dice); break;
        default: change_values(file, 0, file.size(), dice);
    }
    if (dice.heads()) bytes::seal(file);
    return file;
}

/// Change values; remove or double bytes, or insert bytes of another input; cut the input off.
Bytes changed_bytes(const std::vector<Bytes>& whole, Dice& dice) {
    Bytes made = whole[dice.below(whole.size())];
    const Bytes& other = whole[dice.below(whole.size())];
    for (std::size_t times = 1 + dice.below(2); times > 0; --times) {
        const std::size_t at = dice.below(made.size() + 1),
                          length = dice.below(std::min<std::size_t>(made.size() - at, 24) + 1);
        const auto place = made.begin() + static_cast<std::ptrdiff_t>(at);
        const auto end = place + static_cast<std::ptrdiff_t>(length);
        switch (dice.below(7)) {
            case 0: made.erase(place, end); break;
            case 1: {
                const Bytes piece(place, end);
                made.insert(place, piece.begin(), piece.end());
                break;
            }
            case 2: {
                const std::size_t from = dice.below(other.size() + 1);
                const auto first = other.begin() + static_cast<std::ptrdiff_t>(from);
                made.insert(place, first,
                            first + static_cast<std::ptrdiff_t>(std::min<std::size_t>(other.size() - from, 32)));
                break;
            }
            case 3: made.resize(at); break;
            default: change_values(made, 0, made.size(), dice);
        }
    }
    return made;
}

/// Change a log as bytes; or alter, remove, double or move whole records, with right checksums.
Bytes changed_log(const std::vector<Bytes>& whole, Dice& dice) {
    const Bytes& log = whole[dice.below(whole.size())];
    if (dice.below(3) == 0) return changed_bytes(whole, dice);
    using ann::log_format::Head, ann::log_format::RecordHead;
    std::vector<Bytes> records;
    for (std::size_t at = sizeof(Head); at + sizeof(RecordHead) <= log.size();) {
        const auto length = static_cast<std::size_t>(bytes::get<std::uint64_t>(log, at));
        const auto body = log.begin() + static_cast<std::ptrdiff_t>(at + sizeof(RecordHead));
        records.emplace_back(body, body + static_cast<std::ptrdiff_t>(length));
        at += sizeof(RecordHead) + (length + 7) / 8 * 8;
    }
    if (!records.empty()) {
        const std::size_t one = dice.below(records.size()), other = dice.below(records.size());
        switch (dice.below(4)) {
            case 0: records[one] = changed_bytes({records[one], records[other]}, dice); break;
            case 1: records.erase(records.begin() + static_cast<std::ptrdiff_t>(one)); break;
            case 2: records.insert(records.begin() + static_cast<std::ptrdiff_t>(other), Bytes(records[one])); break;
            default: std::swap(records[one], records[other]);
        }
    }
    const Folder folder;
    {
        const auto fresh = ann::Log::create(folder / "log", 7 + dice.below(2), ann::Sync::os, 0);
        for (const Bytes& record : records) {
            const std::span<const std::byte> all(record);
            fresh->append({&all, 1});
        }
    }
    Bytes made = bytes::read(folder / "log");
    if (dice.below(3) == 0) made.resize(dice.below(made.size() + 1));
    if (dice.below(4) == 0) change_values(made, 0, made.size(), dice);
    return made;
}

/// A kind of bytes that come from outside.
struct Kind {
    std::string_view name;
    std::vector<Bytes> (*whole)();
    Bytes (*changed)(const std::vector<Bytes>&, Dice&);
    int (*tried)(const std::uint8_t*, std::size_t);
};

constexpr Kind kinds[] = {
    {"open", whole_files, changed_file, fuzz_open},        {"log", whole_logs, changed_log, fuzz_log},
    {"filter", whole_filters, changed_bytes, fuzz_filter}, {"payload", whole_payloads, changed_bytes, fuzz_payload},
    {"ids", whole_ids, changed_bytes, fuzz_ids},           {"change", whole_changes, changed_bytes, fuzz_change},
};

const Kind* kind_of(std::string_view name) {
    for (const Kind& kind : kinds) {
        if (kind.name == name) return &kind;
    }
    return nullptr;
}

// The input that is being tried, for the message of a sanitizer or of the alarm.
volatile std::uint64_t current = 0, current_seed = 0;
const char* volatile current_kind = "";

void say_current() {
    char text[96];
    const std::uint64_t number = current, seed = current_seed;
    const int length = std::snprintf(text, sizeof text, "this was --one %s %llu %llu\n", current_kind,
                                     static_cast<unsigned long long>(number), static_cast<unsigned long long>(seed));
    static_cast<void>(!::write(STDERR_FILENO, text, static_cast<std::size_t>(length)));
}

int tried(const Kind& kind, const Bytes& bytes) {
    ::alarm(20);  // no input may keep a reader or a search busy for longer
    const int accepted = kind.tried(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
    ::alarm(0);
    return accepted;
}

/// Try shorter versions of the file, as they are and with a header of the right length: every length of a small file;
/// of other files those that end near the ends of sections, and some between.
std::size_t try_truncations(const Kind& kind, const Bytes& whole) {
    std::size_t files = 0;
    for (Bytes shorter = whole; !shorter.empty();) {
        shorter.pop_back();
        const std::size_t from_page = shorter.size() % ann::container::page;
        if (from_page > 40 && from_page < 4060 && shorter.size() % 61 != 0) continue;
        CHECK(tried(kind, shorter) == 0);
        ++files;
        Bytes repaired = shorter;
        if (repaired.size() < ann::container::page) continue;
        bytes::put<std::uint64_t>(repaired, bytes::size_at, repaired.size());
        const std::size_t last = bytes::table_at + (bytes::entries(whole) - 1) * bytes::entry_size;
        const auto offset = bytes::get<std::uint64_t>(whole, last + 8);
        if (repaired.size() >= offset) bytes::put<std::uint64_t>(repaired, last + 16, repaired.size() - offset);
        bytes::seal(repaired);
        tried(kind, repaired);
        ++files;
    }
    return files;
}

void write(const std::string& path, const Bytes& file) {
    std::FILE* to = path == "-" ? stdout : std::fopen(path.c_str(), "wb");
    if (to == nullptr || std::fwrite(file.data(), 1, file.size(), to) != file.size()) throw check::Failure(path);
    if (to != stdout) std::fclose(to);
}

void write_corpus(const std::string& folder) {
    for (const Kind& kind : kinds) {
        const std::string own = folder + "/" + std::string(kind.name);
        std::filesystem::create_directories(own);
        const std::vector<Bytes> whole = kind.whole();
        for (std::size_t i = 0; i < whole.size(); ++i) write(own + "/whole" + std::to_string(i), whole[i]);
    }
}

Bytes numbered(const Kind& kind, const std::vector<Bytes>& whole, std::uint64_t number, std::uint64_t seed) {
    Dice dice(ann::random_bits(seed, number));
    return kind.changed(whole, dice);
}

void try_kind(const Kind& kind, std::uint64_t count, std::uint64_t seed) {
    const std::vector<Bytes> whole = kind.whole();
    current_kind = kind.name.data();
    current_seed = seed;
    for (const Bytes& one : whole) CHECK(tried(kind, one) == 1);
    std::size_t accepted = 0, truncated = 0;
    if (kind.tried == fuzz_open) {
        for (const Bytes& file : whole) CHECK(joined(parts_of(file)) == file);
        for (const std::size_t i : {0u, 4u, 7u}) truncated += try_truncations(kind, whole[i]);
    }
    for (std::uint64_t i = 0; i < count; ++i) {
        current = i;
        accepted += static_cast<std::size_t>(tried(kind, numbered(kind, whole, i, seed)));
    }
    std::printf("%s: %llu altered ones, %zu refused, %zu accepted", kind.name.data(),
                static_cast<unsigned long long>(count), static_cast<std::size_t>(count) - accepted, accepted);
    if (truncated != 0) std::printf("; %zu truncations", truncated);
    std::printf("\n");
    std::fflush(stdout);
}

}  // namespace

int main(int count, char** words) {
    std::vector<std::string> arguments(words + 1, words + count);
    if (arguments.size() == 2 && arguments[0] == "--corpus") {
        write_corpus(arguments[1]);
        return 0;
    }
    if (arguments.size() == 4 && arguments[0] == "--one") {
        const Kind* kind = kind_of(arguments[1]);
        if (kind == nullptr) return 2;
        write("-", numbered(*kind, kind->whole(), std::stoull(arguments[2]), std::stoull(arguments[3])));
        return 0;
    }
    const Kind* only = arguments.empty() ? nullptr : kind_of(arguments[0]);
    if (only != nullptr) arguments.erase(arguments.begin());
    const std::uint64_t number = arguments.empty() ? 100000 : std::stoull(arguments[0]);
    const std::uint64_t seed = arguments.size() < 2 ? 0 : std::stoull(arguments[1]);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_set_death_callback(say_current);
#endif
    std::signal(SIGALRM, [](int) {
        say_current();
        ::_exit(1);
    });
    try {
        for (const Kind& kind : kinds) {
            if (only == nullptr || only == &kind) try_kind(kind, number, seed);
        }
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        say_current();
        return 1;
    }
    return 0;
}
