// Properties that every answer of an index must have, whatever rows the index has.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "check.hpp"
#include "index.hpp"
#include "random.hpp"

/// Arrays for the answers to `queries` queries, filled with values that no answer may leave there.
struct Answers {
    Answers(std::size_t queries, std::size_t k)
        : queries(queries),
          k(k),
          rows(queries * k, -7),
          counts(queries, -7),
          cost(queries, -7),
          scores(queries * k, 7.0f),
          plans(queries, ann::Plan::chosen) {}
    ann::Hits hits() { return {rows.data(), scores.data(), counts.data(), plans.data(), cost.data()}; }
    bool operator==(const Answers&) const = default;

    std::size_t queries, k;
    std::vector<std::int64_t> rows, counts, cost;
    std::vector<float> scores;
    std::vector<ann::Plan> plans;
};

inline Answers asked(const ann::Index& index, const ann::State& state, const std::vector<float>& queries,
                     const ann::Ask& ask) {
    Answers answers(queries.size() / index.options().dim, ask.k);
    index.search(state, queries.data(), answers.queries, ask, answers.hits());
    return answers;
}

inline Answers asked(const ann::Index& index, const std::vector<float>& queries, const ann::Ask& ask) {
    return asked(index, *index.now(), queries, ask);
}

inline Answers searched(const ann::Index& index, const std::vector<float>& queries, std::size_t k, std::size_t ef,
                        std::size_t threads = 1) {
    Answers answers(queries.size() / index.options().dim, k);
    index.search(queries.data(), answers.queries, k, ef, threads, answers.hits());
    return answers;
}

inline Answers scanned(const ann::Index& index, const std::vector<float>& queries, std::size_t k,
                       std::size_t threads = 1) {
    Answers answers(queries.size() / index.options().dim, k);
    index.exact(queries.data(), answers.queries, k, threads, answers.hits());
    return answers;
}

/// Check that rows are below n and different, the nearest first, followed by -1 and -infinity. There must be as many
/// rows as possible, or at least `fewest`.
inline void check_answers(const Answers& answers, std::size_t n, std::size_t fewest) {
    using enum ann::Plan;
    for (const ann::Plan plan : answers.plans) {
        CHECK(plan == exact || plan == scan || plan == walk || plan == bridge || plan == walk_then_scan ||
              plan == bridge_then_scan);
    }
    CHECK(std::all_of(answers.cost.begin(), answers.cost.end(), [](std::int64_t cost) { return cost >= 0; }));
    for (std::size_t query = 0; query < answers.queries; ++query) {
        const std::span rows(answers.rows.data() + query * answers.k, answers.k);
        const std::span scores(answers.scores.data() + query * answers.k, answers.k);
        CHECK(answers.counts[query] >= 0);
        const auto count = static_cast<std::size_t>(answers.counts[query]);
        CHECK(count <= std::min(answers.k, n) && count >= std::min({answers.k, n, fewest}));
        const auto is_row = [=](std::int64_t row) { return row >= 0 && static_cast<std::size_t>(row) < n; };
        CHECK(std::all_of(rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(count), is_row));
        for (std::size_t i = 1; i < count; ++i) CHECK(!(scores[i] > scores[i - 1]));
        for (std::size_t i = count; i < answers.k; ++i) {
            CHECK(rows[i] == -1 && scores[i] == -std::numeric_limits<float>::infinity());
        }
        std::vector<std::int64_t> sorted(rows.begin(), rows.begin() + static_cast<std::ptrdiff_t>(count));
        std::sort(sorted.begin(), sorted.end());
        CHECK(std::adjacent_find(sorted.begin(), sorted.end()) == sorted.end());
    }
}

/// Return float32[n, dim] around a few centres. Only the first `distinct` rows are different; then they repeat. (The
/// recall of a build is measured on rows without an equal row: with few of these a build under a sanitizer stays
/// short.)
inline std::vector<float> clustered(std::size_t n, std::size_t dim, std::uint64_t seed,
                                    std::size_t distinct = SIZE_MAX) {
    constexpr std::size_t centres = 12;
    std::vector<float> made(n * dim);
    for (std::size_t row = 0; row < n; ++row) {
        const std::size_t from = row % distinct;
        for (std::size_t i = 0; i < dim; ++i) {
            const std::uint64_t centre = ann::random_below(seed, from, centres) * dim + i;
            const auto far = static_cast<float>(ann::random_below(seed + 1, centre, 2001)) / 1000.0f - 1.0f;
            const auto near = static_cast<float>(ann::random_below(seed + 2, from * dim + i, 2001)) / 1000.0f - 1.0f;
            made[row * dim + i] = far + 0.5f * near;
        }
    }
    return made;
}
