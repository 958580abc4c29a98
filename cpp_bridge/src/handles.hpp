// The models that are open, by their handles.
#pragma once

#include <memory>

#include "model.hpp"

struct ast_edge_model;

namespace ast_edge_impl {

struct OpenModel;

// A handle is a number that is given out once, and nothing lies at that address: one that was closed is told from all
// others, whatever was opened since.
ast_edge_model* add_handle(std::unique_ptr<Model> model);

// Waits for the parts on their way and frees the model. Nothing for a handle that is closed; a call that another
// thread is in ends first.
void close_handle(ast_edge_model* handle);

// The model of a handle, for one call. Throws Error(AST_EDGE_USAGE) for a handle that is NULL or closed, that another
// thread is using, or that another process opened: after a fork a model's threads are not there.
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
