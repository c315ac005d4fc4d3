// Random changes to an index; the same changes are made to a map.
#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "answers.hpp"
#include "bytes.hpp"
#include "check.hpp"
#include "folder.hpp"
#include "model.hpp"

using ann::Change, ann::Filter, ann::Index, ann::Metric, ann::Mode, ann::Options, ann::Refine;
using filters::Program, filters::Row, filters::Value;
using model::Dice, model::Entry, model::Id, model::Model, model::Request, model::What;

namespace {

struct Refused : std::runtime_error {
    Refused() : std::runtime_error("the log is full") {}
};

bool has_tag(const Value& value, const std::string& text) {
    return std::find(value.texts.begin(), value.texts.end(), text) != value.texts.end();
}

/// A filter as bytes, and which rows it selects.
struct Condition {
    Program program;
    std::function<bool(const Id&, const Row&)> holds;
};

Condition drawn_condition(Dice& dice, const std::vector<Id>& some) {
    const auto of = [](const Row& row, std::size_t field) {
        const auto found = row.find(field);
        return found == row.end() ? Value{} : found->second;
    };
    switch (dice.below(7)) {
        case 0: {
            const auto low = static_cast<std::int64_t>(dice.below(100)) - 20,
                       high = low + static_cast<std::int64_t>(dice.below(40));
            return {Program().range(model::depth, low, high), [=](const Id&, const Row& row) {
                        const Value value = of(row, model::depth);
                        return value.has && value.whole >= low && value.whole <= high;
                    }};
        }
        case 1: {
            const std::string tag = "tag" + std::to_string(dice.below(6));
            return {Program().among(model::species, {tag}),
                    [=](const Id&, const Row& row) { return has_tag(of(row, model::species), tag); }};
        }
        case 2: {
            const std::size_t field = dice.below(model::schema.size());
            return {Program().missing(field), [=](const Id&, const Row& row) { return !of(row, field).has; }};
        }
        case 3: {
            const std::string name = "who" + std::to_string(dice.below(40));
            return {Program().inverse(Program().among(model::who, {name})),
                    [=](const Id&, const Row& row) { return !has_tag(of(row, model::who), name); }};
        }
        case 4: {
            const double low = dice.real();
            return {Program().range(model::length, low, 10.0), [=](const Id&, const Row& row) {
                        const Value value = of(row, model::length);
                        return value.has && value.real >= low;
                    }};
        }
        case 5: {
            const Program batch = model::batch_of(some);
            return {Program().u8(10).u32(batch.bytes.size()).raw(batch.bytes),
                    [=](const Id& id, const Row&) { return std::find(some.begin(), some.end(), id) != some.end(); }};
        }
        default: {
            const double south = 80 * dice.real();
            return {Program().box(model::place, south, -180, 90, 180), [=](const Id&, const Row& row) {
                        const Value value = of(row, model::place);
                        return value.has && value.place.latitude >= south;
                    }};
        }
    }
}

/// An index and its model.
class Pair {
public:
    Pair(const Options& options, bool texts, std::size_t universe, std::uint64_t seed)
        : index(std::make_unique<Index>(options, model::schema)),
          options_(options),
          texts_(texts),
          universe_(universe),
          dice(seed) {}

    Id drawn_id() {
        const auto number = static_cast<std::int64_t>(dice.below(universe_) * 1000003 % 700001) - 5000;
        if (texts_) return "the id " + std::to_string(number);
        return number;
    }

    std::vector<Id> drawn_ids(std::size_t most) {
        std::set<Id> ids;
        for (std::size_t n = 1 + dice.below(most); n > 0; --n) ids.insert(drawn_id());
        std::vector<Id> all(ids.begin(), ids.end());
        for (std::size_t i = all.size(); i > 1; --i) std::swap(all[i - 1], all[dice.below(i)]);
        return all;
    }

    std::vector<float> drawn_vectors(std::size_t n) {
        std::vector<float> vectors(n * options_.dim);
        for (float& value : vectors) value = static_cast<float>(dice.real());
        if (dice.below(3) == 0 && n > 4) {  // some equal rows
            for (std::size_t i = n / 2; i < n; ++i) {
                std::copy_n(vectors.begin() + static_cast<std::ptrdiff_t>(i % 4 * options_.dim), options_.dim,
                            vectors.begin() + static_cast<std::ptrdiff_t>(i * options_.dim));
            }
        }
        return vectors;
    }

