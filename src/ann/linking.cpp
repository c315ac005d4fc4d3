#include "linking.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <string_view>

#include "checksum.hpp"

namespace ann {
namespace {

constexpr std::size_t training_rows = 10'000;
constexpr std::size_t hidden_members = 500;

std::uint64_t seed_for(std::uint64_t seed, std::uint64_t purpose) { return random_bits(seed, purpose); }
enum Purpose : std::uint64_t { rotating, sampling, ordering, measuring, judging };

/// Different rows, in random order.
std::vector<std::uint32_t> some_rows(std::uint64_t seed, std::size_t size, std::size_t count) {
    auto rows = random_order(seed, 0, static_cast<std::uint32_t>(size));
    rows.resize(std::min(count, size));
    return rows;
}

/// The share of the ten nearest among `rows`, by the full vectors, that lie among the forty nearest by codes.
double code_quality(const State& state, const Quantizer& quantizer, const std::vector<std::uint32_t>& rows,
                    const Kernels& kernels) {
    constexpr std::size_t queries = 48, nearest = 10, looked_at = 40;
    const std::size_t dim = state.vectors.dim();
    std::vector<float> vector(dim), scratch(quantizer.width());
    std::vector<std::uint8_t> codes(rows.size() * quantizer.bytes());
    std::vector<std::uint32_t> order(rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
        state.vectors.read(rows[i], vector.data());
        quantizer.encode(vector.data(), codes.data() + i * quantizer.bytes(), scratch.data());
        order[i] = static_cast<std::uint32_t>(i);
    }
    std::vector<std::int16_t> query(quantizer.padded());
    std::vector<std::int32_t> distances(rows.size());
    const auto score = kernels.score(quantizer.scale().bits);
    std::size_t found = 0, all = 0;
    for (std::size_t i = 0; i < std::min(queries, rows.size()); ++i) {
        state.vectors.read(rows[i], vector.data());
        Best best(nearest);
        for (std::size_t j = 0; j < rows.size(); ++j) {
            if (j != i) best.offer({state.vectors.closeness(vector.data(), rows[j]), static_cast<std::uint32_t>(j)});
        }
        const auto near = best.take();
        if (near.empty() || !quantizer.encode_query(vector.data(), query.data(), scratch.data())) continue;
        score(query.data(), codes.data(), quantizer.padded(), order.data(), order.size(), distances.data());
        distances[i] = INT32_MAX;
        std::vector<std::int32_t> sorted = distances;
        const std::size_t last = std::min(looked_at, sorted.size()) - 1;
        std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(last), sorted.end());
        const std::int32_t limit = sorted[last];
        // Equal codes count against the codes: a walk cannot tell the rows apart.
        const auto ties = static_cast<double>(std::count_if(distances.begin(), distances.end(), [=](auto d) { return d <= limit; }));
        for (const Hit& hit : near) found += distances[hit.row] < limit || (distances[hit.row] == limit && ties <= 2.0 * looked_at);
        all += near.size();
    }
    return all == 0 ? 1.0 : static_cast<double>(found) / static_cast<double>(all);
}

/// The quantizer with the fewest bits whose codes tell near rows from others.
Quantizer train(const State& state, const Options& options, const Kernels& kernels) {
    const std::size_t dim = options.dim;
    const auto rows = some_rows(seed_for(options.seed, sampling), state.size, training_rows);
    std::vector<float> sample(rows.size() * dim);
    for (std::size_t i = 0; i < rows.size(); ++i) state.vectors.read(rows[i], sample.data() + i * dim);
    const auto judges = some_rows(seed_for(options.seed, judging), state.size, 3 * training_rows);
    const auto with = [&](Bits bits) {
        return Quantizer::train(sample.data(), rows.size(), dim, options.metric == Metric::inner_product, bits,
                                quantizer_seed(options.seed));
    };
    for (const Bits bits : {Bits::four, Bits::eight}) {
        // What fits into one line of cache costs the same: more bits come for nothing there.
        if (static_cast<std::size_t>(bits) * dim <= 256) continue;
        Quantizer quantizer = with(bits);
        if (code_quality(state, quantizer, judges, kernels) >= 0.97) return quantizer;
    }
    return with(Bits::sixteen);
}

/// Pairs (first row, later equal row), sorted.
std::vector<std::pair<std::uint32_t, std::uint32_t>> equal_rows(const Vectors& vectors, std::size_t size,
                                                                std::size_t threads) {
    struct Mark {
        std::uint64_t hash;
        std::uint32_t row;
    };
    std::vector<Mark> marks(size);
    const auto bytes = [&](std::uint32_t row) { return std::string_view(vectors.at(row), vectors.row_bytes()); };
    parallel_for(size, 4096, threads, [&](std::size_t first, std::size_t last, std::size_t) {
        for (std::size_t row = first; row < last; ++row) {
            const auto text = bytes(static_cast<std::uint32_t>(row));
            marks[row] = {checksum(std::as_bytes(std::span(text))), static_cast<std::uint32_t>(row)};
        }
    });
    std::sort(marks.begin(), marks.end(), [](const Mark& a, const Mark& b) {
        return a.hash != b.hash ? a.hash < b.hash : a.row < b.row;
    });
    std::vector<std::pair<std::uint32_t, std::uint32_t>> equal;
    for (std::size_t start = 0; start < size;) {
        std::size_t end = start + 1;
        while (end < size && marks[end].hash == marks[start].hash) ++end;
        for (std::size_t i = start + 1; i < end; ++i) {
            if (bytes(marks[i].row) == bytes(marks[start].row)) equal.emplace_back(marks[start].row, marks[i].row);
        }
        start = end;
    }
    std::sort(equal.begin(), equal.end());
    return equal;
}

/// The share of the true first `size` hits that are found, for each size, by search(query, walker, found).
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
                // What is as near as the last of the true ones is as good.
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

/// The widths of walks that are measured, and how much farther than the tenth the row of that rank usually is, by codes.
std::vector<Recall> widths(const State& state, std::span<const std::uint32_t> members, std::size_t degree,
                           const Kernels& kernels, std::size_t threads) {
    const Graph& graph = *state.graph;
    // Wider walks than this are nearly as dear as comparing everything.
    const std::size_t widest = std::clamp<std::size_t>(graph.linked / 8, 100, 1'000);
    std::vector<Recall> table;
    for (std::uint32_t ef = 10; ef <= widest; ef += ef < 20 ? 2 : ef / 3) table.push_back({ef, 0, 0, 0, 1.0f});
    const Codes codes{state.codes->data(), state.size, graph.quantizer.padded(), graph.quantizer.bytes(), &kernels,
                      graph.quantizer.scale().bits};
    std::vector<float> reaches(table.size() * members.size(), 1.0f);
    parallel_for(members.size(), 16, threads, [&](std::size_t first, std::size_t last, std::size_t) {
        Walker walker;
        walker.query.resize(codes.width);
        for (std::size_t i = first; i < last; ++i) {
            graph.quantizer.spread(codes.row(members[i]), walker.query.data());
            walker.walk(codes, {graph.links.data(), degree}, graph.seeds, {.beam = table.back().ef}, graph.linked, false,
                        members[i]);
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

/// As many seeds as a walk can look at for the price of a few steps.
std::size_t seeds_for(std::size_t rows) {
    return std::clamp<std::size_t>(static_cast<std::size_t>(std::sqrt(static_cast<double>(rows)) / 4), 32, 256);
}

/// Every row can be come to from the seeds: rows that cannot get a link from a near row that has room for one, and where
/// there is none they become seeds themselves.
void mend(Graph& graph, std::size_t degree) {
    for (auto lost = unreached(graph, degree); !lost.empty(); lost = unreached(graph, degree)) {
        std::vector<bool> is_lost(graph.linked, false);
        for (const std::uint32_t row : lost) is_lost[row] = true;
        bool linked = false;
        for (const std::uint32_t row : lost) {
            const Links links{graph.links.data(), degree};
            for (const std::uint32_t near : links.of(row)) {
                std::uint32_t* room = graph.links.data() + near * degree + degree - 1;
                if (is_lost[near] || near == row || *room != near) continue;
                while (room > graph.links.data() + near * degree && room[-1] == near) --room;
                *room = row;
                linked = true;
                break;
            }
        }
        if (!linked) graph.seeds.push_back(lost.front());
    }
}

}  // namespace

std::uint64_t quantizer_seed(std::uint64_t seed) { return seed_for(seed, rotating); }

void make_unit(float* x, std::size_t dim) {
    const float length = Quantizer::length(x, dim);
    if (!(length > 0.0f)) return;
    for (std::size_t i = 0; i < dim; ++i) x[i] /= length;
}

std::size_t encode_rows(const Quantizer& quantizer, const Vectors& vectors, std::size_t first, std::size_t last,
                        std::shared_ptr<Array<std::uint8_t>>& codes, std::size_t threads) {
    const std::size_t bytes = quantizer.bytes();
    codes = grown(codes, first * bytes, last * bytes);
    std::atomic<std::size_t> cut{0};
    parallel_for(last - first, 1024, threads, [&](std::size_t from, std::size_t to, std::size_t) {
        std::vector<float> vector(vectors.dim()), scratch(quantizer.width());
        std::size_t here = 0;
        for (std::size_t row = first + from; row < first + to; ++row) {
            vectors.read(row, vector.data());
            here += quantizer.encode(vector.data(), codes->data() + row * bytes, scratch.data());
        }
        cut += here;
    });
    return cut;
}

std::vector<std::uint32_t> unreached(const Graph& graph, std::size_t degree) {
    std::vector<bool> seen(graph.linked, false);
    for (const auto& [first, row] : graph.duplicates) seen[row] = true;  // it is found with the first
    std::vector<std::uint32_t> open;
    const auto visit = [&](std::uint32_t row) {
        if (seen[row]) return;
        seen[row] = true;
        open.push_back(row);
    };
    for (const std::uint32_t row : graph.seeds) visit(row);
    while (!open.empty()) {
        const std::uint32_t row = open.back();
        open.pop_back();
        for (const std::uint32_t next : Links{graph.links.data(), degree}.of(row)) visit(next);
    }
    std::vector<std::uint32_t> lost;
    for (std::size_t row = 0; row < graph.linked; ++row) {
        if (!seen[row]) lost.push_back(static_cast<std::uint32_t>(row));
    }
    return lost;
}

void add_duplicates(const Graph& graph, std::size_t k, std::vector<Hit>& found) {
    const std::size_t firsts = found.size();
    for (std::size_t i = 0; i < firsts; ++i) {
        const Hit hit = found[i];
        auto pair = std::lower_bound(graph.duplicates.begin(), graph.duplicates.end(), std::pair{hit.row, 0u});
        for (std::size_t more = 1; more < k && pair != graph.duplicates.end() && pair->first == hit.row; ++more, ++pair) {
            found.push_back({hit.closeness, pair->second});
        }
    }
    std::sort(found.begin(), found.end(), before);
    found.resize(std::min(found.size(), k));
}

std::shared_ptr<const Graph> Index::link(State& state, std::size_t threads, const Progress& progress) const {
    auto graph = std::make_shared<Graph>();
    const Graph* old = state.graph.get();
    // Codes that were learned from far fewer rows may not fit those that came later.
    if (old != nullptr && state.size >= 4 * old->trained) old = nullptr;
    std::size_t encoded = old == nullptr ? 0 : old->linked;
    graph->quantizer = old == nullptr ? train(state, options_, *kernels_) : old->quantizer;
    graph->trained = old == nullptr ? state.size : old->trained;
    if (old == nullptr) state.codes = std::make_shared<Array<std::uint8_t>>();
    graph->cut = (old == nullptr ? 0 : old->cut) +
                 encode_rows(graph->quantizer, state.vectors, encoded, state.size, state.codes, threads);
    graph->linked = state.size;
    graph->duplicates = equal_rows(state.vectors, state.size, threads);
    std::vector<bool> is_duplicate(state.size, false);
    for (const auto& pair : graph->duplicates) is_duplicate[pair.second] = true;

    const auto first = static_cast<std::uint32_t>(encoded);
    auto order = random_order(seed_for(options_.seed, ordering), first, static_cast<std::uint32_t>(state.size) - first);
    std::erase_if(order, [&](std::uint32_t row) { return is_duplicate[row]; });
    if (old != nullptr) graph->seeds = old->seeds;
    const std::size_t wanted = std::max(seeds_for(state.size), graph->seeds.size()) - graph->seeds.size();
    const auto end = order.begin() + static_cast<std::ptrdiff_t>(std::min(wanted, order.size()));
    graph->seeds.insert(graph->seeds.end(), order.begin(), end);

    const Quantizer& quantizer = graph->quantizer;
    const Codes codes{state.codes->data(), state.size, quantizer.padded(), quantizer.bytes(), kernels_,
                      quantizer.scale().bits};
    Builder builder(codes, quantizer, build_, threads);
    if (old != nullptr) builder.adopt({old->links.data(), build_.degree}, old->linked);
    builder.insert(order, old == nullptr ? 0 : old->linked, graph->seeds, progress);
    graph->links = builder.finish();
    mend(*graph, build_.degree);
    if (old != nullptr && 4 * state.size < 5 * old->measured) {
        graph->recall = old->recall;
        graph->measured = old->measured;
    } else {
        measure(state, *graph, threads);
        graph->measured = state.size;
    }
    return graph;
}

void Index::measure(const State& state, Graph& graph, std::size_t threads) const {
    std::vector<bool> has_equal(state.size, false);
    for (const auto& [first, row] : graph.duplicates) has_equal[first] = has_equal[row] = true;
    auto members = some_rows(seed_for(options_.seed, measuring), state.size, 2 * hidden_members);
    std::erase_if(members, [&](std::uint32_t row) { return has_equal[row]; });
    members.resize(std::min(members.size(), hidden_members));
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
    for (std::size_t at = 0; at < graph.recall.size(); ++at) {
        Recall& row = graph.recall[at];
        const auto found_of = [&](std::size_t k, std::initializer_list<std::size_t> sizes) {
            return shares(truth, sizes, [&](std::size_t i, Walker& walker, std::vector<Hit>& found) {
                search_one(shown, queries.data() + i * options_.dim, k, row.ef, walker, found, members[i]);
            }, threads);
        };
        const auto few = found_of(10, {1, 10});
        row.at_1 = few[0], row.at_10 = few[1];
        row.at_100 = row.ef < most ? 0.0f : found_of(most, {most})[0];
        if (row.at_10 >= 0.999f && row.at_100 >= 0.99f) graph.recall.resize(at + 1);
    }
}

}  // namespace ann
