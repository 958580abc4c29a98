#include "file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "error.hpp"

namespace ast_edge_impl {
namespace {

class Descriptor {
public:
    explicit Descriptor(const std::string& path) : number_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
    ~Descriptor() {
        if (number_ >= 0) ::close(number_);
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;

    int number() const { return number_; }

private:
    int number_;
};

Error unreadable(const std::string& path, const std::string& what, int code) {
    return model_error(path, ": ", what, " cannot be read (", std::system_category().message(code),
                       "); check the path and its permissions.");
}

std::string read_all(const Descriptor& file, std::uint64_t size, const std::string& path, const std::string& what) {
    std::string content(size, '\0');
    std::size_t done = 0;
    while (done < content.size()) {
        const std::size_t most = std::min<std::size_t>(content.size() - done, std::size_t{1} << 26);
        const ssize_t count = ::read(file.number(), content.data() + done, most);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) throw unreadable(path, what, errno);
        if (count == 0) throw model_error(path, ": ", what, " became shorter while it was read; copy it again.");
        done += static_cast<std::size_t>(count);
    }
    return content;
}

}  // namespace

bool exists(const std::string& path) {
    struct stat status{};
    return ::stat(path.c_str(), &status) == 0;
}

std::string read_file(const std::string& path, std::uint64_t limit, const std::string& what,
                      const std::string& made_by) {
    const Descriptor file(path);
    if (file.number() < 0) {
        if (errno == ENOENT) throw model_error(path, ": there is no such file; expected ", made_by, ".");
        throw unreadable(path, what, errno);
    }
    struct stat status{};
    if (::fstat(file.number(), &status) != 0) throw unreadable(path, what, errno);
    if (!S_ISREG(status.st_mode)) {
        const char* kind = S_ISDIR(status.st_mode) ? "a folder" : "not a regular file";
        throw model_error(path, ": this is ", kind, "; expected ", made_by, ".");
    }
    const auto size = static_cast<std::uint64_t>(status.st_size);
    if (size == 0) throw model_error(path, ": the file is empty; expected ", made_by, ".");
    if (size > limit)
        throw model_error(path, ": ", what, " has ", size, " bytes, more than the ", limit,
                          " that it may have; expected ", made_by, ".");
    return read_all(file, size, path, what);
}

std::string folder_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string::npos ? "" : path.substr(0, slash + 1);
}

std::string name_of(const std::string& path) { return path.substr(folder_of(path).size()); }

bool ends_with(const std::string& text, const std::string& end) {
    return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

}  // namespace ast_edge_impl
