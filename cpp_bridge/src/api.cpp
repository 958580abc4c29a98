// The C interface: every function catches all exceptions, and a result is a fault unless the part was judged.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <new>

#include "error.hpp"
#include "handles.hpp"
#include "structs.hpp"

namespace {

using ast_edge_impl::concat;
using ast_edge_impl::copy_text;
using ast_edge_impl::element;
using ast_edge_impl::Error;
using ast_edge_impl::Inspection;
using ast_edge_impl::InUse;
using ast_edge_impl::kMostParts;
using ast_edge_impl::kMostStructBytes;
using ast_edge_impl::Outcome;
using ast_edge_impl::read_versioned;
using ast_edge_impl::require;
using ast_edge_impl::usage_error;
using ast_edge_impl::write_versioned;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// Preallocated: there may be no memory left to report that.
thread_local char last_error[1024] = "";

ast_edge_status failed(ast_edge_status status, const char* sentence) {
    copy_text(last_error, sizeof last_error, sentence);
    return status;
}

template <typename Call>
ast_edge_status guarded(Call call) noexcept {
    try {
        return call();
    } catch (const Error& error) {
        return failed(error.status(), error.what());
    } catch (const std::bad_alloc&) {
        return failed(AST_EDGE_MEMORY, "There is no memory left.");
    } catch (const std::exception& error) {
        return failed(AST_EDGE_INTERNAL, error.what());
    } catch (...) {
        return failed(AST_EDGE_INTERNAL, "An exception of an unknown kind.");
    }
}

void copy_map(const std::vector<float>& map, const ast_edge_result& result) {
    if (result.map == nullptr) return;
    std::copy(map.begin(), map.end(), result.map);
}

ast_edge_result fault_of(const ast_edge_result& theirs, const char* reason) {
    ast_edge_result result = theirs;
    result.verdict = AST_EDGE_FAULT;
    for (double* number :
         {&result.score, &result.threshold, &result.p_value, &result.brightness, &result.contrast, &result.sharpness})
        *number = kNan;
    result.preprocess_ms = result.engine_ms = result.score_ms = 0;
    copy_text(result.reason, sizeof result.reason, reason);
    return result;
}

ast_edge_result result_of(const ast_edge_result& theirs, const Inspection& found) {
    ast_edge_result result = fault_of(theirs, found.reason.c_str());
    result.verdict = static_cast<std::int32_t>(found.verdict);
    result.score = found.score;
    result.threshold = found.threshold;
    result.p_value = found.p_value;
    if (found.levels) {
        result.brightness = found.levels->brightness;
        result.contrast = found.levels->contrast;
        result.sharpness = found.levels->sharpness;
    }
    result.preprocess_ms = found.stages.preprocess_ms;
    result.engine_ms = found.stages.engine_ms;
    result.score_ms = found.stages.score_ms;
    copy_map(found.map, result);
    return result;
}

// A fault until judged; checks that the map is large enough.
ast_edge_result prepared(ast_edge_result* result) {
    ast_edge_result theirs = read_versioned(result, "result");
    const std::size_t size = theirs.struct_size, reason = offsetof(ast_edge_result, reason);
    if (size < offsetof(ast_edge_result, score) || (reason < size && size < reason + AST_EDGE_REASON_BYTES))
        throw usage_error("result: struct_size is ", size, ", which no version has; begin with AST_EDGE_INIT.");
    write_versioned(fault_of(theirs, "The part was not judged."), result);
    return theirs;
}

void check_room(const ast_edge_result& result, const ast_edge_impl::Model& model) {
    const auto side = static_cast<std::size_t>(model.manifest().preprocessing.map_size);
    if (result.map != nullptr && result.map_values < side * side)
        throw usage_error("result: `map` has room for ", result.map_values, " floats, the map has ", side * side, ".");
    if (result.map != nullptr) std::fill_n(result.map, side * side, std::numeric_limits<float>::quiet_NaN());
}

// Runs `judge`, and stores the reason in the result if it fails.
template <typename Judge>
ast_edge_status judged_into(ast_edge_result* result, Judge judge) noexcept {
    if (result != nullptr) result->verdict = AST_EDGE_FAULT;  // at this offset in every version
    ast_edge_result theirs{};
    bool known = false;
    const ast_edge_status status = guarded([&] {
        theirs = prepared(result);
        known = true;
        return judge(theirs);
    });
    if (known && status != AST_EDGE_OK) write_versioned(fault_of(theirs, last_error), result);
    return status;
}

ast_edge_status tell_outcomes(const std::vector<Outcome>& outcomes, const std::vector<ast_edge_result>& theirs,
                              ast_edge_result* results, std::size_t size) {
    ast_edge_status status = AST_EDGE_OK;
    for (std::size_t i = 0; i < outcomes.size(); ++i) {
        write_versioned(result_of(theirs[i], outcomes[i].inspection), element(results, size, i));
        if (status == AST_EDGE_OK && outcomes[i].status != AST_EDGE_OK)
            status = failed(outcomes[i].status, outcomes[i].inspection.reason.c_str());
    }
    return status;
}

ast_edge_status inspect_batch(ast_edge_impl::Model& model, const ast_edge_part* parts, std::size_t count,
                              const std::vector<ast_edge_result>& theirs, ast_edge_result* results) {
    const std::size_t part_size = count > 0 ? require(parts, "parts").struct_size : 0;
    if (part_size % alignof(ast_edge_part) != 0)
        throw usage_error("parts: struct_size is ", part_size, "; begin with AST_EDGE_INIT.");
    std::vector<ast_edge_part> given;
    for (std::size_t i = 0; i < count; ++i) given.push_back(read_versioned(element(parts, part_size, i), "part"));
    for (const ast_edge_part& part : given)
        if (part.struct_size != part_size) throw usage_error("parts: every struct_size must be the same.");
    for (const ast_edge_result& result : theirs) check_room(result, model);
    return tell_outcomes(model.inspect_all(given), theirs, results, count > 0 ? results->struct_size : 0);
}

// The size of every result, after all were set to faults; if anything fails later, no earlier verdict remains.
std::size_t checked_results(ast_edge_result* results, std::size_t count) {
    if (count == 0) return 0;
    require(results, "results").verdict = AST_EDGE_FAULT;
    const std::size_t size = results->struct_size;
    if (count > kMostParts) throw usage_error("count: expected at most ", kMostParts, " parts, found ", count, ".");
    if (size < offsetof(ast_edge_result, score) || size > kMostStructBytes || size % alignof(ast_edge_result) != 0)
        throw usage_error("results: struct_size is ", size, "; begin with AST_EDGE_INIT.");
    for (std::size_t i = 0; i < count; ++i) element(results, size, i)->verdict = AST_EDGE_FAULT;
    for (std::size_t i = 0; i < count; ++i)
        if (element(results, size, i)->struct_size != size)
            throw usage_error("results: every struct_size must be the same.");
    return size;
}

}  // namespace

