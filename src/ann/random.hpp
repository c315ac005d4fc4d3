// Random numbers that depend only on the seed and a place, the same on every machine (the distributions of <random> do
// not guarantee that).
#pragma once

#include <cstddef>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

namespace ann {

/// SplitMix64 (Steele, Lea, Flood 2014): return the value at one place of the stream of a seed.
inline std::uint64_t random_bits(std::uint64_t seed, std::uint64_t place) {
    std::uint64_t value = seed + (place + 1) * 0x9e3779b97f4a7c15ULL;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ULL;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebULL;
    return value ^ (value >> 31);
}

/// Return a number in [0, bound), bound > 0. The bias of at most bound / 2^64 does not matter here.
inline std::uint64_t random_below(std::uint64_t seed, std::uint64_t place, std::uint64_t bound) {
    return random_bits(seed, place) % bound;
}

/// Return the numbers first .. first + count - 1 in random order (Fisher and Yates).
inline std::vector<std::uint32_t> random_order(std::uint64_t seed, std::uint32_t first, std::uint32_t count) {
    std::vector<std::uint32_t> order(count);
    std::iota(order.begin(), order.end(), first);
    for (std::uint32_t i = count; i > 1; --i) std::swap(order[i - 1], order[random_below(seed, i, i)]);
    return order;
}

}  // namespace ann
