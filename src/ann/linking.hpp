// Functions for linking rows into a graph, beside the construction of the graph itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "index.hpp"

namespace ann {

/// Scale float32[dim] to length 1; zeros stay zeros. The result has the same bits on every processor.
void make_unit(float* x, std::size_t dim);

/// Write the codes of rows [first, last) behind the existing codes, and return how many components were cut off.
std::size_t encode_rows(const Quantizer& quantizer, const Vectors& vectors, std::size_t first, std::size_t last,
                        std::shared_ptr<Array<std::uint8_t>>& codes, std::size_t threads);

enum class Purpose : std::uint64_t { rotating, sampling, ordering, measuring, judging };

/// Return a seed for one purpose: its random numbers do not depend on how many numbers another purpose used.
std::uint64_t seed_for(std::uint64_t seed, Purpose purpose);

/// Return the seed of an index's quantizer, which is not saved but made again.
std::uint64_t quantizer_seed(std::uint64_t seed);

/// Return at most `count` different rows of `size`, in random order.
std::vector<std::uint32_t> some_rows(std::uint64_t seed, std::size_t size, std::size_t count);

/// Return the quantizer with the fewest bits whose codes distinguish near rows from others.
Quantizer train(const State& state, const Options& options, const Kernels& kernels);

/// Return the rows that no walk can reach: rows that are not seeds, have no link from a reachable row, and are not
/// equal to one.
std::vector<std::uint32_t> unreached(const Graph& graph, std::size_t degree);

/// Return the number of seeds: as many as a walk can compare at the cost of a few steps.
std::size_t seeds_for(std::size_t rows);

/// Make every row reachable from the seeds: an unreachable row gets a link from a near row that has room for one. If no
/// row gets a link in this way, one of them becomes a seed.
void mend(Graph& graph, std::size_t degree);

/// Return the largest width of a walk through a graph of `linked` rows. A walk compares some dozen rows for each row of
/// its width, so a wider walk costs more than comparing all rows.
inline std::size_t widest_walk(std::size_t linked) { return linked / 32; }

/// Return how many rows that a walk found are compared in full: enough to make up for the low precision of the codes.
inline std::size_t refined(std::size_t k, std::size_t ef) { return k + 6 + ef / 4; }

/// Add the rows that are equal to the found rows, in order; at most k rows in all.
void add_duplicates(const Graph& graph, std::size_t k, std::vector<Hit>& found);

}  // namespace ann