uint32_t ast_edge_version(void) noexcept {
    return AST_EDGE_VERSION_MAJOR << 16 | AST_EDGE_VERSION_MINOR << 8 | AST_EDGE_VERSION_PATCH;
}

const char* ast_edge_last_error(void) noexcept { return last_error; }

const char* ast_edge_engines(void) noexcept {
    try {
        static const std::string names = ast_edge_impl::engines();
        return names.c_str();
    } catch (...) {
        return "";
    }
}

ast_edge_status ast_edge_open(const char* path, const ast_edge_options* options, ast_edge_model** model) noexcept {
    return guarded([&] {
        require(model, "model") = nullptr;
        const std::string name = &require(path, "path");
        const ast_edge_options chosen = options == nullptr ? ast_edge_options{} : read_versioned(options, "options");
        *model = ast_edge_impl::add_handle(ast_edge_impl::Model::open(name, chosen));
        return AST_EDGE_OK;
    });
}

ast_edge_status ast_edge_get_info(const ast_edge_model* model, ast_edge_info* info) noexcept {
    return guarded([&] {
        const InUse used(model);
        ast_edge_info found = read_versioned(info, "info");
        const ast_edge_impl::Manifest& manifest = used->manifest();
        found.mode = static_cast<std::int32_t>(manifest.mode);
        found.precision = static_cast<std::int32_t>(manifest.precision);
        found.image_size = static_cast<std::uint32_t>(manifest.has_image() ? manifest.preprocessing.image_size : 0);
        found.map_size = static_cast<std::uint32_t>(manifest.preprocessing.map_size);
        found.batch = manifest.batch();
        const ast_edge_impl::Crop crop = manifest.preprocessing.crop.value_or(ast_edge_impl::Crop{0, 0, 0, 0});
        found.crop_x = static_cast<std::uint32_t>(crop.x);
        found.crop_y = static_cast<std::uint32_t>(crop.y);
        found.crop_width = static_cast<std::uint32_t>(crop.width);
        found.crop_height = static_cast<std::uint32_t>(crop.height);
        found.threshold = used->threshold();
        copy_text(found.model_id, sizeof found.model_id, manifest.model_id.c_str());
        copy_text(found.engine, sizeof found.engine, used->engine().c_str());
        write_versioned(found, info);
        return AST_EDGE_OK;
    });
}

