#include "file.hpp"

#if !defined(_WIN32)
#include <sys/resource.h>
#include <sys/stat.h>
#endif

#include <csignal>
#include <filesystem>
#include <fstream>

#include "bytes.hpp"
#include "check.hpp"
#include "checksum.hpp"
#include "folder.hpp"

using ann::File, ann::FileError, ann::Section;
using check::Bytes, check::MemoryFile;

namespace {

Bytes numbered(std::size_t size) {
    Bytes made(size);
    for (std::size_t i = 0; i < size; ++i) made[i] = static_cast<std::byte>(i * 7 + i / 256 + 1);
    return made;
}

/// Return a small file with three sections, one of them empty.
Bytes small_file() {
    const Folder folder;
    const Bytes params = numbered(40), links = numbered(4100);
    const Section sections[] = {{"params", params}, {"empty", {}}, {"links", links}};
    ann::write_file(folder / "small", sections);
    return bytes::read(folder / "small");
}

std::string refusal(const Bytes& file) {
    const MemoryFile memory(file);
    return CHECK_THROWS(FileError, File::open(memory.path()));
}

bool opens(const Bytes& file) {
    const MemoryFile memory(file);
    return File::open(memory.path()).require("params").size() == 40;
}

}  // namespace

void test_checksum() {
    const auto sum = [](std::string_view text) { return ann::checksum(std::as_bytes(std::span(text))); };
    // Known answers of XXH64 with seed 0, for each path: nothing, single bytes, words, whole stripes and the bytes
    // behind them.
    CHECK(sum("") == 0xef46db3751d8e999u);
    CHECK(sum("a") == 0xd24ec4f1a98c6e5bu);
    CHECK(sum("abc") == 0x44bc2cf5ad770999u);
    CHECK(sum("Nobody inspects the spammish repetition") == 0xfbcea83c8a378bf1u);
    CHECK(sum("message digest, and more than thirty-two bytes of it: 12345") == 0x880646e9f14a5ff0u);
}

void test_file() {
    const Folder folder;
    const std::string path = folder / "index";
    for (const std::size_t size : {0u, 1u, 31u, 4095u, 4096u, 4097u, 100000u}) {
        const Bytes first = numbered(size), second = numbered(size + 3);
        const Section sections[] = {{"a", first}, {"12345678", second}, {"last", {}}};
        ann::write_file(path, sections);
        const File file = File::open(path);
        CHECK(std::ranges::equal(file.require("a"), first));
        CHECK(std::ranges::equal(file.require("12345678"), second));
        CHECK(file.require("last").empty());
        CHECK(!file.find("1234567"));
        CHECK(reinterpret_cast<std::uintptr_t>(file.require("12345678").data()) % ann::container::page == 0);
        CHECK(CHECK_THROWS(FileError, file.require("gone")) == "gone: the section is missing");
        CHECK(folder.files() == 1);
    }
    ann::write_file(path, {});
    CHECK(!File::open(path).find("a"));

    // Mapped bytes stay the same when the file is replaced, and as long as their owner exists.
    const Bytes old_bytes = numbered(5000), new_bytes = numbered(6000);
    const Section before[] = {{"a", old_bytes}}, after[] = {{"a", new_bytes}};
    ann::write_file(path, before);
    std::shared_ptr<const void> owner;
    std::span<const std::byte> kept;
    {
        const File file = File::open(path);
        owner = file.owner();
        kept = file.require("a");
    }
#if defined(_WIN32)
    CHECK(CHECK_THROWS(FileError, ann::write_file(path, after)) ==
          "file: cannot be replaced while it is open or mapped; close it, or write to another name");
    CHECK(std::ranges::equal(kept, old_bytes) && folder.files() == 1);
    owner.reset();
    ann::write_file(path, after);
#else
    ann::write_file(path, after);
    CHECK(std::ranges::equal(kept, old_bytes));
#endif
    CHECK(std::ranges::equal(File::open(path).require("a"), new_bytes));

    const Section twice[] = {{"a", {}}, {"a", {}}};
    CHECK_THROWS(std::invalid_argument, ann::write_file(path, twice));
    for (const std::string_view name : {"", "123456789", "Upper", "a b", "\xc3\xa4"}) {
        const Section wrong[] = {{name, {}}};
        CHECK_THROWS(std::invalid_argument, ann::write_file(path, wrong));
    }
    const std::vector<Section> many(65);
    CHECK_THROWS(std::invalid_argument, ann::write_file(path, many));
    CHECK(std::ranges::equal(File::open(path).require("a"), new_bytes));
}

