// What rows are called: row numbers, 64-bit integers, or texts.
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

/// Ids as they are given, logged and saved:
///     u32 kind, u32 zero, u64 count; then of integers i64[count]; of strings i64 ends[count] and the UTF-8 text, which
///     ends[i-1] .. ends[i] cuts; of row numbers nothing.
/// A view of the caller's bytes.
struct IdBatch {
    IdKind kind = IdKind::rows;
    std::size_t count = 0;
    std::span<const std::byte> values;  ///< the numbers or the ends, not aligned
    std::string_view text;

    /// std::invalid_argument("ids: ...") for bytes that are no batch: wrong lengths, ends that do not rise from above
    /// 0, texts that are empty, not UTF-8 each by itself, hold a NUL, or have more than 1024 letters; more than 2^32 -
    /// 2 ids.
    static IdBatch decode(std::span<const std::byte> bytes);
    std::int64_t number(std::size_t i) const;    ///< of integers
    std::string_view name(std::size_t i) const;  ///< of strings
    std::uint64_t hash(std::size_t i) const;     ///< of integers and strings
    /// The first i whose id stood at an earlier place already, and that place. None for row numbers.
    std::optional<std::pair<std::size_t, std::size_t>> twice() const;
};

/// The ids of rows 0 .. size()-1. An id may stand at several rows, of which at most one is alive. A value: copies share
/// memory, and one thread extends while others read this value. Of one value one extension is cheap (O(m) for m more
/// ids, on average); another one, as after a failure, copies everything.
class Ids {
public:
    IdKind kind() const { return kind_; }
    std::size_t size() const { return size_; }
    /// The number that the next row without an id gets: how many rows were ever added, with ids or without.
    std::uint64_t next() const { return next_; }

    std::int64_t number(std::size_t row) const;    ///< of row numbers and integers
    std::string_view name(std::size_t row) const;  ///< of strings

    /// The living row of the i-th id of the batch, none where the kinds do not fit (row numbers and integers do). Of a
    /// batch of row numbers: of the number that with() would give it. `live` may be shorter than size(): rows behind it
    /// are not there. The newest row is looked at first, so a living id costs the same however often it was replaced;
    /// one that is dead costs a look at each row that it ever stood at.
    std::optional<std::uint32_t> find(const IdBatch& batch, std::size_t i, const Bitmap& live) const;

    /// With more rows. Row numbers go on from next(): they become integers where integers are there, or come.
    /// std::invalid_argument where strings and others would mix (not where this is empty), or for more than 2^32 - 2
    /// rows. Nothing is checked for being unique.
    Ids with(const IdBatch& more) const;

    /// The ids of these rows, in this order, as a value of its own; row numbers become integers unless the rows are 0,
    /// 1, 2, ... and next() is their number.
    Ids taken(std::span<const std::uint32_t> rows) const;

    /// All ids, or those of some rows, as IdBatch::decode reads them (some of row numbers: as integers).
    std::vector<std::byte> encode() const;
    std::vector<std::byte> encode(std::span<const std::uint32_t> rows) const;
    /// What encode() wrote for all rows; `next` is at least count, and of row numbers equal. std::invalid_argument.
    static Ids decode(std::span<const std::byte> bytes, std::uint64_t next);

    /// The order of ids: of numbers, or of the bytes of texts.
    bool before(std::size_t row, std::size_t other) const;
    /// Whether the i-th id of a batch comes before that of a row. The kinds fit.
    bool before(const IdBatch& batch, std::size_t i, std::size_t row) const;

    /// Memory, the table that finds rows included; none of row numbers.
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
    std::shared_ptr<HashTable> table_;  ///< row by hash of its id; none where rows are their own ids
};

}  // namespace ann
