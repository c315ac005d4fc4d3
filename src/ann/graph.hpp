// The graph over codes, and the walk through it.
//
// The graph has one flat layer: each row has up to `degree` links to rows near it. A walk begins at a few hundred seeds
// spread over all rows. It keeps the best rows that it has seen in a sorted beam, and always expands the best row that
// is not expanded yet.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "codes.hpp"

namespace ann {

/// The memory that one thread needs for a walk; it is kept and used again.
class Walker {
public:
    std::vector<std::int16_t> query;  ///< int16[width], filled by the caller
    std::vector<float> scratch;
    std::vector<std::int16_t> near;            ///< room for the caller: a row as a query
    std::vector<std::int32_t> near_distances;  ///< room for the caller: from this row
    float farness = 0.0f;                      ///< of the last query (see Hits), filled by the caller
    std::vector<Key> expanded;  ///< rows that the last walk expanded, in its order, if it was asked to keep them

    /// The rows of the beam, nearest first.
    std::span<const Key> beam() const { return {keys_.data(), size_}; }
    /// The wanted rows that the last walk or scan among some rows found, nearest first.
    std::span<const Key> found() const { return {found_.data(), found_size_}; }
    /// The number of rows whose codes were compared with the query, by the last walk, or by walks and scans since
    /// clear().
    std::size_t looked() const { return looked_; }
    void clear() { looked_ = found_size_ = 0; }
    void forget_found() { found_size_ = 0; }

    /// Walk from `seeds`. `hidden` is a row that is treated as if it did not exist. Rows from `first_flat` to the end
    /// of the codes have no links and are all compared.
    void walk(const Codes& codes, const Links& links, std::span<const std::uint32_t> seeds, const Extent& extent,
              std::size_t first_flat, bool keep_expanded = false, std::uint32_t hidden = UINT32_MAX) {
        wanted_ = nullptr;
        looked_ = 0;
        start(codes, links, extent);
        keep_expanded_ = keep_expanded;
        if (hidden != UINT32_MAX) mark(hidden);
        take(codes, seeds);
        for (skip_expanded(); next_ < size_ && keys_[next_] < limit(codes); skip_expanded()) expand(codes, links);
        scan_tail(codes, first_flat, hidden);  // last, because rows without links would push out rows that have links
        forget(codes);
        keep_expanded_ = false;
    }

    /// Walk through all rows, and collect the wanted rows in found(): the beam leads the walk, found() decides how far
    /// it goes. Rows without links are not looked at: see scan(). Once the walk is near the query, judge(share, extent)
    /// gets the share of wanted rows there. It may change how far to go; the walk goes on if it returns End::done.
    template <typename Judge>
    End walk_among(const Codes& codes, const Links& links, std::span<const std::uint32_t> seeds, const Extent& extent,
                   const Wanted& wanted, const Judge& judge) {
        begin_among(codes, links, extent, wanted);
        const std::size_t before = looked_;
        take(codes, seeds);
        met_ = compared_ = 0;  // seeds lie everywhere and say nothing about the rows near the query
        bool judged = false;
        End end = End::done;
        for (skip_expanded(); end == End::done && next_ < size_ && keys_[next_] < limit(codes); skip_expanded()) {
            if (looked_ - before > wanted.allowed) end = End::dear;
            if (!judged && compared_ >= probe) {
                judged = true;
                end = judge(static_cast<double>(met_) / static_cast<double>(compared_), extent_);
            }
            if (end == End::done) expand(codes, links);
        }
        // A walk that ends before it is judged may have reached a place without links to the wanted rows.
        if (end == End::done && !judged && compared_ > 0) {
            const double here = static_cast<double>(met_) / static_cast<double>(compared_);
            if (judge(here, extent_) == End::starved) end = End::starved;
        }
        forget(codes);
        return end;
    }

