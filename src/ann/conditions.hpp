// A filter made ready for some columns: texts are numbers, lists are sorted, ids are rows.
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

/// A filter for one value of Columns. It refers to the filter.
struct Condition {
    enum class What : std::uint8_t { joined, inverse, among, beyond, range, region, has_id, missing };
    /// A stretch of ranks in the order of a field (inverted.hpp), and whether all rows in it are meant.
    struct Ranks {
        std::size_t first, last;
        bool inside;
    };

    What what = What::joined;
    Kind kind = Kind::tag;  ///< of the field
    std::uint32_t field = 0;
    std::size_t least = 0;               ///< of joined
    std::vector<Condition> each;         ///< of joined; of inverse: one
    std::vector<std::uint32_t> numbers;  ///< sorted: texts, or false and true, that are listed; of has_id: rows
    std::vector<std::uint64_t> keys;     ///< sorted: whole numbers and datetimes that are listed
    std::uint64_t low = 0, high = 0;     ///< of range
    const Filter::Region* region = nullptr;

    // What the structures tell, once they were asked.
    bool asked = false;
    std::vector<Ranks> ranks;  ///< of range, region, and keys: rising
    std::size_t most = 0;      ///< at most so many rows of the structures are meant
    bool exact = false;        ///< so many are
};

/// `live` says which of several rows with one id is meant.
Condition bind(const Filter& filter, const Columns& columns, const Bitmap& live, const Ids& ids);

/// Whether a place, which lies in a direction, is in a region.
inline bool lies_in(const Filter::Region& region, const Place& place, const Direction& direction) {
    if (const auto* circle = std::get_if<Circle>(&region.where)) return circle->has(direction);
    if (const auto* box = std::get_if<Box>(&region.where)) return box->has(place);
    return std::get<Polygon>(region.where).has(place);
}

/// Whether row `place` of the columns is meant, which is called `row` by ids.
bool holds(const Condition& condition, const Columns& columns, std::size_t place, std::uint32_t row);

}  // namespace ann
