// The functions that libFuzzer and our own mutator call. Each takes any bytes, and returns whether they were accepted
// (1) or refused (0). Any other result, such as an escaped exception, ends the run.
#pragma once

#include <cstddef>
#include <cstdint>

int fuzz_open(const std::uint8_t* data, std::size_t size);     ///< an index file
int fuzz_log(const std::uint8_t* data, std::size_t size);      ///< a log
int fuzz_filter(const std::uint8_t* data, std::size_t size);   ///< a filter
int fuzz_payload(const std::uint8_t* data, std::size_t size);  ///< fields
int fuzz_ids(const std::uint8_t* data, std::size_t size);      ///< a batch of ids
int fuzz_change(const std::uint8_t* data, std::size_t size);   ///< a change, as in a log
