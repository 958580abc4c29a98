// TensorRT on a GPU: copy, preparation, network and copy back are one CUDA graph.
#include <algorithm>
#include <deque>
#include <thread>

#include "../error.hpp"
#include "open.hpp"
#include "slot.hpp"

namespace ast_edge_impl {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kWarmUpRuns = 20;  // clocks rise, kernels are loaded
constexpr auto kGlance = std::chrono::microseconds(50);

// A part in a slot, or what became of it once the slot was needed for another.
struct Flight {
    Slot* slot = nullptr;
    int width = 0, height = 0;
    double threshold = 0;
    Outcome outcome;
};

class TensorRtEngine : public Engine {
public:
    TensorRtEngine(const EngineFile& file, const Manifest& manifest, const Device& device);
    ~TensorRtEngine() override;

    std::string name() const override { return concat("TensorRT ", tensorrt_version(), " on ", device_.name); }
    Inspection inspect(const Part& part, double threshold) override;
    std::vector<Outcome> inspect_all(const std::vector<Part>& parts, double threshold) override;
    std::unique_ptr<Pending> submit(const Part& part, double threshold) override;
    Answer run(const Tensors& tensors) override;

    bool wait(Flight& flight, std::chrono::milliseconds timeout);
    Outcome take(const std::shared_ptr<Flight>& flight);
    void forget(const std::shared_ptr<Flight>& flight) noexcept;

private:
    void load(const EngineFile& file);
    void warm_up(Slot& slot);
    std::shared_ptr<Flight> start(const Part& part, double threshold);
    Slot& free_slot();
    void land(Flight& flight);
    Inspection judged_of(const Slot::Result& result, const Flight& flight) const;

    const Manifest& manifest_;
    Device device_;
    Wiring wiring_;
    Context context_;
    std::unique_ptr<LoadedPlan> plan_;
    std::unique_ptr<Kernels> kernels_;
    std::vector<std::unique_ptr<Slot>> slots_;
    std::vector<Slot*> free_;
    std::deque<std::shared_ptr<Flight>> flying_;  // the oldest first
};

class GpuPending : public Pending {
public:
    GpuPending(TensorRtEngine& engine, std::shared_ptr<Flight> flight) : engine_(engine), flight_(std::move(flight)) {}
    ~GpuPending() override { engine_.forget(flight_); }

