// A writer for which each system call fails in turn: afterwards every acknowledged change is there, and no change is
// there in part. Linked with --wrap for the calls below (CMakeLists.txt): the wrappers count, and fail when they are
// told to.
//
//     ann_faults    let each call fail once, with each kind of failure; and once with all later calls failing too
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>
#include <vector>

#include <folder.hpp>  // src/ann/folder.hpp

#include "check.hpp"
#include "folder.hpp"
#include "kept.hpp"

namespace {

using kept::Model, kept::Request, kept::What;

enum class Fault { none, full, broken, partly };

/// Which call fails, and how. Calls of the log's own thread are counted too.
struct Plan {
    std::atomic<bool> armed{false};
    std::atomic<std::size_t> calls{0};
    std::size_t failing = 0;
    bool all_later = false;
    Fault fault = Fault::none;

    bool fails() {
        if (!armed) return false;
        const std::size_t call = calls++;
        return fault != Fault::none && (call == failing || (all_later && call > failing));
    }
    int error() const { return fault == Fault::broken ? EIO : ENOSPC; }
} plan;

bool refused() {
    if (!plan.fails()) return false;
    errno = plan.error();
    return true;
}

}  // namespace

extern "C" {
ssize_t __real_write(int, const void*, size_t);
ssize_t __real_pwritev(int, const struct iovec*, int, off_t);
int __real_fsync(int);
int __real_fdatasync(int);
int __real_rename(const char*, const char*);
int __real_ftruncate(int, off_t);
int __real_open(const char*, int, ...);
int __real_unlink(const char*);
int __real_mkdir(const char*, mode_t);

ssize_t __wrap_write(int file, const void* bytes, size_t size) {
    if (!plan.fails()) return __real_write(file, bytes, size);
    if (plan.fault == Fault::partly && size > 1) return __real_write(file, bytes, size / 2);
    errno = plan.error();
    return -1;
}

/// Write half of the bytes, and let the next call report the error; or write some bytes and report an error at once.
ssize_t __wrap_pwritev(int file, const struct iovec* blocks, int count, off_t at) {
    if (!plan.fails()) return __real_pwritev(file, blocks, count, at);
    struct iovec first = blocks[0];
    first.iov_len -= first.iov_len / 3;
    const ssize_t written = __real_pwritev(file, &first, 1, at);
    if (plan.fault == Fault::partly) return written;
    errno = plan.error();
    return -1;
}

int __wrap_fsync(int file) { return refused() ? -1 : __real_fsync(file); }
int __wrap_fdatasync(int file) { return refused() ? -1 : __real_fdatasync(file); }
int __wrap_rename(const char* from, const char* to) { return refused() ? -1 : __real_rename(from, to); }
int __wrap_ftruncate(int file, off_t size) { return refused() ? -1 : __real_ftruncate(file, size); }
int __wrap_unlink(const char* path) { return refused() ? -1 : __real_unlink(path); }
int __wrap_mkdir(const char* path, mode_t mode) { return refused() ? -1 : __real_mkdir(path, mode); }

int __wrap_open(const char* path, int flags, ...) {
    std::va_list more;
    va_start(more, flags);
    const mode_t mode = (flags & O_CREAT) != 0 ? static_cast<mode_t>(va_arg(more, int)) : 0;
    va_end(more);
    return refused() ? -1 : __real_open(path, flags, mode);
}
}

namespace {

/// What a run of the script was promised, and what it tried.
struct Run {
    std::string path;
    ann::Keeping keeping;
    Model model = {};               ///< every acknowledged change
    std::vector<Model> maybe = {};  ///< what may be there too: the change that failed last, as a whole
    std::unique_ptr<ann::Folder> folder = nullptr;
    std::size_t failures = 0;

    /// Do a step of the script. If it fails, the error must say what is wrong.
    template <typename Work>
    bool attempt(const Work& work) {
        try {
            work();
            return true;
        } catch (const ann::FileError& error) {
            CHECK(!error.section.empty() && !error.reason.empty());
            ++failures;
            return false;
        }
    }

