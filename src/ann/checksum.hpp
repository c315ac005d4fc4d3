// Checksums of the file's parts.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace ann {

namespace xxh64 {

inline constexpr std::uint64_t prime1 = 0x9E3779B185EBCA87u;
inline constexpr std::uint64_t prime2 = 0xC2B2AE3D27D4EB4Fu;
inline constexpr std::uint64_t prime3 = 0x165667B19E3779F9u;
inline constexpr std::uint64_t prime4 = 0x85EBCA77C2B2AE63u;
inline constexpr std::uint64_t prime5 = 0x27D4EB2F165667C5u;

template <typename T>
T read(const std::byte* from) {
    T value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

inline std::uint64_t mixed(std::uint64_t lane, std::uint64_t input) {
    return std::rotl(lane + input * prime2, 31) * prime1;
}

inline std::uint64_t merged(std::uint64_t hash, std::uint64_t lane) {
    return (hash ^ mixed(0, lane)) * prime1 + prime4;
}

}  // namespace xxh64

/// XXH64 with seed 0 (Y. Collet, xxHash fast digest algorithm, specification v0.1.1): 64 bits that detect accidental
/// damage, not forgery. Four independent lanes of 64-bit multiplications run at about the speed of memory on any
/// processor; a table of CRC-32C is slower, unless the processor has special instructions for it. The values are those
/// of little-endian machines. A file of a big-endian machine is refused by its endian mark before a checksum is
/// computed.
inline std::uint64_t checksum(std::span<const std::byte> bytes) {
    using namespace xxh64;
    const std::byte* at = bytes.data();
    std::size_t left = bytes.size();
    std::uint64_t hash = prime5;
    if (left >= 32) {
        std::uint64_t lane[4] = {prime1 + prime2, prime2, 0, 0 - prime1};
        for (; left >= 32; at += 32, left -= 32) {
            for (std::size_t i = 0; i < 4; ++i) lane[i] = mixed(lane[i], read<std::uint64_t>(at + 8 * i));
        }
        hash = std::rotl(lane[0], 1) + std::rotl(lane[1], 7) + std::rotl(lane[2], 12) + std::rotl(lane[3], 18);
        for (const std::uint64_t value : lane) hash = merged(hash, value);
    }
    hash += bytes.size();
    for (; left >= 8; at += 8, left -= 8) {
        hash = std::rotl(hash ^ mixed(0, read<std::uint64_t>(at)), 27) * prime1 + prime4;
    }
    if (left >= 4) {
        hash = std::rotl(hash ^ (read<std::uint32_t>(at) * prime1), 23) * prime2 + prime3;
        at += 4;
        left -= 4;
    }
    for (; left > 0; ++at, --left) hash = std::rotl(hash ^ (std::to_integer<std::uint64_t>(*at) * prime5), 11) * prime1;
    hash = (hash ^ (hash >> 33)) * prime2;
    hash = (hash ^ (hash >> 29)) * prime3;
    return hash ^ (hash >> 32);
}

}  // namespace ann