    /// Return a change of these ids; `next` becomes the model after the change.
    Request drawn(What what, const std::vector<Id>& ids, Model& next, std::size_t& count) {
        std::vector<Row> rows;
        std::vector<float> vectors;
        count = 0;
        if (what == What::drop) {
            for (const Id& id : ids) count += next.erase(id);
            return model::request(what, options_.dim, model::batch_of(ids));
        }
        count = ids.size();
        for (std::size_t i = 0; i < ids.size(); ++i) rows.push_back(model::drawn_row(dice));
        if (what != What::set) vectors = drawn_vectors(ids.size());
        for (std::size_t i = 0; i < ids.size(); ++i) {
            Entry& entry = next[ids[i]];
            entry.fields = rows[i];
            if (what == What::set) continue;
            entry.place = place_++;
            const auto from = vectors.begin() + static_cast<std::ptrdiff_t>(i * options_.dim);
            entry.vector.assign(from, from + static_cast<std::ptrdiff_t>(options_.dim));
        }
        return model::request(what, options_.dim, model::batch_of(ids), rows, vectors);
    }

    std::size_t write(const Request& request, const ann::Progress& progress = nullptr,
                      const ann::Keep& keep = nullptr) {
        return index->write(request.change(), 1 + dice.below(2), progress, keep);
    }

    void step() {
        const std::size_t kind = dice.below(12);
        const std::size_t most = dice.below(3) == 0 ? 700 : 40;
        if (kind < 4) return change(What::put, drawn_ids(most));
        if (kind < 6) {
            std::vector<Id> ids = drawn_ids(most);
            std::erase_if(ids, [&](const Id& id) { return model.contains(id); });
            return change(What::add, ids);
        }
        if (kind < 8) return change(What::drop, drawn_ids(most));
        if (kind < 9) {
            std::vector<Id> ids = drawn_ids(most);
            std::erase_if(ids, [&](const Id& id) { return !model.contains(id); });
            return change(What::set, ids);
        }
        if (kind < 10) return by_filter();
        if (kind < 11) return index->compact(1, nullptr);
        return reopen();
    }

    /// Make a change, before which the same change may fail in some way.
    void change(What what, const std::vector<Id>& ids) {
        Model next = model;
        std::size_t count = 0;
        const Request request = drawn(what, ids, next, count);
        if (dice.below(3) == 0) fail(request, count);
        std::size_t kept = 0;
        const std::size_t before = index->size();
        const auto keep = [&](const Change& change) {
            ++kept;
            CHECK(index->size() == before);  // no reader sees the change yet
            CHECK(change.what == what && std::ranges::equal(change.ids, request.ids));
        };
        CHECK(write(request, nullptr, keep) == count);
        CHECK(kept == (count == 0 ? 0 : 1));
        model = std::move(next);
    }

    /// A failed change leaves everything as it was, to the last byte.
    void fail(const Request& request, std::size_t count) {
        const auto before = index->now();
        const bytes::Bytes file = saved();
        if (count != 0 && dice.heads()) {
            CHECK_THROWS(Refused, write(request, nullptr, [](const Change&) { throw Refused(); }));
        } else {
            std::size_t calls = 0, stop = dice.below(4);
            bool kept = false;
            try {
                write(
                    request, [&](std::size_t, std::size_t) { return calls++ < stop; },
                    [&](const Change&) {
                        kept = true;
                        throw Refused();
                    });
                CHECK(count == 0);
            } catch (const ann::Interrupted&) {
                CHECK(!kept && calls == stop + 1);
                ++interrupted;
            } catch (const Refused&) {
                CHECK(calls <= stop);
            }
        }
        CHECK(index->now() == before);
        CHECK(saved() == file);
    }

    void by_filter() {
        const Condition condition = drawn_condition(dice, drawn_ids(30));
        const bool drops = dice.heads();
        Row fields;
        const std::size_t field = dice.below(model::schema.size());
        fields[field] = model::drawn_value(model::schema[field].kind, dice);
        Model next = model;
        std::size_t count = 0;
        for (const auto& [id, entry] : model) {
            if (!condition.holds(id, entry.fields)) continue;
            ++count;
            if (drops) next.erase(id);
            if (!drops) next[id].fields[field] = fields[field];
        }
        const auto payload = filters::encode(model::schema, {field}, {fields});
        const auto refuse = [](const Change&) { throw Refused(); };
        const auto make = [&](const ann::Keep& keep) {
            if (drops) return index->drop(condition.program.bytes, 1, nullptr, keep);
            return index->set(condition.program.bytes, payload, keep);
        };
        if (count != 0) {
            CHECK_THROWS(Refused, make(refuse));
            CHECK(index->size() == model.size());
        }
        // The kept change names the ids that the filter selected: applied again, it changes exactly these.
        model::Bytes ids;
        CHECK(make([&](const Change& change) {
                  CHECK(change.what == (drops ? What::drop : What::set));
                  ids.assign(change.ids.begin(), change.ids.end());
              }) == count);
        if (count != 0) CHECK(ann::IdBatch::decode(ids).count == count);
        model = std::move(next);
    }

