// Searching: walks through the graph; the rows that they find are compared in full.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "among.hpp"
#include "linking.hpp"

namespace ann {

Codes Index::codes_of(const State& state) const {
    const Quantizer& quantizer = state.graph->quantizer;
    return {state.codes->data(), state.size, quantizer.padded(), quantizer.bytes(), kernels_, quantizer.scale().bits};
}

Extent Index::extent(const Graph& graph, std::size_t k, std::size_t ef) const {
    // As in distance-adaptive beam search (Al-Jazzazi et al., 2025), the distance of the k-th nearest shows how hard
    // the query is. How much farther the ef-th nearest lies was measured with rows of the index as queries.
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

void Index::refine(const State& state, const float* query, std::size_t k, std::span<const Key> rows,
                   std::vector<Hit>& found) const {
    constexpr std::size_t ahead = 4;
    found.clear();
    for (std::size_t i = 0; i < std::min(rows.size(), ahead); ++i) state.vectors.ask(row_of(rows[i]));
    for (std::size_t i = 0; i < rows.size(); ++i) {
        if (i + ahead < rows.size()) state.vectors.ask(row_of(rows[i + ahead]));
        found.push_back({state.vectors.closeness(query, row_of(rows[i])), row_of(rows[i])});
    }
    const std::size_t kept = std::min(k, found.size());
    std::partial_sort(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(kept), found.end(), before);
    found.resize(kept);
}

bool Index::encode(const Graph& graph, const float* query, Walker& walker) const {
    walker.query.resize(graph.quantizer.padded());
    walker.scratch.resize(graph.quantizer.width());
    return graph.quantizer.encode_query(query, walker.query.data(), walker.scratch.data());
}

Plan Index::search_one(const State& state, const float* query, std::size_t k, std::size_t ef, Walker& walker,
                       std::vector<Hit>& found, std::uint32_t hidden) const {
    const Graph& graph = *state.graph;
    if (encode(graph, query, walker)) {
        walker.walk(codes_of(state), {graph.links.data(), build_.degree}, graph.seeds, extent(graph, k, ef),
                    graph.linked, false, hidden);
        walker.farness = farness(state, walker.beam(), 1.0, walker);
        refine(state, query, k, walker.beam().first(std::min(walker.beam().size(), refined(k, ef))), found);
        if (!graph.duplicates.empty()) add_duplicates(graph, k, found);
        return Plan::walk;
    }
    // The query is too far from all rows for the integers of the codes.
    Best best(std::min(k + 1, state.size));
    scan(state.vectors, 0, state.size, query, 1, &best);
    found = best.take();
    std::erase_if(found, [=](const Hit& hit) { return hit.row == hidden; });
    return Plan::exact;
}

/// How a query was answered.
struct Index::Told {
    Plan plan = Plan::exact;
    std::size_t looked = 0;  ///< rows that were compared with the query
    float farness = 0.0f;
    bool scan = false;  ///< all rows must still be compared: no two searches agreed
};

Outness Index::outness(const Graph& graph, const Codes& codes, std::span<const Key> rows, Walker& walker) const {
    constexpr std::size_t rank = 10, judges = 3;
    if (rows.empty()) return {};
    Outness found{codes.real(distance_of(rows[std::min(rows.size(), rank) - 1])), 0.0f};
    const Links links{graph.links.data(), build_.degree};
    walker.near.resize(codes.width);
    walker.near_distances.resize(links.degree);
    std::array<float, judges> reaches{};  // in rising order
    std::size_t count = 0;
    for (std::size_t i = 0; i < std::min(rows.size(), judges); ++i) {
        const std::uint32_t row = row_of(rows[i]);
        if (row >= graph.linked) continue;
        const auto of = links.of(row);
        const auto some = static_cast<std::size_t>(std::find(of.begin(), of.end(), row) - of.begin());
        if (some == 0) continue;
        graph.quantizer.spread(codes.row(row), walker.near.data());
        std::int32_t* const distances = walker.near_distances.data();
        codes.kernels->score(codes.bits)(walker.near.data(), codes.data, codes.width, of.data(), some, distances);
        const std::size_t place = std::min(some, rank) - 1;
        std::nth_element(distances, distances + place, distances + some);
        const float reach = codes.real(distances[place]);
        if (!(reach > 0.0f)) continue;
        std::size_t at = count++;
        for (; at > 0 && reaches[at - 1] > reach; --at) reaches[at] = reaches[at - 1];
        reaches[at] = reach;
    }
    if (count == 0) return found;
    found.ratio = found.tenth / reaches[count / 2];
    return found;
}

float Index::farness(const State& state, std::span<const Key> rows, double share, Walker& walker) const {
    constexpr std::size_t rank = 10;
    const Graph& graph = *state.graph;
    const Outness found = outness(graph, codes_of(state), rows, walker);
    float factor = 1.0f;
    // If only a share of the rows is wanted, their tenth nearest is a later one of all rows. The distance grows with
    // the rank by a power, which was measured with rows of the index.
    const auto& table = graph.recall;
    if (share < 1.0 && table.size() > 1) {
        const double power = std::log(static_cast<double>(table.back().reach)) /
                             std::log(static_cast<double>(table.back().ef) / static_cast<double>(table.front().ef));
        const double later = static_cast<double>(std::min(rows.size(), rank)) / (share * static_cast<double>(rank));
        factor = static_cast<float>(std::pow(std::max(later, 1.0), power));
    }
    const float tenth = graph.outer.tenth > 0.0f ? found.tenth / graph.outer.tenth : 0.0f;
    const float ratio = graph.outer.ratio > 0.0f ? found.ratio / graph.outer.ratio : 0.0f;
    return std::max(tenth, ratio) / factor;
}

/// Answer a query; if it lies farther out than ask.farthest, search wider until two searches agree.
Index::Told Index::answer_aimed(const State& state, const Among& among, const float* query, const Ask& ask, bool plain,
                                Walker& walker, std::vector<Hit>& found) const {
    Told told;
    const auto search = [&](std::size_t ef, Plan plan) {
        Ask now = ask;
        now.ef = std::max(ef, ask.k);
        now.plan = plan;
        walker.farness = 0.0f;
        told.plan = plain && plan != Plan::exact ? search_one(state, query, ask.k, now.ef, walker, found)
                                                 : answer_one(state, among, query, now, walker, found);
        told.looked += told.plan == Plan::exact ? among.count() : walker.looked();
    };
    // A scan misses little of what lies far away, because it compares many more rows in full than a walk does.
    const auto walked = [&] { return told.plan == Plan::walk || told.plan == Plan::bridge; };
    const auto same = [](const Hit& a, const Hit& b) { return a.row == b.row; };
    constexpr std::size_t least_wide = 100;  // two narrow walks may agree on what both have missed
    search(ask.ef, ask.plan);
    told.farness = walker.farness;
    if (!walked() || !(told.farness > ask.farthest)) return told;
    std::vector<Hit> before;
    for (std::size_t ef = std::max(4 * std::max(ask.ef, ask.k), least_wide); ef <= widest_walk(state.graph->linked);
         ef *= 4) {
        before.swap(found);
        search(ef, ask.plan);
        if (!walked() || std::equal(before.begin(), before.end(), found.begin(), found.end(), same)) return told;
    }
    if (ask.plan != Plan::chosen) return told;
    if (plain) {
        told.scan = true;  // together with other queries
    } else {
        search(ask.ef, Plan::exact);
    }
    return told;
}

void Index::search(const State& state, const float* queries, std::size_t n, const Ask& ask, const Hits& hits) const {
    const auto filter_of = [&](std::size_t query) {
        return ask.filters.empty() ? nullptr : ask.filters[ask.filters.size() == 1 ? 0 : query];
    };
    const auto made = [&](const Filter* filter) {
        Among among = this->among(state, filter);
        const bool walks = ask.plan == Plan::walk || ask.plan == Plan::bridge;
        const bool may_walk = walks || (ask.plan == Plan::chosen && !among.wanted.listed);
        // Walks through all rows visit only nodes. A bridge needs the nodes to begin.
        if (among.everything ? ask.plan == Plan::bridge : may_walk) ready_for_walks(state, among);
        return among;
    };
    const bool shared = ask.filters.size() <= 1;
    const Among common = shared && n > 0 ? made(filter_of(0)) : Among{};
    // The simple case: a walk through all rows, or a comparison with all rows.
    const bool plain = shared && common.everything && !ask.group;
    const bool narrow = state.graph && std::max(ask.ef, ask.k) <= widest_walk(state.graph->linked);
    if (plain && (ask.plan == Plan::exact || (ask.plan == Plan::chosen && !narrow))) {
        return exact_all(state, queries, n, ask, hits);
    }
    const bool may_walk = !ask.group && state.graph && (ask.plan == Plan::walk || (ask.plan == Plan::chosen && narrow));
    parallel_for(n, 32, std::max<std::size_t>(ask.threads, 1), [&](std::size_t first, std::size_t last, std::size_t) {
        auto walker = borrow();
        std::vector<Hit> found;
        std::vector<float> room, scanned;
        std::vector<std::size_t> places;  // of the queries `scanned`, which are compared with all rows
        Among own;
        for (std::size_t i = first; i < last; ++i) {
            const float* query = prepared(queries + i * options_.dim, room);
            if (!shared && (i == first || filter_of(i) != filter_of(i - 1))) own = made(filter_of(i));
            const Among& wanted = shared ? common : own;
            const Told told =
                answer_aimed(state, wanted, query, ask, wanted.everything && may_walk, *walker, found);
            if (told.scan) {
                places.push_back(i);
                scanned.insert(scanned.end(), query, query + options_.dim);
            } else {
                answer(state, found, i, ask, hits);
            }
            if (hits.plans != nullptr) hits.plans[i] = told.scan ? Plan::exact : told.plan;
            if (hits.cost != nullptr) hits.cost[i] = static_cast<std::int64_t>(told.looked + told.scan * state.size);
            if (hits.farness != nullptr) hits.farness[i] = told.farness;
        }
        give_back(std::move(walker));
        std::vector<Best> best(places.size(), Best(std::min(ask.k, state.size)));
        scan(state.vectors, 0, state.size, scanned.data(), places.size(), best.data());
        for (std::size_t i = 0; i < places.size(); ++i) answer(state, best[i].take(), places[i], ask, hits);
    });
}

void Index::search(const float* queries, std::size_t n, std::size_t k, std::size_t ef, std::size_t threads,
                   const Hits& hits) const {
    search(*now(), queries, n, {.k = k, .ef = ef, .threads = threads}, hits);
}

void Index::exact(const float* queries, std::size_t n, std::size_t k, std::size_t threads, const Hits& hits) const {
    search(*now(), queries, n, {.k = k, .ef = k, .threads = threads, .plan = Plan::exact}, hits);
}

void Index::exact_all(const State& state, const float* queries, std::size_t n, const Ask& ask, const Hits& hits) const {
    std::vector<float> units;
    if (options_.metric == Metric::cosine) {
        units.assign(queries, queries + n * options_.dim);
        for (std::size_t i = 0; i < n; ++i) make_unit(units.data() + i * options_.dim, options_.dim);
        queries = units.data();
    }
    exact_search(state.vectors, state.size, queries, n, ask.k, std::max<std::size_t>(ask.threads, 1),
                 [&](std::size_t query, const std::vector<Hit>& found) {
                     answer(state, found, query, ask, hits);
                     if (hits.plans != nullptr) hits.plans[query] = Plan::exact;
                     if (hits.cost != nullptr) hits.cost[query] = static_cast<std::int64_t>(state.size);
                     if (hits.farness != nullptr) hits.farness[query] = 0.0f;
                 });
}

void Index::answer(const State& state, std::span<const Hit> found, std::size_t query, const Ask& ask,
                   const Hits& hits) const {
    std::size_t count = 0;
    for (; count < std::min(found.size(), ask.k); ++count) {
        const float score = state.vectors.score(found[count].closeness);
        if (score < ask.least) break;
        hits.rows[query * ask.k + count] = found[count].row;
        hits.scores[query * ask.k + count] = score;
    }
    std::fill_n(hits.rows + query * ask.k + count, ask.k - count, std::int64_t{-1});
    std::fill_n(hits.scores + query * ask.k + count, ask.k - count, -std::numeric_limits<float>::infinity());
    hits.counts[query] = static_cast<std::int64_t>(count);
}

}  // namespace ann
