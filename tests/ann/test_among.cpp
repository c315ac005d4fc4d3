// Searching among some of the rows, by every plan, compared with a search of all rows.
#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "answers.hpp"
#include "check.hpp"
#include "linking.hpp"
#include "model.hpp"

using ann::Ask, ann::Filter, ann::Index, ann::Metric, ann::Options, ann::Plan, ann::Refine;
using filters::Program, filters::Row, filters::Value, model::What;

namespace {

constexpr Plan plans[] = {Plan::chosen, Plan::exact, Plan::scan, Plan::walk, Plan::bridge};

/// Fields with the rank of a row in some order of all rows, so that a range filter can select any part of the order.
const ann::Schema places{{"even", ann::Kind::integer}, {"near", ann::Kind::integer}, {"team", ann::Kind::id}};
enum Place : std::size_t { even, near, team };

std::vector<std::size_t> ranks(const std::vector<std::size_t>& order) {
    std::vector<std::size_t> rank(order.size());
    for (std::size_t i = 0; i < order.size(); ++i) rank[order[i]] = i;
    return rank;
}

/// An index whose rows are known to the test, and the definition of its answers.
class World {
public:
    World(const Options& options, std::vector<float> rows, std::size_t linked, bool full = true)
        : index(options, places), dim(options.dim), n(rows.size() / dim), rows(std::move(rows)), alive(n, true) {
        const std::vector<float> some = clustered(64, dim, options.seed + 50);
        // Queries lie near each other, so that rows far from one query are far from all.
        for (std::size_t i = 0; i < 8; ++i) {
            for (std::size_t j = 0; j < dim; ++j) queries.push_back(some[j] + 0.05f * some[(i + 1) * dim + j]);
        }
        order_rows(options.seed);
        add(0, linked);
        if (full) add(linked, n);
    }

    void add(std::size_t first, std::size_t last) {
        if (first == last) return;
        std::vector<Row> fields;
        for (std::size_t row = first; row < last; ++row) {
            Row& values = fields.emplace_back();
            values[even] = {true, {}, static_cast<std::int64_t>(rank_even[row]), 0, {0, 0}};
            values[near] = {true, {}, static_cast<std::int64_t>(rank_near[row]), 0, {0, 0}};
            if (row % 5 != 0) values[team] = {true, {team_of(row)}, 0, 0, {0, 0}};
        }
        const auto payload = filters::encode(places, {even, near, team}, fields);
        const Program ids = model::numbers(last - first);
        index.write(
            {What::add, index.options().dim, ids.bytes, payload, {rows.data() + first * dim, (last - first) * dim}}, 1,
            nullptr);
    }

    void drop(const std::vector<model::Id>& ids) {
        const Program batch = model::batch_of(ids);
        CHECK(index.write({What::drop, 0, batch.bytes, {}, {}}, 1, nullptr) == ids.size());
        for (const model::Id& id : ids) alive[static_cast<std::size_t>(std::get<std::int64_t>(id))] = false;
    }

    static std::string team_of(std::size_t row) { return "team" + std::to_string(row * row % 97); }

    double score(std::size_t query, std::size_t row) const {
        const float *a = queries.data() + query * dim, *b = rows.data() + row * dim;
        double both = 0, first = 0, second = 0;
        for (std::size_t i = 0; i < dim; ++i) {
            const double x = static_cast<double>(a[i]), y = static_cast<double>(b[i]);
            both += x * y, first += x * x, second += y * y;
        }
        if (index.options().metric == Metric::inner_product) return both;
        if (index.options().metric == Metric::cosine) return both / std::sqrt(first * second);
        return -std::sqrt(std::max(first + second - 2 * both, 0.0));
    }

