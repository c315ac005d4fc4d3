// Pages of rows, in an order that does not depend on row numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "index.hpp"

namespace ann {

/// Where a page ends: the id of its last row, and the key by which the page is ordered, if the row has a value.
struct Cursor {
    IdBatch id;  ///< exactly one
    std::optional<std::uint64_t> key;
};

struct Order {
    std::optional<std::size_t> field = std::nullopt;  ///< none: by id only
    bool descending = false;                          ///< for the field; ids always rise
};

/// Return the first `limit` of these rows behind the cursor, in this order. Rows without a value come last. The order
/// depends only on values and ids, so pages continue correctly even if the index changes between them.
std::vector<std::uint32_t> scroll(const State& state, const Selection& rows, const Order& order, std::size_t limit,
                                  const Cursor* after);

}  // namespace ann
