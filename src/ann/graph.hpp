// The graph over codes, and the walk through it.
//
// One flat layer: every row has up to `degree` links to rows near it, and a walk begins at a few hundred seeds spread
// over all rows. It keeps the best rows that it has seen in a sorted beam, and expands the best one that it has not
// expanded.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "array.hpp"
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
    std::size_t least = 0;  ///< rows that it keeps however far they are
    std::size_t rank = 0;   ///< it ends, too, at a row farther than the one of this rank (0: never) ...
    float stretch = 0.0f;   ///< ... by more than this factor of the (squared) distance
};

/// What one thread needs to walk; kept and used again.
class Walker {
public:
    std::vector<std::int16_t> query;  ///< int16[width], filled by the caller
    std::vector<float> scratch;
    std::vector<Key> expanded;  ///< by the last walk, in its order, if it was asked to keep them

    /// The rows of the beam, nearest first.
    std::span<const Key> beam() const { return {keys_.data(), size_}; }

    /// Walk from `seeds`. `hidden` is a row that is treated as if it were not there. Rows from `first_flat` to the end
    /// of the codes have no links and are all looked at.
    void walk(const Codes& codes, const Links& links, std::span<const std::uint32_t> seeds, const Extent& extent,
              std::size_t first_flat, bool keep_expanded = false, std::uint32_t hidden = UINT32_MAX) {
        start(codes, links, extent);
        if (hidden != UINT32_MAX) mark(hidden);
        for (std::size_t i = 0; i < seeds.size(); i += room_) {
            score(codes, unseen(codes, seeds.subspan(i, std::min(room_, seeds.size() - i)), 0));
        }
        for (skip_expanded(); next_ < size_ && keys_[next_] < limit(codes); skip_expanded()) {
            // Two rows at a time: the second one's links are on their way while the first one's are looked at.
            std::size_t found = 0;
            for (std::size_t taken = 0; taken < together && next_ < size_; ++taken) {
                const Key key = keys_[next_];
                keys_[next_] |= 1;
                if (keep_expanded) expanded.push_back(key);
                skip_expanded();
                if (next_ < size_) ask(links, row_of(keys_[next_]));
                found += unseen(codes, links.of(row_of(key)), found);
            }
            score(codes, found);
        }
        scan(codes, first_flat, hidden);  // last, as rows without links would push those out that lead on
        std::memset(seen_.data(), 0, (codes.count / 64 + 1) * sizeof(std::uint64_t));
    }

private:
    static constexpr std::size_t together = 2;

    void start(const Codes& codes, const Links& links, const Extent& extent) {
        room_ = std::max<std::size_t>(together * links.degree, 64);
        fresh_.resize(room_ + 16);  // kernels may write a whole block
        distances_.resize(room_);
        if (seen_.size() < codes.count / 64 + 1) seen_.resize(codes.count / 64 + 1, 0);
        if (keys_.size() < extent.beam + 8) keys_.resize(extent.beam + 8);
        extent_ = extent;
        size_ = next_ = 0;
        expanded.clear();
    }

    /// Compare the query with the rows from `first` on, one after another.
    void scan(const Codes& codes, std::size_t first, std::uint32_t hidden) {
        for (std::size_t row = first; row < codes.count;) {
            std::size_t count = 0;
            for (; count < room_ && row < codes.count; ++row) {
                if (row != hidden) fresh_[count++] = static_cast<std::uint32_t>(row);
            }
            score(codes, count);
        }
    }

    /// What lies behind this key is too far to lead to better rows than those that the walk has.
    Key limit(const Codes& codes) const {
        if (extent_.rank == 0 || size_ < extent_.rank || size_ < extent_.least) return ~Key{0};
        const float distance = codes.real(distance_of(keys_[extent_.rank - 1]));
        return key_of(codes.below(distance * extent_.stretch), UINT32_MAX >> 1) + 1;
    }

    static void ask(const Links& links, std::size_t row) {
        const std::uint32_t* first = links.rows + row * links.degree;
        __builtin_prefetch(first);
        __builtin_prefetch(first + 16);
        if (links.degree > 32) __builtin_prefetch(first + 32);
        if (links.degree > 48) __builtin_prefetch(first + 48);
    }

    void skip_expanded() {
        while (next_ < size_ && is_expanded(keys_[next_])) ++next_;
    }

    void mark(std::uint32_t row) { seen_[row >> 6] |= std::uint64_t{1} << (row & 63); }

    std::size_t unseen(const Codes& codes, std::span<const std::uint32_t> rows, std::size_t from) {
        return codes.kernels->unseen(rows.data(), rows.size(), seen_.data(), fresh_.data() + from);
    }

    void score(const Codes& codes, std::size_t count) {
        codes.kernels->score(codes.bits)(query.data(), codes.data, codes.width, fresh_.data(), count,
                                         distances_.data());
        size_ = codes.kernels->insert(keys_.data(), size_, extent_.beam, limit(codes), fresh_.data(), distances_.data(),
                                      count, &next_);
    }

    std::vector<Key> keys_;
    std::vector<std::uint32_t> fresh_;
    std::vector<std::int32_t> distances_;
    std::vector<std::uint64_t> seen_;
    std::size_t room_ = 0;
    Extent extent_;
    std::size_t size_ = 0;
    std::size_t next_ = 0;  ///< the first row of the beam that is not expanded
};

}  // namespace ann
