#include "columns.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <limits>
#include <mutex>
#include <numeric>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "check.hpp"
#include "checksum.hpp"
#include "random.hpp"

using ann::Columns, ann::Kind, ann::Payload, ann::Place, ann::Schema;
using check::Bytes;

namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();

/// The simple model: the value of a row in a field. Only the members for the field's kind are used.
struct Value {
    std::set<std::string> texts;
    std::int64_t whole = 0;
    double real = 0.0;
    Place place{0.0, 0.0};
};
using Row = std::vector<std::optional<Value>>;
using Model = std::vector<Row>;

class Dice {
public:
    explicit Dice(std::uint64_t seed) : seed_(seed) {}
    std::uint64_t bits() { return ann::random_bits(seed_, place_++); }
    std::size_t below(std::size_t bound) { return static_cast<std::size_t>(bits() % bound); }
    double unit() { return static_cast<double>(bits() >> 11) * 0x1p-53; }

private:
    std::uint64_t seed_, place_ = 0;
};

std::shared_ptr<const Schema> schema_of(std::initializer_list<Kind> kinds) {
    Schema schema;
    for (const Kind kind : kinds) schema.push_back({"field " + std::to_string(schema.size()), kind});
    return std::make_shared<const Schema>(std::move(schema));
}

std::shared_ptr<const Schema> random_schema(Dice& dice) {
    Schema schema;
    for (std::size_t left = dice.below(7); left > 0; --left) {
        schema.push_back({"field " + std::to_string(left), static_cast<Kind>(dice.below(ann::kinds))});
    }
    return std::make_shared<const Schema>(std::move(schema));
}

std::string random_text(Dice& dice) {
    static const std::array<std::string, 6> letters = {"a", "z", "é", "鯨", "🐋", std::string(1, '\0')};
    std::string text;
    for (std::size_t left = 1 + dice.below(4); left > 0; --left) text += letters[dice.below(letters.size())];
    return text;
}

std::optional<Value> random_value(Dice& dice, Kind kind) {
    if (dice.below(4) == 0) return std::nullopt;
    Value value;
    switch (kind) {
        case Kind::tag:
            for (std::size_t left = 1 + dice.below(4); left > 0; --left) value.texts.insert(random_text(dice));
            break;
        case Kind::id: value.texts.insert(random_text(dice)); break;
        case Kind::boolean: value.whole = static_cast<std::int64_t>(dice.below(2)); break;
        case Kind::integer:
        case Kind::datetime: value.whole = static_cast<std::int64_t>(dice.bits() >> dice.below(64)); break;
        case Kind::real: value.real = dice.below(9) == 0 ? -infinity : (dice.unit() - 0.5) * 1e6; break;
        case Kind::geo: value.place = {dice.unit() * 180.0 - 90.0, dice.unit() * 360.0 - 180.0}; break;
    }
    return value;
}

Row random_row(Dice& dice, const Schema& schema) {
    Row row;
    for (const ann::Field& field : schema) row.push_back(random_value(dice, field.kind));
    return row;
}

Model random_model(Dice& dice, const Schema& schema, std::size_t rows) {
    Model model;
    while (model.size() < rows) model.push_back(random_row(dice, schema));
    return model;
}

template <typename... Ts>
void put(Bytes& out, Ts... values) {
    const auto one = [&](auto value) {
        const auto bytes = std::as_bytes(std::span(&value, 1));
        out.insert(out.end(), bytes.begin(), bytes.end());
    };
    (one(values), ...);
}

void put_text(Bytes& out, std::string_view text) {
    for (const char letter : text) put(out, letter);
}

using u8 = std::uint8_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using i64 = std::int64_t;

