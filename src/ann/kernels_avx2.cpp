// Code that compilers do not generate by themselves is written with intrinsics, as in kernels_avx512.cpp.
#include <immintrin.h>

#include "kernels_body.hpp"

namespace ann {
namespace {

/// Return eight partial sums of squared differences for one row of 4-bit codes.
template <std::size_t fixed>
ANN_INLINE __m256i partial4(const std::int16_t* query, const std::uint8_t* code, std::size_t any) {
    const std::size_t half = (fixed != 0 ? fixed : any) / 2;
    const __m256i upper = _mm256_set1_epi8(static_cast<char>(0xf0));
    __m256i sum = _mm256_setzero_si256();
    const auto add = [&](const std::int16_t* from, __m128i bytes) __attribute__((always_inline)) {
        const __m256i values = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
        const __m256i difference = _mm256_sub_epi16(values, _mm256_cvtepu8_epi16(bytes));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(difference, difference));
    };
    std::size_t i = 0;
    for (; i + 32 <= half; i += 32) {
        const __m256i both = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(code + i));
        const __m256i low = _mm256_and_si256(_mm256_slli_epi16(both, 4), upper);
        const __m256i high = _mm256_and_si256(both, upper);
        add(query + i, _mm256_castsi256_si128(low));
        add(query + i + 16, _mm256_extracti128_si256(low, 1));
        add(query + half + i, _mm256_castsi256_si128(high));
        add(query + half + i + 16, _mm256_extracti128_si256(high, 1));
    }
    if (i < half) {  // the last 16 bytes
        const __m128i both = _mm_loadu_si128(reinterpret_cast<const __m128i*>(code + i));
        add(query + i, _mm_and_si128(_mm_slli_epi16(both, 4), _mm256_castsi256_si128(upper)));
        add(query + half + i, _mm_and_si128(both, _mm256_castsi256_si128(upper)));
    }
    return sum;
}

/// Return the sums of four vectors of eight numbers.
ANN_INLINE __m128i sums_of(__m256i a, __m256i b, __m256i c, __m256i d) {
    const __m256i all = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    return _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
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
        __m256i part[4];
        for (std::size_t j = 0; j < 4; ++j) {
            if (i + j + ahead < count) ANN_ASK(codes + rows[i + j + ahead] * bytes, bytes);
            part[j] = partial4<fixed>(query, codes + rows[i + j] * bytes, width);
        }
        _mm_storeu_si128(reinterpret_cast<__m128i*>(distances + i), sums_of(part[0], part[1], part[2], part[3]));
    }
    for (; i < count; ++i) {
        const __m256i part = partial4<fixed>(query, codes + rows[i] * bytes, width);
        distances[i] = _mm_cvtsi128_si32(sums_of(part, part, part, part));
    }
}

void score4(const std::int16_t* query, const std::uint8_t* codes, std::size_t width, const std::uint32_t* rows,
            std::size_t count, std::int32_t* distances) {
    switch (width) {  // the usual widths without loops
        case 128: return score4_rows<128>(query, codes, width, rows, count, distances);
        case 256: return score4_rows<256>(query, codes, width, rows, count, distances);
        default: return score4_rows<0>(query, codes, width, rows, count, distances);
    }
}

}  // namespace

extern const Kernels avx2_kernels;
const Kernels avx2_kernels{"avx2",  score4, score<Eight>, score<Sixteen>, unseen, insert,
                           squared, dot,    squared_half, dot_half,       count};

}  // namespace ann
