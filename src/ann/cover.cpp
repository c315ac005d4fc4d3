// The Z-curve, and the intervals of it that a region covers.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "geo.hpp"

namespace ann {
namespace {

constexpr double radians = std::numbers::pi / 180;
constexpr std::uint64_t steps = std::uint64_t{1} << 32;

/// Return the step of a value on a line from -half to half that is cut into 2^32 steps. A larger value never has a
/// smaller step.
std::uint64_t step_of(double value, double half) {
    const double step = (value + half) / (2 * half) * static_cast<double>(steps);
    if (!(step > 0)) return 0;
    return step >= static_cast<double>(steps) ? steps - 1 : static_cast<std::uint64_t>(step);
}

/// Return the lower 32 bits, each followed by a 0.
std::uint64_t spread(std::uint64_t bits) {
    bits = (bits | bits << 16) & 0x0000ffff0000ffffULL;
    bits = (bits | bits << 8) & 0x00ff00ff00ff00ffULL;
    bits = (bits | bits << 4) & 0x0f0f0f0f0f0f0f0fULL;
    bits = (bits | bits << 2) & 0x3333333333333333ULL;
    return (bits | bits << 1) & 0x5555555555555555ULL;
}

enum class Sort : std::uint8_t { outside, border, inside };

/// A cell of the quad tree: the steps [x, x + size) and [y, y + size). Its bounds in degrees are exact. step_of() may
/// put a place into it that is up to 1e-13 degrees outside these bounds.
struct Square {
    std::uint64_t x, y, size;

    double west() const { return static_cast<double>(x) * 360 / static_cast<double>(steps) - 180; }
    double east() const { return static_cast<double>(x + size) * 360 / static_cast<double>(steps) - 180; }
    double south() const { return static_cast<double>(y) * 180 / static_cast<double>(steps) - 90; }
    double north() const { return static_cast<double>(y + size) * 180 / static_cast<double>(steps) - 90; }
    /// Return a quarter; their order is that of the curve: south-west, south-east, north-west, north-east.
    Square quarter(std::size_t i) const {
        return {x + ((i & 1) != 0 ? size / 2 : 0), y + ((i & 2) != 0 ? size / 2 : 0), size / 2};
    }
};

bool joins(const Stretch& a, const Stretch& b) { return a.inside == b.inside && a.last + 1 == b.first; }

/// Refine a quad tree over the curve level by level, so that the largest border cells are split first. A Region has a
/// Cell, whole() (the root's cell), quarters(square, cell, each), which calls each(i, sort, cell) in order, and
/// next_level().
template <typename Region>
std::vector<Stretch> cover_by(Region region, std::size_t most) {
    struct Border {
        Square square;
        typename Region::Cell cell;
    };
    // In `stretches` each border cell is a separate entry, in the order of `borders`.
    std::vector<Stretch> stretches{{0, std::numeric_limits<std::uint64_t>::max(), false}}, finer;
    std::vector<Border> borders{{{0, 0, steps}, region.whole()}}, finer_borders;
    bool full = false;
    for (int level = 0; level < 32 && !borders.empty() && !full; ++level) {
        std::size_t made = 0, behind = 0, border = 0;  // joined stretches: those in `finer`, and those not read yet
        for (std::size_t i = 0; i < stretches.size(); ++i) behind += i == 0 || !joins(stretches[i - 1], stretches[i]);
        finer.clear();
        finer_borders.clear();
        const auto add = [&](const Stretch& stretch) {
            const bool joined = !finer.empty() && joins(finer.back(), stretch);
            made += !joined;
            if (joined && stretch.inside) {
                finer.back().last = stretch.last;
            } else {
                finer.push_back(stretch);
            }
        };
        for (std::size_t i = 0; i < stretches.size(); ++i) {
            behind -= i == 0 || !joins(stretches[i - 1], stretches[i]);
            full = full || (!stretches[i].inside && made + behind >= std::max<std::size_t>(most, 1));
            if (stretches[i].inside || full) {
                add(stretches[i]);
                continue;
            }
            const Square square = borders[border].square;
            const std::uint64_t places = square.size / 2 * (square.size / 2);
            region.quarters(square, borders[border++].cell, [&](std::size_t q, Sort sort, const auto& cell) {
                if (sort == Sort::outside) return;
                const std::uint64_t first = stretches[i].first + q * places;
                add({first, first + (places - 1), sort == Sort::inside});
                if (sort == Sort::border) finer_borders.push_back({square.quarter(q), cell});
            });
        }
        region.next_level();
        stretches.swap(finer);
        borders.swap(finer_borders);
    }
    finer.clear();
    for (const Stretch& stretch : stretches) {
        if (!finer.empty() && joins(finer.back(), stretch)) {
            finer.back().last = stretch.last;
        } else {
            finer.push_back(stretch);
        }
    }
    return finer;
}

/// With h(d) = sin^2(d / 2), which rises with the distance d: h = h(north - south) + cos cos h(east - west). Unlike the
/// cosine it is exact to a few units of the last place for near places too.
class CircleRegion {
public:
    struct Angle {
        double sine, cosine;