void put_texts(Bytes& out, const Model& model, std::size_t field) {
    std::vector<std::string> texts;
    const auto place_of = [&](const std::string& text) {
        return static_cast<u32>(std::ranges::find(texts, text) - texts.begin());
    };
    for (const Row& row : model) {
        if (!row[field]) continue;
        for (const std::string& text : row[field]->texts) {
            if (place_of(text) == texts.size()) texts.push_back(text);
        }
    }
    put(out, static_cast<u32>(texts.size()));
    u64 end = 0;
    for (const std::string& text : texts) put(out, end += text.size());
    for (const std::string& text : texts) put_text(out, text);
    for (const Row& row : model) put(out, static_cast<u32>(row[field] ? row[field]->texts.size() : 0));
    for (const Row& row : model) {
        if (!row[field]) continue;
        std::set<u32> places;
        for (const std::string& text : row[field]->texts) places.insert(place_of(text));
        for (const u32 place : places) put(out, place);
    }
}

/// Return a payload of the given fields, written as payload.hpp describes.
Bytes payload_of(const Schema& schema, const Model& model, const std::set<std::size_t>& told) {
    Bytes out;
    put(out, static_cast<u32>(model.size()), static_cast<u32>(told.size()));
    for (const std::size_t field : told) {
        put(out, static_cast<u32>(field));
        const Kind kind = schema[field].kind;
        if (ann::is_text(kind)) {
            put_texts(out, model, field);
            continue;
        }
        for (const Row& row : model) put(out, static_cast<u8>(row[field] ? 1 : 0));
        for (const Row& row : model) {
            const Value value = row[field].value_or(Value{});
            if (ann::is_whole(kind)) put(out, value.whole);
            if (kind == Kind::real) put(out, value.real);
            if (kind == Kind::geo) put(out, value.place.latitude, value.place.longitude);
        }
    }
    return out;
}

std::set<std::size_t> every(const Schema& schema) {
    std::set<std::size_t> fields;
    for (std::size_t field = 0; field < schema.size(); ++field) fields.insert(field);
    return fields;
}

bool same(Place a, Place b) { return a.latitude == b.latitude && a.longitude == b.longitude; }

bool has_texts(const Columns& columns, std::size_t field, std::size_t row, const std::set<std::string>& texts) {
    const std::span<const u32> codes = columns.texts(field, row);
    std::set<std::string> had;
    for (std::size_t i = 0; i < codes.size(); ++i) {
        if (i != 0 && codes[i] <= codes[i - 1]) return false;
        had.insert(std::string(columns.dictionary(field)[codes[i]]));
    }
    return had == texts && codes.size() == texts.size();
}

bool is_value(const Columns& columns, std::size_t field, std::size_t row, const std::optional<Value>& wanted) {
    const Kind kind = columns.schema()[field].kind;
    if (columns.has(field, row) != wanted.has_value()) return false;
    const Value value = wanted.value_or(Value{});
    if (ann::is_text(kind)) {
        return has_texts(columns, field, row, value.texts) &&
               (!wanted || columns.key(field, row) == columns.texts(field, row)[0]);
    }
    if (kind == Kind::geo) {
        return same(columns.place(field, row), value.place) &&
               columns.direction(field, row) == ann::direction_of(value.place) &&
               columns.key(field, row) == ann::curve_of(value.place);
    }
    if (kind == Kind::real) {
        return columns.real(field, row) == value.real && columns.key(field, row) == ann::key_of(value.real);
    }
    return columns.whole(field, row) == value.whole && columns.key(field, row) == ann::key_of(value.whole);
}

bool agree(const Columns& columns, const Model& model) {
    if (columns.size() != model.size()) return false;
    for (std::size_t row = 0; row < model.size(); ++row) {
        for (std::size_t field = 0; field < model[row].size(); ++field) {
            if (!is_value(columns, field, row, model[row][field])) return false;
        }
    }
    return true;
}

/// Check a payload that is read through its own functions.
bool agree(const Payload& payload, const Schema& schema, const Model& model, const std::set<std::size_t>& told) {
    bool right = payload.rows() == model.size();
    for (std::size_t field = 0; field < schema.size(); ++field) {
        const Payload::Column* column = payload.column(field);
        if ((column != nullptr) != told.contains(field)) return false;
        for (std::size_t row = 0; column != nullptr && row < model.size(); ++row) {
            const Value value = model[row][field].value_or(Value{});
            const Kind kind = schema[field].kind;
            right = right && column->has(row) == model[row][field].has_value();
            if (ann::is_whole(kind)) right = right && column->whole(row) == value.whole;
            if (kind == Kind::real) right = right && column->real(row) == value.real;
            if (kind == Kind::geo) right = right && same(column->place(row), value.place);
            if (!ann::is_text(kind)) continue;
            std::set<std::string> texts;
            for (std::size_t i = 0; i < column->count(row); ++i) {
                texts.insert(std::string(column->texts[column->text(row, i)]));
            }
            right = right && texts == value.texts;
        }
    }
    return right;
}

