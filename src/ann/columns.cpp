#include "columns.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>

#include "translation.hpp"

namespace ann {

namespace {

/// Rows have numbers of 32 bits; the last number means "no row".
constexpr std::uint32_t no_row = std::numeric_limits<std::uint32_t>::max();

void check_rows(std::span<const std::uint32_t> rows, std::size_t size) {
    for (const std::uint32_t row : rows) {
        if (row >= size) throw std::invalid_argument("fields: row " + std::to_string(row) + " is not there");
    }
}

void check_room(std::size_t size, std::size_t more) {
    if (more > no_row - size) throw std::invalid_argument("fields: more than 4294967295 rows");
}

}  // namespace

/// Adds rows to a column. A source of rows has these functions, where i counts the new rows
///     word(i), spot(i), codes(i)   return the value of row i, of the kind that is needed
///     merge(dictionary)            is called before codes(): adds the new texts to the dictionary
struct ColumnBuilder {
    using Column = Columns::Column;

    struct Word {
        std::uint64_t bits = 0;
        bool has = false;
    };
    struct Spot {
        Place place{0.0, 0.0};
        Direction direction{};
        bool has = false;
    };
    /// Numbers of texts, at any alignment, and their translation to the numbers of the target's dictionary.
    struct Codes {
        const std::byte* first = nullptr;
        std::size_t count = 0;
        const Translation* into = nullptr;
    };

    /// Missing values.
    struct Nothing {
        Word word(std::size_t) const { return {}; }
        Spot spot(std::size_t) const { return {{0.0, 0.0}, origin, false}; }
        Codes codes(std::size_t) const { return {}; }
        void merge(Dictionary&) {}
        Direction origin = direction_of({0.0, 0.0});
    };

    /// The rows of a payload, or (step 0) its first row repeated.
    struct FromPayload {
        Word word(std::size_t i) const {
            const std::size_t row = i * step;
            return {Payload::Column::at<std::uint64_t>(column.values, row), column.present[row] != std::byte{0}};
        }
        Spot spot(std::size_t i) const {
            const std::size_t row = i * step;
            if (!column.has(row)) return {{0.0, 0.0}, origin, false};
            const Place place = column.place(row);
            return {place, direction_of(place), true};
        }
        Codes codes(std::size_t i) const {
            const std::size_t row = i * step;
            const auto start = static_cast<std::size_t>(column.starts[row]);
            return {column.places.data() + start * sizeof(std::uint32_t), column.count(row), &into};
        }
        void merge(Dictionary& dictionary) {
            if (column.texts.empty()) return;
            std::vector<std::uint32_t> numbers;
            dictionary = dictionary.with(column.texts, numbers);
            into = Translation(std::move(numbers));
        }

        const Payload::Column& column;
        std::size_t step;
        Direction origin = direction_of({0.0, 0.0});
        Translation into{};
    };

    /// Rows of one or two columns: pick(i) returns the column (0 or 1) and the row.
    template <typename Pick>
    struct FromColumns {
        Word word(std::size_t i) const {
            const auto [which, row] = pick(i);
            return {from[which]->words[row], from[which]->present[row] != 0};
        }
        Spot spot(std::size_t i) const {
            const auto [which, row] = pick(i);
            const Column& column = *from[which];
            return {column.places[row], column.directions[row], column.present[row] != 0};
        }
        Codes codes(std::size_t i) const {
            const auto [which, row] = pick(i);
            const std::span<const std::uint32_t> all = codes_of(*from[which], row);
            return {reinterpret_cast<const std::byte*>(all.data()), all.size(), &into[which]};
        }
        void merge(Dictionary& dictionary) {
            if (same_dictionary) return;
            for (const std::size_t which : {0u, 1u}) {
                if (from[which] == nullptr) continue;
                const Dictionary& own = from[which]->dictionary;
                std::vector<std::uint32_t> used = used_numbers(own.size(), count, [&](const auto& visit) {
                    for (std::size_t i = 0; i < count; ++i) {
                        const auto [source, row] = pick(i);
                        if (source == which) std::ranges::for_each(codes_of(*from[which], row), visit);
                    }
                });
                if (used.empty()) continue;
                std::vector<std::string_view> texts(used.size());
                std::ranges::transform(used, texts.begin(), [&](std::uint32_t number) { return own[number]; });
                std::vector<std::uint32_t> numbers;
                dictionary = dictionary.with(texts, numbers);
                into[which] = Translation(std::move(used), std::move(numbers), own.size());
            }
        }

        const Column* from[2];
        std::size_t count;
        bool same_dictionary;  ///< the rows have the dictionary of the column that they are added to
        Pick pick;
        Translation into[2] = {};
    };

    static std::span<const std::uint32_t> codes_of(const Column& column, std::size_t row) {
        return {column.codes.data() + column.starts[row], column.codes.data() + column.starts[row + 1]};
    }

    template <typename Source>
    static void append(Column& to, std::size_t size, std::size_t count, Source source) {
        if (to.text) return append_texts(to, size, count, source);
        std::uint8_t* present = to.present.grow(size, size + count) + size;
        if (to.kind == Kind::geo) {
            Place* places = to.places.grow(size, size + count) + size;
            Direction* directions = to.directions.grow(size, size + count) + size;
            for (std::size_t i = 0; i < count; ++i) {
                const Spot spot = source.spot(i);
                present[i] = spot.has ? 1 : 0;
                places[i] = spot.place;
                directions[i] = spot.direction;
            }
            return;
        }
        std::uint64_t* words = to.words.grow(size, size + count) + size;
        for (std::size_t i = 0; i < count; ++i) {
            const Word word = source.word(i);
            present[i] = word.has ? 1 : 0;
            words[i] = word.bits;
        }
    }

