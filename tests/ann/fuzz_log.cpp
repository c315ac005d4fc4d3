// Any bytes as a log: they are refused with a FileError, or give checked records. Any other result, such as an escaped
// std::bad_alloc, ends the run. A reading that skips damage must find all records that a strict reading finds.
#include <algorithm>
#include <cstdlib>
#include <optional>
#include <span>
#include <stdexcept>

#include "change.hpp"
#include "check.hpp"
#include "log.hpp"

int fuzz_log(const std::uint8_t* data, std::size_t size);

namespace {

void check_contents(const ann::LogContents& log, std::size_t size) {
    CHECK(log.end + log.torn == size);
    CHECK(log.lost.size() <= size / 32 && std::is_sorted(log.lost.begin(), log.lost.end()));
    for (const auto& record : log.records) {
        CHECK(reinterpret_cast<std::uintptr_t>(record.data()) % 8 == 0 && record.size() <= log.end - 64);
        try {
            const ann::Change change = ann::Change::decode(record);
            CHECK(std::ranges::equal(change.encode(), record));
        } catch (const std::invalid_argument&) {
            // a record that is not a change
        }
    }
}

std::optional<ann::LogContents> read(const std::string& path, bool skip_damage, std::optional<std::uint64_t> number) {
    try {
        return ann::read_log(path, skip_damage, number);
    } catch (const ann::FileError&) {
        return std::nullopt;
    }
}

}  // namespace

/// Return 1 if the bytes are a log without damage, otherwise 0.
int fuzz_log(const std::uint8_t* data, std::size_t size) {
    const check::MemoryFile file(std::as_bytes(std::span(data, size)));
    const auto strict = read(file.path(), false, std::nullopt);
    const auto lenient = read(file.path(), true, std::nullopt);
    const auto told = read(file.path(), true, strict ? strict->number : 7);
    if (!told) std::abort();  // without a check of the beginning nothing can be refused
    if (strict && !lenient) std::abort();
    for (const auto& log : {strict, lenient, told}) {
        if (log) check_contents(*log, size);
    }
    if (!strict) return 0;
    CHECK(strict->lost.empty() && lenient->lost.empty() && told->lost.empty());
    CHECK(strict->end == lenient->end && strict->records.size() == lenient->records.size());
    CHECK(strict->end == told->end && strict->records.size() == told->records.size());
    return 1;
}
