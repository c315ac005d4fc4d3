#include "log.hpp"

#include <cstdlib>
#include <thread>

#include "bytes.hpp"
#include "change.hpp"
#include "check.hpp"
#include "folder.hpp"
#include "log_format.hpp"
#include "random.hpp"

using ann::Change, ann::FileError, ann::Log, ann::LogContents, ann::Sync;
using bytes::Bytes;
using check::MemoryFile;

namespace {

Bytes numbered(std::size_t size, std::size_t from = 1) {
    Bytes made(size);
    for (std::size_t i = 0; i < size; ++i) made[i] = static_cast<std::byte>(i * 7 + i / 256 + from);
    return made;
}

constexpr std::size_t head_size = 32;
constexpr std::size_t sizes[] = {0, 1, 8, 13, 100, 7};

std::size_t record_size(std::size_t body) { return 32 + (body + 7) / 8 * 8; }

/// Return where record i of `sizes` begins.
std::size_t place_of(std::size_t i) {
    std::size_t at = head_size;
    for (std::size_t before = 0; before < i; ++before) at += record_size(sizes[before]);
    return at;
}

void append(Log& log, const Bytes& body) {
    const std::span<const std::byte> all(body);
    // The record is given in pieces, some of them empty.
    const std::span<const std::byte> pieces[] = {all.first(all.size() / 3), {}, all.subspan(all.size() / 3)};
    log.append(pieces);
}

Bytes small_log() {
    const Folder folder;
    const auto log = Log::create(folder / "log", 7, Sync::os, 0);
    for (std::size_t i = 0; i < std::size(sizes); ++i) append(*log, numbered(sizes[i], i));
    CHECK(log->bytes() == place_of(std::size(sizes)));
    return bytes::read(folder / "log");
}

/// Check that the records have the right contents, except the lost ones.
void check_records(const LogContents& found) {
    std::size_t sequence = 0, lost = 0;
    const auto pass_lost = [&] {
        for (; lost < found.lost.size() && found.lost[lost] == sequence; ++lost) ++sequence;
    };
    for (const auto& record : found.records) {
        pass_lost();
        CHECK(sequence < std::size(sizes));
        CHECK(std::ranges::equal(record, numbered(sizes[sequence], sequence)));
        CHECK(reinterpret_cast<std::uintptr_t>(record.data()) % 8 == 0);
        ++sequence;
    }
    CHECK(lost == found.lost.size());
}

LogContents read(const Bytes& file, bool skip_damage = false, std::optional<std::uint64_t> number = std::nullopt) {
    const MemoryFile memory(file);
    return ann::read_log(memory.path(), skip_damage, number);
}

std::string refusal(const Bytes& file) { return CHECK_THROWS(FileError, read(file)); }

void test_pieces() {
    for (const std::size_t size : {0u, 1u, 31u, 32u, 33u, 64u, 100u, 1000u}) {
        const Bytes all = numbered(size);
        for (std::size_t cut = 0; cut <= size; cut += size > 200 ? 37 : 1) {
            ann::log_format::Checksum sum;
            sum.add(std::span(all).first(cut / 2));
            sum.add(std::span(all).subspan(cut / 2, cut - cut / 2));
            sum.add(std::span(all).subspan(cut));
            CHECK(sum.value() == ann::checksum(all));
        }
    }
}

void test_round_trips() {
    for (const Sync sync : {Sync::always, Sync::interval, Sync::os}) {
        const Folder folder;
        const std::string path = folder / "log";
        CHECK(Log::create(path, 7, sync, 0.001)->bytes() == head_size);
        CHECK_THROWS(FileError, Log::create(path, 7, sync, 0.001));
        LogContents found = ann::read_log(path);
        CHECK(found.number == 7 && found.records.empty() && found.end == head_size && found.torn == 0);
        for (std::size_t i = 0; i < std::size(sizes); ++i) {
            const auto log = Log::resume(path, ann::read_log(path, false, 7), sync, 0.001);
            append(*log, numbered(sizes[i], i));
            if (i % 2 == 0) log->sync();
            found = ann::read_log(path);
            check_records(found);
            CHECK(found.records.size() == i + 1 && found.end == log->bytes() && found.torn == 0);
        }
        CHECK(bytes::read(path) == small_log());
        CHECK_THROWS(FileError, ann::read_log(path, false, 8));
    }
    for (const double seconds : {0.0, -1.0, 1e9, std::strtod("nan", nullptr)}) {
        const Folder folder;
        CHECK_THROWS(std::invalid_argument, Log::create(folder / "log", 1, Sync::interval, seconds));
        CHECK(folder.files() == 0);
    }
}

/// A log cut off at any length gives its whole records, and a writer continues behind them.
void test_torn() {
    const Bytes whole = small_log();
    const Folder folder;
    const std::string path = folder / "log";
    for (std::size_t size = 0; size <= whole.size(); ++size) {
        Bytes file(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
        if (size < head_size) {
            CHECK(refusal(file) == "log: the file is too short for a log");
            CHECK(read(file, true, 7).records.empty());
            continue;
        }
        std::size_t records = 0;
        while (records < std::size(sizes) && place_of(records + 1) <= size) ++records;
        for (const bool skip : {false, true}) {
            const LogContents found = read(file, skip);
            check_records(found);
            CHECK(found.records.size() == records && found.lost.empty());
            CHECK(found.end == place_of(records) && found.torn == size - found.end);
        }
        // The file system may have given the tail space that the writer's bytes never reached: zeros. These may happen
        // to be the missing bytes.
        Bytes zeros = file;
        zeros.resize(size + 200);
        check_records(read(zeros));
        while (records < read(zeros).records.size()) ++records;
        CHECK(place_of(records) < size + 8 || size == place_of(records));

        std::FILE* to = std::fopen(path.c_str(), "wb");
        CHECK(to != nullptr && std::fwrite(zeros.data(), 1, zeros.size(), to) == zeros.size());
        std::fclose(to);
        const auto log = Log::resume(path, ann::read_log(path), Sync::os, 0);
        for (std::size_t i = records; i < std::size(sizes); ++i) append(*log, numbered(sizes[i], i));
        CHECK(bytes::read(path) == whole);
    }
}

/// One changed byte: the tail is cut off, or the error names the record in the middle, and intact records can be read.
void test_damage() {
    const Bytes whole = small_log();
    for (std::size_t at = 0; at < whole.size(); ++at) {
        for (const int change : {1, 128, 255}) {
            Bytes file = whole;
            file[at] ^= static_cast<std::byte>(change);
            const bool minor = at == 10 || at == 11;  // every minor version is read, but the checksum sees it
            if (at < head_size) {
                const std::string words = refusal(file);
                CHECK(!minor || words == "log: its beginning is damaged");
                const LogContents found = read(file, true, 7);
                CHECK(found.records.size() == std::size(sizes) && found.lost.empty());
                continue;
            }
            std::size_t record = 0;
            while (place_of(record + 1) <= at) ++record;
            const LogContents found = read(file, true);
            check_records(found);
            CHECK(found.records.size() == std::size(sizes) - 1);
            if (record + 1 == std::size(sizes)) {
                CHECK(found.lost.empty() && found.end == place_of(record) && found.torn == whole.size() - found.end);
                check_records(read(file));
            } else {
                CHECK(found.lost == std::vector<std::uint64_t>{record} && found.torn == 0);
                CHECK(refusal(file) == "log: record " + std::to_string(record) + " at offset " +
                                           std::to_string(place_of(record)) +
                                           " is damaged, but intact records follow it");
            }
        }
    }
    // Two damaged records in the middle, and one more; a log of another number; records of another log behind the end.
    Bytes file = whole;
    for (const std::size_t record : {1u, 2u, 4u}) file[place_of(record) + 3] ^= std::byte{1};
    CHECK(read(file, true).lost == (std::vector<std::uint64_t>{1, 2, 4}));
    const MemoryFile damaged(file);
    CHECK_THROWS(std::invalid_argument, Log::resume(damaged.path(), read(file, true), Sync::os, 0));
    CHECK(read(whole, true, 8).records.empty());

    Bytes stale = whole;
    stale.resize(place_of(2));
    const Folder folder;
    const auto other = Log::create(folder / "log", 6, Sync::os, 0);
    for (std::size_t i = 0; i < 6; ++i) append(*other, numbered(sizes[i], i));
    const Bytes old = bytes::read(folder / "log");
    stale.insert(stale.end(), old.begin() + static_cast<std::ptrdiff_t>(place_of(2)), old.end());
    CHECK(read(stale).records.size() == 2 && read(stale).torn == old.size() - place_of(2));
}

/// A head with a right checksum that claims more bytes than there are, or a sequence number for which there is no room.
void test_hostile() {
    const Bytes whole = small_log();
    const auto with = [&](std::size_t record, std::size_t word, std::uint64_t value) {
        Bytes file = whole;
        const std::size_t at = place_of(record);
        bytes::put(file, at + word * 8, value);
        ann::log_format::RecordHead head;
        std::memcpy(&head, file.data() + at, sizeof head);
        head.checksum = ann::log_format::checksum_of(head, 7);
        std::memcpy(file.data() + at, &head, sizeof head);
        return file;
    };
    constexpr std::uint64_t most = ~std::uint64_t{0};
    const std::uint64_t length = whole.size() - place_of(3) - 32;
    for (const std::uint64_t value : {length + 1, length + 8, most, most - 7, most - 31, most / 2}) {
        CHECK(read(with(3, 0, value)).records.size() == 3);
        CHECK(read(with(3, 0, value), true).records.size() == 3);
    }
    for (const std::uint64_t sequence : {std::uint64_t{2}, std::uint64_t{1000}, most}) {
        CHECK(read(with(3, 1, sequence), true).lost == std::vector<std::uint64_t>{3});
    }
    const Folder folder;
    CHECK_THROWS(FileError, ann::read_log(folder / "none"));
    CHECK_THROWS(FileError, ann::read_log(folder / ""));
    CHECK_THROWS(FileError, Log::create(folder / "none/log", 1, Sync::os, 0));
}

/// A writer that continues must have read the present file, and a log that was given up accepts nothing.
void test_misuse() {
    const Folder folder;
    const std::string path = folder / "log";
    const auto log = Log::create(path, 1, Sync::os, 0);
    const LogContents before = ann::read_log(path);
    append(*log, numbered(9));
    CHECK(CHECK_THROWS(FileError, Log::resume(path, before, Sync::os, 0)) == "log: changed while it was read");
    log->give_up("of a reason");
    const std::string words = CHECK_THROWS(FileError, append(*log, numbered(9)));
    CHECK(words == "log: can no longer be written, as of a reason; write a checkpoint, or open the folder again");
    CHECK(CHECK_THROWS(FileError, log->sync()) == words);
    CHECK(ann::read_log(path).records.size() == 1);
}

/// Threads that synchronise while another thread writes, and a reader of the file.
void test_beside() {
    const Folder folder;
    const std::string path = folder / "log";
    const auto log = Log::create(path, 1, Sync::interval, 0.0005);
    std::atomic<bool> done{false};
    std::thread syncing([&] {
        while (!done) log->sync();
    });
    std::size_t seen = 0;
    for (std::size_t i = 0; i < 300; ++i) {
        append(*log, numbered(i));
        if (i % 10 == 0) {
            const LogContents found = ann::read_log(path);
            CHECK(found.records.size() == i + 1 && found.torn == 0);
            seen += found.records.size();
        }
    }
    done = true;
    syncing.join();
    CHECK(seen > 0 && ann::read_log(path).end == log->bytes());
}

void test_changes() {
    const Bytes ids = numbered(13), fields = numbered(21);
    const std::vector<float> vectors{1.5f, -2.0f, 0.0f, 4.0f, 5.0f, 6.0f};
    using What = Change::What;
    for (const What what : {What::add, What::put, What::drop, What::set}) {
        const bool has_vectors = what == What::add || what == What::put;
        const std::span<const float> floats(vectors);
        const Change change{what, 3, ids, fields, floats.first(has_vectors ? floats.size() : 0)};
        const Bytes whole = change.encode();
        const Change back = Change::decode(whole);
        CHECK(back.what == what && back.dim == 3);
        CHECK(std::ranges::equal(back.ids, ids) && std::ranges::equal(back.fields, fields));
        CHECK(std::ranges::equal(back.vectors, change.vectors));
        for (std::size_t size = 0; size < whole.size() + 20; ++size) {
            Bytes other = whole;
            other.resize(size);
            if (size != whole.size()) CHECK_THROWS(std::invalid_argument, Change::decode(other));
        }
        for (const std::size_t at : {1u, 2u, 3u, 32u + 13u, 32u + 16u + 21u}) {  // bytes that must be zero
            Bytes other = whole;
            other[at] = std::byte{1};
            CHECK_THROWS(std::invalid_argument, Change::decode(other));
        }
        constexpr std::uint64_t most = ~std::uint64_t{0};
        for (const std::size_t at : {8u, 16u, 24u}) {
            for (const std::uint64_t value : {most, most - 7, most / 4 + 1, std::uint64_t{1000}}) {
                Bytes other = whole;
                bytes::put(other, at, value);
                CHECK_THROWS(std::invalid_argument, Change::decode(other));
            }
        }
        Bytes other = whole;
        bytes::put<std::uint8_t>(other, 0, 4);
        CHECK_THROWS(std::invalid_argument, Change::decode(other));
        for (const std::uint32_t dim : {0u, 4u, 65537u}) {
            bytes::put(other, 4, dim);
            other[0] = whole[0];
            if (has_vectors) CHECK_THROWS(std::invalid_argument, Change::decode(other));
        }
    }
    const Bytes nothing = Change{What::drop, 0, {}, {}, {}}.encode();
    CHECK(nothing.size() == 32 && Change::decode(nothing).ids.empty());
}

}  // namespace

void test_log() {
    test_changes();
    test_pieces();
    test_round_trips();
    test_torn();
    test_damage();
    test_hostile();
    test_misuse();
    test_beside();
}