    Index index;
    std::size_t dim, n;
    std::vector<float> rows, queries;
    std::vector<bool> alive;
    std::vector<std::size_t> rank_even, rank_near;  ///< independent of the vectors; by the distance from the queries

private:
    void order_rows(std::uint64_t seed) {
        const auto drawn = ann::random_order(seed + 7, 0, static_cast<std::uint32_t>(n));
        rank_even = ranks({drawn.begin(), drawn.end()});
        std::vector<std::size_t> order(n);
        std::iota(order.begin(), order.end(), std::size_t{0});
        std::vector<double> scores(n);
        for (std::size_t row = 0; row < n; ++row) scores[row] = score(0, row);
        std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
        rank_near = ranks(order);
    }
};

/// Return the scores of these rows for each query, the best first.
std::vector<std::vector<double>> truth(const World& world, const std::vector<bool>& wanted) {
    std::vector<std::vector<double>> best(world.queries.size() / world.dim);
    for (std::size_t query = 0; query < best.size(); ++query) {
        for (std::size_t row = 0; row < world.n; ++row) {
            if (wanted[row]) best[query].push_back(world.score(query, row));
        }
        std::sort(best[query].begin(), best[query].end(), std::greater<>());
    }
    return best;
}

/// The rows whose rank in some order is in [low, high), and which of them are alive.
struct Cut {
    Cut(const World& world, Place field, std::size_t low, std::size_t high)
        : program(Program().range(field, static_cast<std::int64_t>(low), static_cast<std::int64_t>(high) - 1)),
          filter(Filter::decode(program.bytes, places)),
          wanted(world.n) {
        const auto& rank = field == even ? world.rank_even : world.rank_near;
        for (std::size_t row = 0; row < world.n; ++row) {
            wanted[row] = world.alive[row] && rank[row] >= low && rank[row] < high;
            count += wanted[row] ? 1 : 0;
        }
        best = truth(world, wanted);
    }
    Program program;
    Filter filter;
    std::vector<bool> wanted;
    std::size_t count = 0;
    std::vector<std::vector<double>> best;
};

constexpr double slack = 2e-3;

/// Check that there are exactly min(k, count) answers, all wanted, each once, with the right scores. Returns the share
/// of the true answers that were found.
double check_wanted(const World& world, const Answers& answers, const std::vector<bool>& wanted,
                    const std::vector<std::vector<double>>& truth) {
    check_answers(answers, world.n, 0);
    std::size_t good = 0, all = 0;
    for (std::size_t query = 0; query < answers.queries; ++query) {
        const std::vector<double>& best = truth[query];
        const std::size_t found = std::min(answers.k, best.size());
        CHECK(answers.counts[query] == static_cast<std::int64_t>(found));
        for (std::size_t i = 0; i < found; ++i, ++all) {
            const auto row = static_cast<std::size_t>(answers.rows[query * answers.k + i]);
            const double got = static_cast<double>(answers.scores[query * answers.k + i]);
            CHECK(wanted[row]);
            CHECK(std::fabs(got - world.score(query, row)) < slack);
            CHECK(got <= best[i] + slack);
            good += got >= best[found - 1] - slack;
        }
        const bool exact = answers.plans[query] == Plan::exact;
        for (std::size_t i = 0; exact && i < found; ++i) {
            CHECK(std::fabs(static_cast<double>(answers.scores[query * answers.k + i]) - best[i]) < slack);
        }
    }
    return all == 0 ? 1.0 : static_cast<double>(good) / static_cast<double>(all);
}

/// Return whether the plan that ran is allowed for the plan that was asked for.
bool fits(Plan asked, Plan ran) {
    if (asked == Plan::chosen || ran == Plan::exact) return true;  // there are no codes, or very few wanted rows
    if (asked == Plan::walk) return ran == Plan::walk || ran == Plan::walk_then_scan;
    if (asked == Plan::bridge) return ran == Plan::bridge || ran == Plan::bridge_then_scan;
    return ran == asked;
}

void check_cut(const World& world, const Cut& cut, bool independent) {
    for (const std::size_t k : {1u, 10u, 100u}) {
        for (const Plan plan : plans) {
            const Filter* const only = &cut.filter;
            const Ask ask{.k = k, .ef = 64, .plan = plan, .filters = {&only, 1}};
            const Answers answers = asked(world.index, world.queries, ask);
            const double recall = check_wanted(world, answers, cut.wanted, cut.best);
            // The planner's choice and plans that compare all rows are good wherever the wanted rows lie. A walk or a
            // bridge that is forced is good only if they lie around the query.
            const bool forced = plan == Plan::walk || plan == Plan::bridge;
            if (!forced || (independent && cut.count >= world.n / 4)) CHECK(recall >= 0.9);
            for (std::size_t query = 0; query < answers.queries; ++query) {
                CHECK(fits(plan, answers.plans[query]));
                if (plan == Plan::exact || plan == Plan::scan) {
                    CHECK(answers.cost[query] == static_cast<std::int64_t>(cut.count));
                }
                if (plan == Plan::chosen)
                    CHECK(answers.cost[query] <= static_cast<std::int64_t>(22 * cut.count / 10 + 1000));
            }
            Ask more = ask;
            more.threads = 3;
            if (plan == Plan::chosen) CHECK(asked(world.index, world.queries, more) == answers);
        }
    }
}

void check_world(const World& world) {
    const std::size_t n = world.n;
    for (const std::size_t share : {n, n / 2, n / 10, n / 50, n / 1000, std::size_t{1}, std::size_t{0}}) {
        check_cut(world, Cut(world, even, 0, share), true);
        check_cut(world, Cut(world, near, 0, share), false);      // around the query
        check_cut(world, Cut(world, near, n - share, n), false);  // as far from it as possible
    }
    check_cut(world, Cut(world, near, n / 3, n / 2), false);
    // Without a filter only dead rows are left out.
    const std::vector<bool>& alive = world.alive;
    const auto best = truth(world, alive);
    for (const Plan plan : plans) {
        for (const std::size_t k : {10u, 200u}) {
            const Answers answers = asked(world.index, world.queries, {.k = k, .ef = 64, .plan = plan});
            CHECK(check_wanted(world, answers, alive, best) >= 0.9);
        }
    }
    for (const Plan plan : plans) {  // more answers than there are rows
        const Cut cut(world, even, 0, n / 40);
        const Filter* const only = &cut.filter;
        const Answers answers =
            asked(world.index, world.queries, {.k = n, .ef = 64, .plan = plan, .filters = {&only, 1}});
        CHECK(check_wanted(world, answers, cut.wanted, cut.best) == 1.0);
    }
}

/// One call with a filter for each query gives the same as one call for each filter.
void check_several(const World& world) {
    const Cut cuts[] = {Cut(world, even, 0, world.n / 3), Cut(world, near, world.n / 2, world.n),
                        Cut(world, even, 5, 9)};
    const Filter* const each[] = {&cuts[0].filter, &cuts[0].filter, nullptr,         &cuts[1].filter,
                                  &cuts[2].filter, nullptr,         &cuts[1].filter, &cuts[0].filter};
    for (const Plan plan : plans) {
        for (const std::size_t threads : {1u, 3u}) {
            const Ask ask{.k = 10, .ef = 40, .threads = threads, .plan = plan, .filters = each};
            const Answers together = asked(world.index, world.queries, ask);
            for (std::size_t i = 0; i < 8; ++i) {
                const std::vector<float> query(
                    world.queries.begin() + static_cast<std::ptrdiff_t>(i * world.dim),
                    world.queries.begin() + static_cast<std::ptrdiff_t>((i + 1) * world.dim));
                Ask one = ask;
                one.filters = {&each[i], 1};
                const Answers alone = asked(world.index, query, one);
                CHECK(alone.counts[0] == together.counts[i]);
                CHECK(std::equal(alone.rows.begin(), alone.rows.end(),
                                 together.rows.begin() + static_cast<std::ptrdiff_t>(i * 10)));
            }
        }
    }
}

/// At most `per` answers of a team: the best ones of it, by definition.
void check_groups(const World& world) {
    for (const std::size_t share : {world.n, world.n / 2, world.n / 20, std::size_t{30}}) {
        const Cut cut(world, even, 0, share);
        const Filter* const only = &cut.filter;
        for (const std::size_t per : {1u, 2u}) {
            std::map<std::string, std::size_t> sizes;
            std::size_t alone = 0;
            for (std::size_t row = 0; row < world.n; ++row) {
                if (!cut.wanted[row]) continue;
                row % 5 == 0 ? ++alone : ++sizes[World::team_of(row)];
            }
            std::size_t possible = alone;
            for (const auto& [name, size] : sizes) possible += std::min(per, size);
            for (const Plan plan : plans) {
                for (const std::size_t k : {5u, 300u}) {
                    Ask ask{.k = k, .ef = 64, .plan = plan, .filters = {&only, 1}};
                    ask.group = team;
                    ask.per = per;
                    const Answers answers = asked(world.index, world.queries, ask);
                    check_answers(answers, world.n, 0);
                    for (std::size_t query = 0; query < answers.queries; ++query) {
                        CHECK(answers.counts[query] == static_cast<std::int64_t>(std::min(k, possible)));
                        std::map<std::string, std::size_t> seen;
                        for (std::size_t i = 0; i < std::min(k, possible); ++i) {
                            const auto row = static_cast<std::size_t>(answers.rows[query * k + i]);
                            CHECK(cut.wanted[row]);
                            if (row % 5 != 0) CHECK(++seen[World::team_of(row)] <= per);
                        }
                    }
                }
            }
        }
    }
}

/// Answers with at least a given score, and all rows with at least that score.
void check_least(const World& world) {
    const Cut cut(world, even, 0, world.n / 3);
    const Filter* const only = &cut.filter;
    const std::vector<double>& best = cut.best.front();
    const std::vector<float> query(world.queries.begin(),
                                   world.queries.begin() + static_cast<std::ptrdiff_t>(world.dim));
    for (const std::size_t wanted : {std::size_t{0}, std::size_t{4}, std::size_t{30}, best.size()}) {
        const double border = wanted == 0             ? best.front() + 1
                              : wanted == best.size() ? best.back() - 1
                                                      : (best[wanted - 1] + best[wanted]) / 2;
        const auto least = static_cast<float>(border);
        const auto reached = static_cast<std::size_t>(
            std::count_if(best.begin(), best.end(), [&](double score) { return static_cast<float>(score) >= least; }));
        const auto all = world.index.within(*world.index.now(), query.data(), least, only);
        CHECK(all.size() + 2 > reached && all.size() < reached + 2);  // equal rows may lie at the limit
        for (std::size_t i = 0; i < all.size(); ++i) {
            CHECK(cut.wanted[all[i].row]);
            CHECK(i == 0 || ann::before(all[i - 1], all[i]));
        }
        for (const Plan plan : plans) {
            Ask ask{.k = 20, .ef = 64, .plan = plan, .filters = {&only, 1}};
            ask.least = least;
            const Answers answers = asked(world.index, query, ask);
            check_answers(answers, world.n, 0);
            for (std::int64_t i = 0; i < answers.counts[0]; ++i) {
                CHECK(answers.scores[static_cast<std::size_t>(i)] >= least);
            }
            if (plan == Plan::exact)
                CHECK(static_cast<std::size_t>(answers.counts[0]) == std::min<std::size_t>(20, all.size()));
        }
    }
    const auto everything = world.index.within(*world.index.now(), query.data(), -INFINITY, nullptr);
    CHECK(everything.size() == world.index.size());
    CHECK(world.index.select(*world.index.now(), cut.filter).count == cut.count);
}

std::vector<model::Id> some_ids(const World& world, std::size_t often, std::uint64_t seed) {
    std::vector<model::Id> ids;
    for (std::size_t row = 0; row < world.n; ++row) {
        if (world.alive[row] && ann::random_below(seed, row, often) == 0)
            ids.emplace_back(static_cast<std::int64_t>(row));
    }
    return ids;
}

/// Return rows of which three in ten are equal to an earlier row; several may be equal to the same row.
std::vector<float> with_equals(std::size_t n, std::size_t dim, std::uint64_t seed) {
    std::vector<float> rows = clustered(n, dim, seed);
    for (std::size_t row = 10; row < n; ++row) {
        if (ann::random_below(seed, row, 10) >= 3) continue;
        const auto first = static_cast<std::ptrdiff_t>(ann::random_below(seed + 1, row, row % 2 == 0 ? 10 : row) * dim);
        std::copy_n(rows.begin() + first, dim, rows.begin() + static_cast<std::ptrdiff_t>(row * dim));
    }
    return rows;
}

void check_all(World& world) {
    check_world(world);
    check_several(world);
    check_groups(world);
    check_least(world);
}

/// Queries that are too far away for the codes: all rows are compared in full, and the answers report it.
void check_far(const World& world) {
    std::vector<float> far = world.queries;
    for (float& value : far) value *= 1e7f;
    const Cut cut(world, even, 0, world.n / 2);
    const Filter* const only = &cut.filter;
    for (const Plan plan : plans) {
        for (const bool filtered : {false, true}) {
            Ask ask{.k = 10, .ef = 40, .plan = plan};
            if (filtered) ask.filters = {&only, 1};
            const Answers answers = asked(world.index, far, ask);
            check_answers(answers, world.n, 10);
            const auto count = static_cast<std::int64_t>(filtered ? cut.count : world.index.size());
            for (std::size_t i = 0; i < answers.queries; ++i) {
                CHECK(answers.plans[i] == Plan::exact && answers.cost[i] >= count);
            }
        }
    }
}

/// The codes of an index, prepared for a walk.
struct Ground {
    explicit Ground(const Index& index)
        : state(index.now()),
          codes{state->codes->data(),
                state->size,
                state->graph->quantizer.padded(),
                state->graph->quantizer.bytes(),
                &ann::chosen_kernels(),
                state->graph->quantizer.scale().bits},
          links{state->graph->links.data(), index.degree()} {}
    std::shared_ptr<const ann::State> state;
    ann::Codes codes;
    ann::Links links;
};

}  // namespace

