#include "index.hpp"

#include <cmath>
#include <cstdlib>

#include "answers.hpp"
#include "bytes.hpp"
#include "check.hpp"
#include "folder.hpp"

using ann::Index, ann::Metric, ann::Mode, ann::Options, ann::Refine;

namespace {

bytes::Bytes saved(const Index& index, const Folder& folder) {
    index.save(folder / "index");
    return bytes::read(folder / "index");
}

double product(const float* a, const float* b, std::size_t dim) {
    double sum = 0;
    for (std::size_t i = 0; i < dim; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    return sum;
}

double score(Metric metric, const float* a, const float* b, std::size_t dim) {
    const double both = product(a, b, dim), first = product(a, a, dim), second = product(b, b, dim);
    if (metric == Metric::inner_product) return both;
    if (metric == Metric::cosine) return both / std::sqrt(first * second);
    return -std::sqrt(std::max(first + second - 2 * both, 0.0));
}

/// Exact search compared with the definition.
void check_exact(const Index& index, const std::vector<float>& rows, const std::vector<float>& queries) {
    const std::size_t dim = index.options().dim, n = rows.size() / dim, k = 10;
    for (const std::size_t threads : {1u, 3u}) {
        const Answers answers = scanned(index, queries, k, threads);
        check_answers(answers, n, k);
        for (std::size_t query = 0; query < answers.queries; ++query) {
            std::vector<double> all(n);
            for (std::size_t row = 0; row < n; ++row) {
                all[row] = score(index.options().metric, queries.data() + query * dim, rows.data() + row * dim, dim);
            }
            std::vector<double> sorted = all;
            std::sort(sorted.begin(), sorted.end(), std::greater<>());
            const double slack = index.options().refine == Refine::float16 ? 5e-3 * static_cast<double>(dim) : 1e-4;
            for (std::size_t i = 0; i < std::min(k, n); ++i) {
                const double got = static_cast<double>(answers.scores[query * k + i]);
                CHECK(std::fabs(got - sorted[i]) < slack);
                CHECK(std::fabs(got - all[static_cast<std::size_t>(answers.rows[query * k + i])]) < slack);
            }
        }
    }
}

double recall(const Answers& found, const Answers& truth) {
    std::size_t same = 0, all = 0;
    for (std::size_t query = 0; query < found.queries; ++query) {
        const auto worst = truth.scores[query * truth.k + truth.k - 1];
        for (std::size_t i = 0; i < found.k; ++i, ++all) same += found.scores[query * found.k + i] >= worst;
    }
    return static_cast<double>(same) / static_cast<double>(all);
}

/// Any number of threads and any kernels give the same bytes; a saved and opened index gives the same answers.
void check_options(const Options& options, std::size_t n, std::size_t distinct) {
    const Folder folder;
    const std::vector<float> rows = clustered(n, options.dim, options.seed, distinct);
    const std::vector<float> queries = clustered(20, options.dim, options.seed + 9);
    Index index(options);
    index.add(rows.data(), n, 1, nullptr);
    const bytes::Bytes file = saved(index, folder);
    for (const ann::Kernels* set : ann::kernel_sets()) {
        check::set_variable("MEDALIST_KERNELS", set->name);
        Index other(options);
        other.add(rows.data(), n, 3, nullptr);
        CHECK(saved(other, folder) == file);
        check_exact(other, rows, queries);
    }
    check::set_variable("MEDALIST_KERNELS", nullptr);
    const Answers truth = scanned(index, queries, 10), found = searched(index, queries, 10, 128);
    check_answers(found, n, 10);
    CHECK(recall(found, truth) > 0.95);
    CHECK(index.stats().reachable == n);
    for (const Mode mode : {Mode::memory, Mode::mapped}) {
        const auto opened = Index::open(folder / "index", mode);
        CHECK(searched(*opened, queries, 10, 128, 2) == found);
        CHECK(scanned(*opened, queries, 10, 2) == truth);
        CHECK(opened->ef_for(0.9, 10) == index.ef_for(0.9, 10));
        Index twin(options);
        twin.add(rows.data(), n, 1, nullptr);
        opened->add(queries.data(), 20, 2, nullptr);
        twin.add(queries.data(), 20, 1, nullptr);
        const Folder other;
        CHECK(saved(*opened, other) == saved(twin, folder));
        index.save(folder / "index");
    }
}

}  // namespace

void test_index() {
    std::uint64_t seed = 1;
    for (const Metric metric : {Metric::l2, Metric::inner_product, Metric::cosine}) {
        for (const Refine refine : {Refine::float32, Refine::float16}) {
            check_options({8, metric, refine, 8, 16, seed++}, 1300, 700);
        }
    }
    check_options({1, Metric::l2, Refine::float32, 4, 16, 1}, 1100, 600);
    check_options({33, Metric::l2, Refine::float32, 0, 0, 1}, 1500, 1400);
    check_options({64, Metric::cosine, Refine::float32, 0, 0, 1}, 1200, 1);
    check_options({5, Metric::cosine, Refine::float32, 0, 0, 1}, 40, 40);  // no graph
}

void test_edges() {
    const std::vector<float> rows = clustered(1500, 4, 1, 800);
    const Options options{4, Metric::l2, Refine::float32, 0, 0, 0};
    Index index(options);
    for (const std::size_t k : {0u, 1u, 5u}) {
        check_answers(searched(index, rows, k, 10), 0, 0);
        check_answers(scanned(index, rows, k), 0, 0);
    }
    index.add(rows.data(), 0, 2, nullptr);
    CHECK(index.size() == 0);
    const Folder folder;
    const bytes::Bytes empty = saved(index, folder);
    CHECK(Index::open(folder / "index", Mode::mapped)->size() == 0);

    // A caller that asks to stop finds the index unchanged.
    std::size_t calls = 0;
    const auto stop = [&](std::size_t done, std::size_t total) {
        CHECK(done <= total);
        return ++calls < 3;
    };
    CHECK_THROWS(ann::Interrupted, index.add(rows.data(), 1500, 2, stop));
    CHECK(calls == 3 && index.size() == 0 && saved(index, folder) == empty);
    index.add(rows.data(), 1500, 2, [](std::size_t, std::size_t) { return true; });
    const bytes::Bytes before = saved(index, folder);
    calls = 0;
    const std::vector<float> others = clustered(1500, 4, 2, 800);
    CHECK_THROWS(ann::Interrupted, index.add(others.data(), 1500, 2, stop));
    CHECK(index.size() == 1500 && saved(index, folder) == before);

    const std::vector<float> few(rows.begin(), rows.begin() + 12);
    for (const std::size_t k : {0u, 1u, 1500u, 2000u}) {
        check_answers(searched(index, few, k, 1), 1500, k);
        check_answers(scanned(index, few, k), 1500, k);
    }
    check_answers(searched(index, few, 700, 1), 1500, 700);
    std::vector<float> far = few;
    for (float& value : far) value *= 1e6f;
    check_answers(searched(index, far, 10, 20), 1500, 10);
    CHECK(searched(index, {}, 10, 10) == Answers(0, 10));

    CHECK_THROWS(std::invalid_argument, Index({0, Metric::l2, Refine::float32, 0, 0, 0}));
    CHECK_THROWS(std::invalid_argument, Index({65537, Metric::l2, Refine::float32, 0, 0, 0}));
    CHECK_THROWS(std::invalid_argument, Index({4, Metric::l2, Refine::float32, 100000, 0, 0}));
    std::vector<float> out(4);
    for (const std::int64_t row : {std::int64_t{-1}, std::int64_t{1500}, INT64_MIN, INT64_MAX}) {
        CHECK_THROWS(std::invalid_argument, index.vectors(*index.now(), {&row, 1}, out.data()));
    }
    const std::int64_t seven = 7;
    index.vectors(*index.now(), {&seven, 1}, out.data());
    CHECK(std::equal(out.begin(), out.end(), rows.begin() + 28));
}
