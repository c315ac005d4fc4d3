// What the index structures know about single conditions.
#include "finder.hpp"

#include <algorithm>
#include <array>
#include <utility>
#include <variant>

namespace ann {

using What = Condition::What;

std::vector<std::uint32_t> list_of(const Bitmap& bits, std::size_t count) {
    std::vector<std::uint32_t> rows;
    rows.reserve(count);
    bits.each([&](std::uint32_t row) { rows.push_back(row); });
    return rows;
}

void drop_repeats(std::vector<std::uint32_t>& rows) {
    std::sort(rows.begin(), rows.end());
    rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
}

Rows Finder::find(Condition& condition) {
    ask(condition);
    // A list that is not tested on other conditions may be longer.
    const bool alone = condition.what != What::joined && condition.what != What::inverse;
    return find(condition, alone ? std::max(few_of(size_), size_ / 256) : few_of(size_));
}

void Finder::ask(Condition& condition) {
    if (condition.asked) return;
    condition.asked = true;
    switch (condition.what) {
        case What::joined: return ask_joined(condition);
        case What::inverse: {
            const Condition& one = condition.each.front();
            ask(condition.each.front());
            condition.most = one.exact ? size_ - one.most : size_;
            condition.exact = one.exact;
            return;
        }
        case What::has_id: {
            condition.most =
                static_cast<std::size_t>(std::lower_bound(condition.numbers.begin(), condition.numbers.end(), size_) -
                                         condition.numbers.begin());
            condition.exact = true;
            return;
        }
        case What::missing: {
            condition.most = size_ - inverted_.count(condition.field);
            condition.exact = true;
            return;
        }
        default: return ask_values(condition);
    }
}

void Finder::ask_joined(Condition& joined) {
    const bool all = is_all(joined);
    std::size_t sum = 0, smallest = size_;
    for (const bool region : {false, true}) {
        for (Condition& one : joined.each) {
            if ((one.what == What::region) != region) continue;
            if (region && all && smallest <= few_beside_region(size_)) {
                one.most = inverted_.count(one.field);
                continue;
            }
            ask(one);
            smallest = std::min(smallest, one.most);
            sum = std::min(sum + one.most, size_ * joined.each.size());
        }
    }
    const bool none = joined.least > joined.each.size();
    joined.most = none ? 0 : all ? smallest : joined.least == 0 ? size_ : std::min(sum / joined.least, size_);
    joined.exact = none || joined.each.size() == 1 ? none || joined.each.front().exact : false;
    std::stable_sort(joined.each.begin(), joined.each.end(),
                     [](const Condition& a, const Condition& b) { return a.most < b.most; });
}

void Finder::ask_values(Condition& condition) {
    const bool listed = condition.what == What::among || condition.what == What::beyond;
    const std::size_t present = inverted_.count(condition.field);
    std::size_t sum = 0;
    if (listed && (is_text(condition.kind) || condition.kind == Kind::boolean)) {
        const Postings& postings = inverted_.postings(condition.field);
        for (const std::uint32_t number : condition.numbers) sum += postings.rows(number).size();
        condition.exact = condition.numbers.size() <= 1 || !postings.any_several();
        if (condition.what == What::beyond && postings.any_several()) {
            condition.exact = false;
            sum = 0;
        }
    } else {
        condition.exact = condition.what != What::region;
        rank(condition);
        for (const Condition::Ranks& ranks : condition.ranks) sum += ranks.last - ranks.first;
    }
    condition.most = condition.what == What::beyond ? present - sum : std::min(sum, present);
}

void Finder::rank(Condition& condition) {
    const Ranking& order = inverted_.order(condition.field);
    const auto put = [&](std::uint64_t low, std::uint64_t high, bool inside) {
        const std::size_t from = condition.ranks.empty() ? 0 : condition.ranks.back().last;
        const std::size_t first = order.below(low, from), last = order.up_to(high, first);
        if (first < last) condition.ranks.push_back({first, last, inside});
    };
    if (condition.what == What::range) {
        if (condition.low <= condition.high) put(condition.low, condition.high, true);
    } else if (condition.what == What::region) {
        const auto stretches = std::visit([](const auto& where) { return cover(where); }, condition.region->where);
        for (const Stretch& stretch : stretches) put(stretch.first, stretch.last, stretch.inside);
    } else {
        for (const std::uint64_t key : condition.keys) put(key, key, true);
    }
}

Rows Finder::find(Condition& condition, std::size_t few) {
    ask(condition);
    switch (condition.what) {
        case What::joined: return find_joined(condition, few);
        case What::inverse: {
            Bitmap bits = as_bits(find(condition.each.front(), few));
            bits.flip();
            return Rows::of(std::move(bits));
        }
        case What::beyond: return Rows::of(find_beyond(condition));
        case What::missing: {
            Bitmap bits = inverted_.present(condition.field);
            bits.flip();
            return Rows::of(std::move(bits));
        }
        default: break;
    }
    // Rows of one value are listed in rising order, which memory access handles well: then longer lists pay off too.
    const bool in_order = condition.what == What::has_id || condition.numbers.size() == 1;
    const std::size_t limit = in_order ? std::max(few, size_ / 256) : few;
    if (condition.most <= limit) return {true, list(condition), {}};
    const Bitmap* ready = bits_at_hand(condition);
    Bitmap bits = ready != nullptr ? *ready : Bitmap(size_);
    if (condition.what == What::region) {
        add_region(condition, bits, nullptr);
    } else if (ready == nullptr) {
        add(condition, bits, true);
    }
    return Rows::of(std::move(bits));
}

Bitmap Finder::as_bits(Rows found) const {
    if (!found.listed) return std::move(found.bits);
    Bitmap bits(size_);
    for (const std::uint32_t row : found.rows) bits.set(row);
    return bits;
}

const Bitmap* Finder::bits_at_hand(const Condition& condition) const {
    if (condition.what != What::among || condition.numbers.size() != 1) return nullptr;
    return inverted_.postings(condition.field).bits(condition.numbers.front());
}

std::vector<std::uint32_t> Finder::list(const Condition& condition) const {
    std::vector<std::uint32_t> rows;
    if (condition.what == What::has_id) {
        rows.assign(condition.numbers.begin(), condition.numbers.begin() + static_cast<std::ptrdiff_t>(condition.most));
        return rows;
    }
    rows.reserve(condition.most);
    const auto order = inverted_.order(condition.field).rows();
    const Spots& spots = inverted_.spots(condition.field);
    for (const Condition::Ranks& ranks : condition.ranks) {
        for (std::size_t i = ranks.first; i < ranks.last; ++i) {
            const bool inside = ranks.inside || lies_in(*condition.region, spots.places[i], spots.directions[i]);
            if (inside) rows.push_back(order[i]);
        }
    }
    const Postings& postings = inverted_.postings(condition.field);
    for (const std::uint32_t number : condition.numbers) {
        const auto more = postings.rows(number);
        rows.insert(rows.end(), more.begin(), more.end());
    }
    if (condition.numbers.size() > 1 && postings.any_several()) drop_repeats(rows);
    return rows;
}

void Finder::add(const Condition& condition, Bitmap& into, bool fresh) const {
    if (condition.what == What::has_id) {
        for (std::size_t i = 0; i < condition.most; ++i) into.set(condition.numbers[i]);
        return;
    }
    const Ranking& order = inverted_.order(condition.field);
    for (const Condition::Ranks& ranks : condition.ranks) {
        order.add(ranks.first, ranks.last, into, fresh);
        fresh = false;
    }
    if (fresh && condition.numbers.size() > 1 && add_all_but(condition, into)) return;
    for (const std::uint32_t number : condition.numbers) add_posting(condition.field, number, into);
}

/// Set the rows of most values, for a field with one value in each row: all rows that have a value, without the rows of
/// the other values. Returns false if that is more expensive.
bool Finder::add_all_but(const Condition& condition, Bitmap& into) const {
    const Postings& postings = inverted_.postings(condition.field);
    std::size_t listed = 0;
    for (const std::uint32_t number : condition.numbers) listed += postings.cost(number);
    if (postings.any_several() || 2 * listed <= postings.cost()) return false;
    Bitmap others(size_);
    for (std::uint32_t number = 0; number < postings.values(); ++number) {
        const auto& numbers = condition.numbers;
        if (!std::binary_search(numbers.begin(), numbers.end(), number)) add_posting(condition.field, number, others);
    }
    into.join(inverted_.present(condition.field));
    into.drop(others);
    return true;
}

void Finder::add_region(const Condition& condition, Bitmap& into, const Bitmap* wanted) const {
    const Ranking& order = inverted_.order(condition.field);
    const Spots& spots = inverted_.spots(condition.field);
    const auto rows = order.rows();
    std::array<bool, Ranking::parts> whole{};  // parts that are added as a whole, because most of their rows are inside
    // Call visit(part, first, last) for the pieces into which the parts cut some ranks.
    const auto pieces = [&](std::size_t first, std::size_t last, const auto& visit) {
        for (std::size_t part = first < last ? first * Ranking::parts / order.size() : 0; first < last; ++part) {
            const std::size_t end = std::min(last, order.boundary(part + 1));
            if (first < end) visit(part, first, end);
            first = std::max(first, end);
        }
    };
    if (order.has_parts()) {
        std::array<std::size_t, Ranking::parts> inside{};
        for (const Condition::Ranks& ranks : condition.ranks) {
            if (!ranks.inside) continue;
            pieces(ranks.first, ranks.last,
                   [&](std::size_t part, std::size_t first, std::size_t last) { inside[part] += last - first; });
        }
        for (std::size_t part = 0, end = 0; part < Ranking::parts; part = end) {
            const auto is_whole = [&](std::size_t i) {
                return 2 * inside[i] > order.boundary(i + 1) - order.boundary(i);
            };
            for (end = part; end < Ranking::parts && is_whole(end); ++end) whole[end] = true;
            if (part < end) order.add(order.boundary(part), order.boundary(end), into, true);
            if (part == end) ++end;
        }
    }
    const auto put = [&](std::size_t from, std::size_t to, bool value) {
        pieces(from, to, [&](std::size_t part, std::size_t first, std::size_t last) {
            if (whole[part] == value) return;
            for (std::size_t i = first; i < last; ++i) into.put(rows[i], value);
        });
    };
    std::size_t at = 0;
    for (const Condition::Ranks& ranks : condition.ranks) {
        put(at, ranks.first, false);
        at = ranks.last;
        if (ranks.inside) {
            put(ranks.first, ranks.last, true);
            continue;
        }
        for (std::size_t i = ranks.first; i < ranks.last; ++i) {
            if (wanted != nullptr && !wanted->test(rows[i])) continue;
            into.put(rows[i], lies_in(*condition.region, spots.places[i], spots.directions[i]));
        }
    }
    put(at, order.size(), false);
}

void Finder::add_posting(std::uint32_t field, std::uint32_t number, Bitmap& into) const {
    const Postings& postings = inverted_.postings(field);
    if (const Bitmap* bits = postings.bits(number)) return into.join(*bits);
    for (const std::uint32_t row : postings.rows(number)) into.set(row);
}

Bitmap Finder::find_beyond(const Condition& condition) const {
    Bitmap listed(size_), bits = inverted_.present(condition.field);
    add(condition, listed, true);
    const Postings& postings = inverted_.postings(condition.field);
    if (!postings.any_several()) {
        bits.drop(listed);
        return bits;
    }
    std::size_t tests = 0, joins = postings.cost();
    for (const std::uint32_t number : condition.numbers) {
        tests += postings.rows(number).size();
        joins -= postings.cost(number);
    }
    if (joins < tests) {
        bits = Bitmap(size_);
        for (std::uint32_t number = 0; number < postings.values(); ++number) {
            const auto& numbers = condition.numbers;
            if (std::binary_search(numbers.begin(), numbers.end(), number)) continue;
            add_posting(condition.field, number, bits);
        }
        return bits;
    }
    bits.drop(listed);
    listed.keep(postings.several());
    listed.each([&](std::uint32_t row) {
        if (holds(condition, columns_, row, row)) bits.set(row);
    });
    return bits;
}

}  // namespace ann
