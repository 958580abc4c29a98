#include "worker.hpp"

#include <utility>

namespace ast_edge_impl {

Worker::~Worker() {
    {
        const std::lock_guard<std::mutex> lock(mutex_);
        closed_ = true;
    }
    more_.notify_one();
    if (thread_.joinable()) thread_.join();
}

void Worker::submit(std::function<void()> call) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!thread_.joinable()) thread_ = std::thread([this] { serve(); });
    calls_.push_back(std::move(call));
    more_.notify_one();
}

void Worker::serve() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
        more_.wait(lock, [&] { return closed_ || !calls_.empty(); });
        if (calls_.empty()) return;
        const std::function<void()> call = std::move(calls_.front());
        calls_.pop_front();
        lock.unlock();
        call();
        lock.lock();
    }
}

}  // namespace ast_edge_impl
