// The values of fields, row by row.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "array.hpp"
#include "geo.hpp"
#include "names.hpp"
#include "payload.hpp"
#include "schema.hpp"

namespace ann {

/// Return a number that sorts as std::uint64_t as the values sort.
inline std::uint64_t key_of(std::int64_t value) { return static_cast<std::uint64_t>(value) ^ (std::uint64_t{1} << 63); }
inline std::uint64_t key_of(double value) {
    const auto bits = std::bit_cast<std::uint64_t>(value == 0.0 ? 0.0 : value);
    return (bits >> 63) != 0 ? ~bits : bits | std::uint64_t{1} << 63;
}

/// The values of all fields for rows 0 .. size()-1. Copies share memory. Each Columns may be extended only once; while
/// that happens other threads may read the shorter one, because it ends at its own size.
class Columns {
public:
    explicit Columns(std::shared_ptr<const Schema> schema);

    std::size_t size() const { return size_; }
    const Schema& schema() const { return *schema_; }

    bool has(std::size_t field, std::size_t row) const {
        const Column& column = columns_[field];
        return column.text ? column.starts[row] != column.starts[row + 1] : column.present[row] != 0;
    }
    /// Return a whole number; 0 if it is missing.
    std::int64_t whole(std::size_t field, std::size_t row) const {
        return std::bit_cast<std::int64_t>(columns_[field].words[row]);
    }
    /// Return a float; 0 if it is missing.
    double real(std::size_t field, std::size_t row) const { return std::bit_cast<double>(columns_[field].words[row]); }
    /// Return a place; 0, 0 if it is missing.
    Place place(std::size_t field, std::size_t row) const { return columns_[field].places[row]; }
    /// Return the direction of place().
    const Direction& direction(std::size_t field, std::size_t row) const { return columns_[field].directions[row]; }
    /// Return the numbers of a row's texts in the field's dictionary, in rising order.
    std::span<const std::uint32_t> texts(std::size_t field, std::size_t row) const {
        const Column& column = columns_[field];
        return {column.codes.data() + column.starts[row], column.codes.data() + column.starts[row + 1]};
    }
    /// Return the dictionary of a field; it is empty if the field has no texts.
    const Dictionary& dictionary(std::size_t field) const { return columns_[field].dictionary; }

    /// Return a number that sorts as the values: for whole numbers, floats and datetimes. For places it is curve_of,
    /// and for texts the number of the (first) text in the dictionary, which is not alphabetical. The row must have a
    /// value.
    std::uint64_t key(std::size_t field, std::size_t row) const {
        const Column& column = columns_[field];
        if (column.text) return column.codes[static_cast<std::size_t>(column.starts[row])];
        if (column.kind == Kind::geo) return curve_of(column.places[row]);
        if (column.kind == Kind::real) return key_of(std::bit_cast<double>(column.words[row]));
        return key_of(std::bit_cast<std::int64_t>(column.words[row]));
    }

    /// Return the columns with the rows of the payload added, in its order. Fields that the payload lacks are missing.
    Columns with(const Payload& more) const;
    /// Return only these rows, in this order, in their own memory, with dictionaries of only the texts that they use.
    /// Texts keep their order, so that a row's first text is still its first.
    Columns taken(std::span<const std::uint32_t> rows) const;
    /// Return the columns with rows added: a copy of each rows[i] of `from`, which must have the same schema. Fields
    /// that the payload has are changed, to the values of its row i, or of its only row for all. `from` may be this.
    Columns with_changed(const Columns& from, std::span<const std::uint32_t> rows, const Payload& change) const;
    /// Return all rows in their own memory, with each row changed[i].first replaced by row changed[i].second of
    /// `other`. `changed` is sorted, and `other` has the same schema.
    Columns patched(std::span<const std::pair<std::uint32_t, std::uint32_t>> changed, const Columns& other) const;

    /// Return these rows as a payload with every field. Texts are numbered in the order of the dictionary.
    std::vector<std::byte> encode(std::span<const std::uint32_t> rows) const;

    /// Return the memory of the rows and the dictionaries, in bytes.
    std::size_t bytes() const;

private:
    friend struct ColumnBuilder;  // columns.cpp: makes rows from payloads and from other columns

    /// An array that copies share, and the address of its values as this copy uses it.
    template <typename T>
    class Cells {
    public:
        const T& operator[](std::size_t i) const { return at_[i]; }
        const T* data() const { return at_; }
        /// Make room for `size` values and return their address. The first `kept` values stay; the caller must write
        /// the others.
        T* grow(std::size_t kept, std::size_t size);

    private:
        std::shared_ptr<Array<T>> array_;
        const T* at_ = nullptr;
    };

    /// Only the arrays that the kind needs are in use. Values behind the last row must not be read: a longer copy
    /// writes there.
    struct Column {
        Kind kind = Kind::tag;
        bool text = false;
        Cells<std::uint8_t> present;  ///< 0 or 1; not used by texts
        Cells<std::uint64_t> words;   ///< the bits of whole numbers and floats
        Cells<Place> places;          ///< geo
        Cells<Direction> directions;  ///< geo
        Cells<std::uint64_t> starts;  ///< texts: where the codes of a row begin; rows + 1 values
        Cells<std::uint32_t> codes;   ///< texts
        Dictionary dictionary;        ///< texts
    };

    std::shared_ptr<const Schema> schema_;
    std::size_t size_ = 0;
    std::vector<Column> columns_;
};

}  // namespace ann
