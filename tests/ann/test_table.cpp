// The rows that a filter selects: by hand, and by the structures compared with a test of every row.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "check.hpp"
#include "filters.hpp"
#include "kernels.hpp"
#include "table.hpp"

namespace {

using ann::Bitmap;
using ann::Filter;
using ann::Kind;
using ann::Payload;
using ann::Selection;
using ann::Table;
using check::Bytes;
using filters::Program;
using filters::Row;
using filters::Value;
using List = std::vector<std::uint32_t>;

Value texts(std::vector<std::string> values) { return {true, std::move(values), 0, 0, {0, 0}}; }
Value whole(std::int64_t value) { return {true, {}, value, 0, {0, 0}}; }
Value real(double value) { return {true, {}, 0, value, {0, 0}}; }
Value place(double latitude, double longitude) { return {true, {}, 0, 0, {latitude, longitude}}; }

ann::Ids ids_of(const Program& batch) {
    // In a program a batch comes after its condition and its length.
    const Bytes bytes(batch.bytes.begin() + 5, batch.bytes.end());
    return ann::Ids().with(ann::IdBatch::decode(bytes));
}

ann::Ids row_ids(std::size_t count) {
    ann::IdBatch batch;
    batch.count = count;
    return ann::Ids().with(batch);
}

List rows_of(const Selection& selection) {
    List rows;
    selection.each([&](std::uint32_t row) { rows.push_back(row); });
    return rows;
}

List selected(const Table& table, const Program& program, const Bitmap& live, const ann::Ids& ids) {
    const Filter filter = Filter::decode(program.bytes, table.schema());
    List first;
    for (const ann::Kernels* kernels : ann::kernel_sets()) {
        const Selection selection = table.select(filter, live, ids, *kernels);
        const List rows = rows_of(selection);
        CHECK(selection.count == rows.size());
        CHECK(std::is_sorted(rows.begin(), rows.end()));
        CHECK(selection.listed ? selection.bits.size() == 0 : selection.bits.size() == table.size());
        if (kernels == ann::kernel_sets().front()) first = rows;
        CHECK(rows == first);
    }
    return first;
}

/// Return the same by a test of every row, and by the structures.
List slow(const Table& table, const Program& program, const Bitmap& live, const ann::Ids& ids) {
    const Filter filter = Filter::decode(program.bytes, table.schema());
    List rows;
    for (std::uint32_t row = 0; row < table.size(); ++row) {
        if (live.test(row) && table.means(filter, row, ids)) rows.push_back(row);
    }
    return rows;
}

// By hand -------------------------------------------------------------------------------------------------------------

const ann::Schema schema{{"species", Kind::tag}, {"alive", Kind::boolean}, {"age", Kind::integer},
                         {"depth", Kind::real},  {"seen", Kind::datetime}, {"place", Kind::geo},
                         {"camera", Kind::id}};

/// Whales, seals, and a row without values.
const std::vector<Row> seen{
    {{0, texts({"whale", "mammal"})},
     {1, whole(1)},
     {2, whole(7)},
     {3, real(-2.5)},
     {4, whole(100)},
     {5, place(54, 10)},
     {6, texts({"a"})}},
    {{0, texts({"seal", "mammal"})}, {1, whole(0)}, {2, whole(-7)}, {3, real(10)}, {5, place(0, 179.9)}},
    {},
    {{0, texts({"cod"})},
     {2, whole(std::numeric_limits<std::int64_t>::min())},
     {3, real(HUGE_VAL)},
     {4, whole(-1)},
     {5, place(90, 0)},
     {6, texts({"a"})}},
    {{0, texts({"whale"})},
     {1, whole(1)},
     {2, whole(std::numeric_limits<std::int64_t>::max())},
     {3, real(-HUGE_VAL)},
     {4, whole(0)},
     {5, place(0, -179.9)},
     {6, texts({"b"})}},
};

std::vector<std::size_t> all_fields(const ann::Schema& of) {
    std::vector<std::size_t> fields(of.size());
    for (std::size_t i = 0; i < fields.size(); ++i) fields[i] = i;
    return fields;
}

Table with_rows(const Table& table, const std::vector<Row>& rows) {
    const Bytes bytes = filters::encode(table.schema(), all_fields(table.schema()), rows);
    return table.appended(Payload::decode(bytes, table.schema()));
}

Table with_changes(const Table& table, const List& rows, const std::vector<std::size_t>& fields,
                   const std::vector<Row>& values) {
    const Bytes bytes = filters::encode(table.schema(), fields, values);
    return table.changed(rows, Payload::decode(bytes, table.schema()));
}

using Wholes = std::vector<std::int64_t>;

const std::vector<std::pair<Program, List>> by_hand{
    {Program().among(0, {"whale"}), {0, 4}},
    {Program().among(0, {"seal", "cod", "seal"}), {1, 3}},
    {Program().among(0, {"mammal", "whale"}), {0, 1, 4}},
    {Program().among(0, {"squid", ""}), {}},
    {Program().among(0, {}), {}},
    {Program().among(0, {}, true), {0, 1, 3, 4}},
    {Program().among(0, {"whale"}, true), {0, 1, 3}},
    {Program().among(0, {"whale", "mammal", "squid"}, true), {1, 3}},
    {Program().inverse(Program().among(0, {"whale"})), {1, 2, 3}},
    {Program().among_wholes(1, Wholes{1}), {0, 4}},
    {Program().among_wholes(1, Wholes{0, 1}), {0, 1, 4}},
    {Program().among_wholes(1, Wholes{2}), {}},
    {Program().among_wholes(1, Wholes{1, 5}, true), {1}},
    {Program().among_wholes(2, Wholes{7, 7, -7}), {0, 1}},
    {Program().among_wholes(2, Wholes{7}, true), {1, 3, 4}},
    {Program().range(2, std::int64_t{-7}, std::int64_t{7}), {0, 1}},
    {Program().range(2, std::int64_t{7}, std::int64_t{-7}), {}},
    {Program().range(2, std::numeric_limits<std::int64_t>::min(), std::int64_t{-8}), {3}},
    {Program().range(2, std::int64_t{8}, std::numeric_limits<std::int64_t>::max()), {4}},
    {Program().range(3, -HUGE_VAL, HUGE_VAL), {0, 1, 3, 4}},
    {Program().range(3, -2.5, 10.0), {0, 1}},
    {Program().range(3, 10.0, 9.0), {}},
    {Program().range(4, std::int64_t{-1}, std::int64_t{0}), {3, 4}},
    {Program().among(6, {"a"}), {0, 3}},
    {Program().among(6, {"a"}, true), {4}},
    {Program().missing(6), {1, 2}},
    {Program().missing(5), {2}},
    {Program().inverse(Program().missing(4)), {0, 3, 4}},
    {Program().circle(5, 0, 180, 20000), {1, 4}},
    {Program().circle(5, 54, 10, 0), {0}},
    {Program().circle(5, 90, 77, 1), {3}},
    {Program().box(5, -1, 179, 1, -179), {1, 4}},
    {Program().box(5, -90, -180, 90, 180), {0, 1, 3, 4}},
    {Program().polygon(5, {{{53, 9}, {53, 11}, {55, 11}, {55, 9}}}), {0}},
    {Program().polygon(
         5, {{{53, 9}, {53, 11}, {55, 11}, {55, 9}}, {{53.5, 9.5}, {53.5, 10.5}, {54.5, 10.5}, {54.5, 9.5}}}),
     {}},
    {Program().has_id(Wholes{40, 10, 11, 10}), {1, 4}},
    {Program().has_id(std::vector<std::string>{"10"}), {}},
    {Program().inverse(Program().has_id(Wholes{40})), {0, 1, 2, 3}},
    {Program().joined(0, {}), {0, 1, 2, 3, 4}},
    {Program().joined(1, {}), {}},
    {Program().at_least(0, {Program().missing(0)}), {0, 1, 2, 3, 4}},
    {Program().at_least(2, {Program().missing(0)}), {}},
    {Program().joined(0, {Program().among(0, {"whale"}), Program().range(3, -5.0, 0.0)}), {0}},
    {Program().joined(1, {Program().among(0, {"whale"}), Program().missing(0)}), {0, 2, 4}},
    {Program().at_least(
         2, {Program().among(0, {"whale"}), Program().among_wholes(1, Wholes{1}), Program().among(6, {"a"})}),
     {0, 4}},
};

void test_by_hand() {
    const ann::Ids ids = ids_of(Program().has_id(Wholes{0, 10, 20, 30, 40}));
    const Table plain = with_rows(Table(schema), seen);
    const Table indexed = plain.indexed();
    const Table half =
        with_rows(with_rows(Table(schema), {seen.begin(), seen.begin() + 3}).indexed(), {seen.begin() + 3, seen.end()});
    CHECK(plain.loose() == 5 && indexed.loose() == 0 && half.loose() == 2);
    // Every row first has the values of another row, and is then changed to its own values.
    Table changed = with_rows(Table(schema), {seen.rbegin(), seen.rend()}).indexed();
    changed = with_changes(changed, {0, 1, 2, 3, 4}, all_fields(schema), seen);
    CHECK(changed.loose() == 5);
    const Table merged = half.indexed();
    for (const auto& [program, rows] : by_hand) {
        const Bitmap live(5, true);
        for (const Table& table : {plain, indexed, half, changed, changed.indexed(), merged}) {
            CHECK(selected(table, program, live, ids) == rows);
            CHECK(slow(table, program, live, ids) == rows);
        }
        Bitmap some(5, true);
        some.reset(0);
        List left = rows;
        std::erase(left, 0U);
        CHECK(selected(indexed, program, some, ids) == left);
        CHECK(selected(half, program, some, ids) == left);
    }
    // Two rows have the same id, and the later one is alive.
    const ann::Ids twice = ids_of(Program().has_id(Wholes{5, 6, 5, 7, 8}));
    Bitmap live(5, true);
    live.reset(0);
    CHECK(selected(indexed, Program().has_id(Wholes{5}), live, twice) == (List{2}));
    CHECK(selected(indexed, Program().inverse(Program().has_id(Wholes{5})), live, twice) == (List{1, 3, 4}));
}

void test_values() {
    Table table = with_rows(Table(schema), seen).indexed();
    table = with_changes(table, {1, 2}, {0, 6},
                         {{{0, texts({"walrus", "mammal"})}, {6, texts({"b"})}}, {{6, texts({"c"})}}});
    CHECK(table.loose() == 2);
    Selection all;
    all.listed = true;
    all.rows = {0, 1, 2, 3, 4};
    all.count = 5;
    const auto told = [&](const Table& of, std::size_t field) {
        std::string words;
        for (const ann::Facet& facet : of.facet(field, all)) {
            if (const auto* text = std::get_if<std::string>(&facet.value)) words += *text;
            if (const auto* number = std::get_if<std::int64_t>(&facet.value)) words += std::to_string(*number);
            if (const auto* number = std::get_if<double>(&facet.value)) words += std::to_string(*number);
            words += ":" + std::to_string(facet.count) + " ";
        }
        return words;
    };
    for (const Table& of : {table, table.indexed()}) {
        CHECK(told(of, 0) == "mammal:2 whale:2 cod:1 walrus:1 ");
        CHECK(told(of, 1) == "1:2 0:1 ");
        CHECK(told(of, 2) == "-9223372036854775808:1 -7:1 7:1 9223372036854775807:1 ");
        CHECK(told(of, 3) == "-inf:1 -2.500000:1 10.000000:1 inf:1 ");
        CHECK(told(of, 6) == "a:2 b:2 c:1 ");
        CHECK(of.group(6, 0) == of.group(6, 3) && of.group(6, 1) == of.group(6, 4) && of.group(6, 0) != of.group(6, 1));
        CHECK(of.group(6, 2) != of.group(6, 0) && of.group(6, 2) != of.group(6, 1));
        CHECK(of.group(4, 1) != of.group(4, 2));
        CHECK(of.group(3, 3) != of.group(3, 4));
        CHECK(*of.order(3, 4) < *of.order(3, 0) && *of.order(3, 0) < *of.order(3, 1));
        CHECK(*of.order(3, 1) < *of.order(3, 3));
        CHECK(*of.order(2, 3) < *of.order(2, 1) && *of.order(1, 1) < *of.order(1, 0) && !of.order(2, 2));
        CHECK(of.bytes() > 0);
    }
    // Values that are set again stay the same.
    const Table again = Table(schema).appended(Payload::decode(table.encode(), schema)).indexed();
    CHECK(again.encode() == table.indexed().encode());
    const List some{4, 1, 2};
    const Table three = table.taken(some);
    CHECK(three.size() == 3 && three.loose() == 0);
    const Bytes told_again = table.encode(some);
    const Table other = Table(schema).appended(Payload::decode(told_again, schema));
    CHECK(three.encode() == other.taken(List{0, 1, 2}).encode());
    CHECK(selected(three, Program().among(0, {"walrus"}), Bitmap(3, true), row_ids(3)) == (List{1}));
}

/// Many changes of one row keep only one row loose, and do not keep all old values.
void test_many_changes() {
    Table table = with_rows(Table(schema), seen).indexed();
    for (std::int64_t i = 0; i < 3000; ++i) table = with_changes(table, {2}, {2}, {{{2, whole(i)}}});
    CHECK(table.loose() == 1);
    CHECK(table.bytes() < with_rows(Table(schema), seen).indexed().bytes() + 300000);
    CHECK(selected(table, Program().among_wholes(2, Wholes{2999}), Bitmap(5, true), row_ids(5)) == (List{2}));
    CHECK(selected(table, Program().among_wholes(2, Wholes{2998}), Bitmap(5, true), row_ids(5)).empty());
}

// At random -----------------------------------------------------------------------------------------------------------

class Chance {
public:
    explicit Chance(std::uint64_t seed) : random_(seed) {}
    std::size_t below(std::size_t bound) { return static_cast<std::size_t>(random_() % bound); }
    bool one_in(std::size_t bound) { return below(bound) == 0; }
    double in(double low, double high) {
        return low + (high - low) * (static_cast<double>(random_() >> 11) * 0x1.0p-53);
    }
    /// Return a number below `bound`; small numbers are more frequent.
    std::size_t skewed(std::size_t bound) { return below(1 + below(bound)); }

