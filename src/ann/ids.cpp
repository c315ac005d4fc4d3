// The ids of rows: reading, finding, extending and writing them.
#include "ids.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <stdexcept>
#include <string>

namespace ann {
namespace {

constexpr std::size_t head_bytes = 16;
constexpr std::size_t longest_id = 1024;
constexpr std::size_t most_rows = 0xFFFFFFFE;
constexpr std::uint64_t largest = std::numeric_limits<std::int64_t>::max();

template <typename T>
T value_at(std::span<const std::byte> bytes, std::size_t offset) {
    T value;
    std::memcpy(&value, bytes.data() + offset, sizeof value);
    return value;
}

[[noreturn]] void refuse(const std::string& why) { throw std::invalid_argument("ids: " + why); }

void check_text(std::string_view text, std::size_t i) {
    const std::string place = "text " + std::to_string(i);
    if (text.find('\0') != std::string_view::npos) refuse(place + " holds a NUL");
    const auto letters = letters_of(text);
    if (!letters) refuse(place + " is not UTF-8");
    if (*letters > longest_id) refuse(place + " has more than 1024 letters");
}

/// Return bytes of ids with `tail` free bytes behind the numbers or ends.
std::vector<std::byte> encoded(IdKind kind, std::size_t count, std::span<const std::int64_t> values,
                               std::size_t tail = 0) {
    std::vector<std::byte> bytes(head_bytes + values.size_bytes() + tail);
    const auto code = static_cast<std::uint32_t>(kind);
    const std::uint64_t number = count;
    std::memcpy(bytes.data(), &code, sizeof code);
    std::memcpy(bytes.data() + 8, &number, sizeof number);
    if (!values.empty()) std::memcpy(bytes.data() + head_bytes, values.data(), values.size_bytes());
    return bytes;
}

}  // namespace

IdBatch IdBatch::decode(std::span<const std::byte> bytes) {
    if (bytes.size() < head_bytes) refuse("cut off");
    const auto code = value_at<std::uint32_t>(bytes, 0);
    const auto count = value_at<std::uint64_t>(bytes, 8);
    if (code > 2) refuse("unknown kind " + std::to_string(code));
    if (value_at<std::uint32_t>(bytes, 4) != 0) refuse("a number that is not 0 in the head");
    if (count > most_rows) refuse("more than 2^32 - 2 of them");
    IdBatch batch;
    batch.kind = static_cast<IdKind>(code);
    batch.count = static_cast<std::size_t>(count);
    const auto rest = bytes.subspan(head_bytes);
    const std::size_t width = batch.kind == IdKind::rows ? 0 : sizeof(std::int64_t);
    if (batch.count > rest.size() / sizeof(std::int64_t) && width != 0) refuse("cut off");
    batch.values = rest.first(batch.count * width);
    const auto tail = rest.subspan(batch.values.size());
    if (batch.kind != IdKind::strings) {
        if (!tail.empty()) refuse("bytes behind the end");
        return batch;
    }
    if (!tail.empty()) batch.text = {reinterpret_cast<const char*>(tail.data()), tail.size()};
    std::uint64_t start = 0;
    for (std::size_t i = 0; i < batch.count; ++i) {
        const auto end = value_at<std::uint64_t>(batch.values, i * width);
        if (end <= start || end > batch.text.size()) {
            refuse("text " + std::to_string(i) + " does not follow the one before");
        }
        check_text(batch.name(i), i);
        start = end;
    }
    if (start != batch.text.size()) refuse("bytes behind the end");
    return batch;
}

std::int64_t IdBatch::number(std::size_t i) const { return value_at<std::int64_t>(values, i * sizeof(std::int64_t)); }

std::string_view IdBatch::name(std::size_t i) const {
    const auto start = i == 0 ? 0 : value_at<std::uint64_t>(values, (i - 1) * sizeof(std::uint64_t));
    const auto end = value_at<std::uint64_t>(values, i * sizeof(std::uint64_t));
    return {text.data() + start, static_cast<std::size_t>(end - start)};
}

std::uint64_t IdBatch::hash(std::size_t i) const {
    return kind == IdKind::strings ? hash_of(name(i)) : hash_of(number(i));
}

std::optional<std::pair<std::size_t, std::size_t>> IdBatch::twice() const {
    if (kind == IdKind::rows) return std::nullopt;
    HashTable table(count);
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint64_t key = hash(i);
        std::size_t earlier = i;
        const bool known = table.any(key, [&](std::uint32_t place) {
            earlier = place;
            return kind == IdKind::strings ? name(place) == name(i) : number(place) == number(i);
        });
        if (known) return std::pair{i, earlier};
        table.put(key, static_cast<std::uint32_t>(i));
    }
    return std::nullopt;
}

