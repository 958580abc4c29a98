#include "cpu_engine.hpp"

#include <future>

#include "error.hpp"

namespace ast_edge_impl {
namespace {

using Clock = std::chrono::steady_clock;

// A part that owns its memory, with rows without gaps.
class OwnPart {
public:
    explicit OwnPart(const Part& part) : part_{packed(part.layouts)} {
        if (const auto& layout = part.layouts.frame) {
            frame_.resize(part_.layouts.frame->bytes());
            const auto row = static_cast<std::size_t>(layout->row_bytes());
            copy_rows(frame_.data(), row, part.frame, static_cast<std::size_t>(layout->pitch), row,
                      static_cast<std::size_t>(layout->rows()));
            part_.frame = frame_.data();
        }
        if (const auto& layout = part.layouts.depth) {
            depth_.resize(part_.layouts.depth->bytes() / 4);
            const std::size_t row = layout->value_bytes() * static_cast<std::size_t>(layout->width);
            copy_rows(depth_.data(), row, part.depth_m, layout->value_bytes() * static_cast<std::size_t>(layout->pitch),
                      row, static_cast<std::size_t>(layout->height));
            part_.depth_m = depth_.data();
        }
    }

    const Part& part() const { return part_; }

private:
    Part part_;
    std::vector<unsigned char> frame_;
    std::vector<float> depth_;  // vectors come from operator new, aligned for doubles too
};

class PendingFuture : public Pending {
public:
    explicit PendingFuture(std::future<Outcome> future) : future_(std::move(future)) {}

    bool wait(std::chrono::milliseconds timeout) override {
        if (timeout.count() < 0) future_.wait();
        return timeout.count() < 0 || future_.wait_for(timeout) == std::future_status::ready;
    }
    Inspection take() override { return inspection_of(future_.get()); }

private:
    std::future<Outcome> future_;
};

}  // namespace

CpuEngine::CpuEngine(const Manifest& manifest, std::unique_ptr<Network> network)
    : manifest_(manifest), network_(std::move(network)), preparer_(manifest.preprocessing) {}

Inspection CpuEngine::inspect(const Part& part, double threshold) {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::vector<Row> rows(1);
    rows[0] = prepare(part, threshold, 0);
    if (rows[0].filled) judge_rows(rows, 1, threshold);
    return std::move(rows[0].outcome.inspection);
}

std::vector<Outcome> CpuEngine::inspect_all(const std::vector<Part>& parts, double threshold) {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::vector<Outcome> outcomes;
    std::vector<Row> rows;
    std::size_t filled = 0;
    for (const Part& part : parts) {
        try {
            rows.push_back(prepare(part, threshold, filled));
        } catch (const Error& error) {
            if (error.status() != AST_EDGE_FRAME && error.status() != AST_EDGE_USAGE) throw;
            rows.push_back({{unjudged(manifest_, threshold, error.what()), error.status()}, false});
        }
        filled += rows.back().filled;
        if (filled < network_->rows() && outcomes.size() + rows.size() < parts.size()) continue;
        judge_rows(rows, filled, threshold);
        for (Row& row : rows) outcomes.push_back(std::move(row.outcome));
        rows.clear();
        filled = 0;
    }
    return outcomes;
}

std::unique_ptr<Pending> CpuEngine::submit(const Part& part, double threshold) {
    if (part.on_gpu) throw usage_error("The CPU engine cannot read a GPU's memory; hand over a part in host memory.");
    auto promise = std::make_shared<std::promise<Outcome>>();
    auto pending = std::make_unique<PendingFuture>(promise->get_future());
    worker_.submit([this, promise, own = std::make_shared<const OwnPart>(part), threshold] {
        promise->set_value(outcome_of([&] { return inspect(own->part(), threshold); }));
    });
    return pending;
}

Answer CpuEngine::run(const Tensors& tensors) {
    const std::lock_guard<std::mutex> lock(mutex_);
    network_->fill(0, tensors);
    return std::move(network_->run(1)[0]);
}

CpuEngine::Row CpuEngine::prepare(const Part& part, double threshold, std::size_t row) {
    if (part.on_gpu) throw usage_error("The CPU engine cannot read a GPU's memory; hand over a part in host memory.");
    const auto started = Clock::now();
    const Inputs inputs = preparer_.prepare(part, network_->targets(row));
    const std::string unfit = why_unfit(manifest_, part.width(), part.height(), inputs.levels, inputs.part_seen);
    Row made{{unjudged(manifest_, threshold, unfit)}, unfit.empty()};
    made.outcome.inspection.levels = inputs.levels;
    made.outcome.inspection.stages.preprocess_ms = milliseconds(started, Clock::now());
    return made;
}

void CpuEngine::judge_rows(std::vector<Row>& rows, std::size_t filled, double threshold) {
    if (filled == 0) return;
    const auto started = Clock::now();
    std::vector<Answer> answers = network_->run(filled);
    const double engine_ms = milliseconds(started, Clock::now()) / static_cast<double>(filled);
    std::size_t next = 0;
    for (Row& row : rows) {
        if (!row.filled) continue;
        const auto answered = Clock::now();
        const Inspection before = std::move(row.outcome.inspection);
        row.outcome.inspection = judged(manifest_, threshold, std::move(answers[next++]));
        row.outcome.inspection.levels = before.levels;
        row.outcome.inspection.stages = {before.stages.preprocess_ms, engine_ms, milliseconds(answered, Clock::now())};
    }
}

}  // namespace ast_edge_impl
