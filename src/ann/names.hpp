// Texts by number and numbers by text, and the hash table that finds rows by their id.
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

/// Finds numbers by a hash, for one writer and any number of readers. Numbers are put in from 0 on, in order, and stay.
/// Several numbers may have the same hash, so the caller must compare what the numbers mean.
///
/// The table uses chains, not open addressing: `heads_` has the newest number of each bucket, and each number knows the
/// number before it in its bucket. So 100,000 equal hashes cost no more to put in than other hashes, and the newest
/// number is found at once. Neither array is ever moved: a full table is replaced by a larger one, and stays for its
/// readers.
class HashTable {
public:
    explicit HashTable(std::size_t capacity);  ///< throws std::invalid_argument above 2^32 - 2 numbers
    /// Return how many numbers were put in, and whether `more` would fit. Only for the writer.
    std::size_t size() const { return size_; }
    bool has_room(std::size_t more = 1) const { return more <= capacity_ - size_; }
    /// Put in a number, which must be size(). Throws std::logic_error for another number, or if there is no room.
    void put(std::uint64_t hash, std::uint32_t number);
    /// Return the size in bytes: eight bytes for each number of the capacity.
    std::size_t bytes() const { return (capacity_ + buckets_) * sizeof(std::uint32_t); }

    /// Call visit(number) for the numbers with this hash (and maybe others), the newest first, until it returns true.
    /// Returns whether it did. A reader may get numbers that were put in after its copy was made, and must skip these.
    template <typename Visit>
    bool any(std::uint64_t hash, const Visit& visit) const {
        // Acquire: data that belong to a number that a later writer put in must be visible too.
        std::uint32_t slot = heads_[bucket(hash)].load(std::memory_order_acquire);
        for (; slot != 0; slot = older_[slot - 1]) {
            if (visit(slot - 1)) return true;
        }
        return false;
    }

private:
    /// Scale the upper half of the hash down to the number of buckets, which can then be any number (D. Lemire, 2019,
    /// fast random integer generation in an interval).
    std::size_t bucket(std::uint64_t hash) const {
        return static_cast<std::size_t>(((hash >> 32) * std::uint64_t{buckets_}) >> 32);
    }

    std::size_t capacity_, buckets_, size_ = 0;
    std::unique_ptr<std::atomic<std::uint32_t>[]> heads_;  ///< number + 1; 0 if empty
    std::unique_ptr<std::uint32_t[]> older_;               ///< number + 1; 0 if there is no older number
};

/// Return the capacity of a table for `needed` numbers that replaces a table with `held`.
std::size_t table_capacity(std::size_t held, std::size_t needed);

/// Return an array of `size` values whose first `kept` values are those of `array` (nullptr: none). It is the same
/// array if that has exactly `kept` values and has room. If it has more, it was extended already, and a copy is made.
template <typename T>
std::shared_ptr<Array<T>> extended(const std::shared_ptr<Array<T>>& array, std::size_t kept, std::size_t size) {
    if (array && array->size() == kept && array->has_room(size)) {
        array->resize(size);
        return array;
    }
    auto fresh = std::make_shared<Array<T>>();
    // An array takes at least one page.
    fresh->reserve(std::max(kept == 0 ? size : size + size / 4, std::size_t{4096} / sizeof(T)));
    fresh->resize(size);
    if (kept != 0) std::memcpy(fresh->data(), array->data(), kept * sizeof(T));
    return fresh;
}

/// Return how many letters (code points) a text has; none if it is not UTF-8.
std::optional<std::size_t> letters_of(std::string_view text);

/// Return the hash of an id or a text (XXH64 of the bytes for texts; a mix of all bits for integers).
std::uint64_t hash_of(std::string_view text);
std::uint64_t hash_of(std::int64_t number);

/// Texts, numbered from 0 in the order of adding. Copies share memory; one thread may extend a Texts while others read
/// it, because they read only up to its own size(). The first extension of a Texts is cheap; a second one, such as
/// after a failure, copies everything.
class Texts {
public:
    std::size_t size() const { return size_; }
    std::string_view operator[](std::size_t number) const;
    Texts with(std::span<const std::string_view> more) const;
    std::size_t bytes() const;  ///< memory in bytes

private:
    std::size_t size_ = 0;
    std::shared_ptr<Array<std::uint64_t>> ends_;
    std::shared_ptr<Array<char>> text_;
};

/// Different texts; each has a number.
class Dictionary {
public:
    std::size_t size() const { return texts_.size(); }
    std::string_view operator[](std::size_t number) const { return texts_[number]; }
    /// Return the number of a text, if it is among the first size() texts.
    std::optional<std::uint32_t> find(std::string_view text) const;
    /// Return a dictionary with the new texts of `more` added, and the number of each text of `more`. Copies behave
    /// like copies of Texts. Throws std::invalid_argument for more than 2^32 - 2 texts.
    Dictionary with(std::span<const std::string_view> more, std::vector<std::uint32_t>& numbers) const;
    std::size_t bytes() const;

private:
    Texts texts_;
    std::shared_ptr<HashTable> table_;  ///< nullptr if there are no texts
};

}  // namespace ann
