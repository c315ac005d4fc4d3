// The byte format of a log (see log.hpp), and the checksum of data that come in pieces.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

#include "checksum.hpp"

namespace ann::log_format {

inline constexpr std::array<char, 8> magic{'M', 'E', 'D', 'L', 'O', 'G', '\r', '\n'};
inline constexpr std::uint16_t major_version = 1;
inline constexpr std::uint32_t byte_order = 0x01020304;

struct Head {
    std::array<char, 8> magic;
    std::uint16_t major, minor;
    std::uint32_t byte_order;
    std::uint64_t number;
    std::uint64_t checksum;  ///< of all bytes before it
};
static_assert(sizeof(Head) == 32 && std::is_trivially_copyable_v<Head>);

struct RecordHead {
    std::uint64_t length, sequence, body_checksum;
    std::uint64_t checksum;  ///< of the three values above and the log's number
};
static_assert(sizeof(RecordHead) == 32 && std::is_trivially_copyable_v<RecordHead>);

template <typename T>
std::span<const std::byte> bytes_of(const T& value) {
    return std::as_bytes(std::span(&value, 1));
}

inline std::uint64_t checksum_of(const Head& head) {
    return checksum(bytes_of(head).first(sizeof head - sizeof head.checksum));
}

inline std::uint64_t checksum_of(RecordHead head, std::uint64_t number) {
    head.checksum = number;
    return checksum(bytes_of(head));
}

inline Head head_of(std::uint64_t number) {
    Head head{magic, major_version, 0, byte_order, number, 0};
    head.checksum = checksum_of(head);
    return head;
}

inline std::size_t padding(std::size_t bytes) { return (8 - bytes % 8) % 8; }

/// The checksum() of bytes that come in several pieces.
class Checksum {
public:
    void add(std::span<const std::byte> bytes) {
        total_ += bytes.size();
        if (filled_ > 0) {
            const std::size_t more = std::min(bytes.size(), rest_.size() - filled_);
            if (more > 0) std::memcpy(rest_.data() + filled_, bytes.data(), more);
            filled_ += more;
            bytes = bytes.subspan(more);
            if (filled_ < rest_.size()) return;
            mix(rest_.data());
            filled_ = 0;
        }
        for (; bytes.size() >= rest_.size(); bytes = bytes.subspan(rest_.size())) mix(bytes.data());
        if (!bytes.empty()) std::memcpy(rest_.data(), bytes.data(), bytes.size());
        filled_ = bytes.size();
    }

    std::uint64_t value() const {
        using namespace xxh64;
        std::span<const std::byte> rest(rest_.data(), filled_);
        if (total_ < rest_.size()) return checksum(rest);
        std::uint64_t hash =
            std::rotl(lanes_[0], 1) + std::rotl(lanes_[1], 7) + std::rotl(lanes_[2], 12) + std::rotl(lanes_[3], 18);
        for (const std::uint64_t lane : lanes_) hash = merged(hash, lane);
        hash += total_;
        for (; rest.size() >= 8; rest = rest.subspan(8)) {
            hash = std::rotl(hash ^ mixed(0, read<std::uint64_t>(rest.data())), 27) * prime1 + prime4;
        }
        if (rest.size() >= 4) {
            hash = std::rotl(hash ^ (read<std::uint32_t>(rest.data()) * prime1), 23) * prime2 + prime3;
            rest = rest.subspan(4);
        }
        for (const std::byte value : rest) {
            hash = std::rotl(hash ^ (std::to_integer<std::uint64_t>(value) * prime5), 11) * prime1;
        }
        hash = (hash ^ (hash >> 33)) * prime2;
        hash = (hash ^ (hash >> 29)) * prime3;
        return hash ^ (hash >> 32);
    }

private:
    void mix(const std::byte* stripe) {
        for (std::uint64_t& lane : lanes_) {
            lane = xxh64::mixed(lane, xxh64::read<std::uint64_t>(stripe));
            stripe += sizeof lane;
        }
    }

    std::array<std::uint64_t, 4> lanes_{xxh64::prime1 + xxh64::prime2, xxh64::prime2, 0, 0 - xxh64::prime1};
    std::array<std::byte, 32> rest_{};  ///< the beginning of the last stripe, which is not full
    std::size_t filled_ = 0;
    std::uint64_t total_ = 0;
};

}  // namespace ann::log_format
