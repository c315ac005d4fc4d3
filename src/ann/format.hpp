// An index as the sections of one file, and back.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "index.hpp"

namespace ann {

struct Format {
    static void save(const Index& index, const State& state, const std::string& path,
                     std::span<const std::byte> labels);
    static std::pair<std::unique_ptr<Index>, std::vector<std::byte>> open(const std::string& path, Mode mode);
};

}  // namespace ann
