// JSON files of ast-edge: parsed with a limit on nesting, sealed by a digest, read key by key.
#pragma once

#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace ast_edge_impl {

using Json = nlohmann::json;

// A problem in a JSON text or one of its keys; the caller adds the file.
struct JsonProblem {
    std::string key;  // such as "threshold.value"; empty for the whole text
    std::string sentence;
};

// Parses an object nested at most 32 deep. Throws JsonProblem.
Json parse_object(std::string_view text);

// Whether the last member of a JSON text is `digest`, the SHA-256 of all bytes before the comma in front of it;
// `content` is the same text parsed. It detects damage and careless edits, and is not a signature. In `earlier` formats
// (manifests up to 2, sidecars of 1) the digest is that of the canonical form instead.
bool seal_holds(std::string_view text, const Json& content, bool earlier);

// SHA-256 of the canonical form of `content`, that is Python's json.dumps(content, sort_keys=True,
// separators=(",", ":")).
std::string canonical_digest(const Json& content);

// The object's member "format_version", at least 1. Throws JsonProblem.
int format_version(const Json& content);

// An object whose keys must all be read: `done` throws JsonProblem for an unread key; the readers throw for a value of
// another type or outside its bounds. References stay valid as long as the JSON does.
class Reader {
public:
    explicit Reader(const Json& value, std::string key = "");

    bool given(const std::string& name);  // present
    bool has(const std::string& name);    // present and not null
    const Json& member(const std::string& name);
    Reader object(const std::string& name) { return Reader(member(name), path(name)); }

    std::string text(const std::string& name);
    std::string choice(const std::string& name, const std::vector<std::string>& choices);
    std::string sha256(const std::string& name);
    bool boolean(const std::string& name);
    int integer(const std::string& name, int least, int most = std::numeric_limits<int>::max());
    double number(const std::string& name, double least = -std::numeric_limits<double>::infinity(),
                  double most = std::numeric_limits<double>::infinity());
    std::vector<double> numbers(const std::string& name, std::size_t least, std::size_t most);

    void done() const;
    std::string path(const std::string& name) const { return key_.empty() ? name : key_ + "." + name; }

private:
    const Json* value_;
    std::string key_;
    std::set<std::string> asked_;
};

}  // namespace ast_edge_impl
