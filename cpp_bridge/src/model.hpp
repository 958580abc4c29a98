// The object behind a handle: a model, its engine, and the parts in flight.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine.hpp"
#include "references.hpp"

namespace ast_edge_impl {

class Model {
public:
    static std::unique_ptr<Model> open(const std::string& path, const ast_edge_options& options);

    const Manifest& manifest() const { return manifest_; }
    double threshold() const { return threshold_; }
    std::string engine() const { return engine_->name(); }

    void set_threshold(double threshold);
    Inspection inspect(const ast_edge_part& part);
    std::vector<Outcome> inspect_all(const std::vector<ast_edge_part>& parts);
    std::uint64_t submit(const ast_edge_part& part);
    // Empty if it is not done in time.
    std::optional<Inspection> wait(std::uint64_t ticket, std::int64_t timeout_ms);
    Parity verify();

private:
    Model(std::string path, Manifest manifest, std::optional<std::string> embedded);

    std::string path_;
    Manifest manifest_;
    std::optional<std::string> embedded_;
    double threshold_;
    std::unique_ptr<Engine> engine_;
    std::uint64_t last_ticket_ = 0;
    std::map<std::uint64_t, std::unique_ptr<Pending>> pending_;  // destroyed before the engine, which they use
};

// The engines in this library, one per line.
std::string engines();

}  // namespace ast_edge_impl
