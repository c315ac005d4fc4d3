// Evaluates a filter for the rows in the index structures.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "bitmap.hpp"
#include "conditions.hpp"
#include "inverted.hpp"

namespace ann {

/// A set of rows: a list in any order without repeats, or bits.
struct Rows {
    bool listed = true;
    std::vector<std::uint32_t> rows;
    Bitmap bits;

    static Rows of(Bitmap bits) { return {false, {}, std::move(bits)}; }
};

/// Return the rows of a set, which has about `count` rows.
std::vector<std::uint32_t> list_of(const Bitmap& bits, std::size_t count);

/// Return the most rows for which a list is kept. The other conditions are tested on each row of the list.
inline std::size_t few_of(std::size_t size) { return std::max<std::size_t>(64, size / 4096); }

/// Return the same limit if another condition is a region, because covering a region takes longer.
inline std::size_t few_beside_region(std::size_t size) { return std::max<std::size_t>(64, size / 512); }

class Finder {
public:
    /// The arguments must outlive the Finder, and have at least the rows of the structures.
    Finder(const Columns& columns, const Inverted& inverted, const Bitmap& live)
        : columns_(columns), inverted_(inverted), live_(live), size_(inverted.size()) {}

    /// Return the rows that match; some of them may be dead. The results of the structures are stored in the condition.
    Rows find(Condition& condition);

private:
    // What the structures know without searching, in finder.cpp. A region is asked last, and not at all if other
    // conditions leave few rows, because covering it is slow.
    void ask(Condition& condition);
    void ask_joined(Condition& joined);
    void ask_values(Condition& condition);
    void rank(Condition& condition);

    // Single conditions, in finder.cpp.
    Rows find(Condition& condition, std::size_t few);
    /// Return the bits of a condition if the structures have exactly these bits; otherwise nullptr.
    const Bitmap* bits_at_hand(const Condition& condition) const;
    /// Return the rows of a condition on values or ids as a list, or set them in bits. `fresh`: all bits are 0. Not for
    /// regions.
    std::vector<std::uint32_t> list(const Condition& condition) const;
    void add(const Condition& condition, Bitmap& into, bool fresh) const;
    /// The same for most values of a field, or for a region, in bits that are all 0. Rows that are not in `wanted` may
    /// come out wrong (nullptr: all rows must be right).
    bool add_all_but(const Condition& condition, Bitmap& into) const;
    void add_region(const Condition& condition, Bitmap& into, const Bitmap* wanted) const;
    void add_posting(std::uint32_t field, std::uint32_t number, Bitmap& into) const;
    /// Return all rows that have a value, except rows whose values are all listed.
    Bitmap find_beyond(const Condition& condition) const;
    Bitmap as_bits(Rows found) const;

    // Joined conditions, in joining.cpp.
    Rows find_joined(Condition& joined, std::size_t few);
    Rows find_all(Condition& joined, std::size_t few);
    Rows find_any(Condition& joined, std::size_t few);
    /// Keep only those bits that match a condition. The result is bits or a list.
    void keep(Rows& found, Condition& condition, std::size_t few);

    const Columns& columns_;
    const Inverted& inverted_;
    const Bitmap& live_;
    std::size_t size_;
};

/// Return whether all of the joined conditions must hold.
inline bool is_all(const Condition& joined) { return joined.least == joined.each.size(); }

void drop_repeats(std::vector<std::uint32_t>& rows);

}  // namespace ann