std::vector<u32> all_rows(const Columns& columns) {
    std::vector<u32> rows(columns.size());
    std::iota(rows.begin(), rows.end(), 0u);
    return rows;
}

std::vector<u32> random_rows(Dice& dice, std::size_t size, std::size_t count) {
    std::vector<u32> rows;
    while (size != 0 && rows.size() < count) rows.push_back(static_cast<u32>(dice.below(size)));
    return rows;
}

std::set<std::size_t> random_fields(Dice& dice, const Schema& schema) {
    std::set<std::size_t> fields;
    for (std::size_t field = 0; field < schema.size(); ++field) {
        if (dice.below(3) != 0) fields.insert(field);
    }
    return fields;
}

Columns made_of(const std::shared_ptr<const Schema>& schema, const Model& model) {
    const Bytes bytes = payload_of(*schema, model, every(*schema));
    return Columns(schema).with(Payload::decode(bytes, *schema));
}

/// Columns, and the contents that they must have.
struct Pair {
    Columns columns;
    Model model;
};

Pair appended(Dice& dice, const Pair& old, std::size_t rows) {
    const Schema& schema = old.columns.schema();
    const std::set<std::size_t> told = random_fields(dice, schema);
    const Model more = random_model(dice, schema, rows);
    const Bytes bytes = payload_of(schema, more, told);
    const Payload payload = Payload::decode(bytes, schema);
    CHECK(agree(payload, schema, more, told));
    Pair made{old.columns.with(payload), old.model};
    for (Row row : more) {
        for (std::size_t field = 0; field < row.size(); ++field) {
            if (!told.contains(field)) row[field].reset();
        }
        made.model.push_back(std::move(row));
    }
    return made;
}

Pair changed(Dice& dice, const Pair& old, const Pair& from) {
    const Schema& schema = old.columns.schema();
    const std::vector<u32> rows = random_rows(dice, from.model.size(), 1 + dice.below(9));
    const std::set<std::size_t> told = random_fields(dice, schema);
    const Model change = random_model(dice, schema, dice.below(2) == 0 ? 1 : rows.size());
    const Bytes bytes = payload_of(schema, change, told);
    Pair made{old.columns, old.model};
    if (change.size() != 1 && change.size() != rows.size()) return made;
    made.columns = old.columns.with_changed(from.columns, rows, Payload::decode(bytes, schema));
    for (std::size_t i = 0; i < rows.size(); ++i) {
        Row row = from.model[rows[i]];
        for (const std::size_t field : told) row[field] = change[change.size() == 1 ? 0 : i][field];
        made.model.push_back(std::move(row));
    }
    return made;
}

Pair taken(Dice& dice, const Pair& old) {
    const std::vector<u32> rows = random_rows(dice, old.model.size(), dice.below(2 * old.model.size() + 1));
    Pair made{old.columns.taken(rows), {}};
    for (const u32 row : rows) made.model.push_back(old.model[row]);
    return made;
}

Pair patched(Dice& dice, const Pair& old, const Pair& other) {
    Pair made{old.columns, old.model};
    std::vector<std::pair<u32, u32>> changes;
    for (std::size_t row = 0; row < old.model.size() && !other.model.empty(); ++row) {
        if (dice.below(3) != 0) continue;
        changes.emplace_back(static_cast<u32>(row), static_cast<u32>(dice.below(other.model.size())));
        made.model[row] = other.model[changes.back().second];
    }
    made.columns = old.columns.patched(changes, other.columns);
    return made;
}

