// The fields of all rows, and which rows a filter means.
//
// Most rows stand in structures that answer a condition at once (inverted.hpp). Rows that came after those were made,
// and rows whose fields were changed since, are looked at one by one; there are at most a few thousand of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "bitmap.hpp"
#include "columns.hpp"
#include "filter.hpp"
#include "ids.hpp"
#include "kernels.hpp"
#include "payload.hpp"
#include "schema.hpp"

namespace ann {

class Inverted;

/// How often a value stands at the rows that were asked for.
struct Facet {
    std::variant<std::string, std::int64_t, double> value;
    std::size_t count;
};

/// A value: copies share memory, and of one value only one extension may be made, while other threads read this one.
class Table {
public:
    explicit Table(Schema schema);
    explicit Table(Columns columns);  ///< not indexed yet

    std::size_t size() const { return columns_.size(); }
    const Schema& schema() const { return columns_.schema(); }

    Table appended(const Payload& more) const;
    /// Change fields of these rows, which are different: those that the payload tells, by its row i or its only row.
    Table changed(std::span<const std::uint32_t> rows, const Payload& change) const;
    /// Everything in the structures; this value where that is so already.
    Table indexed() const;
    /// Rows that are looked at one by one.
    std::size_t loose() const;
    /// These rows alone, in this order, all in the structures.
    Table taken(std::span<const std::uint32_t> rows) const;

    /// The living rows that the filter means; `live` and `ids` have as many rows as this.
    Selection select(const Filter& filter, const Bitmap& live, const Ids& ids, const Kernels& kernels) const;
    /// Whether a filter means a row, dead or alive: the slow way, by its values alone.
    bool means(const Filter& filter, std::size_t row, const Ids& ids) const;

    /// How often each value of a field (not geo) stands at these rows, most often first, then by value.
    std::vector<Facet> facet(std::size_t field, const Selection& rows) const;
    /// Equal for two rows exactly where their value is (a tag's: the first in the order of letters); a row without one
    /// is alone, unless another has a whole number within 2^32 of the largest. Not of geo.
    std::uint64_t group(std::size_t field, std::size_t row) const;
    /// A number in the order of values (int, float, datetime, bool); none where missing.
    std::optional<std::uint64_t> order(std::size_t field, std::size_t row) const;

    /// These rows as a payload that tells every field.
    std::vector<std::byte> encode(std::span<const std::uint32_t> rows) const;
    std::vector<std::byte> encode() const;
    std::size_t bytes() const;

private:
    /// Values that replace those of some rows: changed.first stands in `columns` as row changed.second. Sorted.
    struct Patch {
        Columns columns;
        std::vector<std::pair<std::uint32_t, std::uint32_t>> rows;
    };
    std::pair<const Columns*, std::size_t> place_of(std::size_t row) const;
    /// Columns in which these rows stand as they are now, and where.
    std::pair<Columns, std::vector<std::uint32_t>> gathered(std::span<const std::uint32_t> rows) const;

    Columns columns_;
    std::shared_ptr<const Inverted> inverted_;  ///< of the first rows of columns_; nullptr: of none
    std::shared_ptr<const Patch> patch_;        ///< nullptr: of none
};

}  // namespace ann
