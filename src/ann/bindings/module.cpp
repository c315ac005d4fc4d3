// medalist.search._ann: shapes, types, ownership and the GIL; nothing else. What is in the arrays is checked in Python.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "index.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Floats = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Rows = nb::ndarray<const std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
// Answers go into arrays of the caller, which NumPy makes faster than it takes over those of others.
using RowsOut = nb::ndarray<std::int64_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using FloatsOut = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using CountsOut = nb::ndarray<std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

// Whatever may wait for a lock of the index does so without the GIL: an add that reports progress may hold it and want
// the GIL.
using NoGil = nb::call_guard<nb::gil_scoped_release>;
template <typename Work>
auto without_gil(const Work& work) {
    const nb::gil_scoped_release released;
    return work();
}

void check_width(const ann::Index& index, std::size_t width) {
    if (width == index.options().dim) return;
    const std::string dim = std::to_string(index.options().dim);
    throw std::invalid_argument("vectors of " + std::to_string(width) + " numbers for an index of " + dim);
}

/// The file system's name of a str, bytes or path; ValueError where a zero byte would cut it short.
std::string path_of(nb::handle path) {
    PyObject* encoded = nullptr;
    if (PyUnicode_FSConverter(path.ptr(), &encoded) == 0) throw nb::python_error();
    const auto name = nb::steal<nb::bytes>(encoded);
    return {name.c_str(), name.size()};
}

constexpr std::string_view metrics[] = {"l2", "ip", "cosine"};  // in the order of ann::Metric
constexpr std::string_view refines[] = {"float32", "float16"};  // in the order of ann::Refine

template <typename Value, std::size_t count>
Value value_of(const std::string_view (&names)[count], std::string_view name) {
    const auto* const found = std::find(names, names + count, name);
    if (found == names + count) throw std::invalid_argument("unknown name: " + std::string(name));
    return static_cast<Value>(found - names);
}

void make(ann::Index* self, std::uint32_t dim, std::string_view metric, std::string_view refine, std::uint32_t degree,
          std::uint32_t effort, std::uint64_t seed) {
    const auto kind = value_of<ann::Metric>(metrics, metric);
    new (self) ann::Index(ann::Options{dim, kind, value_of<ann::Refine>(refines, refine), degree, effort, seed});
}

void add(ann::Index& self, const Floats& vectors, std::size_t threads, const nb::object& progress) {
    check_width(self, vectors.shape(1));
    std::exception_ptr raised;
    const auto go_on = [&](std::size_t done, std::size_t total) {
        const nb::gil_scoped_acquire gil;
        try {
            if (PyErr_CheckSignals() != 0) throw nb::python_error();
            return progress.is_none() || nb::cast<bool>(progress(done, total));
        } catch (...) {
            raised = std::current_exception();
            return false;
        }
    };
    try {
        without_gil([&] { self.add(vectors.data(), vectors.shape(0), threads, go_on); });
    } catch (const ann::Interrupted&) {
        if (raised) std::rethrow_exception(raised);
        throw;
    }
}

/// Fill the arrays by `work(queries, n, k, hits)` without the GIL, or return the first query that is unfit; else -1.
template <typename Work>
std::int64_t answer(const ann::Index& self, const Floats& queries, const RowsOut& rows, const FloatsOut& scores,
                    const CountsOut& counts, const Work& work) {
    check_width(self, queries.shape(1));
    const std::size_t n = queries.shape(0), k = rows.shape(1);
    if (rows.shape(0) != n || scores.shape(0) != n || scores.shape(1) != k || counts.shape(0) != n) {
        throw std::invalid_argument("arrays for the answers of another size than the queries");
    }
    return without_gil([&]() -> std::int64_t {
        const std::size_t unfit = self.first_unfit(queries.data(), n);
        if (unfit < n) return static_cast<std::int64_t>(unfit);
        work(queries.data(), n, k, ann::Hits{rows.data(), scores.data(), counts.data()});
        return -1;
    });
}

std::int64_t search(const ann::Index& self, const Floats& queries, std::size_t ef, std::size_t threads,
                    const RowsOut& rows, const FloatsOut& scores, const CountsOut& counts) {
    return answer(self, queries, rows, scores, counts,
                  [&](const float* from, std::size_t n, std::size_t k, ann::Hits to) {
                      self.search(from, n, k, ef, threads, to);
                  });
}

std::int64_t exact(const ann::Index& self, const Floats& queries, std::size_t threads, const RowsOut& rows,
                   const FloatsOut& scores, const CountsOut& counts) {
    return answer(
        self, queries, rows, scores, counts,
        [&](const float* from, std::size_t n, std::size_t k, ann::Hits to) { self.exact(from, n, k, threads, to); });
}

