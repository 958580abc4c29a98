#include "json.hpp"

#include <algorithm>
#include <cmath>

#include "error.hpp"
#include "numbers.hpp"
#include "sha256.hpp"

namespace ast_edge_impl {
namespace {

constexpr int kDeepest = 32;  // our files are 6 deep; all traversal is recursive

void append_canonical(const Json& value, std::string& to);

void append_members(const Json& value, std::string& to) {
    const char* comma = "";
    for (const auto& [key, member] : value.items()) {  // in the order of code points, as Python sorts
        to += comma;
        if (value.is_object()) {
            to += Json(key).dump(-1, ' ', true);
            to += ':';
        }
        append_canonical(member, to);
        comma = ",";
    }
}

void append_canonical(const Json& value, std::string& to) {
    switch (value.type()) {
        case Json::value_t::object:
            to += '{';
            append_members(value, to);
            to += '}';
            return;
        case Json::value_t::array:
            to += '[';
            append_members(value, to);
            to += ']';
            return;
        case Json::value_t::number_float: to += shortest(value.get<double>()); return;
        default: to += value.dump(-1, ' ', true);
    }
}

bool is_hex(char letter) { return ('0' <= letter && letter <= '9') || ('a' <= letter && letter <= 'f'); }

}  // namespace

Json parse_object(std::string_view text) {
    const auto bounded = [](int depth, Json::parse_event_t, Json&) {
        if (depth > kDeepest) throw JsonProblem{"", concat("it is nested more than ", kDeepest, " deep")};
        return true;
    };
    try {
        Json content = Json::parse(text.begin(), text.end(), bounded);
        if (!content.is_object()) throw JsonProblem{"", "it is not a JSON object"};
        return content;
    } catch (const Json::exception& problem) {
        throw JsonProblem{"", concat("it is not JSON: ", problem.what())};
    }
}

bool seal_holds(std::string_view text, const Json& content, bool earlier) {
    const auto digest = content.find("digest");
    if (digest == content.end() || !digest->is_string()) return false;
    if (earlier) {
        Json rest = content;
        rest.erase("digest");
        return digest->get<std::string>() == canonical_digest(rest);
    }
    const std::size_t comma = text.rfind(',');
    if (comma == std::string_view::npos) return false;
    const Json last = Json::parse("{" + std::string(text.substr(comma + 1)), nullptr, false);
    return last == Json{{"digest", sha256_of(text.substr(0, comma))}};
}

std::string canonical_digest(const Json& content) {
    std::string canonical;
    append_canonical(content, canonical);
    return sha256_of(canonical);
}

int format_version(const Json& content) {
    const auto found = content.find("format_version");
    const bool whole = found != content.end() && found->is_number_integer();
    if (!whole || found->get<std::int64_t>() < 1) throw JsonProblem{"", "it has no format_version"};
    return static_cast<int>(std::min<std::int64_t>(found->get<std::int64_t>(), std::numeric_limits<int>::max()));
}

Reader::Reader(const Json& value, std::string key) : value_(&value), key_(std::move(key)) {
    if (!value.is_object()) throw JsonProblem{key_, "expected an object"};
}

bool Reader::given(const std::string& name) {
    asked_.insert(name);
    return value_->contains(name);
}

bool Reader::has(const std::string& name) {
    asked_.insert(name);
    const auto found = value_->find(name);
    return found != value_->end() && !found->is_null();
}

const Json& Reader::member(const std::string& name) {
    asked_.insert(name);
    const auto found = value_->find(name);
    if (found == value_->end()) throw JsonProblem{path(name), "is missing"};
    return *found;
}

std::string Reader::text(const std::string& name) {
    const Json& value = member(name);
    if (!value.is_string()) throw JsonProblem{path(name), "expected a text"};
    return value.get<std::string>();
}

std::string Reader::choice(const std::string& name, const std::vector<std::string>& choices) {
    const std::string value = text(name);
    if (std::find(choices.begin(), choices.end(), value) != choices.end()) return value;
    std::string known;
    for (const std::string& one : choices) known += (known.empty() ? "" : ", ") + one;
    throw JsonProblem{path(name), concat("expected one of ", known)};
}

std::string Reader::sha256(const std::string& name) {
    const std::string value = text(name);
    if (value.size() != 64 || !std::all_of(value.begin(), value.end(), is_hex))
        throw JsonProblem{path(name), "expected a SHA-256 of 64 hexadecimal digits"};
    return value;
}

bool Reader::boolean(const std::string& name) {
    const Json& value = member(name);
    if (!value.is_boolean()) throw JsonProblem{path(name), "expected true or false"};
    return value.get<bool>();
}

int Reader::integer(const std::string& name, int least, int most) {
    const Json& value = member(name);
    // A number above 2^63 is stored unsigned and would become negative.
    const bool fits = value.is_number_integer() &&
                      (!value.is_number_unsigned() || value.get<std::uint64_t>() <= std::uint64_t{INT32_MAX});
    if (!fits || value.get<std::int64_t>() < least || value.get<std::int64_t>() > most)
        throw JsonProblem{path(name), concat("expected a whole number from ", least, " to ", most)};
    return value.get<int>();
}

double Reader::number(const std::string& name, double least, double most) {
    const Json& value = member(name);
    const double found = value.is_number() ? value.get<double>() : std::nan("");
    if (!std::isfinite(found) || found < least || found > most)
        throw JsonProblem{path(name), concat("expected a number from ", general(least), " to ", general(most))};
    return found;
}

std::vector<double> Reader::numbers(const std::string& name, std::size_t least, std::size_t most) {
    const Json& value = member(name);
    const bool fits = value.is_array() && value.size() >= least && value.size() <= most &&
                      std::all_of(value.begin(), value.end(), [](const Json& one) { return one.is_number(); });
    if (!fits) throw JsonProblem{path(name), concat("expected ", least, " to ", most, " numbers")};
    return value.get<std::vector<double>>();
}

void Reader::done() const {
    for (const auto& [name, member] : value_->items())
        if (asked_.count(name) == 0) throw JsonProblem{path(name), "is not known to this version of ast-edge"};
}

}  // namespace ast_edge_impl
