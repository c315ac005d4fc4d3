// The file format of an index: named blocks of bytes behind a checked header.
//
//     offset 0   magic "MEDANN\r\n", u16 major, u16 minor, u32 byte-order mark, u32 header length,
//                u32 number of sections, u64 size of the file
//     offset 32  for each section: char name[8] (zero padded), u64 offset, u64 length, u64 checksum
//     then       u64 checksum of all bytes of the header before it; zeros up to 4096
//     sections   in the order of the table, each at the next multiple of 4096, zeros between; the last ends the file
//
// Given sections have exactly one layout, and the reader refuses every other layout: a change of any byte is detected.
// Files of every minor version can be read: sections that are not asked for are checked and otherwise ignored. The
// meaning of a section's bytes, and whether they are valid, is checked by the code that asks for the section.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "checksum.hpp"
#include "disk.hpp"
#include "error.hpp"

namespace ann {

/// A named block of bytes to be written: 1 to 8 characters of a-z, 0-9 and _.
struct Section {
    std::string_view name;
    std::span<const std::byte> bytes;
};

namespace container {

inline constexpr std::array<char, 8> magic{'M', 'E', 'D', 'A', 'N', 'N', '\r', '\n'};  // text mode changes line ends
inline constexpr std::uint16_t major_version = 1;
inline constexpr std::uint16_t minor_version = 0;
inline constexpr std::uint32_t byte_order = 0x01020304;
inline constexpr std::uint64_t page = 4096;
inline constexpr std::size_t most_sections = 64;

struct Head {
    std::array<char, 8> magic;
    std::uint16_t major;
    std::uint16_t minor;
    std::uint32_t byte_order;
    std::uint32_t length;
    std::uint32_t sections;
    std::uint64_t file_size;
};
static_assert(sizeof(Head) == 32 && std::is_trivially_copyable_v<Head>);

struct Entry {
    std::array<char, 8> name;
    std::uint64_t offset;
    std::uint64_t length;
    std::uint64_t checksum;

    std::string_view text() const {
        return {name.data(), static_cast<std::size_t>(std::find(name.begin(), name.end(), '\0') - name.begin())};
    }
};
static_assert(sizeof(Entry) == 32 && std::is_trivially_copyable_v<Entry>);

inline constexpr std::size_t header_length(std::size_t sections) {
    return sizeof(Head) + sections * sizeof(Entry) + sizeof(std::uint64_t);
}
static_assert(header_length(most_sections) <= page);

/// Return the next multiple of a page. `offset` is at most the largest std::int64_t, so the sum does not overflow.
inline constexpr std::uint64_t aligned(std::uint64_t offset) { return (offset + page - 1) / page * page; }

inline bool good_name(std::string_view name) {
    const auto good = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; };
    return !name.empty() && name.size() <= 8 && std::all_of(name.begin(), name.end(), good);
}

template <typename T>
T value_at(std::span<const std::byte> bytes, std::size_t offset) {
    T value;
    std::memcpy(&value, bytes.data() + offset, sizeof value);
    return value;
}

inline bool all_zero(std::span<const std::byte> bytes) {
    return std::all_of(bytes.begin(), bytes.end(), [](std::byte value) { return value == std::byte{0}; });
}

}  // namespace container

/// Write sections as one file at `path`. When this returns, the file is complete and on the disk. If it fails, there is
/// no new file. A file that was at `path` stays unchanged until it is replaced. Throws FileError with the system's
/// message if the system refuses, and std::invalid_argument for names that are not section names or are given twice.
inline void write_file(const std::string& path, std::span<const Section> sections) {
    using namespace container;
    if (sections.size() > most_sections) throw std::invalid_argument("too many sections");
    std::vector<Entry> table;
    std::uint64_t end = page;
    for (const Section& section : sections) {
        const auto same = [&](const Entry& entry) { return entry.text() == section.name; };
        if (!good_name(section.name)) throw std::invalid_argument("not a section name: " + std::string(section.name));
        if (std::any_of(table.begin(), table.end(), same)) {
            throw std::invalid_argument("section given twice: " + std::string(section.name));
        }
        Entry entry{{}, aligned(end), section.bytes.size(), checksum(section.bytes)};
        std::copy(section.name.begin(), section.name.end(), entry.name.begin());
        end = entry.offset + entry.length;
        table.push_back(entry);
    }
    const std::size_t length = header_length(table.size());
    const Head head{magic,
                    major_version,
                    minor_version,
                    byte_order,
                    static_cast<std::uint32_t>(length),
                    static_cast<std::uint32_t>(table.size()),
                    end};
    std::array<std::byte, page> first{};
    std::memcpy(first.data(), &head, sizeof head);
    if (!table.empty()) std::memcpy(first.data() + sizeof head, table.data(), table.size() * sizeof(Entry));
    const std::uint64_t sum = checksum({first.data(), length - sizeof(std::uint64_t)});
    std::memcpy(first.data() + length - sizeof sum, &sum, sizeof sum);

    disk::Temporary file(path);
    file.write(first);
    static constexpr std::array<std::byte, page> zeros{};
    std::uint64_t at = page;
    for (std::size_t i = 0; i < table.size(); ++i) {
        file.write({zeros.data(), static_cast<std::size_t>(table[i].offset - at)});
        file.write(sections[i].bytes);
        at = table[i].offset + table[i].length;
    }
    file.keep();
}

