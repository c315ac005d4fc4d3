// Adding, replacing and removing; files and folders.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <exception>

#include "core.hpp"

namespace bindings {
namespace {

using namespace nb::literals;

/// Run work(progress) without the GIL. An exception of the caller's function, or Ctrl-C, ends it and is raised here.
template <typename Work>
std::size_t with_progress(const nb::object& progress, const Work& work) {
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
        return without_gil([&] { return work(go_on); });
    } catch (const ann::Interrupted&) {
        if (raised) std::rethrow_exception(raised);
        throw;
    }
}

std::size_t write(const Core& core, std::uint8_t what, const nb::bytes& ids, const nb::bytes& fields,
                  const std::optional<Floats>& vectors, std::size_t threads, const nb::object& progress) {
    if (vectors) check_width(core, vectors->shape(1));
    if (what > 3) throw std::invalid_argument("unknown change");
    ann::Change change{
        static_cast<ann::Change::What>(what), core.index().options().dim, span_of(ids), span_of(fields), {}};
    if (vectors) change.vectors = {vectors->data(), vectors->size()};
    return with_progress(progress, [&](const ann::Progress& go_on) {
        return core.folder() ? core.folder()->write(change, threads, go_on)
                             : core.memory()->write(change, threads, go_on);
    });
}

std::size_t drop(const Core& core, const nb::bytes& filter, std::size_t threads, const nb::object& progress) {
    return with_progress(progress, [&](const ann::Progress& go_on) {
        return core.folder() ? core.folder()->drop(span_of(filter), threads, go_on)
                             : core.memory()->drop(span_of(filter), threads, go_on);
    });
}

std::size_t set(const Core& core, const nb::bytes& filter, const nb::bytes& fields) {
    return without_gil([&] {
        return core.folder() ? core.folder()->set(span_of(filter), span_of(fields))
                             : core.memory()->set(span_of(filter), span_of(fields));
    });
}

void compact(const Core& core, std::size_t threads, const nb::object& progress) {
    with_progress(progress, [&](const ann::Progress& go_on) {
        core.folder() ? core.folder()->compact(threads, go_on) : core.memory()->compact(threads, go_on);
        return std::size_t{0};
    });
}

void save(const Core& core, nb::handle path) {
    const std::string name = path_of(path);
    without_gil([&] { core.index().save(name); });
}

ann::Mode mode_of(std::uint32_t number) {
    if (number > static_cast<std::uint32_t>(ann::Mode::automatic)) throw std::invalid_argument("unknown mode");
    return static_cast<ann::Mode>(number);
}

std::unique_ptr<Core> opened(nb::handle path, std::uint32_t number) {
    const std::string name = path_of(path);
    const ann::Mode mode = mode_of(number);
    return without_gil([&] { return std::make_unique<Core>(ann::Index::open(name, mode)); });
}

std::unique_ptr<Core> opened_folder(nb::handle path, std::uint32_t number, bool read_only, std::uint32_t sync,
                                    double seconds, std::size_t threads) {
    const std::string name = path_of(path);
    const ann::Mode mode = mode_of(number);
    const ann::Keeping keeping{static_cast<ann::Sync>(sync), seconds};
    return without_gil(
        [&] { return std::make_unique<Core>(ann::Folder::open(name, mode, read_only, keeping, threads)); });
}

/// Return an empty index with the same options and fields, stored in a folder.
std::unique_ptr<Core> in_folder(const Core& core, nb::handle path, std::uint32_t sync, double seconds) {
    const std::string name = path_of(path);
    const ann::Keeping keeping{static_cast<ann::Sync>(sync), seconds};
    return without_gil([&] {
        return std::make_unique<Core>(
            ann::Folder::create(name, core.index().options(), core.index().schema(), keeping));
    });
}

ann::Folder& folder_of(const Core& core) {
    if (core.folder() == nullptr)
        throw std::invalid_argument(
            "this index is only in memory; make it with Index.create(folder, ...), or save() it");
    return *core.folder();
}

std::vector<std::string> verify(nb::handle path) {
    const std::string name = path_of(path);
    return without_gil([&] { return ann::Folder::verify(name); });
}

std::vector<std::string> repair(nb::handle path, std::size_t threads) {
    const std::string name = path_of(path);
    return without_gil([&] { return ann::Folder::repair(name, threads); });
}

}  // namespace

void define_changing(nb::class_<Core>& core) {
    core.def("write", &write, "what"_a, "ids"_a, "fields"_a, "vectors"_a.noconvert().none(), "threads"_a,
             "progress"_a = nb::none())
        .def("drop", &drop, "filter"_a, "threads"_a, "progress"_a = nb::none())
        .def("set", &set, "filter"_a, "fields"_a)
        .def("compact", &compact, "threads"_a, "progress"_a = nb::none())
        .def("save", &save, "path"_a)
        .def("in_folder", &in_folder, "path"_a, "sync"_a, "seconds"_a)
        .def(
            "snapshot",
            [](const Core& self, nb::handle path) {
                const std::string name = path_of(path);
                without_gil([&] { folder_of(self).snapshot(name); });
            },
            "path"_a)
        .def("checkpoint", [](const Core& self) { without_gil([&] { folder_of(self).checkpoint(); }); })
        .def("sync", [](const Core& self) { without_gil([&] { folder_of(self).sync(); }); })
        .def_prop_ro("read_only",
                     [](const Core& self) { return self.folder() != nullptr && self.folder()->read_only(); })
        .def_prop_ro("trouble", [](const Core& self) { return without_gil([&] { return folder_of(self).trouble(); }); })
        .def_prop_ro("forked", [](const Core& self) { return self.folder() != nullptr && self.folder()->forked(); })
        .def_prop_ro("file_changed", [](const Core& self) { return self.index().file_changed(); })
        .def("refuse_forked",
             [](const Core& self) {
                 if (self.folder() != nullptr) self.folder()->check_not_forked();
             })
        .def_static("open", &opened, "path"_a, "mode"_a)
        .def_static("open_folder", &opened_folder, "path"_a, "mode"_a, "read_only"_a, "sync"_a, "seconds"_a,
                    "threads"_a)
        .def_static("verify", &verify, "path"_a)
        .def_static("repair", &repair, "path"_a, "threads"_a);
}

}  // namespace bindings
