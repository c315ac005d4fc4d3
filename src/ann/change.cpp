#include "change.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

namespace ann {
namespace {

struct Numbers {
    std::uint8_t what;
    std::uint8_t zero[3];
    std::uint32_t dim;
    std::uint64_t ids, fields, floats;
};
static_assert(sizeof(Numbers) == sizeof(Change::Head));

[[noreturn]] void refuse(const std::string& why) { throw std::invalid_argument("change: " + why); }

std::size_t padding(std::size_t bytes) { return (8 - bytes % 8) % 8; }

/// Takes bytes from the front of a change.
class Cutter {
public:
    explicit Cutter(std::span<const std::byte> bytes) : left_(bytes) {}

    /// Take this many bytes. Zeros up to a multiple of 8 must follow.
    std::span<const std::byte> take(std::uint64_t bytes, const char* what) {
        if (bytes > left_.size()) refuse(std::string(what) + " reach beyond its end");
        const auto taken = left_.first(static_cast<std::size_t>(bytes));
        left_ = left_.subspan(taken.size());
        const std::size_t zeros = padding(taken.size());
        if (zeros > left_.size()) refuse(std::string(what) + " reach beyond its end");
        const auto is_zero = [](std::byte value) { return value == std::byte{0}; };
        const auto gap = left_.first(zeros);
        if (!std::all_of(gap.begin(), gap.end(), is_zero)) refuse("bytes behind its " + std::string(what));
        left_ = left_.subspan(zeros);
        return taken;
    }
    std::span<const std::byte> rest() const { return left_; }

private:
    std::span<const std::byte> left_;
};

}  // namespace

std::array<std::span<const std::byte>, 6> Change::pieces(Head& head) const {
    static constexpr std::array<std::byte, 8> zeros{};
    const Numbers numbers{static_cast<std::uint8_t>(what), {0, 0, 0}, dim, ids.size(), fields.size(), vectors.size()};
    std::memcpy(head.data(), &numbers, sizeof numbers);
    const std::span<const std::byte> zero(zeros);
    return {
        head, ids, zero.first(padding(ids.size())), fields, zero.first(padding(fields.size())), std::as_bytes(vectors)};
}

std::vector<std::byte> Change::encode() const {
    Head head;
    const auto all = pieces(head);
    std::size_t size = 0;
    for (const auto& piece : all) size += piece.size();
    std::vector<std::byte> bytes;
    bytes.reserve(size);
    for (const auto& piece : all) bytes.insert(bytes.end(), piece.begin(), piece.end());
    return bytes;
}

Change Change::decode(std::span<const std::byte> bytes) {
    if (bytes.size() < sizeof(Numbers)) refuse("too short");
    if (reinterpret_cast<std::uintptr_t>(bytes.data()) % 8 != 0) refuse("does not begin at a multiple of 8");
    Numbers numbers;
    std::memcpy(&numbers, bytes.data(), sizeof numbers);
    if (numbers.what > static_cast<std::uint8_t>(What::set)) refuse("unknown kind of change");
    if (numbers.zero[0] != 0 || numbers.zero[1] != 0 || numbers.zero[2] != 0) refuse("reserved bytes are not zero");
    Change change;
    change.what = static_cast<What>(numbers.what);
    change.dim = numbers.dim;
    if (change.what == What::add || change.what == What::put) {
        if (numbers.dim == 0 || numbers.dim > 65536) refuse("the dimension is not between 1 and 65536");
        if (numbers.floats % numbers.dim != 0) refuse("not a whole number of vectors");
    } else if (numbers.floats != 0) {
        refuse("this kind of change has no vectors");
    }
    Cutter cutter(bytes.subspan(sizeof(Numbers)));
    change.ids = cutter.take(numbers.ids, "ids");
    change.fields = cutter.take(numbers.fields, "fields");
    const auto rest = cutter.rest();
    if (rest.size() % sizeof(float) != 0 || rest.size() / sizeof(float) != numbers.floats) {
        refuse(std::to_string(rest.size()) + " bytes of vectors instead of " + std::to_string(numbers.floats) +
               " floats");
    }
    change.vectors = {reinterpret_cast<const float*>(rest.data()), rest.size() / sizeof(float)};
    return change;
}

}  // namespace ann
