// Exact search: every row is compared with every query.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "threads.hpp"
#include "vectors.hpp"

namespace ann {

/// A row and how near it is to the query.
struct Hit {
    float closeness;
    std::uint32_t row;
};

/// The order of answers: nearer rows first; of equally near rows the lower number first.
inline bool before(const Hit& a, const Hit& b) {
    return a.closeness != b.closeness ? a.closeness > b.closeness : a.row < b.row;
}

/// Keeps the `k` best of all hits that are offered.
class Best {
public:
    explicit Best(std::size_t k) : k_(k) {}

    void offer(const Hit& hit) {
        if (heap_.size() < k_) {
            heap_.push_back(hit);
            std::push_heap(heap_.begin(), heap_.end(), before);
        } else if (k_ != 0 && before(hit, heap_.front())) {
            std::pop_heap(heap_.begin(), heap_.end(), before);
            heap_.back() = hit;
            std::push_heap(heap_.begin(), heap_.end(), before);
        }
    }

    /// Return the closeness that a hit needs at least to be kept.
    float worst() const {
        if (k_ == 0) return std::numeric_limits<float>::infinity();
        return heap_.size() < k_ ? -std::numeric_limits<float>::infinity() : heap_.front().closeness;
    }

    /// Return the hits in order. The heap is empty afterwards.
    std::vector<Hit> take() {
        std::sort(heap_.begin(), heap_.end(), before);
        return std::exchange(heap_, {});
    }

private:
    std::size_t k_;
    std::vector<Hit> heap_;
};

/// Offer the rows [first, last) to best[i] for each query i of float32[count, dim]. The rows pass through the
/// processor's cache once for all queries.
inline void scan(const Vectors& vectors, std::size_t first, std::size_t last, const float* queries, std::size_t count,
                 Best* best) {
    const std::size_t block = std::clamp<std::size_t>((std::size_t{1} << 18) / vectors.row_bytes(), 16, 1024);
    for (std::size_t start = first; start < last; start += block) {
        const std::size_t end = std::min(start + block, last);
        for (std::size_t i = 0; i < count; ++i) {
            const float* query = queries + i * vectors.dim();
            float worst = best[i].worst();
            for (std::size_t row = start; row < end; ++row) {
                const float closeness = vectors.closeness(query, row);
                if (closeness < worst) continue;
                best[i].offer({closeness, static_cast<std::uint32_t>(row)});
                worst = best[i].worst();
            }
        }
    }
}

/// Find the k nearest of the first `size` rows for each query. answers(query, hits) is called once for each query, from
/// any thread.
template <typename Answers>
void exact_search(const Vectors& vectors, std::size_t size, const float* queries, std::size_t count, std::size_t k,
                  std::size_t threads, const Answers& answers) {
    constexpr std::size_t group = 16;
    const std::size_t kept = std::min(k, size);
    if (count >= 2 * threads || size < 4096) {  // enough queries for all threads
        parallel_for(count, std::clamp<std::size_t>(count / threads, 1, group), threads,
                     [&](std::size_t first, std::size_t last, std::size_t) {
                         std::vector<Best> best(last - first, Best(kept));
                         scan(vectors, 0, size, queries + first * vectors.dim(), last - first, best.data());
                         for (std::size_t i = first; i < last; ++i) answers(i, best[i - first].take());
                     });
        return;
    }
    // There are few queries: each thread takes a part of the rows.
    const std::size_t part = (size + threads - 1) / threads;
    std::vector<std::vector<Best>> best(threads, std::vector<Best>(count, Best(kept)));
    parallel_for(threads, 1, threads, [&](std::size_t first, std::size_t last, std::size_t) {
        for (std::size_t i = first; i < last; ++i) {
            scan(vectors, std::min(i * part, size), std::min((i + 1) * part, size), queries, count, best[i].data());
        }
    });
    for (std::size_t i = 0; i < count; ++i) {
        Best all(kept);
        for (std::size_t j = 0; j < threads; ++j) {
            for (const Hit& hit : best[j][i].take()) all.offer(hit);
        }
        answers(i, all.take());
    }
}

}  // namespace ann