    /// Walk only through the wanted rows, from `starts`, which are wanted rows. The nearest other rows that were met
    /// are expanded too: one time in four, and whenever no wanted row is left to expand.
    End bridge(const Codes& codes, const Links& links, std::span<const std::uint32_t> starts, const Extent& extent,
               const Wanted& wanted) {
        begin_among(codes, links, extent, wanted);
        const std::size_t before = looked_;
        only_wanted_ = true;
        others_size_ = others_next_ = 0;
        if (others_.size() < most_others + 8) others_.resize(most_others + 8);
        take(codes, starts);
        End end = End::done;
        for (std::size_t turn = 1;; ++turn) {
            skip_expanded();
            const bool leads = next_ < size_ && keys_[next_] < limit(codes);
            if (looked_ - before > wanted.allowed) {
                end = End::dear;
                break;
            }
            while (others_next_ < others_size_ && is_expanded(others_[others_next_])) ++others_next_;
            const bool may = others_next_ < others_size_ && others_[others_next_] < limit(codes);
            if (leads && !(may && turn % 4 == 0)) {
                expand(codes, links);
            } else if (may) {
                const Key key = others_[others_next_];
                others_[others_next_] |= 1;
                score(codes, unseen(codes, links.of(row_of(key)), 0));
            } else {
                break;
            }
        }
        only_wanted_ = false;
        forget(codes);
        return end;
    }

    /// Put those of the given rows that are among the `kept` nearest into found(), beside the rows that it has.
    /// each(visit) calls visit(row) for all given rows.
    template <typename Each>
    void scan(const Codes& codes, const Each& each, std::size_t kept) {
        fresh_.resize(std::max(fresh_.size(), block + 16));
        distances_.resize(std::max(distances_.size(), block));
        if (found_.size() < kept + 8) found_.resize(kept + 8);
        std::size_t count = 0;
        const auto flush = [&] {
            codes.kernels->score(codes.bits)(query.data(), codes.data, codes.width, fresh_.data(), count,
                                             distances_.data());
            std::size_t first = 0;
            found_size_ = codes.kernels->insert(found_.data(), found_size_, kept, ~Key{0}, fresh_.data(),
                                                distances_.data(), count, &first);
            looked_ += count;
            count = 0;
        };
        each([&](std::uint32_t row) {
            fresh_[count++] = row;
            if (count == block) flush();
        });
        if (count > 0) flush();
    }

private:
    static constexpr std::size_t together = 2;
    static constexpr std::size_t block = 512;        ///< rows of a scan that are compared together
    static constexpr std::size_t probe = 300;        ///< rows near the query that give the share of wanted rows
    static constexpr std::size_t most_others = 256;  ///< rows that are not wanted and may be expanded

    void begin_among(const Codes& codes, const Links& links, const Extent& extent, const Wanted& wanted) {
        start(codes, links, extent);
        wanted_ = wanted.rows->words().data();
        // These wanted rows are enough to decide how far to go, and to be compared in full.
        kept_ = extent.rank == 0 ? extent.beam : std::max(extent.rank, extent.least);
        if (found_.size() < kept_ + 8) found_.resize(kept_ + 8);
        if (some_rows_.size() < room_ + 16) some_rows_.resize(room_ + 16), some_distances_.resize(room_ + 16);
        found_size_ = 0;
    }

    void take(const Codes& codes, std::span<const std::uint32_t> rows) {
        for (std::size_t i = 0; i < rows.size(); i += room_) {
            score(codes, unseen(codes, rows.subspan(i, std::min(room_, rows.size() - i)), 0));
        }
    }

    /// Two rows are expanded together: the links of the second are prefetched while those of the first are looked at.
    void expand(const Codes& codes, const Links& links) {
        std::size_t found = 0;
        for (std::size_t taken = 0; taken < together && next_ < size_; ++taken) {
            const Key key = keys_[next_];
            keys_[next_] |= 1;
            if (keep_expanded_) expanded.push_back(key);
            skip_expanded();
            if (next_ < size_) ask(links, row_of(keys_[next_]));
            found += unseen(codes, links.of(row_of(key)), found);
        }
        score(codes, found);
    }

    void forget(const Codes& codes) { std::memset(seen_.data(), 0, (codes.count / 64 + 1) * sizeof(std::uint64_t)); }

