// Vectors as small integers: move the mean to the origin, rotate at random, and round every component with the same
// step.
//
// The rotation spreads each vector's energy evenly over all components, so that one step for all of them is near the
// best choice, and outlying components disappear. Because the step is the same for all components, squared distances of
// codes are squared distances of vectors, up to one factor.
//
// Codes must be the same bytes on every processor: everything is added in a fixed order, and the files that use this
// header are compiled with -ffp-contract=off.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "kernels.hpp"
#include "random.hpp"

namespace ann {

/// A random rotation for any dimension: random signs, then fast Hadamard transforms of the first and of the last 2^m
/// components, twice (the Fht-Kac rotation of RaBitQ-Library).
class Rotation {
public:
    Rotation() = default;
    Rotation(std::size_t dim, std::uint64_t seed) : dim_(dim), signs_(dim * rounds) {
        while (block_ * 2 <= dim) block_ *= 2;
        for (std::size_t i = 0; i < signs_.size(); ++i) signs_[i] = (random_bits(seed, i) >> 63) != 0 ? -1.0f : 1.0f;
    }

    void apply(float* x) const {
        for (std::size_t round = 0; round < rounds; ++round) {
            const float* sign = signs_.data() + round * dim_;
            for (std::size_t i = 0; i < dim_; ++i) x[i] *= sign[i];
            hadamard(round % 2 == 0 ? x : x + (dim_ - block_));
        }
    }

private:
    static constexpr std::size_t rounds = 4;

    void hadamard(float* x) const {
        for (std::size_t half = 1; half < block_; half *= 2) {
            for (std::size_t start = 0; start < block_; start += 2 * half) {
                for (std::size_t i = start; i < start + half; ++i) {
                    const float sum = x[i] + x[i + half];
                    x[i + half] = x[i] - x[i + half];
                    x[i] = sum;
                }
            }
        }
        const float scale = 1.0f / std::sqrt(static_cast<float>(block_));
        for (std::size_t i = 0; i < block_; ++i) x[i] *= scale;
    }

    std::size_t dim_ = 0;
    std::size_t block_ = 1;
    std::vector<float> signs_;
};

/// The parameters of a quantizer that are saved beside its mean.
struct Scale {
    Bits bits = Bits::four;
    float range = 1.0f;   ///< after the rotation, components beyond this are cut off
    float radius = 0.0f;  ///< only for inner products: the length up to which all vectors are filled
};

/// Turns vectors float32[dim] into codes, with one scale for all components of the rotated vectors.
///
/// For inner products vectors get one more component, which fills all of them up to the same length; the query has 0
/// there. Then the nearest vectors are those with the largest product (Bachrach et al., RecSys 2014).
class Quantizer {
public:
    Quantizer() = default;
    Quantizer(std::size_t dim, std::uint64_t seed, std::vector<float> mean, Scale scale)
        : dim_(dim), mean_(std::move(mean)), scale_(scale), rotation_(mean_.size(), seed) {
        const float half = scale.bits == Bits::four ? 128.0f : scale.bits == Bits::eight ? 127.5f : 32767.0f;
        factor_ = half / scale.range;
    }

    /// Train on `count` > 0 rows float32[dim]. `product`: the metric is the inner product.
    static Quantizer train(const float* rows, std::size_t count, std::size_t dim, bool product, Bits bits,
                           std::uint64_t seed) {
        Scale scale{bits, 1.0f, 0.0f};
        if (product) {
            for (std::size_t row = 0; row < count; ++row)
                scale.radius = std::max(scale.radius, length(rows + row * dim, dim));
            if (!(scale.radius > 0.0f)) scale.radius = 1.0f;
        }
        const std::size_t width = dim + (product ? 1 : 0);
        Quantizer made(dim, seed, std::vector<float>(width, 0.0f), scale);
        std::vector<float> sizes(count * width);
        std::vector<double> sum(width, 0.0);
        for (std::size_t row = 0; row < count; ++row) {
            made.lift(rows + row * dim, sizes.data() + row * width);
            for (std::size_t i = 0; i < width; ++i) sum[i] += static_cast<double>(sizes[row * width + i]);
        }
        for (std::size_t i = 0; i < width; ++i) made.mean_[i] = static_cast<float>(sum[i] / static_cast<double>(count));
        for (std::size_t row = 0; row < count; ++row) {
            float* rotated = sizes.data() + row * width;
            made.turn(rotated);
            for (std::size_t i = 0; i < width; ++i) rotated[i] = std::fabs(rotated[i]);
        }
        // With fewer steps a narrower range is better: for a bell curve these shares give nearly the least mean error.
        const double share = bits == Bits::four ? 0.993 : bits == Bits::eight ? 0.999 : 1.0;
        const auto place = static_cast<std::ptrdiff_t>(share * static_cast<double>(sizes.size() - 1));
        std::nth_element(sizes.begin(), sizes.begin() + place, sizes.end());
        scale.range = sizes[static_cast<std::size_t>(place)] * (bits == Bits::sixteen ? 1.25f : 1.0f);
        if (!(scale.range > 0.0f) || !std::isfinite(127.5f / scale.range)) scale.range = 1.0f;
        return {dim, seed, std::move(made.mean_), scale};
    }

