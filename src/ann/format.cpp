// Every number of a file is checked before it is used: what is read may have been written by anybody.
#include "format.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string_view>
#include <type_traits>

#include "file.hpp"
#include "linking.hpp"

namespace ann {
namespace {

/// The section "params", without gaps.
struct Params {
    std::uint32_t dim, metric, refine, degree, effort, bits;
    std::uint64_t seed, size, linked, trained, measured, cut;
    float range, radius;
};
static_assert(sizeof(Params) == 80 && std::is_trivially_copyable_v<Params>);

struct Reader {
    const File& file;

    [[noreturn]] static void refuse(std::string_view section, const std::string& why) {
        throw FileError(std::string(section), why);
    }

    /// The section as values; `count` of them.
    template <typename T>
    std::span<const T> values(std::string_view name, std::uint64_t count) const {
        const auto bytes = file.require(name);
        if (bytes.size() / sizeof(T) != count || bytes.size() % sizeof(T) != 0) {
            refuse(name, std::to_string(bytes.size()) + " bytes, but the parameters ask for " + std::to_string(count) +
                             " values of " + std::to_string(sizeof(T)));
        }
        return as<T>(bytes);
    }

    /// The section as values, as many as there are.
    template <typename T>
    std::span<const T> list(std::string_view name) const {
        const auto bytes = file.require(name);
        if (bytes.size() % sizeof(T) != 0) refuse(name, "not a whole number of values");
        return as<T>(bytes);
    }

    template <typename T>
    static std::span<const T> as(std::span<const std::byte> bytes) {
        return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};  // sections begin at whole pages
    }

    Params params() const {
        const auto found = values<Params>("params", 1);
        Params params;
        std::memcpy(&params, found.data(), sizeof params);
        const auto need = [](bool good, const char* why) {
            if (!good) refuse("params", why);
        };
        need(params.dim > 0 && params.dim <= 65536, "the dimension is not between 1 and 65536");
        need(params.metric <= 2, "unknown metric");
        need(params.refine <= 1, "unknown type of vectors");
        need(params.degree >= 4 && params.degree <= 512, "the degree is not between 4 and 512");
        need(params.effort >= 8 && params.effort <= 65536, "the effort is not between 8 and 65536");
        need(params.size <= most_rows, "more rows than an index holds");
        need(params.linked <= params.size && params.trained <= params.size && params.measured <= params.size,
             "more rows in the graph than in the index");
        need((params.bits == 0) == (params.linked == 0), "a graph without codes, or codes without a graph");
        need(params.bits == 0 || params.bits == 4 || params.bits == 8 || params.bits == 16, "unknown width of codes");
        need(std::isfinite(params.range) && params.range > 0.0f && std::isfinite(32767.0f / params.range),
             "the range of codes is not a positive number");
        need(std::isfinite(params.radius) && params.radius >= 0.0f, "the radius is not a number");
        need(params.linked == 0 || params.trained > 0, "codes learned from nothing");
        return params;
    }

    template <typename T, typename Good>
    static void need_all(std::string_view section, std::span<const T> values, const Good& good, const char* why) {
        const auto bad = std::find_if_not(values.begin(), values.end(), good);
        if (bad == values.end()) return;
        refuse(section, "value " + std::to_string(bad - values.begin()) + " " + why);
    }

    static void check_finite(std::string_view section, std::span<const float> values) {
        need_all(section, values, [](float value) { return std::isfinite(value); }, "is not a finite number");
    }

    static void check_finite(std::string_view section, std::span<const std::uint16_t> values) {
        need_all(
            section, values, [](std::uint16_t value) { return (value & 0x7c00) != 0x7c00; }, "is not a finite number");
    }

    std::shared_ptr<const Graph> graph(const Params& params) const {
        auto graph = std::make_shared<Graph>();
        const std::size_t width = params.dim + (params.metric == 1 ? 1 : 0);
        const auto mean = values<float>("mean", width);
        check_finite("mean", mean);
        graph->quantizer = Quantizer(params.dim, quantizer_seed(params.seed), {mean.begin(), mean.end()},
                                     Scale{static_cast<Bits>(params.bits), params.range, params.radius});
        graph->trained = params.trained;
        graph->measured = params.measured;
        graph->linked = params.linked;
        graph->cut = params.cut;
        const auto inside = [&](std::uint32_t row) { return row < params.linked; };
        const auto links = values<std::uint32_t>("links", params.linked * params.degree);
        need_all("links", links, inside, "leads to a row that is not there");
        graph->links = Array<std::uint32_t>::copy(links);
        const auto seeds = list<std::uint32_t>("seeds");
        need_all("seeds", seeds, inside, "is a row that is not there");
        if (seeds.empty()) refuse("seeds", "a graph without a place to begin");
        if (seeds.size() > params.linked) refuse("seeds", "more seeds than rows");
        graph->seeds.assign(seeds.begin(), seeds.end());
        read_duplicates(*graph);
        const auto table = list<Recall>("recall");
        for (std::size_t i = 0; i < table.size(); ++i) {
            const Recall& row = table[i];
            const auto share = [](float value) { return value >= 0.0f && value <= 1.0f; };
            const bool rising = i == 0 ? row.ef > 0 : row.ef > table[i - 1].ef;
            const bool reaches = row.reach >= (i == 0 ? 1.0f : table[i - 1].reach) && row.reach <= 1e9f;
            if (!rising || !reaches || !share(row.at_1) || !share(row.at_10) || !share(row.at_100)) {
                refuse("recall", "row " + std::to_string(i) + " is not a width, three shares and a reach, in order");
            }
        }
        graph->recall.assign(table.begin(), table.end());
        return graph;
    }

