// Texts by number and numbers by text, and the table of hashes.
#include "names.hpp"

#include <algorithm>
#include <stdexcept>

#include "checksum.hpp"
#include "random.hpp"

namespace ann {
namespace {

constexpr std::size_t most_numbers = 0xFFFFFFFE;  // slots hold number + 1

/// Return the bytes of the letter that begins here, 0 if no letter does (RFC 3629, section 4).
std::size_t letter_length(const unsigned char* at, std::size_t left) {
    const unsigned char first = at[0];
    if (first < 0x80) return 1;
    if (first < 0xC2 || first > 0xF4) return 0;
    const std::size_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    if (left < length) return 0;
    // The second byte excludes overlong forms, surrogates and code points above U+10FFFF.
    const unsigned char low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
    const unsigned char high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
    if (at[1] < low || at[1] > high) return 0;
    for (std::size_t i = 2; i < length; ++i) {
        if (at[i] < 0x80 || at[i] > 0xBF) return 0;
    }
    return length;
}

/// Check the number before memory is allocated.
std::size_t checked(std::size_t numbers) {
    if (numbers > most_numbers) throw std::invalid_argument("more than 2^32 - 2 names");
    return numbers;
}

}  // namespace

HashTable::HashTable(std::size_t capacity)
    : capacity_(checked(capacity)),
      buckets_(std::max<std::size_t>(capacity, 1)),
      heads_(std::make_unique<std::atomic<std::uint32_t>[]>(buckets_)),
      older_(std::make_unique_for_overwrite<std::uint32_t[]>(buckets_)) {}

void HashTable::put(std::uint64_t hash, std::uint32_t number) {
    if (number != size_ || !has_room()) throw std::logic_error("a number out of turn in a table of hashes");
    std::atomic<std::uint32_t>& head = heads_[bucket(hash)];
    older_[number] = head.load(std::memory_order_relaxed);
    head.store(number + 1, std::memory_order_release);
    ++size_;
}

std::size_t table_capacity(std::size_t held, std::size_t needed) {
    const std::size_t roomy = held == 0 ? 16 : held + held / 2;
    return std::max(checked(needed), std::min(roomy, most_numbers));
}

std::optional<std::size_t> letters_of(std::string_view text) {
    const auto* at = reinterpret_cast<const unsigned char*>(text.data());
    std::size_t count = 0;
    for (std::size_t left = text.size(); left > 0; ++count) {
        const std::size_t length = letter_length(at, left);
        if (length == 0) return std::nullopt;
        at += length;
        left -= length;
    }
    return count;
}

std::uint64_t hash_of(std::string_view text) { return checksum(std::as_bytes(std::span(text.data(), text.size()))); }

std::uint64_t hash_of(std::int64_t number) { return random_bits(0, static_cast<std::uint64_t>(number)); }

std::string_view Texts::operator[](std::size_t number) const {
    const std::uint64_t* ends = ends_->data();
    const std::uint64_t first = number == 0 ? 0 : ends[number - 1];
    return {text_->data() + first, static_cast<std::size_t>(ends[number] - first)};
}

Texts Texts::with(std::span<const std::string_view> more) const {
    if (more.empty()) return *this;
    const std::size_t begin = size_ == 0 ? 0 : static_cast<std::size_t>(ends_->data()[size_ - 1]);
    std::size_t length = begin;
    for (const std::string_view text : more) length += text.size();
    Texts made;
    made.size_ = size_ + more.size();
    made.ends_ = extended(ends_, size_, made.size_);
    made.text_ = extended(text_, begin, length);
    std::size_t at = begin;
    for (std::size_t i = 0; i < more.size(); ++i) {
        if (!more[i].empty()) std::memcpy(made.text_->data() + at, more[i].data(), more[i].size());
        at += more[i].size();
        made.ends_->data()[size_ + i] = at;
    }
    return made;
}

std::size_t Texts::bytes() const {
    // This object's own size is used, because a writer may change the sizes of the arrays at this moment.
    return size_ == 0 ? 0 : size_ * sizeof(std::uint64_t) + static_cast<std::size_t>(ends_->data()[size_ - 1]);
}

std::optional<std::uint32_t> Dictionary::find(std::string_view text) const {
    std::optional<std::uint32_t> found;
    if (!table_) return found;
    table_->any(hash_of(text), [&](std::uint32_t number) {
        if (number >= size() || texts_[number] != text) return false;
        found = number;
        return true;
    });
    return found;
}

Dictionary Dictionary::with(std::span<const std::string_view> more, std::vector<std::uint32_t>& numbers) const {
    std::vector<std::string_view> fresh;
    const auto text_of = [&](std::size_t number) { return number < size() ? texts_[number] : fresh[number - size()]; };
    std::shared_ptr<HashTable> table = table_;
    const auto renew = [&](std::size_t needed) {
        const std::size_t count = size() + fresh.size();
        table = std::make_shared<HashTable>(table_capacity(count, needed));
        for (std::size_t i = 0; i < count; ++i) table->put(hash_of(text_of(i)), static_cast<std::uint32_t>(i));
    };
    // A table with more numbers than this object has was extended already.
    if (!table || table->size() != size()) renew(size());
    numbers.clear();
    numbers.reserve(more.size());
    for (const std::string_view text : more) {
        const std::uint64_t hash = hash_of(text);
        const bool known = table->any(hash, [&](std::uint32_t number) {
            if (text_of(number) != text) return false;
            numbers.push_back(number);
            return true;
        });
        if (known) continue;
        if (!table->has_room()) renew(table->size() + 1);
        numbers.push_back(static_cast<std::uint32_t>(table->size()));
        table->put(hash, numbers.back());
        fresh.push_back(text);
    }
    Dictionary made;
    made.texts_ = texts_.with(fresh);
    made.table_ = std::move(table);
    return made;
}

std::size_t Dictionary::bytes() const { return texts_.bytes() + (table_ ? table_->bytes() : 0); }

}  // namespace ann
