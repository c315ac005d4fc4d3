// Any bytes as fields, as ids, and as a change: they are refused with std::invalid_argument, or read as what they say.
#include <algorithm>
#include <optional>
#include <span>
#include <stdexcept>

#include "check.hpp"
#include "fuzz.hpp"
#include "model.hpp"
#include "table.hpp"

namespace {

using filters::Program, model::Bytes;

/// The same bytes at a multiple of 8, as a log has them; no bytes may be read behind them.
struct Aligned {
    Aligned(const std::uint8_t* data, std::size_t size) : words((size + 7) / 8), size(size) {
        if (size != 0) std::memcpy(words.data(), data, size);
    }
    std::span<const std::byte> bytes() const { return std::as_bytes(std::span(words)).first(size); }
    std::vector<std::uint64_t> words;
    std::size_t size;
};

template <typename Value, typename Work>
std::optional<Value> unless_refused(const Work& work) {
    try {
        return work();
    } catch (const std::invalid_argument&) {
        return std::nullopt;
    }
}

void check_same(const ann::Payload& payload, const std::vector<filters::Row>& rows) {
    for (std::size_t field = 0; field < model::schema.size(); ++field) {
        const auto* column = payload.column(field);
        for (std::size_t row = 0; row < payload.rows(); ++row) {
            const bool has = column != nullptr && column->has(row);
            CHECK(rows[row].at(field).has == has);
            if (has && ann::is_whole(model::schema[field].kind)) {
                CHECK(rows[row].at(field).whole == column->whole(row));
            }
            if (has && ann::is_text(model::schema[field].kind)) {
                CHECK(rows[row].at(field).texts.size() == column->count(row));
            }
        }
    }
}

}  // namespace

int fuzz_payload(const std::uint8_t* data, std::size_t size) {
    const auto bytes = std::as_bytes(std::span(data, size));
    const auto payload = unless_refused<ann::Payload>([&] { return ann::Payload::decode(bytes, model::schema); });
    if (!payload) return 0;
    if (payload->columns().empty() && payload->rows() > 1000) return 1;  // the caller must check the number of rows
    CHECK(payload->columns().empty() || payload->rows() <= size);
    const ann::Table table = ann::Table(model::schema).appended(*payload);
    std::vector<std::uint32_t> rows(payload->rows());
    for (std::size_t row = 0; row < rows.size(); ++row) rows[row] = static_cast<std::uint32_t>(row);
    for (const ann::Table& one : {table, table.indexed()}) {
        const Bytes again = one.encode();
        const ann::Payload back = ann::Payload::decode(again, model::schema);
        CHECK(back.rows() == payload->rows());
        CHECK(ann::Table(model::schema).appended(back).encode() == again);
    }
    ann::State state{.vectors = {1, ann::Metric::l2, ann::Refine::float32, ann::chosen_kernels()},
                     .size = rows.size(),
                     .codes = nullptr,
                     .ids = {},
                     .table = table.indexed(),
                     .live = std::make_shared<ann::Bitmap>(rows.size(), true)};
    check_same(*payload, model::fields_of(state, rows));
    if (!rows.empty()) static_cast<void>(table.changed(rows, *payload).indexed());
    return 1;
}

int fuzz_ids(const std::uint8_t* data, std::size_t size) {
    const auto bytes = std::as_bytes(std::span(data, size));
    const auto batch = unless_refused<ann::IdBatch>([&] { return ann::IdBatch::decode(bytes); });
    if (!batch) return 0;
    const bool numbered = batch->kind == ann::IdKind::rows;
    CHECK(numbered || batch->count <= size / 8);
    const auto twice = batch->twice();
    CHECK(!twice || (twice->second < twice->first && twice->first < batch->count));
    const auto ids = unless_refused<ann::Ids>([&] { return ann::Ids().with(*batch); });
    if (!ids) return 1;  // for example more numbers than there are
    CHECK(ids->size() == batch->count);
    const auto decoded = unless_refused<ann::Ids>([&] { return ann::Ids::decode(bytes, batch->count); });
    CHECK(decoded.has_value());
    if (numbered) return 1;
    const ann::Bitmap live(batch->count, true);
    for (std::size_t i = 0; i < batch->count; ++i) {
        const auto row = ids->find(*batch, i, live);
        CHECK(row && (twice || *row == i));
        CHECK(!ids->before(*batch, i, i));
    }
    const Bytes again = ids->encode();
    CHECK(batch->count == 0 || std::ranges::equal(again, bytes));
    return 1;
}

int fuzz_change(const std::uint8_t* data, std::size_t size) {
    const Aligned copy(data, size);
    const auto change = unless_refused<ann::Change>([&] { return ann::Change::decode(copy.bytes()); });
    if (!change) return 0;
    CHECK(std::ranges::equal(change->encode(), copy.bytes()));
    ann::Index index({2, ann::Metric::l2, ann::Refine::float32, 4, 8, 1}, model::schema);
    model::Dice dice(2);
    std::vector<model::Id> ids;
    std::vector<filters::Row> rows;
    for (std::int64_t id = 0; id < 12; ++id) ids.emplace_back(id), rows.push_back(model::drawn_row(dice));
    const auto first = model::request(model::What::add, 2, model::batch_of(ids), rows, std::vector<float>(24, 0.5f));
    index.write(first.change(), 1, nullptr);
    const auto before = index.now();
    const auto count = unless_refused<std::size_t>([&] { return index.write(*change, 1, nullptr); });
    if (!count) CHECK(index.now() == before);
    const auto state = index.now();
    const std::vector<std::uint32_t> living = model::living(*state);
    CHECK(living.size() == index.size() && model::fields_of(*state, living).size() == living.size());
    index.compact(1, nullptr);
    CHECK(model::living(*index.now()).size() == living.size());
    return count ? 1 : 0;
}
