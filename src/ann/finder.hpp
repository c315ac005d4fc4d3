// Evaluates a filter for the rows that stand in the structures.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "bitmap.hpp"
#include "conditions.hpp"
#include "inverted.hpp"

namespace ann {

/// Rows: a list in any order, without repeats, or bits.
struct Rows {
    bool listed = true;
    std::vector<std::uint32_t> rows;
    Bitmap bits;

    static Rows of(Bitmap bits) { return {false, {}, std::move(bits)}; }
};

/// The rows of a set, of which there are about `count`.
std::vector<std::uint32_t> list_of(const Bitmap& bits, std::size_t count);

/// Up to so many rows a list is kept, and each of its rows is looked at for the other conditions.
inline std::size_t few_of(std::size_t size) { return std::max<std::size_t>(64, size / 4096); }

/// The same where another condition is a region, which takes longer to cover.
inline std::size_t few_beside_region(std::size_t size) { return std::max<std::size_t>(64, size / 512); }

class Finder {
public:
    /// All of them outlive this, and stand for at least the rows of the structures.
    Finder(const Columns& columns, const Inverted& inverted, const Bitmap& live)
        : columns_(columns), inverted_(inverted), live_(live), size_(inverted.size()) {}

    /// The rows that are meant, of which some may be dead; fills in what the structures tell of the conditions.
    Rows find(Condition& condition);

private:
    // What is known beforehand, in finder.cpp. A region is asked last, and not at all where other conditions leave few
    // rows: to cover it takes a while.
    void ask(Condition& condition);
    void ask_joined(Condition& joined);
    void ask_values(Condition& condition);
    void rank(Condition& condition);

    // Single conditions, in finder.cpp.
    Rows find(Condition& condition, std::size_t few);
    /// The rows of a condition that stand in the structures as they are; nullptr where there is more to do.
    const Bitmap* bits_at_hand(const Condition& condition) const;
    /// The rows of a condition about values or ids, listed, or set in bits (`fresh`: that are all 0; not a region's).
    std::vector<std::uint32_t> list(const Condition& condition) const;
    void add(const Condition& condition, Bitmap& into, bool fresh) const;
    /// The same of a region, in bits that are all 0; rows that are not in `wanted` (nullptr: none) may come out wrong.
    bool add_all_but(const Condition& condition, Bitmap& into) const;
    void add_region(const Condition& condition, Bitmap& into, const Bitmap* wanted) const;
    void add_posting(std::uint32_t field, std::uint32_t number, Bitmap& into) const;
    /// All rows with a value but those whose values are all listed.
    Bitmap find_beyond(const Condition& condition) const;
    Bitmap as_bits(Rows found) const;

    // Joined conditions, in joining.cpp.
    Rows find_joined(Condition& joined, std::size_t few);
    Rows find_all(Condition& joined, std::size_t few);
    Rows find_any(Condition& joined, std::size_t few);
    /// Keep those of some bits that are meant by a condition: as bits, or as a list.
    void keep(Rows& found, Condition& condition, std::size_t few);

    const Columns& columns_;
    const Inverted& inverted_;
    const Bitmap& live_;
    std::size_t size_;
};

/// Whether all of some joined conditions have to hold.
inline bool is_all(const Condition& joined) { return joined.least == joined.each.size(); }

void drop_repeats(std::vector<std::uint32_t>& rows);

}  // namespace ann
