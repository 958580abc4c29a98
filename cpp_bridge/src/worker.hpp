// One thread that runs calls in their order.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace ast_edge_impl {

class Worker {
public:
    // Runs what was handed over before, then ends the thread.
    ~Worker();
    Worker() = default;
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    // `call` must not throw. The thread starts with the first call.
    void submit(std::function<void()> call);

private:
    void serve();

    std::mutex mutex_;
    std::condition_variable more_;
    std::deque<std::function<void()>> calls_;
    bool closed_ = false;
    std::thread thread_;
};

}  // namespace ast_edge_impl
