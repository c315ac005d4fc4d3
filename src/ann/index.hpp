// An index: vectors, a graph over their codes, and what a reader and a writer may do at the same time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bitmap.hpp"
#include "build.hpp"
#include "change.hpp"
#include "error.hpp"
#include "exact.hpp"
#include "filter.hpp"
#include "graph.hpp"
#include "ids.hpp"
#include "kernels.hpp"
#include "quantizer.hpp"
#include "table.hpp"
#include "vectors.hpp"

namespace ann {

using Progress = std::function<bool(std::size_t done, std::size_t total)>;
/// Called with a change once the index that it leads to is made, and before a reader sees it; what it throws undoes it.
using Keep = std::function<void(const Change& change)>;

struct Options {
    std::uint32_t dim;
    Metric metric;
    Refine refine;
    std::uint32_t degree;  ///< links of a row, 0: chosen
    std::uint32_t effort;  ///< beam of the walks that build the graph, 0: chosen
    std::uint64_t seed;
};

/// How answers are looked for. exact: all wanted rows by their vectors. scan: all wanted rows by their codes. walk:
/// through the graph, wanted rows kept aside. bridge: through the wanted rows alone, from some of them. The last two
/// are of answers for which a walk or a bridge was begun, and given up for a scan.
enum class Plan : std::uint8_t {
    exact = 0,
    scan = 1,
    walk = 2,
    bridge = 3,
    walk_then_scan = 4,
    bridge_then_scan = 5,
    chosen = 255
};

/// What is asked of all queries of a call.
struct Ask {
    std::size_t k = 10;
    std::size_t ef = 64;
    std::size_t threads = 1;
    Plan plan = Plan::chosen;                     ///< exact, scan, walk, bridge or chosen
    std::span<const Filter* const> filters = {};  ///< none, one for all queries, or one for each (nullptr: all rows)
    float least = -std::numeric_limits<float>::infinity();  ///< answers have at least this score
    std::optional<std::size_t> group = std::nullopt;        ///< a field: at most `per` answers share a value of it
    std::size_t per = 1;
};

/// Where answers are written: rows[n, k] padded with -1, scores[n, k] padded with -infinity, counts[n]; and, unless
/// they are nullptr, plans[n] and cost[n]: how many rows were compared with the query, by code or by vector.
struct Hits {
    std::int64_t* rows;
    float* scores;
    std::int64_t* counts;
    Plan* plans = nullptr;
    std::int64_t* cost = nullptr;
};

/// What a walk of width `ef` gives, measured on members that were hidden.
struct Recall {
    std::uint32_t ef;
    float at_1, at_10, at_100;  ///< the share of the true nearest neighbours that it finds
    float reach;                ///< the median (squared) distance of the ef-th nearest, over that of the tenth
};

struct Stats {
    std::size_t n;       ///< rows alive
    std::size_t dead;    ///< rows that were deleted or replaced, and whose place is not reclaimed yet
    std::size_t loose;   ///< rows whose fields are looked at one by one
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
    std::size_t size = 0;  ///< rows, dead ones too
    std::size_t dead = 0;
    std::size_t late_cut = 0;                    ///< components that the codes cut off, of rows behind the graph's
    std::shared_ptr<const Graph> graph = {};     ///< nullptr while there are few rows
    std::shared_ptr<Array<std::uint8_t>> codes;  ///< of all rows, if there is a graph
    Ids ids;
    Table table;
    std::shared_ptr<const Bitmap> live;  ///< the rows that are not dead
};

/// A nearest-neighbour index over vectors float32[dim] with ids and fields. A vector stands in a row; rows are numbered
/// in the order of adding, and anew when dead ones are cleared away, which keeps that order.
///
/// Everything that reads may run in any number of threads beside one that writes, and sees whole changes.
class Index {
public:
    /// std::invalid_argument for a dimension of 0 or above 65536, or a degree below 4 or above 512.
    explicit Index(const Options& options, Schema schema = {});

    /// Make a change, and say how many ids it concerned. `progress(done, total)` is called on this thread now and then
    /// while rows are linked; where it returns false nothing is changed and Interrupted is thrown. What is built
    /// depends on neither the threads nor the processor. std::invalid_argument for a change that does not fit:
    /// first_known() finds out which id of an add is there already.
    std::size_t write(const Change& change, std::size_t threads, const Progress& progress, const Keep& keep = nullptr);
    /// Remove what a filter means, or change its fields by the only row of `fields`: as changes that name ids.
    std::size_t drop(std::span<const std::byte> filter, std::size_t threads, const Progress& progress,
                     const Keep& keep = nullptr);
    std::size_t set(std::span<const std::byte> filter, std::span<const std::byte> fields, const Keep& keep = nullptr);
    /// Make changes of a log again, as write does but faster; then redone(), once.
    std::size_t redo(const Change& change, std::size_t threads);
    void redone(std::size_t threads);
    /// Clear dead rows away, link late ones, sort all fields.
    void compact(std::size_t threads, const Progress& progress);
    /// The first id of a batch that is there; its count where none is.
    std::size_t first_known(const IdBatch& ids) const;

    /// Add n rows whose ids are their numbers, without fields.
    void add(const float* vectors, std::size_t n, std::size_t threads, const Progress& progress);

    /// What readers see now: rows mean something together with it.
    std::shared_ptr<const State> now() const;