/// Columns are compared with the model through all operations, including older copies.
void test_random() {
    for (std::size_t seed = 0; seed < 120; ++seed) {
        Dice dice(seed);
        const auto schema = random_schema(dice);
        std::vector<Pair> all = {{Columns(schema), {}}};
        for (std::size_t step = 0; step < 14; ++step) {
            const Pair& newest = all.back();
            const Pair& older = all[dice.below(all.size())];
            const std::size_t what = newest.model.size() > 400 ? 6 : dice.below(8);
            if (what < 4) all.push_back(appended(dice, newest, dice.below(3) == 0 ? dice.below(60) : dice.below(4)));
            if (what == 4) all.push_back(changed(dice, newest, newest));
            if (what == 5) all.push_back(changed(dice, newest, older));
            if (what == 6) all.push_back(taken(dice, newest));
            if (what == 7) all.push_back(patched(dice, newest, older));
            const Pair& now = all.back();
            CHECK(agree(now.columns, now.model));
            const std::vector<u32> rows = random_rows(dice, now.model.size(), dice.below(20));
            const Bytes bytes = now.columns.encode(rows);
            Model model;
            for (const u32 row : rows) model.push_back(now.model[row]);
            CHECK(agree(Payload::decode(bytes, *schema), *schema, model, every(*schema)));
        }
        for (const Pair& pair : all) CHECK(agree(pair.columns, pair.model));
    }
}

void test_round_trips() {
    Dice dice(5);
    for (std::size_t rows = 0; rows < 60; ++rows) {
        const auto schema = random_schema(dice);
        const Bytes bytes = payload_of(*schema, random_model(dice, *schema, rows), every(*schema));
        const Columns columns = Columns(schema).with(Payload::decode(bytes, *schema));
        CHECK(columns.encode(all_rows(columns)) == bytes);
        // taken() keeps the order of texts, and therefore the bytes.
        CHECK(columns.taken(all_rows(columns)).encode(all_rows(columns)) == bytes);
    }
    const Columns none(schema_of({Kind::tag, Kind::real}));
    CHECK(none.taken({}).size() == 0);
    CHECK(none.patched({}, none).size() == 0);
    CHECK(none.with(Payload::missing(0)).size() == 0);
    const Columns missing = none.with(Payload::missing(3));
    CHECK(agree(missing, Model(3, Row(2))));
}

/// Few of many rows, whose texts are searched instead of read from a table; and a dictionary that becomes small again.
void test_large_dictionary() {
    const auto schema = schema_of({Kind::id, Kind::tag});
    Model model;
    for (std::size_t row = 0; row < 1000; ++row) {
        const std::string name = std::to_string(row);
        model.push_back({Value{.texts = {name}}, Value{.texts = {"odd " + std::to_string(row % 2), "x" + name}}});
    }
    const Columns columns = made_of(schema, model);
    CHECK(agree(columns, model));
    const std::array<u32, 4> rows = {999, 3, 3, 500};
    const Model few = {model[999], model[3], model[3], model[500]};
    const Columns small = columns.taken(rows);
    CHECK(agree(small, few));
    CHECK(small.dictionary(0).size() == 3 && small.dictionary(1).size() == 5);
    CHECK(small.bytes() < columns.bytes() / 10);
    CHECK(agree(Payload::decode(columns.encode(rows), *schema), *schema, few, {0, 1}));
    const std::array<std::pair<u32, u32>, 2> changes = {{{0, 1}, {2, 0}}};
    const Columns back = columns.patched(changes, small);
    CHECK(back.dictionary(0).size() == 998);  // no row has the texts 0 and 2 any more
    model[0] = few[1];
    model[2] = few[0];
    CHECK(agree(back, model));
    CHECK(agree(small.with_changed(columns, rows, Payload::missing(1)).taken(std::array<u32, 1>{7}), {few[3]}));
}

void test_keys() {
    const std::array<i64, 5> wholes = {std::numeric_limits<i64>::min(), -1, 0, 1, std::numeric_limits<i64>::max()};
    for (std::size_t i = 1; i < wholes.size(); ++i) CHECK(ann::key_of(wholes[i - 1]) < ann::key_of(wholes[i]));
    const std::array<double, 9> reals = {-infinity, -1e300, -2.0, -1e-320, 0.0, 1e-320, 2.0, 1e300, infinity};
    for (std::size_t i = 1; i < reals.size(); ++i) CHECK(ann::key_of(reals[i - 1]) < ann::key_of(reals[i]));
    CHECK(ann::key_of(-0.0) == ann::key_of(0.0));
}

