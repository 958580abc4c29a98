// Text, digests and verdicts against what Python says.
#include <cmath>
#include <limits>

#include "../src/json.hpp"
#include "../src/numbers.hpp"
#include "../src/sha256.hpp"
#include "../src/verdict.hpp"
#include "catch.hpp"

using namespace ast_edge_impl;

TEST_CASE("numbers are written as Python writes them") {
    CHECK(shortest(0.1) == "0.1");
    CHECK(shortest(-0.0) == "-0.0");
    CHECK(shortest(1.0) == "1.0");
    CHECK(shortest(1e16) == "1e+16");
    CHECK(shortest(123456789012345680.0) == "1.2345678901234568e+17");
    CHECK(shortest(1234567890123456.0) == "1234567890123456.0");
    CHECK(shortest(0.0001) == "0.0001");
    CHECK(shortest(0.00001) == "1e-05");
    CHECK(shortest(-1.5e-300) == "-1.5e-300");
    CHECK(shortest(std::ldexp(1.0, -44)) == "5.684341886080802e-14");
    CHECK(shortest(std::numeric_limits<double>::denorm_min()) == "5e-324");
    CHECK(general(0.123456789) == "0.123457");
    CHECK(general(1234567) == "1.23457e+06");
    CHECK(general(0.1) == "0.1");
    CHECK(general(128, 3) == "128");
    CHECK(general(std::nan("")) == "nan");
}

TEST_CASE("digests") {
    CHECK(sha256_of("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(sha256_of("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(sha256_of(std::string(1000000, 'a')) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    // hashlib.sha256(json.dumps({"é\n\x7f😀": [1, 1.0, None, True], "a": {}}, sort_keys=True, separators=(",", ":")))
    const Json content = parse_object("{\"\xc3\xa9\\n\x7f\xf0\x9f\x98\x80\": [1, 1.0, null, true], \"a\": {}}");
    CHECK(canonical_digest(content) == "9364ed5f54c4029f4042bf368d224efdc31bb2e994966df332118406215e8609");
}

TEST_CASE("a score that is no number is a fault") {
    std::string reason;
    CHECK(judge(0.1, 0.1, reason) == Verdict::pass);
    CHECK(reason == "score 0.1 is not above the threshold 0.1");
    CHECK(judge(std::nextafter(0.1, 1.0), 0.1, reason) == Verdict::reject);
    CHECK(judge(std::nan(""), 0.1, reason) == Verdict::fault);
    CHECK(judge(INFINITY, 0.1, reason) == Verdict::fault);
    CHECK(judge(0.1, std::nan(""), reason) == Verdict::fault);
}

TEST_CASE("a frame that is not like those of good parts is a fault") {
    Manifest manifest;
    manifest.trained = TrainedRange{{400, 400}, {300, 400}, Range{50, 100}, Range{10, 20}};
    const auto why = [&](int width, int height, double brightness, double contrast) {
        return why_unfit(manifest, width, height, GreyLevels{brightness, contrast, 1}, true);
    };
    CHECK(why(400, 350, 25, 40).empty());
    CHECK(why(399, 350, 25, 40) == "the frame's width is 399 pixels, good parts were trained on at 400 to 400");
    CHECK(why(400, 401, 25, 40) == "the frame's height is 401 pixels, good parts were trained on at 300 to 400");
    CHECK(why(400, 400, 24.9, 40) == "the frame's brightness is 24.9 grey levels, good parts have 50 to 100");
    CHECK(why(400, 400, 25, 40.1) == "the frame's contrast is 40.1 grey levels, good parts have 10 to 20");
    CHECK(why_unfit(manifest, 400, 400, std::nullopt, true).empty());
    CHECK(why_unfit(manifest, 400, 400, std::nullopt, false) == "no part found in the depth map");
}

TEST_CASE("a map with a value that is no number is a fault") {
    Manifest manifest;
    manifest.good_parts = 4;
    manifest.good_scores = {0.1, 0.2, 0.3, 0.4};
    const Inspection good = judged(manifest, 1, {0.25f, {0.5f}});
    CHECK(good.verdict == Verdict::pass);
    CHECK(std::fabs(good.p_value - 3.0 / 5) < 1e-12);
    const Inspection bad = judged(manifest, 1, {0.25f, {0.5f, std::numeric_limits<float>::quiet_NaN()}});
    CHECK(bad.verdict == Verdict::fault);
    CHECK(std::isnan(bad.p_value));
}
