#include "geo.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>
#include <stdexcept>
#include <string>
#include <utility>

namespace ann {
namespace {

constexpr double radians = std::numbers::pi / 180;

void check_place(Place place, const char* what) {
    if (std::abs(place.latitude) <= 90 && std::abs(place.longitude) <= 180) return;
    throw std::invalid_argument(std::string(what) + ": a latitude is within -90 .. 90, a longitude within -180 .. 180");
}

/// A number and the error of its last rounding: first + second is exact.
using Exact = std::array<double, 2>;

Exact sum(double a, double b) {  // Knuth's TwoSum
    const double high = a + b, part = high - a;
    return {high, (a - (high - part)) + (b - part)};
}

Exact product(double a, double b) {
    const double high = a * b;
    return {high, std::fma(a, b, -high)};
}

/// Return on which side of an edge a place is: > 0 north, < 0 south, 0 on its line. The sign is exact (Shewchuk 1997:
/// if the plain determinant is too small to be trusted, it is summed up without rounding).
double side_of(const Polygon::Edge& edge, Place at) {
    const double left = (edge.east.longitude - edge.west.longitude) * (at.latitude - edge.west.latitude);
    const double right = (edge.east.latitude - edge.west.latitude) * (at.longitude - edge.west.longitude);
    if (std::abs(left - right) > 4e-16 * (std::abs(left) + std::abs(right))) return left - right;
    const Exact wide = sum(edge.east.longitude, -edge.west.longitude), up = sum(at.latitude, -edge.west.latitude);
    const Exact high = sum(edge.east.latitude, -edge.west.latitude), along = sum(at.longitude, -edge.west.longitude);
    std::array<double, 16> parts{};  // parts that do not overlap, the largest last
    std::size_t count = 0;
    const auto add = [&](double value) {
        for (std::size_t i = 0; i < count; ++i) {
            const Exact both = sum(value, parts[i]);
            value = both[0];
            parts[i] = both[1];
        }
        parts[count++] = value;
    };
    for (const double a : wide) {
        for (const double b : up) {
            for (const double part : product(a, b)) add(part);
        }
    }
    for (const double a : high) {
        for (const double b : along) {
            for (const double part : product(a, b)) add(-part);
        }
    }
    while (count > 1 && parts[count - 1] == 0) --count;
    return parts[count - 1];
}

}  // namespace

Direction direction_of(Place place) {
    if (std::abs(place.latitude) == 90) return {0, 0, place.latitude / 90};
    const double latitude = place.latitude * radians;
    const double longitude = (place.longitude == -180 ? 180 : place.longitude) * radians;
    const double across = std::cos(latitude);
    return {across * std::cos(longitude), across * std::sin(longitude), std::sin(latitude)};
}

Circle::Circle(Place centre, double metres) : centre_(centre), middle_(direction_of(centre)), chord_(8) {
    check_place(centre, "circle");
    if (!(metres >= 0)) throw std::invalid_argument("circle: metres are at least 0");
    if (metres >= std::numbers::pi * earth_radius) return;
    const double chord = 2 * std::sin(metres / (2 * earth_radius));
    chord_ = chord * chord;
}

bool Box::has(Place at) const {
    const auto between = [&](double longitude) {
        return west <= east ? west <= longitude && longitude <= east : longitude >= west || longitude <= east;
    };
    if (!(south <= at.latitude && at.latitude <= north)) return false;
    return between(at.longitude) || (std::abs(at.longitude) == 180 && between(-at.longitude));
}

Polygon::Polygon(std::vector<std::vector<Place>> rings) {
    if (rings.empty()) throw std::invalid_argument("polygon: it has no ring");
    for (std::size_t i = 0; i < rings.size(); ++i) add_ring(std::move(rings[i]), static_cast<std::uint32_t>(i));
    cut_in_slabs();
}

void Polygon::add_ring(std::vector<Place> ring, std::uint32_t number) {
    for (const Place& place : ring) check_place(place, "polygon");
    const auto same = [](Place a, Place b) { return a.latitude == b.latitude && a.longitude == b.longitude; };
    if (ring.size() > 1 && same(ring.front(), ring.back())) ring.pop_back();
    if (ring.size() < 3 || ring.size() > 10'000) {
        throw std::invalid_argument("polygon: a ring has 3 to 10,000 places, not " + std::to_string(ring.size()));
    }
    int around = 0;
    for (std::size_t i = 0; i < ring.size(); ++i) {
        const Place from = ring[i], to = ring[(i + 1) % ring.size()];
        const double ahead = to.longitude - from.longitude;
        const int turn = ahead > 180 ? -1 : ahead < -180 ? 1 : 0;
        around += turn;
        for (int copy = -1; copy <= 1; ++copy) {
            // A corner has the same numbers in both of its edges, so that no place falls into a gap between them.
            const Place a{from.latitude, from.longitude + 360 * copy};
            const Place b{to.latitude, to.longitude + 360 * (copy + turn)};
            if (std::min(a.longitude, b.longitude) > 180 || std::max(a.longitude, b.longitude) < -180) continue;
            edges_.push_back(a.longitude <= b.longitude ? Edge{a, b, number} : Edge{b, a, number});
        }
        south_ = std::min(south_, from.latitude);
        north_ = std::max(north_, from.latitude);
    }
    if (around != 0) throw std::invalid_argument("polygon: a ring goes around a pole");
}

std::uint64_t Polygon::slab_of(double longitude) const {
    return static_cast<std::uint64_t>((longitude + 720) * per_degree_);
}

void Polygon::cut_in_slabs() {
    // A slab is as wide as a third of the mean edge, so that an edge is in at most 5 slabs on average.
    double wide = 0;
    for (const Edge& edge : edges_) wide += edge.east.longitude - edge.west.longitude;
    per_degree_ = std::min(3 * static_cast<double>(edges_.size()) / std::max(wide, 1e-9), 1e9);
    slabs_ = std::bit_ceil(edges_.size());
    const auto each_slab = [&](const Edge& edge, const auto& work) {
        const std::uint64_t first = slab_of(edge.west.longitude), last = slab_of(edge.east.longitude);
        for (std::uint64_t i = 0; i <= last - first && i < slabs_; ++i) work((first + i) % slabs_);
    };
    starts_.assign(slabs_ + 1, 0);
    for (const Edge& edge : edges_) each_slab(edge, [&](std::size_t slab) { ++starts_[slab + 1]; });
    for (std::size_t s = 0; s < slabs_; ++s) starts_[s + 1] += starts_[s];
    in_slabs_.resize(starts_.back());
    std::vector<std::size_t> next(starts_.begin(), starts_.end() - 1);
    for (std::size_t i = 0; i < edges_.size(); ++i) {
        each_slab(edges_[i], [&](std::size_t slab) { in_slabs_[next[slab]++] = static_cast<std::uint32_t>(i); });
    }
}

bool Polygon::has(Place at) const {
    if (!(south_ <= at.latitude && at.latitude <= north_ && std::abs(at.longitude) <= 180)) return false;
    const std::size_t slab = slab_of(at.longitude) & (slabs_ - 1);
    bool is_odd = false, in_first = false, in_hole = false;
    std::uint32_t ring = 0;
    const auto finish = [&] {
        (ring == 0 ? in_first : in_hole) |= is_odd;
        is_odd = false;
    };
    for (std::size_t i = starts_[slab]; i < starts_[slab + 1]; ++i) {
        const Edge& edge = edges_[in_slabs_[i]];
        if (edge.ring != ring) finish();
        ring = edge.ring;
        if (!(edge.west.longitude <= at.longitude && at.longitude <= edge.east.longitude)) continue;
        const auto [south, north] = std::minmax(edge.west.latitude, edge.east.latitude);
        if (at.latitude > north) continue;
        const bool is_spanned = at.longitude < edge.east.longitude;  // so a corner belongs to only one of its edges
        if (at.latitude >= south) {
            const double side = side_of(edge, at);
            if (side == 0) return true;
            if (side > 0) continue;
        }
        is_odd ^= is_spanned;
    }
    finish();
    return in_first && !in_hole;
}

}  // namespace ann