const Schema& seven() {
    static const Schema schema =
        *schema_of({Kind::tag, Kind::boolean, Kind::integer, Kind::real, Kind::datetime, Kind::geo, Kind::id});
    return schema;
}

template <typename... Ts>
Bytes packed(Ts... values) {
    Bytes out;
    put(out, values...);
    return out;
}

/// Return one row with a tag field: the texts, and which of them the row has.
Bytes tagged(std::initializer_list<std::string_view> texts, std::initializer_list<u32> places, u32 field = 0) {
    Bytes out = packed(u32{1}, u32{1}, field, static_cast<u32>(texts.size()));
    u64 end = 0;
    for (const std::string_view text : texts) put(out, end += text.size());
    for (const std::string_view text : texts) put_text(out, text);
    put(out, static_cast<u32>(places.size()));
    for (const u32 place : places) put(out, place);
    return out;
}

bool refused(const Bytes& bytes, std::string_view why) {
    const std::string words = CHECK_THROWS(std::invalid_argument, Payload::decode(bytes, seven()));
    return words.starts_with("fields: ") && words.find(why) != std::string::npos;
}

bool taken_as_is(const Bytes& bytes) { return Payload::decode(bytes, seven()).rows() == 1; }

void test_refusals() {
    const u32 one = 1, most = 0xffffffff;
    const double nan = std::numeric_limits<double>::quiet_NaN();
    CHECK(refused({}, "too early"));
    CHECK(refused(packed(one, u32{8}), "more columns"));
    CHECK(refused(packed(one, one, u32{7}), "does not have"));
    CHECK(refused(packed(u32{0}, u32{2}, u32{2}, u32{1}), "order of their fields"));
    CHECK(refused(packed(u32{0}, u32{2}, u32{2}, u32{2}), "order of their fields"));
    CHECK(refused(packed(u32{0}, u32{0}, u8{0}), "behind the end"));
    CHECK(refused(packed(one, one, u32{2}, u8{2}, i64{0}), "neither present nor missing"));
    CHECK(refused(packed(one, one, u32{2}, u8{0}, i64{1}), "\"field 2\": a missing value is not 0"));
    CHECK(taken_as_is(packed(one, one, u32{2}, u8{1}, i64{-1})));
    CHECK(refused(packed(one, one, one, u8{1}, i64{2}), "neither true nor false"));
    CHECK(refused(packed(one, one, one, u8{1}, i64{-1}), "neither true nor false"));
    CHECK(refused(packed(one, one, u32{3}, u8{1}, nan), "NaN or -0"));
    CHECK(refused(packed(one, one, u32{3}, u8{1}, -nan), "NaN or -0"));
    CHECK(refused(packed(one, one, u32{3}, u8{1}, -0.0), "NaN or -0"));
    CHECK(refused(packed(one, one, u32{3}, u8{0}, -0.0), "missing"));
    CHECK(taken_as_is(packed(one, one, u32{3}, u8{1}, -infinity)));
    CHECK(taken_as_is(packed(one, one, u32{5}, u8{1}, -90.0, 180.0)));
    for (const double wrong : {90.5, -90.5, nan, infinity, -infinity}) {
        CHECK(refused(packed(one, one, u32{5}, u8{1}, wrong, 0.0), "a place is beyond"));
        CHECK(refused(packed(one, one, u32{5}, u8{1}, 0.0, wrong * 2.0), "a place is beyond"));
    }
    CHECK(refused(packed(one, one, u32{5}, u8{0}, 0.0, 1.0), "a missing place is not 0, 0"));
    CHECK(taken_as_is(tagged({"a", "b", "c"}, {0, 2})));
    CHECK(refused(tagged({"a", "b"}, {1, 0}), "do not rise"));
    CHECK(refused(tagged({"a", "b"}, {1, 1}), "do not rise"));
    CHECK(refused(tagged({"a", "b"}, {0, 2}), "not there"));
    CHECK(refused(tagged({}, {0}), "not there"));
    CHECK(refused(tagged({"a", "b"}, {0, 1}, 6), "more than one id"));
    CHECK(taken_as_is(tagged({"a", "b"}, {1}, 6)));
    CHECK(refused(tagged({"a", "b", "a"}, {}), "twice"));
    CHECK(refused(tagged({"a", "", "b"}, {}), "empty"));
    CHECK(refused(tagged({"\xc3", "\xa9"}, {}), "within a letter"));
    for (const char* const wrong : {"\xc0\x80", "\xff", "a\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf0\x8f\xbf\xbf",
                                    "\xe2\x82", "12345678\xe2\x82"}) {
        CHECK(refused(tagged({wrong}, {}), "UTF-8"));
    }
    // Large numbers without data behind them are refused before memory is allocated for them.
    CHECK(refused(packed(one, one, u32{0}, most, u64{8}), "too early"));
    CHECK(refused(packed(one, one, u32{0}, one, ~u64{0}), "too early"));
    CHECK(refused(packed(one, one, u32{0}, u32{2}, u64{9}, u64{1}, 'a', u64{0}), "end is wrong"));
    CHECK(refused(packed(one, one, u32{0}, u32{0}, most), "too early"));
    CHECK(refused(packed(u32{2}, one, u32{0}, u32{0}, most, most, u64{0}), "too early"));
    for (u32 field = 0; field < 7; ++field) CHECK(refused(packed(most, one, field, u64{0}), "too early"));
}

