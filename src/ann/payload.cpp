#include "payload.hpp"

#include <algorithm>
#include <bit>
#include <stdexcept>
#include <string>

#include "names.hpp"

namespace ann {

namespace {

using Bytes = std::span<const std::byte>;

/// Takes the bytes apart, and never reads behind their end.
class Reader {
public:
    explicit Reader(Bytes bytes) : left_(bytes) {}

    /// Take `count` values of `width` bytes each.
    Bytes take(std::uint64_t count, std::size_t width) {
        if (count > left_.size() / width) throw std::invalid_argument("fields: the bytes end too early");
        const Bytes taken = left_.first(static_cast<std::size_t>(count) * width);
        left_ = left_.subspan(taken.size());
        return taken;
    }
    std::uint32_t number() { return Payload::Column::at<std::uint32_t>(take(1, 4), 0); }
    bool empty() const { return left_.empty(); }

private:
    Bytes left_;
};

/// Reads one column and checks all its values.
class ColumnReader {
public:
    ColumnReader(Reader& reader, const Schema& schema, std::size_t rows, std::uint32_t field)
        : reader_(reader), field_(schema[field]), rows_(rows) {
        column_.field = field;
    }

    Payload::Column read() {
        if (is_text(field_.kind)) {
            read_texts();
            read_places();
            return std::move(column_);
        }
        column_.present = reader_.take(rows_, 1);
        column_.values = reader_.take(rows_, field_.kind == Kind::geo ? 16 : 8);
        for (const std::byte present : column_.present) refuse(present > std::byte{1}, "neither present nor missing");
        if (field_.kind == Kind::geo) {
            check_places();
        } else {
            check_words();
        }
        return std::move(column_);
    }

private:
    void refuse(bool wrong, const char* why) const {
        if (wrong) fail(why);
    }
    [[noreturn]] void fail(const char* why) const {
        throw std::invalid_argument("fields: field \"" + field_.name + "\": " + why);
    }

    /// All rows are checked without branches, because nearly always all of them are right.
    void check_words() const {
        constexpr std::uint64_t sign = std::uint64_t{1} << 63, infinity = 0x7ff0000000000000u;
        const std::uint64_t most = field_.kind == Kind::boolean ? 1 : ~std::uint64_t{0};
        const bool real = field_.kind == Kind::real;
        bool ghost = false, beyond = false, no_number = false;
        for (std::size_t row = 0; row < rows_; ++row) {
            const auto bits = Payload::Column::at<std::uint64_t>(column_.values, row);
            ghost |= (column_.present[row] == std::byte{0}) & (bits != 0);
            beyond |= bits > most;
            no_number |= (bits == sign) | ((bits & ~sign) > infinity);
        }
        refuse(ghost, "a missing value is not 0");
        refuse(beyond, "neither true nor false");
        refuse(real && no_number, "a value is NaN or -0");
    }

    void check_places() const {
        bool ghost = false, inside = true;
        for (std::size_t row = 0; row < rows_; ++row) {
            const auto [latitude, longitude] = column_.place(row);
            const std::uint64_t bits = std::bit_cast<std::uint64_t>(latitude) | std::bit_cast<std::uint64_t>(longitude);
            ghost |= (column_.present[row] == std::byte{0}) & (bits != 0);
            inside &= (latitude >= -90.0) & (latitude <= 90.0) & (longitude >= -180.0) & (longitude <= 180.0);
        }
        refuse(ghost, "a missing place is not 0, 0");
        refuse(!inside, "a place is beyond 90 degrees of latitude or 180 of longitude");
    }

    void read_texts() {
        const std::uint32_t distinct = reader_.number();
        const Bytes ends = reader_.take(distinct, 8);
        const auto end = [&](std::size_t i) { return Payload::Column::at<std::uint64_t>(ends, i); };
        const Bytes all = reader_.take(distinct == 0 ? 0 : end(distinct - 1), 1);
        const std::string_view text(reinterpret_cast<const char*>(all.data()), all.size());
        refuse(!letters_of(text), "a text is not UTF-8");
        column_.texts.reserve(distinct);
        std::size_t begin = 0;
        for (std::size_t i = 0; i < distinct; ++i) {
            refuse(end(i) <= begin || end(i) > text.size(), "a text is empty or its end is wrong");
            const auto next = static_cast<std::size_t>(end(i));
            // A text must begin with a whole letter: bytes inside a letter have the bits 10 in front.
            refuse(next < text.size() && (static_cast<unsigned char>(text[next]) & 0xc0) == 0x80,
                   "a text ends within a letter");
            column_.texts.push_back(text.substr(begin, next - begin));
            begin = next;
        }
        check_different();
    }

