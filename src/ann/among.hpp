// Rows that are wanted, made ready for many queries.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "index.hpp"

namespace ann {

/// What a filter, or the absence of dead rows, leaves to be found: made once, and asked by many queries.
struct Index::Among {
    bool everything = false;         ///< no filter, and no row is dead
    const Bitmap* living = nullptr;  ///< no filter: all living rows, in place of `wanted.bits`
    Selection wanted;                ///< the rows that may be answered
    bool has_nodes = false;
    Bitmap own_nodes;

    std::size_t count() const { return wanted.count; }
    const Bitmap& bits() const { return living != nullptr ? *living : wanted.bits; }
    /// What a walk looks for: wanted rows, and rows that stand in the graph for an equal one that is wanted.
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
