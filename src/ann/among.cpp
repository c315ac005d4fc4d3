// Search among some of the rows: choose the cheapest plan, and change to another plan where it fails.
//
// Costs are counted in rows of a scan, which are compared one after another. A row that a walk visits costs more: it
// lies anywhere in memory, and the beam must be kept up to date. Nothing is timed, so an index answers the same on
// every machine.
#include "among.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <iterator>
#include <utility>

#include "linking.hpp"

namespace ann {
namespace {

/// The cost of a row in a walk, in rows of a scan.
constexpr double walk_price = 5.0;

/// Return the width of a walk among a share of the rows that has the recall of a walk of width `ef` among all rows. For
/// a smaller share a smaller width is enough, because the walk goes through a larger neighbourhood. Measured on
/// deep112, where this width still finds a little more.
double width_among(double ef, double share) { return ef * std::pow(share, 0.25); }

/// Return how many rows such a walk looks at: some to get near the query, and some for each row of its width. If only a
/// share of the rows is wanted, spread evenly, it looks at more. Measured on deep112: right within a fifth for shares
/// down to 4 %.
double walk_length(double ef, double share) { return (250.0 + 14.0 * width_among(ef, share)) * std::pow(share, -0.7); }

/// From this many rows on a scan is so expensive that it pays to look at the query's neighbourhood first.
constexpr std::size_t worth_a_probe = 12'000;
/// A bridge is begun if at least this share of the rows is wanted, and at least `least_bridge` rows may be looked at.
/// Farther from the query a graph that was made for near rows does not lead to the wanted rows: among the half of the
/// rows that lies farthest, sixteen times the width finds only 0.90 of the nearest, at the cost of a scan.
constexpr double bridged_share = 0.85;
constexpr std::size_t least_bridge = 12'000, bridge_width = 6;
constexpr std::size_t most_starts = 512;  ///< start rows of a bridge
constexpr std::size_t widest_lead = 8192;

/// Return up to how many wanted rows the vectors are compared at once: it costs as much as the codes and then some
/// vectors.
std::size_t few(std::size_t k) { return std::max<std::size_t>(2 * k, 200); }

/// Return how many rows of a scan are compared in full. Codes are less precise for rows far from the query than for
/// near ones.
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
            among.own_nodes.reset(row);  // a duplicate has no links
        }
        among.has_nodes = true;
    }
}

/// Return some nodes, spread evenly over all nodes, and the seeds that are among the nodes.
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
    // The memory of the next rows is prefetched while a row is compared.
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

/// Refine the rows that a walk found, and add the wanted rows that are equal to them.
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
                return End::dear;  // the estimate is rough, so the margin is wide
            const double narrow = std::max(width_among(width, std::max(here, share / 2)), static_cast<double>(k));
            const Extent narrower = this->extent(graph, k, static_cast<std::size_t>(narrow));
            if (narrower.rank != 0) {
                now.least = narrower.least;
                now.stretch = narrower.stretch;
            }
            return End::done;
        };
        end = walker.walk_among(codes, links, graph.seeds, extent, wanted, judge);
        walker.farness = farness(state, walker.beam(), 1.0, walker);  // the beam has all rows, not only wanted ones
        if (good(end)) return Plan::walk;
    }
    const bool leads = share >= bridged_share && allowed >= static_cast<double>(least_bridge);
    if (plan == Plan::bridge || (end == End::starved && leads)) {
        extent = this->extent(graph, k, bridge_width * ef);
        plan = Plan::bridge;
        const End ended = walker.bridge(codes, links, starts(graph, among.nodes()), extent, wanted);
        walker.farness = farness(state, walker.beam(), share, walker);
        if (good(ended)) return Plan::bridge;
    }
    walker.forget_found();
    walker.scan(codes, [&](const auto& visit) { among.each(visit); }, std::min(refined_of_scan(k, ef), count));
    walker.farness = farness(state, walker.found(), share, walker);
    refine(state, query, k, walker.found(), found);
    return plan == Plan::walk ? Plan::walk_then_scan : plan == Plan::bridge ? Plan::bridge_then_scan : Plan::scan;
}

Plan Index::answer_one(const State& state, const Among& among, const float* query, const Ask& ask, Walker& walker,
                       std::vector<Hit>& found) const {
    if (!ask.group) return search_among(state, among, query, ask.k, ask, walker, found);
    // Only `per` answers of each group are kept, so more and more rows are searched until enough answers are left.
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