    bytes::Bytes saved(const std::string& name = "saved") {
        index->save(folder / name);
        return bytes::read(folder / name);
    }

    void reopen() {
        // A new name each time, because Windows cannot replace a mapped file.
        const std::string name = "index-" + std::to_string(reopened++);
        const bytes::Bytes before = saved(name);
        index = Index::open(folder / name, dice.heads() ? Mode::memory : Mode::mapped);
        CHECK(saved() == before);
    }

    void check() {
        model::check_contents(*index, model);
        const auto state = index->now();
        const std::vector<Id> ids = drawn_ids(50);
        for (std::size_t i = 0; i < 3; ++i) {
            const Condition condition = drawn_condition(dice, ids);
            const Filter filter = Filter::decode(condition.program.bytes, model::schema);
            std::set<Id> wanted;
            for (const auto& [id, entry] : model) {
                if (condition.holds(id, entry.fields)) wanted.insert(id);
            }
            std::set<Id> found;
            index->select(*state, filter).each([&](std::uint32_t row) { found.insert(model::id_of(*state, row)); });
            CHECK(found == wanted);
            check_search(*state, i == 0 ? nullptr : &filter, i == 0 ? std::nullopt : std::optional(wanted));
        }
        check_batches(ids);
        const ann::Stats stats = index->stats();
        CHECK(stats.n == model.size() && stats.reachable == stats.n);
        most_dead = std::max(most_dead, stats.dead);
        graphs += stats.linked > 0 ? 1 : 0;
    }

    void check_search(const ann::State& state, const Filter* filter, const std::optional<std::set<Id>>& wanted) {
        const std::vector<float> query = drawn_vectors(2);
        const std::size_t k = 10, count = wanted ? wanted->size() : model.size();
        for (const ann::Plan plan :
             {ann::Plan::chosen, ann::Plan::exact, ann::Plan::scan, ann::Plan::walk, ann::Plan::bridge}) {
            const Answers answers =
                asked(*index, state, query, {.k = k, .ef = 50, .plan = plan, .filters = {&filter, 1}});
            check_answers(answers, state.size, 0);
            for (std::size_t i = 0; i < answers.queries; ++i) {
                CHECK(answers.counts[i] == static_cast<std::int64_t>(std::min(k, count)));
                std::vector<double> far;
                for (const auto& [id, entry] : model) {
                    if (!wanted || wanted->contains(id)) far.push_back(distance(query, i, entry));
                }
                std::sort(far.begin(), far.end());
                for (std::size_t j = 0; j < std::min(k, count); ++j) {
                    const Id id = model::id_of(state, static_cast<std::size_t>(answers.rows[i * k + j]));
                    CHECK(model.contains(id) && (!wanted || wanted->contains(id)));
                    const double found = distance(query, i, model.at(id));
                    CHECK(std::fabs(found + static_cast<double>(answers.scores[i * k + j])) < 1e-3);
                    if (plan == ann::Plan::exact) CHECK(std::fabs(found - far[j]) < 1e-3);
                    if (plan != ann::Plan::chosen) continue;
                    ++chosen;
                    good += found <= far[std::min(k, count) - 1] + 1e-3 ? 1 : 0;
                }
            }
        }
    }

    double distance(const std::vector<float>& queries, std::size_t query, const Entry& entry) const {
        double sum = 0;
        for (std::size_t i = 0; i < options_.dim; ++i) {
            const double gap =
                static_cast<double>(queries[query * options_.dim + i]) - static_cast<double>(entry.vector[i]);
            sum += gap * gap;
        }
        return std::sqrt(sum);
    }

