// The fields of all rows, and the rows that a filter selects.
//
// Most rows are in structures that answer a condition at once (inverted.hpp). Rows that were added after the structures
// were made, and rows whose fields were changed since, are checked one by one; there are at most a few thousand of
// them.
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

/// How many of the selected rows have a value.
struct Facet {
    std::variant<std::string, std::int64_t, double> value;
    std::size_t count;
};

/// Copies share memory. Each Table may be extended only once; while that happens other threads may read it.
class Table {
public:
    explicit Table(Schema schema);
    explicit Table(Columns columns);  ///< not indexed yet

    std::size_t size() const { return columns_.size(); }
    const Schema& schema() const { return columns_.schema(); }

    Table appended(const Payload& more) const;
    /// Change fields of these rows, which must be different: the fields that the payload has, to the values of its row
    /// i or of its only row.
    Table changed(std::span<const std::uint32_t> rows, const Payload& change) const;
    /// Return the table with all rows in the structures; the same table if they are in them already.
    Table indexed() const;
    /// Return the number of rows that are checked one by one.
    std::size_t loose() const;
    /// Return only these rows, in this order, all in the structures.
    Table taken(std::span<const std::uint32_t> rows) const;

    /// Return the living rows that the filter selects. `live` and `ids` must have as many rows as the table.
    Selection select(const Filter& filter, const Bitmap& live, const Ids& ids, const Kernels& kernels) const;
    /// Return whether a filter matches a row, dead or alive. This is slow: only the row's values are used.
    bool means(const Filter& filter, std::size_t row, const Ids& ids) const;

    /// Return how many of these rows have each value of a field (not geo), the most frequent value first, then by
    /// value.
    std::vector<Facet> facet(std::size_t field, const Selection& rows) const;
    /// Return a number that is equal for two rows exactly if their values are equal (for a tag: its alphabetically
    /// first text). A row without a value has its own number, unless another row has a whole number within 2^32 of the
    /// largest. Not for geo.
    std::uint64_t group(std::size_t field, std::size_t row) const;
    /// Return a number that sorts like the values (int, float, datetime, bool); none if the value is missing.
    std::optional<std::uint64_t> order(std::size_t field, std::size_t row) const;

    /// Return these rows as a payload with every field.
    std::vector<std::byte> encode(std::span<const std::uint32_t> rows) const;
    std::vector<std::byte> encode() const;
    std::size_t bytes() const;

private:
    /// Values that replace those of some rows: row changed.first is replaced by row changed.second of `columns`.
    /// Sorted.
    struct Patch {
        Columns columns;
        std::vector<std::pair<std::uint32_t, std::uint32_t>> rows;
    };
    std::pair<const Columns*, std::size_t> place_of(std::size_t row) const;
    /// Return columns that have the present values of these rows, and where the rows are in them.
    std::pair<Columns, std::vector<std::uint32_t>> gathered(std::span<const std::uint32_t> rows) const;

    Columns columns_;
    std::shared_ptr<const Inverted> inverted_;  ///< for the first rows of columns_; nullptr if there are none
    std::shared_ptr<const Patch> patch_;        ///< nullptr if no row is changed
};

}  // namespace ann
