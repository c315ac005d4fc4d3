#include "kernels.hpp"

#include <array>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>

namespace ann {

extern const Kernels baseline_kernels;
#if defined(__x86_64__)
extern const Kernels avx2_kernels;
extern const Kernels avx512_kernels;
#endif

std::span<const Kernels* const> kernel_sets() {
#if defined(__x86_64__)
    static constexpr std::array all{&baseline_kernels, &avx2_kernels, &avx512_kernels};
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni");
    return {all.data(), avx512 ? 3u : avx2 ? 2u : 1u};
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
