// Small index files, changed at random by a seeded mutator that knows the container, and cut off at every length.
//
//     ann_mutate [FILES [SEED]]       try FILES changed files (default 100,000) and all truncations
//     ann_mutate --corpus FOLDER      write the unchanged files, to begin libFuzzer with
//     ann_mutate --one FILES SEED     write the changed file number FILES of SEED to stdout, to look at a failure
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "answers.hpp"
#include "bytes.hpp"
#include "check.hpp"
#include "fuzz.hpp"
#include "index.hpp"
#include "random.hpp"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

namespace {

using bytes::Bytes;

/// Random numbers one after another.
class Dice {
public:
    explicit Dice(std::uint64_t seed) : seed_(seed) {}
    std::size_t below(std::size_t bound) { return static_cast<std::size_t>(ann::random_below(seed_, place_++, bound)); }
    bool heads() { return below(2) == 0; }

private:
    std::uint64_t seed_;
    std::uint64_t place_ = 0;
};

Bytes index_file(const ann::Options& options, std::size_t n, const std::string& path) {
    const std::vector<float> vectors = clustered(n, options.dim, options.seed, n > 1000 ? 560 : n);
    ann::Index index(options);
    index.add(vectors.data(), n, 1, nullptr);
    const std::string_view labels = "labels of the caller";
    index.save(path, std::as_bytes(std::span(labels)));
    return bytes::read(path);
}

std::vector<Bytes> whole_files() {
    std::string folder = (std::filesystem::temp_directory_path() / "ann-XXXXXX").string();
    if (::mkdtemp(folder.data()) == nullptr) throw check::Failure("mkdtemp");
    using ann::Metric, ann::Refine;
    // The smallest that have a graph, and some that have none.
    const ann::Options l2{2, Metric::l2, Refine::float32, 4, 8, 1};
    const ann::Options cosine{3, Metric::cosine, Refine::float16, 4, 8, 2};
    const ann::Options product{1, Metric::inner_product, Refine::float32, 5, 8, 3};
    std::vector<Bytes> files;
    const std::string path = folder + "/index";
    files.push_back(index_file(l2, 1100, path));
    files.push_back(index_file(cosine, 1030, path));
    files.push_back(index_file(product, 1025, path));
    files.push_back(index_file(l2, 9, path));
    files.push_back(index_file(cosine, 0, path));
    std::filesystem::remove_all(folder);
    return files;
}

struct Part {
    std::string name;
    Bytes bytes;
};

std::vector<Part> parts_of(const Bytes& file) {
    std::vector<Part> parts;
    for (std::size_t i = 0; i < bytes::entries(file); ++i) {
        const std::size_t at = bytes::table_at + i * bytes::entry_size;
        ann::container::Entry entry{};
        std::memcpy(&entry, file.data() + at, sizeof entry);
        const auto first = file.begin() + static_cast<std::ptrdiff_t>(entry.offset);
        parts.push_back({std::string(entry.text()), Bytes(first, first + static_cast<std::ptrdiff_t>(entry.length))});
    }
    return parts;
}

/// A container of these parts, laid out as it must be and with right checksums, without a disk.
Bytes joined(const std::vector<Part>& parts) {
    using namespace ann::container;
    Bytes file(page);
    std::vector<Entry> table;
    for (const Part& part : parts) {
        file.resize(static_cast<std::size_t>(aligned(file.size())));
        Entry entry{{}, file.size(), part.bytes.size(), 0};
        std::copy(part.name.begin(), part.name.end(), entry.name.begin());
        table.push_back(entry);
        file.insert(file.end(), part.bytes.begin(), part.bytes.end());
    }
    const auto count = static_cast<std::uint32_t>(table.size());
    const auto length = static_cast<std::uint32_t>(header_length(count));
    const Head head{magic, major_version, minor_version, byte_order, length, count, file.size()};
    std::memcpy(file.data(), &head, sizeof head);
    for (std::size_t i = 0; i < table.size(); ++i) bytes::put(file, bytes::table_at + i * bytes::entry_size, table[i]);
    bytes::seal(file);
    return file;
}

/// Numbers that programs stumble over: ends of ranges, sizes of the small files, floats that are no numbers.
std::uint64_t awkward(Dice& dice) {
    constexpr std::uint64_t known[] = {9,    1024,       1025,       1030,       1099,
                                       1100, 0x7f800000, 0x7fc00000, 0x7f7fffff, 0x7ff0000000000000};
    if (dice.heads()) return known[dice.below(std::size(known))];
    return (std::uint64_t{1} << dice.below(64)) - dice.below(3) + 1;
}

/// Change some bytes of `where`, as bytes, as words of 4 or as words of 8.
void change_values(Bytes& where, std::size_t first, std::size_t length, Dice& dice) {
    if (length == 0) return;
    for (std::size_t times = 1 + dice.below(4); times > 0; --times) {
        const std::size_t size = std::size_t{1} << dice.below(4);
        if (length < size) continue;
        const std::size_t at = first + dice.below(length / size) * size;
        std::uint64_t value = dice.heads() ? awkward(dice) : dice.below(~std::size_t{0});
        const std::size_t kind = dice.below(4);
        if (kind == 0) {  // one more or less
            std::memcpy(&value, where.data() + at, size);
            value += dice.heads() ? 1 : ~std::uint64_t{0};
        }
        // The same as a neighbour or another one.
        if (kind == 1) std::memcpy(&value, where.data() + first + dice.below(length / size) * size, size);
        if (kind == 2 && at >= first + size) std::memcpy(&value, where.data() + at - size, size);
        std::memcpy(where.data() + at, &value, size);
    }
}

/// Change what a section holds or how long it is, take one out, double it, or swap two. All checksums are right.
Bytes with_other_sections(const Bytes& whole, Dice& dice) {
    std::vector<Part> parts = parts_of(whole);
    const std::size_t one = dice.below(parts.size()), other = dice.below(parts.size());
    Bytes& content = parts[one].bytes;
    const std::size_t size = content.size();
    switch (dice.below(8)) {
        case 0: content.resize(dice.below(size + 1)); break;
        case 1: content.resize(size + 1 + dice.below(64)); break;
        case 2: std::swap(content, parts[other].bytes); break;
        case 3: parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(one)); break;
        case 4: std::swap(parts[one], parts[other]); break;
        default: change_values(content, 0, size, dice);
    }
    return joined(parts);
}