std::int64_t Ids::number(std::size_t row) const {
    return kind_ == IdKind::rows ? static_cast<std::int64_t>(row) : numbers_->data()[row];
}

std::string_view Ids::name(std::size_t row) const { return names_[row]; }

// Return an id of the batch, or the number that with() would give it.
std::int64_t Ids::number_of(const IdBatch& batch, std::size_t i) const {
    return batch.kind == IdKind::integers ? batch.number(i) : static_cast<std::int64_t>(next_ + i);
}

std::optional<std::uint32_t> Ids::find(const IdBatch& batch, std::size_t i, const Bitmap& live) const {
    std::optional<std::uint32_t> found;
    const std::size_t rows = std::min(size_, live.size());
    if (rows == 0 || !fits(batch)) return found;
    const auto is_living = [&](std::size_t row) {
        if (live.test(row)) found = static_cast<std::uint32_t>(row);
        return found.has_value();
    };
    if (kind_ == IdKind::strings) {
        const std::string_view wanted = batch.name(i);
        table_->any(hash_of(wanted),
                    [&](std::uint32_t row) { return row < rows && names_[row] == wanted && is_living(row); });
        return found;
    }
    const std::int64_t wanted = number_of(batch, i);
    if (kind_ == IdKind::rows) {
        if (wanted >= 0 && static_cast<std::uint64_t>(wanted) < rows) is_living(static_cast<std::size_t>(wanted));
        return found;
    }
    const std::int64_t* numbers = numbers_->data();
    table_->any(hash_of(wanted),
                [&](std::uint32_t row) { return row < rows && numbers[row] == wanted && is_living(row); });
    return found;
}

Ids Ids::with(const IdBatch& more) const {
    if (more.count == 0) return *this;
    if (size_ != 0 && !fits(more)) {
        refuse(kind_ == IdKind::strings ? "the index holds strings, and others were given"
                                        : "strings were given, and the index holds others");
    }
    if (more.count > most_rows - size_) refuse("more than 2^32 - 2 rows");
    if (more.count > largest - next_) refuse("no number is left for another row");
    Ids made = *this;
    made.size_ = size_ + more.count;
    made.next_ = next_ + more.count;
    if (more.kind == IdKind::strings) {
        std::vector<std::string_view> names(more.count);
        for (std::size_t i = 0; i < more.count; ++i) names[i] = more.name(i);
        made.kind_ = IdKind::strings;
        made.numbers_.reset();
        made.names_ = (size_ == 0 ? Texts() : names_).with(names);
        made.fill_table(size_);
        return made;
    }
    made.names_ = Texts();
    if (more.kind == IdKind::rows && next_ == size_ && (size_ == 0 || kind_ == IdKind::rows)) {
        made.kind_ = IdKind::rows;
        made.numbers_.reset();
        made.table_.reset();
        return made;
    }
    made.kind_ = IdKind::integers;
    const std::size_t kept = kind_ == IdKind::integers ? size_ : 0;  // row numbers become integers here
    made.numbers_ = extended(numbers_, kept, made.size_);
    std::int64_t* numbers = made.numbers_->data();
    for (std::size_t row = kept; row < size_; ++row) numbers[row] = static_cast<std::int64_t>(row);
    for (std::size_t i = 0; i < more.count; ++i) numbers[size_ + i] = number_of(more, i);
    made.fill_table(kept);
    return made;
}

