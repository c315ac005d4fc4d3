// Work that is divided among threads. The result of a piece of work must not depend on the thread.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace ann {

/// Call work(first, last, thread) over [0, count) in pieces of at most `grain`. The first exception is thrown again
/// here.
template <typename Work>
void parallel_for(std::size_t count, std::size_t grain, std::size_t threads, const Work& work) {
    const std::size_t pieces = (count + grain - 1) / grain;
    threads = std::clamp<std::size_t>(threads, 1, std::max<std::size_t>(pieces, 1));
    if (threads == 1) {
        for (std::size_t first = 0; first < count; first += grain) work(first, std::min(first + grain, count), 0);
        return;
    }
    std::atomic<std::size_t> next{0};
    std::exception_ptr failure;
    std::mutex failing;
    const auto run = [&](std::size_t thread) {
        try {
            for (std::size_t piece = next++; piece < pieces; piece = next++) {
                work(piece * grain, std::min((piece + 1) * grain, count), thread);
            }
        } catch (...) {
            next = pieces;
            const std::lock_guard lock(failing);
            if (!failure) failure = std::current_exception();
        }
    };
    std::vector<std::jthread> others;
    others.reserve(threads - 1);
    for (std::size_t thread = 1; thread < threads; ++thread) others.emplace_back(run, thread);
    run(0);
    others.clear();  // waits for them to end
    if (failure) std::rethrow_exception(failure);
}

}  // namespace ann
