// Joined conditions: evaluated on lists if one of them leaves few rows, otherwise on bitmaps.
#include "finder.hpp"

#include <algorithm>
#include <bit>
#include <utility>

namespace ann {

namespace {

using What = Condition::What;

/// For each row the number of sets that have it. Each plane has one bit of this number.
class Tally {
public:
    explicit Tally(std::size_t size) : size_(size) {}

    void add(const Bitmap& set) {
        for (std::size_t i = 0; i < set.words().size(); ++i) {
            std::uint64_t carry = set.words()[i];
            for (std::size_t plane = 0; carry != 0; ++plane) {
                if (plane == planes_.size()) planes_.emplace_back(size_);
                std::uint64_t& word = planes_[plane].words()[i];
                carry = std::exchange(word, word ^ carry) & carry;
            }
        }
    }

    Bitmap at_least(std::size_t least) const {
        Bitmap result(size_);
        if (static_cast<std::size_t>(std::bit_width(least)) > planes_.size()) return result;
        for (std::size_t i = 0; i < result.words().size(); ++i) {
            std::uint64_t above = 0, equal = ~std::uint64_t{0};
            for (std::size_t plane = planes_.size(); plane-- > 0;) {
                const std::uint64_t word = planes_[plane].words()[i];
                if ((least >> plane & 1) != 0) {
                    equal &= word;
                } else {
                    above |= equal & word;
                    equal &= ~word;
                }
            }
            result.words()[i] = above | equal;
        }
        result.resize(size_);  // clears the bits behind the end, which would be set for `least` 0
        return result;
    }

private:
    std::size_t size_;
    std::vector<Bitmap> planes_;
};

}  // namespace

Rows Finder::find_joined(Condition& joined, std::size_t few) {
    if (joined.least > joined.each.size()) return {};
    if (joined.least == 0) return Rows::of(Bitmap(size_, true));
    if (joined.each.size() == 1) return find(joined.each.front(), few);
    if (is_all(joined)) return find_all(joined, few);
    if (joined.least == 1) return find_any(joined, few);
    Tally tally(size_);
    for (Condition& one : joined.each) tally.add(as_bits(find(one, few)));
    return Rows::of(tally.at_least(joined.least));
}

Rows Finder::find_all(Condition& joined, std::size_t few) {
    const auto region = [](const Condition& one) { return one.what == What::region; };
    const std::size_t limit =
        std::any_of(joined.each.begin() + 1, joined.each.end(), region) ? std::max(few, few_beside_region(size_)) : few;
    Rows found = find(joined.each.front(), limit);
    for (std::size_t i = 1; i < joined.each.size() && !found.listed; ++i) keep(found, joined.each[i], few);
    if (!found.listed) return found;
    std::erase_if(found.rows, [&](std::uint32_t row) {
        if (!live_.test(row)) return true;
        return !std::all_of(joined.each.begin() + 1, joined.each.end(),
                            [&](const Condition& one) { return holds(one, columns_, row, row); });
    });
    return found;
}

void Finder::keep(Rows& found, Condition& condition, std::size_t few) {
    const bool inverse = condition.what == What::inverse;
    Condition& inner = inverse ? condition.each.front() : condition;
    ask(inner);
    if (inner.what == What::missing) {
        const Bitmap& present = inverted_.present(inner.field);
        return inverse ? found.bits.keep(present) : found.bits.drop(present);
    }
    const Bitmap* ready = bits_at_hand(inner);
    Rows other;
    if (inner.what == What::region && inner.most > few) {
        other = Rows::of(Bitmap(size_));
        add_region(inner, other.bits, &found.bits);
    } else if (ready == nullptr) {
        other = find(inner, few);
    }
    if (!other.listed) ready = &other.bits;
    if (ready != nullptr) return inverse ? found.bits.drop(*ready) : found.bits.keep(*ready);
    if (inverse) {
        for (const std::uint32_t row : other.rows) found.bits.reset(row);
        return;
    }
    std::erase_if(other.rows, [&](std::uint32_t row) { return !found.bits.test(row); });
    found = std::move(other);
}

Rows Finder::find_any(Condition& joined, std::size_t few) {
    if (joined.most <= few) {
        Rows found;
        for (Condition& one : joined.each) {
            Rows more = find(one, few);
            if (!more.listed) more.rows = list_of(more.bits, one.most);
            found.rows.insert(found.rows.end(), more.rows.begin(), more.rows.end());
        }
        drop_repeats(found.rows);
        return found;
    }
    Rows found = Rows::of(Bitmap(size_));
    for (Condition& one : joined.each) {
        const bool values = one.what == What::among || one.what == What::range;
        if (values || one.what == What::has_id) {
            ask(one);
            add(one, found.bits, false);
            continue;
        }
        const Rows more = find(one, few);
        if (!more.listed) found.bits.join(more.bits);
        for (const std::uint32_t row : more.rows) found.bits.set(row);
    }
    return found;
}

}  // namespace ann