    Value value(Kind kind) {
        if (one_in(6)) return {};
        switch (kind) {
            case Kind::tag: {
                std::vector<std::string> words;
                for (std::size_t i = one_in(3) ? 1 + below(3) : 1; i > 0; --i) words.push_back(word());
                return texts(words);
            }
            case Kind::id: return texts({word()});
            case Kind::boolean: return whole(one_in(3) ? 1 : 0);
            case Kind::real: return real(one_in(30) ? (one_in(2) ? HUGE_VAL : -HUGE_VAL) : real_number());
            case Kind::geo: return place(latitude(), longitude());
            default: return whole(whole_number());
        }
    }
    std::string word() { return "w" + std::to_string(skewed(40)); }
    std::int64_t whole_number() {
        using Limits = std::numeric_limits<std::int64_t>;
        if (one_in(50)) return one_in(2) ? Limits::max() : Limits::min();
        return static_cast<std::int64_t>(below(60)) - 30;
    }
    double real_number() { return one_in(4) ? static_cast<double>(below(5)) : in(-2, 6); }
    double latitude() { return one_in(20) ? (one_in(2) ? 90 : -90) : in(-90, 90); }
    double longitude() { return one_in(20) ? (one_in(2) ? 180 : -180) : in(-180, 180); }

    Row row(const ann::Schema& of) {
        Row values;
        for (std::size_t field = 0; field < of.size(); ++field) values[field] = value(of[field].kind);
        return values;
    }

