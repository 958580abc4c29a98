// SHA-256 (FIPS 180-4).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace ast_edge_impl {

class Sha256 {
public:
    void update(std::string_view data);

    // Returns 64 hexadecimal digits; call it once, last.
    std::string hex();

private:
    void block(const unsigned char* data);

    std::array<std::uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    std::array<unsigned char, 64> rest_{};
    std::size_t kept_ = 0;
    std::uint64_t bytes_ = 0;
};

std::string sha256_of(std::string_view data);

}  // namespace ast_edge_impl