/// No bytes do harm: they are refused, or are a payload that can be used.
void test_damage() {
    Dice dice(11);
    const Bytes bytes = payload_of(seven(), random_model(dice, seven(), 4), every(seven()));
    for (std::size_t length = 0; length < bytes.size(); ++length) {
        const Bytes part(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(length));
        CHECK_THROWS(std::invalid_argument, Payload::decode(part, seven()));
    }
    const auto schema = std::make_shared<const Schema>(seven());
    std::size_t accepted = 0;
    for (std::size_t at = 0; at < bytes.size(); ++at) {
        for (const u32 mask : {0x01u, 0x02u, 0x10u, 0x80u, 0xffu}) {
            Bytes bent = bytes;
            bent[at] ^= static_cast<std::byte>(mask);
            try {
                const Columns columns = Columns(schema).with(Payload::decode(bent, *schema));
                // The same, except for texts that no row uses.
                const Bytes again = columns.encode(all_rows(columns));
                CHECK(again.size() <= bent.size());
                CHECK(made_of(schema, Model(2, Row(7))).with(Payload::decode(again, *schema)).size() == 6);
                ++accepted;
            } catch (const std::invalid_argument&) {
                check::count_one();
            }
        }
    }
    CHECK(accepted > 100 && accepted < bytes.size() * 5);
}

/// Return a text of eight ASCII letters whose XXH64 is this number, by reversing its steps; nothing if there is none.
std::optional<std::string> text_of_hash(u64 hash) {
    using namespace ann::xxh64;
    const auto inverse = [](u64 odd) {
        u64 found = odd;
        for (int i = 0; i < 6; ++i) found *= 2 - odd * found;
        return found;
    };
    hash ^= hash >> 32;
    hash *= inverse(prime3);
    hash ^= hash >> 29 ^ hash >> 58;
    hash *= inverse(prime2);
    hash ^= hash >> 33;
    hash = std::rotr((hash - prime4) * inverse(prime1), 27) ^ (prime5 + 8);
    hash = std::rotr(hash * inverse(prime1), 31) * inverse(prime2);
    if ((hash & 0x8080808080808080u) != 0) return std::nullopt;
    std::string text(8, ' ');
    std::memcpy(text.data(), &hash, sizeof hash);
    return text;
}

