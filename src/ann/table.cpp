// Rows of fields as they are added and changed, and the simple way to check one row.
#include "table.hpp"

#include <algorithm>
#include <bit>
#include <map>
#include <numeric>
#include <type_traits>

#include "inverted.hpp"

namespace ann {

namespace {

/// The upper bits of group() for rows without a value: no float has them, and no number of a text.
constexpr std::uint64_t alone = std::uint64_t{0xffffffff} << 32;

bool stands_among(const Filter::Among& among, const Columns& columns, std::size_t row) {
    if (!columns.has(among.field, row)) return false;
    if (!is_text(columns.schema()[among.field].kind)) {
        const std::int64_t value = columns.whole(among.field, row);
        const bool listed = std::find(among.wholes.begin(), among.wholes.end(), value) != among.wholes.end();
        return listed != among.beyond;
    }
    for (const std::uint32_t number : columns.texts(among.field, row)) {
        const std::string_view text = columns.dictionary(among.field)[number];
        const bool listed = std::find(among.texts.begin(), among.texts.end(), text) != among.texts.end();
        if (listed != among.beyond) return true;
    }
    return false;
}

bool stands_in(const Filter::Region& region, const Columns& columns, std::size_t row) {
    if (!columns.has(region.field, row)) return false;
    const Place place = columns.place(region.field, row);
    if (const auto* circle = std::get_if<Circle>(&region.where)) return circle->has(direction_of(place));
    if (const auto* box = std::get_if<Box>(&region.where)) return box->has(place);
    return std::get<Polygon>(region.where).has(place);
}

bool is_called(const IdBatch& batch, const Ids& ids, std::size_t row) {
    if ((batch.kind == IdKind::strings) != (ids.kind() == IdKind::strings)) return false;
    for (std::size_t i = 0; i < batch.count; ++i) {
        if (batch.kind == IdKind::strings ? batch.name(i) == ids.name(row) : batch.number(i) == ids.number(row)) {
            return true;
        }
    }
    return false;
}

/// Return whether a filter matches one row: `place` in the columns, `row` in the ids.
bool is_meant(const Filter& filter, const Columns& columns, std::size_t place, const Ids& ids, std::size_t row) {
    return std::visit(
        [&](const auto& told) -> bool {
            using Told = std::decay_t<decltype(told)>;
            if constexpr (std::is_same_v<Told, Filter::Joined>) {
                std::size_t held = 0;
                for (const Filter& one : told.each) held += is_meant(one, columns, place, ids, row) ? 1 : 0;
                return held >= told.least;
            } else if constexpr (std::is_same_v<Told, Filter::Not>) {
                return !is_meant(told.one.front(), columns, place, ids, row);
            } else if constexpr (std::is_same_v<Told, Filter::Among>) {
                return stands_among(told, columns, place);
            } else if constexpr (std::is_same_v<Told, Filter::Range>) {
                if (!columns.has(told.field, place)) return false;
                const std::uint64_t key = columns.schema()[told.field].kind == Kind::real
                                              ? key_of(columns.real(told.field, place))
                                              : key_of(columns.whole(told.field, place));
                return told.low <= key && key <= told.high;
            } else if constexpr (std::is_same_v<Told, Filter::Region>) {
                return stands_in(told, columns, place);
            } else if constexpr (std::is_same_v<Told, Filter::HasId>) {
                return is_called(told.ids, ids, row);
            } else {
                return !columns.has(told.field, place);
            }
        },
        filter.condition);
}

/// The inverse of key_of.
std::int64_t whole_of(std::uint64_t key) { return static_cast<std::int64_t>(key ^ (std::uint64_t{1} << 63)); }
double real_of(std::uint64_t key) {
    return std::bit_cast<double>((key >> 63) != 0 ? key ^ (std::uint64_t{1} << 63) : ~key);
}

std::vector<std::uint32_t> numbers_to(std::size_t count) {
    std::vector<std::uint32_t> numbers(count);
    std::iota(numbers.begin(), numbers.end(), std::uint32_t{0});
    return numbers;
}

}  // namespace

Table::Table(Schema schema) : columns_(std::make_shared<const Schema>(std::move(schema))) {}

Table::Table(Columns columns) : columns_(std::move(columns)) {}

std::pair<const Columns*, std::size_t> Table::place_of(std::size_t row) const {
    if (patch_ != nullptr) {
        const auto before = [](const auto& changed, std::size_t wanted) { return changed.first < wanted; };
        const auto found = std::lower_bound(patch_->rows.begin(), patch_->rows.end(), row, before);
        if (found != patch_->rows.end() && found->first == row) return {&patch_->columns, found->second};
    }
    return {&columns_, row};
}

std::pair<Columns, std::vector<std::uint32_t>> Table::gathered(std::span<const std::uint32_t> rows) const {
    if (patch_ == nullptr) return {columns_, {rows.begin(), rows.end()}};
    std::vector<std::uint32_t> old, renewed, places(rows.size());
    for (const bool patched : {false, true}) {
        for (std::size_t i = 0; i < rows.size(); ++i) {
            const auto [columns, place] = place_of(rows[i]);
            if ((columns != &columns_) != patched) continue;
            places[i] = static_cast<std::uint32_t>(old.size() + renewed.size());
            (patched ? renewed : old).push_back(static_cast<std::uint32_t>(place));
        }
    }
    const Payload same = Payload::missing(1);  // it has no field, so nothing changes
    Columns all(std::make_shared<const Schema>(schema()));
    if (!old.empty()) all = all.with_changed(columns_, old, same);
    if (!renewed.empty()) all = all.with_changed(patch_->columns, renewed, same);
    return {std::move(all), std::move(places)};
}

Table Table::appended(const Payload& more) const {
    Table table = *this;
    table.columns_ = columns_.with(more);
    return table;
}

Table Table::changed(std::span<const std::uint32_t> rows, const Payload& change) const {
    if (rows.empty()) return *this;
    const auto [from, places] = gathered(rows);
    const Columns before = patch_ != nullptr ? patch_->columns : Columns(std::make_shared<const Schema>(schema()));
    Patch patch{before.with_changed(from, places, change), {}};
    std::vector<std::pair<std::uint32_t, std::uint32_t>> fresh;  // sorted by row: the payload may have another order
    for (const std::uint32_t row : rows) {
        fresh.emplace_back(row, static_cast<std::uint32_t>(before.size() + fresh.size()));
    }
    std::sort(fresh.begin(), fresh.end());
    std::size_t next = 0;
    const auto put = [&](std::uint32_t below) {
        for (; next < fresh.size() && fresh[next].first <= below; ++next) patch.rows.push_back(fresh[next]);
    };
    if (patch_ != nullptr) {
        for (const auto& old : patch_->rows) {
            put(old.first);
            if (patch.rows.empty() || patch.rows.back().first != old.first) patch.rows.push_back(old);
        }
    }
    put(fresh.back().first);
    if (patch.columns.size() > 1024 + 2 * patch.rows.size()) {  // most of the values were replaced again
        std::vector<std::uint32_t> kept;
        for (auto& [row, place] : patch.rows) {
            kept.push_back(place);
            place = static_cast<std::uint32_t>(kept.size() - 1);
        }
        patch.columns = patch.columns.taken(kept);
    }
    Table table = *this;
    table.patch_ = std::make_shared<const Patch>(std::move(patch));
    return table;
}

Table Table::indexed() const {
    if (loose() == 0) return *this;
    Table table = *this;
    std::vector<std::uint32_t> renewed;
    if (patch_ != nullptr) {
        for (const auto& [row, place] : patch_->rows) renewed.push_back(row);
        table.columns_ = columns_.patched(patch_->rows, patch_->columns);
        table.patch_ = nullptr;
    }
    table.inverted_ = std::make_shared<const Inverted>(table.columns_, inverted_.get(), renewed);
    return table;
}

std::size_t Table::loose() const {
    const std::size_t structured = inverted_ == nullptr ? 0 : inverted_->size();
    return size() - structured + (patch_ == nullptr ? 0 : patch_->rows.size());
}

Table Table::taken(std::span<const std::uint32_t> rows) const {
    const auto [from, places] = gathered(rows);
    return Table(from.taken(places)).indexed();
}

bool Table::means(const Filter& filter, std::size_t row, const Ids& ids) const {
    const auto [columns, place] = place_of(row);
    return is_meant(filter, *columns, place, ids, row);
}

std::vector<Facet> Table::facet(std::size_t field, const Selection& rows) const {
    const Kind kind = schema()[field].kind;
    std::vector<Facet> facets;
    if (is_text(kind)) {
        const Dictionary& known = columns_.dictionary(field);
        std::vector<std::size_t> counts(known.size());
        std::map<std::string_view, std::size_t> others;  // texts that came with changes
        rows.each([&](std::uint32_t row) {
            const auto [columns, place] = place_of(row);
            for (const std::uint32_t number : columns->texts(field, place)) {
                const std::string_view text = columns->dictionary(field)[number];
                const auto old = columns == &columns_ ? std::optional(number) : known.find(text);
                ++(old ? counts[*old] : others[text]);
            }
        });
        for (std::size_t i = 0; i < counts.size(); ++i) {
            if (counts[i] != 0) facets.push_back({std::string(known[i]), counts[i]});
        }
        for (const auto& [text, count] : others) facets.push_back({std::string(text), count});
    } else {
        std::vector<std::uint64_t> keys;
        keys.reserve(rows.count);
        rows.each([&](std::uint32_t row) {
            if (const auto key = order(field, row)) keys.push_back(*key);
        });
        std::sort(keys.begin(), keys.end());
        for (std::size_t i = 0, end = 0; i < keys.size(); i = end) {
            while (end < keys.size() && keys[end] == keys[i]) ++end;
            Facet& made = facets.emplace_back();
            made.count = end - i;
            if (kind == Kind::real) {
                made.value = real_of(keys[i]);
            } else {
                made.value = whole_of(keys[i]);
            }
        }
    }
    std::sort(facets.begin(), facets.end(), [](const Facet& a, const Facet& b) {
        return a.count != b.count ? a.count > b.count : a.value < b.value;
    });
    return facets;
}

std::uint64_t Table::group(std::size_t field, std::size_t row) const {
    const auto [columns, place] = place_of(row);
    if (!columns->has(field, place)) return alone | row;
    if (!is_text(schema()[field].kind)) return columns->key(field, place);
    const Dictionary& dictionary = columns->dictionary(field);
    const auto texts = columns->texts(field, place);
    const std::uint32_t first = *std::min_element(
        texts.begin(), texts.end(), [&](std::uint32_t a, std::uint32_t b) { return dictionary[a] < dictionary[b]; });
    if (columns == &columns_) return first;
    if (const auto known = columns_.dictionary(field).find(dictionary[first])) return *known;
    return first | std::uint64_t{1} << 32;
}

std::optional<std::uint64_t> Table::order(std::size_t field, std::size_t row) const {
    const auto [columns, place] = place_of(row);
    if (!columns->has(field, place)) return std::nullopt;
    return columns->key(field, place);
}

std::vector<std::byte> Table::encode(std::span<const std::uint32_t> rows) const {
    const auto [from, places] = gathered(rows);
    return from.encode(places);
}

std::vector<std::byte> Table::encode() const { return encode(numbers_to(size())); }

std::size_t Table::bytes() const {
    std::size_t sum = columns_.bytes() + (inverted_ == nullptr ? 0 : inverted_->bytes());
    if (patch_ != nullptr) sum += patch_->columns.bytes() + patch_->rows.size() * sizeof(patch_->rows.front());
    return sum;
}

}  // namespace ann
