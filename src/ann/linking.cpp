#include "linking.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <string_view>

#include "checksum.hpp"

namespace ann {
namespace {

/// Return pairs (first row, later equal row), sorted.
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
    std::sort(marks.begin(), marks.end(),
              [](const Mark& a, const Mark& b) { return a.hash != b.hash ? a.hash < b.hash : a.row < b.row; });
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

}  // namespace

std::size_t seeds_for(std::size_t rows) {
    return std::clamp<std::size_t>(static_cast<std::size_t>(std::sqrt(static_cast<double>(rows)) / 8), 32, 128);
}

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
    std::vector<std::uint8_t> seen(graph.linked, 0);
    for (const auto& [first, row] : graph.duplicates) seen[row] = 1;  // a duplicate is found with its first row
    std::vector<std::uint32_t> open;
    open.reserve(graph.linked);
    const auto visit = [&](std::uint32_t row) {
        if (seen[row] != 0) return;
        seen[row] = 1;
        open.push_back(row);
    };
    for (const std::uint32_t row : graph.seeds) visit(row);
    const Links links{graph.links.data(), degree};
    constexpr std::size_t ahead = 8;
    for (std::size_t at = 0; at < open.size(); ++at) {
        if (at + ahead < open.size()) {
            const std::uint32_t* const later = links.of(open[at + ahead]).data();
            __builtin_prefetch(later);
            __builtin_prefetch(later + 16);
        }
        for (const std::uint32_t next : links.of(open[at])) visit(next);
    }
    std::vector<std::uint32_t> lost;
    for (std::size_t row = 0; row < graph.linked; ++row) {
        if (seen[row] == 0) lost.push_back(static_cast<std::uint32_t>(row));
    }
    return lost;
}

void add_duplicates(const Graph& graph, std::size_t k, std::vector<Hit>& found) {
    const std::size_t firsts = found.size();
    for (std::size_t i = 0; i < firsts; ++i) {
        const Hit hit = found[i];
        auto pair = std::lower_bound(graph.duplicates.begin(), graph.duplicates.end(), std::pair{hit.row, 0u});
        for (std::size_t more = 1; more < k && pair != graph.duplicates.end() && pair->first == hit.row;
             ++more, ++pair) {
            found.push_back({hit.closeness, pair->second});
        }
    }
    std::sort(found.begin(), found.end(), before);
    found.resize(std::min(found.size(), k));
}

std::shared_ptr<const Graph> Index::link(State& state, std::size_t threads, const Progress& progress) const {
    const std::size_t total = state.size - (state.graph ? state.graph->linked : 0);
    const auto go_on = [&](std::size_t done) {
        if (progress && !progress(done, total)) throw Interrupted();
    };
    go_on(0);
    auto graph = std::make_shared<Graph>();
    const Graph* old = state.graph.get();
    // Codes that were trained on far fewer rows may not fit the rows that were added later.
    if (old != nullptr && state.size >= 4 * old->trained) old = nullptr;
    const std::size_t standing = old == nullptr ? 0 : old->linked;
    graph->quantizer = old == nullptr ? train(state, options_, *kernels_) : old->quantizer;
    graph->trained = old == nullptr ? state.size : old->trained;
    if (old == nullptr) {
        state.codes = std::make_shared<Array<std::uint8_t>>();
        graph->cut = encode_rows(graph->quantizer, state.vectors, 0, state.size, state.codes, threads);
    } else {
        graph->cut = old->cut + state.late_cut;  // late rows have codes already
    }
    state.late_cut = 0;
    go_on(0);
    graph->linked = state.size;
    graph->duplicates = equal_rows(state.vectors, state.size, threads);
    std::vector<bool> is_duplicate(state.size, false);
    for (const auto& pair : graph->duplicates) is_duplicate[pair.second] = true;

    const auto first = static_cast<std::uint32_t>(standing);
    auto order =
        random_order(seed_for(options_.seed, Purpose::ordering), first, static_cast<std::uint32_t>(state.size) - first);
    std::erase_if(order, [&](std::uint32_t row) { return is_duplicate[row]; });
    if (old != nullptr) graph->seeds = old->seeds;
    const std::size_t wanted = std::max(seeds_for(state.size), graph->seeds.size()) - graph->seeds.size();
    const auto end = order.begin() + static_cast<std::ptrdiff_t>(std::min(wanted, order.size()));
    graph->seeds.insert(graph->seeds.end(), order.begin(), end);

    const Quantizer& quantizer = graph->quantizer;
    const Codes codes{state.codes->data(), state.size, quantizer.padded(),
                      quantizer.bytes(),   kernels_,   quantizer.scale().bits};
    Builder builder(codes, quantizer, build_, threads);
    if (old != nullptr) builder.adopt({old->links.data(), build_.degree}, old->linked);
    // Progress is reported in added rows, even if all rows are linked again or some rows are equal.
    builder.insert(order, standing, graph->seeds, [&](std::size_t done) { go_on(done * total / order.size()); });
    graph->links = builder.finish();
    mend(*graph, build_.degree);
    if (old != nullptr && 4 * state.size < 5 * old->measured) {
        graph->recall = old->recall;
        graph->outer = old->outer;
        graph->measured = old->measured;
    } else {
        measure(state, *graph, threads, [&] { go_on(total); });
        graph->measured = state.size;
    }
    return graph;
}

}  // namespace ann