void test_hostile_files() {
    const Bytes whole = small_file();
    CHECK(opens(whole));
    for (Bytes shorter = whole; !shorter.empty();) {
        shorter.pop_back();
        refusal(shorter);
    }
    for (const std::size_t more : {1u, 8u, 4096u}) {
        Bytes longer = whole;
        longer.resize(whole.size() + more);
        refusal(longer);
        bytes::put<std::uint64_t>(longer, bytes::size_at, longer.size());
        bytes::seal(longer);
        CHECK(refusal(longer) == "header: bytes behind the last section");
    }
    for (std::size_t at = 0; at < whole.size(); ++at) {
        for (const int change : {1, 128, 255}) {
            Bytes damaged = whole;
            damaged[at] ^= static_cast<std::byte>(change);
            refusal(damaged);
        }
    }

    // A header with a right checksum but wrong contents.
    const auto with = [&](std::size_t at, auto value) {
        Bytes changed = whole;
        bytes::put(changed, at, value);
        bytes::seal(changed);
        return changed;
    };
    using bytes::entry_size, bytes::table_at;
    CHECK(opens(with(bytes::minor_at, std::uint16_t{7})));
    CHECK(refusal(with(8, std::uint16_t{2})) == "header: format version 2, but this program reads version 1");
    CHECK(refusal(with(12, std::uint32_t{0x04030201})) == "header: written on a machine of the other byte order");
    CHECK(refusal(with(0, 'N')) == "header: this is not an index file of medalist");
    for (const std::uint32_t count : {0u, 1u, 2u, 4u, 64u, 65u, 0xffffffffu}) refusal(with(bytes::count_at, count));
    for (const std::uint32_t length : {0u, 4096u, 0xffffffffu}) refusal(with(bytes::length_at, length));
    constexpr std::uint64_t most = ~std::uint64_t{0};
    for (std::size_t section = 0; section < 3; ++section) {
        const std::size_t at = table_at + section * entry_size;
        const auto offset = bytes::get<std::uint64_t>(whole, at + 8);
        const auto length = bytes::get<std::uint64_t>(whole, at + 16);
        const std::uint64_t size = whole.size(), nothing = 0, one = 1, two_pages = 4097;
        for (const std::uint64_t value :
             {nothing, one, two_pages, offset + 4096, size, most, most - 4095, most / 2, most - offset + 1}) {
            if (value != offset) refusal(with(at + 8, value));
            if (value != length) refusal(with(at + 16, value));
        }
        for (const char* name : {"params\0", "empty\0\0", "links\0\0", "Links\0\0", "\0inks\0\0", "li\0ks\0\0"}) {
            std::array<char, 8> field{};
            std::copy(name, name + 7, field.begin());
            if (std::memcmp(field.data(), whole.data() + at, 8) != 0) refusal(with(at, field));
        }
    }
    CHECK(refusal(with(whole.size() - 4101, 'x')) == "empty: the padding before it is not zero");
    CHECK(refusal(with(200, 'x')) == "header: bytes behind its end");
}

void test_unwritable_files() {
    const Folder folder;
    CHECK(CHECK_THROWS(FileError, File::open(folder / "none")) == "file: cannot be opened: No such file or directory");
#if defined(_WIN32)
    CHECK(CHECK_THROWS(FileError, File::open(folder / "")) == "file: cannot be opened: Is a directory");
#else
    CHECK(CHECK_THROWS(FileError, File::open(folder / "")) == "file: is not a regular file");
    CHECK(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
    CHECK(CHECK_THROWS(FileError, File::open(folder / "pipe")) == "file: is not a regular file");
#endif
    std::ofstream(folder / "nothing").flush();
    CHECK(CHECK_THROWS(FileError, File::open(folder / "nothing")) == "file: is empty");

    const Bytes small = numbered(100);
    const Section first[] = {{"a", small}};
    const std::string path = folder / "index";
    ann::write_file(path, first);
    const std::size_t files = folder.files();
    CHECK(CHECK_THROWS(FileError, ann::write_file(folder / "none/index", first)) ==
          "file: cannot be written: No such file or directory");
    CHECK_THROWS(FileError, ann::write_file(folder / "", first));
    std::filesystem::create_directory(folder / "taken");
    const std::string taken = CHECK_THROWS(FileError, ann::write_file(folder / "taken", first));
    CHECK(taken == "file: cannot be written: Is a directory");
    CHECK(folder.files() == files + 1);  // the folder "taken", and nothing that was left behind

#if !defined(_WIN32)
    // A disk that becomes full in the middle of a section, simulated by a limit on the file size.
    const Bytes large = numbered(1 << 20);
    const Section second[] = {{"a", large}};
    struct rlimit before{};
    CHECK(::getrlimit(RLIMIT_FSIZE, &before) == 0);
    const struct rlimit limit{500000, before.rlim_max};
    std::signal(SIGXFSZ, SIG_IGN);
    CHECK(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
    const std::string words = CHECK_THROWS(FileError, ann::write_file(path, second));
    CHECK(::setrlimit(RLIMIT_FSIZE, &before) == 0);
    CHECK(words == "file: cannot be written: File too large");
    CHECK(std::ranges::equal(File::open(path).require("a"), small));
    CHECK(folder.files() == files + 1);
#endif
}