/// A walker that was used for other indexes finds the same as a new walker.
void test_walker() {
    std::vector<Ground> grounds;
    std::vector<std::unique_ptr<Index>> indexes;
    for (const std::size_t n : {3000u, 1100u, 1700u}) {
        const auto dim = static_cast<std::uint32_t>(n % 7 + 3);
        const std::vector<float> rows = clustered(n, dim, n, 600);
        auto& index = indexes.emplace_back(std::make_unique<Index>(
            Options{dim, Metric::l2, Refine::float32, static_cast<std::uint32_t>(n / 120), 16, n}));
        index->add(rows.data(), n, 1, nullptr);
        grounds.emplace_back(*index);
    }
    ann::Walker used;
    for (std::uint64_t round = 0; round < 240; ++round) {
        const Ground& ground = grounds[ann::random_below(1, round, 3)];
        const ann::Graph& graph = *ground.state->graph;
        const std::size_t dim = ground.state->vectors.dim();
        const std::vector<float> query = clustered(1, dim, round);
        ann::Bitmap wanted(ground.state->size);
        std::vector<std::uint32_t> starts;
        const std::uint64_t often = std::uint64_t{1} << ann::random_below(2, round, 8);
        for (std::uint32_t row = 0; row < wanted.size(); ++row) {
            if (ann::random_below(round, row, often) != 0) continue;
            wanted.set(row);
            if (row % 8 == 0 && starts.size() < 100) starts.push_back(row);
        }
        const std::size_t beam = 1 + ann::random_below(3, round, 90);
        ann::Extent extent{
            .beam = beam, .lead = 3 * beam, .least = beam / 2, .rank = round % 3 == 0 ? 0 : beam / 3, .stretch = 1.5f};
        const ann::Wanted told{&wanted, round % 5 == 0 ? 100u : 100000u};
        const auto judge = [&](double share, ann::Extent& now) {
            CHECK(share >= 0.0 && share <= 1.0);
            now.stretch *= 0.9f;
            return round % 7 == 0 && share < 0.5 ? ann::End::starved : ann::End::done;
        };
        ann::Walker fresh;
        std::vector<std::vector<ann::Key>> found;
        std::vector<std::size_t> looked;
        std::vector<ann::End> ends;
        for (ann::Walker* walker : {&used, &fresh}) {
            walker->query.resize(graph.quantizer.padded());
            walker->scratch.resize(graph.quantizer.width());
            CHECK(graph.quantizer.encode_query(query.data(), walker->query.data(), walker->scratch.data()));
            walker->clear();
            ann::End end = ann::End::done;
            if (round % 4 == 0) walker->walk(ground.codes, ground.links, graph.seeds, extent, graph.linked);
            if (round % 4 == 1) end = walker->walk_among(ground.codes, ground.links, graph.seeds, extent, told, judge);
            if (round % 4 == 2) end = walker->bridge(ground.codes, ground.links, starts, extent, told);
            if (round % 4 == 3) walker->scan(ground.codes, [&](const auto& visit) { wanted.each(visit); }, beam);
            const auto keys = round % 4 == 0 ? walker->beam() : walker->found();
            found.emplace_back(keys.begin(), keys.end());
            looked.push_back(walker->looked());
            ends.push_back(end);
        }
        CHECK(found[0] == found[1] && looked[0] == looked[1] && ends[0] == ends[1]);
        for (std::size_t i = 0; i < found[0].size(); ++i) {
            CHECK(i == 0 || found[0][i - 1] < found[0][i]);
            if (round % 4 != 0) CHECK(wanted.test(ann::row_of(found[0][i])));
        }
        std::size_t count = 0;
        wanted.each([&](std::uint32_t) { ++count; });
        if (round % 4 == 3) CHECK(looked[0] == count && found[0].size() == std::min(beam, count));
    }
}

