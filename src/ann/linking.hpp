// What linking rows into a graph needs beside the graph's own construction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "index.hpp"

namespace ann {

/// Scale float32[dim] to length 1; zeros stay zeros. The same bits on every processor.
void make_unit(float* x, std::size_t dim);

/// Write the codes of rows [first, last) behind those that are there, and return how many components were cut off.
std::size_t encode_rows(const Quantizer& quantizer, const Vectors& vectors, std::size_t first, std::size_t last,
                        std::shared_ptr<Array<std::uint8_t>>& codes, std::size_t threads);

enum class Purpose : std::uint64_t { rotating, sampling, ordering, measuring, judging };

/// Random numbers for one purpose do not depend on how many another one took.
std::uint64_t seed_for(std::uint64_t seed, Purpose purpose);

/// The seed of an index's quantizer, which is not kept but made again.
std::uint64_t quantizer_seed(std::uint64_t seed);

/// At most `count` different rows of `size`, in random order.
std::vector<std::uint32_t> some_rows(std::uint64_t seed, std::size_t size, std::size_t count);

/// The quantizer with the fewest bits whose codes tell near rows from others.
Quantizer train(const State& state, const Options& options, const Kernels& kernels);

/// Rows that no walk can come to: neither seeds nor linked from one that can be reached, nor equal to such a row.
std::vector<std::uint32_t> unreached(const Graph& graph, std::size_t degree);

/// As many seeds as a walk can look at for the price of a few steps.
std::size_t seeds_for(std::size_t rows);

/// Every row can be come to from the seeds: rows that cannot get a link from a near row that has room for one, and
/// where there is none they become seeds themselves.
void mend(Graph& graph, std::size_t degree);

/// The widest walk through a graph of so many rows: a walk looks at some dozen rows for each one of its width, and
/// beyond this is dearer than looking at all of them.
inline std::size_t widest_walk(std::size_t linked) { return linked / 32; }

/// How many rows that a walk found are compared in full: enough that what the codes blur lies among them.
inline std::size_t refined(std::size_t k, std::size_t ef) { return k + 6 + ef / 4; }

/// Put the rows equal to those found beside them, in order, at most k in all.
void add_duplicates(const Graph& graph, std::size_t k, std::vector<Hit>& found);

}  // namespace ann
