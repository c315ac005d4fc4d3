#include "scroll.hpp"

#include <algorithm>
#include <stdexcept>

namespace ann {
namespace {

struct Entry {
    bool missing;
    std::uint64_t key;  ///< inverted if the order descends
    std::uint32_t row;
};

}  // namespace

std::vector<std::uint32_t> scroll(const State& state, const Selection& rows, const Order& order, std::size_t limit,
                                  const Cursor* after) {
    const bool texts = state.ids.kind() == IdKind::strings;
    if (after != nullptr && (after->id.count != 1 || (after->id.kind == IdKind::strings) != texts)) {
        throw std::invalid_argument("cursor: not of this index");
    }
    const auto turned = [&](std::uint64_t key) { return order.descending ? ~key : key; };
    const bool after_missing = after != nullptr && order.field && !after->key;
    const std::uint64_t after_key = after != nullptr && after->key ? turned(*after->key) : 0;
    std::vector<Entry> places;
    rows.each([&](std::uint32_t row) {
        const auto key = order.field ? state.table.order(*order.field, row) : std::nullopt;
        const Entry place{order.field && !key, key ? turned(*key) : 0, row};
        if (after != nullptr) {
            if (place.missing != after_missing ? !place.missing : place.key < after_key) return;
            const bool same = place.missing == after_missing && place.key == after_key;
            if (same && !state.ids.before(after->id, 0, row)) return;
        }
        places.push_back(place);
    });
    const auto sooner = [&](const Entry& a, const Entry& b) {
        if (a.missing != b.missing) return b.missing;
        return a.key != b.key ? a.key < b.key : state.ids.before(a.row, b.row);
    };
    const std::size_t kept = std::min(limit, places.size());
    const auto end = places.begin() + static_cast<std::ptrdiff_t>(kept);
    std::partial_sort(places.begin(), end, places.end(), sooner);
    std::vector<std::uint32_t> page;
    for (auto place = places.begin(); place != end; ++place) page.push_back(place->row);
    return page;
}

}  // namespace ann
