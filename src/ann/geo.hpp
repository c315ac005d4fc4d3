// Places on the earth: exact tests, and the cells of a grid that cover a region.
//
// A place is degrees of latitude [-90, 90] and longitude [-180, 180]. The earth is a sphere of radius 6,371,008.8 m
// (the mean radius of the IUGG). A polygon's edges are straight in latitude and longitude, as in GeoJSON (RFC 7946).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace ann {

inline constexpr double earth_radius = 6371008.8;

struct Place {
    double latitude, longitude;
};

/// An interval of the curve (curve_of), both ends included, and whether all places in it are inside the region.
struct Stretch {
    std::uint64_t first, last;
    bool inside;
};

/// A point on the unit sphere. All longitudes of a pole give the same direction, and so do -180 and 180 degrees.
using Direction = std::array<double, 3>;
Direction direction_of(Place place);

/// All places within `metres` of a centre, including the border. A place is inside if the square of its chord to the
/// centre is at most (2 sin(metres / 2R))^2.
class Circle {
public:
    /// metres >= 0; from half of the earth's circumference on the circle has every place. Throws std::invalid_argument
    /// for a centre out of range, and for a negative radius or NaN.
    Circle(Place centre, double metres);
    bool has(const Direction& at) const {
        const double x = at[0] - middle_[0], y = at[1] - middle_[1], z = at[2] - middle_[2];
        return x * x + y * y + z * z <= chord_;
    }

private:
    friend std::vector<Stretch> cover(const Circle& region, std::size_t most);
    Place centre_;
    Direction middle_;
    double chord_;  ///< the square of the chord, in earth radii; above 4 if the circle has every place
};

/// south <= latitude <= north and west <= longitude <= east. If west > east the box crosses the antimeridian: longitude
/// >= west or <= east. -180 and 180 are the same meridian.
struct Box {
    double south, west, north, east;
    bool has(Place at) const;
};

/// The region inside the first ring and outside all other rings; a place on an edge of any ring counts as inside. A
/// place is inside a ring if the line north from it meets the ring an odd number of times. An edge goes the shorter way
/// round the earth (an edge of exactly 180 degrees goes as its numbers say), so a ring may cross the antimeridian.
/// Throws std::invalid_argument for a ring that goes around a pole, for fewer than 3 or more than 10,000 places in a
/// ring, for a place out of range, and for no ring. The last place of a ring may repeat the first. The side of an edge
/// on which a place lies is computed without rounding errors; only where an edge crosses the antimeridian its far end
/// is rounded (longitude +- 360).
class Polygon {
public:
    /// A part of a ring's border, from west to east. An edge that crosses or touches the antimeridian is stored twice,
    /// at both sides of the map; its longitudes may then lie beyond 180.
    struct Edge {
        Place west, east;
        std::uint32_t ring;
    };

    explicit Polygon(std::vector<std::vector<Place>> rings);
    bool has(Place at) const;
    const std::vector<Edge>& edges() const { return edges_; }

private:
    void add_ring(std::vector<Place> ring, std::uint32_t number);
    void cut_in_slabs();
    std::uint64_t slab_of(double longitude) const;

    std::vector<Edge> edges_;
    double south_ = 90, north_ = -90;
    /// The edges by slabs of equal width in longitude, so that has() need not look at all edges: slab i has the edges
    /// in_slabs_[starts_[i] .. starts_[i + 1]), by their number. The slabs repeat cyclically along the map.
    std::size_t slabs_ = 1;
    double per_degree_ = 1;
    std::vector<std::size_t> starts_;
    std::vector<std::uint32_t> in_slabs_;
};

/// Return the number of a place on a Z-curve of 32 + 32 bits (Morton 1966): near places tend to have near numbers.
/// Longitude has the even bits, latitude the odd bits. Each is cut into 2^32 steps, and the last step includes the
/// upper end.
std::uint64_t curve_of(Place place);

/// Return stretches of the curve that hold all places of the region: sorted, disjoint, with adjacent stretches of one
/// sort joined. There are at most `most` + 4; a larger `most` gives a finer border. A place in a stretch that is not
/// `inside` must be tested.
std::vector<Stretch> cover(const Circle& region, std::size_t most = 128);
std::vector<Stretch> cover(const Box& region, std::size_t most = 128);
std::vector<Stretch> cover(const Polygon& region, std::size_t most = 128);

}  // namespace ann
