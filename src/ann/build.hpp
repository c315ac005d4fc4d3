// Building the graph: deterministic, in batches, without locks.
//
// Rows are linked in random order. A batch is at most as large as the number of rows already linked, and a small share
// of all rows. Each row of a batch walks through the graph as it was before the batch, and keeps diverse near rows (the
// robust prune of DiskANN, Jayaram Subramanya et al., NeurIPS 2019). Links back are added to each target in the order
// of their sources. Therefore any number of threads can share the work of a batch and gives the same bytes (ParlayANN,
// Manohar et al., PPoPP 2024). All distances are integers computed from the codes.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <numeric>
#include <span>
#include <utility>
#include <vector>

#include "array.hpp"
#include "error.hpp"
#include "graph.hpp"
#include "quantizer.hpp"
#include "random.hpp"
#include "threads.hpp"

namespace ann {

struct BuildOptions {
    std::size_t degree = 28;
    std::size_t effort = 64;         ///< beam of the walks
    std::size_t slack = 16;          ///< links beyond `degree` while building, so that full rows are pruned less often
    std::size_t largest_batch = 50;  ///< a batch has at most this fraction (1 / largest_batch) of all rows
    float alpha = 1.1f;              ///< of the robust prune, for squared distances
    std::uint64_t seed = 0;
};

/// Builds or extends the links of a graph. A Builder is used for one addition.
class Builder {
public:
    Builder(const Codes& codes, const Quantizer& quantizer, const BuildOptions& options, std::size_t threads)
        : codes_(codes),
          score_(codes.kernels->score(codes.bits)),
          quantizer_(quantizer),
          options_(options),
          threads_(threads),
          stride_(options.degree + options.slack),
          workers_(std::max<std::size_t>(threads, 1)) {
        rows_.resize(codes.count * stride_);
        distances_.resize(codes.count * stride_);
        sizes_.resize(codes.count);
        parallel_for(codes.count, 4096, threads_, [&](std::size_t first, std::size_t last, std::size_t) {
            for (std::size_t row = first; row < last; ++row) clear(static_cast<std::uint32_t>(row), 0);
        });
    }

    /// Take over the links of rows 0 .. count-1. Their distances are computed only for rows that get new links.
    void adopt(const Links& links, std::size_t count) {
        parallel_for(count, 256, threads_, [&](std::size_t first, std::size_t last, std::size_t) {
            for (std::size_t row = first; row < last; ++row) {
                const auto from = links.of(row);
                const auto end = std::find(from.begin(), from.end(), static_cast<std::uint32_t>(row));
                const auto size = static_cast<std::size_t>(end - from.begin());
                std::copy(from.begin(), end, rows_.data() + row * stride_);
                std::fill_n(distances_.data() + row * stride_, size, unknown);
                sizes_.data()[row] = static_cast<std::uint16_t>(size);
            }
        });
    }

    /// Take over links that were changed outside: follow(row, rows) appends where the row's links lead, and returns
    /// whether they may be too many, or not the best ones any more. If so, they are pruned.
    template <typename Follow>
    void adopt_changed(const Follow& follow) {
        parallel_for(codes_.count, 256, threads_, [&](std::size_t first, std::size_t last, std::size_t thread) {
            Worker& worker = workers_[thread];
            std::vector<std::uint32_t> rows;
            std::vector<std::int32_t> distances;
            for (std::size_t i = first; i < last; ++i) {
                const auto row = static_cast<std::uint32_t>(i);
                rows.clear();
                const bool changed = follow(row, rows);
                if (!changed) {
                    std::copy(rows.begin(), rows.end(), rows_.data() + i * stride_);
                    std::fill_n(distances_.data() + i * stride_, rows.size(), unknown);
                    sizes_.data()[i] = static_cast<std::uint16_t>(rows.size());
                    continue;
                }
                std::sort(rows.begin(), rows.end());
                rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
                distances.resize(rows.size());
                spread(worker, row);
                score_(worker.walker.query.data(), codes_.data, codes_.width, rows.data(), rows.size(),
                       distances.data());
                worker.pool.clear();
                for (std::size_t j = 0; j < rows.size(); ++j) worker.pool.push_back(key_of(distances[j], rows[j]));
                prune(worker, row);
                replace(worker, row);
            }
        });
    }

