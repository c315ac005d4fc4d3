// The bytes of a log may come from anyone, or be what a crash left.
#include <algorithm>
#include <cstring>
#include <utility>

#include "array.hpp"
#include "log.hpp"
#include "log_format.hpp"

namespace ann {

using namespace log_format;

namespace {

[[noreturn]] void refuse(const std::string& why) { throw FileError("log", why); }
[[noreturn]] void fail(const char* what, int error) { refuse(std::string(what) + disk::reason_of(error)); }

/// Return the whole file in its own memory.
std::shared_ptr<Array<std::byte>> contents_of(const std::string& path) {
    const disk::Descriptor descriptor(os::open(path, os::Opening::read));
    if (descriptor.number() < 0) fail("cannot be opened: ", errno);
    const auto status = os::status(descriptor.number());
    if (!status) fail("cannot be read: ", errno);
    if (!status->regular) refuse("is not a regular file");
    auto bytes = std::make_shared<Array<std::byte>>();
    bytes->resize(status->size);
    std::size_t at = 0;
    while (at < bytes->size()) {
        const std::size_t most = std::min(bytes->size() - at, std::size_t{1} << 30);
        const std::ptrdiff_t got = os::read_at(descriptor.number(), {bytes->data() + at, most}, at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) fail("cannot be read: ", errno);
        if (got == 0) break;  // a writer has made the file shorter
        at += static_cast<std::size_t>(got);
    }
    bytes->resize(at);
    return bytes;
}

/// Reads the records of a log. Every byte is read only a few times, whatever the file contains.
class Reader {
public:
    Reader(std::span<const std::byte> bytes, bool skip_damage, LogContents& found)
        : bytes_(bytes), skip_damage_(skip_damage), found_(found) {}

    void check_head(std::optional<std::uint64_t> number) {
        if (number && skip_damage_) {
            found_.number = *number;
            return;
        }
        Head head;
        if (bytes_.size() < sizeof head) refuse("the file is too short for a log");
        std::memcpy(&head, bytes_.data(), sizeof head);
        if (head.magic != magic) refuse("this is not a log of medalist");
        if (head.byte_order != byte_order) {
            refuse(head.byte_order == 0x04030201 ? "written on a machine of the other byte order"
                                                 : "damaged byte-order mark");
        }
        if (head.major != major_version) {
            refuse("format version " + std::to_string(head.major) + ", but this program reads version " +
                   std::to_string(major_version));
        }
        if (head.checksum != checksum_of(head)) refuse("its beginning is damaged");
        if (number && head.number != *number) {
            refuse("it is number " + std::to_string(head.number) + " instead of " + std::to_string(*number));
        }
        found_.number = head.number;
    }

    void read_records() {
        std::size_t at = std::min(sizeof(Head), bytes_.size());
        std::uint64_t sequence = 0;
        while (const auto head = head_at(at, sequence, sequence)) {
            if (!is_whole(*head, at)) break;
            take(*head, at);
            ++sequence;
            at = end_of(*head, at);
        }
        found_.end = at;
        while (at < bytes_.size()) {
            const auto next = whole_behind(at, sequence);
            if (!next) break;
            const auto& [head, place] = *next;
            if (!skip_damage_) {
                refuse("record " + std::to_string(sequence) + " at offset " + std::to_string(at) +
                       " is damaged, but intact records follow it");
            }
            for (; sequence < head.sequence; ++sequence) found_.lost.push_back(sequence);
            take(head, place);
            ++sequence;
            at = end_of(head, place);
            found_.end = at;
        }
        found_.torn = bytes_.size() - found_.end;
    }

private:
    /// Return the head of a record whose sequence number is from `first` to `last`.
    std::optional<RecordHead> head_at(std::size_t at, std::uint64_t first, std::uint64_t last) const {
        RecordHead head;
        if (bytes_.size() - at < sizeof head) return std::nullopt;
        std::memcpy(&head, bytes_.data() + at, sizeof head);
        if (head.sequence < first || head.sequence > last) return std::nullopt;
        if (head.checksum != checksum_of(head, found_.number)) return std::nullopt;
        return head;
    }

    /// Return whether the file reaches to the end of this record.
    bool fits(const RecordHead& head, std::size_t at) const {
        const std::size_t left = bytes_.size() - at - sizeof head;
        return head.length <= left && padding(static_cast<std::size_t>(head.length)) <= left - head.length;
    }

    std::size_t end_of(const RecordHead& head, std::size_t at) const {
        const auto length = static_cast<std::size_t>(head.length);
        return at + sizeof head + length + padding(length);
    }

    std::span<const std::byte> body(const RecordHead& head, std::size_t at) const {
        return bytes_.subspan(at + sizeof head, static_cast<std::size_t>(head.length));
    }

    bool is_whole(const RecordHead& head, std::size_t at) const {
        if (!fits(head, at)) return false;
        const std::size_t end = at + sizeof head + static_cast<std::size_t>(head.length);
        const auto gap = bytes_.subspan(end, end_of(head, at) - end);
        const auto is_zero = [](std::byte value) { return value == std::byte{0}; };
        return std::all_of(gap.begin(), gap.end(), is_zero) && checksum(body(head, at)) == head.body_checksum;
    }

    void take(const RecordHead& head, std::size_t at) { found_.records.push_back(body(head, at)); }

    /// Return the first intact record behind the bad record `sequence` at `at`, and where it begins. The body that a
    /// valid head claims is skipped as a whole, so that checksums of bodies read each byte only once.
    std::optional<std::pair<RecordHead, std::size_t>> whole_behind(std::size_t at, std::uint64_t sequence) const {
        const std::size_t bad = at;
        while (bytes_.size() - at >= sizeof(RecordHead)) {
            const std::uint64_t most = sequence + (at - bad) / sizeof(RecordHead);  // as many records as fit in between
            const auto head = head_at(at, at == bad ? sequence : sequence + 1, most);
            if (head && is_whole(*head, at)) return std::pair{*head, at};
            if (head && !fits(*head, at)) return std::nullopt;  // it was the last record
            at = head ? end_of(*head, at) : at + 8;
        }
        return std::nullopt;
    }

    std::span<const std::byte> bytes_;
    bool skip_damage_;
    LogContents& found_;
};

}  // namespace

LogContents read_log(const std::string& path, bool skip_damage, std::optional<std::uint64_t> number) {
    const auto bytes = contents_of(path);
    LogContents found;
    found.owner = bytes;
    Reader reader(bytes->values(), skip_damage, found);
    reader.check_head(number);
    reader.read_records();
    return found;
}

}  // namespace ann
