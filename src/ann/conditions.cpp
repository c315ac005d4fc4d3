#include "conditions.hpp"

#include <algorithm>
#include <type_traits>
#include <utility>

namespace ann {

namespace {

template <typename T>
void sort_once(std::vector<T>& values) {
    std::sort(values.begin(), values.end());
    values.erase(std::unique(values.begin(), values.end()), values.end());
}

/// Short lists are searched from front to back, which is faster than a binary search.
template <typename T>
bool contains(const std::vector<T>& sorted, T value) {
    if (sorted.size() > 16) return std::binary_search(sorted.begin(), sorted.end(), value);
    return std::find(sorted.begin(), sorted.end(), value) != sorted.end();
}

Condition bind_among(const Filter::Among& among, const Columns& columns) {
    Condition made;
    made.what = among.beyond ? Condition::What::beyond : Condition::What::among;
    made.field = among.field;
    made.kind = columns.schema()[among.field].kind;
    for (const std::string_view text : among.texts) {
        if (const auto number = columns.dictionary(among.field).find(text)) made.numbers.push_back(*number);
    }
    for (const std::int64_t whole : among.wholes) {
        if (made.kind != Kind::boolean) {
            made.keys.push_back(key_of(whole));
        } else if (whole == 0 || whole == 1) {
            made.numbers.push_back(static_cast<std::uint32_t>(whole));
        }
    }
    sort_once(made.numbers);
    sort_once(made.keys);
    return made;
}

/// Return whether a row has a value that is listed (`among`), or a value that is not listed (`beyond`).
bool has_listed(const Condition& condition, const Columns& columns, std::size_t place) {
    const bool among = condition.what == Condition::What::among;
    if (is_text(condition.kind)) {
        const auto texts = columns.texts(condition.field, place);
        return std::any_of(texts.begin(), texts.end(),
                           [&](std::uint32_t number) { return contains(condition.numbers, number) == among; });
    }
    if (!columns.has(condition.field, place)) return false;
    if (condition.kind == Kind::boolean) {
        const std::uint32_t truth = columns.whole(condition.field, place) != 0 ? 1 : 0;
        return contains(condition.numbers, truth) == among;
    }
    return contains(condition.keys, columns.key(condition.field, place)) == among;
}

bool enough_hold(const Condition& condition, const Columns& columns, std::size_t place, std::uint32_t row) {
    std::size_t wanted = condition.least, left = condition.each.size();
    for (const Condition& one : condition.each) {
        if (wanted == 0 || wanted > left) break;
        if (holds(one, columns, place, row)) --wanted;
        --left;
    }
    return wanted == 0;
}

}  // namespace

Condition bind(const Filter& filter, const Columns& columns, const Bitmap& live, const Ids& ids) {
    return std::visit(
        [&](const auto& told) {
            using Told = std::decay_t<decltype(told)>;
            Condition made;
            if constexpr (std::is_same_v<Told, Filter::Among>) {
                return bind_among(told, columns);
            } else if constexpr (std::is_same_v<Told, Filter::Joined>) {
                made.what = Condition::What::joined;
                made.least = told.least;
                made.each.reserve(told.each.size());
                for (const Filter& one : told.each) made.each.push_back(bind(one, columns, live, ids));
            } else if constexpr (std::is_same_v<Told, Filter::Not>) {
                made.what = Condition::What::inverse;
                made.each.push_back(bind(told.one.front(), columns, live, ids));
            } else if constexpr (std::is_same_v<Told, Filter::HasId>) {
                made.what = Condition::What::has_id;
                for (std::size_t i = 0; i < told.ids.count; ++i) {
                    if (const auto row = ids.find(told.ids, i, live)) made.numbers.push_back(*row);
                }
                sort_once(made.numbers);
            } else {
                made.field = told.field;
                made.kind = columns.schema()[told.field].kind;
                if constexpr (std::is_same_v<Told, Filter::Range>) {
                    made.what = Condition::What::range;
                    made.low = told.low;
                    made.high = told.high;
                } else if constexpr (std::is_same_v<Told, Filter::Region>) {
                    made.what = Condition::What::region;
                    made.region = &told;
                } else {
                    made.what = Condition::What::missing;
                }
            }
            return made;
        },
        filter.condition);
}

bool holds(const Condition& condition, const Columns& columns, std::size_t place, std::uint32_t row) {
    switch (condition.what) {
        case Condition::What::joined: return enough_hold(condition, columns, place, row);
        case Condition::What::inverse: return !holds(condition.each.front(), columns, place, row);
        case Condition::What::among:
        case Condition::What::beyond: return has_listed(condition, columns, place);
        case Condition::What::range: {
            if (!columns.has(condition.field, place)) return false;
            const std::uint64_t key = columns.key(condition.field, place);
            return condition.low <= key && key <= condition.high;
        }
        case Condition::What::region:
            return columns.has(condition.field, place) &&
                   lies_in(*condition.region, columns.place(condition.field, place),
                           columns.direction(condition.field, place));
        case Condition::What::has_id: return contains(condition.numbers, row);
        case Condition::What::missing: return !columns.has(condition.field, place);
    }
    return false;
}

}  // namespace ann