    /// Link the rows of `order`, none of which is linked yet; `standing` rows are linked already. `linked(done)` is
    /// called after each batch, and may throw.
    void insert(std::span<const std::uint32_t> order, std::size_t standing, std::span<const std::uint32_t> seeds,
                const std::function<void(std::size_t)>& linked) {
        const std::size_t largest = std::max<std::size_t>((standing + order.size()) / options_.largest_batch, 1);
        for (std::size_t done = 0; done < order.size();) {
            const std::size_t size =
                std::min({order.size() - done, std::max<std::size_t>(standing + done, 1), largest});
            insert_batch(order.subspan(done, size), seeds);
            done += size;
            linked(done);
        }
    }

    /// Return the finished links: uint32[count, degree]. A row has at most `degree` links.
    Array<std::uint32_t> finish() {
        const std::size_t degree = options_.degree;
        Array<std::uint32_t> links;
        links.resize(codes_.count * degree);
        parallel_for(codes_.count, 256, threads_, [&](std::size_t first, std::size_t last, std::size_t thread) {
            for (std::size_t row = first; row < last; ++row) {
                const auto self = static_cast<std::uint32_t>(row);
                if (sizes_.data()[row] > degree) {
                    Worker& worker = workers_[thread];
                    worker.pool.clear();
                    gather(worker, self);
                    prune(worker, self);
                    replace(worker, self);
                }
                std::copy_n(rows_.data() + row * stride_, degree, links.data() + row * degree);
            }
        });
        return links;
    }

private:
    struct Worker {
        Walker walker;
        std::vector<Key> pool;  ///< candidates; after prune only those that are kept
        std::vector<std::uint32_t> rows;
        std::vector<std::int32_t> distances;
    };
    static constexpr std::size_t buckets = 64;
    static constexpr std::int32_t unknown = -1;  ///< the distance of an adopted link; known distances are not negative
    struct Link {
        std::uint32_t target, source;
        std::int32_t distance;
    };

    void insert_batch(std::span<const std::uint32_t> batch, std::span<const std::uint32_t> seeds) {
        parallel_for(batch.size(), 16, threads_, [&](std::size_t first, std::size_t last, std::size_t thread) {
            Worker& worker = workers_[thread];
            for (std::size_t i = first; i < last; ++i) {
                const std::uint32_t row = batch[i];
                spread(worker, row);
                // The row itself has no links and no row links to it, but it may be a seed.
                worker.walker.walk(codes_, {rows_.data(), stride_}, seeds, {.beam = options_.effort}, codes_.count,
                                   true, row);
                worker.pool = worker.walker.expanded;
                gather(worker, row);  // other rows may already link to a seed, which then has links
                prune(worker, row);
                replace(worker, row);
            }
        });
        // Links back are put into buckets by their target. Each bucket is sorted and processed on its own.
        const auto bucket_of = [&](std::uint32_t target) { return std::size_t{target} * buckets / codes_.count; };
        std::array<std::size_t, buckets + 1> ends{};
        const auto each_link = [&](const auto& use) {
            for (const std::uint32_t row : batch) {
                for (std::size_t at = row * stride_; at < row * stride_ + sizes_.data()[row]; ++at) {
                    use(Link{rows_.data()[at], row, distances_.data()[at]});
                }
            }
        };
        each_link([&](const Link& link) { ++ends[bucket_of(link.target) + 1]; });
        std::partial_sum(ends.begin(), ends.end(), ends.begin());
        auto next = ends;
        back_.resize(ends.back());
        each_link([&](const Link& link) { back_[next[bucket_of(link.target)]++] = link; });
        parallel_for(buckets, 1, threads_, [&](std::size_t bucket, std::size_t, std::size_t thread) {
            const auto begin = back_.begin() + static_cast<std::ptrdiff_t>(ends[bucket]);
            const auto end = back_.begin() + static_cast<std::ptrdiff_t>(ends[bucket + 1]);
            std::sort(begin, end, [](const Link& a, const Link& b) {
                return a.target != b.target ? a.target < b.target : a.source < b.source;
            });
            for (std::size_t first = ends[bucket], last = first; first < ends[bucket + 1]; first = last) {
                while (last < ends[bucket + 1] && back_[last].target == back_[first].target) ++last;
                link_back(workers_[thread], first, last);
            }
        });
    }