    void start(const Codes& codes, const Links& links, const Extent& extent) {
        room_ = std::max<std::size_t>(together * links.degree, 64);
        fresh_.resize(std::max(fresh_.size(), room_ + 16));  // kernels may write a whole block
        distances_.resize(std::max(distances_.size(), room_));
        met_ = compared_ = 0;
        if (seen_.size() < codes.count / 64 + 1) seen_.resize(codes.count / 64 + 1, 0);
        beam_ = std::max(extent.beam, extent.lead);
        if (keys_.size() < beam_ + 8) keys_.resize(beam_ + 8);
        extent_ = extent;
        size_ = next_ = 0;
        expanded.clear();
    }

    /// Compare the query with the rows from `first` on.
    void scan_tail(const Codes& codes, std::size_t first, std::uint32_t hidden) {
        for (std::size_t row = first; row < codes.count;) {
            std::size_t count = 0;
            for (; count < room_ && row < codes.count; ++row) {
                if (row != hidden) fresh_[count++] = static_cast<std::uint32_t>(row);
            }
            score(codes, count);
        }
    }

    /// Return the key from which on rows are too far to lead to better rows than the walk has.
    Key limit(const Codes& codes) const {
        const Key* best = wanted_ != nullptr ? found_.data() : keys_.data();
        const std::size_t size = wanted_ != nullptr ? found_size_ : size_;
        if (extent_.rank == 0 || size < extent_.rank || size < extent_.least) return ~Key{0};
        const float distance = codes.real(distance_of(best[extent_.rank - 1]));
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
        looked_ += count;
        compared_ += count;
        if (wanted_ != nullptr) {
            put_aside(codes, count);
            if (only_wanted_) return;
        }
        size_ = codes.kernels->insert(keys_.data(), size_, beam_, limit(codes), fresh_.data(), distances_.data(), count,
                                      &next_);
    }

    /// Put those of the scored rows that are wanted into found(). In a bridge only these rows go into the beam.
    void put_aside(const Codes& codes, std::size_t count) {
        std::size_t good = 0;
        for (std::size_t i = 0; i < count; ++i) {
            const std::uint32_t row = fresh_[i];
            some_rows_[good] = row;
            some_distances_[good] = distances_[i];
            good += wanted_[row / 64] >> (row % 64) & 1;
        }
        met_ += good;
        std::size_t first = 0;
        found_size_ = codes.kernels->insert(found_.data(), found_size_, kept_, limit(codes), some_rows_.data(),
                                            some_distances_.data(), good, &first);
        if (!only_wanted_) return;
        size_ = codes.kernels->insert(keys_.data(), size_, beam_, limit(codes), some_rows_.data(),
                                      some_distances_.data(), good, &next_);
        std::size_t bad = 0;
        for (std::size_t i = 0; i < count; ++i) {
            const std::uint32_t row = fresh_[i];
            some_rows_[bad] = row;
            some_distances_[bad] = distances_[i];
            bad += 1 - (wanted_[row / 64] >> (row % 64) & 1);
        }
        others_size_ = codes.kernels->insert(others_.data(), others_size_, most_others, limit(codes), some_rows_.data(),
                                             some_distances_.data(), bad, &others_next_);
    }

    std::vector<Key> keys_, found_, others_;  ///< the beam; wanted rows; other rows that may be expanded
    std::vector<std::uint32_t> fresh_, some_rows_;
    std::vector<std::int32_t> distances_, some_distances_;
    std::vector<std::uint64_t> seen_;
    std::size_t room_ = 0;
    std::size_t beam_ = 0, kept_ = 0;  ///< the most rows in keys_ and found_
    Extent extent_;
    const std::uint64_t* wanted_ = nullptr;
    bool only_wanted_ = false, keep_expanded_ = false;
    std::size_t found_size_ = 0, others_size_ = 0, others_next_ = 0;
    std::size_t looked_ = 0;              ///< rows compared since clear()
    std::size_t compared_ = 0, met_ = 0;  ///< rows compared in this walk, and wanted rows among them
    std::size_t size_ = 0;
    std::size_t next_ = 0;  ///< the first row of the beam that is not expanded
};

}  // namespace ann