void save(const ann::Index& self, nb::handle path, const nb::bytes& labels) {
    const std::string name = path_of(path);
    const auto bytes = std::as_bytes(std::span(labels.c_str(), labels.size()));
    without_gil([&] { self.save(name, bytes); });
}

nb::typed<nb::tuple, ann::Index, nb::bytes> opened(nb::handle path, bool mapped) {
    const std::string name = path_of(path);
    const auto mode = mapped ? ann::Mode::mapped : ann::Mode::memory;
    auto found = without_gil([&] { return ann::Index::open(name, mode); });
    return nb::make_tuple(std::move(found.first), nb::bytes(found.second.data(), found.second.size()));
}

nb::object stats(const ann::Index& self) {
    const ann::Options& options = self.options();
    const ann::Stats stats = without_gil([&] { return self.stats(); });
    nb::dict memory;
    for (const auto& [part, bytes] : stats.memory) memory[part.c_str()] = bytes;
    nb::list recall;
    for (const ann::Recall& row : stats.recall) recall.append(nb::make_tuple(row.ef, row.at_1, row.at_10, row.at_100));
    return nb::handle(&PyDict_Type)(
        "n"_a = stats.n, "linked"_a = stats.linked, "bits"_a = stats.bits, "dim"_a = options.dim,
        "metric"_a = metrics[static_cast<std::size_t>(options.metric)],
        "refine"_a = refines[static_cast<std::size_t>(options.refine)], "degree"_a = self.degree(),
        "effort"_a = self.effort(), "seed"_a = options.seed, "kernels"_a = stats.kernels, "memory"_a = memory,
        "degree_mean"_a = stats.degree_mean, "degree_max"_a = stats.degree_max, "reachable"_a = stats.reachable,
        "duplicates"_a = stats.duplicates, "clipped"_a = stats.clipped, "seeds"_a = stats.seeds,
        "recall_table"_a = recall);
}

/// What an index was made with: dim, metric, refine.
nb::tuple options_of(const ann::Index& self) {
    const ann::Options& options = self.options();
    return nb::make_tuple(options.dim, metrics[static_cast<std::size_t>(options.metric)],
                          refines[static_cast<std::size_t>(options.refine)]);
}

void links(const ann::Index& self, const RowsOut& out) {
    if (out.shape(1) != self.degree()) throw std::invalid_argument("an array of another width than the rows of links");
    without_gil([&] { self.links({out.data(), out.size()}); });
}

void vectors(const ann::Index& self, const Rows& rows, const FloatsOut& out) {
    check_width(self, out.shape(1));
    if (out.shape(0) != rows.shape(0)) throw std::invalid_argument("an array of another length than the rows");
    without_gil([&] { self.vectors({rows.data(), rows.shape(0)}, out.data()); });
}

}  // namespace

NB_MODULE(_ann, m) {
    m.doc() = "The retrieval core: see medalist.search.Index, which checks what this takes for granted.";
    nb::set_leak_warnings(false);  // an index that lives as long as the program is no leak
    nb::exception<ann::FileError>(m, "FileError");
    nb::exception<ann::Interrupted>(m, "Interrupted");
    nb::class_<ann::Index>(m, "Core")
        .def("__init__", &make, "dim"_a, "metric"_a, "refine"_a, "degree"_a, "effort"_a, "seed"_a)
        .def("add", &add, "vectors"_a.noconvert(), "threads"_a, "progress"_a = nb::none())
        .def("search", &search, "queries"_a.noconvert(), "ef"_a, "threads"_a, "rows"_a.noconvert(),
             "scores"_a.noconvert(), "counts"_a.noconvert())
        .def("exact", &exact, "queries"_a.noconvert(), "threads"_a, "rows"_a.noconvert(), "scores"_a.noconvert(),
             "counts"_a.noconvert())
        .def("ef_for", &ann::Index::ef_for, "recall"_a, "k"_a, NoGil())
        .def("save", &save, "path"_a, "labels"_a)
        .def_static("open", &opened, "path"_a, "mapped"_a)
        .def("stats", &stats)
        .def("options", &options_of)
        .def("links", &links, "out"_a.noconvert())
        .def("vectors", &vectors, "rows"_a.noconvert(), "out"_a.noconvert())
        .def("__len__", &ann::Index::size, NoGil());
    m.def("kernel_sets", [] {
        std::vector<std::string> names;
        for (const ann::Kernels* set : ann::kernel_sets()) names.emplace_back(set->name);
        return names;
    });
}
