// Rows in the form that a walk uses: codes, links, keys that sort rows by distance; and how far a walk goes.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "bitmap.hpp"
#include "kernels.hpp"

namespace ann {

inline std::uint32_t row_of(Key key) { return static_cast<std::uint32_t>(key) >> 1; }
inline std::int32_t distance_of(Key key) { return static_cast<std::int32_t>(key >> 32); }
inline bool is_expanded(Key key) { return (key & 1) != 0; }
inline Key key_of(std::int32_t distance, std::uint32_t row) {
    return static_cast<Key>(static_cast<std::uint32_t>(distance)) << 32 | static_cast<Key>(row) << 1;
}

/// A Key has no room for more rows than this.
inline constexpr std::size_t most_rows = (std::size_t{1} << 31) - 1;

/// The codes of `count` rows, and how to compare a query with them.
struct Codes {
    const std::uint8_t* data = nullptr;
    std::size_t count = 0;
    std::size_t width = 0;  ///< components of a code, with padding
    std::size_t bytes = 0;  ///< bytes of one code
    const Kernels* kernels = nullptr;
    Bits bits = Bits::four;

    /// Return a distance as a number for calculations: for 16-bit codes a distance is the bits of a float.
    float real(std::int32_t distance) const {
        return bits == Bits::sixteen ? std::bit_cast<float>(distance) : static_cast<float>(distance);
    }
    /// Return the largest distance that is not larger than `value` >= 0.
    std::int32_t below(float value) const {
        const float most = bits == Bits::sixteen ? 0x1p126f : 0x1.fffffep30f;
        const float kept = std::min(value, most);
        return bits == Bits::sixteen ? std::bit_cast<std::int32_t>(kept) : static_cast<std::int32_t>(kept);
    }
    const std::uint8_t* row(std::size_t row) const { return data + row * bytes; }
};

/// The links of rows 0 .. count-1: rows[row * degree + i]. Unused places hold the row's own number, which a walk has
/// always seen already when it reads the row's links.
struct Links {
    const std::uint32_t* rows = nullptr;
    std::size_t degree = 0;

    std::span<const std::uint32_t> of(std::size_t row) const { return {rows + row * degree, degree}; }
};

/// How far a walk goes. It always ends when all rows of the beam are expanded.
struct Extent {
    std::size_t beam = 0;   ///< the most rows that the walk keeps
    std::size_t lead = 0;   ///< if only some rows are wanted: how many of all rows lead the walk, if more than `beam`
    std::size_t least = 0;  ///< rows that it keeps at any distance
    std::size_t rank = 0;   ///< the walk also ends at a row that is farther than the row of this rank (0: never) ...
    float stretch = 0.0f;   ///< ... by more than this factor of the (squared) distance
};

/// How a walk among some of the rows ended.
enum class End {
    done,     ///< the walk ended as the extent says
    starved,  ///< near the query a much smaller share of the rows is wanted than in all rows
    dear,     ///< the walk looked, or would have to look, at more rows than allowed
};

/// The wanted rows, and how long a walk may look for them.
struct Wanted {
    const Bitmap* rows = nullptr;  ///< one bit for each code
    std::size_t allowed = 0;       ///< the number of rows that may be looked at
};

}  // namespace ann