    void read_duplicates(Graph& graph) const {
        const auto rows = list<std::uint32_t>("dups");
        if (rows.size() % 2 != 0) refuse("dups", "not a whole number of pairs");
        std::vector<bool> is_duplicate(graph.linked, false);
        for (std::size_t i = 0; i < rows.size(); i += 2) {
            const std::pair pair{rows[i], rows[i + 1]};
            const bool sorted = graph.duplicates.empty() || graph.duplicates.back() < pair;
            if (!sorted || pair.first >= pair.second || pair.second >= graph.linked || is_duplicate[pair.second]) {
                refuse("dups", "pair " + std::to_string(i / 2) + " is not a row and a later equal one, in order");
            }
            is_duplicate[pair.second] = true;
            graph.duplicates.push_back(pair);
        }
        for (const auto& pair : graph.duplicates) {
            if (is_duplicate[pair.first]) refuse("dups", "a row is equal to one that is itself put aside");
        }
    }
};

template <typename T>
std::span<const std::byte> bytes_of(const T& values) {
    return std::as_bytes(std::span(values.data(), values.size()));
}

}  // namespace

void Format::save(const Index& index, const State& state, const std::string& path, std::span<const std::byte> labels) {
    const Options& options = index.options();
    const Graph none;
    const Graph& graph = state.graph ? *state.graph : none;
    const Scale& scale = graph.quantizer.scale();
    const Params params{options.dim,
                        static_cast<std::uint32_t>(options.metric),
                        static_cast<std::uint32_t>(options.refine),
                        static_cast<std::uint32_t>(index.build_.degree),
                        static_cast<std::uint32_t>(index.build_.effort),
                        state.graph ? static_cast<std::uint32_t>(scale.bits) : 0,
                        options.seed,
                        state.size,
                        graph.linked,
                        graph.trained,
                        graph.measured,
                        graph.cut,
                        scale.range,
                        scale.radius};
    std::vector<std::uint32_t> duplicates;
    for (const auto& [first, row] : graph.duplicates) duplicates.insert(duplicates.end(), {first, row});
    std::vector<Section> sections{{"params", std::as_bytes(std::span(&params, 1))},
                                  {"labels", labels},
                                  {"vectors", state.vectors.raw(state.size)}};
    if (state.graph) {
        const auto codes = std::as_bytes(std::span(state.codes->data(), state.size * graph.quantizer.bytes()));
        sections.insert(sections.end(), {{"mean", bytes_of(graph.quantizer.mean())},
                                         {"codes", codes},
                                         {"links", std::as_bytes(graph.links.values())},
                                         {"seeds", bytes_of(graph.seeds)},
                                         {"dups", bytes_of(duplicates)},
                                         {"recall", bytes_of(graph.recall)}});
    }
    write_file(path, sections);
}

std::pair<std::unique_ptr<Index>, std::vector<std::byte>> Format::open(const std::string& path, Mode mode) {
    const File file = File::open(path);
    const Reader reader{file};
    const Params params = reader.params();
    auto index =
        std::make_unique<Index>(Options{params.dim, static_cast<Metric>(params.metric),
                                        static_cast<Refine>(params.refine), params.degree, params.effort, params.seed});
    State state = *index->snapshot();
    state.size = params.size;
    if (params.refine == 0) {
        Reader::check_finite("vectors", reader.values<float>("vectors", params.size * params.dim));
    } else {
        Reader::check_finite("vectors", reader.values<std::uint16_t>("vectors", params.size * params.dim));
    }
    state.vectors.view(file.require("vectors"), file.owner(), mode == Mode::memory);
    if (params.linked > 0) {
        state.graph = reader.graph(params);
        const auto codes = reader.values<std::uint8_t>("codes", params.size * state.graph->quantizer.bytes());
        state.codes = std::make_shared<Array<std::uint8_t>>(Array<std::uint8_t>::copy(codes));
    }
    const auto labels = file.require("labels");
    index->publish(std::move(state));
    return {std::move(index), std::vector<std::byte>(labels.begin(), labels.end())};
}

}  // namespace ann
