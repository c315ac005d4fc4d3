// The kernels as plain loops, included by one file for each set of processor features.
//
// Everything has internal linkage, and only integers and memmove are used from the standard library: the linker could
// merge a function that is shared with another file with the version for the wrong processor.
//
// Compilers vectorise blocks of fixed length with separate sums even without -ffast-math. The difference of two 16-bit
// numbers, squared and added in 32 bits, becomes one instruction for two or four of them (vpmaddwd, vpdpwssd).
#pragma once

#include <cstdint>
#include <cstring>

#include "half.hpp"
#include "kernels.hpp"

#define ANN_INLINE inline __attribute__((always_inline))

// A prefetch has no effect that the compiler knows of: inside a function or a loop of its own it is removed as useless.
// Therefore this is a macro without a loop. The processor loads further cache lines by itself.
#define ANN_ASK(address, bytes)                                             \
    do {                                                                    \
        __builtin_prefetch(address);                                        \
        if ((bytes) > 64) __builtin_prefetch((address) + 64);               \
        if ((bytes) > 128) __builtin_prefetch((address) + 128);             \
        if ((bytes) > 192) __builtin_prefetch((address) + 192);             \
        if ((bytes) % 64 != 0) __builtin_prefetch((address) + (bytes) - 1); \
    } while (false)

namespace ann {
namespace {

ANN_INLINE std::int32_t square(int query, int code) {
    const auto difference = static_cast<std::int16_t>(query - code);
    return static_cast<std::int32_t>(difference) * static_cast<std::int32_t>(difference);
}

template <std::size_t length>
ANN_INLINE std::int32_t block8(const std::int16_t* query, const std::uint8_t* code) {
    std::int32_t sum = 0;
    for (std::size_t i = 0; i < length; ++i) sum += square(query[i], code[i]);
    return sum;
}

// A 4-bit component stands for sixteen times its value, so that it has the scale of 8-bit codes.
template <std::size_t length>
ANN_INLINE std::int32_t block4(const std::int16_t* low, const std::int16_t* high, const std::uint8_t* code) {
    std::int32_t sum = 0;
    for (std::size_t i = 0; i < length; ++i) sum += square(low[i], static_cast<std::uint8_t>(code[i] << 4));
    for (std::size_t i = 0; i < length; ++i) sum += square(high[i], code[i] & 0xf0);
    return sum;
}

struct Four {
    static ANN_INLINE std::size_t bytes(std::size_t width) { return width / 2; }
    static ANN_INLINE std::int32_t distance(const std::int16_t* query, const std::uint8_t* code, std::size_t width) {
        const std::size_t half = width / 2;
        const std::int16_t* high = query + half;
        std::int32_t sum = 0;
        std::size_t i = 0;
        for (; i + 64 <= half; i += 64) sum += block4<64>(query + i, high + i, code + i);
        if (half & 32) {
            sum += block4<32>(query + i, high + i, code + i);
            i += 32;
        }
        if (half & 16) sum += block4<16>(query + i, high + i, code + i);
        return sum;
    }
};

struct Eight {
    static ANN_INLINE std::size_t bytes(std::size_t width) { return width; }
    static ANN_INLINE std::int32_t distance(const std::int16_t* query, const std::uint8_t* code, std::size_t width) {
        std::int32_t sum = 0;
        std::size_t i = 0;
        for (; i + 64 <= width; i += 64) sum += block8<64>(query + i, code + i);
        if (width & 32) sum += block8<32>(query + i, code + i);
        return sum;
    }
};

struct Sixteen {
    static ANN_INLINE std::size_t bytes(std::size_t width) { return 2 * width; }
    static ANN_INLINE std::int32_t distance(const std::int16_t* query, const std::uint8_t* code, std::size_t width) {
        std::int64_t sum = 0;
        for (std::size_t i = 0; i < width; ++i) {
            std::int16_t value;
            std::memcpy(&value, code + 2 * i, sizeof value);
            const std::int64_t difference = static_cast<std::int32_t>(query[i]) - static_cast<std::int32_t>(value);
            sum += difference * difference;
        }
        const auto rounded = static_cast<float>(sum);  // the bits of floats >= 0 sort like the floats
        std::int32_t bits;
        std::memcpy(&bits, &rounded, sizeof bits);
        return bits;
    }
};

template <typename Code, std::size_t fixed>
ANN_INLINE void score_rows(const std::int16_t* query, const std::uint8_t* codes, std::size_t any,
                           const std::uint32_t* rows, std::size_t count, std::int32_t* distances) {
    constexpr std::size_t ahead = 12;
    const std::size_t width = fixed != 0 ? fixed : any;
    const std::size_t bytes = Code::bytes(width);
    const std::size_t first = count < ahead ? count : ahead;
    for (std::size_t i = 0; i < first; ++i) ANN_ASK(codes + rows[i] * bytes, bytes);
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t later = i + ahead < count ? i + ahead : count - 1;
        ANN_ASK(codes + rows[later] * bytes, bytes);
        distances[i] = Code::distance(query, codes + rows[i] * bytes, width);
    }
}

template <typename Code>
void score(const std::int16_t* query, const std::uint8_t* codes, std::size_t width, const std::uint32_t* rows,
           std::size_t count, std::int32_t* distances) {
    switch (width) {  // the usual widths without loops
        case 64: return score_rows<Code, 64>(query, codes, width, rows, count, distances);
        case 96: return score_rows<Code, 96>(query, codes, width, rows, count, distances);
        case 128: return score_rows<Code, 128>(query, codes, width, rows, count, distances);
        case 256: return score_rows<Code, 256>(query, codes, width, rows, count, distances);
        case 320: return score_rows<Code, 320>(query, codes, width, rows, count, distances);
        case 512: return score_rows<Code, 512>(query, codes, width, rows, count, distances);
        default: return score_rows<Code, 0>(query, codes, width, rows, count, distances);
    }
}

/// Set the bits of rows, and keep the rows whose bit was not set; of equal rows the first is kept.
ANN_INLINE std::size_t mark(std::uint32_t* rows, std::size_t count, std::uint64_t* seen) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint32_t row = rows[i];
        const std::uint64_t word = seen[row >> 6];
        rows[kept] = row;
        kept += (~word >> (row & 63)) & 1;
        seen[row >> 6] = word | std::uint64_t{1} << (row & 63);
    }
    return kept;
}