        static Angle of(double degrees) { return {std::sin(degrees * radians), std::cos(degrees * radians)}; }
        Angle operator+(Angle other) const {
            return {sine * other.cosine + cosine * other.sine, cosine * other.cosine - sine * other.sine};
        }
    };
    struct Parallel {
        Angle latitude, half;  ///< `half` is half of the difference to the centre's latitude
    };
    struct Cell {
        Parallel south, north;
        Angle west, east;  ///< half of the difference to the centre's longitude
    };

    CircleRegion(Place centre, double chord)
        : centre_(centre), sine_(std::sin(centre.latitude * radians)), cosine_(std::cos(centre.latitude * radians)) {
        opposite_ = centre.longitude > 0 ? centre.longitude - 180 : centre.longitude + 180;
        // Margin of a chord: for rounding errors here (32 sums of angles) and in has(), and for places outside a cell's
        // bounds.
        constexpr double margin = 1e-13;
        if (chord > margin) inner_ = (chord - margin) * (chord - margin) / 4;
        outer_ = (chord + margin) * (chord + margin) / 4;
    }
    Cell whole() const {
        const auto parallel = [&](double latitude) {
            return Parallel{Angle::of(latitude), Angle::of((latitude - centre_.latitude) / 2)};
        };
        const auto meridian = [&](double longitude) { return Angle::of((longitude - centre_.longitude) / 2); };
        return {parallel(-90), parallel(90), meridian(-180), meridian(180)};
    }
    void next_level() {
        tall_ /= 2;
        up_ = {Angle::of(tall_), Angle::of(tall_ / 2)};
    }

    template <typename Each>
    void quarters(const Square& square, const Cell& cell, const Each& each) const {
        const double west = square.west(), middle = square.quarter(3).west(), east = square.east();
        const Parallel across{cell.south.latitude + up_.latitude, cell.south.half + up_.half};
        const Angle down = cell.west + up_.latitude;  // half of a step in longitude equals a step in latitude
        for (std::size_t i = 0; i < 4; ++i) {
            const bool is_north = (i & 2) != 0, is_east = (i & 1) != 0;
            const Cell quarter{is_north ? across : cell.south, is_north ? cell.north : across,
                               is_east ? down : cell.west, is_east ? cell.east : down};
            each(i, sort_of(quarter, is_east ? middle : west, is_east ? east : middle), quarter);
        }
    }

private:
    double at(const Parallel& parallel, double turned) const {
        return parallel.half.sine * parallel.half.sine + parallel.latitude.cosine * cosine_ * turned;
    }
    /// Return how the cosine of the distance changes with the latitude, along a meridian.
    double slope(const Parallel& parallel, double turned) const {
        return parallel.latitude.cosine * sine_ - parallel.latitude.sine * cosine_ * (1 - 2 * turned);
    }
    /// Return the height of the cosine of the distance along a meridian, where it is a sinusoid.
    double height(double turned) const {
        const double level = cosine_ * (1 - 2 * turned);
        return std::sqrt(sine_ * sine_ + level * level);
    }
    /// On each parallel the nearest place is on the nearest meridian, and the farthest on the farthest. Along these
    /// meridians the extreme is at an end, or where the slope changes its sign. If that is uncertain, the extreme of
    /// the whole meridian is also a bound.
    Sort sort_of(const Cell& cell, double west, double east) const {
        constexpr double doubt = 1e-12;
        const auto within = [&](double longitude) { return west - doubt <= longitude && longitude <= east + doubt; };
        const double from_west = cell.west.sine * cell.west.sine, from_east = cell.east.sine * cell.east.sine;
        const double nearest = within(centre_.longitude) ? 0 : std::min(from_west, from_east);
        double low = std::min(at(cell.south, nearest), at(cell.north, nearest));
        if (low > outer_) {
            if (slope(cell.south, nearest) < -doubt || slope(cell.north, nearest) > doubt) return Sort::outside;
            // (1 - height) / 2, without the loss of digits
            low = 2 * cosine_ * cosine_ * nearest * (1 - nearest) / (1 + height(nearest));
            if (low > outer_) return Sort::outside;
        }
        const double farthest = within(opposite_) ? 1 : std::max(from_west, from_east);
        double high = std::max(at(cell.south, farthest), at(cell.north, farthest));
        if (high > inner_) return Sort::border;
        if (slope(cell.south, farthest) <= doubt && slope(cell.north, farthest) >= -doubt) {
            high = (1 + height(farthest)) / 2;
        }
        return high <= inner_ ? Sort::inside : Sort::border;
    }

    Place centre_;
    double sine_, cosine_, opposite_ = 0, inner_ = -1, outer_ = 0;
    double tall_ = 90;  ///< half of a cell of this level, in degrees of latitude
    Parallel up_{Angle::of(tall_), Angle::of(tall_ / 2)};
};

/// The steps that may hold a part of the box, and the steps that hold only parts of the box.
class BoxRegion {
public:
    struct Cell {};

