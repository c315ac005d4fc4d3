// Pages of rows, in an order that does not depend on where rows stand.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "index.hpp"

namespace ann {

/// Where a page ends: the id of its last row, and the number that it is ordered by, if it has one.
struct Cursor {
    IdBatch id;  ///< one
    std::optional<std::uint64_t> key;
};

struct Order {
    std::optional<std::size_t> field = std::nullopt;  ///< none: by id alone
    bool descending = false;                          ///< of the field; ids always rise
};

/// The first `limit` of these rows in that order behind the cursor. Rows without a value come last. As the order is one
/// of values, pages go on exactly however the index changes between them.
std::vector<std::uint32_t> scroll(const State& state, const Selection& rows, const Order& order, std::size_t limit,
                                  const Cursor* after);

}  // namespace ann
