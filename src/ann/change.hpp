// A change of an index: the same value serves Python, the log, and the index itself.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ids.hpp"

namespace ann {

/// add: new rows, under ids that must not exist; put: the same, but rows with the same ids are replaced; drop: rows
/// with these ids are deleted; set: fields of the rows with these ids are changed. A Change is a view of the caller's
/// bytes.
///
/// In bytes: u8 what, u8 zero[3], u32 dim, u64 bytes of ids, u64 bytes of fields, u64 floats; the ids (IdBatch), zeros
/// up to a multiple of 8, the fields (Payload; empty if no field has a value), zeros up to a multiple of 8, and the
/// floats [count, dim] of an add or a put. No bytes may follow.
struct Change {
    enum class What : std::uint8_t { add = 0, put = 1, drop = 2, set = 3 };
    What what = What::add;
    std::uint32_t dim = 0;              ///< for an add or a put: 1 to 65536
    std::span<const std::byte> ids;     ///< as in IdBatch
    std::span<const std::byte> fields;  ///< as in Payload
    std::span<const float> vectors;

    std::vector<std::byte> encode() const;
    /// Return the bytes of encode() in pieces: views of `head`, which is filled, and of this value's bytes.
    using Head = std::array<std::byte, 32>;
    std::array<std::span<const std::byte>, 6> pieces(Head& head) const;
    /// Read a change. The bytes must begin at a multiple of 8. Throws std::invalid_argument("change: ...") for bytes
    /// that are not a change; the contents of ids and fields are not checked.
    static Change decode(std::span<const std::byte> bytes);
};

}  // namespace ann
