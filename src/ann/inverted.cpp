#include "inverted.hpp"

#include <algorithm>
#include <stdexcept>

namespace ann {

namespace {

/// A value that at least 1/32 of the rows have gets a bitmap: it takes no more memory than the list of rows.
constexpr std::size_t dense_part = 32;

/// Orders get no bitmaps if less than 1/16 of the rows have a value: setting single rows is as fast.
constexpr std::size_t ordered_part = 16;

struct Entry {
    std::uint64_t key;
    std::uint32_t row;
    bool operator<(const Entry& other) const { return key != other.key ? key < other.key : row < other.row; }
};

std::size_t words(const Bitmap& bits) { return bits.words().size(); }
std::size_t bytes_of(const Bitmap& bits) { return words(bits) * sizeof(std::uint64_t); }

}  // namespace

Postings::Postings(const Columns& columns, std::size_t field) {
    const bool text = is_text(columns.schema()[field].kind);
    const std::size_t size = columns.size(), values = text ? columns.dictionary(field).size() : 2;
    std::uint32_t truth = 0;
    const auto values_of = [&](std::size_t row) -> std::span<const std::uint32_t> {
        if (text) return columns.texts(field, row);
        if (!columns.has(field, row)) return {};
        truth = columns.whole(field, row) != 0 ? 1 : 0;
        return {&truth, 1};
    };

    std::vector<std::uint64_t> counts(values, 0);
    for (std::size_t row = 0; row < size; ++row) {
        const auto numbers = values_of(row);
        for (const std::uint32_t number : numbers) ++counts[number];
        if (numbers.size() > 1) {
            if (!any_several_) several_ = Bitmap(size);
            any_several_ = true;
            several_.set(row);
        }
    }
    starts_.resize(values + 1);
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < values; ++i) {
        starts_[i] = static_cast<std::uint32_t>(sum);
        sum += counts[i];
        if (sum > 0xffffffff) throw std::length_error("a field has more than 2^32 - 1 values");
    }
    starts_[values] = static_cast<std::uint32_t>(sum);

    rows_.resize(static_cast<std::size_t>(sum));
    std::vector<std::uint32_t> next(starts_.begin(), starts_.end() - 1);
    for (std::size_t row = 0; row < size; ++row) {
        for (const std::uint32_t number : values_of(row)) rows_[next[number]++] = static_cast<std::uint32_t>(row);
    }
    for (std::uint32_t number = 0; number < values; ++number) {
        const auto list = rows(number);
        if (!list.empty() && list.size() >= size / dense_part) {
            Dense& dense = dense_.emplace_back(Dense{number, Bitmap(size)});
            for (const std::uint32_t row : list) dense.bits.set(row);
        }
        cost_ += cost(number);
    }
}

const Bitmap* Postings::bits(std::uint32_t number) const {
    const auto found = std::lower_bound(dense_.begin(), dense_.end(), number,
                                        [](const Dense& dense, std::uint32_t wanted) { return dense.number < wanted; });
    return found != dense_.end() && found->number == number ? &found->bits : nullptr;
}

std::size_t Postings::cost(std::uint32_t number) const {
    const Bitmap* dense = bits(number);
    return 1 + (dense != nullptr ? words(*dense) : rows(number).size());
}

std::size_t Postings::bytes() const {
    std::size_t sum = (starts_.size() + rows_.size()) * sizeof(std::uint32_t) + bytes_of(several_);
    for (const Dense& dense : dense_) sum += bytes_of(dense.bits) + sizeof dense;
    return sum;
}

Ranking::Ranking(const Columns& columns, std::size_t field, const Ranking* before, std::size_t ordered,
                 const Bitmap& changed) {
    const std::size_t old = before == nullptr ? 0 : before->size();
    if (before == nullptr) ordered = 0;
    std::vector<Entry> fresh;
    const auto look_at = [&](std::size_t row) {
        if (!columns.has(field, row)) return;
        fresh.push_back({columns.key(field, row), static_cast<std::uint32_t>(row)});
    };
    if (before != nullptr) {
        changed.each([&](std::uint32_t row) {
            if (row < ordered) look_at(row);
        });
    }
    for (std::size_t row = ordered; row < columns.size(); ++row) look_at(row);
    std::sort(fresh.begin(), fresh.end());

    keys_.reserve(old + fresh.size());
    rows_.reserve(old + fresh.size());
    const auto put = [&](const Entry& entry) {
        keys_.push_back(entry.key);
        rows_.push_back(entry.row);
    };
    auto next = fresh.begin();
    for (std::size_t i = 0; i < old; ++i) {
        const Entry entry{before->keys_[i], before->rows_[i]};
        if (entry.row < changed.size() && changed.test(entry.row)) continue;
        while (next != fresh.end() && *next < entry) put(*next++);
        put(entry);
    }
    while (next != fresh.end()) put(*next++);
    make_prefixes(columns.size());
}