[[maybe_unused]] std::size_t unseen(const std::uint32_t* rows, std::size_t count, std::uint64_t* seen,
                                    std::uint32_t* out) {
    // First read all bits, then set them: so no read waits for a write before it.
    std::size_t found = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint32_t row = rows[i];
        out[found] = row;
        found += (~seen[row >> 6] >> (row & 63)) & 1;
    }
    return mark(out, found, seen);
}

ANN_INLINE std::size_t smaller(const Key* keys, std::size_t size, Key key) {
    // Counting is faster than a binary search here: each step of a binary search waits for the step before, but many
    // keys can be counted at the same time. A key's first bit is never set, so signed comparisons work, which are
    // easier before AVX-512.
    std::size_t i = 0;
    for (; i + 16 <= size; i += 16) {
        std::int64_t part = 0;
        for (std::size_t j = 0; j < 16; ++j)
            part += static_cast<std::int64_t>(keys[i + j]) < static_cast<std::int64_t>(key);
        if (part < 16) return i + static_cast<std::size_t>(part);
    }
    while (i < size && keys[i] < key) ++i;
    return i;
}

ANN_INLINE Key new_key(std::int32_t distance, std::uint32_t row) {
    return static_cast<Key>(static_cast<std::uint32_t>(distance)) << 32 | static_cast<Key>(row) << 1;
}

