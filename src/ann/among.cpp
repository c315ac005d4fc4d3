// Searching among some of the rows: which way is the cheapest, and what is done where it was not.
//
// Costs are counted in rows of a scan, which are compared one after another. A row that a walk comes to costs more: it
// lies anywhere in memory, and the beam has to be kept. Nothing is timed, so an index answers the same everywhere.
#include "among.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <iterator>
#include <utility>

#include "linking.hpp"

namespace ann {
namespace {

/// What a walk pays for a row, in rows of a scan.
constexpr double walk_price = 5.0;

/// The width of a walk among a share of the rows that finds as much as one of `ef` among all: the smaller the share,
/// the larger the surroundings that it goes through (measured on deep112, where this still finds a little more).
double width_among(double ef, double share) { return ef * std::pow(share, 0.25); }

/// Rows that such a walk looks at: some to get near, and some for each one of its width; among a share, spread evenly,
/// more of them (measured on deep112: within a fifth down to a share of 4 %).
double walk_length(double ef, double share) { return (250.0 + 14.0 * width_among(ef, share)) * std::pow(share, -0.7); }

/// A scan is so dear that a look at the query's surroundings is worth its price, where it has this many rows.
constexpr std::size_t worth_a_probe = 12'000;
/// A bridge is begun where so large a share of the rows is wanted, and so many may be looked at. Farther from the query
/// a graph made for near rows leads nowhere: among the half that lies farthest, sixteen times the width finds 0.90 of
/// the nearest, for the price of a scan.
constexpr double bridged_share = 0.85;
constexpr std::size_t least_bridge = 12'000, bridge_width = 6;
constexpr std::size_t most_starts = 512;  ///< of a bridge
constexpr std::size_t widest_lead = 8192;

/// Wanted rows so few that their vectors are compared at once: as dear as the codes and then some vectors.
std::size_t few(std::size_t k) { return std::max<std::size_t>(2 * k, 200); }

/// Rows of a scan that are compared in full. Codes blur rows far from the query more than those around it.
std::size_t refined_of_scan(std::size_t k, std::size_t ef) { return 2 * k + 24 + ef / 2; }

}  // namespace

Index::Among Index::among(const State& state, const Filter* filter) const {
    Among among;
    if (filter == nullptr) {
        among.everything = state.dead == 0;
        among.living = state.live.get();
        among.wanted.count = state.size - state.dead;
    } else {
        among.wanted = state.table.select(*filter, *state.live, state.ids, *kernels_);
    }
    return among;
}

void Index::ready_for_walks(const State& state, Among& among) const {
    if (!state.graph || among.count() == 0) return;
    const Graph& graph = *state.graph;
    if (among.wanted.listed || !graph.duplicates.empty()) {
        among.own_nodes = among.wanted.listed ? Bitmap(state.size) : among.bits();
        if (among.wanted.listed) among.each([&](std::uint32_t row) { among.own_nodes.set(row); });
        for (const auto& [first, row] : graph.duplicates) {
            if (among.has(row)) among.own_nodes.set(first);
            among.own_nodes.reset(row);  // it has no links
        }
        among.has_nodes = true;
    }
}

/// Some nodes, evenly spread over all of them, and the seeds among them.
std::vector<std::uint32_t> Index::starts(const Graph& graph, const Bitmap& nodes) const {
    std::vector<std::uint32_t> rows;
    const auto words = nodes.words();
    const std::size_t last = std::min(words.size(), (graph.linked + 63) / 64);
    std::size_t at = 0;
    for (std::size_t i = 0; i < most_starts; ++i) {
        for (at = std::max(at, i * last / most_starts); at < last && words[at] == 0;) ++at;
        if (at >= last) break;
        const std::size_t row = at * 64 + static_cast<std::size_t>(std::countr_zero(words[at]));
        if (row < graph.linked) rows.push_back(static_cast<std::uint32_t>(row));
        ++at;
    }
    std::copy_if(graph.seeds.begin(), graph.seeds.end(), std::back_inserter(rows),
                 [&](std::uint32_t seed) { return nodes.test(seed); });
    return rows;
}

void Index::exact_among(const State& state, const Among& among, const float* query, std::size_t k,
                        std::vector<Hit>& found) const {
    Best best(std::min(k, among.count()));
    float worst = best.worst();
    // The memory of some rows ahead is on its way while one is compared.
    constexpr std::size_t ahead = 8;
    std::uint32_t rows[ahead];
    std::size_t count = 0;
    const auto compare = [&](std::uint32_t row) {
        const float closeness = state.vectors.closeness(query, row);
        if (closeness < worst) return;
        best.offer({closeness, row});
        worst = best.worst();
    };
    among.each([&](std::uint32_t row) {
        state.vectors.ask(row);
        if (count >= ahead) compare(rows[count % ahead]);
        rows[count++ % ahead] = row;
    });
    for (std::size_t i = count - std::min(count, ahead); i < count; ++i) compare(rows[i % ahead]);
    found = best.take();
}

/// What a walk found, with the wanted rows that are equal to those.
void Index::finish_walk(const State& state, const Among& among, const float* query, std::size_t k, std::size_t ef,
                        Walker& walker, std::vector<Hit>& found) const {
    const Graph& graph = *state.graph;
    walker.scan(
        codes_of(state), [&](const auto& visit) { among.each(visit, graph.linked); },
        std::max(walker.found().size(), refined(k, ef)));
    refine(state, query, k, walker.found().first(std::min(walker.found().size(), refined(k, ef))), found);
    if (graph.duplicates.empty()) return;
    const std::size_t firsts = found.size();
    for (std::size_t i = 0; i < firsts; ++i) {
        auto pair = std::lower_bound(graph.duplicates.begin(), graph.duplicates.end(), std::pair{found[i].row, 0u});
        const Hit hit = found[i];
        for (std::size_t more = 0; more < k && pair != graph.duplicates.end() && pair->first == hit.row; ++pair) {
            if (!among.has(pair->second)) continue;
            found.push_back({hit.closeness, pair->second});
            ++more;
        }
    }
    std::erase_if(found, [&](const Hit& hit) { return !among.has(hit.row); });
    std::sort(found.begin(), found.end(), before);
    found.resize(std::min(found.size(), k));
}

Plan Index::search_among(const State& state, const Among& among, const float* query, std::size_t k, const Ask& ask,
                         Walker& walker, std::vector<Hit>& found) const {
    const std::size_t count = among.count(), ef = std::max(ask.ef, k);
    found.clear();
    walker.clear();
    if (!state.graph || ask.plan == Plan::exact || (ask.plan == Plan::chosen && count <= few(k)) || count == 0 ||
        !encode(*state.graph, query, walker)) {
        exact_among(state, among, query, k, found);
        return Plan::exact;
    }
    const Graph& graph = *state.graph;
    const Codes codes = codes_of(state);
    const Links links{graph.links.data(), build_.degree};
    const double share = static_cast<double>(count) / static_cast<double>(state.size), width = static_cast<double>(ef);
    const bool chosen = ask.plan == Plan::chosen, can = among.has_nodes || !among.wanted.listed;
    const double allowed = chosen ? static_cast<double>(count) / walk_price : 1e18;
    const bool walks = can && (walk_length(width, share) <= allowed || count >= worth_a_probe);
    Plan plan = !chosen ? ask.plan : walks ? Plan::walk : Plan::scan;
    const auto good = [&](End end) {
        if (end != End::done) return false;
        finish_walk(state, among, query, k, ef, walker, found);
        return found.size() >= std::min(k, count);
    };
    Extent extent = this->extent(graph, k, ef);
    const Wanted wanted{&among.nodes(), static_cast<std::size_t>(allowed)};
    End end = End::done;
    if (plan == Plan::walk) {
        extent.lead = std::min(static_cast<std::size_t>(static_cast<double>(extent.beam) / share), widest_lead);
        const auto judge = [&](double here, Extent& now) {
            if (chosen && here < share / 2) return End::starved;
            if (chosen && walk_length(width, here) > 1.3 * allowed)
                return End::dear;  // a rough estimate has to be clear
            const double narrow = std::max(width_among(width, std::max(here, share / 2)), static_cast<double>(k));
            const Extent narrower = this->extent(graph, k, static_cast<std::size_t>(narrow));
            if (narrower.rank != 0) {
                now.least = narrower.least;
                now.stretch = narrower.stretch;
            }
            return End::done;
        };
        end = walker.walk_among(codes, links, graph.seeds, extent, wanted, judge);
        if (good(end)) return Plan::walk;
    }
    const bool leads = share >= bridged_share && allowed >= static_cast<double>(least_bridge);
    if (plan == Plan::bridge || (end == End::starved && leads)) {
        extent = this->extent(graph, k, bridge_width * ef);
        plan = Plan::bridge;
        if (good(walker.bridge(codes, links, starts(graph, among.nodes()), extent, wanted))) return Plan::bridge;
    }
    walker.forget_found();
    walker.scan(codes, [&](const auto& visit) { among.each(visit); }, std::min(refined_of_scan(k, ef), count));
    refine(state, query, k, walker.found(), found);
    return plan == Plan::walk ? Plan::walk_then_scan : plan == Plan::bridge ? Plan::bridge_then_scan : Plan::scan;
}

Plan Index::answer_one(const State& state, const Among& among, const float* query, const Ask& ask, Walker& walker,
                       std::vector<Hit>& found) const {
    if (!ask.group) return search_among(state, among, query, ask.k, ask, walker, found);
    // Answers of one group push others out: ask for more until enough are left.
    std::vector<Hit> all;
    std::vector<std::pair<std::uint64_t, std::size_t>> taken;
    for (std::size_t wide = 4 * ask.k;; wide *= 4) {
        const Plan plan = search_among(state, among, query, wide, ask, walker, all);
        found.clear();
        taken.clear();
        for (const Hit& hit : all) {
            const std::uint64_t group = state.table.group(*ask.group, hit.row);
            auto of = std::find_if(taken.begin(), taken.end(), [=](const auto& one) { return one.first == group; });
            if (of == taken.end()) of = taken.insert(of, {group, 0});
            if (++of->second <= ask.per) found.push_back(hit);
            if (found.size() == ask.k) break;
        }
        if (found.size() == ask.k || wide >= among.count()) return plan;
    }
}

Selection Index::select(const State& state, const Filter& filter) const {
    return state.table.select(filter, *state.live, state.ids, *kernels_);
}

std::vector<Hit> Index::within(const State& state, const float* query, float least, const Filter* filter) const {
    const Among wanted = among(state, filter);
    std::vector<float> room;
    query = prepared(query, room);
    std::vector<Hit> found;
    wanted.each([&](std::uint32_t row) {
        const float closeness = state.vectors.closeness(query, row);
        if (state.vectors.score(closeness) >= least) found.push_back({closeness, row});
    });
    std::sort(found.begin(), found.end(), before);
    return found;
}

}  // namespace ann
