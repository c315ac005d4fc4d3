// IEEE 754 binary16 with integers, for compilers and processors without a type for it. The functions are static,
// because the kernels are compiled for different processors.
#pragma once

#include <cstdint>
#include <cstring>

namespace ann {

/// Return the value of a half. The result is exact, for subnormal numbers too.
static inline float from_half(std::uint16_t half) {
    const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
    const std::uint32_t body = static_cast<std::uint32_t>(half & 0x7fffu) << 13;
    float magnitude;
    std::memcpy(&magnitude, &body, sizeof magnitude);
    magnitude *= 0x1p112f;  // moves the exponent from half's bias 15 to single's 127
    std::uint32_t bits;
    std::memcpy(&bits, &magnitude, sizeof bits);
    bits |= sign;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

/// Return the nearest half; ties go to even, and too large values become an infinity.
static inline std::uint16_t to_half(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const std::uint32_t sign = bits >> 16 & 0x8000u;
    std::uint32_t size = bits & 0x7fffffffu;
    if (size >= 0x47800000u) {  // 65536 and above, infinity, NaN
        size = size > 0x7f800000u ? 0x7e00u : 0x7c00u;
    } else if (size < 0x38800000u) {  // below 2^-14: after adding 0.5 the processor rounds at the right place
        float shifted;
        std::memcpy(&shifted, &size, sizeof shifted);
        shifted += 0.5f;
        std::memcpy(&size, &shifted, sizeof size);
        size -= 0x3f000000u;
    } else {
        size = (size - 0x38000000u + 0xfffu + (size >> 13 & 1)) >> 13;
    }
    return static_cast<std::uint16_t>(sign | size);
}

}  // namespace ann
