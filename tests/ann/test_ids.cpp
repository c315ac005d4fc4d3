// Ids, dictionaries and the hash table, compared with maps and with brute force.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <set>
#include <string>
#include <thread>

#include "check.hpp"
#include "ids.hpp"
#include "names.hpp"
#include "random.hpp"

namespace {

using namespace ann;
using check::Bytes;

void append(Bytes& bytes, const void* from, std::size_t count) {
    const std::size_t at = bytes.size();
    bytes.resize(at + count);
    if (count != 0) std::memcpy(bytes.data() + at, from, count);
}

Bytes head(std::uint32_t kind, std::uint64_t count) {
    Bytes bytes;
    const std::uint32_t zero = 0;
    append(bytes, &kind, 4);
    append(bytes, &zero, 4);
    append(bytes, &count, 8);
    return bytes;
}

Bytes of_rows(std::size_t count) { return head(0, count); }

Bytes of_numbers(const std::vector<std::int64_t>& numbers) {
    Bytes bytes = head(1, numbers.size());
    append(bytes, numbers.data(), numbers.size() * 8);
    return bytes;
}

Bytes of_names(const std::vector<std::string>& names) {
    Bytes bytes = head(2, names.size());
    std::int64_t end = 0;
    for (const std::string& name : names) {
        end += static_cast<std::int64_t>(name.size());
        append(bytes, &end, 8);
    }
    for (const std::string& name : names) append(bytes, name.data(), name.size());
    return bytes;
}

/// A batch with its own bytes, which begin at an odd address and end where their memory ends.
struct Batch {
    explicit Batch(const Bytes& bytes) : memory(std::make_unique<std::byte[]>(bytes.size() + 1)) {
        if (!bytes.empty()) std::memcpy(memory.get() + 1, bytes.data(), bytes.size());
        view = IdBatch::decode({memory.get() + 1, bytes.size()});
    }
    std::unique_ptr<std::byte[]> memory;
    IdBatch view;
};

Ids with_numbers(const Ids& ids, const std::vector<std::int64_t>& numbers) {
    return ids.with(Batch(of_numbers(numbers)).view);
}
Ids with_names(const Ids& ids, const std::vector<std::string>& names) { return ids.with(Batch(of_names(names)).view); }
Ids with_rows(const Ids& ids, std::size_t count) { return ids.with(Batch(of_rows(count)).view); }

std::optional<std::uint32_t> find(const Ids& ids, std::int64_t number, const Bitmap& live) {
    const Batch batch(of_numbers({number}));
    return ids.find(batch.view, 0, live);
}
std::optional<std::uint32_t> find(const Ids& ids, const std::string& name, const Bitmap& live) {
    const Batch batch(of_names({name}));
    return ids.find(batch.view, 0, live);
}

// ---------------------------------------------------------------------------------------------------------------------

void check_table_against_map() {
    HashTable table(5000);
    std::map<std::uint64_t, std::vector<std::uint32_t>> truth;
    for (std::uint32_t i = 0; i < 5000; ++i) {
        const std::uint64_t hash = random_bits(1, random_below(2, i, 1500));
        CHECK(table.size() == i && table.has_room() && !table.has_room(5001 - i));
        table.put(hash, i);
        truth[hash].insert(truth[hash].begin(), i);
    }
    CHECK(!table.has_room());
    CHECK_THROWS(std::logic_error, table.put(1, 5000));
    CHECK(table.bytes() == 40'000);
    for (const auto& entry : truth) {
        const std::uint64_t hash = entry.first;
        const std::vector<std::uint32_t>& numbers = entry.second;
        std::vector<std::uint32_t> seen;
        CHECK(!table.any(hash, [&](std::uint32_t number) {
            seen.push_back(number);
            return false;
        }));
        CHECK(std::is_sorted(seen.rbegin(), seen.rend()));
        CHECK(std::includes(seen.rbegin(), seen.rend(), numbers.rbegin(), numbers.rend()));
        std::uint32_t first = 5000;
        CHECK(table.any(hash, [&](std::uint32_t number) {
            first = number;
            return std::find(numbers.begin(), numbers.end(), number) != numbers.end();
        }));
        CHECK(first == numbers[0]);
    }
    HashTable none(0);
    CHECK(!none.has_room() && !none.any(7, [](std::uint32_t) { return true; }));
    CHECK_THROWS(std::logic_error, none.put(7, 0));
    HashTable two(2);
    CHECK_THROWS(std::logic_error, two.put(7, 1));
    CHECK_THROWS(std::invalid_argument, HashTable(0xFFFFFFFF));
}

/// Numbers that are close to each other, or share their lower or their upper bits, must not give long chains.
void check_clusters() {
    for (const std::uint64_t step : {1ULL, 2ULL, 1000ULL, 1ULL << 16, 1ULL << 32, 1ULL << 45, ~0ULL}) {
        constexpr std::uint32_t count = 20'000;
        HashTable table(count);
        const auto hash = [&](std::uint64_t i) { return hash_of(static_cast<std::int64_t>(i * step)); };
        for (std::uint32_t i = 0; i < count; ++i) table.put(hash(i), i);
        std::size_t visits = 0, longest = 0;
        for (std::uint64_t i = 0; i < 2 * count; ++i) {  // the second half was not put in
            std::size_t length = 0;
            const bool found = table.any(hash(i), [&](std::uint32_t number) {
                ++length;
                return number == i;
            });
            CHECK(found == (i < count));
            visits += length;
            longest = std::max(longest, length);
        }
        CHECK(visits < 2 * count * 14 / 10);  // 1.5 and 1 are expected
        CHECK(longest < 14);
    }
}

void check_hashes() {
    // XXH64 of "" and "abc" from the specification, and of more bytes than its lanes take at once.
    CHECK(hash_of(std::string_view()) == 0xEF46DB3751D8E999u);
    CHECK(hash_of(std::string_view("abc")) == 0x44BC2CF5AD770999u);
    std::set<std::uint64_t> seen;
    for (std::int64_t i = -500; i < 500; ++i) {
        seen.insert(hash_of(i));
        seen.insert(hash_of(std::string_view(std::to_string(i) + std::string(40, 'x'))));
    }
    CHECK(seen.size() == 2000);
}

/// The slow twin of letters_of: it computes each code point and encodes it again.
std::optional<std::size_t> slow_letters(const std::string& text) {
    std::size_t at = 0, count = 0;
    while (at < text.size()) {
        const auto byte = [&](std::size_t i) { return std::uint32_t{static_cast<unsigned char>(text[i])}; };
        const std::uint32_t first = byte(at);
        const std::size_t many = first >> 5 == 6 ? 2 : first >> 4 == 14 ? 3 : first >> 3 == 30 ? 4 : 0;
        const std::size_t length = first < 0x80 ? 1 : many;
        if (length == 0 || at + length > text.size()) return std::nullopt;
        std::uint32_t point = length == 1 ? first : first & ((1U << (7 - length)) - 1);
        for (std::size_t i = 1; i < length; ++i) {
            if (byte(at + i) >> 6 != 2) return std::nullopt;
            point = point << 6 | (byte(at + i) & 63);
        }
        const std::size_t least = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
        if (least != length || point > 0x10FFFF || (point >= 0xD800 && point < 0xE000)) return std::nullopt;
        at += length;
        ++count;
    }
    return count;
}

void check_letters() {
    CHECK(letters_of("") == 0U);
    CHECK(letters_of("Wal \xC3\xA4\xE2\x82\xAC\xF0\x9F\x90\x8B") == 7U);
    const unsigned char odd[] = {0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF,
                                 0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF};
    constexpr std::size_t count = sizeof odd;
    bool same = true;
    for (std::size_t length = 1; length <= 4; ++length) {
        std::size_t total = 1;
        for (std::size_t i = 0; i < length; ++i) total *= count;
        for (std::size_t code = 0; code < total; ++code) {
            std::string text;
            for (std::size_t i = 0, rest = code; i < length; ++i, rest /= count) {
                text += static_cast<char>(odd[rest % count]);
            }
            same = same && letters_of(text) == slow_letters(text);
        }
    }
    CHECK(same);
}

// ---------------------------------------------------------------------------------------------------------------------

std::string word(std::uint64_t seed, std::uint64_t place, std::uint64_t kinds) {
    const std::uint64_t which = random_below(seed, place, kinds);
    return "w" + std::to_string(which) + std::string(which % 37, 'y');
}

void check_dictionary() {
    Dictionary now;
    std::vector<Dictionary> older;
    std::vector<std::string> texts;
    std::map<std::string, std::uint32_t> truth;
    CHECK(now.size() == 0 && !now.find("w1") && now.bytes() == 0);
    std::uint64_t place = 0;
    for (std::size_t round = 0; round < 60; ++round) {
        std::vector<std::string> words;
        for (std::size_t i = 0; i < round * 7 % 50; ++i) words.push_back(word(3, ++place, 900));
        if (round == 5) words.push_back("");
        const std::vector<std::string_view> more(words.begin(), words.end());
        std::vector<std::uint32_t> numbers{99, 99};
        older.push_back(now);
        if (round % 10 == 3) {  // an extension with other words that is not kept
            const std::vector<std::string_view> lost{"lost", "w1y", "lost"};
            CHECK(now.with(lost, numbers).size() >= now.size() + 1 && numbers[0] == numbers[2]);
        }
        now = now.with(more, numbers);
        CHECK(numbers.size() == words.size());
        for (std::size_t i = 0; i < words.size(); ++i) {
            const auto [at, fresh] = truth.try_emplace(words[i], static_cast<std::uint32_t>(texts.size()));
            if (fresh) texts.push_back(words[i]);
            CHECK(numbers[i] == at->second);
        }
        older.push_back(now);
    }
    CHECK(now.size() == texts.size() && texts.size() > 500);
    CHECK(!now.find("lost"));
    std::size_t length = 0;
    for (const std::string& text : texts) length += text.size();
    CHECK(now.bytes() >= texts.size() * 16 + length && now.bytes() < texts.size() * 24 + length + 200);
    for (const Dictionary& old : older) {
        for (const auto& [text, number] : truth) {
            const auto found = old.find(text);
            CHECK(found.has_value() == (number < old.size()) && (!found || *found == number));
            if (found) CHECK(old[number] == text);
        }
    }
}

void check_texts() {
    const std::vector<std::string_view> first{"a", "", "bc"}, second{"", "d"}, third{"other", "words", "here"};
    const Texts one = Texts().with(first);
    const Texts two = one.with(second);
    const Texts three = one.with(third);  // the second extension of one object makes a copy
    CHECK(one.size() == 3 && two.size() == 5 && three.size() == 6 && Texts().with({}).size() == 0);
    CHECK(one[0] == "a" && one[1].empty() && one[2] == "bc" && two[2] == "bc" && two[3].empty() && two[4] == "d");
    CHECK(three[2] == "bc" && three[3] == "other" && three[5] == "here");
    CHECK(one.bytes() == 3 * 8 + 3 && two.bytes() == 5 * 8 + 4);
}

// ---------------------------------------------------------------------------------------------------------------------

/// Ids while rows are added, replaced and dropped, compared with a plain list of (id, alive).
template <typename Id, typename Extend, typename Name>
void churn(std::uint64_t seed, const Extend& extend, const Name& name_of) {
    struct Moment {
        Ids ids;
        Bitmap live;
        std::map<Id, std::uint32_t> rows;
    };
    Moment now;
    std::vector<Id> names;
    std::vector<Moment> moments;
    std::uint64_t place = 0;
    for (std::size_t round = 0; round < 80; ++round) {
        std::map<Id, bool> chosen;
        for (std::size_t i = 0; i < 1 + round * 5 % 23; ++i) chosen[name_of(random_below(seed, ++place, 150))] = true;
        if (round % 3 == 2) {
            for (const auto& [id, _] : chosen) {
                if (const auto found = find(now.ids, id, now.live)) now.live.reset(*found);
                now.rows.erase(id);
            }
        } else {
            std::vector<Id> more;
            for (const auto& [id, _] : chosen) more.push_back(id);
            std::reverse(more.begin(), more.end());
            if (round % 8 == 1) extend(now.ids, {name_of(7), name_of(1000), name_of(8)});  // not kept
            now.ids = extend(now.ids, more);
            for (const Id& id : more) {
                if (const auto found = find(now.ids, id, now.live)) now.live.reset(*found);
            }
            now.live.resize(now.ids.size(), true);
            for (const Id& id : more) {
                now.rows[id] = static_cast<std::uint32_t>(names.size());
                names.push_back(id);
            }
        }
        moments.push_back(now);
    }
    CHECK(names.size() == now.ids.size() && now.ids.next() == names.size());
    for (const Moment& old : moments) {
        for (std::uint64_t which = 0; which < 152; ++which) {
            const Id id = name_of(which);
            const auto at = old.rows.find(id);
            const auto found = find(old.ids, id, old.live);
            CHECK(found.has_value() == (at != old.rows.end()) && (!found || *found == at->second));
            CHECK(find(now.ids, id, old.live) == found);  // ids with more rows than the bitmap
            CHECK(!find(old.ids, id, Bitmap(old.ids.size())) && !find(old.ids, id, Bitmap()));
        }
    }
    // The living rows in another order, and read back from bytes.
    std::vector<std::uint32_t> kept;
    now.live.each([&](std::uint32_t row) { kept.insert(kept.begin(), row); });
    const Ids taken = now.ids.taken(kept);
    CHECK(taken.size() == kept.size() && taken.next() == now.ids.next() && taken.encode() == now.ids.encode(kept));
    for (const auto& [id, row] : now.rows) {
        const auto found = find(taken, id, Bitmap(taken.size(), true));
        CHECK(found && kept[*found] == row);
    }
    const Bytes bytes = now.ids.encode();
    const Ids back = Ids::decode(bytes, now.ids.next() + 5);
    CHECK(back.encode() == bytes && back.next() == now.ids.next() + 5 && back.kind() == now.ids.kind());
    for (const auto& [id, row] : now.rows) CHECK(find(back, id, now.live) == row);
    for (std::size_t row = 1; row < names.size(); ++row) {
        CHECK(now.ids.before(row, row - 1) == (names[row] < names[row - 1]));
        CHECK(now.ids.before(row - 1, row) == (names[row - 1] < names[row]));
    }
    CHECK(now.ids.bytes() > names.size() * 16);
}

void check_churn() {
    const auto number = [](std::uint64_t which) {
        return which % 3 == 0 ? static_cast<std::int64_t>(which) - 60 : static_cast<std::int64_t>(which << 40);
    };
    churn<std::int64_t>(5, with_numbers, number);
    churn<std::string>(6, with_names, [](std::uint64_t which) {
        return std::to_string(which) + std::string(which % 50, 'z') + (which % 2 == 0 ? "\xC3\xA9" : "");
    });
}

void check_kinds() {
    const Ids rows = with_rows(with_rows(Ids(), 3), 2);
    CHECK(rows.kind() == IdKind::rows && rows.size() == 5 && rows.next() == 5 && rows.number(4) == 4);
    CHECK(rows.bytes() == 0 && rows.encode() == of_rows(5));
    Bitmap live(5, true);
    live.reset(2);
    CHECK(find(rows, 4, live) == 4U && !find(rows, 2, live) && !find(rows, 5, live) && !find(rows, -1, live));
    CHECK(!find(rows, "4", live) && !find(rows, std::numeric_limits<std::int64_t>::min(), live));
    CHECK(!find(rows, 4, Bitmap(4, true)) && rows.before(1, 2) && !rows.before(2, 2));

    const Ids mixed = with_numbers(rows, {-7, 6});  // row numbers become integers
    CHECK(mixed.kind() == IdKind::integers && mixed.next() == 7);
    CHECK(mixed.encode() == of_numbers({0, 1, 2, 3, 4, -7, 6}));
    CHECK(rows.kind() == IdKind::rows && rows.encode() == of_rows(5));
    const Ids on = with_rows(mixed, 2);
    CHECK(on.encode() == of_numbers({0, 1, 2, 3, 4, -7, 6, 7, 8}) && on.next() == 9);
    const Bitmap all(9, true);
    CHECK(find(on, 8, all) == 8U && find(on, -7, all) == 5U && find(on, 3, all) == 3U && !find(on, "3", all));
    const Batch coming(of_rows(3));  // row numbers: the numbers that they would get
    const Ids ahead = with_numbers(with_numbers(Ids(), {0, 3}), {5});
    CHECK(ahead.find(coming.view, 0, all) == 1U && !ahead.find(coming.view, 1, all) &&
          ahead.find(coming.view, 2, all) == 2U && !rows.find(coming.view, 0, all));

    const Ids words = with_names(Ids(), {"a", "b"});
    CHECK(words.kind() == IdKind::strings && words.name(1) == "b" && !find(words, 1, all));
    CHECK_THROWS(std::invalid_argument, with_rows(words, 1));
    CHECK_THROWS(std::invalid_argument, with_numbers(words, {1}));
    CHECK_THROWS(std::invalid_argument, with_names(rows, {"a"}));
    CHECK_THROWS(std::invalid_argument, with_names(on, {"a"}));
    CHECK(with_rows(words, 0).size() == 2 && with_names(rows, {}).kind() == IdKind::rows);

    // The living row of an id need not be its newest row.
    Bitmap second(4);
    second.set(1);
    CHECK(find(with_numbers(Ids(), {5, 6, 6, 6}), 6, second) == 1U);
    CHECK(find(with_names(Ids(), {"a", "b", "b", "b"}), "b", second) == 1U);

    // No rows are left: ids of any kind may be added, but no row number is used twice.
    for (const Ids& gone : {rows.taken({}), on.taken({}), words.taken({})}) {
        CHECK(gone.size() == 0 && gone.next() > 0 && !find(gone, 0, all) && !find(gone, "a", all));
        CHECK(Ids::decode(gone.encode(), gone.next()).kind() == gone.kind());
        CHECK(with_names(gone, {"x"}).name(0) == "x" && with_names(gone, {"x"}).next() == gone.next() + 1);
        const Ids again = with_rows(gone, 2);
        CHECK(again.kind() == IdKind::integers && again.number(1) == static_cast<std::int64_t>(gone.next() + 1));
        CHECK(find(with_numbers(gone, {4}), 4, all) == 0U);
    }
    const std::vector<std::uint32_t> every{0, 1, 2, 3, 4}, some{4, 0};
    CHECK(rows.taken(every).kind() == IdKind::rows && rows.taken(some).encode() == of_numbers({4, 0}));
    CHECK(rows.encode(some) == of_numbers({4, 0}) && words.encode(std::span(some).subspan(1)) == of_names({"a"}));
    CHECK(Ids().encode() == of_rows(0) && Ids::decode(of_rows(0), 0).size() == 0);
    const Batch order(of_numbers({-8, -7, 9}));
    CHECK(on.before(order.view, 0, 5) && !on.before(order.view, 1, 5) && !on.before(order.view, 2, 8));
    const Batch letters(of_names({"B", "b", "\xC3\xA9"}));
    CHECK(words.before(letters.view, 0, 0) && !words.before(letters.view, 1, 1) && !words.before(letters.view, 2, 1));
}

void check_twice() {
    CHECK(!Batch(of_rows(9)).view.twice() && !Batch(of_numbers({})).view.twice());
    CHECK((Batch(of_names({"a", "b", "a", "b"})).view.twice() == std::pair<std::size_t, std::size_t>(2, 0)));
    for (std::uint64_t round = 0; round < 200; ++round) {
        std::vector<std::int64_t> numbers(40);
        std::vector<std::string> names;
        std::map<std::int64_t, std::size_t> seen;
        std::optional<std::pair<std::size_t, std::size_t>> truth;
        for (std::size_t i = 0; i < numbers.size(); ++i) {
            numbers[i] = static_cast<std::int64_t>(random_below(round, i, 800)) - 400;
            names.push_back(std::to_string(numbers[i]));
            const auto [at, fresh] = seen.try_emplace(numbers[i], i);
            if (!fresh && !truth) truth = {i, at->second};
        }
        CHECK(Batch(of_numbers(numbers)).view.twice() == truth && Batch(of_names(names)).view.twice() == truth);
    }
}

/// One id is replaced 100,000 times beside ten others. If all its rows were checked, that would be 5 * 10^9 steps.
void check_hot_id() {
    constexpr std::size_t updates = 100'000;
    Ids ids = with_numbers(Ids(), {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 42});
    Bitmap live(ids.size() + updates);
    for (std::size_t row = 0; row < ids.size(); ++row) live.set(row);
    const Batch batch(of_numbers({42}));
    bool right = true;
    for (std::size_t i = 0; i < updates; ++i) {
        const auto found = ids.find(batch.view, 0, live);
        right = right && found == static_cast<std::uint32_t>(ids.size() - 1);
        live.reset(ids.size() - 1);
        live.set(ids.size());
        ids = ids.with(batch.view);
    }
    CHECK(right && ids.size() == updates + 11);
    for (std::int64_t i = 1; i <= 10; ++i) CHECK(find(ids, i, live) == static_cast<std::uint32_t>(i - 1));
    CHECK(ids.bytes() < ids.size() * (8 + 8 * 3 / 2 + 1));
}

// ---------------------------------------------------------------------------------------------------------------------

std::string refused(const Bytes& bytes) { return CHECK_THROWS(std::invalid_argument, Batch(bytes)); }
bool says(const Bytes& bytes, const char* words) { return refused(bytes).find(words) != std::string::npos; }

void check_refusals() {
    CHECK(says({}, "ids: cut off") && says(head(3, 0), "unknown kind 3"));
    CHECK(says(of_rows(0xFFFFFFFF), "more than 2^32 - 2") && says(head(1, ~0ULL), "more than"));
    CHECK(says(head(2, 1ULL << 61), "more than") && says(head(1, 0xFFFFFFFE), "cut off"));
    CHECK(says(head(2, 1), "cut off"));
    CHECK(Batch(of_rows(0xFFFFFFFE)).view.count == 0xFFFFFFFE);
    CHECK(says(of_names({"a", ""}), "text 1 does not follow") && says(of_names({""}), "text 0 does not follow"));
    CHECK(says(of_names({"a", std::string("b\0c", 3)}), "text 1 holds a NUL"));
    CHECK(says(of_names({"\xC3", "\xA9"}), "text 0 is not UTF-8"));  // a letter that is cut in two
    CHECK(says(of_names({"\xED\xA0\x80"}), "text 0 is not UTF-8"));  // a surrogate
    std::string longest;
    for (std::size_t i = 0; i < 1024; ++i) longest += "\xF0\x9F\x90\x8B";
    CHECK(Batch(of_names({longest})).view.name(0) == longest);
    CHECK(says(of_names({"a", longest + "a"}), "text 1 has more than 1024 letters"));
    for (Bytes bytes : {of_rows(2), of_numbers({1}), of_names({"ab"}), of_names({})}) {
        bytes.push_back(std::byte{'c'});
        CHECK(says(bytes, "bytes behind the end"));
        bytes[4] = std::byte{1};
        CHECK(says(bytes, "not 0 in the head"));
    }
    for (const std::int64_t end : {std::int64_t{-1}, std::int64_t{0}, std::int64_t{3}, std::int64_t{1} << 62}) {
        Bytes bytes = of_names({"ab"});
        std::memcpy(bytes.data() + 16, &end, 8);
        CHECK(says(bytes, "does not follow"));
    }
    CHECK_THROWS(std::invalid_argument, Ids::decode(of_numbers({1, 2}), 1));
    CHECK_THROWS(std::invalid_argument, Ids::decode(of_numbers({1, 2}), 1ULL << 63));
    CHECK_THROWS(std::invalid_argument, Ids::decode(of_rows(2), 3));
    const Ids full = Ids::decode(of_numbers({1}), (1ULL << 63) - 2);
    CHECK(with_rows(full, 1).number(1) == std::numeric_limits<std::int64_t>::max() - 1);
    CHECK_THROWS(std::invalid_argument, with_rows(full, 2));
    const Ids many = with_rows(Ids(), 0xFFFFFFFE);
    CHECK(many.size() == 0xFFFFFFFE);
    CHECK_THROWS(std::invalid_argument, with_rows(many, 1));
    CHECK_THROWS(std::invalid_argument, with_numbers(many, {1}));
}

/// Bytes are refused, or they are the bytes of the ids that they give.
bool survives(const Bytes& bytes) {
    try {
        const Batch batch(bytes);
        const Ids ids = Ids::decode(bytes, batch.view.count);
        const auto twice = batch.view.twice();
        const Bitmap live(std::min<std::size_t>(ids.size(), 100), true);
        for (std::size_t i = 0; i < std::min<std::size_t>(ids.size(), 100); ++i) {
            const auto found = ids.find(batch.view, i, live);
            if (ids.kind() != IdKind::rows) check::verify(twice || found == i, "found", __FILE__, __LINE__);
        }
        check::verify(ids.encode() == bytes, "round trip", __FILE__, __LINE__);
        return true;
    } catch (const std::invalid_argument& error) {
        check::verify(std::string_view(error.what()).starts_with("ids: "), error.what(), __FILE__, __LINE__);
        return false;
    }
}

void check_hostile_bytes() {
    const Bytes batches[] = {of_rows(3), of_numbers({5, -1, 1LL << 40}),
                             of_names({"w", "Wal\xC3\xA4", "\xF0\x9F\x90\x8B"}), of_numbers({}), of_names({})};
    std::size_t taken = 0;
    for (const Bytes& bytes : batches) {
        CHECK(survives(bytes));
        for (std::size_t length = 0; length < bytes.size(); ++length) {
            CHECK(!survives(Bytes(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length))));
        }
        for (std::size_t at = 0; at < bytes.size(); ++at) {
            for (unsigned value = 0; value < 256; ++value) {
                Bytes changed = bytes;
                changed[at] = static_cast<std::byte>(value);
                taken += survives(changed) ? 1U : 0U;
            }
        }
    }
    CHECK(taken > 5000);  // every change of an integer, and of the count of row numbers
    for (std::uint64_t round = 0; round < 3000; ++round) {
        Bytes bytes = batches[round % 5];
        for (std::uint64_t i = 0; i < 1 + round % 4; ++i) {
            const auto at = static_cast<std::size_t>(random_below(round, i, bytes.size()));
            bytes[at] = static_cast<std::byte>(random_below(round + 7, i, 256));
        }
        survives(bytes);
    }
}

// ---------------------------------------------------------------------------------------------------------------------

/// Readers look for ids in the copies that they get, and in older ones, while a writer adds and replaces rows.
template <typename Make>
void check_beside_a_writer(const Make& make) {
    struct State {
        Ids ids;
        Dictionary words;
        Bitmap live;
    };
    constexpr std::size_t rounds = 1000, distinct = 300;
    std::mutex handing;
    State shared;
    std::atomic<bool> done{false};
    std::atomic<std::size_t> wrong{0}, looked{0};
    const auto read = [&](std::uint64_t seed) {
        State older;
        for (std::uint64_t turn = 0; !done || turn < 20; ++turn) {
            State state;
            {
                const std::lock_guard lock(handing);
                state = shared;
            }
            for (const State& seen : {state, older}) {
                for (std::uint64_t i = 0; i < 20; ++i) {
                    const auto which = random_below(seed, turn * 20 + i, distinct);
                    const Batch batch(make({which}));
                    const auto row = seen.ids.find(batch.view, 0, seen.live);
                    const std::string name = "tag " + std::to_string(which);
                    const auto number = seen.words.find(name);
                    // The rows below `size` were added in turn, so the number of a living row gives its id.
                    if (row && (*row >= seen.live.size() || (*row * 7) % distinct != which)) ++wrong;
                    if (row.has_value() != number.has_value() || (number && seen.words[*number] != name)) ++wrong;
                }
                if (seen.ids.bytes() < seen.words.bytes() / 100) ++wrong;
            }
            older = std::move(state);
            ++looked;
        }
    };
    std::vector<std::jthread> readers;
    readers.emplace_back(read, 1);
    readers.emplace_back(read, 2);
    State state;
    for (std::size_t round = 0; round < rounds; ++round) {
        const std::size_t first = state.ids.size(), count = 1 + round % 5;
        std::vector<std::uint64_t> which;
        std::vector<std::string> names;
        for (std::size_t row = first; row < first + count; ++row) {
            which.push_back(row * 7 % distinct);
            names.push_back("tag " + std::to_string(which.back()));
            if (row >= distinct) state.live.reset(row - distinct);  // the same id, added before
        }
        const std::vector<std::string_view> tags(names.begin(), names.end());
        std::vector<std::uint32_t> numbers;
        const Batch batch(make(which));
        if (round % 50 == 9) {
            static_cast<void>(state.ids.with(batch.view));  // an extension that is not kept
            static_cast<void>(state.words.with(tags, numbers));
        }
        state.ids = state.ids.with(batch.view);
        state.words = state.words.with(tags, numbers);
        state.live.resize(state.ids.size(), true);
        const std::lock_guard lock(handing);
        shared = state;
    }
    done = true;
    readers.clear();
    CHECK(wrong == 0 && looked >= 40 && state.ids.size() == 3000 && state.words.size() == distinct);
}

void check_threads() {
    check_beside_a_writer([](const std::vector<std::uint64_t>& which) {
        return of_numbers(std::vector<std::int64_t>(which.begin(), which.end()));
    });
    check_beside_a_writer([](const std::vector<std::uint64_t>& which) {
        std::vector<std::string> names;
        for (const std::uint64_t value : which) names.push_back("id" + std::to_string(value));
        return of_names(names);
    });
}

}  // namespace

void test_ids() {
    check_table_against_map();
    check_clusters();
    check_hashes();
    check_letters();
    check_texts();
    check_dictionary();
    check_churn();
    check_kinds();
    check_twice();
    check_hot_id();
    check_refusals();
    check_hostile_bytes();
    check_threads();
}
