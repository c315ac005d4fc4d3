// Filters and fields as bytes, written as the callers of the core write them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "geo.hpp"
#include "schema.hpp"

namespace filters {

using Bytes = std::vector<std::byte>;

/// Bytes that grow; the format is in src/ann/filter.hpp.
struct Program {
    Bytes bytes;

    Program& raw(const void* from, std::size_t count) {
        const auto* at = static_cast<const std::byte*>(from);
        bytes.insert(bytes.end(), at, at + count);
        return *this;
    }
    Program& raw(const Bytes& more) { return raw(more.data(), more.size()); }
    Program& raw(std::string_view text) { return raw(text.data(), text.size()); }
    Program& u8(std::uint8_t value) { return raw(&value, 1); }
    Program& u32(std::size_t value) {
        const auto number = static_cast<std::uint32_t>(value);
        return raw(&number, 4);
    }
    Program& u64(std::uint64_t value) { return raw(&value, 8); }
    Program& i64(std::int64_t value) { return raw(&value, 8); }
    Program& f64(double value) { return raw(&value, 8); }

    Program& joined(std::uint8_t what, const std::vector<Program>& each) {
        u8(what).u32(each.size());
        for (const Program& one : each) raw(one.bytes);
        return *this;
    }
    Program& at_least(std::size_t least, const std::vector<Program>& each) {
        u8(3).u32(least).u32(each.size());
        for (const Program& one : each) raw(one.bytes);
        return *this;
    }
    Program& inverse(const Program& one) { return u8(2).raw(one.bytes); }
    Program& among(std::size_t field, const std::vector<std::string>& texts, bool beyond = false) {
        u8(beyond ? 5 : 4).u32(field).u32(texts.size());
        for (const std::string& text : texts) u32(text.size()).raw(std::string_view(text));
        return *this;
    }
    Program& among_wholes(std::size_t field, const std::vector<std::int64_t>& wholes, bool beyond = false) {
        u8(beyond ? 5 : 4).u32(field).u32(wholes.size());
        for (const std::int64_t whole : wholes) i64(whole);
        return *this;
    }
    Program& range(std::size_t field, std::int64_t low, std::int64_t high) {
        return u8(6).u32(field).i64(low).i64(high);
    }
    Program& range(std::size_t field, double low, double high) { return u8(6).u32(field).f64(low).f64(high); }
    Program& circle(std::size_t field, double latitude, double longitude, double metres) {
        return u8(7).u32(field).f64(latitude).f64(longitude).f64(metres);
    }
    Program& box(std::size_t field, double south, double west, double north, double east) {
        return u8(8).u32(field).f64(south).f64(west).f64(north).f64(east);
    }
    Program& polygon(std::size_t field, const std::vector<std::vector<ann::Place>>& rings) {
        u8(9).u32(field).u32(rings.size());
        for (const auto& ring : rings) {
            u32(ring.size());
            for (const ann::Place place : ring) f64(place.latitude).f64(place.longitude);
        }
        return *this;
    }
    Program& has_id(const std::vector<std::int64_t>& ids) {
        u8(10).u32(16 + 8 * ids.size()).u32(1).u32(0).u64(ids.size());
        for (const std::int64_t id : ids) i64(id);
        return *this;
    }
    Program& has_id(const std::vector<std::string>& ids) {
        std::string text;
        std::vector<std::uint64_t> ends;
        for (const std::string& id : ids) {
            text += id;
            ends.push_back(text.size());
        }
        u8(10).u32(16 + 8 * ids.size() + text.size()).u32(2).u32(0).u64(ids.size());
        for (const std::uint64_t end : ends) u64(end);
        return raw(std::string_view(text));
    }
    Program& missing(std::size_t field) { return u8(11).u32(field); }
};

/// A value of a field, in the member for its kind. A missing text has empty `texts`.
struct Value {
    bool has = false;
    std::vector<std::string> texts;
    std::int64_t whole = 0;
    double real = 0;
    ann::Place place{0, 0};
};

/// The values of some fields of a row.
using Row = std::map<std::size_t, Value>;

inline void encode_texts(Program& out, std::size_t field, const std::vector<Row>& rows) {
    std::map<std::string, std::uint32_t> places;
    std::vector<std::string> texts;
    Program counts, numbers;
    for (const Row& row : rows) {
        const auto value = row.find(field);
        std::map<std::uint32_t, bool> own;  // sorted, and each once
        if (value != row.end()) {
            for (const std::string& text : value->second.texts) {
                const auto [at, fresh] = places.try_emplace(text, static_cast<std::uint32_t>(texts.size()));
                if (fresh) texts.push_back(text);
                own[at->second] = true;
            }
        }
        counts.u32(own.size());
        for (const auto& [number, there] : own) numbers.u32(number);
    }
    out.u32(texts.size());
    std::uint64_t end = 0;
    for (const std::string& text : texts) out.u64(end += text.size());
    for (const std::string& text : texts) out.raw(std::string_view(text));
    out.raw(counts.bytes).raw(numbers.bytes);
}

/// Return rows as a payload (src/ann/payload.hpp) with these fields, which must be in rising order.
inline Bytes encode(const ann::Schema& schema, const std::vector<std::size_t>& fields, const std::vector<Row>& rows) {
    Program out;
    out.u32(rows.size()).u32(fields.size());
    for (const std::size_t field : fields) {
        out.u32(field);
        const ann::Kind kind = schema[field].kind;
        if (ann::is_text(kind)) {
            encode_texts(out, field, rows);
            continue;
        }
        Program values;
        for (const Row& row : rows) {
            const auto found = row.find(field);
            const Value value = found != row.end() && found->second.has ? found->second : Value{};
            out.u8(value.has ? 1 : 0);
            if (kind == ann::Kind::geo) {
                values.f64(value.place.latitude).f64(value.place.longitude);
            } else if (kind == ann::Kind::real) {
                values.f64(value.real);
            } else {
                values.i64(value.whole);
            }
        }
        out.raw(values.bytes);
    }
    return out.bytes;
}

}  // namespace filters
