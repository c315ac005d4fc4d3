#include "kernels.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <vector>

#include "check.hpp"
#include "random.hpp"

namespace {

float half_value(std::uint16_t half) {
    const int exponent = (half >> 10) & 31;
    const int fraction = half & 1023;
    const float size = exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                                     : std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
    return (half & 0x8000) != 0 ? -size : size;
}

/// Return the distance of a row of codes by definition, in the form in which kernels return it.
std::int32_t distance(ann::Bits bits, const std::int16_t* query, const std::uint8_t* row, std::size_t width) {
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < width; ++i) {
        std::int64_t value = 0;
        if (bits == ann::Bits::four) value = i < width / 2 ? (row[i] & 15) * 16 : row[i - width / 2] / 16 * 16;
        if (bits == ann::Bits::eight) value = row[i];
        if (bits == ann::Bits::sixteen) value = static_cast<std::int16_t>(row[2 * i] | row[2 * i + 1] << 8);
        sum += (query[i] - value) * (query[i] - value);
    }
    if (bits == ann::Bits::sixteen) return std::bit_cast<std::int32_t>(static_cast<float>(sum));
    CHECK(sum < std::int64_t{1} << 31);
    return static_cast<std::int32_t>(sum);
}

/// Every set of kernels gives the same integers, and those of the definition.
void test_codes(ann::Bits bits, std::size_t width, std::uint64_t seed) {
    constexpr std::size_t stored = 23, asked = 31;  // more rows than are prefetched, some of them twice
    const bool extreme = seed % 3 == 0, wide = bits == ann::Bits::sixteen;
    const std::size_t bytes = width * static_cast<std::size_t>(bits) / 8;
    std::vector<std::int16_t> query(width);
    std::vector<std::uint8_t> codes(stored * bytes);
    for (std::size_t i = 0; i < width; ++i) {
        const int value = static_cast<int>(ann::random_below(seed, i, wide ? 65536 : 1200)) - (wide ? 32768 : 500);
        query[i] = static_cast<std::int16_t>(!extreme ? value : wide ? 32767 : i % 2 == 0 ? 1100 : -845);
    }
    for (std::size_t i = 0; i < codes.size(); ++i) {
        codes[i] = static_cast<std::uint8_t>(extreme ? (i % 2 == 0 ? 0 : 128) : ann::random_below(seed + 1, i, 256));
    }
    std::vector<std::uint32_t> rows(asked);
    std::uint64_t place = codes.size();
    for (std::uint32_t& row : rows) row = static_cast<std::uint32_t>(ann::random_below(seed + 1, ++place, stored));
    for (const ann::Kernels* set : ann::kernel_sets()) {
        for (const std::size_t count : {asked, std::size_t{1}, std::size_t{0}}) {
            std::vector<std::int32_t> found(asked, -1);
            set->score(bits)(query.data(), codes.data(), width, rows.data(), count, found.data());
            for (std::size_t i = 0; i < asked; ++i) {
                const std::uint8_t* row = codes.data() + rows[i] * bytes;
                CHECK(found[i] == (i < count ? distance(bits, query.data(), row, width) : -1));
            }
        }
    }
}

/// The sorted beam of every kernel set compared with sorting.
void test_beam(std::uint64_t seed) {
    const std::size_t capacity = 1 + ann::random_below(seed, 0, 70);
    const std::uint32_t farthest = seed % 2 == 0 ? 20 : 1u << 31;  // many equal distances, or none
    const ann::Key bound = seed % 3 == 0 ? static_cast<ann::Key>(farthest / 2) << 32 | 300 : ~ann::Key{0};
    for (const ann::Kernels* set : ann::kernel_sets()) {
        std::vector<ann::Key> keys(capacity + 8), wanted;
        std::size_t size = 0;
        for (std::uint32_t round = 0; round < 12; ++round) {
            const std::size_t count = ann::random_below(seed, 1000 + round, 40);
            std::vector<std::uint32_t> rows(count);
            std::vector<std::int32_t> distances(count);
            for (std::size_t i = 0; i < count; ++i) {
                rows[i] = round * 40 + static_cast<std::uint32_t>(i);
                distances[i] = static_cast<std::int32_t>(ann::random_below(seed, 2000 + rows[i], farthest));
                const ann::Key key = static_cast<ann::Key>(distances[i]) << 32 | rows[i] << 1;
                if (key < bound) wanted.push_back(key);
            }
            std::size_t first = capacity;
            const std::vector<ann::Key> before(keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(size));
            size = set->insert(keys.data(), size, capacity, bound, rows.data(), distances.data(), count, &first);
            std::sort(wanted.begin(), wanted.end());
            if (wanted.size() > capacity) wanted.resize(capacity);
            CHECK(size == wanted.size());
            CHECK(std::equal(wanted.begin(), wanted.end(), keys.begin()));
            CHECK(first <= capacity);
            for (std::size_t i = 0; i < std::min(first, before.size()); ++i) CHECK(keys[i] == before[i]);
            if (first < before.size()) CHECK(keys[first] != before[first]);
        }
    }
}

void test_unseen(std::uint64_t seed) {
    const std::size_t count = ann::random_below(seed, 0, 65);
    std::vector<std::uint64_t> before(4);
    for (std::size_t i = 0; i < before.size(); ++i) before[i] = ann::random_bits(seed, i + 1);
    const std::vector<std::uint32_t> rows = ann::random_order(seed, 0, 256);
    for (const ann::Kernels* set : ann::kernel_sets()) {
        std::vector<std::uint64_t> seen = before, marked = before;
        std::vector<std::uint32_t> out(count + 15), wanted;
        for (std::size_t i = 0; i < count; ++i) {
            const std::uint64_t bit = std::uint64_t{1} << (rows[i] % 64);
            if ((before[rows[i] / 64] & bit) == 0) wanted.push_back(rows[i]);
            marked[rows[i] / 64] |= bit;
        }
        CHECK(set->unseen(rows.data(), count, seen.data(), out.data()) == wanted.size());
        CHECK(std::equal(wanted.begin(), wanted.end(), out.begin()));
        CHECK(seen == marked);
    }
}

