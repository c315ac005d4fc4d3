// The function that libFuzzer calls; CMakeLists.txt sets the kind of bytes.
#include "fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    ANN_FUZZ(data, size);
    return 0;
}
