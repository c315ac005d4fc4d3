#pragma once

#include <stdexcept>
#include <string>

namespace ann {

// An error that this library reports itself. A caller's mistake is std::invalid_argument, lack of memory
// std::bad_alloc.
struct Error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// A file that is damaged, hostile, or not an index, or that cannot be read or written. `section` is the faulty part of
// the file ("header", "links", ...), or "file" if the operating system refused; `reason` says why.
struct FileError : Error {
    FileError(const std::string& section_name, const std::string& why)
        : Error(section_name + ": " + why), section(section_name), reason(why) {}

    std::string section;
    std::string reason;
};

// The caller's progress function asked to stop. The rows that were being added are removed again.
struct Interrupted : Error {
    Interrupted() : Error("interrupted: nothing was added") {}
};

}  // namespace ann
