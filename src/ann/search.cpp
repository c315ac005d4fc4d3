// Searching: walks through the graph, alone or several at a time, and what they found compared in full.
#include <algorithm>
#include <limits>
#include <utility>

#include "index.hpp"
#include "linking.hpp"

namespace ann {
namespace {

/// How many of a beam's rows are compared in full: enough that what the codes blur lies among them.
std::size_t refined(std::size_t k, std::size_t ef) { return k + 6 + ef / 4; }

}  // namespace

Codes Index::codes_of(const State& state) const {
    const Quantizer& quantizer = state.graph->quantizer;
    return {state.codes->data(), state.size, quantizer.padded(), quantizer.bytes(), kernels_, quantizer.scale().bits};
}

Extent Index::extent(const Graph& graph, std::size_t k, std::size_t ef) const {
    // After distance-adaptive beam search (Al-Jazzazi et al., 2025): how far the k-th is tells how hard the query
    // is. How much farther than it the ef-th lies was measured on the members.
    constexpr std::size_t least_rank = 10, most = 4;
    const std::size_t rank = std::max(k, least_rank);
    const auto& table = graph.recall;
    if (table.size() < 2 || ef < table.front().ef) return {.beam = ef};
    const auto reach = [&](std::size_t width) {  // linear between the measured widths, and beyond the last one
        const auto at = std::lower_bound(table.begin() + 1, table.end() - 1, width,
                                         [](const Recall& row, std::size_t value) { return row.ef < value; });
        const Recall& low = *(at - 1);
        const float part =
            (static_cast<float>(width) - static_cast<float>(low.ef)) / static_cast<float>(at->ef - low.ef);
        return low.reach + part * (at->reach - low.reach);
    };
    const float stretch = std::max(reach(std::max(ef, rank)) / reach(rank), 1.0f);
    return {.beam = most * ef, .least = refined(k, ef), .rank = rank, .stretch = stretch};
}

std::size_t Index::first_unfit(const float* queries, std::size_t n) const {
    const double shortest = options_.metric == Metric::cosine ? 0x1p-126 : 0.0;
    for (std::size_t i = 0; i < n; ++i) {
        const float* query = queries + i * options_.dim;
        const double squared = kernels_->dot(query, query, options_.dim);
        if (!(squared >= shortest && squared <= 0x1p124)) return i;
    }
    return n;
}

const float* Index::prepared(const float* query, std::vector<float>& room) const {
    if (options_.metric != Metric::cosine) return query;
    room.assign(query, query + options_.dim);
    make_unit(room.data(), options_.dim);
    return room.data();
}

void Index::refine(const State& state, const float* query, std::size_t k, std::size_t ef, const Walker& walker,
                   std::vector<Hit>& found) const {
    const auto beam = walker.beam().first(std::min(walker.beam().size(), refined(k, ef)));
    constexpr std::size_t ahead = 4;
    found.clear();
    for (std::size_t i = 0; i < std::min(beam.size(), ahead); ++i) state.vectors.ask(row_of(beam[i]));
    for (std::size_t i = 0; i < beam.size(); ++i) {
        if (i + ahead < beam.size()) state.vectors.ask(row_of(beam[i + ahead]));
        found.push_back({state.vectors.closeness(query, row_of(beam[i])), row_of(beam[i])});
    }
    const std::size_t kept = std::min(k, found.size());
    std::partial_sort(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(kept), found.end(), before);
    found.resize(kept);
    if (!state.graph->duplicates.empty()) add_duplicates(*state.graph, k, found);
}

void Index::search_one(const State& state, const float* query, std::size_t k, std::size_t ef, Walker& walker,
                       std::vector<Hit>& found, std::uint32_t hidden) const {
    const Graph& graph = *state.graph;
    walker.query.resize(graph.quantizer.padded());
    walker.scratch.resize(graph.quantizer.width());
    if (graph.quantizer.encode_query(query, walker.query.data(), walker.scratch.data())) {
        walker.walk(codes_of(state), {graph.links.data(), build_.degree}, graph.seeds, extent(graph, k, ef),
                    graph.linked, false, hidden);
        refine(state, query, k, ef, walker, found);
        return;
    }
    // The query is too far from all rows for the integers of the codes.
    Best best(std::min(k + 1, state.size));
    scan(state.vectors, 0, state.size, query, 1, &best);
    found = best.take();
    std::erase_if(found, [=](const Hit& hit) { return hit.row == hidden; });
}

void Index::search(const float* queries, std::size_t n, std::size_t k, std::size_t ef, std::size_t threads,
                   Hits hits) const {
    const auto state = snapshot();
    ef = std::max(ef, k);
    if (!state->graph || ef > widest_walk(state->graph->linked)) return exact(queries, n, k, threads, hits);
    parallel_for(n, 32, std::max<std::size_t>(threads, 1), [&](std::size_t first, std::size_t last, std::size_t) {
        auto walker = borrow();
        std::vector<Hit> found;
        std::vector<float> room;
        for (std::size_t i = first; i < last; ++i) {
            search_one(*state, prepared(queries + i * options_.dim, room), k, ef, *walker, found);
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

}  // namespace ann