    /// Write the code of float32[dim]; `scratch` has room for float32[width()]. Returns how many components were cut
    /// off.
    std::size_t encode(const float* x, std::uint8_t* code, float* scratch) const {
        lift(x, scratch);
        turn(scratch);
        std::memset(code, 0, bytes());
        const std::size_t half = padded() / 2;
        std::size_t cut = 0;
        for (std::size_t i = 0; i < mean_.size(); ++i) {
            if (scale_.bits == Bits::sixteen) {
                const float place = std::nearbyint(scratch[i] * factor_);
                cut += std::fabs(place) > 32767.0f;
                const auto value = static_cast<std::int16_t>(std::clamp(place, -32767.0f, 32767.0f));
                std::memcpy(code + 2 * i, &value, sizeof value);
                continue;
            }
            const float place = (scratch[i] + scale_.range) * factor_;
            cut += place < 0.0f || place > 255.5f;
            if (scale_.bits == Bits::eight) {
                code[i] = static_cast<std::uint8_t>(std::clamp(std::nearbyint(place), 0.0f, 255.0f));
            } else {
                const int value = static_cast<int>(std::clamp(place, 0.0f, 255.0f)) / 16;
                code[i % half] = static_cast<std::uint8_t>(code[i % half] | (i < half ? value : value * 16));
            }
        }
        return cut;
    }

    /// Write the query int16[padded()] of float32[dim]. It is rounded, but not cut off at the range of the codes.
    /// Returns false if the query is too far away for the kernels' integers.
    bool encode_query(const float* x, std::int16_t* query, float* scratch) const {
        lift_query(x, scratch);
        turn(scratch);
        double farthest = 255.0 * 255.0 * static_cast<double>(padded() - mean_.size());
        bool near = true;
        for (std::size_t i = 0; i < mean_.size(); ++i) {
            // A 4-bit value stands for the middle of sixteen steps, but the kernels compare with the first of them.
            const float shift = scale_.bits == Bits::sixteen ? 0.0f : scale_.range;
            const float place =
                std::nearbyint((scratch[i] + shift) * factor_ - (scale_.bits == Bits::four ? 8.0f : 0.0f));
            const float limit = scale_.bits == Bits::sixteen ? 32767.0f : 8192.0f;
            const bool fits = std::fabs(place) <= limit;  // false for NaN, too
            near = near && fits;
            query[i] = static_cast<std::int16_t>(fits ? place : 0.0f);
            const double reach = std::max(std::fabs(static_cast<double>(query[i])), std::fabs(query[i] - 255.0));
            farthest += reach * reach;
        }
        std::fill(query + mean_.size(), query + padded(), std::int16_t{0});
        return near && (scale_.bits == Bits::sixteen || farthest < 0x1p31);
    }

    /// Write a code as a query int16[padded()].
    void spread(const std::uint8_t* code, std::int16_t* query) const {
        const std::size_t half = padded() / 2;
        if (scale_.bits == Bits::sixteen) {
            std::memcpy(query, code, bytes());
        } else if (scale_.bits == Bits::eight) {
            for (std::size_t i = 0; i < padded(); ++i) query[i] = code[i];
        } else {
            for (std::size_t i = 0; i < half; ++i) query[i] = static_cast<std::int16_t>((code[i] & 15) * 16);
            for (std::size_t i = 0; i < half; ++i) query[half + i] = static_cast<std::int16_t>(code[i] & 0xf0);
        }
    }

    std::size_t width() const { return mean_.size(); }
    /// The number of components of a query, and the number of bytes of a code.
    std::size_t padded() const { return (mean_.size() + code_padding - 1) / code_padding * code_padding; }
    std::size_t bytes() const { return padded() * static_cast<std::size_t>(scale_.bits) / 8; }
    const std::vector<float>& mean() const { return mean_; }
    const Scale& scale() const { return scale_; }

    /// Return the Euclidean length, which is the same on every processor.
    static float length(const float* x, std::size_t dim) {
        double sum = 0.0;
        for (std::size_t i = 0; i < dim; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
        return static_cast<float>(std::sqrt(sum));
    }

private:
    void lift(const float* x, float* out) const {
        std::memcpy(out, x, dim_ * sizeof(float));
        if (mean_.size() == dim_) return;
        const double size = static_cast<double>(length(x, dim_));
        const double radius = static_cast<double>(scale_.radius);
        out[dim_] = static_cast<float>(std::sqrt(std::max(radius * radius - size * size, 0.0)));
    }

    void lift_query(const float* x, float* out) const {
        std::memcpy(out, x, dim_ * sizeof(float));
        if (mean_.size() == dim_) return;
        // The order of products does not depend on the query's length; with this length it lies among the vectors.
        const float size = length(x, dim_);
        const float factor = size > 0.0f ? scale_.radius / size : 0.0f;
        for (std::size_t i = 0; i < dim_; ++i) out[i] *= factor;
        out[dim_] = 0.0f;
    }

    void turn(float* x) const {
        for (std::size_t i = 0; i < mean_.size(); ++i) x[i] -= mean_[i];
        rotation_.apply(x);
    }

    std::size_t dim_ = 0;
    std::vector<float> mean_;
    Scale scale_;
    Rotation rotation_;
    float factor_ = 1.0f;
};

}  // namespace ann
