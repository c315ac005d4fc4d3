#include "index.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <utility>

#include "format.hpp"
#include "linking.hpp"

namespace ann {
namespace {

/// Links of a row where nobody says how many: fewer where the vectors are small, so that with float16 the whole index
/// stays below 0.85 of the raw float32 vectors.
std::uint32_t default_degree(const Options& options) {
    if (options.refine == Refine::float32) return 32;
    const double raw = 4.0 * options.dim, vector = 2.0 * options.dim;
    const double code = static_cast<double>((options.dim + code_padding - 1) / code_padding * code_padding) / 2.0;
    return static_cast<std::uint32_t>(std::clamp((0.84 * raw - vector - code) / sizeof(std::uint32_t), 16.0, 32.0));
}

constexpr std::uint32_t default_effort = 64;

/// Rows without links that a search may have to look at one by one: a tail of so many is cheaper than a graph, or than
/// extending one.
std::size_t longest_tail(std::size_t linked) { return std::clamp<std::size_t>(linked / 64, 1024, 4096); }

/// How many of a beam's rows are compared in full: enough that what the codes blur lies among them.
std::size_t refined(std::size_t k, std::size_t ef) { return k + 20 + ef / 8; }

void check_options(const Options& options) {
    if (options.dim == 0 || options.dim > 65536) throw std::invalid_argument("dim must be between 1 and 65536");
    if (options.degree != 0 && (options.degree < 4 || options.degree > 512)) {
        throw std::invalid_argument("degree must be between 4 and 512");
    }
    if (options.effort != 0 && (options.effort < 8 || options.effort > 65536)) {
        throw std::invalid_argument("effort must be between 8 and 65536");
    }
}

}  // namespace

Index::Index(const Options& options) : options_(options), kernels_(&chosen_kernels()) {
    check_options(options);
    build_.degree = options.degree != 0 ? options.degree : default_degree(options);
    build_.effort = options.effort != 0 ? options.effort : default_effort;
    build_.seed = options.seed;
    Vectors none(options.dim, options.metric, options.refine, *kernels_);
    state_ = std::make_shared<State>(State{std::move(none), 0, nullptr, std::make_shared<Array<std::uint8_t>>()});
}

std::shared_ptr<const State> Index::snapshot() const {
    const std::lock_guard lock(swapping_);
    return state_;
}

void Index::publish(State state) {
    auto fresh = std::make_shared<const State>(std::move(state));
    const std::lock_guard lock(swapping_);
    state_.swap(fresh);
}

void Index::add(const float* vectors, std::size_t n, std::size_t threads, const Progress& progress) {
    if (n == 0) return;
    const std::lock_guard writing(writing_);
    State state = *snapshot();
    const std::size_t old = state.size;
    if (n > most_rows - old) throw std::invalid_argument("an index holds at most 2147483647 rows");
    threads = std::max<std::size_t>(threads, 1);
    std::vector<float> units;
    if (options_.metric == Metric::cosine) {
        units.assign(vectors, vectors + n * options_.dim);
        parallel_for(n, 4096, threads, [&](std::size_t first, std::size_t last, std::size_t) {
            for (std::size_t i = first; i < last; ++i) make_unit(units.data() + i * options_.dim, options_.dim);
        });
        vectors = units.data();
    }
    state.vectors = state.vectors.with(vectors, n, old);
    units = {};
    state.size = old + n;
    const std::size_t linked = state.graph ? state.graph->linked : 0;
    if (state.size - linked > longest_tail(linked)) {
        state.graph = link(state, threads, progress);
    } else if (state.graph) {
        encode_rows(state.graph->quantizer, state.vectors, old, state.size, state.codes, threads);
    }
    publish(std::move(state));
}

const float* Index::prepared(const float* query, std::vector<float>& room) const {
    if (options_.metric != Metric::cosine) return query;
    room.assign(query, query + options_.dim);
    make_unit(room.data(), options_.dim);
    return room.data();
}

void Index::search_one(const State& state, const float* query, std::size_t k, std::size_t ef, Walker& walker,
                       const Kernels& kernels, std::vector<Hit>& found, std::uint32_t hidden) const {
    const Graph& graph = *state.graph;
    const Quantizer& quantizer = graph.quantizer;
    walker.query.resize(quantizer.padded());
    walker.scratch.resize(quantizer.width());
    found.clear();
    if (!quantizer.encode_query(query, walker.query.data(), walker.scratch.data())) {
        Best best(std::min(k + 1, state.size));
        scan(state.vectors, 0, state.size, query, 1, &best);
        found = best.take();
        std::erase_if(found, [=](const Hit& hit) { return hit.row == hidden; });
        return;
    }
    const Codes codes{state.codes->data(), state.size, quantizer.padded(), quantizer.bytes(), &kernels,
                      kernels.score(quantizer.scale().bits)};
    walker.walk(codes, {graph.links.data(), build_.degree}, graph.seeds, ef, graph.linked, false, hidden);
    const auto beam = walker.beam().first(std::min(walker.beam().size(), refined(k, ef)));
    constexpr std::size_t ahead = 4;
    for (std::size_t i = 0; i < std::min(beam.size(), ahead); ++i) state.vectors.ask(row_of(beam[i]));
    for (std::size_t i = 0; i < beam.size(); ++i) {
        if (i + ahead < beam.size()) state.vectors.ask(row_of(beam[i + ahead]));
        found.push_back({state.vectors.closeness(query, row_of(beam[i])), row_of(beam[i])});
    }
    const std::size_t kept = std::min(k, found.size());
    std::partial_sort(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(kept), found.end(), before);
    found.resize(kept);
    if (!graph.duplicates.empty()) add_duplicates(graph, k, found);
}

void Index::search(const float* queries, std::size_t n, std::size_t k, std::size_t ef, std::size_t threads,
                   Hits hits) const {
    const auto state = snapshot();
    ef = std::max(ef, k);
    if (!state->graph || ef >= state->graph->linked) return exact(queries, n, k, threads, hits);
    parallel_for(n, 16, std::max<std::size_t>(threads, 1), [&](std::size_t first, std::size_t last, std::size_t) {
        auto walker = borrow();
        std::vector<Hit> found;
        std::vector<float> room;
        for (std::size_t i = first; i < last; ++i) {
            const float* query = prepared(queries + i * options_.dim, room);
            search_one(*state, query, k, ef, *walker, *kernels_, found);
            answer(*state, found, i, k, hits);
        }
        give_back(std::move(walker));
    });
}

void Index::exact(const float* queries, std::size_t n, std::size_t k, std::size_t threads, Hits hits) const {
    const auto state = snapshot();
    std::vector<float> units;
    if (options_.metric == Metric::cosine) {
        units.assign(queries, queries + n * options_.dim);
        for (std::size_t i = 0; i < n; ++i) make_unit(units.data() + i * options_.dim, options_.dim);
        queries = units.data();
    }
    exact_search(state->vectors, state->size, queries, n, k, std::max<std::size_t>(threads, 1),
                 [&](std::size_t query, const std::vector<Hit>& found) { answer(*state, found, query, k, hits); });
}

void Index::answer(const State& state, std::span<const Hit> found, std::size_t query, std::size_t k, Hits hits) const {
    const std::size_t count = std::min(found.size(), k);
    for (std::size_t i = 0; i < count; ++i) {
        hits.rows[query * k + i] = found[i].row;
        hits.scores[query * k + i] = state.vectors.score(found[i].closeness);
    }
    std::fill_n(hits.rows + query * k + count, k - count, std::int64_t{-1});
    std::fill_n(hits.scores + query * k + count, k - count, -std::numeric_limits<float>::infinity());
    hits.counts[query] = static_cast<std::int64_t>(count);
}

std::unique_ptr<Walker> Index::borrow() const {
    const std::lock_guard lock(lending_);
    if (walkers_.empty()) return std::make_unique<Walker>();
    auto walker = std::move(walkers_.back());
    walkers_.pop_back();
    return walker;
}

void Index::give_back(std::unique_ptr<Walker> walker) const {
    const std::lock_guard lock(lending_);
    walkers_.push_back(std::move(walker));
}

std::size_t Index::ef_for(double recall, std::size_t k) const {
    const auto state = snapshot();
    if (!state->graph || state->graph->recall.empty()) return state->size;
    const auto reached = [&](const Recall& row) {
        return static_cast<double>(k <= 1 ? row.at_1 : k <= 10 ? row.at_10 : row.at_100);
    };
    // Beyond a hundred answers the beam grows with them.
    const double more = k > 100 ? static_cast<double>(k) / 100.0 : 1.0;
    const auto& table = state->graph->recall;
    for (std::size_t i = 0; i < table.size(); ++i) {
        if (reached(table[i]) < recall) continue;
        double ef = table[i].ef;
        if (i > 0) {
            const double low = reached(table[i - 1]), high = reached(table[i]);
            const double before = table[i - 1].ef;
            ef = before * std::pow(ef / before, (recall - low) / (high - low));
        }
        return std::min(static_cast<std::size_t>(std::ceil(std::max(ef * more, static_cast<double>(k)))), state->size);
    }
    return state->size;
}

Stats Index::stats() const {
    const auto state = snapshot();
    const auto graph = state->graph;
    Stats stats{};
    stats.n = stats.reachable = state->size;
    stats.kernels = kernels_->name;
    stats.memory.emplace_back("vectors", state->vectors.bytes());
    if (!graph) return stats;
    stats.linked = graph->linked;
    stats.bits = static_cast<std::uint32_t>(graph->quantizer.scale().bits);
    stats.memory.emplace_back("codes", state->codes->bytes());
    stats.memory.emplace_back("links", graph->links.bytes());
    stats.memory.emplace_back("seeds", graph->seeds.size() * sizeof(std::uint32_t));
    stats.memory.emplace_back("duplicates", graph->duplicates.size() * sizeof(graph->duplicates[0]));
    stats.duplicates = graph->duplicates.size();
    const Links links{graph->links.data(), build_.degree};
    std::size_t sum = 0;
    for (std::size_t row = 0; row < graph->linked; ++row) {
        const auto of = links.of(row);
        const auto end = std::find(of.begin(), of.end(), static_cast<std::uint32_t>(row));
        const auto degree = static_cast<std::size_t>(end - of.begin());
        sum += degree;
        stats.degree_max = std::max(stats.degree_max, degree);
    }
    stats.degree_mean = static_cast<double>(sum) / static_cast<double>(graph->linked - graph->duplicates.size());
    stats.reachable -= unreached(*graph, build_.degree).size();
    const double components = static_cast<double>(graph->linked) * static_cast<double>(graph->quantizer.width());
    stats.clipped = static_cast<double>(graph->cut) / components;
    stats.seeds = graph->seeds;
    stats.recall = graph->recall;
    return stats;
}

void Index::links(std::span<std::int64_t> out) const {
    const auto state = snapshot();
    std::fill(out.begin(), out.end(), std::int64_t{-1});
    if (!state->graph) return;
    const Links links{state->graph->links.data(), build_.degree};
    for (std::size_t row = 0; row < std::min(state->graph->linked, out.size() / build_.degree); ++row) {
        const auto of = links.of(row);
        for (std::size_t i = 0; i < of.size() && of[i] != row; ++i) out[row * build_.degree + i] = of[i];
    }
}

void Index::vectors(std::span<const std::int64_t> rows, float* out) const {
    const auto state = snapshot();
    for (const std::int64_t row : rows) {
        if (row < 0 || static_cast<std::size_t>(row) >= state->size) {
            throw std::invalid_argument("no row " + std::to_string(row));
        }
        state->vectors.read(static_cast<std::size_t>(row), out);
        out += options_.dim;
    }
}

void Index::save(const std::string& path, std::span<const std::byte> labels) const {
    Format::save(*this, *snapshot(), path, labels);
}

std::pair<std::unique_ptr<Index>, std::vector<std::byte>> Index::open(const std::string& path, Mode mode) {
    return Format::open(path, mode);
}

}  // namespace ann
