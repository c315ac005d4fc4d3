// The rows that a search may answer, prepared once for many queries.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "index.hpp"

namespace ann {

/// The rows that may be answered: those that a filter selects, or all living rows. Made once and used by many queries.
struct Index::Among {
    bool everything = false;         ///< no filter, and no row is dead
    const Bitmap* living = nullptr;  ///< without a filter: all living rows; used in place of `wanted.bits`
    Selection wanted;                ///< the rows that may be answered
    bool has_nodes = false;
    Bitmap own_nodes;

    std::size_t count() const { return wanted.count; }
    const Bitmap& bits() const { return living != nullptr ? *living : wanted.bits; }
    /// The rows that a walk looks for: wanted rows, and rows that stand in the graph for an equal row that is wanted.
    const Bitmap& nodes() const { return has_nodes ? own_nodes : bits(); }

    bool has(std::uint32_t row) const {
        if (everything) return true;
        return wanted.listed ? std::binary_search(wanted.rows.begin(), wanted.rows.end(), row) : bits().test(row);
    }

    /// Call visit(row) for all wanted rows from `first` on, in order.
    template <typename Visit>
    void each(const Visit& visit, std::size_t first = 0) const {
        if (living != nullptr) return living->each(visit, first);
        wanted.each(visit, first);
    }
};

}  // namespace ann