    /// The first of n queries that nothing can be compared with: not finite, longer than 2^62, or under cosine shorter
    /// than 2^-63; n where there is none.
    std::size_t first_unfit(const float* queries, std::size_t n) const;

    /// The k nearest living rows for n queries, as well as a walk of width max(ef, k) through all rows would find them:
    /// one that expands all rows up to where the ef-th nearest usually lies, so that hard queries get more than ef
    /// rows, and easy ones fewer. Never fewer than there are. Ask.plan tells or leaves open how.
    void search(const State& state, const float* queries, std::size_t n, const Ask& ask, const Hits& hits) const;
    void search(const float* queries, std::size_t n, std::size_t k, std::size_t ef, std::size_t threads,
                const Hits& hits) const;
    void exact(const float* queries, std::size_t n, std::size_t k, std::size_t threads, const Hits& hits) const;

    /// All living rows that the filter (or nullptr) means with at least this score, nearest first, by their vectors.
    std::vector<Hit> within(const State& state, const float* query, float least, const Filter* filter) const;

    /// The living rows that a filter means.
    Selection select(const State& state, const Filter& filter) const;

    /// The beam that finds this share of the k nearest rows of queries like the members; the number of rows where none
    /// that was measured does.
    std::size_t ef_for(double recall, std::size_t k) const;

    /// Living rows.
    std::size_t size() const;
    const Schema& schema() const { return schema_; }
    std::size_t degree() const { return build_.degree; }
    std::size_t effort() const { return build_.effort; }
    const Options& options() const { return options_; }
    Stats stats() const;
    /// The links of all rows: rows int64[size, degree()] padded with -1; `out` has that size. Fewer where there is less
    /// room.
    void links(std::span<std::int64_t> out) const;
    /// Copy rows to float32[rows, dim]; std::invalid_argument where a row does not exist.
    void vectors(const State& state, std::span<const std::int64_t> rows, float* out) const;

    /// Write everything to one file. FileError.
    void save(const std::string& path) const;

    /// What save wrote. The full vectors stay in the file where the mode is mapped. FileError with the section and the
    /// reason, whatever the file's bytes are. With `without_graph` it is not read, and made anew by the next change.
    static std::unique_ptr<Index> open(const std::string& path, Mode mode, bool without_graph = false);

private:
    friend struct Format;
    struct Among;  // rows that are wanted, made ready for many queries

    void publish(State state);
    std::size_t by_filter(std::span<const std::byte> filter, Change change, std::size_t threads,
                          const Progress& progress, const Keep& keep);
    std::size_t make(State& state, const Change& change, std::size_t threads) const;
    void append(State& state, const Change& change, const IdBatch& ids, std::size_t threads) const;
    /// usual: keeps what readers look at one by one short. later: puts that off, for many changes one after another
    /// that nobody reads between. everything: nothing is left to do.
    enum class Settle { usual, later, everything };
    void settle(State& state, std::size_t threads, const Progress& progress, Settle how) const;
    State compacted(const State& state, std::size_t threads) const;
    std::shared_ptr<const Graph> healed(const State& state, std::span<const std::uint32_t> rows, const State& fresh,
                                        std::size_t threads) const;
    std::shared_ptr<const Graph> link(State& state, std::size_t threads, const Progress& progress) const;
    Codes codes_of(const State& state) const;
    Extent extent(const Graph& graph, std::size_t k, std::size_t ef) const;
    void refine(const State& state, const float* query, std::size_t k, std::span<const Key> rows,
                std::vector<Hit>& found) const;
    Plan search_one(const State& state, const float* query, std::size_t k, std::size_t ef, Walker& walker,
                    std::vector<Hit>& found, std::uint32_t hidden = UINT32_MAX) const;
    bool encode(const Graph& graph, const float* query, Walker& walker) const;
    Among among(const State& state, const Filter* filter) const;
    void ready_for_walks(const State& state, Among& among) const;
    std::vector<std::uint32_t> starts(const Graph& graph, const Bitmap& nodes) const;
    void exact_among(const State& state, const Among& among, const float* query, std::size_t k,
                     std::vector<Hit>& found) const;
    void finish_walk(const State& state, const Among& among, const float* query, std::size_t k, std::size_t ef,
                     Walker& walker, std::vector<Hit>& found) const;
    Plan search_among(const State& state, const Among& among, const float* query, std::size_t k, const Ask& ask,
                      Walker& walker, std::vector<Hit>& found) const;
    Plan answer_one(const State& state, const Among& among, const float* query, const Ask& ask, Walker& walker,
                    std::vector<Hit>& found) const;
    void measure(const State& state, Graph& graph, std::size_t threads, const std::function<void()>& go_on) const;
    const float* prepared(const float* query, std::vector<float>& room) const;
    void exact_all(const State& state, const float* queries, std::size_t n, const Ask& ask, const Hits& hits) const;
    void answer(const State& state, std::span<const Hit> found, std::size_t query, const Ask& ask,
                const Hits& hits) const;
    std::unique_ptr<Walker> borrow() const;
    void give_back(std::unique_ptr<Walker> walker) const;

    Options options_;
    Schema schema_;
    BuildOptions build_;
    const Kernels* kernels_;
    std::mutex writing_;
    mutable std::mutex swapping_;
    std::shared_ptr<const State> state_;
    mutable std::mutex lending_;
    mutable std::vector<std::unique_ptr<Walker>> walkers_;
};

}  // namespace ann
