#pragma once

#include <stdexcept>
#include <string>

namespace ann {

// What this library throws of its own. A caller's mistake is std::invalid_argument, lack of memory std::bad_alloc.
struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// A file that is damaged, hostile, not an index, or that cannot be read or written. `section` is the part of the file
// at fault ("header", "links", ...) or "file" where the operating system refused; `reason` says why.
struct FileError : Error {
    FileError(const std::string& section_name, const std::string& why)
        : Error(section_name + ": " + why), section(section_name), reason(why) {}

    std::string section;
    std::string reason;
};

// The caller's progress function asked to stop; what was being added is undone.
struct Interrupted : Error {
    Interrupted() : Error("interrupted: nothing was added") {}
};

}  // namespace ann
