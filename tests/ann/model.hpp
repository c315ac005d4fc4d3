// A second index that is only a map, and the bytes of changes to both.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "change.hpp"
#include "check.hpp"
#include "filters.hpp"
#include "index.hpp"
#include "random.hpp"

namespace model {

using Bytes = std::vector<std::byte>;
using What = ann::Change::What;
using Id = std::variant<std::int64_t, std::string>;
using filters::Program, filters::Row, filters::Value;

/// A sequence of random numbers.
class Dice {
public:
    explicit Dice(std::uint64_t seed) : seed_(seed) {}
    std::size_t below(std::size_t bound) { return static_cast<std::size_t>(ann::random_below(seed_, place_++, bound)); }
    bool heads() { return below(2) == 0; }
    double real() { return static_cast<double>(below(2001)) / 1000.0 - 1.0; }

private:
    std::uint64_t seed_;
    std::uint64_t place_ = 0;
};

/// A field of each kind, in the order of ann::Kind.
inline const ann::Schema schema{{"species", ann::Kind::tag},   {"seen", ann::Kind::boolean},
                                {"depth", ann::Kind::integer}, {"length", ann::Kind::real},
                                {"when", ann::Kind::datetime}, {"place", ann::Kind::geo},
                                {"who", ann::Kind::id}};
enum Number : std::size_t { species, seen, depth, length, when, place, who };

inline Value drawn_value(ann::Kind kind, Dice& dice) {
    Value value;
    value.has = dice.below(4) != 0;
    if (!value.has) return value;
    switch (kind) {
        case ann::Kind::tag:
            for (std::size_t i = 0; i < 6; ++i) {
                if (dice.below(3) == 0) value.texts.push_back("tag" + std::to_string(i));
            }
            value.has = !value.texts.empty();
            break;
        case ann::Kind::id: value.texts.push_back("who" + std::to_string(dice.below(40))); break;
        case ann::Kind::boolean: value.whole = dice.heads() ? 1 : 0; break;
        case ann::Kind::integer: value.whole = static_cast<std::int64_t>(dice.below(100)) - 20; break;
        case ann::Kind::datetime: value.whole = static_cast<std::int64_t>(dice.below(1000)) * 1'000'000; break;
        case ann::Kind::real: value.real = dice.real() + 0.0001; break;
        case ann::Kind::geo: value.place = {80 * dice.real(), 180 * dice.real()}; break;
    }
    return value;
}

inline Row drawn_row(Dice& dice) {
    Row row;
    for (std::size_t field = 0; field < schema.size(); ++field) row[field] = drawn_value(schema[field].kind, dice);
    return row;
}

inline bool same(const Value& a, const Value& b) {
    if (a.has != b.has) return false;
    return !a.has || (a.texts == b.texts && a.whole == b.whole && a.real == b.real &&
                      a.place.latitude == b.place.latitude && a.place.longitude == b.place.longitude);
}

inline Program batch_of(const std::vector<Id>& ids) {
    Program batch;
    const bool texts = !ids.empty() && std::holds_alternative<std::string>(ids.front());
    batch.u32(texts ? 2 : 1).u32(0).u64(ids.size());
    std::uint64_t end = 0;
    for (const Id& id : ids) {
        if (texts) batch.u64(end += std::get<std::string>(id).size());
        if (!texts) batch.i64(std::get<std::int64_t>(id));
    }
    for (const Id& id : ids) {
        if (texts) batch.raw(std::string_view(std::get<std::string>(id)));
    }
    return batch;
}

/// Return a batch of n row numbers: the rows get the next numbers as ids.
inline Program numbers(std::size_t n) { return Program().u32(0).u32(0).u64(n); }

/// A change with its own bytes.
struct Request {
    What what;
    std::uint32_t dim;
    Bytes ids, fields;
    std::vector<float> vectors;
    ann::Change change() const { return {what, dim, ids, fields, vectors}; }
};

inline Request request(What what, std::size_t dim, const Program& ids, const std::vector<Row>& rows = {},
                       std::vector<float> vectors = {}) {
    Bytes fields;
    if (!rows.empty()) fields = filters::encode(schema, {0, 1, 2, 3, 4, 5, 6}, rows);
    return {what, static_cast<std::uint32_t>(dim), ids.bytes, fields, std::move(vectors)};
}

struct Entry {
    std::uint64_t place;  ///< in the order of adding
    std::vector<float> vector;
    Row fields;
};
using Model = std::map<Id, Entry>;

/// Return ids in the order of adding.
inline std::vector<Id> in_order(const Model& model) {
    std::vector<std::pair<std::uint64_t, Id>> places;
    for (const auto& [id, entry] : model) places.emplace_back(entry.place, id);
    std::sort(places.begin(), places.end());
    std::vector<Id> ids;
    for (auto& [at, id] : places) ids.push_back(std::move(id));
    return ids;
}

inline Id id_of(const ann::State& state, std::size_t row) {
    if (state.ids.kind() == ann::IdKind::strings) return std::string(state.ids.name(row));
    return state.ids.number(row);
}

inline std::vector<std::uint32_t> living(const ann::State& state) {
    std::vector<std::uint32_t> rows;
    state.live->each([&](std::uint32_t row) { rows.push_back(row); });
    return rows;
}

/// Return the fields of these rows, as the index returns them.
inline std::vector<Row> fields_of(const ann::State& state, const std::vector<std::uint32_t>& rows) {
    const Bytes bytes = state.table.encode(rows);
    const ann::Payload payload = ann::Payload::decode(bytes, state.table.schema());
    std::vector<Row> made(rows.size());
    for (const auto& column : payload.columns()) {
        const ann::Kind kind = state.table.schema()[column.field].kind;
        for (std::size_t i = 0; i < rows.size(); ++i) {
            Value& value = made[i][column.field];
            value.has = column.has(i);
            if (!value.has) continue;
            if (ann::is_text(kind)) {
                for (std::size_t j = 0; j < column.count(i); ++j) {
                    value.texts.emplace_back(column.texts[column.text(i, j)]);
                }
                std::sort(value.texts.begin(), value.texts.end());
            } else if (kind == ann::Kind::geo) {
                value.place = column.place(i);
            } else if (kind == ann::Kind::real) {
                value.real = column.real(i);
            } else {
                value.whole = column.whole(i);
            }
        }
    }
    return made;
}

/// Check that the index and the model have the same contents, in the order of adding.
inline void check_contents(const ann::Index& index, const Model& model) {
    const auto state = index.now();
    CHECK(index.size() == model.size() && state->size - state->dead == model.size());
    const std::vector<std::uint32_t> rows = living(*state);
    CHECK(rows.size() == model.size());
    const std::vector<Id> ids = in_order(model);
    const std::vector<Row> fields = fields_of(*state, rows);
    std::vector<float> vector(index.options().dim);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        CHECK(id_of(*state, rows[i]) == ids[i]);
        const Entry& entry = model.at(ids[i]);
        const std::int64_t row = rows[i];
        index.vectors(*state, {&row, 1}, vector.data());
        CHECK(vector == entry.vector);
        for (std::size_t field = 0; field < schema.size(); ++field) {
            const auto wanted = entry.fields.find(field);
            CHECK(same(fields[i].at(field), wanted == entry.fields.end() ? Value{} : wanted->second));
        }
    }
}

}  // namespace model
