// Searching, counting, and reading what is stored.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/variant.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <limits>

#include "core.hpp"
#include "scroll.hpp"

namespace bindings {
namespace {

using namespace nb::literals;
using Program = std::optional<nb::bytes>;

/// Return a filter, which is a view of the program's bytes.
std::optional<ann::Filter> filter_of(const Core& core, const Program& program) {
    if (!program) return std::nullopt;
    return ann::Filter::decode(span_of(*program), core.index().schema());
}

const ann::Filter* pointer_to(const std::optional<ann::Filter>& filter) { return filter ? &*filter : nullptr; }

/// Return all living rows, or the rows that a filter selects.
ann::Selection selected(const Core& core, const ann::State& state, const ann::Filter* filter) {
    if (filter != nullptr) return core.index().select(state, *filter);
    return {.listed = false, .rows = {}, .bits = *state.live, .count = state.size - state.dead};
}

/// Replace rows by ids in place if ids are numbers. If ids are texts, return those of all rows (without padding) as a
/// batch.
std::vector<std::byte> name(const ann::Ids& ids, std::span<std::int64_t> rows) {
    if (ids.kind() == ann::IdKind::strings) {
        std::vector<std::uint32_t> some;
        for (const std::int64_t row : rows) {
            if (row >= 0) some.push_back(static_cast<std::uint32_t>(row));
        }
        return ids.encode(some);
    }
    if (ids.kind() == ann::IdKind::integers) {
        for (std::int64_t& row : rows) {
            if (row >= 0) row = ids.number(static_cast<std::size_t>(row));
        }
    }
    return {};
}

/// Fill the arrays. Return the first query that is unfit, or -1, and a batch of texts if ids are texts.
std::pair<std::int64_t, nb::bytes> search(const Core& core, const Floats& queries, std::size_t ef, std::size_t threads,
                                          int plan, const std::vector<nb::bytes>& programs, const Integers& filter_of,
                                          float least, std::int64_t group, std::size_t per, float farthest,
                                          const RowsOut& rows, const FloatsOut& scores, const CountsOut& counts,
                                          const PlansOut& plans, const CountsOut& cost, const FarnessOut& farness) {
    check_width(core, queries.shape(1));
    const std::size_t n = queries.shape(0), k = rows.shape(1);
    if (rows.shape(0) != n || scores.shape(0) != n || scores.shape(1) != k || counts.shape(0) != n ||
        plans.shape(0) != n || cost.shape(0) != n || farness.shape(0) != n ||
        (filter_of.shape(0) != n && filter_of.shape(0) != 0)) {
        throw std::invalid_argument("the answer arrays do not have the size of the queries");
    }
    std::vector<ann::Filter> filters;
    for (const nb::bytes& program : programs) {
        filters.push_back(ann::Filter::decode(span_of(program), core.index().schema()));
    }
    std::vector<const ann::Filter*> pointers;
    for (std::size_t i = 0; i < filter_of.shape(0); ++i) {
        const std::int64_t at = filter_of.data()[i];
        pointers.push_back(at < 0 ? nullptr : &filters.at(static_cast<std::size_t>(at)));
    }
    if (pointers.empty() && !filters.empty()) pointers.push_back(filters.data());
    std::vector<std::byte> named;
    const std::int64_t unfit = without_gil([&]() -> std::int64_t {
        const std::size_t bad = core.index().first_unfit(queries.data(), n);
        if (bad < n) return static_cast<std::int64_t>(bad);
        const auto state = core.now();
        ann::Ask ask{.k = k, .ef = ef, .threads = threads, .plan = static_cast<ann::Plan>(plan), .filters = pointers};
        ask.least = least;
        if (group >= 0) ask.group = static_cast<std::size_t>(group);
        ask.per = per;
        ask.farthest = farthest;
        auto* const told = reinterpret_cast<ann::Plan*>(plans.data());
        core.index().search(*state, queries.data(), n, ask,
                            {rows.data(), scores.data(), counts.data(), told, cost.data(), farness.data()});
        named = name(state->ids, {rows.data(), n * k});
        return -1;
    });
    return {unfit, bytes_of(named)};
}

/// Return a batch of ids and their scores as float32; nullopt if the query is unfit.
std::optional<std::pair<nb::bytes, nb::bytes>> within(const Core& core, const Floats& query, float least,
                                                      const Program& program) {
    check_width(core, query.shape(1));
    const auto filter = filter_of(core, program);
    if (query.shape(0) != 1 || core.index().first_unfit(query.data(), 1) == 0) return std::nullopt;
    std::vector<std::byte> ids;
    std::vector<float> scores;
    without_gil([&] {
        const auto state = core.now();
        std::vector<std::uint32_t> rows;
        for (const ann::Hit& hit : core.index().within(*state, query.data(), least, pointer_to(filter))) {
            rows.push_back(hit.row);
            scores.push_back(state->vectors.score(hit.closeness));
        }
        ids = state->ids.encode(rows);
    });
    return std::pair{bytes_of(ids), bytes_of(std::as_bytes(std::span(scores)))};
}

std::size_t count(const Core& core, const Program& program) {
    const auto filter = filter_of(core, program);
    return without_gil([&] {
        const auto state = core.now();
        return filter ? core.index().select(*state, *filter).count : state->size - state->dead;
    });
}

using Value = std::variant<std::string, std::int64_t, double>;

std::vector<std::pair<Value, std::size_t>> facet(const Core& core, std::size_t field, const Program& program) {
    const auto filter = filter_of(core, program);
    if (field >= core.index().schema().size()) throw std::invalid_argument("no such field");
    const auto facets = without_gil([&] {
        const auto state = core.now();
        return state->table.facet(field, selected(core, *state, pointer_to(filter)));
    });
    std::vector<std::pair<Value, std::size_t>> all;
    for (const ann::Facet& one : facets) all.emplace_back(one.value, one.count);
    return all;
}

using Found = std::tuple<nb::bytes, nb::bytes, bool, std::optional<std::uint64_t>>;

/// Return ids and fields of a page, whether more rows follow, and the key of its last row.
Found scroll(const Core& core, const Program& program, std::int64_t field, bool descending, std::size_t limit,
             const Program& after, std::optional<std::uint64_t> after_key) {
    const auto filter = filter_of(core, program);
    std::optional<ann::Cursor> cursor;
    if (after) cursor = ann::Cursor{ann::IdBatch::decode(span_of(*after)), after_key};
    ann::Order order{std::nullopt, descending};
    if (field >= 0) order.field = static_cast<std::size_t>(field);
    std::vector<std::byte> ids, fields;
    std::optional<std::uint64_t> key;
    bool more = false;
    without_gil([&] {
        const auto state = core.now();
        auto page = ann::scroll(*state, selected(core, *state, pointer_to(filter)), order, limit + 1,
                                cursor ? &*cursor : nullptr);
        more = page.size() > limit;
        if (more) page.pop_back();
        ids = state->ids.encode(page);
        fields = state->table.encode(page);
        if (order.field && !page.empty()) key = state->table.order(*order.field, page.back());
    });
    return {bytes_of(ids), bytes_of(fields), more, key};
}

/// Return the place of the first unknown id, or -1, and the rows of the ids before it.
std::pair<std::int64_t, std::vector<std::int64_t>> rows_of(const ann::State& state, const ann::IdBatch& ids) {
    std::vector<std::int64_t> rows;
    for (std::size_t i = 0; i < ids.count; ++i) {
        const auto row = state.ids.find(ids, i, *state.live);
        if (!row) return {static_cast<std::int64_t>(i), rows};
        rows.push_back(*row);
    }
    return {-1, rows};
}

/// Return the place of the first unknown id, or -1 and the fields of all ids.
std::pair<std::int64_t, nb::bytes> fields(const Core& core, const nb::bytes& ids) {
    const auto batch = ann::IdBatch::decode(span_of(ids));
    std::vector<std::byte> payload;
    const std::int64_t unknown = without_gil([&] {
        const auto state = core.now();
        const auto [missing, rows] = rows_of(*state, batch);
        if (missing < 0) payload = state->table.encode(std::vector<std::uint32_t>(rows.begin(), rows.end()));
        return missing;
    });
    return {unknown, bytes_of(payload)};
}

/// Return the place of the first unknown id, or write the vectors of all ids and return -1.
std::int64_t vectors(const Core& core, const nb::bytes& ids, const FloatsOut& out) {
    const auto batch = ann::IdBatch::decode(span_of(ids));
    check_width(core, out.shape(1));
    if (out.shape(0) != batch.count) throw std::invalid_argument("an array of another length than the ids");
    return without_gil([&] {
        const auto state = core.now();
        const auto [missing, rows] = rows_of(*state, batch);
        if (missing < 0) core.index().vectors(*state, rows, out.data());
        return missing;
    });
}

/// Return for each id whether the index has it.
std::vector<bool> known(const Core& core, const nb::bytes& ids) {
    const auto batch = ann::IdBatch::decode(span_of(ids));
    return without_gil([&] {
        const auto state = core.now();
        std::vector<bool> there;
        for (std::size_t i = 0; i < batch.count; ++i)
            there.push_back(state->ids.find(batch, i, *state->live).has_value());
        return there;
    });
}

/// Return all ids, in the order of adding.
nb::bytes ids(const Core& core) {
    const auto all = without_gil([&] {
        const auto state = core.now();
        std::vector<std::uint32_t> rows;
        state->live->each([&](std::uint32_t row) { rows.push_back(row); });
        return state->ids.encode(rows);
    });
    return bytes_of(all);
}

}  // namespace

void define_asking(nb::class_<Core>& core) {
    core.def("search", &search, "queries"_a.noconvert(), "ef"_a, "threads"_a, "plan"_a, "filters"_a,
             "filter_of"_a.noconvert(), "least"_a, "group"_a, "per"_a, "farthest"_a, "rows"_a.noconvert(),
             "scores"_a.noconvert(), "counts"_a.noconvert(), "plans"_a.noconvert(), "cost"_a.noconvert(),
             "farness"_a.noconvert())
        .def("within", &within, "query"_a.noconvert(), "least"_a, "filter"_a.none())
        .def("count", &count, "filter"_a.none())
        .def("facet", &facet, "field"_a, "filter"_a.none())
        .def("scroll", &scroll, "filter"_a.none(), "field"_a, "descending"_a, "limit"_a, "after"_a.none(),
             "after_key"_a.none())
        .def("fields", &fields, "ids"_a)
        .def("vectors", &vectors, "ids"_a, "out"_a.noconvert())
        .def("known", &known, "ids"_a)
        .def("ids", &ids);
}

}  // namespace bindings
