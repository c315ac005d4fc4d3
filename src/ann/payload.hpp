// Values of fields for some rows, in the form in which they are given, logged and saved.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

#include "geo.hpp"
#include "schema.hpp"

namespace ann {

/// Values of some fields for `rows` rows. A Payload is a view of the caller's bytes; every number in them was checked.
///
///     u32 rows, u32 columns; for each column, in rising order of its field:
///     u32 field
///     bool, int, datetime:  u8 present[rows] (0 or 1), i64 values[rows] (0 where missing; bool: 0 or 1)
///     float:                u8 present[rows], f64 values[rows] (0 where missing; never NaN, never -0)
///     geo:                  u8 present[rows], f64 pairs[rows][2]: latitude, longitude (in range; 0, 0 where missing)
///     tag, id:              u32 distinct, u64 ends[distinct], the UTF-8 text that they cut, u32 counts[rows], u32
///                           places[sum of counts]: the numbers of each row's texts, rising within a row, at most one
///                           for an id; the texts are different and not empty
///
/// Little-endian, without gaps; no bytes may follow.
class Payload {
public:
    struct Column {
        std::uint32_t field = 0;
        std::span<const std::byte> present;  ///< u8[rows]
        std::span<const std::byte> values;   ///< 8 or 16 bytes a row
        std::vector<std::string_view> texts;
        std::span<const std::byte> counts, places;  ///< u32 each
        std::vector<std::uint64_t> starts;          ///< for texts: where the places of a row begin; rows + 1 values

        bool has(std::size_t row) const {
            return starts.empty() ? present[row] != std::byte{0} : starts[row] != starts[row + 1];
        }
        std::int64_t whole(std::size_t row) const { return at<std::int64_t>(values, row); }
        double real(std::size_t row) const { return at<double>(values, row); }
        Place place(std::size_t row) const { return {at<double>(values, 2 * row), at<double>(values, 2 * row + 1)}; }
        /// Return the number in `texts` of a row's i-th text.
        std::uint32_t text(std::size_t row, std::size_t i) const {
            return at<std::uint32_t>(places, static_cast<std::size_t>(starts[row]) + i);
        }
        std::size_t count(std::size_t row) const { return static_cast<std::size_t>(starts[row + 1] - starts[row]); }

        /// Return the i-th T of bytes, which need not be aligned.
        template <typename T>
        static T at(std::span<const std::byte> bytes, std::size_t i) {
            T value;
            std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof value);
            return value;
        }
    };

    /// Read a payload. Throws std::invalid_argument("fields: ...") for all other bytes. The memory that is used depends
    /// on the number of bytes, not on the numbers in them. Without any column rows() is not limited: the caller must
    /// check it.
    static Payload decode(std::span<const std::byte> bytes, const Schema& schema);
    /// Return rows without any values.
    static Payload missing(std::size_t rows) {
        Payload none;
        none.rows_ = rows;
        return none;
    }

    std::size_t rows() const { return rows_; }
    const std::vector<Column>& columns() const { return columns_; }
    /// Return the values of a field, nullptr if the payload lacks it.
    const Column* column(std::size_t field) const;

private:
    std::size_t rows_ = 0;
    std::vector<Column> columns_;
};

}  // namespace ann
