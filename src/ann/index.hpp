// An index: vectors and a graph over their codes; one writer and any number of readers can use it at the same time.
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
#include "disk.hpp"
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
/// Called with a change after the next state is made, and before a reader sees it. If it throws, the change is undone.
using Keep = std::function<void(const Change& change)>;

struct Options {
    std::uint32_t dim;
    Metric metric;
    Refine refine;
    std::uint32_t degree;  ///< links of a row; 0: chosen by the index
    std::uint32_t effort;  ///< beam of the walks that build the graph; 0: chosen by the index
    std::uint64_t seed;
};

/// How answers are found. exact: compare the vectors of all wanted rows. scan: compare the codes of all wanted rows.
/// walk: walk through the graph and collect wanted rows. bridge: walk only through wanted rows, from some of them. The
/// last two report that a walk or a bridge was begun, and then replaced by a scan.
enum class Plan : std::uint8_t {
    exact = 0,
    scan = 1,
    walk = 2,
    bridge = 3,
    walk_then_scan = 4,
    bridge_then_scan = 5,
    chosen = 255
};

/// The options that hold for all queries of a call.
struct Ask {
    std::size_t k = 10;
    std::size_t ef = 64;
    std::size_t threads = 1;
    Plan plan = Plan::chosen;                     ///< exact, scan, walk, bridge or chosen
    std::span<const Filter* const> filters = {};  ///< none, one for all queries, or one each (nullptr: all rows)
    float least = -std::numeric_limits<float>::infinity();  ///< answers have at least this score
    std::optional<std::size_t> group = std::nullopt;        ///< a field: at most `per` answers share a value of it
    std::size_t per = 1;
    /// Queries of a larger farness (see Hits) that a walk answers are searched again, four times as wide each time,
    /// until two searches agree; if they never do, all wanted rows are compared.
    float farthest = std::numeric_limits<float>::infinity();
};

/// Where answers are written: rows[n, k] padded with -1, scores[n, k] padded with -infinity, counts[n]; and, unless
/// they are nullptr, plans[n] and cost[n], the number of rows that were compared with the query, by code or by vector.
struct Hits {
    std::int64_t* rows;
    float* scores;
    std::int64_t* counts;
    Plan* plans = nullptr;
    std::int64_t* cost = nullptr;
    /// farness[n]: how far out the query lies (see Outness), over how far rows of the index lie. 0 if all rows were
    /// compared at once.
    float* farness = nullptr;
};

/// The results of walks of width `ef`, measured with rows of the index as queries, which are hidden from the walk.
struct Recall {
    std::uint32_t ef;
    float at_1, at_10, at_100;  ///< the share of the true nearest neighbours that it finds
    float reach;                ///< the median (squared) distance of the ef-th nearest, over that of the tenth
};

struct Stats {
    std::size_t n;       ///< living rows
    std::size_t dead;    ///< rows that were deleted or replaced, and whose place is not free yet
    std::size_t loose;   ///< rows whose fields are checked one by one
    std::size_t linked;  ///< rows in the graph or equal to a row in it; other rows are compared one by one
    std::uint32_t bits;  ///< bits of a component in the codes; 0 if there are no codes yet
    std::string kernels;
    std::vector<std::pair<std::string, std::size_t>> memory;  ///< bytes by part
    double degree_mean;
    std::size_t degree_max;
    std::size_t reachable;   ///< rows that a search can find
    std::size_t duplicates;  ///< rows that are equal to an earlier row
    double clipped;          ///< share of the components that the codes cut off
    std::vector<std::uint32_t> seeds;
    std::vector<Recall> recall;
};

/// Where the full vectors of an opened index are: read into memory, or mapped, so that they stay in the file.
/// automatic: mapped only in a file of more than disk::most_copied bytes.
enum class Mode : std::uint8_t { mapped = 0, memory = 1, automatic = 2 };