// Put the rows from `held` on into the table. If they do not fit, or if the table has more than `held` rows, which come
// from an extension that was not kept, a new table gets all rows.
void Ids::fill_table(std::size_t held) {
    if (!table_ || table_->size() != held || !table_->has_room(size_ - held)) {
        table_ = std::make_shared<HashTable>(table_capacity(held, size_));
        held = 0;
    }
    const bool texts = kind_ == IdKind::strings;
    for (std::size_t row = held; row < size_; ++row) {
        table_->put(texts ? hash_of(names_[row]) : hash_of(numbers_->data()[row]), static_cast<std::uint32_t>(row));
    }
}

Ids Ids::taken(std::span<const std::uint32_t> rows) const {
    if (kind_ == IdKind::rows && rows.size() == next_) {
        bool same = true;
        for (std::size_t i = 0; i < rows.size(); ++i) same = same && rows[i] == i;
        if (same) return *this;
    }
    Ids made;
    made.kind_ = kind_ == IdKind::strings ? IdKind::strings : IdKind::integers;
    made.size_ = rows.size();
    made.next_ = next_;
    if (made.kind_ == IdKind::strings) {
        std::vector<std::string_view> names(rows.size());
        for (std::size_t i = 0; i < rows.size(); ++i) names[i] = name(rows[i]);
        made.names_ = Texts().with(names);
    } else {
        made.numbers_ = extended<std::int64_t>(nullptr, 0, rows.size());
        for (std::size_t i = 0; i < rows.size(); ++i) made.numbers_->data()[i] = number(rows[i]);
    }
    made.fill_table(0);
    return made;
}

std::vector<std::byte> Ids::encode() const {
    if (kind_ == IdKind::rows) return encoded(kind_, size_, {});
    std::vector<std::uint32_t> rows(size_);
    std::iota(rows.begin(), rows.end(), 0U);
    return encode(rows);
}

std::vector<std::byte> Ids::encode(std::span<const std::uint32_t> rows) const {
    std::vector<std::int64_t> values(rows.size());
    if (kind_ != IdKind::strings) {
        for (std::size_t i = 0; i < rows.size(); ++i) values[i] = number(rows[i]);
        return encoded(IdKind::integers, rows.size(), values);
    }
    std::size_t length = 0;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        length += name(rows[i]).size();
        values[i] = static_cast<std::int64_t>(length);
    }
    std::vector<std::byte> bytes = encoded(kind_, rows.size(), values, length);
    std::byte* to = bytes.data() + (bytes.size() - length);
    for (const std::uint32_t row : rows) {
        const std::string_view text = name(row);
        std::memcpy(to, text.data(), text.size());
        to += text.size();
    }
    return bytes;
}

Ids Ids::decode(std::span<const std::byte> bytes, std::uint64_t next) {
    const IdBatch batch = IdBatch::decode(bytes);
    if (next < batch.count || next > largest || (batch.kind == IdKind::rows && next != batch.count)) {
        refuse(std::to_string(next) + " as the next row number does not fit " + std::to_string(batch.count) + " rows");
    }
    Ids made = Ids().with(batch);
    made.kind_ = batch.kind;
    made.next_ = next;
    return made;
}

bool Ids::before(std::size_t row, std::size_t other) const {
    return kind_ == IdKind::strings ? name(row) < name(other) : number(row) < number(other);
}

bool Ids::before(const IdBatch& batch, std::size_t i, std::size_t row) const {
    return kind_ == IdKind::strings ? batch.name(i) < name(row) : number_of(batch, i) < number(row);
}

std::size_t Ids::bytes() const {
    const std::size_t numbers = kind_ == IdKind::integers ? size_ * sizeof(std::int64_t) : 0;
    return numbers + names_.bytes() + (table_ ? table_->bytes() : 0);
}

}  // namespace ann
