// Structures that answer a condition on a field without reading every row.
//
// Texts and booleans have postings: the rows of each value, and a bitmap for values that many rows have. For numbers
// and datetimes the rows are sorted by value, so that a range is an interval of ranks. For places they are sorted along
// a Z-curve, so that a region is a few intervals. A wide interval is the difference of two bitmaps, of which the j-th
// has the first j/32 of the sorted rows, and a few single rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "bitmap.hpp"
#include "columns.hpp"

namespace ann {

/// The rows of each text, by the text's number in the dictionary, or of false (0) and true (1).
class Postings {
public:
    Postings() = default;
    Postings(const Columns& columns, std::size_t field);

    std::span<const std::uint32_t> rows(std::uint32_t number) const {
        if (number + std::size_t{1} >= starts_.size()) return {};
        return {rows_.data() + starts_[number], rows_.data() + starts_[number + 1]};
    }
    /// Return the rows as a bitmap if they are many, otherwise nullptr.
    const Bitmap* bits(std::uint32_t number) const;
    std::size_t values() const { return starts_.empty() ? 0 : starts_.size() - 1; }
    /// Return the rows that have more than one value.
    const Bitmap& several() const { return several_; }
    bool any_several() const { return any_several_; }
    /// Return about how many bits or words are written to join the rows of all values, or of one value.
    std::size_t cost() const { return cost_; }
    std::size_t cost(std::uint32_t number) const;
    std::size_t bytes() const;

private:
    struct Dense {
        std::uint32_t number;
        Bitmap bits;
    };
    std::vector<std::uint32_t> starts_, rows_;
    std::vector<Dense> dense_;  ///< sorted by number
    Bitmap several_;            ///< empty if no row has more than one value
    bool any_several_ = false;
    std::size_t cost_ = 0;
};

/// The rows that have a value, sorted by the key of the value and then by row number.
class Ranking {
public:
    static constexpr std::size_t parts = 32;

    Ranking() = default;
    /// `before` has the order of the first rows, of which the rows in `changed` have new values; nullptr: there is no
    /// order yet.
    Ranking(const Columns& columns, std::size_t field, const Ranking* before, std::size_t ordered,
            const Bitmap& changed);

    std::size_t size() const { return rows_.size(); }
    std::span<const std::uint32_t> rows() const { return rows_; }
    /// Return how many keys are below `key`, or not above it. The search starts at rank `from`, which must not be
    /// beyond.
    std::size_t below(std::uint64_t key, std::size_t from = 0) const;
    std::size_t up_to(std::uint64_t key, std::size_t from = 0) const;

    /// Put the rows of ranks first .. last-1 into a set with at least as many rows as the table. Other rows of the set
    /// do not matter, but with `fresh` it must be empty.
    void add(std::size_t first, std::size_t last, Bitmap& into, bool fresh) const;
    /// Return whether parts can be added as a whole: ranks boundary(i) .. boundary(j)-1 in one step.
    bool has_parts() const { return !prefixes_.empty(); }
    std::size_t boundary(std::size_t part) const { return size() * part / parts; }
    std::size_t bytes() const;

private:
    void make_prefixes(std::size_t rows);

    std::vector<std::uint64_t> keys_;
    std::vector<std::uint32_t> rows_;
    std::vector<Bitmap> prefixes_;  ///< [j]: rows of ranks below boundary(j); empty if few rows have a value
};

/// Places in the order of the curve, so that places that are tested one after another lie next to each other in memory.
struct Spots {
    std::vector<Place> places;
    std::vector<Direction> directions;
};

/// The structures of all fields, for all rows of some columns. They never change.
class Inverted {
public:
    /// `before` may be made from the same columns when they had fewer rows, and other values in the `changed` rows
    /// (sorted). Its order of all other rows is reused.
    explicit Inverted(const Columns& columns, const Inverted* before = nullptr,
                      std::span<const std::uint32_t> changed = {});

    std::size_t size() const { return size_; }
    /// For tag, id, bool; otherwise empty.
    const Postings& postings(std::size_t field) const { return fields_[field].postings; }
    /// For int, float, datetime, geo; otherwise empty.
    const Ranking& order(std::size_t field) const { return fields_[field].order; }
    /// For geo: the places of order(); otherwise empty.
    const Spots& spots(std::size_t field) const { return fields_[field].spots; }
    /// Return the rows that have a value, and their number.
    const Bitmap& present(std::size_t field) const { return fields_[field].present; }
    std::size_t count(std::size_t field) const { return fields_[field].count; }
    std::size_t bytes() const;

private:
    struct FieldRows {
        Bitmap present;
        std::size_t count = 0;
        Postings postings;
        Ranking order;
        Spots spots;
    };
    std::size_t size_;
    std::vector<FieldRows> fields_;
};

}  // namespace ann
