// Remove dead rows: the living rows move together in their order, and their links are repaired.
#include <algorithm>
#include <utility>

#include "index.hpp"
#include "linking.hpp"

namespace ann {
namespace {

constexpr std::uint32_t gone = UINT32_MAX;

/// If more than this many fifths of the rows are dead, too little is left of the graph, and it is built again.
constexpr std::size_t most_fifths = 2;

/// The new numbers of the nodes of a graph.
struct Moved {
    std::vector<std::uint32_t> node;    ///< by old row: the new row that replaces it, or gone
    std::vector<std::uint32_t> source;  ///< by new row: the old row whose links it takes over, or gone
    std::vector<std::pair<std::uint32_t, std::uint32_t>> duplicates;
};

Moved moved(const Graph& old, std::span<const std::uint32_t> rows, std::size_t linked) {
    const auto sources = rows.first(linked);
    Moved to{std::vector<std::uint32_t>(old.linked, gone), {sources.begin(), sources.end()}, {}};
    for (std::size_t i = 0; i < linked; ++i) to.node[rows[i]] = static_cast<std::uint32_t>(i);
    for (std::size_t first = 0, last = 0; first < old.duplicates.size(); first = last) {
        // If the first of several equal rows is gone, the next living one takes its place.
        const std::uint32_t old_leader = old.duplicates[first].first;
        std::uint32_t leader = to.node[old_leader];
        for (last = first; last < old.duplicates.size() && old.duplicates[last].first == old_leader; ++last) {
            const std::uint32_t row = std::exchange(to.node[old.duplicates[last].second], gone);
            if (row == gone) continue;
            if (leader == gone) {
                leader = to.node[old_leader] = row;
                to.source[row] = old_leader;
            } else {
                to.duplicates.emplace_back(leader, row);
                to.source[row] = gone;
            }
        }
    }
    std::sort(to.duplicates.begin(), to.duplicates.end());
    return to;
}

}  // namespace

/// Return the graph of the rows that are left, consolidated as in FreshDiskANN (Singh et al., 2021): a row that loses
/// neighbours chooses again among the neighbours that it keeps and the neighbours of those that it loses.
std::shared_ptr<const Graph> Index::healed(const State& state, std::span<const std::uint32_t> rows, const State& fresh,
                                           std::size_t threads) const {
    const Graph& old = *state.graph;
    const auto linked = static_cast<std::size_t>(std::lower_bound(rows.begin(), rows.end(), old.linked) - rows.begin());
    Moved to = moved(old, rows, linked);
    auto graph = std::make_shared<Graph>();
    graph->quantizer = old.quantizer;
    graph->linked = linked;
    graph->trained = std::min(old.trained, linked);
    graph->measured = std::min(old.measured, linked);
    graph->recall = old.recall;
    graph->outer = old.outer;
    // The number of cut components is not known for each row, so it is scaled.
    graph->cut = static_cast<std::size_t>(static_cast<double>(old.cut) * static_cast<double>(linked) /
                                          static_cast<double>(old.linked));
    graph->duplicates = std::move(to.duplicates);

    const Quantizer& quantizer = graph->quantizer;
    const Codes codes{fresh.codes->data(), linked,   quantizer.padded(),
                      quantizer.bytes(),   kernels_, quantizer.scale().bits};
    const Links links{old.links.data(), build_.degree};
    Builder builder(codes, quantizer, build_, threads);
    builder.adopt_changed([&](std::uint32_t row, std::vector<std::uint32_t>& leads) {
        if (to.source[row] == gone) return false;
        bool lost = false;
        for (const std::uint32_t near : links.of(to.source[row])) {
            if (to.node[near] != gone) {
                if (to.node[near] != row) leads.push_back(to.node[near]);
                continue;
            }
            lost = true;
            for (const std::uint32_t next : links.of(near)) {
                if (to.node[next] != gone && to.node[next] != row) leads.push_back(to.node[next]);
            }
        }
        return lost;
    });
    graph->links = builder.finish();
    const auto put = [&](std::uint32_t seed) {
        if (std::find(graph->seeds.begin(), graph->seeds.end(), seed) == graph->seeds.end()) {
            graph->seeds.push_back(seed);
        }
    };
    for (const std::uint32_t seed : old.seeds) {
        if (to.node[seed] != gone) put(to.node[seed]);
    }
    const std::size_t wanted = seeds_for(linked);
    for (const std::uint32_t row : some_rows(seed_for(options_.seed, Purpose::ordering), linked, 4 * wanted)) {
        if (graph->seeds.size() < wanted && to.source[row] != gone) put(row);
    }
    mend(*graph, build_.degree);
    return graph;
}

State Index::compacted(const State& state, std::size_t threads) const {
    std::vector<std::uint32_t> rows;
    rows.reserve(state.size - state.dead);
    state.live->each([&](std::uint32_t row) { rows.push_back(row); });
    State fresh{.vectors = state.vectors.taken(rows),
                .size = rows.size(),
                .codes = std::make_shared<Array<std::uint8_t>>(),
                .ids = state.ids.taken(rows),
                .table = state.table.taken(rows),
                .live = std::make_shared<Bitmap>(rows.size(), true)};
    if (!state.graph || 5 * state.dead > most_fifths * state.size) return fresh;
    const std::size_t bytes = state.graph->quantizer.bytes();
    fresh.codes->resize(rows.size() * bytes);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        std::memcpy(fresh.codes->data() + i * bytes, state.codes->data() + rows[i] * bytes, bytes);
    }
    fresh.late_cut = state.late_cut;
    if (rows.empty() || rows.front() >= state.graph->linked) return fresh;  // no row of the graph is left
    fresh.graph = healed(state, rows, fresh, threads);
    return fresh;
}

}  // namespace ann
