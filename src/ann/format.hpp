// An index as the sections of one file, and back.
#pragma once

#include <memory>
#include <string>

#include "index.hpp"

namespace ann {

struct Format {
    static void save(const Index& index, const State& state, const std::string& path);
    static std::unique_ptr<Index> open(const std::string& path, Mode mode, bool without_graph);
};

}  // namespace ann
