// The graph over codes, and the walk through it.
//
// One flat layer: every row has up to `degree` links to rows near it, and a walk begins at a few hundred seeds spread over
// all rows. It keeps the best rows that it has seen in a sorted beam, and expands the best one that it has not expanded.
#pragma once

#include <algorithm>
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
    Kernels::Score score = nullptr;

    const std::uint8_t* row(std::size_t row) const { return data + row * bytes; }
};

/// Links of rows 0 .. count-1: rows[row * degree + i]. A row with fewer links is filled up with its own number, which a
/// walk that stands on it has seen.
struct Links {
    const std::uint32_t* rows = nullptr;
    std::size_t degree = 0;

    std::span<const std::uint32_t> of(std::size_t row) const { return {rows + row * degree, degree}; }
};

/// What one thread needs to walk; kept and used again.
class Walker {
public:
    std::vector<std::int16_t> query;  ///< int16[width], filled by the caller
    std::vector<float> scratch;
    std::vector<Key> expanded;  ///< by the last walk, in its order, if it was asked to keep them

    /// The rows of the beam, nearest first.
    std::span<const Key> beam() const { return {keys_.data(), size_}; }

    /// Walk from `seeds` with a beam of `ef` rows. `hidden` is a row that is treated as if it were not there.
    /// Rows from `first_flat` to the end of the codes have no links and are all looked at.
    void walk(const Codes& codes, const Links& links, std::span<const std::uint32_t> seeds, std::size_t ef,
              std::size_t first_flat, bool keep_expanded = false, std::uint32_t hidden = UINT32_MAX) {
        start(codes, links, ef);
        if (hidden != UINT32_MAX) mark(hidden);
        for (std::size_t i = 0; i < seeds.size(); i += room_) {
            score(codes, unseen(codes, seeds.subspan(i, std::min(room_, seeds.size() - i)), 0));
        }
        while (next_ < size_) {
            // Two rows at a time: the second one's links are on their way while the first one's are looked at.
            std::size_t count = 0;
            for (std::size_t taken = 0; taken < together && next_ < size_; ++taken) {
                const Key key = keys_[next_];
                keys_[next_] |= 1;
                if (keep_expanded) expanded.push_back(key);
                while (next_ < size_ && is_expanded(keys_[next_])) ++next_;
                if (next_ < size_) ask(links.of(row_of(keys_[next_])));
                count += unseen(codes, links.of(row_of(key)), count);
            }
            score(codes, count);
        }
        scan(codes, first_flat, hidden);
        std::memset(seen_.data(), 0, (codes.count / 64 + 1) * sizeof(std::uint64_t));
    }

    /// Compare the query with the rows from `first` on, one after another.
    void scan(const Codes& codes, std::size_t first, std::uint32_t hidden = UINT32_MAX) {
        for (std::size_t row = first; row < codes.count;) {
            std::size_t count = 0;
            for (; count < room_ && row < codes.count; ++row) {
                if (row != hidden) fresh_[count++] = static_cast<std::uint32_t>(row);
            }
            score(codes, count);
        }
    }

    /// Make room for a walk or a scan with a beam of `ef` rows.
    void start(const Codes& codes, const Links& links, std::size_t ef) {
        room_ = std::max<std::size_t>(together * links.degree, 64);
        fresh_.resize(room_ + 16);  // kernels may write a whole block
        distances_.resize(room_);
        if (seen_.size() < codes.count / 64 + 1) seen_.resize(codes.count / 64 + 1, 0);
        if (keys_.size() < ef + 8) keys_.resize(ef + 8);
        ef_ = ef;
        size_ = next_ = 0;
        expanded.clear();
    }

private:
#ifndef ANN_TOGETHER
#define ANN_TOGETHER 2
#endif
    static constexpr std::size_t together = ANN_TOGETHER;

    static void ask(std::span<const std::uint32_t> links) {
        const std::uint32_t* first = links.data();
        __builtin_prefetch(first);
        __builtin_prefetch(first + 16);
        if (links.size() > 32) __builtin_prefetch(first + 32);
        if (links.size() > 48) __builtin_prefetch(first + 48);
    }

    void mark(std::uint32_t row) { seen_[row >> 6] |= std::uint64_t{1} << (row & 63); }

    std::size_t unseen(const Codes& codes, std::span<const std::uint32_t> rows, std::size_t from) {
        return codes.kernels->unseen(rows.data(), rows.size(), seen_.data(), fresh_.data() + from);
    }

    void score(const Codes& codes, std::size_t count) {
        codes.score(query.data(), codes.data, codes.width, fresh_.data(), count, distances_.data());
        size_ = codes.kernels->insert(keys_.data(), size_, ef_, fresh_.data(), distances_.data(), count, &next_);
    }

    std::vector<Key> keys_;
    std::vector<std::uint32_t> fresh_;
    std::vector<std::int32_t> distances_;
    std::vector<std::uint64_t> seen_;
    std::size_t room_ = 0;
    std::size_t ef_ = 0;
    std::size_t size_ = 0;
    std::size_t next_ = 0;  ///< the first row of the beam that is not expanded
};

}  // namespace ann
