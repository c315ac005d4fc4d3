// The recall of walks through a finished graph, measured with rows of the index as queries, which are hidden from the
// walk.
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <vector>

#include "linking.hpp"

namespace ann {
namespace {

/// Return how many rows are hidden to measure the recall. Small indexes use fewer, because measuring would take longer
/// than building.
std::size_t hidden_members(std::size_t rows) { return std::clamp<std::size_t>(rows / 20, 100, 500); }

/// Return, for each size, the share of the true first `size` hits that search(query, walker, found) finds.
template <typename Search>
std::vector<float> shares(const std::vector<std::vector<Hit>>& truth, std::initializer_list<std::size_t> sizes,
                          const Search& search, std::size_t threads) {
    std::vector<std::atomic<std::size_t>> good(sizes.size());
    parallel_for(truth.size(), 32, threads, [&](std::size_t first, std::size_t last, std::size_t) {
        Walker walker;
        std::vector<Hit> found;
        for (std::size_t i = first; i < last; ++i) {
            search(i, walker, found);
            for (std::size_t j = 0; j < sizes.size(); ++j) {
                const std::size_t size = std::min(sizes.begin()[j], truth[i].size());
                if (size == 0) continue;
                // A hit that is as near as the last true hit is as good.
                const float last_true = truth[i][size - 1].closeness;
                const auto near = std::count_if(found.begin(), found.end(),
                                                [=](const Hit& hit) { return hit.closeness >= last_true; });
                good[j] += std::min(static_cast<std::size_t>(near), size);
            }
        }
    });
    std::vector<float> shares;
    for (std::size_t j = 0; j < sizes.size(); ++j) {
        std::size_t all = 0;
        for (const auto& near : truth) all += std::min(sizes.begin()[j], near.size());
        shares.push_back(all == 0 ? 1.0f : static_cast<float>(static_cast<double>(good[j]) / static_cast<double>(all)));
    }
    return shares;
}

/// Return the widths of walks that are measured, and how much farther than the tenth row the row of that rank usually
/// is, by codes.
std::vector<Recall> widths(const State& state, std::span<const std::uint32_t> members, std::size_t degree,
                           const Kernels& kernels, std::size_t threads) {
    const Graph& graph = *state.graph;
    const std::size_t widest = std::clamp<std::size_t>(widest_walk(graph.linked), 20, 1'000);
    std::vector<Recall> table;
    for (std::uint32_t ef = 10; ef <= widest; ef += ef < 20 ? 2 : ef / 3) table.push_back({ef, 0, 0, 0, 1.0f});
    const Codes codes{state.codes->data(),     state.size, graph.quantizer.padded(),
                      graph.quantizer.bytes(), &kernels,   graph.quantizer.scale().bits};
    std::vector<float> reaches(table.size() * members.size(), 1.0f);
    parallel_for(members.size(), 16, threads, [&](std::size_t first, std::size_t last, std::size_t) {
        Walker walker;
        walker.query.resize(codes.width);
        for (std::size_t i = first; i < last; ++i) {
            graph.quantizer.spread(codes.row(members[i]), walker.query.data());
            walker.walk(codes, {graph.links.data(), degree}, graph.seeds, {.beam = table.back().ef}, graph.linked,
                        false, members[i]);
            const auto beam = walker.beam();
            if (beam.empty()) continue;
            const float tenth = codes.real(distance_of(beam[std::min<std::size_t>(9, beam.size() - 1)]));
            for (std::size_t j = 0; j < table.size(); ++j) {
                const float here = codes.real(distance_of(beam[std::min<std::size_t>(table[j].ef, beam.size()) - 1]));
                reaches[j * members.size() + i] = tenth > 0.0f ? std::max(here / tenth, 1.0f) : 1.0f;
            }
        }
    });
    for (std::size_t j = 0; j < table.size(); ++j) {
        const auto begin = reaches.begin() + static_cast<std::ptrdiff_t>(j * members.size());
        const auto middle = begin + static_cast<std::ptrdiff_t>(members.size() / 2);
        std::nth_element(begin, middle, begin + static_cast<std::ptrdiff_t>(members.size()));
        table[j].reach = std::max(*middle, j == 0 ? 1.0f : table[j - 1].reach);
    }
    return table;
}

}  // namespace

/// Return how far out rows lie, a little more than the second farthest of some hundred, when they are hidden from the
/// walks that look for them.
Outness Index::outer(const State& state, const Graph& graph, std::size_t threads) const {
    constexpr std::size_t ef = 64;
    constexpr float margin = 1.1f;  // so that of queries like the rows hardly one is taken for farther out
    std::vector<bool> has_equal(graph.linked, false);
    for (const auto& [first, row] : graph.duplicates) has_equal[first] = has_equal[row] = true;
    const std::size_t most = hidden_members(graph.linked);
    auto members = some_rows(seed_for(options_.seed, Purpose::measuring), graph.linked, 2 * most);
    std::erase_if(members, [&](std::uint32_t row) { return has_equal[row]; });
    members.resize(std::min(members.size(), most));
    const Codes codes{state.codes->data(),     graph.linked, graph.quantizer.padded(),
                      graph.quantizer.bytes(), kernels_,     graph.quantizer.scale().bits};
    std::vector<float> tenth(members.size(), 0.0f), ratio = tenth;
    parallel_for(members.size(), 16, threads, [&](std::size_t first, std::size_t last, std::size_t) {
        Walker walker;
        std::vector<float> vector(options_.dim);
        for (std::size_t i = first; i < last; ++i) {
            state.vectors.read(members[i], vector.data());
            if (!encode(graph, vector.data(), walker)) continue;
            walker.walk(codes, {graph.links.data(), build_.degree}, graph.seeds, {.beam = ef}, graph.linked, false,
                        members[i]);
            const Outness found = outness(graph, codes, walker.beam(), walker);
            tenth[i] = found.tenth;
            ratio[i] = found.ratio;
        }
    });
    const auto most_of = [](std::vector<float>& values) {
        if (values.empty()) return 0.0f;
        // The second farthest, because one row may be an outlier.
        const std::size_t second = values.size() - std::min<std::size_t>(values.size(), 2);
        std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(second), values.end());
        return margin * values[second];
    };
    return {most_of(tenth), most_of(ratio)};
}

void Index::measure(const State& state, Graph& graph, std::size_t threads, const std::function<void()>& go_on) const {
    std::vector<bool> has_equal(state.size, false);
    for (const auto& [first, row] : graph.duplicates) has_equal[first] = has_equal[row] = true;
    auto members = some_rows(seed_for(options_.seed, Purpose::measuring), state.size, 2 * hidden_members(state.size));
    std::erase_if(members, [&](std::uint32_t row) { return has_equal[row]; });
    members.resize(std::min(members.size(), hidden_members(state.size)));
    if (members.empty()) return;
    const std::size_t count = members.size(), most = 100;
    std::vector<float> queries(count * options_.dim);
    for (std::size_t i = 0; i < count; ++i) state.vectors.read(members[i], queries.data() + i * options_.dim);
    std::vector<std::vector<Hit>> truth(count);
    exact_search(state.vectors, state.size, queries.data(), count, most + 1, threads,
                 [&](std::size_t query, std::vector<Hit> found) {
                     std::erase_if(found, [&](const Hit& hit) { return hit.row == members[query]; });
                     found.resize(std::min(found.size(), most));
                     truth[query] = std::move(found);
                 });
    State shown = state;
    shown.graph = std::shared_ptr<const Graph>(std::shared_ptr<const void>(), &graph);
    graph.recall = widths(shown, members, build_.degree, *kernels_, threads);
    graph.outer = outer(state, graph, threads);
    for (std::size_t at = 0; at < graph.recall.size(); ++at) {
        go_on();
        Recall& row = graph.recall[at];
        const auto found_of = [&](std::size_t k, std::initializer_list<std::size_t> sizes) {
            return shares(
                truth, sizes,
                [&](std::size_t i, Walker& walker, std::vector<Hit>& found) {
                    search_one(shown, queries.data() + i * options_.dim, k, row.ef, walker, found, members[i]);
                },
                threads);
        };
        const auto few = found_of(10, {1, 10});
        row.at_1 = few[0], row.at_10 = few[1];
        row.at_100 = row.ef < most ? 0.0f : found_of(most, {most})[0];
        if (row.at_10 >= 0.999f && row.at_100 >= 0.99f) graph.recall.resize(at + 1);
    }
}

}  // namespace ann
