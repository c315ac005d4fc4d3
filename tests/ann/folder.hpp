// A folder for the files of a test.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <string>

#include "check.hpp"

/// A temporary folder, which is removed at the end.
class Folder {
public:
    Folder() : path_((std::filesystem::temp_directory_path() / "ann-XXXXXX").string()) {
        if (::mkdtemp(path_.data()) == nullptr) throw check::Failure("mkdtemp");
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    ~Folder() { std::filesystem::remove_all(path_); }
    std::string operator/(const std::string& name) const { return path_ + "/" + name; }
    std::size_t files() const {
        const std::filesystem::directory_iterator all(path_);
        return static_cast<std::size_t>(std::distance(begin(all), end(all)));
    }

private:
    std::string path_;
};
