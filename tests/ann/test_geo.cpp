// Places: regions by hand and by other formulas, and covers compared with tests of many single places.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "check.hpp"
#include "geo.hpp"
#include "random.hpp"

namespace {

using ann::Box, ann::Circle, ann::Place, ann::Polygon;
using Ring = std::vector<Place>;

constexpr double half_round = std::numbers::pi * ann::earth_radius;

/// Random numbers from a stream of one seed.
class Dice {
public:
    explicit Dice(std::uint64_t seed) : seed_(seed) {}
    double in(double low, double high) {
        return low + (high - low) * static_cast<double>(ann::random_bits(seed_, place_++) >> 11) * 0x1p-53;
    }
    std::size_t below(std::size_t bound) { return static_cast<std::size_t>(ann::random_below(seed_, place_++, bound)); }
    /// Return a place anywhere, often at a pole, at the antimeridian, or at a round number.
    Place place() {
        const double up = in(-90, 90), right = in(-180, 180);
        const double latitudes[] = {up, up, up, 90, -90, 0, in(89, 90), std::round(up)};
        const double longitudes[] = {right, right, right, 180, -180, 0, in(179, 180), std::round(right)};
        return {latitudes[below(8)], longitudes[below(8)]};
    }
    /// Return a place at most `degrees` beside another place, moved back onto the map.
    Place near(Place middle, double degrees) {
        const double latitude = middle.latitude + in(-degrees, degrees);
        const double longitude = middle.longitude + in(-degrees, degrees);
        return {std::clamp(latitude, -90.0, 90.0), std::clamp(std::remainder(longitude, 360.0), -180.0, 180.0)};
    }

private:
    std::uint64_t seed_, place_ = 0;
};

bool holds(const Circle& region, Place at) { return region.has(ann::direction_of(at)); }
bool holds(const Box& region, Place at) { return region.has(at); }
bool holds(const Polygon& region, Place at) { return region.has(at); }

/// Check the properties that every list of stretches has.
void check_stretches(const std::vector<ann::Stretch>& stretches, std::size_t most) {
    CHECK(stretches.size() <= std::max<std::size_t>(most, 1) + 4);
    for (std::size_t i = 0; i < stretches.size(); ++i) {
        CHECK(stretches[i].first <= stretches[i].last);
        if (i == 0) continue;
        CHECK(stretches[i - 1].last < stretches[i].first);
        CHECK(stretches[i - 1].last + 1 < stretches[i].first || stretches[i - 1].inside != stretches[i].inside);
    }
}

/// Check that a place of the region is in a stretch, and that a place of an inner stretch is in the region.
template <typename Region>
void check_place(const Region& region, const std::vector<ann::Stretch>& stretches, Place at) {
    const std::uint64_t code = ann::curve_of(at);
    const auto found = std::partition_point(stretches.begin(), stretches.end(),
                                            [&](const ann::Stretch& stretch) { return stretch.last < code; });
    const bool covered = found != stretches.end() && found->first <= code;
    if (holds(region, at)) {
        CHECK(covered);
    } else {
        CHECK(!covered || !found->inside);
    }
}

/// Return the even bits of a number (with `shift` 1 the odd bits) as one number.
std::uint64_t joined(std::uint64_t code, int shift) {
    std::uint64_t value = 0;
    for (int bit = 0; bit < 32; ++bit) value |= (code >> (2 * bit + shift) & 1) << bit;
    return value;
}

/// Check the lower corner of a cell, and the places one rounding beside it, where errors at a border appear first.
void check_ends(const auto& region, const std::vector<ann::Stretch>& stretches) {
    const auto at_step = [](std::uint64_t step, double half) {
        return static_cast<double>(step) / 0x1p32 * 2 * half - half;
    };
    for (const ann::Stretch& stretch : stretches) {
        const std::uint64_t middle = stretch.first + (stretch.last - stretch.first) / 2;
        for (const std::uint64_t code : {stretch.first, stretch.last, middle}) {
            for (const double up : {-1.0, 0.0, 1.0}) {
                for (const double right : {-1.0, 0.0, 1.0}) {
                    const double latitude = at_step(joined(code, 1), 90), longitude = at_step(joined(code, 0), 180);
                    check_place(region, stretches,
                                {std::clamp(latitude + up * 3e-14, -90.0, 90.0),
                                 std::clamp(longitude + right * 3e-14, -180.0, 180.0)});
                }
            }
        }
    }
}

template <typename Region>
void check_cover(const Region& region, Dice& dice, const std::vector<Place>& marks, double degrees) {
    for (const std::size_t most : {std::size_t{0}, std::size_t{16}, std::size_t{128}}) {
        const auto stretches = ann::cover(region, most);
        check_stretches(stretches, most);
        check_ends(region, stretches);
        for (const Place mark : marks) check_place(region, stretches, mark);
        for (int i = 0; i < 60; ++i) {
            check_place(region, stretches, dice.place());
            check_place(region, stretches, dice.near(marks[dice.below(marks.size())], degrees));
            check_place(region, stretches, dice.near(marks[dice.below(marks.size())], degrees / 100));
            check_place(region, stretches, dice.near(marks[dice.below(marks.size())], std::pow(10, dice.in(-13, -7))));
        }
    }
}

void curve() {
    CHECK(ann::curve_of({-90, -180}) == 0);
    CHECK(ann::curve_of({90, 180}) == std::numeric_limits<std::uint64_t>::max());
    CHECK(ann::curve_of({-90, 0}) == std::uint64_t{1} << 62);
    CHECK(ann::curve_of({0, -180}) == std::uint64_t{1} << 63);
    CHECK(ann::curve_of({-45, 90}) == (std::uint64_t{0b0111} << 60));  // x 11, y 01
    Dice dice(1);
    for (int i = 0; i < 2000; ++i) {
        const Place a = dice.place(), b = dice.place();
        const std::uint64_t one = ann::curve_of(a), other = ann::curve_of(b);
        CHECK(a.longitude <= b.longitude ? joined(one, 0) <= joined(other, 0) : joined(one, 0) >= joined(other, 0));
        CHECK(a.latitude <= b.latitude ? joined(one, 1) <= joined(other, 1) : joined(one, 1) >= joined(other, 1));
        CHECK(std::abs(static_cast<double>(joined(one, 1)) / 0x1p32 * 180 - 90 - a.latitude) < 1e-7);
    }
}

/// Sinnott 1984.
double haversine(Place a, Place b) {
    constexpr double radians = std::numbers::pi / 180;
    const double up = std::sin((a.latitude - b.latitude) * radians / 2);
    const double along = std::sin((a.longitude - b.longitude) * radians / 2);
    const double half = up * up + std::cos(a.latitude * radians) * std::cos(b.latitude * radians) * along * along;
    return 2 * ann::earth_radius * std::asin(std::sqrt(std::min(1.0, half)));
}

void circles() {
    Dice dice(2);
    for (int i = 0; i < 20'000; ++i) {
        const Place centre = dice.place();
        const Place at = i % 2 == 0 ? dice.place() : dice.near(centre, std::pow(10, dice.in(-6, 1)));
        const double distance = haversine(centre, at);
        const double metres = i % 4 < 2 ? std::pow(10, dice.in(-1, 7.3)) : distance * dice.in(0.9999, 1.0001);
        if (std::abs(distance - metres) < 1e-6 + 1e-8 * metres || distance > 0.999 * half_round) continue;
        CHECK(holds(Circle(centre, metres), at) == (distance < metres));
    }
    CHECK(holds(Circle({0, 0}, 0), {0, 0}));
    CHECK(!holds(Circle({0, 0}, 0), {0, 1e-9}));
    CHECK(holds(Circle({12, 180}, 0), {12, -180}));  // the same place
    CHECK(holds(Circle({90, 17}, 0), {90, -60}));
    CHECK(!holds(Circle({90, 0}, 0), {-90, 0}));
    const double quarter = half_round / 2;
    CHECK(holds(Circle({0, 0}, quarter + 0.001), {90, 0}) && !holds(Circle({0, 0}, quarter - 0.001), {90, 0}));
    CHECK(holds(Circle({10, 20}, half_round), {-10, -160}));
    CHECK(!holds(Circle({10, 20}, half_round - 1), {-10, -160}));
    CHECK(holds(Circle({1, 2}, std::numeric_limits<double>::infinity()), {-1, -178}));
    const auto everything = ann::cover(Circle({1, 2}, half_round));
    CHECK(everything.size() == 1 && everything[0].inside && everything[0].first == 0 && everything[0].last + 1 == 0);
    CHECK_THROWS(std::invalid_argument, Circle({0, 0}, -1));
    CHECK_THROWS(std::invalid_argument, Circle({0, 0}, std::numeric_limits<double>::quiet_NaN()));
    CHECK_THROWS(std::invalid_argument, Circle({91, 0}, 1));
    CHECK_THROWS(std::invalid_argument, Circle({0, std::numeric_limits<double>::quiet_NaN()}, 1));
}

void covers_of_circles() {
    Dice dice(3);
    for (int i = 0; i < 250; ++i) {
        const Place centre = dice.place();
        const double metres = i % 10 == 0 ? 0 : std::min(std::pow(10, dice.in(-1, 7.5)), half_round);
        const double degrees = metres / ann::earth_radius * 180 / std::numbers::pi;
        const Place opposite{-centre.latitude, std::remainder(centre.longitude + 180, 360)};
        std::vector<Place> marks{centre, {90, 0}, {-90, 12}, opposite};
        for (int turn = 0; turn < 24; ++turn) {  // on the border: `metres` from the centre
            const double radians = std::numbers::pi / 180, course = turn * 15 * radians;
            const double way = metres / ann::earth_radius;
            const double start = centre.latitude * radians;
            const double end = std::asin(std::clamp(
                std::sin(start) * std::cos(way) + std::cos(start) * std::sin(way) * std::cos(course), -1.0, 1.0));
            const double along = std::atan2(std::sin(course) * std::sin(way) * std::cos(start),
                                            std::cos(way) - std::sin(start) * std::sin(end));
            const double longitude = std::remainder(centre.longitude + along / radians, 360);
            marks.push_back({std::clamp(end / radians, -90.0, 90.0), std::clamp(longitude, -180.0, 180.0)});
        }
        check_cover(Circle(centre, metres), dice, marks, std::max(degrees, 1e-7) * 2);
    }
}

void covers_with_a_corner_on_the_border() {
    Dice dice(8);
    for (int i = 0; i < 400; ++i) {
        // Everything except a small disk, which lies inside a large cell.
        const Place centre{dice.in(-80, 80), dice.in(-180, 180)};
        const Place opposite{-centre.latitude, std::remainder(centre.longitude + 180, 360)};
        const Circle most(centre, half_round - std::pow(10, dice.in(2, 6)));
        check_place(most, ann::cover(most), opposite);
        // The corner of a cell is just outside, and the rest of the cell is inside.
        const double cell = 180 / std::exp2(3 + static_cast<double>(dice.below(8)));
        const Place corner{std::round(dice.in(-80, 80) / cell) * cell, std::round(dice.in(-170, 170) / cell) * cell};
        const Place middle{corner.latitude + dice.in(-5, 5) * cell, corner.longitude + dice.in(-5, 5) * cell};
        if (std::abs(middle.latitude) > 90 || std::abs(middle.longitude) > 180) continue;
        const Circle circle(middle, haversine(middle, corner) * (1 - std::pow(10, dice.in(-11, -7))));
        const auto stretches = ann::cover(circle);
        for (int n = 0; n < 10; ++n) check_place(circle, stretches, dice.near(corner, std::pow(10, dice.in(-13, -9))));
    }
}

/// Check which share of the region, and of its cover, is certain: a cover must be useful.
void covers_are_fine() {
    const auto shares = [](const auto& region, Place middle, double degrees) {
        const auto stretches = ann::cover(region);
        Dice dice(4);
        double in_region = 0, certain = 0, in_cover = 0;
        for (int i = 0; i < 4000; ++i) {
            const Place at = dice.near(middle, degrees);
            const std::uint64_t code = ann::curve_of(at);
            in_region += holds(region, at);
            for (const auto& stretch : stretches) {
                if (code < stretch.first || code > stretch.last) continue;
                in_cover += 1;
                certain += stretch.inside;
            }
        }
        CHECK(in_region > 500);
        CHECK(certain > 0.6 * in_region);
        CHECK(in_cover < 1.4 * in_region);
        CHECK(stretches.size() > 64);
    };
    shares(Circle({54.3, 10.1}, 50'000), {54.3, 10.1}, 1);
    shares(Circle({0, 180}, 500'000), {0, 180}, 6);
    shares(Circle({0, 0}, 20), {0, 0}, 0.0003);
    shares(Circle({0, 0}, half_round * 0.6), {0, 0}, 180);
    shares(Box{53.1, 9.3, 54.9, 11.7}, {54, 10.5}, 2);
    shares(Box{-10, 170.5, 10, -170.2}, {0, 180}, 12);
    shares(Polygon({{{0, 0}, {0, 10}, {10, 0}}}), {4, 4}, 7);
}

void boxes() {
    const Box plain{-10, 20, 10, 30}, crossing{-10, 170, 10, -170};
    CHECK(plain.has({0, 25}) && plain.has({-10, 20}) && plain.has({10, 30}));
    CHECK(!plain.has({10.0001, 25}) && !plain.has({0, 19.9999}) && !plain.has({0, -25}));
    CHECK(crossing.has({0, 170}) && crossing.has({0, 180}) && crossing.has({0, -180}) && crossing.has({0, -170}));
    CHECK(!crossing.has({0, 0}) && !crossing.has({0, 169}) && !crossing.has({0, -169}) && !crossing.has({11, 180}));
    CHECK((Box{0, 170, 1, 180}.has({0, -180})) && (Box{0, -180, 1, -170}.has({0, 180})));
    CHECK(!(Box{0, 170, 1, 179}.has({0, -180})));
    const Box meridian{0, 180, 1, -180};
    CHECK(meridian.has({0, 180}) && meridian.has({0, -180}) && !meridian.has({0, 0}));
    CHECK((Box{-90, -180, 90, 180}.has({90, 180})));
    CHECK(!(Box{1, 0, 0, 10}.has({0.5, 5})));
    CHECK(ann::cover(Box{1, 0, 0, 10}).empty());
    CHECK(ann::cover(Box{std::numeric_limits<double>::quiet_NaN(), 0, 0, 10}).empty());
    CHECK(ann::cover(Box{0, std::numeric_limits<double>::quiet_NaN(), 1, 10}).empty());
    const auto world = ann::cover(Box{-90, -180, 90, 180});
    CHECK(world.size() == 1 && world[0].inside && world[0].first == 0 && world[0].last + 1 == 0);
    const auto north_east = ann::cover(Box{0, 0, 90, 180});
    CHECK(north_east.back().inside && north_east.back().last + 1 == 0);
    Dice dice(5);
    for (int i = 0; i < 250; ++i) {
        const Place a = dice.place(), b = i % 3 == 0 ? dice.near(a, std::pow(10, dice.in(-9, 1))) : dice.place();
        const Box box{std::min(a.latitude, b.latitude), a.longitude, std::max(a.latitude, b.latitude), b.longitude};
        const std::vector<Place> marks{a,
                                       b,
                                       {a.latitude, b.longitude},
                                       {b.latitude, a.longitude},
                                       {a.latitude, 180},
                                       {b.latitude, -180},
                                       {90, a.longitude},
                                       {-90, b.longitude}};
        check_cover(box, dice, marks, 1);
    }
}

void polygons() {
    const Ring square{{0, 0}, {0, 10}, {10, 10}, {10, 0}};
    const Polygon plain({square});
    CHECK(plain.has({5, 5}) && !plain.has({5, 11}) && !plain.has({5, -1}));
    CHECK(!plain.has({-1, 5}) && !plain.has({11, 5}));
    for (const double at : {0.0, 0.1, 5.0, 10.0}) {  // edges and corners
        CHECK(plain.has({at, 0}) && plain.has({at, 10}) && plain.has({0, at}) && plain.has({10, at}));
    }
    CHECK(!plain.has({10, 10.000001}) && !plain.has({0, -1e-300}) && !plain.has({-1e-300, 0}));
    Ring closed = square, turned(square.rbegin(), square.rend());
    closed.push_back(square[0]);
    CHECK(Polygon({closed}).edges().size() == 4 && Polygon({turned}).has({5, 5}));

    const Polygon holed({square, {{2, 2}, {2, 8}, {8, 8}, {8, 2}}, {{9, 9}, {9, 9.5}, {9.5, 9}}});
    CHECK(holed.has({1, 1}) && !holed.has({5, 5}) && holed.has({2, 5}) && holed.has({8, 8}) && holed.has({8.5, 8.5}));
    CHECK(!holed.has({9.1, 9.1}) && holed.has({9.25, 9.25}) && holed.has({9.4, 9.4}) && !holed.has({12, 5}));
    // Holes are independent: a place in two holes is in a hole.
    const Polygon twice({square, {{2, 2}, {2, 8}, {8, 8}, {8, 2}}, {{4, 4}, {4, 6}, {6, 6}, {6, 4}}});
    CHECK(!twice.has({5, 5}) && !twice.has({3, 3}) && twice.has({4, 5}) && twice.has({1, 1}));

    // Two polygons with a common edge share only its places, even where the line between two doubles has none.
    const Polygon left({{{0, 0}, {0, 1}, {3, 1.1}}}), right({{{0, 1}, {0, 2}, {3, 1.1}}});
    Dice dice(6);
    for (int i = 0; i < 3000; ++i) {
        const double latitude = dice.in(0, 2.9), line = 1 + latitude * 0.1 / 3;
        const double longitude = i % 2 == 0 ? line : std::nextafter(line, i % 4 < 2 ? 0.0 : 2.0);
        CHECK(left.has({latitude, longitude}) || right.has({latitude, longitude}));
    }
    CHECK(Polygon({{{0, 0}, {0.3, 0.1}, {0, 1}}}).has({0.15, 0.05}));  // the middle of two doubles is on their line

    // A bow tie: even-odd rule. A star with five points: its middle is outside.
    CHECK(Polygon({{{0, 0}, {10, 10}, {10, 0}, {0, 10}}}).has({5, 5}));
    CHECK(Polygon({{{0, 0}, {10, 10}, {10, 0}, {0, 10}}}).has({2, 5}));
    CHECK(!Polygon({{{0, 0}, {10, 10}, {10, 0}, {0, 10}}}).has({5, 2}));
    const Polygon star({{{10, 0}, {-8, 6}, {3, -9.5}, {3, 9.5}, {-8, -6}}});
    CHECK(!star.has({0, 0}) && star.has({8, 0}) && star.has({3, 0}) && !star.has({6, 6}));
}

void odd_polygons() {
    const Polygon crossing({{{-10, 170}, {-10, -170}, {10, -170}, {10, 170}}});
    CHECK(crossing.has({0, 180}) && crossing.has({0, -180}) && crossing.has({0, 175}) && crossing.has({0, -175}));
    CHECK(crossing.has({10, 180}) && crossing.has({10, -180}) && crossing.has({0, 170}) && crossing.has({0, -170}));
    CHECK(!crossing.has({0, 0}) && !crossing.has({0, 169}) && !crossing.has({0, -169}) && !crossing.has({11, 180}));
    const Polygon touching({{{-10, 170}, {-10, 180}, {10, 180}, {10, 170}}});
    const Polygon beside({{{-10, -180}, {-10, -170}, {10, -175}}});
    CHECK(touching.has({0, 180}) && touching.has({0, -180}) && !touching.has({0, -179.9}) && !touching.has({11, -180}));
    CHECK(beside.has({-10, 180}) && beside.has({-10, -180}) && !beside.has({0, 180}) && !beside.has({-10, 179.9}));
    // 180 and -180 in one ring, and a hole across the antimeridian.
    const Polygon mixed(
        {{{-10, 170}, {-10, 180}, {-10, -180}, {-10, -170}, {10, -170}, {10, -180}, {10, 180}, {10, 170}},
         {{-1, 179}, {-1, -179}, {1, -179}, {1, 179}}});
    CHECK(mixed.has({5, 180}) && mixed.has({5, -180}) && !mixed.has({0, 180}) && !mixed.has({0, -180}));
    CHECK(mixed.has({1, 180}) && mixed.has({0, 179}) && mixed.has({0, -178}) && !mixed.has({0, -179.5}));
    // A ring that goes around more than once, there and back: a place in both windings is outside by the even-odd rule.
    const Polygon spiral(
        {{{0, 0}, {2, 100}, {4, -160}, {6, -60}, {8, 40}, {18, 40}, {16, -60}, {14, -160}, {12, 100}, {10, 0}}});
    CHECK(spiral.has({5, 50}) && spiral.has({10, -170}) && spiral.has({15, 20}) && spiral.has({3, 20}));
    CHECK(!spiral.has({9, 20}) && !spiral.has({15, 50}) && !spiral.has({3, -170}));

    // Doubles next to a line: products of such numbers are equal after rounding.
    const Polygon slope({{{0, 0}, {24, 24}, {12, 12}}});
    for (int up = 0; up < 32; ++up) {
        for (int right = 0; right < 32; ++right) {
            CHECK(slope.has({1.5 + up * 0x1p-52, 1.5 + right * 0x1p-52}) == (up == right));
        }
    }

    // All places on a line, or at one place: such a polygon has only its edges.
    const Polygon line({{{0, 0}, {5, 5}, {10, 10}}}), dot({{{7, 8}, {7, 8}, {7, 8}, {7, 8}}});
    CHECK(line.has({3, 3}) && !line.has({3, 3.0001}) && dot.has({7, 8}) && !dot.has({7, 8.0001}));
    const Polygon cap({{{80, 0}, {80, 120}, {90, 120}, {90, 0}}});
    CHECK(cap.has({85, 60}) && cap.has({90, 60}) && !cap.has({85, 121}));

    CHECK_THROWS(std::invalid_argument, Polygon({}));
    CHECK_THROWS(std::invalid_argument, Polygon({Ring{}}));
    CHECK_THROWS(std::invalid_argument, Polygon({{{0, 0}, {1, 1}}}));
    CHECK_THROWS(std::invalid_argument, Polygon({{{0, 0}, {1, 1}, {0, 0}}}));
    CHECK_THROWS(std::invalid_argument, Polygon({Ring(10'002, Place{1, 1})}));
    CHECK_THROWS(std::invalid_argument, Polygon({{{0, 0}, {1, 1}, {91, 0}}}));
    CHECK_THROWS(std::invalid_argument, Polygon({{{0, 0}, {1, 1}, {0, std::numeric_limits<double>::quiet_NaN()}}}));
    for (const double side : {80.0, -80.0}) {
        const auto error = CHECK_THROWS(std::invalid_argument, Polygon({{{side, 0}, {side, 120}, {side, -120}}}));
        CHECK(error.find("pole") != std::string::npos);
        CHECK_THROWS(std::invalid_argument, Polygon({{{side, 0}, {side, -120}, {side, 120}}}));
    }
}

/// Even-odd rule with a ray to the east, in long double, for a ring that does not touch the antimeridian.
bool odd_by_rows(const Ring& ring, Place at) {
    bool odd = false;
    for (std::size_t i = 0; i < ring.size(); ++i) {
        const Place a = ring[i], b = ring[(i + 1) % ring.size()];
        if ((a.latitude > at.latitude) == (b.latitude > at.latitude)) continue;
        const long double part = (static_cast<long double>(at.latitude) - a.latitude) / (b.latitude - a.latitude);
        odd ^= at.longitude < a.longitude + part * (b.longitude - a.longitude);
    }
    return odd;
}

void covers_of_polygons() {
    Dice dice(7);
    for (int i = 0; i < 150; ++i) {
        const Place middle = dice.place();
        const double size = std::pow(10, dice.in(-6, 1.4));
        const bool over = std::abs(middle.longitude) + size > 180;
        std::vector<Ring> rings(1 + dice.below(3));
        std::vector<Place> marks{middle};
        for (Ring& ring : rings) {
            ring.resize(3 + dice.below(i % 10 == 0 ? 300 : 12));
            for (Place& place : ring) place = dice.near(middle, size);
            marks.insert(marks.end(), ring.begin(), ring.end());
            marks.push_back({(ring[0].latitude + ring[1].latitude) / 2, (ring[0].longitude + ring[1].longitude) / 2});
        }
        const Polygon region(rings);
        for (int n = 0; n < 300 && !over; ++n) {
            const Place at = dice.near(middle, size);
            bool slow = odd_by_rows(rings[0], at);
            for (std::size_t r = 1; r < rings.size(); ++r) slow = slow && !odd_by_rows(rings[r], at);
            CHECK(region.has(at) == slow || std::abs(at.latitude) == 90);  // an edge may run along the pole
        }
        for (const Ring& ring : rings) {
            for (const Place& corner : ring) CHECK(region.has(corner));
        }
        check_cover(region, dice, marks, size * 1.5);
    }
    check_cover(Polygon({{{80, 0}, {80, 170}, {90, 170}, {90, 0}}}), dice, {{90, 5}, {90, -5}, {80, 0}, {85, 170}}, 5);
    check_cover(Polygon({{{-10, 170}, {-10, 180}, {10, 180}, {10, 170}}}), dice, {{0, 180}, {0, -180}, {10, -180}}, 5);
    check_cover(Polygon({{{-10, -180}, {-10, -170}, {10, -175}}}), dice, {{-10, 180}, {-10, -180}, {10, -175}}, 5);
    check_cover(Polygon({{{0, 0}, {5, 5}, {10, 10}}}), dice, {{0, 0}, {3, 3}, {10, 10}}, 1);
}

}  // namespace

void test_geo();
void test_geo() {
    curve();
    circles();
    covers_of_circles();
    covers_with_a_corner_on_the_border();
    boxes();
    polygons();
    odd_polygons();
    covers_of_polygons();
    covers_are_fine();
}
