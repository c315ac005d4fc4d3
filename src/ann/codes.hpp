// Rows as a walk sees them: codes, links, keys of rows by their distance; and how far it goes.
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

/// More rows than this do not fit into a Key.
inline constexpr std::size_t most_rows = (std::size_t{1} << 31) - 1;

/// Codes of `count` rows, and how to compare a query with them.
struct Codes {
    const std::uint8_t* data = nullptr;
    std::size_t count = 0;
    std::size_t width = 0;  ///< components, padded
    std::size_t bytes = 0;  ///< of one row
    const Kernels* kernels = nullptr;
    Bits bits = Bits::four;

    /// A distance as a number that can be multiplied: those of 16-bit codes are the bits of a float.
    float real(std::int32_t distance) const {
        return bits == Bits::sixteen ? std::bit_cast<float>(distance) : static_cast<float>(distance);
    }
    /// The largest distance that is no larger than `value` >= 0.
    std::int32_t below(float value) const {
        const float most = bits == Bits::sixteen ? 0x1p126f : 0x1.fffffep30f;
        const float kept = std::min(value, most);
        return bits == Bits::sixteen ? std::bit_cast<std::int32_t>(kept) : static_cast<std::int32_t>(kept);
    }
    const std::uint8_t* row(std::size_t row) const { return data + row * bytes; }
};

/// Links of rows 0 .. count-1: rows[row * degree + i]. A row with fewer links is filled up with its own number, which a
/// walk that stands on it has seen.
struct Links {
    const std::uint32_t* rows = nullptr;
    std::size_t degree = 0;

    std::span<const std::uint32_t> of(std::size_t row) const { return {rows + row * degree, degree}; }
};

/// How far a walk goes. It always ends where all of the beam is expanded.
struct Extent {
    std::size_t beam = 0;   ///< rows that it keeps at most
    std::size_t lead = 0;   ///< among some rows: how many of all it keeps to be led by, if more than that
    std::size_t least = 0;  ///< rows that it keeps however far they are
    std::size_t rank = 0;   ///< it ends, too, at a row farther than the one of this rank (0: never) ...
    float stretch = 0.0f;   ///< ... by more than this factor of the (squared) distance
};

/// How a walk among some of the rows ended.
enum class End {
    done,     ///< as the extent says
    starved,  ///< the rows near the query are wanted much more seldom than rows are anywhere
    dear,     ///< it looked, or would have to look, at more rows than allowed
};

/// Which rows are wanted, and how long a walk may look for them.
struct Wanted {
    const Bitmap* rows = nullptr;  ///< as many bits as codes
    std::size_t allowed = 0;       ///< rows that may be looked at
};

}  // namespace ann
