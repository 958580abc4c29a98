#include "slot.hpp"

#include <algorithm>
#include <cstring>

#include "../error.hpp"

namespace ast_edge_impl {
namespace {

constexpr std::size_t kLayoutsKept = 4;  // a line has one; trying several must not fill the memory
constexpr std::size_t kEvents = 5;

// Memory is cleared and uploaded on the default stream, for which the slots' own streams do not wait.
void wait_for_uploads() { check_cuda(driver().cuStreamSynchronize_(nullptr), "preparing memory"); }

// What one row of a part's memory has, in bytes: of the frame and of the depth map.
struct Rows {
    std::size_t bytes, pitch, count;
};

Rows rows_of(const FrameLayout& layout) {
    return {static_cast<std::size_t>(layout.row_bytes()), static_cast<std::size_t>(layout.pitch),
            static_cast<std::size_t>(layout.rows())};
}

Rows rows_of(const DepthLayout& layout) {
    const std::size_t value = layout.value_bytes();
    return {value * static_cast<std::size_t>(layout.width), value * static_cast<std::size_t>(layout.pitch),
            static_cast<std::size_t>(layout.height)};
}

void copy_on_gpu(const DeviceBuffer& to, const void* from, const Rows& rows, const Stream& stream) {
    CUDA_MEMCPY2D copy{};
    copy.srcMemoryType = copy.dstMemoryType = CU_MEMORYTYPE_DEVICE;
    copy.srcDevice = reinterpret_cast<CUdeviceptr>(from);
    copy.srcPitch = rows.pitch;
    copy.dstDevice = to.device();
    copy.dstPitch = copy.WidthInBytes = rows.bytes;
    copy.Height = rows.count;
    check_cuda(driver().cuMemcpy2DAsync_(&copy, stream.handle()), "copying a part on the GPU");
}

}  // namespace

// Buffers and graph for parts of one layout.
class Slot::Prepared {
public:
    Prepared(const Layouts& layouts, bool on_gpu, const Wiring& wiring)
        : layouts(layouts), on_gpu(on_gpu), plan(plan_part(layouts, wiring.preprocessing)) {
        for (const Buffer& constant : plan.constants) {
            buffers[constant.name] = std::make_unique<DeviceBuffer>(constant.bytes, false, false);
            buffers[constant.name]->upload(constant.content.data(), constant.bytes);
        }
        for (const Buffer& space : plan.workspace)
            buffers[space.name] = std::make_unique<DeviceBuffer>(space.bytes, false, false);
        if (layouts.frame) add_input("frame", layouts.frame->bytes(), wiring.integrated);
        if (layouts.depth) add_input("depth_m", layouts.depth->bytes(), wiring.integrated);
        wait_for_uploads();
    }