    /// Ids that exist, ids that do not, and changes that do not fit.
    void check_batches(const std::vector<Id>& ids) {
        const Program batch = model::batch_of(ids);
        const auto known = std::find_if(ids.begin(), ids.end(), [&](const Id& id) { return model.contains(id); });
        CHECK(index->first_known(ann::IdBatch::decode(batch.bytes)) == static_cast<std::size_t>(known - ids.begin()));
        const auto before = index->now();
        std::size_t count = 0;
        Model ignored = model;
        const Request add = drawn(What::add, ids, ignored, count), set = drawn(What::set, ids, ignored, count);
        if (known != ids.end()) CHECK_THROWS(std::invalid_argument, write(add));
        const bool all = std::all_of(ids.begin(), ids.end(), [&](const Id& id) { return model.contains(id); });
        if (!all) CHECK_THROWS(std::invalid_argument, write(set));
        Request wrong = add;
        wrong.what = What::put;
        wrong.dim += 1;
        CHECK_THROWS(std::invalid_argument, write(wrong));
        wrong.dim -= 1;
        wrong.vectors.pop_back();
        CHECK_THROWS(std::invalid_argument, write(wrong));
        wrong = add;
        wrong.what = What::put;
        wrong.fields.pop_back();
        CHECK_THROWS(std::invalid_argument, write(wrong));
        wrong.fields = filters::encode(model::schema, {0}, {Row{}, Row{}, Row{}});
        if (ids.size() != 3) CHECK_THROWS(std::invalid_argument, write(wrong));
        wrong = add;
        wrong.what = What::put;
        const std::vector<Id> twice{ids.front(), ids.front()};
        wrong.ids = model::batch_of(twice).bytes;
        CHECK_THROWS(std::invalid_argument, write(wrong));
        wrong.ids = model::batch_of({texts_ ? Id(std::int64_t{1}) : Id("one")}).bytes;
        wrong.vectors.resize(options_.dim);
        wrong.fields.clear();
        if (before->size != 0) CHECK_THROWS(std::invalid_argument, write(wrong));
        CHECK(index->now() == before);
    }

