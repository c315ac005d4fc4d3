// Any bytes as an index file: they are refused by a FileError, or they make an index that answers. Nothing else may
// happen; what escapes, std::bad_alloc too, ends the run. Driven by libFuzzer where clang is, else by mutate.cpp.
#include <cstdlib>
#include <span>
#include <vector>

#include "answers.hpp"
#include "bytes.hpp"
#include "check.hpp"
#include "fuzz.hpp"
#include "index.hpp"
#include "random.hpp"

namespace {

constexpr std::size_t queries = 3;

/// Ask, add and ask again. A graph that a file brings along may be a bad one, so a walk may find too little, but no
/// row that is not there. `grow` adds enough for the graph itself to be extended.
void check_index(ann::Index& index, bool grow) {
    const std::size_t dim = index.options().dim, n = index.size();
    CHECK(dim > 0 && dim <= 65536);
    const std::vector<float> query = clustered(queries, dim, 5);
    for (const std::size_t k : {1u, 10u}) {
        check_answers(searched(index, query, k, index.ef_for(0.9, k)), n, 0);
        check_answers(searched(index, query, k, 16), n, 0);
        check_answers(scanned(index, query, k), n, k);
    }
    CHECK(index.stats().n == n);
    const std::vector<float> more = clustered(grow ? n / 64 + 1100 : 2, dim, 6, 8);
    try {
        index.add(more.data(), more.size() / dim, 1, nullptr);
    } catch (const std::invalid_argument&) {
        CHECK(index.size() == n);  // such as an index that is full
        return;
    }
    CHECK(index.size() == n + more.size() / dim);
    check_answers(searched(index, query, 10, 16), index.size(), 0);
    check_answers(scanned(index, query, 10), index.size(), 10);
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const check::MemoryFile file(std::as_bytes(std::span(data, size)));
    int opened = 0;
    for (const ann::Mode mode : {ann::Mode::memory, ann::Mode::mapped}) {
        try {
            auto [index, labels] = ann::Index::open(file.path(), mode);
            check_index(*index, ann::checksum(std::as_bytes(std::span(data, size))) % 64 == 0);
            ++opened;
        } catch (const ann::FileError&) {
            // refused, with the section and the reason
        }
    }
    if (opened == 1) std::abort();  // both ways to open must agree on what a good file is
    return fuzz_result(opened == 2);
}

#ifdef ANN_LIBFUZZER
extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);

/// libFuzzer's own changes, with the checksums made right half of the time: else hardly one file would pass the door.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t most, unsigned seed) {
    const std::size_t changed = LLVMFuzzerMutate(data, size, most);
    if (seed % 2 == 0) {
        bytes::Bytes file(changed);
        std::memcpy(file.data(), data, changed);
        if (seed % 4 == 0 && changed >= ann::container::page) bytes::put<std::uint64_t>(file, bytes::size_at, changed);
        bytes::seal(file);
        std::memcpy(data, file.data(), changed);
    }
    return changed;
}
#endif
