// The full vectors, as float32 or float16, and how near they are to a query.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <span>
#include <stdexcept>
#include <utility>

#include "array.hpp"
#include "half.hpp"
#include "kernels.hpp"

namespace ann {

enum class Metric : std::uint32_t { l2 = 0, inner_product = 1, cosine = 2 };
enum class Refine : std::uint32_t { float32 = 0, float16 = 1 };

/// Return an array of `size` values whose first `kept` are those of `array`; the same array if it has room.
template <typename T>
std::shared_ptr<Array<T>> grown(const std::shared_ptr<Array<T>>& array, std::size_t kept, std::size_t size) {
    if (array->has_room(size)) {
        array->resize(size);
        return array;
    }
    auto fresh = std::make_shared<Array<T>>();
    fresh->reserve(kept == 0 ? size : size + size / 4);
    fresh->resize(size);
    if (kept != 0) std::memcpy(fresh->data(), array->data(), kept * sizeof(T));
    return fresh;
}

/// Rows float[dim]. Under cosine they have length 1. Copies share memory.
class Vectors {
public:
    Vectors(std::size_t dim, Metric metric, Refine refine, const Kernels& kernels)
        : dim_(dim),
          metric_(metric),
          refine_(refine),
          kernels_(&kernels),
          single_(std::make_shared<Array<float>>()),
          half_(std::make_shared<Array<std::uint16_t>>()) {}

    /// Return how near a row is, larger = nearer: minus the squared distance, or the inner product; -infinity for NaN.
    float closeness(const float* query, std::size_t row) const {
        const float value = metric_ == Metric::l2 ? -squared(query, row) : dot(query, row);
        return value == value ? value : -std::numeric_limits<float>::infinity();
    }

    /// Return the score that the caller sees: minus the distance, or the product.
    float score(float closeness) const { return metric_ == Metric::l2 ? -std::sqrt(-closeness) : closeness; }

    /// Prefetch a row's memory.
    void ask(std::size_t row) const {
        const char* first = at(row);
        const std::size_t bytes = row_bytes();
        __builtin_prefetch(first);
        if (bytes > 64) __builtin_prefetch(first + 64);
        if (bytes > 128) __builtin_prefetch(first + 128);
        if (bytes > 192) __builtin_prefetch(first + 192);
        if (bytes > 256) __builtin_prefetch(first + 256);
        if (bytes > 320) __builtin_prefetch(first + 320);
        if (bytes > 384) __builtin_prefetch(first + 384);
        if (bytes > 448) __builtin_prefetch(first + 448);
    }

    /// Return the vectors with float32[count, dim] added behind the first `size` rows. If there is room, the memory is
    /// shared with this object, whose rows do not change. Throws std::invalid_argument if float16 cannot hold a number.
    Vectors with(const float* rows, std::size_t count, std::size_t size) const {
        Vectors more = *this;
        if (refine_ == Refine::float32) {
            more.single_ = grown(single_, size * dim_, (size + count) * dim_);
            if (count != 0) std::memcpy(more.single_->data() + size * dim_, rows, count * dim_ * sizeof(float));
            return more;
        }
        more.half_ = grown(half_, size * dim_, (size + count) * dim_);
        for (std::size_t i = 0; i < count * dim_; ++i) {
            const std::uint16_t value = to_half(rows[i]);
            if ((value & 0x7c00) == 0x7c00) {
                throw std::invalid_argument("a number is too large for float16; use refine=\"float32\"");
            }
            more.half_->data()[size * dim_ + i] = value;
        }
        return more;
    }

    /// Return these rows, in this order, in their own memory.
    Vectors taken(std::span<const std::uint32_t> rows) const {
        Vectors fresh(dim_, metric_, refine_, *kernels_);
        const auto copy = [&](const auto& from, auto& to) {
            to->resize(rows.size() * dim_);
            for (std::size_t i = 0; i < rows.size(); ++i) {
                std::memcpy(to->data() + i * dim_, from->data() + rows[i] * dim_, row_bytes());
            }
        };
        if (refine_ == Refine::float32) copy(single_, fresh.single_);
        if (refine_ == Refine::float16) copy(half_, fresh.half_);
        return fresh;
    }

    /// Use rows in a file: `bytes` is aligned and has a whole number of rows.
    void view(std::span<const std::byte> bytes, std::shared_ptr<const void> owner, bool copied) {
        if (refine_ == Refine::float32) take(single_, bytes, std::move(owner), copied);
        if (refine_ == Refine::float16) take(half_, bytes, std::move(owner), copied);
    }

    void read(std::size_t row, float* out) const {
        if (refine_ == Refine::float32) {
            std::memcpy(out, single_->data() + row * dim_, dim_ * sizeof(float));
            return;
        }
        for (std::size_t i = 0; i < dim_; ++i) out[i] = from_half(half_->data()[row * dim_ + i]);
    }

    std::size_t dim() const { return dim_; }
    Metric metric() const { return metric_; }
    std::size_t row_bytes() const {
        return dim_ * (refine_ == Refine::float32 ? sizeof(float) : sizeof(std::uint16_t));
    }
    /// Return the memory of the first `size` rows in bytes; 0 if they stay in a file.
    std::size_t bytes(std::size_t size) const {
        const bool in_file = refine_ == Refine::float32 ? single_->is_view() : half_->is_view();
        return in_file ? 0 : size * row_bytes();
    }
    /// Return the bytes of the first `size` rows.
    std::span<const std::byte> raw(std::size_t size) const {
        return {reinterpret_cast<const std::byte*>(at(0)), size * row_bytes()};
    }
    const char* at(std::size_t row) const {
        const char* first = refine_ == Refine::float32 ? reinterpret_cast<const char*>(single_->data())
                                                       : reinterpret_cast<const char*>(half_->data());
        return first + row * row_bytes();
    }

private:
    float squared(const float* query, std::size_t row) const {
        if (refine_ == Refine::float32) return kernels_->squared(query, single_->data() + row * dim_, dim_);
        return kernels_->squared_half(query, half_->data() + row * dim_, dim_);
    }

    float dot(const float* query, std::size_t row) const {
        if (refine_ == Refine::float32) return kernels_->dot(query, single_->data() + row * dim_, dim_);
        return kernels_->dot_half(query, half_->data() + row * dim_, dim_);
    }

    template <typename T>
    static void take(std::shared_ptr<Array<T>>& array, std::span<const std::byte> bytes,
                     std::shared_ptr<const void> owner, bool copied) {
        const std::span<const T> values{reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
        array = std::make_shared<Array<T>>(copied ? Array<T>::copy(values) : Array<T>::view(values, std::move(owner)));
    }

    std::size_t dim_;
    Metric metric_;
    Refine refine_;
    const Kernels* kernels_;
    std::shared_ptr<Array<float>> single_;  ///< one of these two is used
    std::shared_ptr<Array<std::uint16_t>> half_;
};

}  // namespace ann