    template <typename Source>
    static void append_texts(Column& to, std::size_t size, std::size_t count, Source& source) {
        source.merge(to.dictionary);
        std::uint64_t total = size == 0 ? 0 : to.starts[size];
        const auto before = static_cast<std::size_t>(total);
        std::uint64_t* starts = to.starts.grow(size == 0 ? 0 : size + 1, size + count + 1);
        if (size == 0) starts[0] = 0;  // otherwise readers are using it, and it is set already
        for (std::size_t i = 0; i < count; ++i) starts[size + 1 + i] = total += source.codes(i).count;
        std::uint32_t* at = to.codes.grow(before, static_cast<std::size_t>(total)) + before;
        for (std::size_t i = 0; i < count; ++i) {
            const Codes row = source.codes(i);
            bool rising = true;
            for (std::size_t j = 0; j < row.count; ++j) {
                std::uint32_t code;
                std::memcpy(&code, row.first + j * sizeof code, sizeof code);
                at[j] = (*row.into)[code];
                rising = rising && (j == 0 || at[j - 1] < at[j]);
            }
            if (!rising) std::sort(at, at + row.count);
            at += row.count;
        }
    }
};

template <typename T>
T* Columns::Cells<T>::grow(std::size_t kept, std::size_t size) {
    array_ = extended(array_, kept, size);
    at_ = array_->data();
    return array_->data();
}

Columns::Columns(std::shared_ptr<const Schema> schema) : schema_(std::move(schema)), columns_(schema_->size()) {
    for (std::size_t field = 0; field < columns_.size(); ++field) {
        columns_[field].kind = (*schema_)[field].kind;
        columns_[field].text = is_text(columns_[field].kind);
    }
}

Columns Columns::with(const Payload& more) const {
    check_room(size_, more.rows());
    Columns made = *this;
    made.size_ += more.rows();
    for (std::size_t field = 0; field < columns_.size(); ++field) {
        const Payload::Column* told = more.column(field);
        const auto add = [&](auto source) {
            ColumnBuilder::append(made.columns_[field], size_, more.rows(), std::move(source));
        };
        told == nullptr ? add(ColumnBuilder::Nothing{}) : add(ColumnBuilder::FromPayload{*told, 1});
    }
    return made;
}

Columns Columns::taken(std::span<const std::uint32_t> rows) const {
    return Columns(schema_).with_changed(*this, rows, Payload::missing(rows.size()));
}

Columns Columns::with_changed(const Columns& from, std::span<const std::uint32_t> rows, const Payload& change) const {
    check_room(size_, rows.size());
    check_rows(rows, from.size_);
    if (schema_ != from.schema_ && *schema_ != *from.schema_) throw std::invalid_argument("fields: the schemas differ");
    if (change.rows() != rows.size() && change.rows() != 1) {
        throw std::invalid_argument("fields: " + std::to_string(change.rows()) + " rows of values for " +
                                    std::to_string(rows.size()) + " rows");
    }
    const auto pick = [&](std::size_t i) { return std::pair<std::size_t, std::size_t>(0, rows[i]); };
    Columns made = *this;
    made.size_ += rows.size();
    for (std::size_t field = 0; field < columns_.size(); ++field) {
        const Payload::Column* told = change.column(field);
        const auto add = [&](auto source) {
            ColumnBuilder::append(made.columns_[field], size_, rows.size(), std::move(source));
        };
        if (told != nullptr) {
            add(ColumnBuilder::FromPayload{*told, change.rows() == rows.size() ? 1u : 0u});
        } else {
            const Column* one = &from.columns_[field];
            add(ColumnBuilder::FromColumns<decltype(pick)>{{one, nullptr}, rows.size(), this == &from, pick});
        }
    }
    return made;
}

Columns Columns::patched(std::span<const std::pair<std::uint32_t, std::uint32_t>> changed, const Columns& other) const {
    if (schema_ != other.schema_ && *schema_ != *other.schema_)
        throw std::invalid_argument("fields: the schemas differ");
    std::vector<std::uint32_t> replaced(size_, no_row);
    for (const auto& [row, by] : changed) {
        check_rows({&row, 1}, size_);
        check_rows({&by, 1}, other.size_);
        replaced[row] = by;
    }
    const auto pick = [&](std::size_t i) {
        const bool stays = replaced[i] == no_row;
        return std::pair<std::size_t, std::size_t>(stays ? 0 : 1, stays ? i : replaced[i]);
    };
    Columns made(schema_);
    made.size_ = size_;
    for (std::size_t field = 0; field < columns_.size(); ++field) {
        ColumnBuilder::FromColumns<decltype(pick)> both{{&columns_[field], &other.columns_[field]}, size_, false, pick};
        ColumnBuilder::append(made.columns_[field], 0, size_, std::move(both));
    }
    return made;
}

std::size_t Columns::bytes() const {
    std::size_t sum = 0;
    for (const Column& column : columns_) {
        if (column.text) {
            const std::uint64_t codes = size_ == 0 ? 0 : column.starts[size_];
            sum += (size_ + 1) * sizeof(std::uint64_t) + static_cast<std::size_t>(codes) * sizeof(std::uint32_t);
            sum += column.dictionary.bytes();
        } else {
            const std::size_t width = column.kind == Kind::geo ? sizeof(Place) + sizeof(Direction) : 8;
            sum += size_ * (1 + width);
        }
    }
    return sum;
}

}  // namespace ann
