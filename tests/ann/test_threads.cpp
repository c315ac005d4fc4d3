// Readers beside a build and beside additions; a thread sanitizer watches.
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>

#include "answers.hpp"
#include "check.hpp"
#include "folder.hpp"

namespace {

constexpr std::size_t dim = 6;

/// Threads that do a thing again and again until they are stopped; what they throw comes out of stop(). Nothing here
/// orders what the threads do, so that no race is hidden.
class Readers {
public:
    template <typename Work>
    void start(const Work& work) {
        threads_.emplace_back([this, work] {
            try {
                do {
                    work();
                    rounds_.fetch_add(1, std::memory_order_relaxed);
                } while (!stopped_.load(std::memory_order_relaxed));
            } catch (...) {
                const std::lock_guard lock(failing_);
                failure_ = std::current_exception();
            }
        });
    }
    std::size_t stop() {
        stopped_ = true;
        threads_.clear();
        if (failure_) std::rethrow_exception(failure_);
        return rounds_;
    }

private:
    std::atomic<bool> stopped_{false};
    std::atomic<std::size_t> rounds_{0};
    std::mutex failing_;
    std::exception_ptr failure_;
    std::vector<std::jthread> threads_;
};

void read_beside_additions(ann::Metric metric, ann::Refine refine) {
    const std::vector<float> rows = clustered(5000, dim, 1, 900), queries = clustered(32, dim, 2);
    const std::vector<float> one(queries.begin(), queries.begin() + dim);
    ann::Index index({dim, metric, refine, 8, 16, 0});
    const Folder folder;
    Readers readers;
    // The size before the answer is what it has to cover, the size after it is the most that it can.
    const auto valid = [&](const std::vector<float>& asked, std::size_t threads, bool walk) {
        const std::size_t before = index.size();
        const Answers answers = walk ? searched(index, asked, 10, 20, threads) : scanned(index, asked, 10, threads);
        check_answers(answers, index.size(), std::min<std::size_t>(before, 10));
    };
    readers.start([&] { valid(one, 1, true); });
    readers.start([&] { valid(queries, 2, true); });
    readers.start([&] { valid(queries, 2, false); });
    readers.start([&] {
        const ann::Stats stats = index.stats();
        CHECK(stats.reachable == stats.n);
        CHECK(index.ef_for(0.9, 10) <= index.size());
        std::vector<std::int64_t> links(index.size() * index.degree());
        index.links(links);
        const auto n = static_cast<std::int64_t>(index.size());  // the links may be newer than the room for them
        CHECK(std::all_of(links.begin(), links.end(), [=](std::int64_t link) { return link >= -1 && link < n; }));
        if (n == 0) return;
        const std::int64_t last = n - 1;
        std::vector<float> row(dim);
        index.vectors({&last, 1}, row.data());
    });
    readers.start([&] {
        index.save(folder / "index", {});
        const std::size_t n = ann::Index::open(folder / "index", ann::Mode::memory).first->size();
        CHECK(n <= index.size());
    });
    std::size_t added = 0;
    for (const std::size_t count : {1u, 500u, 1000u, 3u, 200u, 1100u, 40u, 1200u}) {
        index.add(rows.data() + added * dim, count, 2, nullptr);
        added += count;
        CHECK(index.size() == added);
    }
    const std::vector<float> others = clustered(1200, dim, 3);
    CHECK_THROWS(ann::Interrupted, index.add(others.data(), 1200, 2, [](std::size_t, std::size_t) { return false; }));
    CHECK(index.size() == added);
    CHECK(readers.stop() >= 5);
}

}  // namespace

void test_threads() {
    read_beside_additions(ann::Metric::l2, ann::Refine::float32);
    read_beside_additions(ann::Metric::cosine, ann::Refine::float16);
    read_beside_additions(ann::Metric::inner_product, ann::Refine::float32);

    // Two writers: one after the other, in some order.
    const std::vector<float> rows = clustered(1500, dim, 1, 800);
    ann::Index index({dim, ann::Metric::l2, ann::Refine::float32, 8, 16, 0});
    Readers writers;
    for (int i = 0; i < 2; ++i) {
        writers.start([&] { index.add(rows.data(), 1500, 2, nullptr); });
    }
    const std::size_t times = writers.stop();
    CHECK(times >= 2 && index.size() == times * 1500);
    CHECK(index.stats().reachable == index.size());
}