    std::unique_ptr<Index> index;
    Model model;
    std::size_t interrupted = 0, most_dead = 0, graphs = 0;
    std::size_t chosen = 0, good = 0;  ///< answers with the plan that the index chose, and the nearest among them

private:
    Options options_;
    bool texts_;
    std::size_t universe_;
    Folder folder;
    std::size_t reopened = 0;
    std::uint64_t place_ = 0;

public:
    Dice dice;
};

void check_at_random(bool texts, std::uint64_t seed) {
    Pair pair({3, Metric::l2, Refine::float32, 4, 8, seed}, texts, 2500, seed);
    for (int step = 0; step < 60; ++step) {
        pair.step();
        if (step % 3 == 0) pair.check();
    }
    pair.check();
    const std::vector<Id> before = model::in_order(pair.model);
    pair.index->compact(2, nullptr);
    pair.check();
    CHECK(pair.index->stats().dead == 0 && pair.index->stats().loose == 0);
    CHECK(model::in_order(pair.model) == before);
    CHECK(pair.graphs > 0 && pair.chosen > 0);
    CHECK(static_cast<double>(pair.good) >= 0.95 * static_cast<double>(pair.chosen));
}

/// Changes that are applied again in sequence, as from a log, give the same contents as the first time.
void check_redo() {
    const Options options{3, Metric::l2, Refine::float32, 4, 8, 9};
    Pair pair(options, true, 2500, 9);
    Index again(options, model::schema);
    for (int round = 0; round < 24; ++round) {
        const What what = round % 3 == 2 ? What::drop : What::put;
        Model next = pair.model;
        std::size_t count = 0;
        const Request request = pair.drawn(what, pair.drawn_ids(round % 4 == 0 ? 900 : 300), next, count);
        CHECK(pair.write(request) == count && again.redo(request.change(), 2) == count);
        pair.model = std::move(next);
    }
    again.redone(2);
    model::check_contents(again, pair.model);
    pair.check();
    pair.index->compact(1, nullptr);
    again.compact(1, nullptr);
    model::check_contents(again, pair.model);
    CHECK(again.stats().reachable == pair.model.size() && again.stats().linked == pair.model.size());
}

/// Many changes of few rows: memory is reclaimed, and the state that a reader holds stays the same.
void check_churn() {
    Pair pair({3, Metric::l2, Refine::float32, 4, 8, 7}, false, 1800, 7);
    pair.change(What::put, pair.drawn_ids(3000));
    const auto held = pair.index->now();
    const Model then = pair.model;
    std::size_t reclaimed = 0, last = 0;
    for (int round = 0; round < 14; ++round) {
        pair.change(What::put, pair.drawn_ids(700));
        pair.change(What::drop, pair.drawn_ids(60));
        const std::size_t dead = pair.index->stats().dead;
        reclaimed += dead < last ? 1 : 0;
        last = dead;
        CHECK(dead <= 1024 + pair.index->now()->size / 6);
    }
    pair.check();
    CHECK(reclaimed > 0 && pair.most_dead > 0);
    const std::vector<std::uint32_t> rows = model::living(*held);
    const std::vector<Id> ids = model::in_order(then);
    const std::vector<Row> fields = model::fields_of(*held, rows);
    CHECK(rows.size() == ids.size());
    std::vector<float> vector(3);
    for (std::size_t i = 0; i < rows.size(); ++i) {
        CHECK(model::id_of(*held, rows[i]) == ids[i]);
        CHECK(model::same(fields[i].at(model::depth), then.at(ids[i]).fields.at(model::depth)));
        held->vectors.read(rows[i], vector.data());
        CHECK(vector == then.at(ids[i]).vector);
    }
}

/// Rows without ids get the next numbers, even if earlier rows were removed.
void check_numbers() {
    const Options options{2, Metric::l2, Refine::float32, 4, 8, 3};
    auto index = std::make_unique<Index>(options, model::schema);
    const Folder folder;
    std::vector<std::int64_t> wanted;
    std::int64_t next = 0;
    const auto check = [&] {
        const auto state = index->now();
        std::vector<std::int64_t> found;
        for (const std::uint32_t row : model::living(*state)) found.push_back(state->ids.number(row));
        CHECK(found == wanted);
        CHECK(state->ids.next() == static_cast<std::uint64_t>(next));
    };
    const auto add = [&](std::size_t n) {
        const std::vector<float> vectors = clustered(n, 2, static_cast<std::uint64_t>(next));
        index->add(vectors.data(), n, 1, nullptr);
        for (std::size_t i = 0; i < n; ++i) wanted.push_back(next++);
        check();
    };
    const auto drop = [&](std::int64_t first, std::int64_t last) {
        std::vector<Id> ids;
        for (std::int64_t id = first; id < last; ++id) ids.emplace_back(id);
        std::erase_if(wanted, [=](std::int64_t id) { return id >= first && id < last; });
        const Program batch = model::batch_of(ids);
        index->write({What::drop, 0, batch.bytes, {}, {}}, 1, nullptr);
        check();
    };
    std::size_t reopened = 0;
    const auto reopen = [&] {
        const std::string name = folder / ("index-" + std::to_string(reopened++));
        index->save(name);
        index = Index::open(name, Mode::mapped);
        check();
    };
    add(10);
    drop(7, 10);
    reopen();
    add(2);
    index->compact(1, nullptr);
    check();
    reopen();
    add(1500);
    drop(0, 100);
    drop(1400, 1600);
    index->compact(1, nullptr);
    add(1);
    reopen();
    add(3);
    drop(0, 10000);
    index->compact(1, nullptr);
    check();
    CHECK(index->size() == 0);
    reopen();
    add(2);
    // A change with row numbers as ids can only add rows.
    const Program five = model::numbers(5);
    for (const What what : {What::drop, What::set}) {
        const auto before = index->now();
        CHECK_THROWS(std::invalid_argument, index->write({what, 0, five.bytes, {}, {}}, 1, nullptr));
        CHECK(index->now() == before);
    }
}

/// Rows that are equal only to each other, added behind a graph; and an index from which all rows are removed.
void check_ends() {
    const Options options{3, Metric::l2, Refine::float32, 4, 8, 3};
    Index index(options);
    const std::vector<float> rows = clustered(1200, 3, 1, 700);
    index.add(rows.data(), 1200, 1, nullptr);
    for (int i = 0; i < 3; ++i) index.add(rows.data(), 1200, 2, nullptr);
    index.compact(1, nullptr);
    CHECK(index.stats().linked == 4800 && index.stats().duplicates == 4100 && index.stats().reachable == 4800);
    check_answers(searched(index, rows, 10, 20), 4800, 10);
    const Program all = Program().joined(0, {});
    CHECK(index.drop(all.bytes, 1, nullptr) == 4800);
    CHECK(index.size() == 0 && index.drop(all.bytes, 1, nullptr) == 0);
    check_answers(searched(index, rows, 10, 20), 0, 0);
    check_answers(scanned(index, rows, 10), 0, 0);
    index.compact(1, nullptr);
    CHECK(index.now()->size == 0);
    index.add(rows.data(), 1200, 1, nullptr);
    check_answers(searched(index, rows, 10, 20), 1200, 10);
}

}  // namespace

void test_changes() {
    check_numbers();
    check_ends();
    check_churn();
    check_redo();
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
        check_at_random(false, seed);
        check_at_random(true, 10 + seed);
    }
}
