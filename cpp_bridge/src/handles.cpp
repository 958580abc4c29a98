#include "handles.hpp"

#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>

#include "error.hpp"

namespace ast_edge_impl {

struct OpenModel {
    std::unique_ptr<Model> model;
    pid_t process;
    std::atomic<bool> busy{false};
};

namespace {

struct Handles {
    std::mutex mutex;
    std::uintptr_t last = 0;
    std::map<std::uintptr_t, std::shared_ptr<OpenModel>> open;
};

// Never destroyed: programs may end with open models, and their destructors may still call.
Handles& handles() {
    static Handles& all = *new Handles;
    return all;
}

std::uintptr_t number_of(const ast_edge_model* handle) { return reinterpret_cast<std::uintptr_t>(handle); }

std::shared_ptr<OpenModel> found(const ast_edge_model* handle) {
    Handles& all = handles();
    const std::lock_guard<std::mutex> lock(all.mutex);
    const auto at = all.open.find(number_of(handle));
    return at == all.open.end() ? nullptr : at->second;
}

}  // namespace

ast_edge_model* add_handle(std::unique_ptr<Model> model) {
    auto open = std::make_shared<OpenModel>();
    open->model = std::move(model);
    open->process = ::getpid();
    Handles& all = handles();
    const std::lock_guard<std::mutex> lock(all.mutex);
    all.open[all.last + 1] = std::move(open);
    return reinterpret_cast<ast_edge_model*>(++all.last);
}

void close_handle(ast_edge_model* handle) {
    const std::shared_ptr<OpenModel> open = found(handle);
    // The model of the process before the fork is leaked: its threads do not exist here, so they cannot be joined.
    if (open == nullptr || open->process != ::getpid()) return;
    Handles& all = handles();
    const std::lock_guard<std::mutex> lock(all.mutex);
    all.open.erase(number_of(handle));
}

InUse::InUse(const ast_edge_model* handle) {
    if (handle == nullptr) throw usage_error("model: expected a pointer, found NULL.");
    std::shared_ptr<OpenModel> open = found(handle);
    if (open == nullptr) throw usage_error("model: this handle is closed, or was never opened.");
    if (open->process != ::getpid())
        throw usage_error("model: this handle was opened before the process was forked; open the model here again.");
    if (open->busy.exchange(true, std::memory_order_acquire))
        throw usage_error("model: another thread is using this handle; open the model once for each thread.");
    open_ = std::move(open);
}

InUse::~InUse() { open_->busy.store(false, std::memory_order_release); }

Model& InUse::operator*() const { return *open_->model; }

}  // namespace ast_edge_impl
