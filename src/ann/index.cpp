#include "index.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "format.hpp"
#include "linking.hpp"

namespace ann {
namespace {

/// Return the default number of links of a row. Small vectors get fewer links, so that with float16 the whole index
/// stays below 0.85 of the raw float32 vectors.
std::uint32_t default_degree(const Options& options) {
    if (options.refine == Refine::float32) return 28;
    const double raw = 4.0 * options.dim, vector = 2.0 * options.dim;
    const double code = static_cast<double>((options.dim + code_padding - 1) / code_padding * code_padding) / 2.0;
    return static_cast<std::uint32_t>(std::clamp((0.84 * raw - vector - code) / sizeof(std::uint32_t), 16.0, 28.0));
}

constexpr std::uint32_t default_effort = 64;

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

Index::Index(const Options& options, Schema schema)
    : options_(options), schema_(std::move(schema)), kernels_(&chosen_kernels()) {
    check_options(options);
    build_.degree = options.degree != 0 ? options.degree : default_degree(options);
    build_.effort = options.effort != 0 ? options.effort : default_effort;
    build_.seed = options.seed;
    state_ = std::make_shared<State>(State{.vectors = {options.dim, options.metric, options.refine, *kernels_},
                                           .codes = std::make_shared<Array<std::uint8_t>>(),
                                           .ids = {},
                                           .table = Table(schema_),
                                           .live = std::make_shared<Bitmap>()});
}

std::shared_ptr<const State> Index::now() const {
    const std::lock_guard lock(swapping_);
    return state_;
}

std::size_t Index::size() const {
    const auto state = now();
    return state->size - state->dead;
}

void Index::publish(State state) {
    auto fresh = std::make_shared<const State>(std::move(state));
    const std::lock_guard lock(swapping_);
    state_.swap(fresh);
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
    const auto state = now();
    if (!state->graph || state->graph->recall.empty()) return state->size;
    const auto reached = [&](const Recall& row) {
        return static_cast<double>(k <= 1 ? row.at_1 : k <= 10 ? row.at_10 : row.at_100);
    };
    // Above a hundred answers the width grows in proportion to k.
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
    const auto state = now();
    const auto graph = state->graph;
    Stats stats{};
    stats.n = state->size - state->dead;
    stats.dead = state->dead;
    stats.reachable = stats.n;
    stats.loose = state->table.loose();
    stats.kernels = kernels_->name;
    stats.memory.emplace_back("vectors", state->vectors.bytes(state->size));
    stats.memory.emplace_back("ids", state->ids.bytes());
    stats.memory.emplace_back("fields", state->table.bytes());
    stats.memory.emplace_back("live", state->live->words().size_bytes());
    if (!graph) return stats;
    stats.linked = graph->linked;
    stats.bits = static_cast<std::uint32_t>(graph->quantizer.scale().bits);
    stats.memory.emplace_back("codes", state->size * graph->quantizer.bytes());
    stats.memory.emplace_back("links", graph->links.size() * sizeof(std::uint32_t));
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
    for (const std::uint32_t row : unreached(*graph, build_.degree)) stats.reachable -= state->live->test(row) ? 1 : 0;
    const double components = static_cast<double>(graph->linked) * static_cast<double>(graph->quantizer.width());
    stats.clipped = static_cast<double>(graph->cut) / components;
    stats.seeds = graph->seeds;
    stats.recall = graph->recall;
    return stats;
}

void Index::links(std::span<std::int64_t> out) const {
    const auto state = now();
    std::fill(out.begin(), out.end(), std::int64_t{-1});
    if (!state->graph) return;
    const Links links{state->graph->links.data(), build_.degree};
    for (std::size_t row = 0; row < std::min(state->graph->linked, out.size() / build_.degree); ++row) {
        const auto of = links.of(row);
        for (std::size_t i = 0; i < of.size() && of[i] != row; ++i) out[row * build_.degree + i] = of[i];
    }
}

void Index::vectors(const State& state, std::span<const std::int64_t> rows, float* out) const {
    for (const std::int64_t row : rows) {
        if (row < 0 || static_cast<std::size_t>(row) >= state.size) {
            throw std::invalid_argument("no row " + std::to_string(row));
        }
        state.vectors.read(static_cast<std::size_t>(row), out);
        out += options_.dim;
    }
}

bool Index::file_changed() const {
    const auto mapped = mapped_.lock();
    return mapped && mapped->changed();
}

void Index::save(const std::string& path) const { Format::save(*this, *now(), path); }

std::unique_ptr<Index> Index::open(const std::string& path, Mode mode, bool without_graph) {
    return Format::open(path, mode, without_graph);
}

}  // namespace ann