    bool wait(std::chrono::milliseconds timeout) override { return engine_.wait(*flight_, timeout); }
    Inspection take() override { return inspection_of(engine_.take(flight_)); }

private:
    TensorRtEngine& engine_;
    std::shared_ptr<Flight> flight_;
};

TensorRtEngine::TensorRtEngine(const EngineFile& file, const Manifest& manifest, const Device& device)
    : manifest_(manifest), device_(device), context_(device) {
    const BuildFacts& build = file.info.build;
    wiring_.preprocessing = manifest.preprocessing;
    wiring_.inputs = input_specs(manifest.mode, manifest.preprocessing, build.batch());
    wiring_.outputs = output_specs(manifest.preprocessing, build.batch());
    wiring_.least = build.least;
    wiring_.fixed_batch = build.batch() != -1;
    wiring_.integrated = device.integrated;
    const Current current(context_);
    try {
        load(file);
    } catch (...) {  // freed while the context is current
        slots_.clear();
        kernels_.reset();
        plan_.reset();
        throw;
    }
}

TensorRtEngine::~TensorRtEngine() {
    try {
        const Current current(context_);
        slots_.clear();
        kernels_.reset();
        plan_.reset();
    } catch (const Error&) {  // the GPU is gone: so is everything on it
    }
}

void TensorRtEngine::load(const EngineFile& file) {
    std::vector<TensorSpec> specs = wiring_.inputs;
    specs.insert(specs.end(), wiring_.outputs.begin(), wiring_.outputs.end());
    plan_ = load_plan(file.plan, file.info.build, specs);
    kernels_ = std::make_unique<Kernels>(file.kernels);
    // TensorRT 8 wants a profile of its own for every context of a free batch.
    const int count = wiring_.fixed_batch ? AST_EDGE_IN_FLIGHT : 1;
    for (int i = 0; i < count; ++i) {
        slots_.push_back(std::make_unique<Slot>(wiring_, *kernels_, plan_->execution()));
        warm_up(*slots_.back());
        free_.push_back(slots_.back().get());
    }
}

void TensorRtEngine::warm_up(Slot& slot) {
    std::size_t most = 0;
    for (const TensorSpec& spec : wiring_.inputs) most = std::max(most, spec.bytes());
    const std::vector<unsigned char> zeros(most);
    Tensors tensors;
    for (const TensorSpec& spec : wiring_.inputs) tensors[spec.name] = zeros.data();
    for (int i = 0; i < kWarmUpRuns; ++i) slot.run(tensors);
}

Inspection TensorRtEngine::inspect(const Part& part, double threshold) {
    return inspection_of(take(start(part, threshold)));
}

std::vector<Outcome> TensorRtEngine::inspect_all(const std::vector<Part>& parts, double threshold) {
    std::vector<Outcome> outcomes;
    std::deque<std::shared_ptr<Flight>> own;
    const auto land_first = [&] {
        outcomes.push_back(take(own.front()));
        own.pop_front();
    };
    for (const Part& part : parts) {
        if (own.size() == slots_.size()) land_first();
        own.push_back(start(part, threshold));
    }
    while (!own.empty()) land_first();
    for (Outcome& outcome : outcomes) {
        if (outcome.status == AST_EDGE_OK) continue;
        if (outcome.status != AST_EDGE_FRAME) inspection_of(outcome);
        outcome.inspection = unjudged(manifest_, threshold, outcome.inspection.reason);
    }
    return outcomes;
}

std::unique_ptr<Pending> TensorRtEngine::submit(const Part& part, double threshold) {
    return std::make_unique<GpuPending>(*this, start(part, threshold));
}

Answer TensorRtEngine::run(const Tensors& tensors) {
    const Current current(context_);
    return free_slot().run(tensors);
}

bool TensorRtEngine::wait(Flight& flight, std::chrono::milliseconds timeout) {
    const Current current(context_);
    if (flight.slot == nullptr) return true;
    if (timeout.count() < 0) {
        flight.slot->wait();
        return true;
    }
    const auto until = Clock::now() + timeout;
    while (!flight.slot->is_done()) {
        if (Clock::now() >= until) return false;
        std::this_thread::sleep_for(kGlance);
    }
    return true;
}

Outcome TensorRtEngine::take(const std::shared_ptr<Flight>& flight) {
    const Current current(context_);
    land(*flight);
    return std::move(flight->outcome);
}

void TensorRtEngine::forget(const std::shared_ptr<Flight>& flight) noexcept {
    try {
        const Current current(context_);
        land(*flight);
    } catch (const Error&) {  // the GPU is gone
    }
}

std::shared_ptr<Flight> TensorRtEngine::start(const Part& part, double threshold) {
    const Current current(context_);
    auto flight = std::make_shared<Flight>();
    flight->width = part.width();
    flight->height = part.height();
    flight->threshold = threshold;
    Slot& slot = free_slot();
    slot.start(part);
    flight->slot = &slot;
    free_.erase(std::find(free_.begin(), free_.end(), &slot));
    flying_.push_back(flight);
    return flight;
}

// One that is free, or that of the part that is the longest on its way, whose results are kept for it.
Slot& TensorRtEngine::free_slot() {
    if (free_.empty()) land(*flying_.front());
    return *free_.back();
}

// Waits for the part, takes its results and frees its slot; nothing when that was done before.
void TensorRtEngine::land(Flight& flight) {
    if (flight.slot == nullptr) return;
    Slot& slot = *flight.slot;
    flight.outcome = outcome_of([&] {
        slot.wait();
        return judged_of(slot.result(), flight);
    });
    flight.slot = nullptr;
    free_.push_back(&slot);
    const auto same = [&](const auto& one) { return one.get() == &flight; };
    flying_.erase(std::find_if(flying_.begin(), flying_.end(), same));
}

Inspection TensorRtEngine::judged_of(const Slot::Result& result, const Flight& flight) const {
    const auto started = Clock::now();
    const std::string unfit = why_unfit(manifest_, flight.width, flight.height, result.levels, result.part_seen);
    Inspection found = unfit.empty() ? judged(manifest_, flight.threshold, result.answer)
                                     : unjudged(manifest_, flight.threshold, unfit);
    found.levels = result.levels;
    found.stages = result.stages;
    found.stages.score_ms = milliseconds(started, Clock::now());
    return found;
}

void check_fit(const EngineFile& file, const Device& device) {
    const std::string command = build_command(file.path, file.info);
    const BuiltFor machine{device.name, device.compute_capability, tensorrt_version()};
    if (const std::string why = why_unfit(file.info, machine); !why.empty())
        throw backend_error(file.path, ": ", why, "; build it on this machine: ", command, ".");
    const auto& kernels = file.info.kernels;
    if (!kernels || kernels->source_sha256 != AST_EDGE_KERNELS_SHA256 || kernels->architecture != device.architecture())
        throw backend_error(file.path, ": the kernels beside it are not those of this version of ast-edge for ",
                            device.architecture(), "; build it again: ", command, ".");
}

}  // namespace

std::unique_ptr<Engine> open_tensorrt(const EngineFile& file, const Manifest& manifest, int device) {
    const Device found = find_device(device);
    check_fit(file, found);
    return std::make_unique<TensorRtEngine>(file, manifest, found);
}

std::string tensorrt_engine() { return "TensorRT " + tensorrt_version(); }

}  // namespace ast_edge_impl
