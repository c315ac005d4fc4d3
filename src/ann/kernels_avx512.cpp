// Code that compilers do not generate by themselves is written with intrinsics: rows of 4-bit codes, summed four at a
// time, and the bookkeeping of a walk, which takes half of its time once distances are cheap.
#include <immintrin.h>

#include "kernels_body.hpp"

namespace ann {
namespace {

/// Return sixteen partial sums of squared differences for one row of 4-bit codes.
template <std::size_t fixed>
ANN_INLINE __m512i partial4(const std::int16_t* query, const std::uint8_t* code, std::size_t any) {
    const std::size_t half = (fixed != 0 ? fixed : any) / 2;
    const __m512i upper = _mm512_set1_epi8(static_cast<char>(0xf0));
    __m512i sum = _mm512_setzero_si512();
    const auto add = [&](const std::int16_t* from, __mmask32 mask, __m256i bytes) __attribute__((always_inline)) {
        const __m512i values = mask == 0xffffffffu ? _mm512_loadu_si512(from) : _mm512_maskz_loadu_epi16(mask, from);
        const __m512i difference = _mm512_sub_epi16(values, _mm512_cvtepu8_epi16(bytes));
        sum = _mm512_dpwssd_epi32(sum, difference, difference);
    };
    std::size_t i = 0;
    for (; i + 64 <= half; i += 64) {
        const __m512i both = _mm512_loadu_si512(code + i);
        const __m512i low = _mm512_and_si512(_mm512_slli_epi16(both, 4), upper);
        const __m512i high = _mm512_and_si512(both, upper);
        add(query + i, 0xffffffffu, _mm512_castsi512_si256(low));
        add(query + i + 32, 0xffffffffu, _mm512_extracti64x4_epi64(low, 1));
        add(query + half + i, 0xffffffffu, _mm512_castsi512_si256(high));
        add(query + half + i + 32, 0xffffffffu, _mm512_extracti64x4_epi64(high, 1));
    }
    for (; i < half; i += 32) {  // the last 16, 32 or 48 bytes
        const __mmask32 mask = half - i >= 32 ? 0xffffffffu : 0xffffu;
        const __m256i both = _mm256_maskz_loadu_epi8(mask, code + i);
        const __m256i low = _mm256_and_si256(_mm256_slli_epi16(both, 4), _mm512_castsi512_si256(upper));
        add(query + i, mask, low);
        add(query + half + i, mask, _mm256_and_si256(both, _mm512_castsi512_si256(upper)));
    }
    return sum;
}

/// Return the sums of four vectors of sixteen numbers.
ANN_INLINE __m128i sums_of(__m512i a, __m512i b, __m512i c, __m512i d) {
    const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    const __m512i abcd = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    const __m256i two = _mm256_add_epi32(_mm512_castsi512_si256(abcd), _mm512_extracti64x4_epi64(abcd, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(two), _mm256_extracti128_si256(two, 1));
}

template <std::size_t fixed>
ANN_INLINE void score4_rows(const std::int16_t* query, const std::uint8_t* codes, std::size_t any,
                            const std::uint32_t* rows, std::size_t count, std::int32_t* distances) {
    constexpr std::size_t ahead = 16;
    const std::size_t width = fixed != 0 ? fixed : any;
    const std::size_t bytes = width / 2;
    const std::size_t first = count < ahead ? count : ahead;
    for (std::size_t i = 0; i < first; ++i) ANN_ASK(codes + rows[i] * bytes, bytes);
    std::size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        __m512i part[4];
        for (std::size_t j = 0; j < 4; ++j) {
            if (i + j + ahead < count) ANN_ASK(codes + rows[i + j + ahead] * bytes, bytes);
            part[j] = partial4<fixed>(query, codes + rows[i + j] * bytes, width);
        }
        _mm_storeu_si128(reinterpret_cast<__m128i*>(distances + i), sums_of(part[0], part[1], part[2], part[3]));
    }
    for (; i < count; ++i)
        distances[i] = _mm512_reduce_add_epi32(partial4<fixed>(query, codes + rows[i] * bytes, width));
}

void score4(const std::int16_t* query, const std::uint8_t* codes, std::size_t width, const std::uint32_t* rows,
            std::size_t count, std::int32_t* distances) {
    switch (width) {  // the usual widths without loops
        case 128: return score4_rows<128>(query, codes, width, rows, count, distances);
        case 256: return score4_rows<256>(query, codes, width, rows, count, distances);
        default: return score4_rows<0>(query, codes, width, rows, count, distances);
    }
}

std::size_t unseen512(const std::uint32_t* rows, std::size_t count, std::uint64_t* seen, std::uint32_t* out) {
    std::size_t found = 0;
    for (std::size_t i = 0; i < count; i += 16) {
        const auto valid = static_cast<__mmask16>(count - i >= 16 ? 0xffff : (1u << (count - i)) - 1);
        const __m512i row = _mm512_maskz_loadu_epi32(valid, rows + i);
        const __m512i words = _mm512_i32gather_epi32(_mm512_srli_epi32(row, 5), seen, 4);
        const __m512i bit = _mm512_sllv_epi32(_mm512_set1_epi32(1), _mm512_and_si512(row, _mm512_set1_epi32(31)));
        const __mmask16 fresh = _mm512_mask_testn_epi32_mask(valid, words, bit);
        _mm512_storeu_si512(out + found, _mm512_maskz_compress_epi32(fresh, row));
        found += static_cast<std::size_t>(__builtin_popcount(fresh));
    }
    return mark(out, found, seen);
}

/// Return how many of the sorted keys[size] are smaller.
ANN_INLINE std::size_t smaller512(const Key* keys, std::size_t size, Key key) {
    const __m512i wanted = _mm512_set1_epi64(static_cast<long long>(key));
    for (std::size_t i = 0; i < size; i += 8) {
        const auto valid = static_cast<__mmask8>(size - i >= 8 ? 0xff : (1u << (size - i)) - 1);
        const __mmask8 smaller = _mm512_mask_cmplt_epu64_mask(valid, _mm512_loadu_si512(keys + i), wanted);
        if (smaller != 0xff) return i + static_cast<std::size_t>(__builtin_popcount(smaller));
    }
    return size;
}

/// Move keys [from, to) up by `by` > 0 places.
ANN_INLINE void move_up(Key* keys, std::size_t from, std::size_t to, std::size_t by) {
    for (; to >= from + 8; to -= 8) _mm512_storeu_si512(keys + to + by - 8, _mm512_loadu_si512(keys + to - 8));
    const auto rest = static_cast<__mmask8>((1u << (to - from)) - 1);
    _mm512_mask_storeu_epi64(keys + from + by, rest, _mm512_maskz_loadu_epi64(rest, keys + from));
}

/// Eight rows are merged at a time, so that the keys behind them move only once.
std::size_t insert512(Key* keys, std::size_t size, std::size_t capacity, Key bound, const std::uint32_t* rows,
                      const std::int32_t* distances, std::size_t count, std::size_t* first) {
    for (std::size_t i = 0; i < count; i += 8) {
        const auto valid = static_cast<__mmask8>(count - i >= 8 ? 0xff : (1u << (count - i)) - 1);
        const __m512i upper =
            _mm512_slli_epi64(_mm512_cvtepu32_epi64(_mm256_maskz_loadu_epi32(valid, distances + i)), 32);
        const __m512i lower = _mm512_slli_epi64(_mm512_cvtepu32_epi64(_mm256_maskz_loadu_epi32(valid, rows + i)), 1);
        const __m512i all = _mm512_or_si512(upper, lower);
        const Key worst = size < capacity || keys[size - 1] > bound ? bound : keys[size - 1];
        const __mmask8 good =
            _mm512_mask_cmplt_epu64_mask(valid, all, _mm512_set1_epi64(static_cast<long long>(worst)));
        if (good == 0) continue;
        const auto fresh = static_cast<std::size_t>(__builtin_popcount(good));
        // Unused places hold the largest key, and therefore have the ranks from `fresh` on.
        const __m512i some = _mm512_mask_compress_epi64(_mm512_set1_epi64(-1), good, all);
        Key unsorted[8], sorted[8];
        _mm512_storeu_si512(unsorted, some);
        for (std::size_t j = 0; j < fresh; ++j) {
            const __mmask8 before =
                _mm512_cmplt_epu64_mask(some, _mm512_set1_epi64(static_cast<long long>(unsorted[j])));
            sorted[__builtin_popcount(before)] = unsorted[j];
        }
        std::size_t end = size;
        for (std::size_t j = fresh; j > 0; --j) {
            const std::size_t place = smaller512(keys, end, sorted[j - 1]);
            move_up(keys, place, end, j);
            keys[place + j - 1] = sorted[j - 1];
            end = place;
        }
        size = size + fresh < capacity ? size + fresh : capacity;
        if (end < *first) *first = end;
    }
    return size;
}

}  // namespace

extern const Kernels avx512_kernels;
const Kernels avx512_kernels{"avx512", score4, score<Eight>, score<Sixteen>, unseen512, insert512,
                             squared,  dot,    squared_half, dot_half,       count};

}  // namespace ann
