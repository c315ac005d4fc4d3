// An index: vectors, a graph over their codes, and what a reader and a writer may do at the same time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "build.hpp"
#include "error.hpp"
#include "exact.hpp"
#include "graph.hpp"
#include "kernels.hpp"
#include "quantizer.hpp"
#include "vectors.hpp"

namespace ann {

using Progress = std::function<bool(std::size_t done, std::size_t total)>;

struct Options {
    std::uint32_t dim;
    Metric metric;
    Refine refine;
    std::uint32_t degree;  ///< links of a row, 0: chosen
    std::uint32_t effort;  ///< beam of the walks that build the graph, 0: chosen
    std::uint64_t seed;
};

/// Where answers are written: rows[n, k] padded with -1, scores[n, k] padded with -infinity, counts[n].
struct Hits {
    std::int64_t* rows;
    float* scores;
    std::int64_t* counts;
};

/// What a walk of width `ef` gives, measured on members that were hidden.
struct Recall {
    std::uint32_t ef;
    float at_1, at_10, at_100;  ///< the share of the true nearest neighbours that it finds
    float reach;                ///< the median (squared) distance of the ef-th nearest, over that of the tenth
};

struct Stats {
    std::size_t n;
    std::size_t linked;  ///< rows in the graph or equal to one in it; the others are looked at one by one
    std::uint32_t bits;  ///< of a component in the codes; 0 where there are no codes yet
    std::string kernels;
    std::vector<std::pair<std::string, std::size_t>> memory;  ///< bytes by part
    double degree_mean;
    std::size_t degree_max;
    std::size_t reachable;   ///< rows that a search can find
    std::size_t duplicates;  ///< rows equal to another one
    double clipped;          ///< share of the components that the codes cut off
    std::vector<std::uint32_t> seeds;
    std::vector<Recall> recall;
};

enum class Mode { memory, mapped };

/// The graph, its codes' meaning, and what was found out about them. Never changed once readers can see it.
struct Graph {
    Quantizer quantizer;
    std::size_t trained = 0;   ///< rows there were when the quantizer was trained
    std::size_t linked = 0;    ///< rows [0, linked) are in the graph or equal to one in it
    std::size_t measured = 0;  ///< rows there were when the recall was measured
    std::size_t cut = 0;       ///< components of them that the codes cut off
    Array<std::uint32_t> links;
    std::vector<std::uint32_t> seeds;
    /// Rows equal to an earlier one: (that one, row), sorted. They have no links, and appear with the earlier one.
    std::vector<std::pair<std::uint32_t, std::uint32_t>> duplicates;
    std::vector<Recall> recall;
};

/// What readers see: a value, replaced as a whole. Rows behind `size` may be in the arrays already, and their sizes may
/// change under a reader: it goes by `size`.
struct State {
    Vectors vectors;
    std::size_t size = 0;
    std::shared_ptr<const Graph> graph;          ///< nullptr while there are few rows
    std::shared_ptr<Array<std::uint8_t>> codes;  ///< of all rows, if there is a graph
};

/// A nearest-neighbour index over rows float32[dim], numbered from 0 in the order of adding.
///
/// search, exact, save and stats may run in any number of threads beside one add, and see the rows of whole additions.
class Index {
public:
    /// std::invalid_argument for a dimension of 0 or above 65536, or a degree below 4 or above 512.
    explicit Index(const Options& options);

    /// Add n rows. `progress(done, total)` is called on this thread now and then; where it returns false nothing is
    /// added and Interrupted is thrown. What is built depends on neither the threads nor the processor.
    void add(const float* vectors, std::size_t n, std::size_t threads, const Progress& progress);

    /// The first of n queries that nothing can be compared with: not finite, longer than 2^62, or under cosine shorter
    /// than 2^-63; n where there is none.
    std::size_t first_unfit(const float* queries, std::size_t n) const;

    /// The k nearest rows that a walk of width max(ef, k) finds, for n queries: one that expands all rows up to where
    /// the ef-th nearest usually lies, so that hard queries get more than ef rows, and easy ones fewer.
    void search(const float* queries, std::size_t n, std::size_t k, std::size_t ef, std::size_t threads,
                Hits hits) const;

    /// The k nearest rows.
    void exact(const float* queries, std::size_t n, std::size_t k, std::size_t threads, Hits hits) const;

    /// The beam that finds this share of the k nearest rows of queries like the members; the number of rows where none
    /// that was measured does.
    std::size_t ef_for(double recall, std::size_t k) const;

    std::size_t size() const { return snapshot()->size; }
    std::size_t degree() const { return build_.degree; }
    std::size_t effort() const { return build_.effort; }
    const Options& options() const { return options_; }
    Stats stats() const;
    /// The links of all rows: rows int64[size, degree()] padded with -1; `out` has that size. Fewer where there is less
    /// room.
    void links(std::span<std::int64_t> out) const;
    /// Copy rows to float32[rows, dim]; std::invalid_argument where a row does not exist.
    void vectors(std::span<const std::int64_t> rows, float* out) const;

    /// Write everything, and the caller's `labels`, to one file. FileError.
    void save(const std::string& path, std::span<const std::byte> labels) const;

    /// What save wrote. The full vectors stay in the file where the mode is mapped. FileError with the section and the
    /// reason, whatever the file's bytes are.
    static std::pair<std::unique_ptr<Index>, std::vector<std::byte>> open(const std::string& path, Mode mode);

private:
    friend struct Format;

    std::shared_ptr<const State> snapshot() const;
    void publish(State state);
    std::shared_ptr<const Graph> link(State& state, std::size_t threads, const Progress& progress) const;
    Codes codes_of(const State& state) const;
    Extent extent(const Graph& graph, std::size_t k, std::size_t ef) const;
    void refine(const State& state, const float* query, std::size_t k, std::size_t ef, const Walker& walker,
                std::vector<Hit>& found) const;
    void search_one(const State& state, const float* query, std::size_t k, std::size_t ef, Walker& walker,
                    std::vector<Hit>& found, std::uint32_t hidden = UINT32_MAX) const;
    void measure(const State& state, Graph& graph, std::size_t threads, const std::function<void()>& go_on) const;
    const float* prepared(const float* query, std::vector<float>& room) const;
    void answer(const State& state, std::span<const Hit> found, std::size_t query, std::size_t k, Hits hits) const;
    std::unique_ptr<Walker> borrow() const;
    void give_back(std::unique_ptr<Walker> walker) const;

    Options options_;
    BuildOptions build_;
    const Kernels* kernels_;
    std::mutex writing_;
    mutable std::mutex swapping_;
    std::shared_ptr<const State> state_;
    mutable std::mutex lending_;
    mutable std::vector<std::unique_ptr<Walker>> walkers_;
};

}  // namespace ann
