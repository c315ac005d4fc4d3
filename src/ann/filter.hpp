// A filter from outside: a tree of conditions, decoded from bytes and checked against the fields.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <variant>
#include <vector>

#include "geo.hpp"
#include "ids.hpp"
#include "schema.hpp"

namespace ann {

/// A tree of conditions. Its texts and ids are views of the bytes from which it was decoded.
///
/// In bytes, little-endian, without gaps: u8 what, then
///     0 all, 1 any      u32 n, n filters (none: all is true, any is false)
///     2 not             a filter
///     3 at least        u32 least, u32 n, n filters
///     4 among           u32 field, u32 n, n values: texts as u32 bytes and UTF-8, whole numbers as i64; a row has at
///     5 beyond          the same; a row has at least one value that is not in the list
///     5 beyond          the same; a row has at least one value that is none of them
///                       NaN; no row matches if low > high
///                       NaN; nothing where low > high
///     7 circle          u32 field, f64 latitude, longitude, metres (>= 0, finite)
///     8 box             u32 field, f64 south, west, north, east (south <= north)
///     9 polygon         u32 field, u32 rings, for each u32 places and f64 pairs latitude, longitude
///     10 has id         u32 bytes, a batch of ids as IdBatch::decode reads it
///     11 missing        u32 field: a row has no value
/// Filters are nested at most 64 deep. No bytes may follow.
struct Filter {
    struct Joined {
        std::size_t least;  ///< how many of the filters must hold; all: their number, any: 1
        std::vector<Filter> each;
    };
    struct Not {
        std::vector<Filter> one;  ///< exactly one
    };
    struct Among {
        std::uint32_t field;
        bool beyond;
        std::vector<std::string_view> texts;
        std::vector<std::int64_t> wholes;
    };
    struct Range {
        std::uint32_t field;
        std::uint64_t low, high;  ///< keys as from key_of, both included; low > high: no row
    };
    struct Region {
        std::uint32_t field;
        std::variant<Circle, Box, Polygon> where;
    };
    struct HasId {
        IdBatch ids;
    };
    struct Missing {
        std::uint32_t field;
    };
    std::variant<Joined, Not, Among, Range, Region, HasId, Missing> condition;

    /// Decode a filter. Throws std::invalid_argument("filter: ...") for all other bytes.
    static Filter decode(std::span<const std::byte> bytes, const Schema& schema);
};

}  // namespace ann
