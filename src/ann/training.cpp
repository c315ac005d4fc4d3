// Choosing codes that are good enough for the vectors.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "linking.hpp"

namespace ann {
namespace {

constexpr std::size_t training_rows = 10'000;

/// Return the share of the ten nearest of `rows`, by the full vectors, that are among the forty nearest by codes.
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
        // Equal codes count against the codes, because a walk cannot distinguish the rows.
        const auto ties =
            static_cast<double>(std::count_if(distances.begin(), distances.end(), [=](auto d) { return d <= limit; }));
        for (const Hit& hit : near)
            found += distances[hit.row] < limit || (distances[hit.row] == limit && ties <= 2.0 * looked_at);
        all += near.size();
    }
    return all == 0 ? 1.0 : static_cast<double>(found) / static_cast<double>(all);
}

}  // namespace

std::uint64_t seed_for(std::uint64_t seed, Purpose purpose) {
    return random_bits(seed, static_cast<std::uint64_t>(purpose));
}

std::uint64_t quantizer_seed(std::uint64_t seed) { return seed_for(seed, Purpose::rotating); }

std::vector<std::uint32_t> some_rows(std::uint64_t seed, std::size_t size, std::size_t count) {
    auto rows = random_order(seed, 0, static_cast<std::uint32_t>(size));
    rows.resize(std::min(count, size));
    return rows;
}

Quantizer train(const State& state, const Options& options, const Kernels& kernels) {
    const std::size_t dim = options.dim;
    const auto rows = some_rows(seed_for(options.seed, Purpose::sampling), state.size, training_rows);
    std::vector<float> sample(rows.size() * dim);
    for (std::size_t i = 0; i < rows.size(); ++i) state.vectors.read(rows[i], sample.data() + i * dim);
    const auto judges = some_rows(seed_for(options.seed, Purpose::judging), state.size, 3 * training_rows);
    const auto with = [&](Bits bits) {
        return Quantizer::train(sample.data(), rows.size(), dim, options.metric == Metric::inner_product, bits,
                                quantizer_seed(options.seed));
    };
    for (const Bits bits : {Bits::four, Bits::eight}) {
        // Codes that fit into one line of cache cost the same, so more bits are free there.
        if (static_cast<std::size_t>(bits) * dim <= 256) continue;
        Quantizer quantizer = with(bits);
        if (code_quality(state, quantizer, judges, kernels) >= 0.97) return quantizer;
    }
    return with(Bits::sixteen);
}

}  // namespace ann
