// Every number of a file is checked before it is used, because the file may come from anyone.
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
    std::uint64_t seed, size, dead, next, linked, trained, measured, cut, late_cut;
    float range, radius;
};
static_assert(sizeof(Params) == 104 && std::is_trivially_copyable_v<Params>);

struct Reader {
    const File& file;

    [[noreturn]] static void refuse(std::string_view section, const std::string& why) {
        throw FileError(std::string(section), why);
    }

    /// Return the section as values; it must have `count` of them.
    template <typename T>
    std::span<const T> values(std::string_view name, std::uint64_t count) const {
        const auto bytes = file.require(name);
        if (bytes.size() / sizeof(T) != count || bytes.size() % sizeof(T) != 0) {
            refuse(name, std::to_string(bytes.size()) + " bytes, but the parameters ask for " + std::to_string(count) +
                             " values of " + std::to_string(sizeof(T)));
        }
        return as<T>(bytes);
    }

    /// Return the section as values, as many as it has.
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
        need(params.dead <= params.size, "more dead rows than rows");
        need(params.linked <= params.size && params.trained <= params.size && params.measured <= params.size,
             "more rows in the graph than in the index");
        need((params.bits == 0) == (params.linked == 0), "a graph without codes, or codes without a graph");
        need(params.bits == 0 || params.bits == 4 || params.bits == 8 || params.bits == 16, "unknown width of codes");
        need(std::isfinite(params.range) && params.range > 0.0f && std::isfinite(32767.0f / params.range),
             "the range of codes is not a positive number");
        need(std::isfinite(params.radius) && params.radius >= 0.0f, "the radius is not a number");
        need(params.linked == 0 || params.trained > 0, "codes without training rows");
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

    std::shared_ptr<Graph> graph(const Params& params) const {
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
        if (seeds.empty()) refuse("seeds", "the graph has no seeds");
        if (seeds.size() > params.linked) refuse("seeds", "more seeds than rows");
        graph->seeds.assign(seeds.begin(), seeds.end());
        read_duplicates(*graph, params.degree);
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

    Outness outer() const {
        const Outness found = values<Outness>("outer", 1).front();
        const auto good = [](float value) { return std::isfinite(value) && value >= 0.0f; };
        if (!good(found.tenth) || !good(found.ratio)) refuse("outer", "not a distance and a ratio");
        return found;
    }

    void read_duplicates(Graph& graph, std::size_t degree) const {
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
            if (is_duplicate[pair.first]) refuse("dups", "a row is equal to one that is itself a duplicate");
        }
        const auto aside = [&](std::uint32_t row) { return is_duplicate[row]; };
        if (std::any_of(graph.seeds.begin(), graph.seeds.end(), aside))
            refuse("seeds", "one is a duplicate");
        for (std::size_t i = 0; i < graph.links.size(); ++i) {
            if (aside(graph.links.data()[i]) && graph.links.data()[i] != i / degree) {
                refuse("links", "value " + std::to_string(i) + " leads to a duplicate");
            }
        }
    }
};

template <typename T>
std::span<const std::byte> bytes_of(const T& values) {
    return std::as_bytes(std::span(values.data(), values.size()));
}

/// Return the fields' names and kinds: u32 count, then for each field u32 kind, u32 bytes, and the name.
std::vector<std::byte> encode_schema(const Schema& schema) {
    std::vector<std::byte> bytes;
    const auto put = [&](std::span<const std::byte> more) { bytes.insert(bytes.end(), more.begin(), more.end()); };
    const auto number = [&](std::size_t value) {
        const auto small = static_cast<std::uint32_t>(value);
        put(std::as_bytes(std::span(&small, 1)));
    };
    number(schema.size());
    for (const Field& field : schema) {
        number(static_cast<std::size_t>(field.kind));
        number(field.name.size());
        put(std::as_bytes(std::span(field.name)));
    }
    return bytes;
}

Schema decode_schema(std::span<const std::byte> bytes) {
    const auto number = [&]() -> std::size_t {
        if (bytes.size() < sizeof(std::uint32_t)) Reader::refuse("schema", "cut off");
        const auto value = container::value_at<std::uint32_t>(bytes, 0);
        bytes = bytes.subspan(sizeof value);
        return value;
    };
    const std::size_t count = number();
    if (count > most_fields) Reader::refuse("schema", "more fields than an index has");
    Schema schema;
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t kind = number(), length = number();
        if (kind >= kinds) Reader::refuse("schema", "a field of an unknown kind");
        if (length == 0 || length > bytes.size()) Reader::refuse("schema", "cut off");
        schema.push_back({{reinterpret_cast<const char*>(bytes.data()), length}, static_cast<Kind>(kind)});
        const auto same = [&](const Field& field) { return field.name == schema.back().name; };
        if (std::count_if(schema.begin(), schema.end(), same) > 1) Reader::refuse("schema", "a field is there twice");
        bytes = bytes.subspan(length);
    }
    if (!bytes.empty()) Reader::refuse("schema", "bytes behind its end");
    return schema;
}