    Program condition(const ann::Schema& of, std::size_t rows) {
        const std::size_t field = below(of.size());
        if (one_in(12)) return Program().missing(field);
        if (one_in(12)) {
            Wholes ids;
            for (std::size_t i = below(one_in(3) ? 100 : 4); i > 0; --i) {
                ids.push_back(static_cast<std::int64_t>(below(rows + 3)));
            }
            return Program().has_id(ids);
        }
        const Kind kind = of[field].kind;
        const bool beyond = one_in(4);
        if (ann::is_text(kind)) {
            std::vector<std::string> words;
            for (std::size_t i = one_in(3) ? below(20) : 1; i > 0; --i) words.push_back(word());
            return Program().among(field, words, beyond);
        }
        if (kind == Kind::geo) return region(field);
        if (kind == Kind::boolean || (kind != Kind::real && one_in(3))) {
            Wholes wholes;
            for (std::size_t i = below(5); i > 0; --i) {
                wholes.push_back(kind == Kind::boolean ? whole_number() & 1 : whole_number());
            }
            return Program().among_wholes(field, wholes, beyond);
        }
        if (kind != Kind::real) {
            const std::int64_t low = whole_number(), high = whole_number();
            if (one_in(8)) return Program().range(field, high, low);
            return Program().range(field, std::min(low, high), std::max(low, high));
        }
        const double low = real_number(), high = real_number();
        if (one_in(8)) return Program().range(field, high, low);
        return Program().range(field, std::min(low, high), std::max(low, high));
    }