    const Layouts layouts;  // without gaps between the rows
    const bool on_gpu;
    const Plan plan;
    Buffers buffers;
    std::vector<DeviceBuffer*> inputs;
    std::unique_ptr<Graph> graph;

private:
    void add_input(const char* name, std::size_t bytes, bool integrated) {
        buffers[name] = std::make_unique<DeviceBuffer>(bytes, !on_gpu, integrated);
        inputs.push_back(buffers[name].get());
    }
};

Slot::Slot(const Wiring& wiring, const Kernels& kernels, std::unique_ptr<Execution> execution)
    : wiring_(wiring),
      counts_(counts_of(wiring.preprocessing)),
      kernels_(kernels),
      execution_(std::move(execution)),
      events_(kEvents) {
    const auto add = [&](const std::string& name, std::size_t bytes) {
        buffers_[name] = std::make_unique<DeviceBuffer>(bytes, true, wiring.integrated);
    };
    const auto batch = static_cast<std::size_t>(wiring.least);
    for (const auto* specs : {&wiring.inputs, &wiring.outputs})
        for (const TensorSpec& spec : *specs) {
            add(spec.name, batch * spec.bytes());
            execution_->set_address(spec.name, buffers_[spec.name]->device());
        }
    add("levels", 4 * sizeof(std::uint64_t));
    add("status", sizeof(std::int32_t));
    wait_for_uploads();
    if (wiring.fixed_batch) return;
    for (const TensorSpec& spec : wiring.inputs) execution_->set_shape(spec, wiring.least);
}

Slot::~Slot() { driver().cuStreamSynchronize_(stream_.handle()); }

void Slot::start(const Part& part) {
    Prepared& prepared = prepared_for(part);
    fill(part, prepared);
    prepared.graph->launch(stream_);
}

Slot::Result Slot::result() const {
    std::int32_t status = 0;
    std::memcpy(&status, buffers_.at("status")->host(), sizeof status);
    Result result{answer(), std::nullopt, part_seen(status), {}};
    const double copies = events_[1].ms_since(events_[0]) + events_[4].ms_since(events_[3]);
    result.stages.preprocess_ms = events_[2].ms_since(events_[1]);
    result.stages.engine_ms = copies + events_[3].ms_since(events_[2]);
    if (buffers_.count("image") > 0) {
        std::uint64_t sums[4];
        std::memcpy(sums, buffers_.at("levels")->host(), sizeof sums);
        result.levels = levels_from_sums(sums, counts_);
    }
    return result;
}

Answer Slot::run(const Tensors& tensors) {
    for (const TensorSpec& spec : wiring_.inputs) {
        const DeviceBuffer& buffer = *buffers_.at(spec.name);
        // A batch that must be larger is filled with copies of the part.
        for (std::size_t row = 0; row < static_cast<std::size_t>(wiring_.least); ++row)
            std::memcpy(buffer.host() + row * spec.bytes(), tensors.at(spec.name), spec.bytes());
        buffer.copy_in(stream_);
    }
    execution_->enqueue(stream_.handle());
    for (const TensorSpec& spec : wiring_.outputs) buffers_.at(spec.name)->copy_out(stream_);
    stream_.wait();
    return answer();
}

Slot::Prepared& Slot::prepared_for(const Part& part) {
    const Layouts layouts = packed(part.layouts);
    const auto same = [&](const auto& one) { return one->layouts == layouts && one->on_gpu == part.on_gpu; };
    const auto found = std::find_if(prepared_.begin(), prepared_.end(), same);
    if (found != prepared_.end()) {
        prepared_.splice(prepared_.begin(), prepared_, found);
        return *prepared_.front();
    }
    auto made = std::make_unique<Prepared>(layouts, part.on_gpu, wiring_);
    try {
        // Once without a graph: TensorRT settles its shapes and loads its kernels at the first run.
        put_on_stream(*made, false);
        stream_.wait();
        made->graph = std::make_unique<Graph>(stream_, [&] { put_on_stream(*made, true); });
    } catch (...) {
        driver().cuStreamSynchronize_(stream_.handle());  // what is on the stream already needs the memory
        throw;
    }
    prepared_.push_front(std::move(made));
    if (prepared_.size() > kLayoutsKept) prepared_.pop_back();
    return *prepared_.front();
}

void Slot::fill(const Part& part, Prepared& prepared) {
    const auto copy = [&](const char* name, const void* from, const Rows& rows) {
        const DeviceBuffer& to = *prepared.buffers.at(name);
        if (part.on_gpu)
            copy_on_gpu(to, from, rows, stream_);
        else
            copy_rows(to.host(), rows.bytes, from, rows.pitch, rows.bytes, rows.count);
    };
    if (part.layouts.frame) copy("frame", part.frame, rows_of(*part.layouts.frame));
    if (part.layouts.depth) copy("depth_m", part.depth_m, rows_of(*part.layouts.depth));
    if (part.on_gpu) stream_.wait();  // the caller may use the memory again
}

void Slot::put_on_stream(const Prepared& prepared, bool in_graph) {
    auto event = events_.begin();
    const auto moment = [&] { (event++)->record(stream_, in_graph); };
    moment();
    if (!prepared.on_gpu)
        for (const DeviceBuffer* input : prepared.inputs) input->copy_in(stream_);
    moment();
    launch_kernels(prepared);
    moment();
    execution_->enqueue(stream_.handle());
    moment();
    for (const TensorSpec& spec : wiring_.outputs) buffers_.at(spec.name)->copy_out(stream_);
    for (const char* name : {"levels", "status"}) buffers_.at(name)->copy_out(stream_);
    moment();
}

void Slot::launch_kernels(const Prepared& prepared) {
    struct Cell {
        union {
            std::int32_t integer;
            double number;
            CUdeviceptr address;
        };
    };
    for (const Launch& launch : prepared.plan.launches) {
        std::vector<Cell> cells(launch.arguments.size());
        std::vector<void*> pointers;
        for (std::size_t i = 0; i < cells.size(); ++i) {
            if (const auto* integer = std::get_if<std::int32_t>(&launch.arguments[i])) cells[i].integer = *integer;
            if (const auto* number = std::get_if<double>(&launch.arguments[i])) cells[i].number = *number;
            if (const auto* name = std::get_if<std::string>(&launch.arguments[i]))
                cells[i].address = address_of(*name, prepared);
            pointers.push_back(&cells[i]);
        }
        check_cuda(
            driver().cuLaunchKernel_(kernels_.function(launch.kernel), launch.grid[0], launch.grid[1], launch.grid[2],
                                     kThreads, 1, 1, launch.shared_bytes, stream_.handle(), pointers.data(), nullptr),
            "starting a kernel");
    }
}

CUdeviceptr Slot::address_of(const std::string& name, const Prepared& prepared) const {
    const auto own = prepared.buffers.find(name);
    return own != prepared.buffers.end() ? own->second->device() : buffers_.at(name)->device();
}

Answer Slot::answer() const {
    Answer found{0, std::vector<float>(wiring_.outputs[1].values())};
    std::memcpy(&found.score, buffers_.at("score")->host(), sizeof found.score);
    std::memcpy(found.map.data(), buffers_.at("anomaly_map")->host(), found.map.size() * sizeof(float));
    return found;
}

}  // namespace ast_edge_impl
