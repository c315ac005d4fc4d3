// Definitions that the files of the Python module share.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "folder.hpp"
#include "index.hpp"

namespace bindings {

namespace nb = nanobind;

using Floats = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Integers = nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
// Answers are written into arrays of the caller: NumPy makes these faster than it wraps memory from outside.
using RowsOut = nb::ndarray<std::int64_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using FloatsOut = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using CountsOut = nb::ndarray<std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using FarnessOut = nb::ndarray<float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using PlansOut = nb::ndarray<std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// Code that may wait for a lock of the index runs without the GIL: a change that reports progress may hold the lock
// while it waits for the GIL.
template <typename Work>
auto without_gil(const Work& work) {
    const nb::gil_scoped_release released;
    return work();
}

/// An index only in memory, or an index in a folder.
class Core {
public:
    explicit Core(std::unique_ptr<ann::Index> index) : index_(std::move(index)) {}
    explicit Core(std::unique_ptr<ann::Folder> folder) : folder_(std::move(folder)) {}

    const ann::Index& index() const { return folder_ ? folder_->index() : *index_; }
    ann::Folder* folder() const { return folder_.get(); }
    ann::Index* memory() const { return index_.get(); }
    std::shared_ptr<const ann::State> now() const { return index().now(); }

private:
    std::unique_ptr<ann::Index> index_;
    std::unique_ptr<ann::Folder> folder_;
};

inline std::span<const std::byte> span_of(const nb::bytes& bytes) {
    return std::as_bytes(std::span(bytes.c_str(), bytes.size()));
}
inline nb::bytes bytes_of(std::span<const std::byte> bytes) { return nb::bytes(bytes.data(), bytes.size()); }

inline void check_width(const Core& core, std::size_t width) {
    if (width == core.index().options().dim) return;
    const std::string dim = std::to_string(core.index().options().dim);
    throw std::invalid_argument("vectors of " + std::to_string(width) + " numbers for an index of " + dim);
}

/// Return the file system's name of a str, bytes or path. Raises ValueError if the name contains a zero byte.
inline std::string path_of(nb::handle path) {
    PyObject* encoded = nullptr;
    if (PyUnicode_FSConverter(path.ptr(), &encoded) == 0) throw nb::python_error();
    const auto name = nb::steal<nb::bytes>(encoded);
    return {name.c_str(), name.size()};
}

void define_asking(nb::class_<Core>& core);
void define_changing(nb::class_<Core>& core);
void define_telling(nb::class_<Core>& core);

}  // namespace bindings
