// The inner loops. There is one set for each kind of processor; a set is chosen when an index is made.
//
// Nothing here is inline: each set is compiled in its own file with its own flags (see CMakeLists.txt), so that code
// for a newer processor cannot get into functions that run on every processor. All sets give the same bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace ann {

/// Bits of one component of a code.
enum class Bits : std::uint32_t { four = 4, eight = 8, sixteen = 16 };

/// The components of a code are padded with zeros to a multiple of this.
inline constexpr std::size_t code_padding = 32;

/// A row in a walk: its distance in the upper half, then its number and one bit that says whether it was expanded.
using Key = std::uint64_t;

struct Kernels {
    const char* name;
    /// Compute the distances of a query int16[width] to `count` rows of `codes`, which are scattered over memory. The
    /// results are numbers >= 0 that sort like the distances: sums of squares for 4 and 8 bits, the bits of that sum as
    /// float32 for 16. A row of 4-bit codes has the components 0 .. width/2-1 in its lower nibbles and the others in
    /// its upper nibbles.
    using Score = void (*)(const std::int16_t* query, const std::uint8_t* codes, std::size_t width,
                           const std::uint32_t* rows, std::size_t count, std::int32_t* distances);
    Score score4, score8, score16;
    /// Copy those of `count` rows whose bit in `seen` is not set, each once, and set the bit. `out` has room for 15
    /// more. Returns the number of copied rows.
    std::size_t (*unseen)(const std::uint32_t* rows, std::size_t count, std::uint64_t* seen, std::uint32_t* out);
    /// Insert different rows whose key is below `bound` into the sorted keys[size], which has room for `capacity` + 8
    /// and keeps the `capacity` smallest. Returns the new size; `first` becomes the first changed place, if that is
    /// lower.
    std::size_t (*insert)(Key* keys, std::size_t size, std::size_t capacity, Key bound, const std::uint32_t* rows,
                          const std::int32_t* distances, std::size_t count, std::size_t* first);
    /// Return the squared Euclidean distance, or the inner product, of float32[dim] with float32[dim] or IEEE
    /// float16[dim].
    float (*squared)(const float* a, const float* b, std::size_t dim);
    float (*dot)(const float* a, const float* b, std::size_t dim);
    float (*squared_half)(const float* a, const std::uint16_t* b, std::size_t dim);
    float (*dot_half)(const float* a, const std::uint16_t* b, std::size_t dim);
    /// Return the number of set bits in words[n].
    std::size_t (*count)(const std::uint64_t* words, std::size_t n);

    Score score(Bits bits) const { return bits == Bits::four ? score4 : bits == Bits::eight ? score8 : score16; }
};

/// Return the sets that this processor can run, the simplest first.
std::span<const Kernels* const> kernel_sets();

/// Return the fastest set, or the set that the environment variable MEDALIST_KERNELS names. Throws
/// std::invalid_argument if this processor cannot run it.
const Kernels& chosen_kernels();

}  // namespace ann
