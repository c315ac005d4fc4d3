// Changing an index: the next state is made beside the state that readers see, then logged if asked for, then
// published.
#include <algorithm>
#include <stdexcept>
#include <utility>

#include "index.hpp"
#include "linking.hpp"

namespace ann {
namespace {

/// Return the most rows without links, which a search compares one by one. For up to this many rows that is cheaper
/// than a graph, or than extending the graph.
std::size_t longest_tail(std::size_t linked) { return std::clamp<std::size_t>(linked / 64, 1024, 4096); }

/// Return the most rows whose fields a filter checks one by one.
std::size_t most_loose(std::size_t size) { return std::clamp<std::size_t>(size / 16, 256, 4096); }

/// Dead rows are removed if there are more than `fewest_dead` of them, and more than one of `dead_share` rows is dead.
constexpr std::size_t fewest_dead = 1024, dead_share = 8;

/// Return the rows of ids, in their order; unknown ids are left out.
std::vector<std::uint32_t> rows_of(const State& state, const IdBatch& ids) {
    std::vector<std::uint32_t> rows;
    for (std::size_t i = 0; i < ids.count; ++i) {
        if (const auto row = state.ids.find(ids, i, *state.live)) rows.push_back(*row);
    }
    return rows;
}

void bury(State& state, std::span<const std::uint32_t> rows) {
    if (rows.empty()) return;
    auto live = std::make_shared<Bitmap>(*state.live);
    for (const std::uint32_t row : rows) live->reset(row);
    state.live = std::move(live);
    state.dead += rows.size();
}

Payload payload_of(const Change& change, std::size_t rows, const Schema& schema) {
    if (change.fields.empty()) return Payload::missing(rows);
    Payload payload = Payload::decode(change.fields, schema);
    const bool fits = payload.rows() == rows || (change.what == Change::What::set && payload.rows() == 1);
    if (!fits) {
        throw std::invalid_argument("fields: " + std::to_string(payload.rows()) + " rows for " + std::to_string(rows) +
                                    " ids");
    }
    return payload;
}

}  // namespace

std::size_t Index::first_known(const IdBatch& ids) const {
    const auto state = now();
    std::size_t i = 0;
    while (i < ids.count && (ids.kind == IdKind::rows || !state->ids.find(ids, i, *state->live))) ++i;
    return i;
}

void Index::append(State& state, const Change& change, const IdBatch& ids, std::size_t threads) const {
    const std::size_t n = ids.count, old = state.size;
    if (n > most_rows - old) throw std::invalid_argument("an index holds at most 2147483647 rows");
    const Payload payload = payload_of(change, n, schema_);
    std::vector<float> units;
    const float* vectors = change.vectors.data();
    if (options_.metric == Metric::cosine) {
        units.assign(change.vectors.begin(), change.vectors.end());
        parallel_for(n, 4096, threads, [&](std::size_t first, std::size_t last, std::size_t) {
            for (std::size_t i = first; i < last; ++i) make_unit(units.data() + i * options_.dim, options_.dim);
        });
        vectors = units.data();
    }
    state.vectors = state.vectors.with(vectors, n, old);
    state.ids = state.ids.with(ids);
    state.table = state.table.appended(payload);
    auto live = std::make_shared<Bitmap>(*state.live);
    live->resize(old + n, true);
    state.live = std::move(live);
    state.size = old + n;
    if (!state.graph) return;
    state.late_cut += encode_rows(state.graph->quantizer, state.vectors, old, state.size, state.codes, threads);
}

std::size_t Index::make(State& state, const Change& change, std::size_t threads) const {
    const IdBatch ids = IdBatch::decode(change.ids);
    const bool brings = change.what == Change::What::add || change.what == Change::What::put;
    if (brings && change.dim != options_.dim) throw std::invalid_argument("vectors: wrong dimension");
    if (brings && change.vectors.size() != ids.count * options_.dim) {
        throw std::invalid_argument("vectors: not one for each id");
    }
    if (brings && first_unfit(change.vectors.data(), ids.count) < ids.count) {
        throw std::invalid_argument("vectors: one is not finite, too long, or has no direction");
    }
    if (!brings && ids.kind == IdKind::rows && ids.count > 0) {
        throw std::invalid_argument("ids: row numbers cannot select existing rows");
    }
    if (ids.twice()) throw std::invalid_argument("ids: an id is given twice");
    const std::vector<std::uint32_t> rows = rows_of(state, ids);
    switch (change.what) {
        case Change::What::drop: bury(state, rows); return rows.size();
        case Change::What::set:
            if (rows.size() < ids.count) throw std::invalid_argument("ids: some are not there");
            if (!rows.empty()) state.table = state.table.changed(rows, payload_of(change, ids.count, schema_));
            return rows.size();
        case Change::What::add:
            if (!rows.empty()) throw std::invalid_argument("ids: some are there already");
            break;
        case Change::What::put: bury(state, rows); break;
    }
    append(state, change, ids, threads);
    return ids.count;
}

void Index::settle(State& state, std::size_t threads, const Progress& progress, Settle how) const {
    const bool everything = how == Settle::everything, later = how == Settle::later;
    const std::size_t share = later ? 2 : dead_share;
    if ((state.dead > fewest_dead && state.dead > state.size / share) || (everything && state.dead > 0)) {
        state = compacted(state, threads);
    }
    const std::size_t linked = state.graph ? state.graph->linked : 0;
    const std::size_t late = state.size - linked;
    const bool worth = state.graph || state.size > longest_tail(0);
    if (late > (later ? std::max(longest_tail(linked), linked / 4) : longest_tail(linked)) ||
        (everything && worth && late > 0)) {
        state.graph = link(state, threads, progress);
    }
    if (everything ||
        state.table.loose() > (later ? std::max(most_loose(state.size), state.size / 8) : most_loose(state.size))) {
        state.table = state.table.indexed();
    }
}

std::size_t Index::redo(const Change& change, std::size_t threads) {
    const std::lock_guard writing(writing_);
    State state = *now();
    const std::size_t count = make(state, change, threads);
    settle(state, threads, nullptr, Settle::later);
    publish(std::move(state));
    return count;
}

void Index::redone(std::size_t threads) {
    const std::lock_guard writing(writing_);
    State state = *now();
    settle(state, threads, nullptr, Settle::usual);
    publish(std::move(state));
}

std::size_t Index::write(const Change& change, std::size_t threads, const Progress& progress, const Keep& keep) {
    const std::lock_guard writing(writing_);
    threads = std::max<std::size_t>(threads, 1);
    State state = *now();
    const std::size_t count = make(state, change, threads);
    if (count == 0) return 0;
    settle(state, threads, progress, Settle::usual);
    if (keep) keep(change);
    publish(std::move(state));
    return count;
}

std::size_t Index::drop(std::span<const std::byte> filter, std::size_t threads, const Progress& progress,
                        const Keep& keep) {
    return by_filter(filter, Change{Change::What::drop, 0, {}, {}, {}}, threads, progress, keep);
}

std::size_t Index::set(std::span<const std::byte> filter, std::span<const std::byte> fields, const Keep& keep) {
    return by_filter(filter, Change{Change::What::set, 0, {}, fields, {}}, 1, nullptr, keep);
}

std::size_t Index::by_filter(std::span<const std::byte> filter, Change change, std::size_t threads,
                             const Progress& progress, const Keep& keep) {
    const std::lock_guard writing(writing_);
    State state = *now();
    std::vector<std::uint32_t> rows;
    select(state, Filter::decode(filter, schema_)).each([&](std::uint32_t row) { rows.push_back(row); });
    const std::vector<std::byte> ids = state.ids.encode(rows);
    change.ids = ids;
    const std::size_t count = make(state, change, threads);
    if (count == 0) return 0;
    settle(state, threads, progress, Settle::usual);
    if (keep) keep(change);
    publish(std::move(state));
    return count;
}

void Index::compact(std::size_t threads, const Progress& progress) {
    const std::lock_guard writing(writing_);
    State state = *now();
    settle(state, std::max<std::size_t>(threads, 1), progress, Settle::everything);
    publish(std::move(state));
}

void Index::add(const float* vectors, std::size_t n, std::size_t threads, const Progress& progress) {
    if (n == 0) return;
    const struct {
        std::uint32_t kind = 0, zero = 0;
        std::uint64_t count;
    } ids{.count = n};
    const std::span<const float> all{vectors, n * options_.dim};
    write({Change::What::add, options_.dim, std::as_bytes(std::span(&ids, 1)), {}, all}, threads, progress);
}

}  // namespace ann