void test_among() {
    const Options l2{6, Metric::l2, Refine::float32, 8, 24, 1};
    {
        World plain(l2, clustered(3000, 6, 1), 3000);
        check_all(plain);
        check_far(plain);
        plain.drop(some_ids(plain, 10, 4));
        check_all(plain);
        check_far(plain);
        CHECK(plain.index.stats().linked == plain.index.now()->size);
    }
    {
        World equals({6, Metric::cosine, Refine::float32, 8, 24, 2}, with_equals(3000, 6, 2), 2400);
        CHECK(equals.index.stats().linked == 2400 && equals.index.stats().duplicates > 500);
        check_all(equals);
        equals.drop(
            {std::int64_t{0}, std::int64_t{1}, std::int64_t{2}, std::int64_t{3}, std::int64_t{5}});  // many equal rows
        check_world(equals);
        equals.drop(some_ids(equals, 8, 5));
        check_all(equals);
    }
    {
        World product({6, Metric::inner_product, Refine::float32, 8, 24, 3}, clustered(2600, 6, 3), 1600);
        check_all(product);
        product.drop(some_ids(product, 7, 5));
        check_world(product);
    }
    {
        World same({6, Metric::l2, Refine::float32, 8, 24, 4}, clustered(1500, 6, 4, 3), 1500);  // three vectors in all
        check_world(same);
        same.drop(some_ids(same, 9, 5));
        check_world(same);
        check_groups(same);
    }
    World few({6, Metric::l2, Refine::float32, 8, 24, 5}, clustered(500, 6, 5), 500);  // no graph
    check_all(few);
    few.drop(some_ids(few, 2, 6));
    check_all(few);
    // Enough rows that a look at the query's neighbourhood pays off.
    World many({4, Metric::l2, Refine::float32, 12, 64, 6}, clustered(13500, 4, 6, 2500), 13500);
    check_cut(many, Cut(many, even, 0, 13000), true);
    check_cut(many, Cut(many, near, 500, 13500), false);
    check_cut(many, Cut(many, near, 0, 12500), false);
}
