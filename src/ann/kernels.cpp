#include "kernels.hpp"

#include <array>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>

#include "os.hpp"

namespace ann {

extern const Kernels baseline_kernels;
#if defined(ANN_AVX)
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;
#endif

std::span<const Kernels* const> kernel_sets() {
#if defined(ANN_AVX)
    static constexpr std::array all{&baseline_kernels, &avx2_kernels, &avx512_kernels};
    return {all.data(), os::runs_avx512() ? 3u : os::runs_avx2() ? 2u : 1u};
#else
    static constexpr std::array all{&baseline_kernels};
    return {all.data(), all.size()};
#endif
}

const Kernels& chosen_kernels() {
    const auto sets = kernel_sets();
    const char* wanted = std::getenv("MEDALIST_KERNELS");
    if (wanted == nullptr || *wanted == '\0') return *sets.back();
    std::string known;
    for (const Kernels* set : sets) {
        if (std::string_view(set->name) == wanted) return *set;
        known += known.empty() ? "" : ", ";
        known += set->name;
    }
    throw std::invalid_argument("MEDALIST_KERNELS=" + std::string(wanted) + " cannot run here; this processor has " +
                                known);
}

}  // namespace ann