    Program region(std::size_t field) {
        if (one_in(3)) return Program().circle(field, latitude(), longitude(), std::exp(in(5, 17)));
        const double a = latitude(), b = latitude();
        if (one_in(2)) return Program().box(field, std::min(a, b), longitude(), std::max(a, b), longitude());
        const double south = in(-80, 60), west = in(-180, 60), height = in(1, 25), width = in(1, 100);
        return Program().polygon(field, {{{south, west}, {south, west + width}, {south + height, west + width / 3}},
                                         {{south + height / 9, west + width / 3},
                                          {south + height / 9, west + width / 2},
                                          {south + height / 4, west + width / 3}}});
    }

    Program tree(const ann::Schema& of, std::size_t rows, std::size_t depth) {
        const std::size_t what = below(8);
        if (depth == 0 || what < 2) return condition(of, rows);
        if (what == 2) return Program().inverse(tree(of, rows, depth - 1));
        std::vector<Program> each;
        for (std::size_t i = one_in(8) ? 0 : 1 + below(4); i > 0; --i) each.push_back(tree(of, rows, depth - 1));
        if (what == 3) return Program().at_least(below(each.size() + 2), each);
        return Program().joined(what < 6 ? 0 : 1, each);
    }

private:
    std::mt19937_64 random_;
};

/// Return a table with rows in the structures, changed rows, later rows, and later rows that were changed.
Table random_table(Chance& chance, const ann::Schema& of, std::size_t first, std::size_t behind) {
    const auto some_rows = [&](std::size_t count) {
        std::vector<Row> rows;
        for (std::size_t i = 0; i < count; ++i) rows.push_back(chance.row(of));
        return rows;
    };
    Table table = with_rows(Table(of), some_rows(first));
    if (chance.one_in(2)) table = with_rows(table.indexed(), some_rows(chance.below(50)));
    const auto change = [&] {
        List rows;
        const std::size_t share = 2 + chance.below(40);
        for (std::uint32_t row = 0; row < table.size(); ++row) {
            if (chance.one_in(share)) rows.push_back(row);
        }
        std::vector<std::size_t> fields;
        for (std::size_t field = 0; field < of.size(); ++field) {
            if (chance.one_in(2)) fields.push_back(field);
        }
        if (!rows.empty()) table = with_changes(table, rows, fields, some_rows(chance.one_in(2) ? 1 : rows.size()));
    };
    if (chance.one_in(3)) change();
    if (!chance.one_in(4)) table = table.indexed();
    if (chance.one_in(3)) change();
    if (chance.one_in(3)) change();
    if (chance.one_in(2)) table = with_rows(table, some_rows(behind));
    if (chance.one_in(3)) change();
    if (chance.one_in(3)) table = table.indexed();
    return table;
}

void test_at_random() {
    const std::size_t sizes[] = {0, 1, 2, 31, 32, 33, 63, 64, 65, 127, 128, 129, 300, 640, 1000};
    for (std::uint64_t seed = 0; seed < 150; ++seed) {
        Chance chance(seed);
        ann::Schema of;
        for (std::size_t i = 1 + chance.below(7); i > 0; --i) {
            of.push_back({std::string("f").append(std::to_string(i)), static_cast<Kind>(chance.below(ann::kinds))});
        }
        const std::size_t size = sizes[chance.below(std::size(sizes))];
        const Table table = random_table(chance, of, size, chance.below(70));
        const Table fresh = table.indexed();
        CHECK(fresh.loose() == 0 && fresh.size() == table.size());
        Bitmap live(table.size(), true);
        const std::size_t dead = chance.one_in(3) ? 2 : 50;
        for (std::size_t row = 0; row < live.size(); ++row) {
            if (chance.one_in(dead)) live.reset(row);
        }
        const ann::Ids ids = row_ids(table.size());
        for (std::size_t i = 0; i < 25; ++i) {
            const Program program = i % 2 == 0 ? chance.condition(of, table.size()) : chance.tree(of, table.size(), 3);
            const List rows = slow(table, program, live, ids);
            CHECK(rows == slow(fresh, program, live, ids));
            CHECK(rows == selected(table, program, live, ids));
            CHECK(rows == selected(fresh, program, live, ids));
        }
    }
}

/// Enough rows that short lists, long lists, bitmaps, and combinations of them occur.
void test_many_rows() {
    const ann::Schema of{
        {"tag", Kind::tag}, {"int", Kind::integer}, {"place", Kind::geo}, {"real", Kind::real}, {"id", Kind::id}};
    Chance chance(99);
    std::vector<Row> rows;
    for (std::size_t i = 0; i < 30000; ++i) {
        rows.push_back(chance.row(of));
        rows.back()[3] = real(chance.in(0, 1));
        rows.back()[4] = texts({"w" + std::to_string(chance.below(3000))});
    }
    const Table table = with_rows(Table(of), rows).indexed();
    Bitmap live(table.size(), true);
    for (std::size_t row = 0; row < live.size(); row += 17) live.reset(row);
    const ann::Ids ids = row_ids(table.size());
    std::size_t lists = 0, bits = 0;
    for (std::size_t i = 0; i < 150; ++i) {
        const double low = chance.in(0, 1), width = std::exp(chance.in(-9, 0));
        const Program narrow = Program().range(3, low, std::min(low + width, 1.0));
        const Program tree = chance.tree(of, 30000, 1), more = chance.condition(of, 30000);
        Program program = narrow;
        if (i % 3 == 1) program = Program().joined(0, {tree, narrow, more});
        if (i % 3 == 2) program = Program().joined(1, {tree, Program().inverse(narrow)});
        const List wanted = slow(table, program, live, ids);
        CHECK(wanted == selected(table, program, live, ids));
        const Filter filter = Filter::decode(program.bytes, of);
        (table.select(filter, live, ids, ann::chosen_kernels()).listed ? lists : bits) += 1;
    }
    CHECK(lists > 20 && bits > 20);
}

}  // namespace

void test_table() {
    test_by_hand();
    test_values();
    test_many_changes();
    test_at_random();
    test_many_rows();
}
