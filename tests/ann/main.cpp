// Runs the C++ tests of src/ann, or those whose name begins with the argument. `make test-cpp` builds it with
// sanitizers.
#include <cstdio>
#include <exception>
#include <string_view>

#include "check.hpp"

void test_checksum();
void test_file();
void test_hostile_files();
void test_unwritable_files();
void test_kernels();
void test_geo();
void test_ids();
void test_columns();
void test_filter();
void test_table();
void test_index();
void test_edges();
void test_walker();
void test_among();
void test_changes();
void test_scroll();
void test_log();
void test_folder();
void test_threads();

int main(int count, char** words) {
    const std::string_view only = count > 1 ? words[1] : "";
    const struct {
        std::string_view name;
        void (*run)();
    } tests[] = {
        {"checksum", test_checksum},
        {"file", test_file},
        {"hostile files", test_hostile_files},
        {"unwritable files", test_unwritable_files},
        {"kernels", test_kernels},
        {"geo", test_geo},
        {"ids", test_ids},
        {"columns", test_columns},
        {"filter", test_filter},
        {"table", test_table},
        {"index", test_index},
        {"edges", test_edges},
        {"walker", test_walker},
        {"among", test_among},
        {"changes", test_changes},
        {"scroll", test_scroll},
        {"log", test_log},
        {"folder", test_folder},
        {"threads", test_threads},
    };
    int failed = 0;
    for (const auto& test : tests) {
        if (test.name.substr(0, only.size()) != only) continue;
        const std::size_t before = check::count;
        const int width = static_cast<int>(test.name.size());
        try {
            test.run();
            std::printf("%.*s: %zu checks\n", width, test.name.data(), check::count - before);
        } catch (const std::exception& error) {
            std::printf("%.*s: FAILED: %s\n", width, test.name.data(), error.what());
            ++failed;
        }
        std::fflush(stdout);
    }
    return failed == 0 ? 0 : 1;
}