/// How far out a query lies, by codes: in the units of all rows, and in those of the rows near it, which may lie more
/// densely. Queries that lie farther out than rows do need wider walks than rows do.
struct Outness {
    float tenth = 0.0f;  ///< the (squared) distance of its tenth nearest row
    float ratio = 0.0f;  ///< this distance, over that of the tenth nearest linked row of its nearest rows
};

/// The graph, the meaning of its codes, and what was measured. It never changes once readers can see it.
struct Graph {
    Quantizer quantizer;
    std::size_t trained = 0;   ///< number of rows when the quantizer was trained
    std::size_t linked = 0;    ///< rows [0, linked) are in the graph or equal to a row in it
    std::size_t measured = 0;  ///< number of rows when the recall was measured
    std::size_t cut = 0;       ///< components of the linked rows that the codes cut off
    Array<std::uint32_t> links;
    std::vector<std::uint32_t> seeds;
    /// Rows that are equal to an earlier row: (earlier row, row), sorted. They have no links, and are found with the
    /// earlier row.
    std::vector<std::pair<std::uint32_t, std::uint32_t>> duplicates;
    std::vector<Recall> recall;
    Outness outer;  ///< how far out rows lie at most, when they are hidden and asked for: see Index::outer
};

/// What readers see. A state is replaced as a whole. The arrays may already have rows behind `size`, and may grow while
/// a reader uses the state, so a reader must only use the first `size` rows.
struct State {
    Vectors vectors;
    std::size_t size = 0;  ///< rows, including dead rows
    std::size_t dead = 0;
    std::size_t late_cut = 0;                    ///< components of rows behind the graph's that the codes cut off
    std::shared_ptr<const Graph> graph = {};     ///< nullptr while there are few rows
    std::shared_ptr<Array<std::uint8_t>> codes;  ///< of all rows, if there is a graph
    Ids ids;
    Table table;
    std::shared_ptr<const Bitmap> live;  ///< the rows that are not dead
};

/// A nearest-neighbour index over vectors float32[dim] with ids and fields. Each vector has a row. Rows are numbered in
/// the order of adding, and numbered again in the same order when dead rows are removed.
///
/// Any number of threads may read while one thread writes. Readers see whole changes only.
class Index {
public:
    /// Throws std::invalid_argument for a dimension of 0 or above 65536, or a degree below 4 or above 512.
    explicit Index(const Options& options, Schema schema = {});

    /// Make a change, and return how many ids it concerned. While rows are linked `progress(done, total)` is called on
    /// this thread from time to time; if it returns false, nothing is changed and Interrupted is thrown. The result
    /// depends on neither the threads nor the processor. Throws std::invalid_argument for a change that does not fit;
    /// first_known() returns which id of an add already exists.
    std::size_t write(const Change& change, std::size_t threads, const Progress& progress, const Keep& keep = nullptr);
    /// Remove the rows that a filter selects, or set their fields to the only row of `fields`. The change that is kept
    /// names ids.
    std::size_t drop(std::span<const std::byte> filter, std::size_t threads, const Progress& progress,
                     const Keep& keep = nullptr);
    std::size_t set(std::span<const std::byte> filter, std::span<const std::byte> fields, const Keep& keep = nullptr);
    /// Apply changes of a log again, as write does but faster. Then call redone(), once.
    std::size_t redo(const Change& change, std::size_t threads);
    void redone(std::size_t threads);
    /// Remove dead rows, link late rows, and index all fields.
    void compact(std::size_t threads, const Progress& progress);
    /// Return the place of the first id of a batch that the index has; the batch's count if it has none.
    std::size_t first_known(const IdBatch& ids) const;

    /// Add n rows without fields. Their ids are row numbers.
    void add(const float* vectors, std::size_t n, std::size_t threads, const Progress& progress);

    /// Return the state that readers see now. Row numbers are valid only together with it.
    std::shared_ptr<const State> now() const;

