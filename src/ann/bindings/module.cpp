// medalist.search._ann: handles only shapes, types, ownership and the GIL. The contents of arrays are checked in
// Python.
#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core.hpp"

namespace bindings {
namespace {

using namespace nb::literals;

constexpr std::string_view metrics[] = {"l2", "ip", "cosine"};  // in the order of ann::Metric
constexpr std::string_view refines[] = {"float32", "float16"};  // in the order of ann::Refine

template <typename Value, std::size_t count>
Value value_of(const std::string_view (&names)[count], std::string_view name) {
    const auto* const found = std::find(names, names + count, name);
    if (found == names + count) throw std::invalid_argument("unknown name: " + std::string(name));
    return static_cast<Value>(found - names);
}

void make(Core* self, std::uint32_t dim, std::string_view metric, std::string_view refine, std::uint32_t degree,
          std::uint32_t effort, std::uint64_t seed, const std::vector<std::pair<std::string, std::uint8_t>>& fields) {
    const auto kind = value_of<ann::Metric>(metrics, metric);
    ann::Schema schema;
    for (const auto& [name, of] : fields) {
        if (of >= ann::kinds) throw std::invalid_argument("unknown kind of field");
        schema.push_back({name, static_cast<ann::Kind>(of)});
    }
    const ann::Options options{dim, kind, value_of<ann::Refine>(refines, refine), degree, effort, seed};
    new (self) Core(std::make_unique<ann::Index>(options, std::move(schema)));
}

nb::object stats(const Core& self) {
    const ann::Options& options = self.index().options();
    const ann::Stats stats = without_gil([&] { return self.index().stats(); });
    nb::dict memory;
    for (const auto& [part, bytes] : stats.memory) memory[part.c_str()] = bytes;
    nb::list recall;
    for (const ann::Recall& row : stats.recall) recall.append(nb::make_tuple(row.ef, row.at_1, row.at_10, row.at_100));
    return nb::handle(&PyDict_Type)(
        "n"_a = stats.n, "dead"_a = stats.dead, "loose"_a = stats.loose, "linked"_a = stats.linked,
        "bits"_a = stats.bits, "dim"_a = options.dim, "metric"_a = metrics[static_cast<std::size_t>(options.metric)],
        "refine"_a = refines[static_cast<std::size_t>(options.refine)], "degree"_a = self.index().degree(),
        "effort"_a = self.index().effort(), "seed"_a = options.seed, "kernels"_a = stats.kernels, "memory"_a = memory,
        "degree_mean"_a = stats.degree_mean, "degree_max"_a = stats.degree_max, "reachable"_a = stats.reachable,
        "duplicates"_a = stats.duplicates, "clipped"_a = stats.clipped, "seeds"_a = stats.seeds,
        "recall_table"_a = recall);
}

/// Return the options of an index: dim, metric, refine, and the fields with their kinds.
nb::tuple options_of(const Core& self) {
    const ann::Options& options = self.index().options();
    std::vector<std::pair<std::string, std::uint8_t>> fields;
    for (const ann::Field& field : self.index().schema()) {
        fields.emplace_back(field.name, static_cast<std::uint8_t>(field.kind));
    }
    return nb::make_tuple(options.dim, metrics[static_cast<std::size_t>(options.metric)],
                          refines[static_cast<std::size_t>(options.refine)], fields);
}

void links(const Core& self, const RowsOut& out) {
    const std::size_t degree = self.index().degree();
    if (out.shape(1) != degree) throw std::invalid_argument("the array must have `degree` columns");
    without_gil([&] { self.index().links({out.data(), out.size()}); });
}

}  // namespace

void define_telling(nb::class_<Core>& core) {
    core.def("__init__", &make, "dim"_a, "metric"_a, "refine"_a, "degree"_a, "effort"_a, "seed"_a, "fields"_a)
        .def(
            "ef_for",
            [](const Core& self, double recall, std::size_t k) {
                return without_gil([&] { return self.index().ef_for(recall, k); });
            },
            "recall"_a, "k"_a)
        .def("stats", &stats)
        .def("options", &options_of)
        .def("links", &links, "out"_a.noconvert())
        .def("id_kind",
             [](const Core& self) {
                 return without_gil([&] { return static_cast<std::uint32_t>(self.now()->ids.kind()); });
             })
        .def("__len__", [](const Core& self) { return without_gil([&] { return self.index().size(); }); });
}

}  // namespace bindings

NB_MODULE(_ann, m) {
    m.doc() = "The retrieval core: see medalist.search.Index, which checks the arguments.";
    namespace nb = nanobind;
    nb::set_leak_warnings(false);  // an index that lives as long as the program is not a leak
    nb::exception<ann::FileError>(m, "FileError");
    nb::exception<ann::Interrupted>(m, "Interrupted");
    nb::class_<bindings::Core> core(m, "Core");
    bindings::define_telling(core);
    bindings::define_asking(core);
    bindings::define_changing(core);
    m.def("kernel_sets", [] {
        std::vector<std::string> names;
        for (const ann::Kernels* set : ann::kernel_sets()) names.emplace_back(set->name);
        return names;
    });
}
