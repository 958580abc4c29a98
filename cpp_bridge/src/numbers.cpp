#include "numbers.hpp"

#include <charconv>
#include <cmath>
#include <string_view>

namespace ast_edge_impl {
namespace {

std::string not_finite(double value) { return std::isnan(value) ? "nan" : value < 0 ? "-inf" : "inf"; }

// From "1.2345e+06": sign, digits without the point, and the exponent of the first digit.
struct Digits {
    bool negative = false;
    std::string digits;
    int exponent = 0;
};

Digits split(std::string_view scientific) {
    Digits found;
    found.negative = scientific.front() == '-';
    if (found.negative) scientific.remove_prefix(1);
    const std::size_t mark = scientific.find('e');
    for (const char letter : scientific.substr(0, mark))
        if (letter != '.') found.digits += letter;
    std::string_view exponent = scientific.substr(mark + 1);
    if (exponent.front() == '+') exponent.remove_prefix(1);  // from_chars accepts no plus sign
    std::from_chars(exponent.data(), exponent.data() + exponent.size(), found.exponent);
    return found;
}

std::string with_exponent(const Digits& number) {
    std::string text = number.digits.substr(0, 1);
    if (number.digits.size() > 1) text += "." + number.digits.substr(1);
    const int size = number.exponent < 0 ? -number.exponent : number.exponent;
    return text + (number.exponent < 0 ? "e-" : "e+") + (size < 10 ? "0" : "") + std::to_string(size);
}

std::string with_point(const Digits& number) {
    const std::string& digits = number.digits;
    if (number.exponent < 0) return "0." + std::string(static_cast<std::size_t>(-number.exponent - 1), '0') + digits;
    const auto before = static_cast<std::size_t>(number.exponent) + 1;
    if (digits.size() <= before) return digits + std::string(before - digits.size(), '0') + ".0";
    return digits.substr(0, before) + "." + digits.substr(before);
}

}  // namespace

std::string general(double value, int digits) {
    if (!std::isfinite(value)) return not_finite(value);
    char buffer[64];
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::general, digits);
    return {buffer, end.ptr};
}

std::string shortest(double value) {
    if (!std::isfinite(value)) return not_finite(value);
    char buffer[64];
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
    const Digits number = split({buffer, static_cast<std::size_t>(end.ptr - buffer)});
    const bool plain = -4 <= number.exponent && number.exponent < 16;
    return (number.negative ? "-" : "") + (plain ? with_point(number) : with_exponent(number));
}

}  // namespace ast_edge_impl