    /// Add the links back_[first, last), which all have the same target.
    void link_back(Worker& worker, std::size_t first, std::size_t last) {
        const std::uint32_t target = back_[first].target;
        std::uint32_t* row = rows_.data() + target * stride_;
        std::size_t size = sizes_.data()[target];
        worker.pool.clear();
        for (std::size_t i = first; i < last; ++i) {
            const Link link = back_[i];
            if (std::find(row, row + size, link.source) != row + size) continue;
            if (size < stride_) {
                row[size] = link.source;
                distances_.data()[target * stride_ + size++] = link.distance;
            } else {
                worker.pool.push_back(key_of(link.distance, link.source));
            }
        }
        sizes_.data()[target] = static_cast<std::uint16_t>(size);
        if (worker.pool.empty()) return;
        gather(worker, target);
        prune(worker, target);
        replace(worker, target);
    }

    /// Keep at most `degree` rows of the pool, the nearest first. A row is dropped if it is much nearer to a kept row
    /// than to `self`. A row with the same code as a kept row is always dropped.
    void prune(Worker& worker, std::uint32_t self) {
        std::vector<Key>& pool = worker.pool;
        for (Key& key : pool) key &= ~Key{1};
        std::sort(pool.begin(), pool.end());
        pool.erase(std::unique(pool.begin(), pool.end()), pool.end());
        std::erase_if(pool, [=](Key key) { return row_of(key) == self; });
        std::size_t kept = 0;
        for (std::size_t alive = pool.size(); kept < alive && kept < options_.degree;) {
            const std::uint32_t near = row_of(pool[kept++]);
            const std::size_t count = alive - kept;
            if (count == 0 || kept == options_.degree) break;
            worker.rows.resize(count);
            worker.distances.resize(count);
            for (std::size_t i = 0; i < count; ++i) worker.rows[i] = row_of(pool[kept + i]);
            spread(worker, near);
            score_(worker.walker.query.data(), codes_.data, codes_.width, worker.rows.data(), count,
                   worker.distances.data());
            std::size_t left = kept;
            for (std::size_t i = 0; i < count; ++i) {
                const Key key = pool[kept + i];
                if (codes_.real(worker.distances[i]) * options_.alpha > codes_.real(distance_of(key)))
                    pool[left++] = key;
            }
            alive = left;
        }
        pool.resize(kept);
    }

    void spread(Worker& worker, std::uint32_t row) {
        worker.walker.query.resize(codes_.width);
        quantizer_.spread(codes_.row(row), worker.walker.query.data());
    }

    /// Add the links of a row to the pool.
    void gather(Worker& worker, std::uint32_t row) {
        std::int32_t* const distances = distances_.data() + row * stride_;
        const auto adopted = static_cast<std::size_t>(
            std::find_if(distances, distances + sizes_.data()[row], [](std::int32_t d) { return d != unknown; }) -
            distances);
        if (adopted > 0) {
            spread(worker, row);
            score_(worker.walker.query.data(), codes_.data, codes_.width, rows_.data() + row * stride_, adopted,
                   distances);
        }
        for (std::size_t i = 0; i < sizes_.data()[row]; ++i) {
            worker.pool.push_back(key_of(distances_.data()[row * stride_ + i], rows_.data()[row * stride_ + i]));
        }
    }

    /// Write the pool as the links of a row that has no links.
    void store(const Worker& worker, std::uint32_t row) {
        for (std::size_t i = 0; i < worker.pool.size(); ++i) {
            rows_.data()[row * stride_ + i] = row_of(worker.pool[i]);
            distances_.data()[row * stride_ + i] = distance_of(worker.pool[i]);
        }
        sizes_.data()[row] = static_cast<std::uint16_t>(worker.pool.size());
    }

    void replace(const Worker& worker, std::uint32_t row) {
        store(worker, row);
        clear(row, worker.pool.size());
    }

    void clear(std::uint32_t row, std::size_t from) {
        std::fill(rows_.data() + row * stride_ + from, rows_.data() + (row + 1) * stride_, row);
    }

    Codes codes_;
    Kernels::Score score_;
    const Quantizer& quantizer_;
    BuildOptions options_;
    std::size_t threads_;
    std::size_t stride_;
    std::vector<Worker> workers_;
    Array<std::uint32_t> rows_;
    Array<std::int32_t> distances_;
    Array<std::uint16_t> sizes_;
    std::vector<Link> back_;
};

}  // namespace ann