    explicit BoxRegion(const Box& box) : rows_(span_of(box.south, box.north, 90)) {
        if (box.west <= box.east) {
            add(box.west, box.east);
        } else {
            add(box.west, 180);
            add(-180, box.east);
        }
        if (box.has({box.south, 180})) {  // the antimeridian is at both ends of the map
            columns_[count_++] = {0, 0, 1, 0};
            columns_[count_++] = {steps - 1, steps - 1, 1, 0};
        }
    }
    Cell whole() const { return {}; }
    void next_level() {}

    template <typename Each>
    void quarters(const Square& square, Cell cell, const Each& each) const {
        for (std::size_t i = 0; i < 4; ++i) {
            const Square quarter = square.quarter(i);
            const Sort row = rows_.sort_of(quarter.y, quarter.size);
            Sort column = Sort::outside;
            for (std::size_t c = 0; c < count_; ++c) {
                column = std::max(column, columns_[c].sort_of(quarter.x, quarter.size));
            }
            each(i, std::min(row, column), cell);
        }
    }

private:
    struct Span {
        std::uint64_t first, last, first_inside, last_inside;

        Sort sort_of(std::uint64_t start, std::uint64_t size) const {
            const std::uint64_t end = start + size - 1;
            if (end < first || start > last) return Sort::outside;
            return start >= first_inside && end <= last_inside ? Sort::inside : Sort::border;
        }
    };
    /// step_of() never falls: steps strictly between those of the two ends hold only values between the ends.
    static Span span_of(double low, double high, double half) {
        const std::uint64_t first = step_of(low, half), last = step_of(high, half);
        const std::uint64_t last_inside = high >= half ? last : last - 1;
        const Span span{first, last, low <= -half ? first : first + 1, last_inside};
        return last == 0 && high < half ? Span{first, last, 1, 0} : span;
    }
    void add(double west, double east) { columns_[count_++] = span_of(west, east, 180); }

    Span rows_;
    std::array<Span, 4> columns_{};
    std::size_t count_ = 0;
};

/// A cell that no edge comes near is inside or outside as a whole, as its centre is.
class PolygonRegion {
public:
    struct Cell {
        std::size_t first, last;  ///< range in near_: the edges that come near this cell
    };

    explicit PolygonRegion(const Polygon& polygon) : polygon_(polygon), near_(polygon.edges().size()) {
        for (std::size_t i = 0; i < near_.size(); ++i) near_[i] = static_cast<std::uint32_t>(i);
    }
    Cell whole() const { return {0, near_.size()}; }
    void next_level() {
        near_.swap(finer_);
        finer_.clear();
    }

    template <typename Each>
    void quarters(const Square& square, Cell cell, const Each& each) {
        for (std::size_t i = 0; i < 4; ++i) {
            const Square quarter = square.quarter(i);
            const Place centre{(quarter.south() + quarter.north()) / 2, (quarter.west() + quarter.east()) / 2};
            const double tall = quarter.north() - centre.latitude + margin;
            const double wide = quarter.east() - centre.longitude + margin;
            const std::size_t first = finer_.size();
            for (std::size_t n = cell.first; n < cell.last; ++n) {
                if (comes_near(polygon_.edges()[near_[n]], centre, tall, wide)) finer_.push_back(near_[n]);
            }
            const Sort free = finer_.size() == first && polygon_.has(centre) ? Sort::inside : Sort::outside;
            each(i, finer_.size() == first ? free : Sort::border, Cell{first, finer_.size()});
        }
    }

private:
    static constexpr double margin = 1e-11;  // degrees: for rounding errors here, and places outside a cell's bounds

    static bool comes_near(const Polygon::Edge& edge, Place centre, double tall, double wide) {
        const auto [south, north] = std::minmax(edge.west.latitude, edge.east.latitude);
        const double west = centre.longitude - wide, east = centre.longitude + wide;
        if (edge.west.longitude > east || edge.east.longitude < west) return false;
        if (south > centre.latitude + tall || north < centre.latitude - tall) return false;
        const double x = edge.east.longitude - edge.west.longitude, y = edge.east.latitude - edge.west.latitude;
        const double turn = x * (centre.latitude - edge.west.latitude) - y * (centre.longitude - edge.west.longitude);
        return std::abs(turn) <= x * tall + std::abs(y) * wide;
    }

    const Polygon& polygon_;
    std::vector<std::uint32_t> near_, finer_;
};

}  // namespace

std::uint64_t curve_of(Place place) {
    return spread(step_of(place.longitude, 180)) | spread(step_of(place.latitude, 90)) << 1;
}

std::vector<Stretch> cover(const Circle& region, std::size_t most) {
    if (region.chord_ > 4) return {{0, std::numeric_limits<std::uint64_t>::max(), true}};
    return cover_by(CircleRegion(region.centre_, std::sqrt(region.chord_)), most);
}

std::vector<Stretch> cover(const Box& region, std::size_t most) {
    if (!(region.south <= region.north) || !(region.west <= region.east || region.west > region.east)) return {};
    return cover_by(BoxRegion(region), most);
}

std::vector<Stretch> cover(const Polygon& region, std::size_t most) { return cover_by(PolygonRegion(region), most); }

}  // namespace ann