    /// Uses a table of numbers and upper halves of hashes. Its memory is prefetched, because it is larger than the
    /// caches.
    void check_different() const {
        const std::vector<std::string_view>& texts = column_.texts;
        const std::size_t count = texts.size(), mask = std::bit_ceil(count * 2 + 1) - 1, ahead = 16;
        std::vector<std::uint64_t> hashes(count), slots(mask + 1, 0);
        for (std::size_t i = 0; i < count; ++i) hashes[i] = hash_of(texts[i]);
        std::size_t steps = 0;
        for (std::size_t i = 0; i < count; ++i) {
            if (i + ahead < count) __builtin_prefetch(&slots[hashes[i + ahead] & mask]);
            const std::uint64_t upper = hashes[i] & ~std::uint64_t{0xffffffff};
            std::size_t slot = hashes[i] & mask;
            for (; slots[slot] != 0; slot = (slot + 1) & mask, ++steps) {
                const bool alike = ((slots[slot] ^ upper) >> 32) == 0;
                refuse(alike && texts[(slots[slot] & 0xffffffff) - 1] == texts[i], "a text is listed twice");
            }
            slots[slot] = upper | (i + 1);
            if (steps > 64 * count) return check_different_slowly();
        }
    }
    /// For texts that were chosen to have similar hashes: the time does not depend on the texts.
    void check_different_slowly() const {
        std::vector<std::string_view> texts = column_.texts;
        std::ranges::sort(texts);
        refuse(std::ranges::adjacent_find(texts) != texts.end(), "a text is listed twice");
    }

    void read_places() {
        column_.counts = reader_.take(rows_, 4);
        column_.starts.resize(rows_ + 1);
        std::uint64_t total = 0;  // the sum of fewer than 2^32 counts below 2^32
        std::uint32_t most = 0;
        for (std::size_t row = 0; row < rows_; ++row) {
            const auto count = Payload::Column::at<std::uint32_t>(column_.counts, row);
            most = std::max(most, count);
            total += count;
            column_.starts[row + 1] = total;
        }
        refuse(field_.kind == Kind::id && most > 1, "a row has more than one id");
        column_.places = reader_.take(total, 4);
        bool beyond = false, falls = false;
        for (std::size_t row = 0; row < rows_; ++row) {
            std::uint32_t before = 0;
            for (std::size_t i = 0; i < column_.count(row); ++i) {
                const std::uint32_t text = column_.text(row, i);
                beyond |= text >= column_.texts.size();
                falls |= i != 0 && text <= before;
                before = text;
            }
        }
        refuse(beyond, "a row has a text that is not there");
        refuse(falls, "the texts of a row do not rise");
    }

    Reader& reader_;
    const Field& field_;
    std::size_t rows_;
    Payload::Column column_;
};

}  // namespace

Payload Payload::decode(std::span<const std::byte> bytes, const Schema& schema) {
    Reader reader(bytes);
    Payload made;
    made.rows_ = reader.number();
    const std::uint32_t columns = reader.number();
    if (columns > schema.size()) throw std::invalid_argument("fields: more columns than the index has fields");
    made.columns_.reserve(columns);
    for (std::uint32_t i = 0; i < columns; ++i) {
        const std::uint32_t field = reader.number();
        if (field >= schema.size()) throw std::invalid_argument("fields: a field that the index does not have");
        if (i != 0 && field <= made.columns_.back().field) {
            throw std::invalid_argument("fields: the columns are not in the order of their fields");
        }
        made.columns_.push_back(ColumnReader(reader, schema, made.rows_, field).read());
    }
    if (!reader.empty()) throw std::invalid_argument("fields: bytes behind the end");
    return made;
}

const Payload::Column* Payload::column(std::size_t field) const {
    const auto found = std::ranges::find_if(columns_, [&](const Column& column) { return column.field >= field; });
    return found != columns_.end() && found->field == field ? &*found : nullptr;
}

}  // namespace ann
