// The bytes of a container, for damaging it: where its parts are, and functions that make its checksums right again.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "file.hpp"

namespace bytes {

using Bytes = std::vector<std::byte>;

inline Bytes read(const std::string& path) {
    Bytes all;
    std::FILE* file = std::fopen(path.c_str(), "rb");
    if (file == nullptr) throw std::runtime_error("cannot open " + path);
    std::byte block[65536];
    while (const std::size_t got = std::fread(block, 1, sizeof block, file)) all.insert(all.end(), block, block + got);
    std::fclose(file);
    return all;
}

template <typename T>
T get(const Bytes& from, std::size_t at) {
    T value;
    std::memcpy(&value, from.data() + at, sizeof value);
    return value;
}

template <typename T>
void put(Bytes& to, std::size_t at, T value) {
    std::memcpy(to.data() + at, &value, sizeof value);
}

/// Where the header has its numbers (src/ann/file.hpp).
inline constexpr std::size_t minor_at = 10, length_at = 16, count_at = 20, size_at = 24, table_at = 32, entry_size = 32;

/// Return the number of table entries that the header declares and that the bytes have room for.
inline std::size_t entries(const Bytes& file) {
    if (file.size() < ann::container::page) return 0;
    return std::min<std::size_t>(get<std::uint32_t>(file, count_at), ann::container::most_sections);
}

/// Make the checksums of all sections inside the file right, then the header's checksum. A file that is too short for a
/// header stays as it is.
inline void seal(Bytes& file) {
    if (file.size() < ann::container::page) return;
    const std::size_t count = entries(file);
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t at = table_at + i * entry_size;
        const auto offset = get<std::uint64_t>(file, at + 8);
        const auto length = get<std::uint64_t>(file, at + 16);
        if (offset > file.size() || length > file.size() - offset) continue;
        const std::span<const std::byte> section(file.data() + offset, static_cast<std::size_t>(length));
        put(file, at + 24, ann::checksum(section));
    }
    const std::size_t end = table_at + count * entry_size;
    put(file, end, ann::checksum({file.data(), end}));
}

}  // namespace bytes