Bytes changed_file(const std::vector<Bytes>& whole, std::uint64_t seed) {
    Dice dice(seed);
    Bytes file = whole[dice.below(whole.size())];
    if (dice.below(3) != 0) return with_other_sections(file, dice);
    switch (dice.below(4)) {
        case 0: file.resize(dice.below(file.size())); break;
        case 1: change_values(file, 0, bytes::table_at + bytes::entries(file) * bytes::entry_size, dice); break;
        default: change_values(file, 0, file.size(), dice);
    }
    if (dice.heads()) bytes::seal(file);
    return file;
}

// The file that is being tried, for the message of a sanitizer or of the clock.
volatile std::uint64_t current = 0;

void say_current() {
    char text[64];
    const std::uint64_t file = current;
    const int length = std::snprintf(text, sizeof text, "this was file %llu\n", static_cast<unsigned long long>(file));
    static_cast<void>(!::write(STDERR_FILENO, text, static_cast<std::size_t>(length)));
}

int tried(const Bytes& file) {
    ::alarm(20);  // no file may keep the loader or a search busy for longer
    const int opened = LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(file.data()), file.size());
    ::alarm(0);
    return opened;
}

/// Every shorter version of the file, as it is and with a header that says so.
std::size_t try_truncations(const Bytes& whole) {
    std::size_t files = 0;
    for (Bytes shorter = whole; !shorter.empty(); ++files) {
        shorter.pop_back();
        CHECK(tried(shorter) == 0);
        Bytes repaired = shorter;
        if (repaired.size() < ann::container::page) continue;
        bytes::put<std::uint64_t>(repaired, bytes::size_at, repaired.size());
        const std::size_t last = bytes::table_at + (bytes::entries(whole) - 1) * bytes::entry_size;
        const auto offset = bytes::get<std::uint64_t>(whole, last + 8);
        if (repaired.size() >= offset) bytes::put<std::uint64_t>(repaired, last + 16, repaired.size() - offset);
        bytes::seal(repaired);
        tried(repaired);
        ++files;
    }
    return files;
}

void write(const std::string& path, const Bytes& file) {
    std::FILE* to = path == "-" ? stdout : std::fopen(path.c_str(), "wb");
    if (to == nullptr || std::fwrite(file.data(), 1, file.size(), to) != file.size()) throw check::Failure(path);
    if (to != stdout) std::fclose(to);
}

}  // namespace

int main(int count, char** words) {
    const std::vector<std::string> arguments(words + 1, words + count);
    const std::vector<Bytes> whole = whole_files();
    if (arguments.size() == 2 && arguments[0] == "--corpus") {
        std::filesystem::create_directories(arguments[1]);
        for (std::size_t i = 0; i < whole.size(); ++i) write(arguments[1] + "/whole" + std::to_string(i), whole[i]);
        return 0;
    }
    const bool one = arguments.size() == 3 && arguments[0] == "--one";
    const std::size_t skip = one ? 1 : 0;
    const std::uint64_t files = arguments.size() > skip ? std::stoull(arguments[skip]) : 100000;
    const std::uint64_t seed = arguments.size() > skip + 1 ? std::stoull(arguments[skip + 1]) : 0;
    const auto numbered = [&](std::uint64_t i) { return changed_file(whole, ann::random_bits(seed, i)); };
    if (one) {
        write("-", numbered(files));
        return 0;
    }
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_set_death_callback(say_current);
#endif
    std::signal(SIGALRM, [](int) {
        say_current();
        ::_exit(1);
    });
    std::size_t truncated = 0, answered = 0;
    for (const Bytes& file : whole) {
        CHECK(tried(file) == 1);
        CHECK(joined(parts_of(file)) == file);
    }
    truncated += try_truncations(whole.front());  // with a graph
    truncated += try_truncations(whole.back());   // without
    try {
        for (std::uint64_t i = 0; i < files; ++i) {
            current = i;
            answered += static_cast<std::size_t>(tried(numbered(i)));
        }
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        say_current();
        return 1;
    }
    std::printf("%zu truncations, %llu changed files: %zu were refused, %zu opened and answered\n", truncated,
                static_cast<unsigned long long>(files), static_cast<std::size_t>(files) - answered, answered);
    return 0;
}