    /// Return the first of n queries that cannot be compared: not finite, longer than 2^62, or under cosine shorter
    /// than 2^-63; n if all queries are fit.
    std::size_t first_unfit(const float* queries, std::size_t n) const;

    /// Find the k nearest living rows for n queries, with the recall of a walk of width max(ef, k) through all rows. A
    /// walk expands all rows up to the distance at which the ef-th nearest usually lies, so that hard queries expand
    /// more than ef rows, and easy queries fewer. Fewer than k answers are given only if there are fewer rows. Ask.plan
    /// sets the plan or leaves it open.
    void search(const State& state, const float* queries, std::size_t n, const Ask& ask, const Hits& hits) const;
    void search(const float* queries, std::size_t n, std::size_t k, std::size_t ef, std::size_t threads,
                const Hits& hits) const;
    void exact(const float* queries, std::size_t n, std::size_t k, std::size_t threads, const Hits& hits) const;

    /// Return all living rows that the filter selects (nullptr: all) with at least this score, nearest first, by their
    /// vectors.
    std::vector<Hit> within(const State& state, const float* query, float least, const Filter* filter) const;

    /// Return the living rows that a filter selects.
    Selection select(const State& state, const Filter& filter) const;

    /// Return the width that finds this share of the k nearest rows for queries like the index's rows; the number of
    /// rows if no measured width does.
    std::size_t ef_for(double recall, std::size_t k) const;

    /// Return the number of living rows.
    std::size_t size() const;
    const Schema& schema() const { return schema_; }
    std::size_t degree() const { return build_.degree; }
    std::size_t effort() const { return build_.effort; }
    const Options& options() const { return options_; }
    Stats stats() const;
    /// Write the links of all rows: rows int64[size, degree()] padded with -1. If `out` is shorter, the last rows are
    /// left out.
    void links(std::span<std::int64_t> out) const;
    /// Copy rows to float32[rows, dim]. Throws std::invalid_argument if a row does not exist.
    void vectors(const State& state, std::span<const std::int64_t> rows, float* out) const;

    /// Write everything to one file. Throws FileError.
    void save(const std::string& path) const;

    /// Read what save wrote. Throws FileError with the section and the reason, for any faulty bytes. With
    /// `without_graph` the graph is not read, and the next change builds it again.
    static std::unique_ptr<Index> open(const std::string& path, Mode mode, bool without_graph = false);
    /// Return whether vectors are still mapped from a file that was changed since (see disk::Contents): then no answer
    /// can be trusted, and reading the vectors may end the process.
    bool file_changed() const;

private:
    friend struct Format;
    struct Among;  // the rows that may be answered, prepared for many queries
    struct Told;   // how a query was answered

    void publish(State state);
    std::size_t by_filter(std::span<const std::byte> filter, Change change, std::size_t threads,
                          const Progress& progress, const Keep& keep);
    std::size_t make(State& state, const Change& change, std::size_t threads) const;
    void append(State& state, const Change& change, const IdBatch& ids, std::size_t threads) const;
    /// usual: link and index late rows, and remove dead rows, when there are so many that readers slow down. later:
    /// postpone that, for many changes in sequence without reads between them. everything: leave nothing to be done.
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
    Told answer_aimed(const State& state, const Among& among, const float* query, const Ask& ask, bool plain,
                      Walker& walker, std::vector<Hit>& found) const;
    Outness outness(const Graph& graph, const Codes& codes, std::span<const Key> rows, Walker& walker) const;
    float farness(const State& state, std::span<const Key> rows, double share, Walker& walker) const;
    Outness outer(const State& state, const Graph& graph, std::size_t threads) const;
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
    std::weak_ptr<const disk::Contents> mapped_;  ///< the file that vectors are mapped from; empty once none are
    mutable std::mutex lending_;
    mutable std::vector<std::unique_ptr<Walker>> walkers_;
};

}  // namespace ann
