#include "filter.hpp"

#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

#include "columns.hpp"
#include "names.hpp"

namespace ann {

namespace {

constexpr std::size_t deepest = 64;

enum class Code : std::uint8_t {
    all = 0,
    any = 1,
    inverse = 2,
    at_least = 3,
    among = 4,
    beyond = 5,
    range = 6,
    circle = 7,
    box = 8,
    polygon = 9,
    has_id = 10,
    missing = 11,
};

[[noreturn]] void refuse(const std::string& why) { throw std::invalid_argument("filter: " + why); }

class Reader {
public:
    Reader(std::span<const std::byte> bytes, const Schema& schema) : bytes_(bytes), schema_(schema) {}

    std::size_t left() const { return bytes_.size() - at_; }

    Filter filter(std::size_t depth) {
        if (depth > deepest) refuse("nested more than 64 deep");
        const auto code = read<std::uint8_t>("a condition");
        switch (static_cast<Code>(code)) {
            case Code::all: {
                Filter::Joined all{0, several(depth)};
                all.least = all.each.size();
                return {std::move(all)};
            }
            case Code::any: return {Filter::Joined{1, several(depth)}};
            case Code::inverse: {
                Filter::Not inverse;
                inverse.one.push_back(filter(depth + 1));
                return {std::move(inverse)};
            }
            case Code::at_least: {
                const auto least = read<std::uint32_t>("how many conditions have to hold");
                return {Filter::Joined{least, several(depth)}};
            }
            case Code::among: return {among(false)};
            case Code::beyond: return {among(true)};
            case Code::range: return {range()};
            case Code::circle: return {circle()};
            case Code::box: return {box()};
            case Code::polygon: return {polygon()};
            case Code::has_id: return {has_id()};
            case Code::missing: return {Filter::Missing{field()}};
        }
        refuse("no condition has the number " + std::to_string(code));
    }

private:
    std::span<const std::byte> take(std::size_t count, const char* what) {
        if (count > left()) refuse(std::string("the bytes end in ") + what);
        const auto taken = bytes_.subspan(at_, count);
        at_ += count;
        return taken;
    }

    template <typename T>
    T read(const char* what) {
        T value;
        std::memcpy(&value, take(sizeof value, what).data(), sizeof value);
        return value;
    }

    /// Read a number of items, and check that enough bytes are left: each item has at least `size` bytes.
    std::size_t count(std::size_t size, const char* what) {
        const auto number = read<std::uint32_t>(what);
        if (number > left() / size) refuse(std::string("the bytes end in ") + what);
        return number;
    }

    std::uint32_t field() {
        const auto number = read<std::uint32_t>("a field");
        if (number >= schema_.size()) refuse("there is no field " + std::to_string(number));
        return number;
    }

    [[noreturn]] void misfit(std::uint32_t field, const char* what) const {
        refuse("field \"" + schema_[field].name + "\" has no " + what);
    }

    std::vector<Filter> several(std::size_t depth) {
        const std::size_t number = count(5, "conditions");  // the shortest filter has 5 bytes
        std::vector<Filter> each;  // grows while reading: a reserve at every depth would multiply a false number
        for (std::size_t i = 0; i < number; ++i) each.push_back(filter(depth + 1));
        return each;
    }

    Filter::Among among(bool beyond) {
        Filter::Among among{field(), beyond, {}, {}};
        const Kind kind = schema_[among.field].kind;
        if (is_text(kind)) {
            const std::size_t number = count(4, "values");
            among.texts.reserve(number);
            for (std::size_t i = 0; i < number; ++i) {
                const auto text = take(read<std::uint32_t>("values"), "values");
                among.texts.emplace_back(reinterpret_cast<const char*>(text.data()), text.size());
                if (!letters_of(among.texts.back())) refuse("a value is not UTF-8");
            }
        } else if (is_whole(kind)) {
            const std::size_t number = count(8, "values");
            among.wholes.reserve(number);
            for (std::size_t i = 0; i < number; ++i) among.wholes.push_back(read<std::int64_t>("values"));
        } else {
            misfit(among.field, "values to list");
        }
        return among;
    }

    Filter::Range range() {
        const std::uint32_t number = field();
        const Kind kind = schema_[number].kind;
        if (kind == Kind::integer || kind == Kind::datetime) {
            const auto low = read<std::int64_t>("a range"), high = read<std::int64_t>("a range");
            return {number, key_of(low), key_of(high)};
        }
        if (kind != Kind::real) misfit(number, "ranges");
        const auto low = read<double>("a range"), high = read<double>("a range");
        if (std::isnan(low) || std::isnan(high)) refuse("an end of a range is NaN");
        return {number, key_of(low), key_of(high)};
    }

    std::uint32_t geo_field() {
        const std::uint32_t number = field();
        if (schema_[number].kind != Kind::geo) misfit(number, "places");
        return number;
    }

    double degrees(double most) {
        const auto value = read<double>("a region");
        if (!(value >= -most && value <= most)) refuse("a latitude or longitude is out of range");
        return value;
    }

    Place place() {
        const double latitude = degrees(90);
        return {latitude, degrees(180)};
    }

    Filter::Region circle() {
        const std::uint32_t number = geo_field();
        const Place centre = place();
        const auto metres = read<double>("a region");
        if (!(metres >= 0) || std::isinf(metres)) refuse("a radius is below 0 or not finite");
        return {number, Circle(centre, metres)};
    }

    Filter::Region box() {
        const std::uint32_t number = geo_field();
        const Place low = place(), high = place();
        if (low.latitude > high.latitude) refuse("a box has its south above its north");
        return {number, Box{low.latitude, low.longitude, high.latitude, high.longitude}};
    }

    Filter::Region polygon() {
        const std::uint32_t number = geo_field();
        const std::size_t several = count(4, "rings");
        std::vector<std::vector<Place>> rings;
        for (std::size_t i = 0; i < several; ++i) {
            const std::size_t places = count(16, "places");
            std::vector<Place>& ring = rings.emplace_back();
            ring.reserve(places);
            for (std::size_t j = 0; j < places; ++j) ring.push_back(place());
        }
        if (rings.empty()) refuse("a polygon has no ring");
        try {
            return {number, Polygon(std::move(rings))};
        } catch (const std::invalid_argument& error) {
            refuse(error.what());
        }
    }

    Filter::HasId has_id() {
        const auto bytes = take(read<std::uint32_t>("ids"), "ids");
        IdBatch ids;
        try {
            ids = IdBatch::decode(bytes);
        } catch (const std::invalid_argument& error) {
            refuse(error.what());
        }
        if (ids.kind == IdKind::rows && ids.count > 0) refuse("row numbers have to be given as integers");
        return {ids};
    }

    std::span<const std::byte> bytes_;
    const Schema& schema_;
    std::size_t at_ = 0;
};

}  // namespace

Filter Filter::decode(std::span<const std::byte> bytes, const Schema& schema) {
    Reader reader(bytes, schema);
    Filter filter = reader.filter(1);
    if (reader.left() != 0) refuse("there are bytes behind its end");
    return filter;
}

}  // namespace ann
