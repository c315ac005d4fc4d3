// Texts by number and numbers by text; and the table of hashes that finds rows by what they are called.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "array.hpp"

namespace ann {

/// Numbers by a hash: one writer beside any number of readers. Numbers are put in from 0 on, in order, and stay;
/// several may have one hash, and who asks has to compare what they stand for.
///
/// Chains, not open addressing: the newest number of a bucket stands in `heads_`, and each number knows the one before
/// it in its bucket. So a hash that comes 100,000 times costs no more to put in than others, and its newest number is
/// found at once. Neither of the two is ever moved: a full table is replaced by a larger one and stays for its readers.
class HashTable {
public:
    explicit HashTable(std::size_t capacity);  ///< for so many numbers; std::invalid_argument above 2^32 - 2
    /// How many were put in, and whether so many more can be: for the writer.
    std::size_t size() const { return size_; }
    bool has_room(std::size_t more = 1) const { return more <= capacity_ - size_; }
    /// `number` is size(); std::logic_error for another, or without room.
    void put(std::uint64_t hash, std::uint32_t number);
    /// Eight bytes a number of the capacity.
    std::size_t bytes() const { return (capacity_ + buckets_) * sizeof(std::uint32_t); }

    /// Call visit(number) for what was put in with this hash, and maybe others, the newest first, until it returns
    /// true. Returns whether it did. A reader may meet numbers that were put in after its copy was made, and has to
    /// pass them.
    template <typename Visit>
    bool any(std::uint64_t hash, const Visit& visit) const {
        // Acquired: what a number of a later writer leads to has to be there as well.
        std::uint32_t slot = heads_[bucket(hash)].load(std::memory_order_acquire);
        for (; slot != 0; slot = older_[slot - 1]) {
            if (visit(slot - 1)) return true;
        }
        return false;
    }

private:
    /// Scaled down from the upper half of the hash: any number of buckets will do (D. Lemire, 2019, fast random integer
    /// generation in an interval).
    std::size_t bucket(std::uint64_t hash) const {
        return static_cast<std::size_t>(((hash >> 32) * std::uint64_t{buckets_}) >> 32);
    }

    std::size_t capacity_, buckets_, size_ = 0;
    std::unique_ptr<std::atomic<std::uint32_t>[]> heads_;  ///< number + 1, 0 where empty
    std::unique_ptr<std::uint32_t[]> older_;               ///< the same
};

/// How many numbers to make a table for that is to hold `needed`, after one that held `held`.
std::size_t table_capacity(std::size_t held, std::size_t needed);

/// An array of which the first `kept` values are those of `array` (which may be nullptr, for none) and with `size` in
/// all: the same array where it ends there and has room. Where it does not end there, somebody extended it already, and
/// a copy is made.
template <typename T>
std::shared_ptr<Array<T>> extended(const std::shared_ptr<Array<T>>& array, std::size_t kept, std::size_t size) {
    if (array && array->size() == kept && array->has_room(size)) {
        array->resize(size);
        return array;
    }
    auto fresh = std::make_shared<Array<T>>();
    // A page is the least that an array takes.
    fresh->reserve(std::max(kept == 0 ? size : size + size / 4, std::size_t{4096} / sizeof(T)));
    fresh->resize(size);
    if (kept != 0) std::memcpy(fresh->data(), array->data(), kept * sizeof(T));
    return fresh;
}

/// How many letters (code points) a text has; none where it is not UTF-8.
std::optional<std::size_t> letters_of(std::string_view text);

/// Hashes of an id or a text (XXH64 of the bytes for texts; a mix of all bits for integers).
std::uint64_t hash_of(std::string_view text);
std::uint64_t hash_of(std::int64_t number);

/// Texts, numbered from 0 in the order of adding. Copies share memory: one thread extends, while others read this
/// value, which goes by its own size(). Of one value one extension is cheap; another one, as after a failure, copies
/// everything.
class Texts {
public:
    std::size_t size() const { return size_; }
    std::string_view operator[](std::size_t number) const;
    Texts with(std::span<const std::string_view> more) const;
    std::size_t bytes() const;  ///< of memory

private:
    std::size_t size_ = 0;
    std::shared_ptr<Array<std::uint64_t>> ends_;
    std::shared_ptr<Array<char>> text_;
};

/// Different texts with a number each.
class Dictionary {
public:
    std::size_t size() const { return texts_.size(); }
    std::string_view operator[](std::size_t number) const { return texts_[number]; }
    /// Its number, if it is among the first size() texts.
    std::optional<std::uint32_t> find(std::string_view text) const;
    /// A dictionary with those of `more` that are not there yet, and the number of each of `more`. What holds for
    /// copies of Texts holds here. std::invalid_argument for more than 2^32 - 2 texts.
    Dictionary with(std::span<const std::string_view> more, std::vector<std::uint32_t>& numbers) const;
    std::size_t bytes() const;

private:
    Texts texts_;
    std::shared_ptr<HashTable> table_;  ///< nullptr: of none
};

}  // namespace ann