ast_edge_status ast_edge_set_threshold(ast_edge_model* model, double threshold) noexcept {
    return guarded([&] {
        InUse(model)->set_threshold(threshold);
        return AST_EDGE_OK;
    });
}

ast_edge_status ast_edge_inspect(ast_edge_model* model, const ast_edge_part* part, ast_edge_result* result) noexcept {
    return judged_into(result, [&](const ast_edge_result& theirs) {
        const InUse used(model);
        check_room(theirs, *used);
        write_versioned(result_of(theirs, used->inspect(read_versioned(part, "part"))), result);
        return AST_EDGE_OK;
    });
}

ast_edge_status ast_edge_inspect_batch(ast_edge_model* model, const ast_edge_part* parts, size_t count,
                                       ast_edge_result* results) noexcept {
    std::vector<ast_edge_result> theirs;
    std::size_t size = 0;
    ast_edge_status status = guarded([&] {
        size = checked_results(results, count);
        theirs.reserve(count);
        for (std::size_t i = 0; i < count; ++i) theirs.push_back(prepared(element(results, size, i)));
        return AST_EDGE_OK;
    });
    if (status != AST_EDGE_OK) return status;
    bool reported = false;
    status = guarded([&] {
        const InUse used(model);
        const ast_edge_status found = inspect_batch(*used, parts, count, theirs, results);
        reported = true;
        return found;
    });
    if (!reported)
        for (std::size_t i = 0; i < count; ++i)
            write_versioned(fault_of(theirs[i], last_error), element(results, size, i));
    return status;
}

ast_edge_status ast_edge_submit(ast_edge_model* model, const ast_edge_part* part, ast_edge_ticket* ticket) noexcept {
    return guarded([&] {
        require(ticket, "ticket") = 0;
        *ticket = InUse(model)->submit(read_versioned(part, "part"));
        return AST_EDGE_OK;
    });
}

ast_edge_status ast_edge_wait(ast_edge_model* model, ast_edge_ticket ticket, int64_t timeout_ms,
                              ast_edge_result* result) noexcept {
    return judged_into(result, [&](const ast_edge_result& theirs) {
        const InUse used(model);
        check_room(theirs, *used);
        const auto found = used->wait(ticket, timeout_ms);
        if (!found) throw Error(AST_EDGE_TIMEOUT, concat("The part was not judged within ", timeout_ms, " ms."));
        write_versioned(result_of(theirs, *found), result);
        return AST_EDGE_OK;
    });
}

ast_edge_status ast_edge_verify(ast_edge_model* model, ast_edge_parity* parity) noexcept {
    return guarded([&] {
        ast_edge_parity report = parity == nullptr ? ast_edge_parity{} : read_versioned(parity, "parity");
        const ast_edge_impl::Parity found = InUse(model)->verify();
        report.vectors = static_cast<std::uint32_t>(found.vectors);
        report.flipped_verdicts = static_cast<std::uint32_t>(found.flipped);
        report.max_relative_score_error = found.score_error;
        report.max_absolute_map_error = found.map_error;
        report.tolerance = found.tolerance;
        report.undecided_parts = static_cast<std::uint32_t>(found.undecided);
        if (parity != nullptr) write_versioned(report, parity);
        if (!found.ok())
            throw Error(AST_EDGE_PARITY,
                        "The engine does not reproduce the model's reference vectors; export the "
                        "model or build the engine again.");
        return AST_EDGE_OK;
    });
}

void ast_edge_close(ast_edge_model* model) noexcept {
    guarded([&] {
        ast_edge_impl::close_handle(model);
        return AST_EDGE_OK;
    });
}
