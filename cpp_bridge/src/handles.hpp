// The open models, by handle.
#pragma once

#include <memory>

#include "model.hpp"

struct ast_edge_model;

namespace ast_edge_impl {

struct OpenModel;

// A handle is a unique number and not an address: a closed one is distinguished from all others, whatever was opened
// since.
ast_edge_model* add_handle(std::unique_ptr<Model> model);

// Waits for the parts in flight and frees the model. Does nothing for a closed handle; a call by another thread is
// finished first.
void close_handle(ast_edge_model* handle);

// Returns the model of a handle for one call. Throws Error(AST_EDGE_USAGE) for a handle that is NULL or closed, that
// another thread is using, or that another process opened: a model's threads do not survive a fork.
class InUse {
public:
    explicit InUse(const ast_edge_model* handle);
    ~InUse();
    InUse(const InUse&) = delete;
    InUse& operator=(const InUse&) = delete;

    Model& operator*() const;
    Model* operator->() const { return &**this; }

private:
    std::shared_ptr<OpenModel> open_;
};

}  // namespace ast_edge_impl