/// An open file; every byte was checked. The bytes that it returns stay valid as long as the File or its owner()
/// exists, and stay the same unless the file is mapped (disk::Contents). write_file never writes into an existing file.
class File {
public:
    /// Read or map the file, and check it. Throws a FileError that says which part is wrong and why.
    static File open(const std::string& path, disk::Hold hold = disk::Hold::automatic) {
        File file(std::make_shared<const disk::Contents>(path, hold));
        file.check_header();
        file.check_sections();
        return file;
    }

    std::optional<std::span<const std::byte>> find(std::string_view name) const {
        for (const container::Entry& entry : table_) {
            if (entry.text() == name) return bytes_of(entry);
        }
        return std::nullopt;
    }

    std::span<const std::byte> require(std::string_view name) const {
        const auto found = find(name);
        if (!found) throw FileError(std::string(name), "the section is missing");
        return *found;
    }

    std::shared_ptr<const disk::Contents> owner() const { return contents_; }

private:
    explicit File(std::shared_ptr<const disk::Contents> contents) : contents_(std::move(contents)) {}

    std::span<const std::byte> bytes_of(const container::Entry& entry) const {
        const auto offset = static_cast<std::size_t>(entry.offset);
        return contents_->bytes().subspan(offset, static_cast<std::size_t>(entry.length));
    }

    void check_header() {
        using namespace container;
        const auto refuse = [](const std::string& why) { throw FileError("header", why); };
        const auto bytes = contents_->bytes();
        if (bytes.size() < sizeof(Head)) refuse("the file is too short for an index");
        const auto head = value_at<Head>(bytes, 0);
        if (head.magic != magic) refuse("this is not an index file of medalist");
        if (head.byte_order != byte_order) {
            const bool swapped = head.byte_order == 0x04030201;
            refuse(swapped ? "written on a machine of the other byte order" : "damaged byte-order mark");
        }
        if (head.major != major_version) {
            refuse("format version " + std::to_string(head.major) + ", but this program reads version " +
                   std::to_string(major_version));
        }
        if (head.sections > most_sections) refuse("too many sections: " + std::to_string(head.sections));
        if (head.length != header_length(head.sections)) refuse("its length does not fit the number of sections");
        if (head.file_size != bytes.size()) {
            refuse("the file has " + std::to_string(bytes.size()) + " bytes, but " + std::to_string(head.file_size) +
                   " were written");
        }
        if (bytes.size() < page) refuse("the file is too short for an index");
        const std::size_t end = head.length - sizeof(std::uint64_t);
        if (value_at<std::uint64_t>(bytes, end) != checksum(bytes.first(end))) refuse("wrong checksum");
        if (!all_zero(bytes.subspan(head.length, page - head.length))) refuse("bytes behind its end");
        for (std::size_t i = 0; i < head.sections; ++i) {
            table_.push_back(value_at<Entry>(bytes, sizeof(Head) + i * sizeof(Entry)));
        }
    }

    void check_sections() const {
        using namespace container;
        const auto bytes = contents_->bytes();
        std::uint64_t end = page;
        for (std::size_t i = 0; i < table_.size(); ++i) {
            const Entry& entry = table_[i];
            const std::string_view name = entry.text();
            const auto tail = entry.name.begin() + static_cast<std::ptrdiff_t>(name.size());
            if (!good_name(name) || std::any_of(tail, entry.name.end(), [](char c) { return c != '\0'; })) {
                throw FileError("header", "section " + std::to_string(i) + " has no proper name");
            }
            const auto refuse = [&](const std::string& why) { throw FileError(std::string(name), why); };
            const auto same = [&](const Entry& other) { return other.text() == name; };
            const auto here = table_.begin() + static_cast<std::ptrdiff_t>(i);
            if (std::any_of(table_.begin(), here, same)) refuse("is in the file twice");
            if (entry.offset != aligned(end)) refuse("does not begin where the part before it ends");
            if (entry.offset > bytes.size() || entry.length > bytes.size() - entry.offset) {
                refuse("reaches beyond the end of the file");
            }
            if (!all_zero(bytes.subspan(static_cast<std::size_t>(end), static_cast<std::size_t>(entry.offset - end)))) {
                refuse("the padding before it is not zero");
            }
            if (entry.checksum != checksum(bytes_of(entry))) refuse("wrong checksum");
            end = entry.offset + entry.length;
        }
        if (end != bytes.size()) throw FileError("header", "bytes behind the last section");
    }

    std::shared_ptr<const disk::Contents> contents_;
    std::vector<container::Entry> table_;
};

}  // namespace ann
