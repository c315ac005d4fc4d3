// Filters from bytes: what every condition becomes, and that all other bytes are refused.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "check.hpp"
#include "columns.hpp"
#include "filter.hpp"
#include "filters.hpp"

namespace {

using ann::Filter;
using ann::Kind;
using check::Bytes;
using filters::Program;

const ann::Schema schema{{"species", Kind::tag}, {"alive", Kind::boolean}, {"age", Kind::integer},
                         {"depth", Kind::real},  {"seen", Kind::datetime}, {"place", Kind::geo},
                         {"camera", Kind::id}};

template <typename Told>
Told decoded(const Program& program) {
    const Filter filter = Filter::decode(program.bytes, schema);
    CHECK(std::holds_alternative<Told>(filter.condition));
    return std::get<Told>(filter.condition);
}

std::string refused(const Program& program) {
    const std::string words = CHECK_THROWS(std::invalid_argument, Filter::decode(program.bytes, schema));
    CHECK(words.starts_with("filter: "));
    return words;
}

void test_conditions() {
    const Program tags = Program().among(0, {"whale", "", "wal\xc3\xa9"});
    const auto among = decoded<Filter::Among>(tags);
    CHECK(among.field == 0 && !among.beyond && among.wholes.empty());
    CHECK(among.texts == (std::vector<std::string_view>{"whale", "", "wal\xc3\xa9"}));
    const Program ages = Program().among_wholes(2, std::vector<std::int64_t>{5, -7}, true);
    CHECK(decoded<Filter::Among>(ages).beyond);
    CHECK(decoded<Filter::Among>(ages).wholes == (std::vector<std::int64_t>{5, -7}));

    const auto range = decoded<Filter::Range>(Program().range(2, std::int64_t{-3}, std::int64_t{9}));
    CHECK(range.field == 2 && range.low == ann::key_of(std::int64_t{-3}) && range.high == ann::key_of(std::int64_t{9}));
    const auto real = decoded<Filter::Range>(Program().range(3, -0.0, HUGE_VAL));
    CHECK(real.low == ann::key_of(0.0) && real.high > ann::key_of(1e300));

    const auto circle = decoded<Filter::Region>(Program().circle(5, 54.3, 10.1, 1000));
    CHECK(circle.field == 5 && std::get<ann::Circle>(circle.where).has(ann::direction_of({54.3, 10.1})));
    const auto box = std::get<ann::Box>(decoded<Filter::Region>(Program().box(5, -1, 170, 1, -170)).where);
    CHECK(box.south == -1 && box.west == 170 && box.north == 1 && box.east == -170);
    const auto polygon = decoded<Filter::Region>(Program().polygon(5, {{{0, 0}, {0, 4}, {4, 0}}}));
    CHECK(std::get<ann::Polygon>(polygon.where).has({1, 1}) && !std::get<ann::Polygon>(polygon.where).has({3, 3}));

    const Program ids = Program().has_id(std::vector<std::int64_t>{7, -1});
    CHECK(decoded<Filter::HasId>(ids).ids.count == 2 && decoded<Filter::HasId>(ids).ids.number(1) == -1);
    CHECK(decoded<Filter::Missing>(Program().missing(6)).field == 6);

    const Program two = Program().joined(0, {Program().missing(0), Program().inverse(Program().missing(1))});
    const auto all = decoded<Filter::Joined>(two);
    CHECK(all.least == 2 && all.each.size() == 2);
    CHECK(std::get<Filter::Not>(all.each[1].condition).one.size() == 1);
    CHECK(decoded<Filter::Joined>(Program().joined(0, {})).least == 0);
    CHECK(decoded<Filter::Joined>(Program().joined(1, {})).least == 1);
    const auto some = decoded<Filter::Joined>(Program().at_least(5, {Program().missing(0)}));
    CHECK(some.least == 5 && some.each.size() == 1);
}

void test_refusals() {
    CHECK(refused(Program()) == "filter: the bytes end in a condition");
    refused(Program().u8(12));
    refused(Program().u8(255));
    CHECK(refused(Program().missing(7)) == "filter: there is no field 7");
    CHECK(refused(Program().missing(0xffffffff)) == "filter: there is no field 4294967295");
    CHECK(refused(Program().among(3, {"a"})) == "filter: field \"depth\" has no values to list");
    CHECK(refused(Program().range(0, 1.0, 2.0)) == "filter: field \"species\" has no ranges");
    refused(Program().range(1, std::int64_t{0}, std::int64_t{1}));
    refused(Program().circle(0, 1, 1, 1));
    refused(Program().among(0, {"\xff"}));
    refused(Program().among(0, {"\xc0\x80"}));
    refused(Program().range(3, std::nan(""), 1.0));
    refused(Program().range(3, 1.0, std::nan("")));
    refused(Program().circle(5, 90.1, 0, 1));
    refused(Program().circle(5, 0, -180.1, 1));
    refused(Program().circle(5, 0, 0, -1));
    refused(Program().circle(5, 0, 0, HUGE_VAL));
    refused(Program().circle(5, 0, 0, std::nan("")));
    refused(Program().circle(5, std::nan(""), 0, 1));
    refused(Program().box(5, 2, 0, 1, 0));
    refused(Program().box(5, 0, 0, 1, 181));
    refused(Program().polygon(5, {}));
    refused(Program().polygon(5, {{{0, 0}, {0, 1}}}));
    refused(Program().polygon(5, {{{0, 0}, {0, 1}, {91, 0}}}));
    refused(Program().u8(10).u32(3).u8(0).u8(0).u8(0));
    Bytes rows(16);
    rows[8] = std::byte{1};  // one row number, which a batch of row numbers does not name
    refused(Program().u8(10).u32(16).raw(rows));
    refused(Program().missing(0).u8(0));
}

void test_depth_and_counts() {
    for (const bool joined : {false, true}) {
        Program program = Program().missing(0);
        for (std::size_t depth = 1; depth < 64; ++depth) {
            program = joined ? Program().joined(0, {program}) : Program().inverse(program);
        }
        Filter::decode(program.bytes, schema);
        program = joined ? Program().joined(1, {program}) : Program().inverse(program);
        CHECK(refused(program) == "filter: nested more than 64 deep");
    }
    Program deep;
    for (std::size_t i = 0; i < 100000; ++i) deep.u8(2);
    refused(deep);
    const std::uint32_t huge = 0xffffffff;
    refused(Program().u8(0).u32(huge));
    refused(Program().u8(3).u32(1).u32(huge).u8(0));
    refused(Program().u8(4).u32(0).u32(huge).u32(1));
    refused(Program().u8(4).u32(0).u32(1).u32(huge).u8(1));
    refused(Program().u8(4).u32(2).u32(huge).u32(1));
    refused(Program().u8(9).u32(5).u32(huge));
    refused(Program().u8(9).u32(5).u32(1).u32(huge).f64(0));
    refused(Program().u8(10).u32(huge));
}

/// A program that is cut off is never a filter. A damaged program is a filter or is refused, and nothing else happens.
void test_damage() {
    const std::vector<Program> all{
        Program().among(0, {"whale", "seal"}),
        Program().among_wholes(2, std::vector<std::int64_t>{1, 2}, true),
        Program().range(3, 1.0, 2.0),
        Program().circle(5, 1, 2, 3),
        Program().box(5, 1, 2, 3, 4),
        Program().polygon(5, {{{0, 0}, {0, 4}, {4, 0}}, {{1, 1}, {1, 2}, {2, 1}}}),
        Program().has_id(std::vector<std::int64_t>{1, 2}),
        Program().has_id(std::vector<std::string>{"a", "bc"}),
        Program().at_least(1, {Program().missing(1), Program().inverse(Program().joined(1, {}))})};
    const Program program = Program().joined(0, all);
    Filter::decode(program.bytes, schema);
    for (std::size_t size = 0; size < program.bytes.size(); ++size) {
        const Bytes part(program.bytes.begin(), program.bytes.begin() + static_cast<std::ptrdiff_t>(size));
        CHECK_THROWS(std::invalid_argument, Filter::decode(part, schema));
    }
    std::mt19937_64 random(6);
    std::size_t passed = 0, stopped = 0;
    for (std::size_t i = 0; i < 20000; ++i) {
        Bytes bytes = program.bytes;
        for (std::size_t flips = 1 + random() % 3; flips > 0; --flips) {
            bytes[random() % bytes.size()] ^= static_cast<std::byte>(1 << random() % 8);
        }
        try {
            Filter::decode(bytes, schema);
            ++passed;
        } catch (const std::invalid_argument& error) {
            CHECK(std::string_view(error.what()).starts_with("filter: "));
            ++stopped;
        }
    }
    CHECK(passed > 1000 && stopped > 1000);
}

}  // namespace

void test_filter() {
    test_conditions();
    test_refusals();
    test_depth_and_counts();
    test_damage();
}
