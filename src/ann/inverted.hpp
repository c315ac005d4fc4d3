// Structures that answer a condition about a field without a look at every row.
//
// Texts and booleans have postings: the rows of each value, and bits for values that stand at many rows. Numbers and
// datetimes have their rows in the order of the values, so that a range is a stretch of ranks; places have theirs in
// the order of a Z-curve, so that a region is a few stretches. A wide stretch is the difference of two bitmaps, of
// which the j-th holds the first j/32 of that order, and a few rows one by one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "bitmap.hpp"
#include "columns.hpp"

namespace ann {

/// The rows of each text, by its number in the dictionary, or of false (0) and true (1).
class Postings {
public:
    Postings() = default;
    Postings(const Columns& columns, std::size_t field);

    std::span<const std::uint32_t> rows(std::uint32_t number) const {
        if (number + std::size_t{1} >= starts_.size()) return {};
        return {rows_.data() + starts_[number], rows_.data() + starts_[number + 1]};
    }
    /// The rows as bits where they are many, else nullptr.
    const Bitmap* bits(std::uint32_t number) const;
    std::size_t values() const { return starts_.empty() ? 0 : starts_.size() - 1; }
    /// Rows that have more than one value.
    const Bitmap& several() const { return several_; }
    bool any_several() const { return any_several_; }
    /// About how many bits or words joining the rows of all values would touch; and of one value.
    std::size_t cost() const { return cost_; }
    std::size_t cost(std::uint32_t number) const;
    std::size_t bytes() const;

private:
    struct Dense {
        std::uint32_t number;
        Bitmap bits;
    };
    std::vector<std::uint32_t> starts_, rows_;
    std::vector<Dense> dense_;  ///< by rising number
    Bitmap several_;            ///< empty where no row has more than one value
    bool any_several_ = false;
    std::size_t cost_ = 0;
};

/// The rows that have a value, by its key and then by their number.
class Ranking {
public:
    static constexpr std::size_t parts = 32;

    Ranking() = default;
    /// `before` has the order of the first rows, of which `changed` have new values since; nullptr: of none.
    Ranking(const Columns& columns, std::size_t field, const Ranking* before, std::size_t ordered,
            const Bitmap& changed);

    std::size_t size() const { return rows_.size(); }
    std::span<const std::uint32_t> rows() const { return rows_; }
    /// How many keys are below, or not above; from a rank on that is not beyond.
    std::size_t below(std::uint64_t key, std::size_t from = 0) const;
    std::size_t up_to(std::uint64_t key, std::size_t from = 0) const;

    /// Put the rows of ranks first .. last-1 into a set that has at least as many rows as the table, without a look at
    /// what it holds (`fresh`: it is empty).
    void add(std::size_t first, std::size_t last, Bitmap& into, bool fresh) const;
    /// Whether parts can be added whole: ranks boundary(i) .. boundary(j)-1, at once.
    bool has_parts() const { return !prefixes_.empty(); }
    std::size_t boundary(std::size_t part) const { return size() * part / parts; }
    std::size_t bytes() const;

private:
    void make_prefixes(std::size_t rows);

    std::vector<std::uint64_t> keys_;
    std::vector<std::uint32_t> rows_;
    std::vector<Bitmap> prefixes_;  ///< [j]: rows of ranks below boundary(j); none where few rows have a value
};

/// Places in the order of a curve, where those that have to be tested follow one another.
struct Spots {
    std::vector<Place> places;
    std::vector<Direction> directions;
};

/// The structures of all fields, for all rows of some columns. Never changes.
class Inverted {
public:
    /// `before` may be of the same columns when they had fewer rows and other values at the `changed` ones (sorted):
    /// its order of all others is used.
    explicit Inverted(const Columns& columns, const Inverted* before = nullptr,
                      std::span<const std::uint32_t> changed = {});

    std::size_t size() const { return size_; }
    /// Of tag, id, bool; empty else.
    const Postings& postings(std::size_t field) const { return fields_[field].postings; }
    /// Of int, float, datetime, geo; empty else.
    const Ranking& order(std::size_t field) const { return fields_[field].order; }
    /// Of geo: the places of order(); empty else.
    const Spots& spots(std::size_t field) const { return fields_[field].spots; }
    /// Rows that have a value, and how many.
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
