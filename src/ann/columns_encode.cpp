#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <string>

#include "columns.hpp"
#include "translation.hpp"

namespace ann {

namespace {

using Bytes = std::vector<std::byte>;

/// Append value(item) for each item of a list.
template <typename List, typename Value>
void put(Bytes& out, const List& list, const Value& value) {
    using T = decltype(value(*list.begin()));
    std::size_t at = out.size();
    out.resize(at + list.size() * sizeof(T));
    for (const auto item : list) {
        const T made = value(item);
        std::memcpy(out.data() + at, &made, sizeof made);
        at += sizeof made;
    }
}

void put(Bytes& out, std::size_t number) {
    put(out, std::array{number}, [](std::size_t it) { return static_cast<std::uint32_t>(it); });
}

void encode_texts(Bytes& out, const Columns& columns, std::size_t field, std::span<const std::uint32_t> rows) {
    const Dictionary& dictionary = columns.dictionary(field);
    std::vector<std::uint32_t> used = used_numbers(dictionary.size(), rows.size(), [&](const auto& visit) {
        for (const std::uint32_t row : rows) std::ranges::for_each(columns.texts(field, row), visit);
    });
    put(out, used.size());
    std::uint64_t end = 0;
    put(out, used, [&](std::uint32_t number) { return end += dictionary[number].size(); });
    for (const std::uint32_t number : used) {
        const auto text = std::as_bytes(std::span(dictionary[number]));
        out.insert(out.end(), text.begin(), text.end());
    }
    put(out, rows, [&](std::uint32_t row) { return static_cast<std::uint32_t>(columns.texts(field, row).size()); });
    std::vector<std::uint32_t> places(used.size());
    std::iota(places.begin(), places.end(), 0u);
    const Translation into(std::move(used), std::move(places), dictionary.size());
    for (const std::uint32_t row : rows) {
        put(out, columns.texts(field, row), [&](std::uint32_t code) { return into[code]; });
    }
}

}  // namespace

std::vector<std::byte> Columns::encode(std::span<const std::uint32_t> rows) const {
    for (const std::uint32_t row : rows) {
        if (row >= size_) throw std::invalid_argument("fields: row " + std::to_string(row) + " is not there");
    }
    Bytes out;
    if (size_ != 0) out.reserve(bytes() / size_ * std::min(rows.size(), size_));
    put(out, rows.size());
    put(out, columns_.size());
    for (std::size_t field = 0; field < columns_.size(); ++field) {
        const Column& column = columns_[field];
        put(out, field);
        if (column.text) {
            encode_texts(out, *this, field, rows);
            continue;
        }
        put(out, rows, [&](std::uint32_t row) { return column.present[row]; });
        if (column.kind == Kind::geo) put(out, rows, [&](std::uint32_t row) { return column.places[row]; });
        if (column.kind != Kind::geo) put(out, rows, [&](std::uint32_t row) { return column.words[row]; });
    }
    return out;
}

}  // namespace ann
