// The fields of an index: the values that a vector can have besides its numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace ann {

/// tag: any number of keywords. id: one keyword, with up to as many different keywords as rows. datetime: microseconds
/// since 1970, UTC. geo: degrees of latitude and longitude. Every value may be missing.
enum class Kind : std::uint8_t { tag = 0, boolean = 1, integer = 2, real = 3, datetime = 4, geo = 5, id = 6 };

inline constexpr std::size_t kinds = 7;
inline constexpr std::size_t most_fields = 256;

/// Return whether values are texts, which are numbered by a dictionary.
inline bool is_text(Kind kind) { return kind == Kind::tag || kind == Kind::id; }
/// Return whether values are 64-bit integers: boolean (0 or 1), integer, datetime.
inline bool is_whole(Kind kind) { return kind == Kind::boolean || kind == Kind::integer || kind == Kind::datetime; }

struct Field {
    std::string name;
    Kind kind;
    bool operator==(const Field&) const = default;
};

using Schema = std::vector<Field>;

}  // namespace ann
