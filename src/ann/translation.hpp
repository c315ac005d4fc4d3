// Translates numbers of texts from one dictionary to another.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace ann {

/// If a dictionary is much larger than the number of wanted texts, it is not read as a whole: a few rows must cost
/// little.
inline bool is_sparse(std::size_t wanted, std::size_t distinct) { return wanted < distinct / 16; }

/// What the number of a text becomes in another dictionary.
class Translation {
public:
    Translation() = default;  ///< every number stays the same
    /// i becomes numbers[i].
    explicit Translation(std::vector<std::uint32_t> numbers) : how_(How::table), numbers_(std::move(numbers)) {}
    /// Of the numbers below `distinct`, used[i] becomes numbers[i]. `used` is rising, and only its numbers may be
    /// translated.
    Translation(std::vector<std::uint32_t> used, std::vector<std::uint32_t> numbers, std::size_t distinct)
        : how_(How::search), used_(std::move(used)), numbers_(std::move(numbers)) {
        if (is_sparse(used_.size(), distinct)) return;
        std::vector<std::uint32_t> table(distinct);
        for (std::size_t i = 0; i < used_.size(); ++i) table[used_[i]] = numbers_[i];
        *this = Translation(std::move(table));
    }

    std::uint32_t operator[](std::uint32_t number) const {
        if (how_ == How::same) return number;
        if (how_ == How::table) return numbers_[number];
        return numbers_[static_cast<std::size_t>(std::ranges::lower_bound(used_, number) - used_.begin())];
    }

private:
    enum class How { same, table, search };
    How how_ = How::same;
    std::vector<std::uint32_t> used_, numbers_;
};

/// Return the different numbers below `distinct` that each(visit) visits for `rows` rows, in rising order.
template <typename Each>
std::vector<std::uint32_t> used_numbers(std::size_t distinct, std::size_t rows, const Each& each) {
    std::vector<std::uint32_t> used;
    if (is_sparse(rows, distinct)) {
        each([&](std::uint32_t number) { used.push_back(number); });
        std::ranges::sort(used);
        used.erase(std::unique(used.begin(), used.end()), used.end());
        return used;
    }
    std::vector<std::uint8_t> seen(distinct, 0);
    each([&](std::uint32_t number) { seen[number] = 1; });
    for (std::size_t number = 0; number < distinct; ++number) {
        if (seen[number] != 0) used.push_back(static_cast<std::uint32_t>(number));
    }
    return used;
}

}  // namespace ann
