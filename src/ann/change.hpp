// What is written to an index: one value for Python, for the log, and for the index itself.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ids.hpp"

namespace ann {

/// add: new rows under ids that must not be there; put: the same, but rows of the same ids are replaced; drop: rows of
/// these ids go; set: the fields of these ids change. A view of the caller's bytes.
///
/// In bytes: u8 what, u8 zero[3], u32 dim, u64 bytes of ids, u64 bytes of fields, u64 floats; the ids (IdBatch), zeros
/// up to a multiple of 8, the fields (Payload; may be empty: nothing told), zeros up to a multiple of 8, and the floats
/// [count, dim] of an add or a put. No byte behind the end.
struct Change {
    enum class What : std::uint8_t { add = 0, put = 1, drop = 2, set = 3 };
    What what = What::add;
    std::uint32_t dim = 0;              ///< 1 to 65536 of an add or a put
    std::span<const std::byte> ids;     ///< of IdBatch
    std::span<const std::byte> fields;  ///< of Payload
    std::span<const float> vectors;

    std::vector<std::byte> encode() const;
    /// The bytes of encode(), one piece after another: views of `head`, which is filled, and of this value's bytes.
    using Head = std::array<std::byte, 32>;
    std::array<std::span<const std::byte>, 6> pieces(Head& head) const;
    /// std::invalid_argument("change: ...") for bytes that no change is; ids and fields are not looked into. The bytes
    /// begin at a multiple of 8.
    static Change decode(std::span<const std::byte> bytes);
};

}  // namespace ann