/// Texts chosen to have the same place in the hash table.
void test_like_hashes() {
    Model model(1, Row(7));
    model[0][0] = Value{};
    for (u64 upper = 1; model[0][0]->texts.size() < 400; ++upper) {
        if (const auto text = text_of_hash(upper << 32)) {
            CHECK(ann::hash_of(*text) == upper << 32);
            model[0][0]->texts.insert(*text);
        }
    }
    const Bytes bytes = payload_of(seven(), model, {0});
    CHECK(agree(Payload::decode(bytes, seven()), seven(), model, {0}));
    Bytes twice = bytes;
    const std::size_t first = 16 + 400 * 8;
    std::memcpy(twice.data() + first + 8 * 399, twice.data() + first, 8);
    CHECK(refused(twice, "twice"));
}

void test_mistakes() {
    const auto schema = schema_of({Kind::integer, Kind::tag});
    Dice dice(3);
    const Columns columns = made_of(schema, random_model(dice, *schema, 5));
    const Columns other(schema_of({Kind::integer, Kind::id}));
    const std::array<u32, 2> rows = {4, 5};
    CHECK_THROWS(std::invalid_argument, columns.taken(rows));
    CHECK_THROWS(std::invalid_argument, columns.encode(rows));
    CHECK_THROWS(std::invalid_argument, columns.with_changed(columns, {rows.data(), 1}, Payload::missing(2)));
    CHECK_THROWS(std::invalid_argument, columns.with_changed(columns, rows, Payload::missing(2)));
    CHECK_THROWS(std::invalid_argument, other.with_changed(columns, {}, Payload::missing(0)));
    CHECK_THROWS(std::invalid_argument, columns.patched({}, other));
    const std::array<std::pair<u32, u32>, 1> beyond = {{{5, 0}}}, behind = {{{0, 5}}};
    CHECK_THROWS(std::invalid_argument, columns.patched(beyond, columns));
    CHECK_THROWS(std::invalid_argument, columns.patched(behind, columns));
    CHECK_THROWS(std::invalid_argument, columns.with(Payload::missing(0xffffffff)));
}

/// Columns that were extended and given up, as after a failure, can be extended again.
void test_second_extension() {
    const auto schema = schema_of({Kind::tag, Kind::integer, Kind::geo});
    Dice dice(17);
    Pair start{Columns(schema), {}};
    start = appended(dice, start, 40);
    const Pair given_up = appended(dice, start, 30);
    CHECK(agree(given_up.columns, given_up.model));
    Pair again = appended(dice, start, 30);
    for (std::size_t i = 0; i < 5; ++i) again = appended(dice, again, 7);
    CHECK(agree(start.columns, start.model));
    CHECK(agree(again.columns, again.model));
    CHECK(agree(given_up.columns, given_up.model));
}

/// Readers of any copy while the newest copy grows; the thread sanitizer must find no race.
void test_readers() {
    const auto schema = schema_of({Kind::tag, Kind::boolean, Kind::integer, Kind::real, Kind::geo, Kind::id});
    Dice dice(23);
    Pair newest = appended(dice, Pair{Columns(schema), {}}, 20);
    const Pair first = newest;
    std::mutex lock;
    Pair shown = newest;
    std::atomic<bool> done{false}, right{true};
    std::vector<std::thread> readers;
    for (int i = 0; i < 2; ++i) {
        readers.emplace_back([&] {
            while (!done) {
                const Pair seen = [&] {
                    const std::lock_guard guard(lock);
                    return shown;
                }();
                if (!agree(first.columns, first.model) || !agree(seen.columns, seen.model)) right = false;
                const Bytes bytes = first.columns.encode(all_rows(first.columns));
                if (bytes.empty() || seen.columns.bytes() == 0) right = false;
            }
        });
    }
    for (std::size_t step = 0; step < 60; ++step) {
        newest = step % 3 == 0 ? changed(dice, newest, newest) : appended(dice, newest, 1 + dice.below(6));
        const std::lock_guard guard(lock);
        shown = newest;
    }
    done = true;
    for (std::thread& reader : readers) reader.join();
    CHECK(right);
    CHECK(agree(first.columns, first.model) && agree(newest.columns, newest.model));
}

}  // namespace

void test_columns() {
    test_keys();
    test_round_trips();
    test_random();
    test_large_dictionary();
    test_refusals();
    test_damage();
    test_like_hashes();
    test_mistakes();
    test_second_extension();
    test_readers();
}