    void write(const Request& request) {
        if (!folder) return;
        Model next = model;
        request.make(next);
        if (attempt([&] { folder->write(request.change(), 1, nullptr); })) {
            if (next != model) maybe.clear();  // otherwise nothing was written
            model = next;
        } else {
            maybe.push_back(next);  // it may be on the disk, although no call reported success
        }
        CHECK(kept::contents(folder->index()) == model);
    }

    void open() {
        folder.reset();
        attempt([&] { folder = ann::Folder::open(path, ann::Mode::memory, false, keeping, 1); });
        if (folder) check_contents(kept::contents(folder->index()));
    }

    void check_contents(const Model& there) {
        const bool known = there == model || std::find(maybe.begin(), maybe.end(), there) != maybe.end();
        CHECK(known);
        model = there;
        maybe.clear();
    }
};

/// Create, write, fold, write, make a snapshot, open again, write.
void script(Run& run, const std::string& copy) {
    run.attempt([&] { run.folder = ann::Folder::create(run.path, kept::options, kept::schema, run.keeping); });
    run.write(Request(What::add, {1, 2, 3, 4, 5}, 1));
    run.write(Request(What::put, {2, 6}, 2));
    if (run.folder) run.attempt([&] { run.folder->checkpoint(); });
    run.write(Request(What::put, {3, 1}, 3));
    run.write(Request(What::drop, {2}, 4));
    if (run.folder) run.attempt([&] { run.folder->sync(); });
    const Model before = run.model;
    const bool copied = run.folder && run.attempt([&] { run.folder->snapshot(copy); });
    if (run.folder) run.attempt([&] { run.folder->compact(1, nullptr); });
    run.write(Request(What::put, {8, 9}, 5));
    if (run.folder) run.open();
    run.write(Request(What::put, {1, 9}, 6));
    run.folder.reset();
    plan.armed = false;
    if (copied) {
        CHECK(ann::Folder::verify(copy).empty());
        CHECK(kept::contents(ann::Folder::open(copy, ann::Mode::memory, true, {}, 1)->index()) == before);
    }
}

/// Run the script with one failure. Then the folder is opened again, and must accept changes as if nothing had
/// happened. Returns the number of calls.
std::size_t tried(std::size_t failing, Fault fault, bool all_later, ann::Sync sync, std::size_t& failures) {
    const Folder place;
    Run run{.path = place / "index", .keeping = {.sync = sync, .seconds = 0.0005, .longest_log = 500}};
    plan.failing = failing;
    plan.fault = fault;
    plan.all_later = all_later;
    plan.calls = 0;
    plan.armed = true;
    script(run, place / "copy");
    plan.armed = false;
    failures += run.failures;
    bool there = true;
    try {
        ann::folder_files::read_manifest(run.path);
    } catch (const ann::FileError&) {
        there = false;  // creating it failed
    }
    CHECK(there || run.model.empty());
    if (!there) {
        run.folder.reset();
        std::filesystem::remove_all(run.path);  // a part of it may be left that could not be removed
        run.folder = ann::Folder::create(run.path, kept::options, kept::schema, run.keeping);
    }
    if (there) run.open();
    CHECK(run.folder != nullptr);
    run.write(Request(What::put, {7, 8}, 7));
    run.folder->checkpoint();
    run.write(Request(What::put, {8}, 8));
    run.folder.reset();
    CHECK(run.maybe.empty() && ann::Folder::verify(run.path).empty());
    run.open();
    return plan.calls;
}

}  // namespace

int main() {
    std::size_t runs = 0, failures = 0, failing = 0;
    try {
        for (const ann::Sync sync : {ann::Sync::always, ann::Sync::interval, ann::Sync::os}) {
            for (const Fault fault : {Fault::full, Fault::broken, Fault::partly}) {
                for (const bool all_later : {false, true}) {
                    // The number of calls differs from run to run, so the loop ends when a call was not reached.
                    for (failing = 0;; ++failing, ++runs) {
                        if (tried(failing, fault, all_later, sync, failures) <= failing) break;
                    }
                }
            }
        }
    } catch (const std::exception& error) {
        std::printf("call %zu, fault %d, all later %d: %s\n", failing, static_cast<int>(plan.fault),
                    static_cast<int>(plan.all_later), error.what());
        return 1;
    }
    std::printf("%zu runs with a failing call, %zu operations failed in them, %zu checks\n", runs, failures,
                check::count.load());
    return 0;
}
