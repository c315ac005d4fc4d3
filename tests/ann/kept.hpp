// A small index with one field, the changes that are made to it, and a map with the contents that it must have.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "change.hpp"
#include "check.hpp"
#include "index.hpp"
#include "payload.hpp"
#include "random.hpp"

namespace kept {

using Bytes = std::vector<std::byte>;
using What = ann::Change::What;

inline const ann::Options options{2, ann::Metric::l2, ann::Refine::float32, 4, 8, 1};
inline const ann::Schema schema{{"depth", ann::Kind::integer}};

struct Row {
    std::vector<float> vector;
    std::optional<std::int64_t> depth;
    bool operator==(const Row&) const = default;
};
using Model = std::map<std::int64_t, Row>;

template <typename T>
void add(Bytes& to, const std::vector<T>& values) {
    const auto bytes = std::as_bytes(std::span(values));
    to.insert(to.end(), bytes.begin(), bytes.end());
}

inline Bytes ids_of(const std::vector<std::int64_t>& ids) {
    Bytes bytes;
    add<std::uint32_t>(bytes, {1, 0});
    add<std::uint64_t>(bytes, {ids.size()});
    add(bytes, ids);
    return bytes;
}

inline Bytes fields_of(const std::vector<std::optional<std::int64_t>>& depths) {
    Bytes bytes;
    add<std::uint32_t>(bytes, {static_cast<std::uint32_t>(depths.size()), 1, 0});
    for (const auto& depth : depths) bytes.push_back(std::byte{depth ? std::uint8_t{1} : std::uint8_t{0}});
    for (const auto& depth : depths) add<std::int64_t>(bytes, {depth.value_or(0)});
    return bytes;
}

/// A change with its own bytes, and its effect on the map.
class Request {
public:
    /// For an add or a put, `seed` decides the vector and the depth of every id; for a set, the depth.
    Request(What what, std::vector<std::int64_t> ids, std::uint64_t seed) : what_(what), numbers_(std::move(ids)) {
        ids_ = ids_of(numbers_);
        for (const std::int64_t id : numbers_) {
            const auto drawn = static_cast<std::int64_t>(ann::random_below(seed, static_cast<std::uint64_t>(id), 1000));
            depths_.push_back(drawn % 4 == 0 ? std::nullopt : std::optional(drawn));
            if (what == What::drop || what == What::set) continue;
            vectors_.insert(vectors_.end(), {static_cast<float>(id), static_cast<float>(drawn)});
        }
        if (what != What::drop) fields_ = fields_of(depths_);
    }

    ann::Change change() const { return {what_, options.dim, ids_, fields_, vectors_}; }

    void make(Model& model) const {
        for (std::size_t i = 0; i < numbers_.size(); ++i) {
            if (what_ == What::drop) {
                model.erase(numbers_[i]);
                continue;
            }
            Row& row = model[numbers_[i]];
            row.depth = depths_[i];
            if (what_ != What::set) row.vector = {vectors_[2 * i], vectors_[2 * i + 1]};
        }
    }

private:
    What what_;
    std::vector<std::int64_t> numbers_;
    std::vector<std::optional<std::int64_t>> depths_;
    Bytes ids_, fields_;
    std::vector<float> vectors_;
};

/// Return a random change that fits the model: it concerns some of sixty ids, each once.
inline Request drawn(std::uint64_t seed, const Model& model) {
    const auto what = static_cast<What>(ann::random_below(seed, 0, 4));
    std::vector<std::int64_t> ids;
    const std::uint64_t often = 1 + ann::random_below(seed, 1, 8);
    for (std::int64_t id = 0; id < 60; ++id) {
        if (ann::random_below(seed, 2 + static_cast<std::uint64_t>(id), often) != 0) continue;
        if (what == What::add && model.contains(id)) continue;
        if (what == What::set && !model.contains(id)) continue;
        ids.push_back(id);
    }
    return {what, ids, seed};
}

/// Return the contents of an index.
inline Model contents(const ann::Index& index) {
    const auto state = index.now();
    std::vector<std::uint32_t> rows;
    state->live->each([&](std::uint32_t row) { rows.push_back(row); });
    const Bytes bytes = state->table.encode(rows);
    const ann::Payload fields = ann::Payload::decode(bytes, schema);
    const auto* depths = fields.column(0);
    Model model;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        Row row{std::vector<float>(options.dim), std::nullopt};
        state->vectors.read(rows[i], row.vector.data());
        if (depths != nullptr && depths->has(i)) row.depth = depths->whole(i);
        CHECK(model.emplace(state->ids.number(rows[i]), row).second);
    }
    CHECK(model.size() == index.size());
    return model;
}

}  // namespace kept
