// Sets of rows: a bitmap, and the rows that a filter selects.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace ann {

/// A set of rows 0 .. size-1, with one bit for each row. Bits behind the last row are 0.
class Bitmap {
public:
    Bitmap() = default;
    explicit Bitmap(std::size_t size, bool full = false)
        : size_(size), words_((size + 63) / 64, full ? ~std::uint64_t{0} : 0) {
        trim();
    }

    std::size_t size() const { return size_; }
    bool test(std::size_t row) const { return (words_[row / 64] >> (row % 64) & 1) != 0; }
    void set(std::size_t row) { words_[row / 64] |= std::uint64_t{1} << (row % 64); }
    void reset(std::size_t row) { words_[row / 64] &= ~(std::uint64_t{1} << (row % 64)); }
    void put(std::size_t row, bool value) { value ? set(row) : reset(row); }
    std::span<std::uint64_t> words() { return words_; }
    std::span<const std::uint64_t> words() const { return words_; }

    /// Change the number of rows. New rows are in the set if `full`.
    void resize(std::size_t size, bool full = false) {
        const std::size_t old = size_;
        words_.resize((size + 63) / 64, full ? ~std::uint64_t{0} : 0);
        size_ = size;
        if (full && old % 64 != 0 && old < size) words_[old / 64] |= ~std::uint64_t{0} << (old % 64);
        trim();
    }
    void flip() {
        for (std::uint64_t& word : words_) word = ~word;
        trim();
    }
    /// In the next three functions both sets must have the same size.
    void keep(const Bitmap& other) {
        for (std::size_t i = 0; i < words_.size(); ++i) words_[i] &= other.words_[i];
    }
    void join(const Bitmap& other) {
        for (std::size_t i = 0; i < words_.size(); ++i) words_[i] |= other.words_[i];
    }
    void drop(const Bitmap& other) {
        for (std::size_t i = 0; i < words_.size(); ++i) words_[i] &= ~other.words_[i];
    }

    /// Call visit(row) for all rows of the set from `first` on, in order.
    template <typename Visit>
    void each(const Visit& visit, std::size_t first = 0) const {
        for (std::size_t i = first / 64; i < words_.size(); ++i) {
            std::uint64_t word = words_[i];
            if (i == first / 64) word &= ~std::uint64_t{0} << (first % 64);
            for (; word != 0; word &= word - 1) {
                visit(static_cast<std::uint32_t>(i * 64 + static_cast<std::size_t>(std::countr_zero(word))));
            }
        }
    }

    bool operator==(const Bitmap&) const = default;

private:
    void trim() {
        if (size_ % 64 != 0) words_.back() &= ~std::uint64_t{0} >> (64 - size_ % 64);
    }

    std::size_t size_ = 0;
    std::vector<std::uint64_t> words_;
};

/// The exact set of rows that a filter selects: a sorted list if they are few, bits if they are many.
struct Selection {
    bool listed = false;
    std::vector<std::uint32_t> rows;  ///< if listed
    Bitmap bits;                      ///< if not listed; one bit for each row of the index
    std::size_t count = 0;

    /// Call visit(row) for all rows from `first` on, in order.
    template <typename Visit>
    void each(const Visit& visit, std::size_t first = 0) const {
        if (!listed) return bits.each(visit, first);
        for (auto row = std::lower_bound(rows.begin(), rows.end(), first); row != rows.end(); ++row) visit(*row);
    }
};

}  // namespace ann
