// Any bytes as a filter: they are refused with std::invalid_argument, or select rows; the index structures and a test
// of every row must select the same ones.
#include <array>
#include <optional>
#include <span>
#include <stdexcept>

#include "check.hpp"
#include "fuzz.hpp"
#include "model.hpp"
#include "table.hpp"

namespace {

using filters::Program, model::Dice, model::Id;

/// Rows in the structures, changed, late and dead rows, with ids of one kind.
struct Fixture {
    explicit Fixture(ann::IdKind kind) : table(model::schema), live(rows, true) {
        Dice dice(1);
        const auto some = [&](std::size_t count) {
            std::vector<filters::Row> values;
            for (std::size_t i = 0; i < count; ++i) values.push_back(model::drawn_row(dice));
            return filters::encode(model::schema, {0, 1, 2, 3, 4, 5, 6}, values);
        };
        const auto most = some(structured), late = some(rows - structured), renewed = some(2);
        table = table.appended(ann::Payload::decode(most, model::schema)).indexed();
        const std::vector<std::uint32_t> changed{3, 70};
        table = table.changed(changed, ann::Payload::decode(renewed, model::schema));
        table = table.appended(ann::Payload::decode(late, model::schema));
        for (std::size_t row = 0; row < rows; row += 1 + dice.below(9)) live.reset(row);
        std::vector<Id> names;
        for (std::size_t i = 0; i < rows; ++i) {
            const auto number = static_cast<std::int64_t>(i * 7) - 100;
            names.push_back(kind == ann::IdKind::strings ? Id("id" + std::to_string(number)) : Id(number));
        }
        const Program batch = kind == ann::IdKind::rows ? model::numbers(rows) : model::batch_of(names);
        ids = ids.with(ann::IdBatch::decode(batch.bytes));
    }
    static constexpr std::size_t structured = 120, rows = 130;
    ann::Table table;
    ann::Bitmap live;
    ann::Ids ids;
};

void check_selection(const Fixture& on, const ann::Filter& filter) {
    const auto selection = on.table.select(filter, on.live, on.ids, ann::chosen_kernels());
    ann::Bitmap found(Fixture::rows);
    std::size_t count = 0;
    selection.each([&](std::uint32_t row) {
        CHECK(row < Fixture::rows && !found.test(row));
        found.set(row);
        ++count;
    });
    CHECK(count == selection.count);
    for (std::size_t row = 0; row < Fixture::rows; ++row) {
        CHECK(found.test(row) == (on.live.test(row) && on.table.means(filter, row, on.ids)));
    }
}

}  // namespace

int fuzz_filter(const std::uint8_t* data, std::size_t size) {
    static const std::array fixtures{Fixture(ann::IdKind::rows), Fixture(ann::IdKind::integers),
                                     Fixture(ann::IdKind::strings)};
    std::optional<ann::Filter> filter;
    try {
        filter = ann::Filter::decode(std::as_bytes(std::span(data, size)), model::schema);
    } catch (const std::invalid_argument&) {
        return 0;
    }
    for (const Fixture& on : fixtures) check_selection(on, *filter);
    return 1;
}
