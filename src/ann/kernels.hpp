// The inner loops, one set for each kind of processor, chosen when an index is made.
//
// Nothing here is inline: each set is compiled in a file of its own with its own flags (see CMakeLists.txt), so that
// code for a newer processor cannot leak into what every processor runs. All kernels give the same bits in every set.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace ann {

/// Bits of one component of a code.
enum class Bits : std::uint32_t { four = 4, eight = 8, sixteen = 16 };

/// The components of a code are padded with zeros to a multiple of this.
inline constexpr std::size_t code_padding = 32;

/// What a walk keeps of a row: its distance in the upper half, twice its number, and whether it has been expanded.
using Key = std::uint64_t;

struct Kernels {
    const char* name;
    /// Distances of a query int16[width] to `count` rows of `codes`, scattered over memory, as order-preserving
    /// numbers >= 0: sums of squares for 4 and 8 bits, the bits of that sum as float32 for 16.
    /// A row of 4-bit codes has the components 0 .. width/2-1 in its lower nibbles and the others in the upper ones.
    using Score = void (*)(const std::int16_t* query, const std::uint8_t* codes, std::size_t width,
                           const std::uint32_t* rows, std::size_t count, std::int32_t* distances);
    Score score4, score8, score16;
    /// Copy those of `count` rows whose bit in `seen` is not set, each once, and set it. `out` has room for 15 more.
    /// Returns how many.
    std::size_t (*unseen)(const std::uint32_t* rows, std::size_t count, std::uint64_t* seen, std::uint32_t* out);
    /// Put different rows whose key is below `bound` into the sorted keys[size], which has room for `capacity` + 8 and
    /// keeps the `capacity` smallest. Returns the new size; `first` falls to the first place that changed.
    std::size_t (*insert)(Key* keys, std::size_t size, std::size_t capacity, Key bound, const std::uint32_t* rows,
                          const std::int32_t* distances, std::size_t count, std::size_t* first);
    /// Squared Euclidean distance, and inner product, of float32[dim] with float32[dim] or IEEE float16[dim].
    float (*squared)(const float* a, const float* b, std::size_t dim);
    float (*dot)(const float* a, const float* b, std::size_t dim);
    float (*squared_half)(const float* a, const std::uint16_t* b, std::size_t dim);
    float (*dot_half)(const float* a, const std::uint16_t* b, std::size_t dim);
    /// Bits that are set in words[n].
    std::size_t (*count)(const std::uint64_t* words, std::size_t n);

    Score score(Bits bits) const { return bits == Bits::four ? score4 : bits == Bits::eight ? score8 : score16; }
};

/// The sets that this processor can run, the plainest first.
std::span<const Kernels* const> kernel_sets();

/// The fastest set, or the one that the environment's MEDALIST_KERNELS names; std::invalid_argument where it cannot
/// run.
const Kernels& chosen_kernels();

}  // namespace ann
