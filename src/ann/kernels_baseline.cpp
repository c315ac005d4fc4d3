#include "kernels_body.hpp"

namespace ann {

extern const Kernels baseline_kernels;
const Kernels baseline_kernels{"baseline", score<Four>, score<Eight>, score<Sixteen>, unseen, insert,
                               squared,    dot,         squared_half, dot_half,       count};

}  // namespace ann