[[maybe_unused]] std::size_t insert(Key* keys, std::size_t size, std::size_t capacity, Key bound,
                                    const std::uint32_t* rows, const std::int32_t* distances, std::size_t count,
                                    std::size_t* first) {
    constexpr std::size_t most = 8;
    for (std::size_t i = 0; i < count;) {
        // Eight rows are merged at a time, so that the keys behind them move only once.
        Key fresh[most + 1];
        std::size_t found = 0;
        const Key worst = size < capacity || keys[size - 1] > bound ? bound : keys[size - 1];
        for (; i < count && found < most; ++i) {
            fresh[found] = new_key(distances[i], rows[i]);
            found += fresh[found] < worst;
        }
        if (found == 0) continue;
        Key sorted[most];
        for (std::size_t j = 0; j < found; ++j) {
            std::size_t rank = 0;
            for (std::size_t other = 0; other < found; ++other) rank += fresh[other] < fresh[j];
            sorted[rank] = fresh[j];
        }
        std::size_t end = size;
        for (std::size_t j = found; j > 0; --j) {
            const std::size_t place = smaller(keys, end, sorted[j - 1]);
            std::memmove(keys + place + j, keys + place, (end - place) * sizeof(Key));
            keys[place + j - 1] = sorted[j - 1];
            end = place;
        }
        size = size + found < capacity ? size + found : capacity;
        if (end < *first) *first = end;
    }
    return size;
}

// Every set adds floats in the same order, and does not fuse a product and a sum into one rounding (-ffp-contract=off),
// so that scores have the same bits everywhere.
constexpr std::size_t lanes = 32;

struct Lanes {
    float value[lanes] = {};
    float sum() const {
        float part[16];
        for (std::size_t i = 0; i < 16; ++i) part[i] = value[i] + value[i + 16];
        for (std::size_t i = 0; i < 8; ++i) part[i] += part[i + 8];
        for (std::size_t i = 0; i < 4; ++i) part[i] += part[i + 4];
        return (part[0] + part[2]) + (part[1] + part[3]);
    }
};

inline float widen(float value) { return value; }
inline float widen(std::uint16_t value) { return from_half(value); }

template <typename Stored>
inline float squared_of(const float* a, const Stored* b, std::size_t dim) {
    Lanes total;
    std::size_t i = 0;
    for (; i + lanes <= dim; i += lanes) {
        for (std::size_t j = 0; j < lanes; ++j) {
            const float difference = a[i + j] - widen(b[i + j]);
            total.value[j] += difference * difference;
        }
    }
    float sum = total.sum();
    for (; i < dim; ++i) {
        const float difference = a[i] - widen(b[i]);
        sum += difference * difference;
    }
    return sum;
}

template <typename Stored>
inline float dot_of(const float* a, const Stored* b, std::size_t dim) {
    Lanes total;
    std::size_t i = 0;
    for (; i + lanes <= dim; i += lanes) {
        for (std::size_t j = 0; j < lanes; ++j) total.value[j] += a[i + j] * widen(b[i + j]);
    }
    float sum = total.sum();
    for (; i < dim; ++i) sum += a[i] * widen(b[i]);
    return sum;
}

float squared(const float* a, const float* b, std::size_t dim) { return squared_of(a, b, dim); }
float dot(const float* a, const float* b, std::size_t dim) { return dot_of(a, b, dim); }
float squared_half(const float* a, const std::uint16_t* b, std::size_t dim) { return squared_of(a, b, dim); }
float dot_half(const float* a, const std::uint16_t* b, std::size_t dim) { return dot_of(a, b, dim); }

// One instruction for each word if the processor has it. There are four sums, because each addition to a sum waits for
// the addition before it.
inline std::size_t count(const std::uint64_t* words, std::size_t n) {
    std::size_t sums[4] = {0, 0, 0, 0};
    std::size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        for (std::size_t j = 0; j < 4; ++j) sums[j] += static_cast<std::size_t>(__builtin_popcountll(words[i + j]));
    }
    for (; i < n; ++i) sums[0] += static_cast<std::size_t>(__builtin_popcountll(words[i]));
    return sums[0] + sums[1] + sums[2] + sums[3];
}

}  // namespace
}  // namespace ann
