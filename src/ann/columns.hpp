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

/// Numbers whose order as std::uint64_t is that of the values.
inline std::uint64_t key_of(std::int64_t value) { return static_cast<std::uint64_t>(value) ^ (std::uint64_t{1} << 63); }
inline std::uint64_t key_of(double value) {
    const auto bits = std::bit_cast<std::uint64_t>(value == 0.0 ? 0.0 : value);
    return (bits >> 63) != 0 ? ~bits : bits | std::uint64_t{1} << 63;
}

/// Values of all fields for rows 0 .. size()-1. A value: copies share memory, and of one value only one extension may
/// be made, while other threads read this one, which goes by its own size.
class Columns {
public:
    explicit Columns(std::shared_ptr<const Schema> schema);

    std::size_t size() const { return size_; }
    const Schema& schema() const { return *schema_; }

    bool has(std::size_t field, std::size_t row) const {
        const Column& column = columns_[field];
        return column.text ? column.starts[row] != column.starts[row + 1] : column.present[row] != 0;
    }
    /// 0 where missing.
    std::int64_t whole(std::size_t field, std::size_t row) const {
        return std::bit_cast<std::int64_t>(columns_[field].words[row]);
    }
    /// 0 where missing.
    double real(std::size_t field, std::size_t row) const { return std::bit_cast<double>(columns_[field].words[row]); }
    /// 0, 0 where missing.
    Place place(std::size_t field, std::size_t row) const { return columns_[field].places[row]; }
    /// Of place().
    const Direction& direction(std::size_t field, std::size_t row) const { return columns_[field].directions[row]; }
    /// The numbers of a row's texts in the field's dictionary, rising.
    std::span<const std::uint32_t> texts(std::size_t field, std::size_t row) const {
        const Column& column = columns_[field];
        return {column.codes.data() + column.starts[row], column.codes.data() + column.starts[row + 1]};
    }
    /// Empty where the field has no texts.
    const Dictionary& dictionary(std::size_t field) const { return columns_[field].dictionary; }

    /// A number whose order is the order of whole numbers, floats and datetimes; of places curve_of; of texts the
    /// (first) text's number in the dictionary, which is no order of letters. has().
    std::uint64_t key(std::size_t field, std::size_t row) const {
        const Column& column = columns_[field];
        if (column.text) return column.codes[static_cast<std::size_t>(column.starts[row])];
        if (column.kind == Kind::geo) return curve_of(column.places[row]);
        if (column.kind == Kind::real) return key_of(std::bit_cast<double>(column.words[row]));
        return key_of(std::bit_cast<std::int64_t>(column.words[row]));
    }

    /// With more rows: those of the payload, in its order; fields that it does not tell are missing.
    Columns with(const Payload& more) const;
    /// These rows alone, in this order, in memory and dictionaries of their own, of the texts that they use. Texts stay
    /// in the order that they had, so that a row's first text is still its first.
    Columns taken(std::span<const std::uint32_t> rows) const;
    /// Behind the rows that there are: a copy of rows[i] of `from`, which has the same schema, with those fields
    /// changed that the payload tells (its row i, or its only row for all). `from` may be this.
    Columns with_changed(const Columns& from, std::span<const std::uint32_t> rows, const Payload& change) const;
    /// All rows, but changed[i].first as row changed[i].second of `other` (sorted, same schema), in memory of its own.
    Columns patched(std::span<const std::pair<std::uint32_t, std::uint32_t>> changed, const Columns& other) const;

    /// These rows as a payload that tells every field. Texts are numbered in the order of the dictionary.
    std::vector<std::byte> encode(std::span<const std::uint32_t> rows) const;

    /// Memory that the rows and the dictionaries take.
    std::size_t bytes() const;

private:
    friend struct ColumnBuilder;  // columns.cpp: rows from payloads and from other columns

    /// An array that copies share, and its address, as it is for this one's rows.
    template <typename T>
    class Cells {
    public:
        const T& operator[](std::size_t i) const { return at_[i]; }
        const T* data() const { return at_; }
        /// Make room for `size` values behind the first `kept`, which stay; the others have to be written.
        T* grow(std::size_t kept, std::size_t size);

    private:
        std::shared_ptr<Array<T>> array_;
        const T* at_ = nullptr;
    };

    /// The arrays that its kind needs are in use. Behind the last row nothing is to be read: a longer copy writes
    /// there.
    struct Column {
        Kind kind = Kind::tag;
        bool text = false;
        Cells<std::uint8_t> present;  ///< but of texts: 0 or 1
        Cells<std::uint64_t> words;   ///< the bits of whole numbers and floats
        Cells<Place> places;          ///< geo
        Cells<Direction> directions;  ///< geo
        Cells<std::uint64_t> starts;  ///< of texts: where a row's codes begin; rows + 1
        Cells<std::uint32_t> codes;   ///< of texts
        Dictionary dictionary;        ///< of texts
    };

    std::shared_ptr<const Schema> schema_;
    std::size_t size_ = 0;
    std::vector<Column> columns_;
};

}  // namespace ann
