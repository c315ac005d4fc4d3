// A growing block of plain values, in its own memory (on huge pages where the system gives them), or a view of a file.
//
// A walk through a graph reads a few hundred random places. With pages of 4 KiB most of these reads also miss the
// processor's cache of addresses (the TLB).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

#include "os.hpp"

namespace ann {

template <typename T>
class Array {
    static_assert(std::is_trivially_copyable_v<T>);

public:
    Array() = default;
    Array(const Array&) = delete;
    Array& operator=(const Array&) = delete;
    Array(Array&& other) noexcept { swap(other); }
    Array& operator=(Array&& other) noexcept {
        swap(other);
        return *this;
    }
    ~Array() { release(); }

    /// Return a view of values in other memory, which `owner` keeps alive. The first growth copies them.
    static Array view(std::span<const T> values, std::shared_ptr<const void> owner) {
        Array array;
        array.data_ = const_cast<T*>(values.data());  // never written to, because resize copies first
        array.size_ = values.size();
        array.owner_ = std::move(owner);
        return array;
    }

    /// Return an array with a copy of the values in its own memory.
    static Array copy(std::span<const T> values) {
        Array array;
        array.resize(values.size());
        if (!values.empty()) std::memcpy(array.data_, values.data(), values.size_bytes());
        return array;
    }

    /// Change the size; new values are zero. Pointers into the array become invalid, unless has_room(size) was true.
    void resize(std::size_t size) {
        if (!has_room(size)) reallocate(size);
        if (size < size_) std::memset(static_cast<void*>(data_ + size), 0, (size_ - size) * sizeof(T));
        size_ = size;
    }

    /// Make room for `capacity` values.
    void reserve(std::size_t capacity) {
        if (!has_room(capacity)) reallocate(capacity);
    }

    T* data() { return data_; }
    const T* data() const { return data_; }
    std::size_t size() const { return size_; }
    /// Return whether the array can grow to `size` without moving. Then readers of data() are not disturbed.
    bool has_room(std::size_t size) const { return !owner_ && size <= capacity_; }
    bool is_view() const { return owner_ != nullptr; }
    std::span<const T> values() const { return {data_, size_}; }

private:
    static constexpr std::size_t page = std::size_t{1} << 12;
    static constexpr std::size_t huge_page = std::size_t{1} << 21;

    static std::size_t mapped_bytes(std::size_t count) { return (count * sizeof(T) + page - 1) / page * page; }

    void reallocate(std::size_t capacity) {
        Array fresh;
        if (capacity > 0) {
            // With huge pages one page more than needed is mapped, so that the block can begin at a huge page. Unused
            // pages cost no memory.
            const bool huge = os::huge_pages && capacity * sizeof(T) >= huge_page;
            const std::size_t length = mapped_bytes(capacity) + (huge ? huge_page : 0);
            if (length < capacity) throw std::bad_alloc();
            void* block = os::allocate(length);
            if (block == nullptr) throw std::bad_alloc();
            fresh.block_ = block;
            fresh.length_ = length;
            const auto address = reinterpret_cast<std::uintptr_t>(block);
            const std::uintptr_t aligned = huge ? (address + huge_page - 1) / huge_page * huge_page : address;
            fresh.data_ = reinterpret_cast<T*>(aligned);
            // Only whole huge pages: the end of a partly used huge page would be wasted memory.
            if (huge) os::use_huge_pages(fresh.data_, capacity * sizeof(T) / huge_page * huge_page);
            fresh.capacity_ = capacity;
        }
        const std::size_t kept = size_ < capacity ? size_ : capacity;
        if (kept > 0) std::memcpy(static_cast<void*>(fresh.data_), data_, kept * sizeof(T));
        fresh.size_ = kept;
        swap(fresh);
    }

    void release() {
        if (block_ != nullptr) os::release(block_, length_);
    }

    void swap(Array& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        std::swap(capacity_, other.capacity_);
        std::swap(block_, other.block_);
        std::swap(length_, other.length_);
        std::swap(owner_, other.owner_);
    }

    T* data_ = nullptr;
    std::size_t size_ = 0;
    std::size_t capacity_ = 0;
    void* block_ = nullptr;
    std::size_t length_ = 0;
    std::shared_ptr<const void> owner_;
};

}  // namespace ann
