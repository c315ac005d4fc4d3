// What libFuzzer and our own mutator call.
#pragma once

#include <cstddef>
#include <cstdint>

/// Try the bytes as an index file. For mutate.cpp the result says whether they were one (1) or were refused (0);
/// libFuzzer wants 0 of both.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

constexpr int fuzz_result([[maybe_unused]] bool opened) {
#ifdef ANN_LIBFUZZER
    return 0;
#else
    return opened ? 1 : 0;
#endif
}
