// A filter prepared for some columns: texts are replaced by numbers, lists are sorted, ids are replaced by rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <variant>
#include <vector>

#include "bitmap.hpp"
#include "columns.hpp"
#include "filter.hpp"
#include "ids.hpp"

namespace ann {

/// A filter prepared for one Columns object. The filter must outlive it.
struct Condition {
    enum class What : std::uint8_t { joined, inverse, among, beyond, range, region, has_id, missing };
    /// A range of ranks in the order of a field (inverted.hpp), and whether all rows in the range match.
    struct Ranks {
        std::size_t first, last;
        bool inside;
    };

    What what = What::joined;
    Kind kind = Kind::tag;  ///< of the field
    std::uint32_t field = 0;
    std::size_t least = 0;               ///< for joined
    std::vector<Condition> each;         ///< for joined; for inverse: one condition
    std::vector<std::uint32_t> numbers;  ///< sorted; the listed texts, or false and true; for has_id: rows
    std::vector<std::uint64_t> keys;     ///< sorted; the listed whole numbers and datetimes
    std::uint64_t low = 0, high = 0;     ///< for range
    const Filter::Region* region = nullptr;

    // The result of asking the index structures, once they were asked.
    bool asked = false;
    std::vector<Ranks> ranks;  ///< for range, region, and keys; rising
    std::size_t most = 0;      ///< at most this many rows of the structures match
    bool exact = false;        ///< exactly `most` rows match
};

/// Prepare a filter. `live` decides which of several rows with one id is meant.
Condition bind(const Filter& filter, const Columns& columns, const Bitmap& live, const Ids& ids);

/// Return whether a place, whose direction is given, is in a region.
inline bool lies_in(const Filter::Region& region, const Place& place, const Direction& direction) {
    if (const auto* circle = std::get_if<Circle>(&region.where)) return circle->has(direction);
    if (const auto* box = std::get_if<Box>(&region.where)) return box->has(place);
    return std::get<Polygon>(region.where).has(place);
}

/// Return whether row `place` of the columns matches; `row` is its number in the ids.
bool holds(const Condition& condition, const Columns& columns, std::size_t place, std::uint32_t row);

}  // namespace ann