void Ranking::make_prefixes(std::size_t rows) {
    if (size() < rows / ordered_part || size() < parts) return;
    prefixes_.reserve(parts + 1);
    prefixes_.emplace_back(rows);
    for (std::size_t part = 1; part <= parts; ++part) {
        Bitmap prefix = prefixes_.back();
        for (std::size_t i = boundary(part - 1); i < boundary(part); ++i) prefix.set(rows_[i]);
        prefixes_.push_back(std::move(prefix));
    }
}

std::size_t Ranking::below(std::uint64_t key, std::size_t from) const {
    const auto begin = keys_.begin() + static_cast<std::ptrdiff_t>(from);
    return static_cast<std::size_t>(std::lower_bound(begin, keys_.end(), key) - keys_.begin());
}

std::size_t Ranking::up_to(std::uint64_t key, std::size_t from) const {
    const auto begin = keys_.begin() + static_cast<std::ptrdiff_t>(from);
    return static_cast<std::size_t>(std::upper_bound(begin, keys_.end(), key) - keys_.begin());
}

void Ranking::add(std::size_t first, std::size_t last, Bitmap& into, bool fresh) const {
    const auto set = [&](std::size_t from, std::size_t to) {
        for (std::size_t i = from; i < to; ++i) into.set(rows_[i]);
    };
    if (prefixes_.empty() || first >= last) return set(first, last);
    // In a set that has other rows no bit may be cleared: then only parts that lie inside the interval are added as a
    // whole.
    const std::size_t round = fresh ? size() / parts / 2 : 0, n = size();
    const std::size_t low = fresh ? (first + round) * parts / n : (first * parts + n - 1) / n;
    const std::size_t high = fresh ? std::min((last + round) * parts / n, parts) : last * parts / n;
    if (low >= high) return set(first, last);
    const auto lower = prefixes_[low].words(), upper = prefixes_[high].words();
    const auto words = into.words();
    for (std::size_t i = 0; i < upper.size(); ++i) words[i] |= upper[i] & ~lower[i];
    const std::size_t begin = boundary(low), end = boundary(high);
    set(first, begin);
    set(end, last);
    for (std::size_t i = begin; i < first; ++i) into.reset(rows_[i]);
    for (std::size_t i = last; i < end; ++i) into.reset(rows_[i]);
}

std::size_t Ranking::bytes() const {
    std::size_t sum = keys_.size() * sizeof(std::uint64_t) + rows_.size() * sizeof(std::uint32_t);
    for (const Bitmap& prefix : prefixes_) sum += bytes_of(prefix);
    return sum;
}

Inverted::Inverted(const Columns& columns, const Inverted* before, std::span<const std::uint32_t> changed)
    : size_(columns.size()), fields_(columns.schema().size()) {
    if (size_ > 0xffffffff) throw std::length_error("more than 2^32 - 1 rows");
    Bitmap renewed;
    if (before != nullptr && !changed.empty()) {
        renewed = Bitmap(size_);
        for (const std::uint32_t row : changed) renewed.set(row);
    }
    for (std::size_t field = 0; field < fields_.size(); ++field) {
        FieldRows& made = fields_[field];
        made.present = Bitmap(size_);
        for (std::size_t row = 0; row < size_; ++row) {
            if (!columns.has(field, row)) continue;
            made.present.set(row);
            ++made.count;
        }
        const Kind kind = columns.schema()[field].kind;
        if (is_text(kind) || kind == Kind::boolean) {
            made.postings = Postings(columns, field);
        } else {
            const Ranking* old = before == nullptr ? nullptr : &before->order(field);
            made.order = Ranking(columns, field, old, before == nullptr ? 0 : before->size(), renewed);
            if (kind != Kind::geo) continue;
            made.spots.places.reserve(made.order.size());
            made.spots.directions.reserve(made.order.size());
            for (const std::uint32_t row : made.order.rows()) {
                made.spots.places.push_back(columns.place(field, row));
                made.spots.directions.push_back(columns.direction(field, row));
            }
        }
    }
}

std::size_t Inverted::bytes() const {
    std::size_t sum = 0;
    for (const FieldRows& made : fields_) {
        sum += bytes_of(made.present) + made.postings.bytes() + made.order.bytes();
        sum += made.spots.places.size() * (sizeof(Place) + sizeof(Direction));
    }
    return sum;
}

}  // namespace ann
