// Readers during a build and during additions, checked by the thread sanitizer.
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>

#include "answers.hpp"
#include "check.hpp"
#include "folder.hpp"
#include "model.hpp"
#include "scroll.hpp"

namespace {

constexpr std::size_t dim = 6;

/// Threads that repeat some work until they are stopped; stop() throws their exceptions. Nothing here orders what the
/// threads do, so that no race is hidden.
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
    // An answer must cover at least the rows before the call, and at most the rows after it.
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
        std::vector<std::int64_t> links(index.now()->size * index.degree());
        index.links(links);
        const auto n = static_cast<std::int64_t>(index.size());  // the links may be newer than the array for them
        CHECK(std::all_of(links.begin(), links.end(), [=](std::int64_t link) { return link >= -1 && link < n; }));
        if (n == 0) return;
        const std::int64_t last = n - 1;
        std::vector<float> row(dim);
        index.vectors(*index.now(), {&last, 1}, row.data());
    });
    readers.start([&] {
        index.save(folder / "index");
        const std::size_t n = ann::Index::open(folder / "index", ann::Mode::memory)->size();
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

using model::Id, model::What;

/// The vector and the depth of an id depend on how often it was written: a reader that sees parts of two changes
/// notices that they do not fit.
model::Request version(What what, const std::vector<Id>& ids, std::int64_t round) {
    std::vector<filters::Row> rows;
    std::vector<float> vectors;
    model::Dice dice(static_cast<std::uint64_t>(round));
    for (const Id& id : ids) {
        filters::Row row = model::drawn_row(dice);
        row[model::depth] = {true, {}, round % 50, 0, {0, 0}};
        rows.push_back(row);
        const auto number = static_cast<float>(std::get<std::int64_t>(id));
        for (std::size_t i = 0; i + 1 < dim; ++i) vectors.push_back(number / static_cast<float>(i + 1));
        vectors.push_back(static_cast<float>(round % 50));
    }
    return model::request(what, dim, model::batch_of(ids), rows,
                          what == What::put || what == What::add ? vectors : std::vector<float>{});
}

/// What a reader may see in one state of the index.
class Looks {
public:
    explicit Looks(const ann::Index& index) : index_(index) {}

    /// Answers are alive and wanted, and there are as many as possible.
    void search(ann::Plan plan, std::size_t threads) const {
        const auto state = index_.now();
        const filters::Program program = filters::Program().range(model::depth, std::int64_t{0}, std::int64_t{25});
        const ann::Filter filter = ann::Filter::decode(program.bytes, model::schema);
        const ann::Filter* const filters[] = {&filter, nullptr, &filter};
        const std::vector<float> queries = clustered(3, dim, 8);
        const ann::Ask ask{.k = 10, .ef = 24, .threads = threads, .plan = plan, .filters = filters};
        const Answers answers = asked(index_, *state, queries, ask);
        check_answers(answers, state->size, 0);
        const std::size_t counts[] = {index_.select(*state, filter).count, state->size - state->dead};
        for (std::size_t i = 0; i < 3; ++i) {
            CHECK(static_cast<std::size_t>(answers.counts[i]) == std::min<std::size_t>(counts[i % 2], 10));
            for (std::int64_t j = 0; j < answers.counts[i]; ++j) {
                const std::int64_t row = answers.rows[i * 10 + static_cast<std::size_t>(j)];
                CHECK(state->live->test(static_cast<std::size_t>(row)));
                if (i % 2 == 0) CHECK(state->table.means(filter, static_cast<std::size_t>(row), state->ids));
            }
        }
    }

    /// Rows are complete: their ids, vectors and fields come from one change.
    void rows() const {
        const auto state = index_.now();
        const ann::Selection all{.listed = false, .rows = {}, .bits = *state->live, .count = state->size - state->dead};
        const auto page = ann::scroll(*state, all, {model::when, true}, 40, nullptr);
        CHECK(page.size() == std::min<std::size_t>(all.count, 40));
        const auto fields = model::fields_of(*state, page);
        std::vector<float> vector(dim);
        for (std::size_t i = 0; i < page.size(); ++i) {
            const std::int64_t row = page[i];
            index_.vectors(*state, {&row, 1}, vector.data());
            CHECK(vector[0] == static_cast<float>(state->ids.number(page[i])));
            const auto& depth = fields[i].at(model::depth);
            // A set changes only the depth, to a number that no vector has.
            CHECK(depth.has && (depth.whole >= 1000 || static_cast<float>(depth.whole) == vector[dim - 1]));
        }
        std::size_t sum = 0;
        for (const ann::Facet& facet : state->table.facet(model::depth, all)) sum += facet.count;
        CHECK(sum == all.count);
    }

private:
    const ann::Index& index_;
};

void read_beside_changes() {
    ann::Index index({dim, ann::Metric::l2, ann::Refine::float32, 8, 16, 0}, model::schema);
    const Folder folder;
    const Looks looks(index);
    Readers readers;
    for (const ann::Plan plan :
         {ann::Plan::chosen, ann::Plan::exact, ann::Plan::scan, ann::Plan::walk, ann::Plan::bridge}) {
        readers.start([&looks, plan] { looks.search(plan, plan == ann::Plan::chosen ? 2 : 1); });
    }
    readers.start([&] { looks.rows(); });
    readers.start([&] {
        const ann::Stats stats = index.stats();
        CHECK(stats.reachable == stats.n);
        index.save(folder / "index");
        const auto opened = ann::Index::open(folder / "index", ann::Mode::mapped);
        Looks(*opened).rows();
    });
    model::Dice dice(5);
    const auto some = [&](std::size_t count, bool there) {
        std::vector<Id> ids;
        const auto state = index.now();
        for (std::size_t i = 0; i < count; ++i) {
            const Id id = static_cast<std::int64_t>(dice.below(1500));
            const filters::Program one = model::batch_of({id});
            const bool known = state->ids.find(ann::IdBatch::decode(one.bytes), 0, *state->live).has_value();
            if (known == there && std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
        }
        return ids;
    };
    std::int64_t round = 0;
    const auto write = [&](What what, const std::vector<Id>& ids) {
        index.write(version(what, ids, ++round).change(), 2, nullptr);
    };
    std::vector<Id> all;
    for (std::int64_t id = 0; id < 1500; ++id) all.emplace_back(id);
    write(What::add, all);
    for (int i = 0; i < 7; ++i) {
        for (int j = 0; j < 4; ++j) write(What::put, some(60, true));
        write(What::put, all);
        write(What::drop, some(100, true));
        write(What::add, some(80, false));
        filters::Row depth;
        depth[model::depth] = {true, {}, 1000 + i, 0, {0, 0}};
        const filters::Program tag = filters::Program().among(model::species, {"tag2"});
        index.set(tag.bytes, filters::encode(model::schema, {model::depth}, {depth}));
        const filters::Program who = filters::Program().among(model::who, {"who7"});
        index.drop(who.bytes, 1, nullptr);
        CHECK_THROWS(std::runtime_error, index.write(version(What::put, all, ++round).change(), 2, nullptr,
                                                     [](const ann::Change&) { throw std::runtime_error("full"); }));
        if (i % 3 == 0) index.compact(2, nullptr);
    }
    CHECK(readers.stop() >= 7);
}

}  // namespace

void test_threads() {
    read_beside_additions(ann::Metric::l2, ann::Refine::float32);
    read_beside_additions(ann::Metric::cosine, ann::Refine::float16);
    read_beside_additions(ann::Metric::inner_product, ann::Refine::float32);
    read_beside_changes();

    // Two writers: their changes are made in sequence, in some order.
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
