// Pages of rows compared with sorting all rows.
#include "scroll.hpp"

#include <algorithm>
#include <set>

#include "check.hpp"
#include "model.hpp"

using ann::Cursor, ann::Index, ann::Order;
using filters::Program, filters::Row, filters::Value, model::Dice, model::Entry, model::Id, model::Model, model::What;

namespace {

const ann::Options options{2, ann::Metric::l2, ann::Refine::float32, 4, 8, 1};

void put(Index& index, Model& model, const std::vector<Id>& ids, Dice& dice) {
    std::vector<Row> rows;
    std::vector<float> vectors;
    for (const Id& id : ids) {
        rows.push_back(model::drawn_row(dice));
        const std::vector<float> vector{static_cast<float>(dice.real()), 1.0f};
        vectors.insert(vectors.end(), vector.begin(), vector.end());
        model[id] = {0, vector, rows.back()};
    }
    const auto request = model::request(What::put, 2, model::batch_of(ids), rows, vectors);
    CHECK(index.write(request.change(), 1, nullptr) == ids.size());
}

void drop(Index& index, Model& model, const std::vector<Id>& ids) {
    const auto request = model::request(What::drop, 2, model::batch_of(ids));
    CHECK(index.write(request.change(), 1, nullptr) == ids.size());
    for (const Id& id : ids) model.erase(id);
}

/// Return whether a comes before b: by the field, missing values last, then by id.
bool sooner(const Model& model, const Order& order, const Id& a, const Id& b) {
    if (order.field) {
        const Value &x = model.at(a).fields.at(*order.field), &y = model.at(b).fields.at(*order.field);
        if (x.has != y.has) return x.has;
        const auto less = [&](const Value& one, const Value& other) {
            return one.whole != other.whole ? one.whole < other.whole : one.real < other.real;
        };
        if (x.has && less(x, y)) return !order.descending;
        if (x.has && less(y, x)) return order.descending;
    }
    return a < b;
}

std::vector<Id> sorted(const Model& model, const Order& order, bool only_seen) {
    std::vector<Id> ids;
    for (const auto& [id, entry] : model) {
        if (!only_seen || entry.fields.at(model::seen).has) ids.push_back(id);
    }
    std::sort(ids.begin(), ids.end(), [&](const Id& a, const Id& b) { return sooner(model, order, a, b); });
    return ids;
}

/// A cursor with its own bytes.
struct Held {
    Held(const Id& id, std::optional<std::uint64_t> key)
        : batch(model::batch_of({id})), cursor{ann::IdBatch::decode(batch.bytes), key} {}
    Program batch;
    Cursor cursor;
};

/// Return all pages in sequence; `between` may change the index between two pages.
template <typename Between>
std::vector<Id> pages(const Index& index, const Order& order, std::size_t limit, bool only_seen,
                      const Between& between) {
    const Program program = Program().inverse(Program().missing(model::seen));
    const ann::Filter filter = ann::Filter::decode(program.bytes, index.schema());
    std::vector<Id> all;
    std::unique_ptr<Held> after;
    for (;;) {
        const auto state = index.now();
        ann::Selection rows{.listed = false, .rows = {}, .bits = *state->live, .count = 0};
        if (only_seen) rows = index.select(*state, filter);
        const auto page = ann::scroll(*state, rows, order, limit, after ? &after->cursor : nullptr);
        CHECK(page.size() <= limit);
        for (const std::uint32_t row : page) all.push_back(model::id_of(*state, row));
        if (page.empty()) return all;
        const auto key = order.field ? state->table.order(*order.field, page.back()) : std::nullopt;
        after = std::make_unique<Held>(all.back(), key);
        between();
    }
}

void check_pages(const Index& index, const Model& model) {
    for (const bool descending : {false, true}) {
        for (const std::optional<std::size_t> field :
             {std::optional<std::size_t>(), std::optional<std::size_t>(model::seen),
              std::optional<std::size_t>(model::depth), std::optional<std::size_t>(model::length),
              std::optional<std::size_t>(model::when)}) {
            for (const bool only_seen : {false, true}) {
                const Order order{field, descending};
                const std::vector<Id> wanted = sorted(model, order, only_seen);
                for (const std::size_t limit : {1u, 7u, 100u, 1000u}) {
                    if (limit == 1 && model.size() > 200) continue;
                    CHECK(pages(index, order, limit, only_seen, [] {}) == wanted);
                }
            }
        }
    }
    const auto state = index.now();
    const ann::Selection all{.listed = false, .rows = {}, .bits = *state->live, .count = model.size()};
    CHECK(ann::scroll(*state, all, {}, 0, nullptr).empty());
}

/// Rows that exist all the time are shown exactly once, whatever other rows are added and removed between the pages.
void check_changes(Index& index, Model& model, const std::vector<Id>& others, Dice& dice, bool descending) {
    const Order order{model::depth, descending};
    std::set<Id> steady;
    for (const auto& [id, entry] : model) steady.insert(id);
    std::size_t round = 0;
    const std::vector<Id> shown = pages(index, order, 9, false, [&] {
        const Id id = others[dice.below(others.size())];
        steady.erase(id);
        if (dice.heads() || !model.contains(id)) {
            put(index, model, {id}, dice);
        } else {
            drop(index, model, {id});
        }
        if (++round % 6 == 0) index.compact(1, nullptr);
    });
    for (const Id& id : steady) CHECK(std::count(shown.begin(), shown.end(), id) == 1);
}

void check_kind(bool texts, std::uint64_t seed) {
    Dice dice(seed);
    const auto id_of = [&](std::size_t i) {
        const auto number = static_cast<std::int64_t>(i * 7919 % 1009) - 300;
        return texts ? Id("id " + std::to_string(number)) : Id(number);
    };
    Index index(options, model::schema);
    Model model;
    check_pages(index, model);
    std::vector<Id> ids;
    for (std::size_t i = 0; i < 150; ++i) ids.push_back(id_of(i));
    put(index, model, ids, dice);
    check_pages(index, model);
    put(index, model, {ids.begin() + 40, ids.begin() + 90}, dice);
    drop(index, model, {ids.begin() + 80, ids.begin() + 120});
    check_pages(index, model);
    index.compact(1, nullptr);
    check_pages(index, model);
    for (const bool descending : {false, true}) {
        check_changes(index, model, {ids.begin() + 60, ids.begin() + 110}, dice, descending);
        check_pages(index, model);
    }
    const auto state = index.now();
    const Held foreign(texts ? Id(std::int64_t{1}) : Id("one"), std::nullopt);
    const ann::Selection all{.listed = false, .rows = {}, .bits = *state->live, .count = model.size()};
    CHECK_THROWS(std::invalid_argument, ann::scroll(*state, all, {}, 3, &foreign.cursor));
    const Program two = model::batch_of({ids[0], ids[1]});
    const Cursor pair{ann::IdBatch::decode(two.bytes), std::nullopt};
    CHECK_THROWS(std::invalid_argument, ann::scroll(*state, all, {}, 3, &pair));
}

}  // namespace

void test_scroll() {
    check_kind(false, 1);
    check_kind(true, 2);
}
