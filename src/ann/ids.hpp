// The ids of rows: row numbers, 64-bit integers, or texts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "array.hpp"
#include "bitmap.hpp"
#include "names.hpp"

namespace ann {

enum class IdKind : std::uint32_t { rows = 0, integers = 1, strings = 2 };

/// Ids in the form in which they are given, logged and saved:
///     u32 kind, u32 zero, u64 count; then for integers i64[count]; for strings i64 ends[count] and the UTF-8 text, in
///     which id i is ends[i-1] .. ends[i]; for row numbers nothing.
/// An IdBatch is a view of the caller's bytes.
struct IdBatch {
    IdKind kind = IdKind::rows;
    std::size_t count = 0;
    std::span<const std::byte> values;  ///< the numbers or the ends, not aligned
    std::string_view text;

    /// Read a batch. Throws std::invalid_argument("ids: ...") for bytes that are not a batch: wrong lengths; ends that
    /// do not rise from above 0; texts that are empty, are not UTF-8 each by itself, contain a NUL, or have more than
    /// 1024 letters; more than 2^32 - 2 ids.
    static IdBatch decode(std::span<const std::byte> bytes);
    std::int64_t number(std::size_t i) const;    ///< for integers
    std::string_view name(std::size_t i) const;  ///< for strings
    std::uint64_t hash(std::size_t i) const;     ///< for integers and strings
    /// Return the first i whose id already occurred, and where it occurred. Row numbers never occur twice.
    std::optional<std::pair<std::size_t, std::size_t>> twice() const;
};

/// The ids of rows 0 .. size()-1. Several rows may have the same id, but at most one of them is alive. Copies share
/// memory; one thread may extend an Ids while others read it. The first extension of an Ids is cheap (O(m) for m more
/// ids, on average); a second one, such as after a failure, copies everything.
class Ids {
public:
    IdKind kind() const { return kind_; }
    std::size_t size() const { return size_; }
    /// The number for the next row without an id: how many rows were ever added, with or without ids.
    std::uint64_t next() const { return next_; }

    std::int64_t number(std::size_t row) const;    ///< for row numbers and integers
    std::string_view name(std::size_t row) const;  ///< for strings

    /// Return the living row with the i-th id of the batch. There is none if the kinds do not fit (row numbers and
    /// integers fit). For a batch of row numbers the id is the number that with() would give. `live` may be shorter
    /// than size(): rows behind its end do not count. The newest row is checked first, so finding a living id takes the
    /// same time however often it was replaced; for a dead id every row that ever had it is checked.
    std::optional<std::uint32_t> find(const IdBatch& batch, std::size_t i, const Bitmap& live) const;

    /// Return the ids with more rows added. Row numbers continue from next(); they become integers if there are
    /// integers before or after them. Throws std::invalid_argument if strings would be mixed with others (an empty Ids
    /// takes any kind), or for more than 2^32 - 2 rows. Ids are not checked for being unique.
    Ids with(const IdBatch& more) const;

    /// Return the ids of these rows, in this order. Row numbers become integers, unless the rows are 0, 1, 2, ... and
    /// next() is the number of rows.
    Ids taken(std::span<const std::uint32_t> rows) const;

    /// Return all ids, or those of some rows, in the form of IdBatch::decode. Row numbers of some rows become integers.
    std::vector<std::byte> encode() const;
    std::vector<std::byte> encode(std::span<const std::uint32_t> rows) const;
    /// Read what encode() wrote for all rows. `next` is at least the count; for row numbers it is equal. Throws
    /// std::invalid_argument.
    static Ids decode(std::span<const std::byte> bytes, std::uint64_t next);

    /// Compare two ids: as numbers, or by the bytes of the texts.
    bool before(std::size_t row, std::size_t other) const;
    /// Return whether the i-th id of a batch comes before the id of a row. The kinds must fit.
    bool before(const IdBatch& batch, std::size_t i, std::size_t row) const;

    /// Memory in bytes, including the table that finds rows. Row numbers need none.
    std::size_t bytes() const;

private:
    bool fits(const IdBatch& batch) const { return (kind_ == IdKind::strings) == (batch.kind == IdKind::strings); }
    std::int64_t number_of(const IdBatch& batch, std::size_t i) const;
    void fill_table(std::size_t held);

    IdKind kind_ = IdKind::rows;
    std::size_t size_ = 0;
    std::uint64_t next_ = 0;
    std::shared_ptr<Array<std::int64_t>> numbers_;
    Texts names_;
    std::shared_ptr<HashTable> table_;  ///< the row of each hash of an id; none for row numbers
};

}  // namespace ann