/// Every kernel set counts the same set bits as a loop: few words and whole blocks, from any address.
void test_count(std::uint64_t seed) {
    const std::size_t words = ann::random_below(seed, 0, seed % 4 == 0 ? 600 : 40), skipped = seed % 3;
    std::vector<std::uint64_t> bits(words + skipped);
    std::size_t wanted = 0;
    for (std::size_t i = 0; i < bits.size(); ++i) {
        const std::uint64_t kind = ann::random_below(seed + 1, i, 4);
        bits[i] = kind == 0 ? 0 : kind == 1 ? ~std::uint64_t{0} : ann::random_bits(seed + 2, i);
        for (std::uint64_t word = i < skipped ? 0 : bits[i]; word != 0; word >>= 1) wanted += word & 1;
    }
    for (const ann::Kernels* set : ann::kernel_sets()) CHECK(set->count(bits.data() + skipped, words) == wanted);
}

void test_floats(std::size_t dim) {
    std::vector<float> a(dim), b(dim), widened(dim);
    std::vector<std::uint16_t> half(dim);
    const auto number = [&](std::size_t place) {
        return static_cast<float>(static_cast<double>(ann::random_below(dim, place, 20001)) / 10000.0 - 1.0);
    };
    double squared = 0, dot = 0, size = 0, squared_half = 0, dot_half = 0;
    for (std::size_t i = 0; i < dim; ++i) {
        a[i] = number(3 * i);
        b[i] = number(3 * i + 1);
        half[i] = static_cast<std::uint16_t>((ann::random_below(dim, 3 * i + 2, 15360)) | (i % 2 == 0 ? 0x8000u : 0u));
        widened[i] = half_value(half[i]);
        const double x = static_cast<double>(a[i]), y = static_cast<double>(b[i]), z = static_cast<double>(widened[i]);
        squared += (x - y) * (x - y);
        dot += x * y;
        squared_half += (x - z) * (x - z);
        dot_half += x * z;
        size += std::fabs(x * y) + (x - y) * (x - y) + std::fabs(x * z) + (x - z) * (x - z);
    }
    const auto near = [&](float got, double wanted) {
        return std::fabs(static_cast<double>(got) - wanted) <= 1e-5 * size;
    };
    for (const ann::Kernels* set : ann::kernel_sets()) {
        CHECK(near(set->squared(a.data(), b.data(), dim), squared));
        CHECK(near(set->dot(a.data(), b.data(), dim), dot));
        CHECK(near(set->squared_half(a.data(), half.data(), dim), squared_half));
        CHECK(near(set->dot_half(a.data(), half.data(), dim), dot_half));
        // Every set gives the same bits, so that answers and scores are equal on every processor.
        const ann::Kernels& plain = *ann::kernel_sets().front();
        CHECK(set->squared(a.data(), b.data(), dim) == plain.squared(a.data(), b.data(), dim));
        CHECK(set->dot(a.data(), b.data(), dim) == plain.dot(a.data(), b.data(), dim));
        CHECK(set->squared_half(a.data(), half.data(), dim) == plain.squared_half(a.data(), half.data(), dim));
        CHECK(set->dot_half(a.data(), half.data(), dim) == plain.dot_half(a.data(), half.data(), dim));
    }
}

}  // namespace

void test_kernels() {
    CHECK(std::string(ann::kernel_sets().front()->name) == "baseline");
    for (std::size_t width = ann::code_padding; width <= 1536; width += ann::code_padding) {
        for (const ann::Bits bits : {ann::Bits::four, ann::Bits::eight, ann::Bits::sixteen}) {
            for (std::uint64_t seed = 0; seed < 3; ++seed) test_codes(bits, width, seed);
        }
    }
    for (std::uint64_t seed = 0; seed < 200; ++seed) {
        test_beam(seed);
        test_unseen(seed);
        test_count(seed);
    }
    for (std::size_t dim = 1; dim <= 1536; ++dim) test_floats(dim);

    // Every finite half is converted to its exact value, alone and in a full block of lanes.
    for (const ann::Kernels* set : ann::kernel_sets()) {
        for (std::uint32_t half = 0; half < 65536; ++half) {
            if (((half >> 10) & 31) == 31) continue;
            const auto stored = static_cast<std::uint16_t>(half);
            std::vector<float> ones(16, 0.0f);
            std::vector<std::uint16_t> row(16, 0);
            ones[half % 16] = 1.0f;
            row[half % 16] = stored;
            CHECK(set->dot_half(ones.data(), row.data(), 16) == half_value(stored));
            CHECK(set->dot_half(ones.data() + half % 16, &stored, 1) == half_value(stored));
        }
    }

    check::set_variable("MEDALIST_KERNELS", "baseline");
    CHECK(std::string(ann::chosen_kernels().name) == "baseline");
    check::set_variable("MEDALIST_KERNELS", "sse9");
    CHECK_THROWS(std::invalid_argument, ann::chosen_kernels());
    check::set_variable("MEDALIST_KERNELS", nullptr);
    CHECK(&ann::chosen_kernels() == ann::kernel_sets().back());
}
