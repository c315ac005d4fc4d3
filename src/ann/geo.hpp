// Places on the earth: exact tests, and the cells of a grid that a region covers.
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

/// A stretch of the curve (curve_of), both ends included, and whether all places in it are inside of the region.
struct Stretch {
    std::uint64_t first, last;
    bool inside;
};

/// A place on the unit sphere. All longitudes of a pole give the same direction, and so do -180 and 180 degrees.
using Direction = std::array<double, 3>;
Direction direction_of(Place place);

/// All places within `metres` of a centre, the border included. A place is inside where the square of its chord to the
/// centre is at most (2 sin(metres / 2R))^2.
class Circle {
public:
    /// metres >= 0; from half of the earth's circumference on, everything. std::invalid_argument for a centre out of
    /// range and for metres that are none.
    Circle(Place centre, double metres);
    bool has(const Direction& at) const {
        const double x = at[0] - middle_[0], y = at[1] - middle_[1], z = at[2] - middle_[2];
        return x * x + y * y + z * z <= chord_;
    }

private:
    friend std::vector<Stretch> cover(const Circle& region, std::size_t most);
    Place centre_;
    Direction middle_;
    double chord_;  ///< its square, in radii of the earth; above 4 for everything
};

/// south <= latitude <= north; west <= longitude <= east, or where west > east across the antimeridian: longitude >=
/// west or <= east. -180 and 180 are the same meridian.
struct Box {
    double south, west, north, east;
    bool has(Place at) const;
};

/// Inside the first ring and in none of the others; on an edge of any of them counts as inside. A place is inside of a
/// ring where the line north from it meets the ring an odd number of times. An edge goes the short way round (one of
/// exactly 180 degrees as its numbers say), so a ring may cross the antimeridian; std::invalid_argument for one that
/// goes around a pole, for one of fewer than 3 places or of more than 10,000, for a place out of range, and where there
/// is no ring. The last place of a ring may repeat the first. On which side of an edge a place is, is computed without
/// an error of rounding; only where an edge crosses the antimeridian its far end is rounded (longitude +- 360).
class Polygon {
public:
    /// A part of a ring's border, from west to east. One that crosses or touches the antimeridian is there twice, at
    /// both sides of the map; longitudes may lie beyond 180 then.
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
    /// Edges by slabs of equal width in longitude, so that has() need not look at all: those of slab i are
    /// in_slabs_[starts_[i] .. starts_[i + 1]), by their number. The slabs are dealt out again and again along the map.
    std::size_t slabs_ = 1;
    double per_degree_ = 1;
    std::vector<std::size_t> starts_;
    std::vector<std::uint32_t> in_slabs_;
};

/// A place on a Z-curve of 32 + 32 bits (Morton 1966): near places tend to have near numbers. Longitude has the even
/// bits, latitude the odd ones; each is cut in 2^32 steps, the last of which holds its upper end.
std::uint64_t curve_of(Place place);

/// Stretches of the curve that hold all places of the region: sorted, disjoint, neighbours of one sort joined. At most
/// `most` + 4 of them; more make the border finer. A place in a stretch that is not `inside` has to be tested.
std::vector<Stretch> cover(const Circle& region, std::size_t most = 128);
std::vector<Stretch> cover(const Box& region, std::size_t most = 128);
std::vector<Stretch> cover(const Polygon& region, std::size_t most = 128);

}  // namespace ann