/// Run `work`; an error that a section's own format reports becomes a FileError of the section.
template <typename Work>
auto as_section(std::string_view name, const Work& work) {
    try {
        return work();
    } catch (const std::invalid_argument& error) {
        throw FileError(std::string(name), error.what());
    }
}

void read_rows(const Reader& reader, const Params& params, const Schema& schema, State& state) {
    state.ids = as_section("ids", [&] { return Ids::decode(reader.file.require("ids"), params.next); });
    if (state.ids.size() != params.size) Reader::refuse("ids", "not one for each row");
    auto live = std::make_shared<Bitmap>(params.size);
    const auto words = reader.values<std::uint64_t>("live", live->words().size());
    std::copy(words.begin(), words.end(), live->words().begin());
    if (params.size % 64 != 0 && words.back() >> (params.size % 64) != 0)
        Reader::refuse("live", "rows behind the last");
    std::size_t alive = 0;
    live->each([&](std::uint32_t) { ++alive; });
    if (alive != params.size - params.dead) Reader::refuse("live", "not as many as the parameters say");
    state.live = std::move(live);
    state.dead = params.dead;
    const auto fields = as_section("fields", [&] { return Payload::decode(reader.file.require("fields"), schema); });
    if (fields.rows() != params.size) Reader::refuse("fields", "not one for each row");
    if (fields.columns().size() != schema.size()) Reader::refuse("fields", "some fields are missing");
    state.table = Table(schema).appended(fields).indexed();
    std::vector<std::uint32_t> rows;
    state.live->each([&](std::uint32_t row) { rows.push_back(row); });
    if (state.ids.kind() != IdKind::rows && IdBatch::decode(state.ids.encode(rows)).twice()) {
        Reader::refuse("ids", "one stands at two living rows");
    }
}

}  // namespace

void Format::save(const Index& index, const State& state, const std::string& path) {
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
                        state.dead,
                        state.ids.next(),
                        graph.linked,
                        graph.trained,
                        graph.measured,
                        graph.cut,
                        state.late_cut,
                        scale.range,
                        scale.radius};
    std::vector<std::uint32_t> duplicates;
    for (const auto& [first, row] : graph.duplicates) duplicates.insert(duplicates.end(), {first, row});
    const std::vector<std::byte> ids = state.ids.encode(), schema = encode_schema(index.schema()),
                                 fields = state.table.encode();
    std::vector<Section> sections{{"params", std::as_bytes(std::span(&params, 1))},
                                  {"schema", schema},
                                  {"ids", ids},
                                  {"live", std::as_bytes(state.live->words())},
                                  {"fields", fields},
                                  {"vectors", state.vectors.raw(state.size)}};
    if (state.graph) {
        const auto codes = std::as_bytes(std::span(state.codes->data(), state.size * graph.quantizer.bytes()));
        sections.insert(sections.end(), {{"mean", bytes_of(graph.quantizer.mean())},
                                         {"codes", codes},
                                         {"links", std::as_bytes(graph.links.values())},
                                         {"seeds", bytes_of(graph.seeds)},
                                         {"dups", bytes_of(duplicates)},
                                         {"recall", bytes_of(graph.recall)},
                                         {"outer", std::as_bytes(std::span(&graph.outer, 1))}});
    }
    write_file(path, sections);
}

std::unique_ptr<Index> Format::open(const std::string& path, Mode mode, bool without_graph) {
    const File file = File::open(path, mode == Mode::mapped ? disk::Hold::mapped : disk::Hold::automatic);
    const Reader reader{file};
    const Params params = reader.params();
    const Schema schema = decode_schema(file.require("schema"));
    auto index =
        std::make_unique<Index>(Options{params.dim, static_cast<Metric>(params.metric),
                                        static_cast<Refine>(params.refine), params.degree, params.effort, params.seed},
                                schema);
    State state = *index->now();
    state.size = params.size;
    state.late_cut = params.late_cut;
    if (params.refine == 0) {
        Reader::check_finite("vectors", reader.values<float>("vectors", params.size * params.dim));
    } else {
        Reader::check_finite("vectors", reader.values<std::uint16_t>("vectors", params.size * params.dim));
    }
    read_rows(reader, params, schema, state);  // needs memory for each row; the vectors have shown that the rows exist
    const bool stay = file.owner()->is_mapped() && mode != Mode::memory;
    state.vectors.view(file.require("vectors"), file.owner(), !stay);
    if (stay) index->mapped_ = file.owner();
    if (params.linked > 0 && !without_graph) {
        const auto graph = reader.graph(params);
        const auto codes = reader.values<std::uint8_t>("codes", params.size * graph->quantizer.bytes());
        state.codes = std::make_shared<Array<std::uint8_t>>(Array<std::uint8_t>::copy(codes));
        // Earlier versions did not measure it.
        graph->outer = file.find("outer") ? reader.outer() : index->outer(state, *graph, 1);
        state.graph = graph;
    }
    index->publish(std::move(state));
    return index;
}

}  // namespace ann
