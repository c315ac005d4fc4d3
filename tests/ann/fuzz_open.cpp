// Any bytes as an index file: they are refused with a FileError, or give an index that answers and accepts changes. Any
// other result, such as an escaped std::bad_alloc, ends the run.
#include <cstdlib>
#include <span>
#include <vector>

#include "answers.hpp"
#include "bytes.hpp"
#include "check.hpp"
#include "checksum.hpp"
#include "fuzz.hpp"
#include "index.hpp"
#include "model.hpp"
#include "random.hpp"
#include "scroll.hpp"

namespace {

using filters::Program;

constexpr std::size_t queries = 3;

/// Search with a filter by every plan. The graph of the file may be bad, so answers may not be the nearest rows; but
/// all of them must match the filter, and there must be as many as possible.
void check_filter(const ann::Index& index, const Program& program, const std::vector<float>& query) {
    const auto state = index.now();
    const ann::Filter filter = ann::Filter::decode(program.bytes, index.schema());
    const ann::Filter* const only = &filter;
    const ann::Selection selection = index.select(*state, filter);
    std::size_t count = 0;
    selection.each([&](std::uint32_t row) {
        CHECK(state->live->test(row));
        if (count++ < 50) CHECK(state->table.means(filter, row, state->ids));
    });
    CHECK(count == selection.count);
    using enum ann::Plan;
    for (const ann::Plan plan : {chosen, exact, scan, walk, bridge}) {
        const Answers answers = asked(index, *state, query, {.k = 7, .ef = 16, .plan = plan, .filters = {&only, 1}});
        check_answers(answers, state->size, 0);
        for (std::size_t i = 0; i < answers.queries; ++i) {
            CHECK(static_cast<std::size_t>(answers.counts[i]) == std::min<std::size_t>(count, 7));
            for (std::size_t j = 0; j < static_cast<std::size_t>(answers.counts[i]); ++j) {
                const auto row = static_cast<std::size_t>(answers.rows[i * 7 + j]);
                CHECK(state->live->test(row) && state->table.means(filter, row, state->ids));
            }
        }
    }
    for (std::size_t field = 0; field < index.schema().size(); ++field) {
        const bool place = index.schema()[field].kind == ann::Kind::geo;
        if (!place) {
            for (const ann::Facet& facet : state->table.facet(field, selection)) CHECK(facet.count <= count * 64);
            ann::Ask ask{.k = 7, .ef = 16, .filters = {&only, 1}};
            ask.group = field;
            check_answers(asked(index, *state, query, ask), state->size, 0);
        }
        if (place || ann::is_text(index.schema()[field].kind)) continue;
        const auto page = ann::scroll(*state, selection, {field, field % 2 == 0}, 20, nullptr);
        CHECK(page.size() == std::min<std::size_t>(count, 20));
        if (page.empty()) continue;
        const std::vector<std::byte> last = state->ids.encode(std::vector{page.back()});
        const ann::Cursor cursor{ann::IdBatch::decode(last), state->table.order(field, page.back())};
        CHECK(ann::scroll(*state, selection, {field, field % 2 == 0}, 20, &cursor).size() <= count);
    }
}

/// Check filters that every schema allows, and some for the fields of this index.
void check_filters(const ann::Index& index, const std::vector<float>& query) {
    check_filter(index, Program().joined(0, {}), query);
    for (std::size_t field = 0; field < index.schema().size() && field < 8; ++field) {
        check_filter(index, Program().missing(field), query);
        Program one;
        switch (index.schema()[field].kind) {
            case ann::Kind::tag: one.among(field, {"tag1", "tag4"}); break;
            case ann::Kind::id: one.among(field, {"who7"}, true); break;
            case ann::Kind::boolean: one.among_wholes(field, {1}); break;
            case ann::Kind::integer:
            case ann::Kind::datetime: one.range(field, std::int64_t{0}, std::int64_t{40}); break;
            case ann::Kind::real: one.range(field, -0.5, 0.5); break;
            case ann::Kind::geo: one.circle(field, 10, 20, 4e6); break;
        }
        check_filter(index, one, query);
    }
}

/// Return ids of a kind that fits, some of which the index has.
Program some_ids(const ann::Index& index) {
    if (index.now()->ids.kind() == ann::IdKind::strings)
        return model::batch_of({std::string("new"), std::string("id 7")});
    return model::batch_of({std::int64_t{123456789}, std::int64_t{7}});
}

/// Search, change and search again. `grow` adds enough rows for the graph itself to be extended.
void check_index(ann::Index& index, bool grow) {
    const std::size_t dim = index.options().dim, n = index.size();
    CHECK(dim > 0 && dim <= 65536);
    const std::vector<float> query = clustered(queries, dim, 5);
    for (const std::size_t k : {1u, 10u}) {
        check_answers(searched(index, query, k, index.ef_for(0.9, k)), index.now()->size, 0);
        check_answers(searched(index, query, k, 16), index.now()->size, 0);
        const Answers all = scanned(index, query, k);
        check_answers(all, index.now()->size, 0);
        for (const std::int64_t count : all.counts) CHECK(static_cast<std::size_t>(count) == std::min(k, n));
    }
    check_filters(index, query);
    CHECK(index.stats().n == n);
    const Program ids = some_ids(index);
    const std::size_t known = index.first_known(ann::IdBatch::decode(ids.bytes));
    try {
        index.write(
            {ann::Change::What::put, static_cast<std::uint32_t>(dim), ids.bytes, {}, std::span(query).first(2 * dim)},
            1, nullptr);
        CHECK(index.size() == n + 2 || (index.size() == n + 1 && known == 1) || (index.size() <= n + 1 && known == 0));
        if (grow && index.now()->ids.kind() != ann::IdKind::strings) {
            const std::vector<float> more = clustered(n / 64 + 1100, dim, 6, 8);
            index.add(more.data(), more.size() / dim, 1, nullptr);
        }
        index.drop(Program().joined(1, {Program().missing(0)}).bytes, 1, nullptr);
    } catch (const std::invalid_argument&) {
        // for example an index that is full, or has no field
    }
    check_answers(searched(index, query, 10, 16), index.now()->size, 0);
    if (grow) index.compact(1, nullptr);
    check_filter(index, Program().joined(0, {}), query);
}

}  // namespace

int fuzz_open(const std::uint8_t* data, std::size_t size) {
    const auto bytes = std::as_bytes(std::span(data, size));
    const check::MemoryFile file(bytes);
    int opened = 0;
    for (const ann::Mode mode : {ann::Mode::memory, ann::Mode::mapped}) {
        try {
            const auto index = ann::Index::open(file.path(), mode);
            check_index(*index, ann::checksum(bytes) % 64 == 0);
            ++opened;
        } catch (const ann::FileError&) {
            // refused, with the section and the reason
        }
    }
    if (opened == 1) std::abort();  // both modes must agree on which files are good
    return opened == 2 ? 1 : 0;
}

#ifdef ANN_LIBFUZZER
extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed);

/// libFuzzer's own changes. Half of the time checksums are made right, because otherwise nearly every file would be
/// refused.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed) {
    const std::size_t changed = LLVMFuzzerMutate(data, size, most);
    if (seed % 2 == 0) {
        bytes::Bytes file(changed);
        std::memcpy(file.data(), data, changed);
        if (seed % 4 == 0 && changed >= ann::container::page) bytes::put<std::uint64_t>(file, bytes::size_at, changed);
        bytes::seal(file);
        std::memcpy(data, file.data(), changed);
    }
    return changed;
}
#endif
