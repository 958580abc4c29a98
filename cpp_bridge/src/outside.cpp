#include "outside.hpp"

#include <cstdint>
#include <vector>

#include "wire.hpp"

namespace ast_edge_impl {
namespace {

constexpr std::size_t kMostFields = 5'000'000;
constexpr int kDeepest = 64;
constexpr std::uint32_t kExternalData = 13, kDataLocation = 14;  // of a tensor

// The messages of onnx.proto that lead to tensors.
enum class Message { none, model, training, function, graph, node, attribute, sparse, tensor };

Message inside_graph(std::uint32_t field) {
    return field == 1 ? Message::node : field == 5 ? Message::tensor : field == 15 ? Message::sparse : Message::none;
}

Message inside_attribute(std::uint32_t field) {
    switch (field) {
        case 5:
        case 10: return Message::tensor;
        case 6:
        case 11: return Message::graph;
        case 22:
        case 23: return Message::sparse;
        default: return Message::none;
    }
}

// The content of a message's field.
Message inside(Message message, std::uint32_t field) {
    switch (message) {
        case Message::model:
            return field == 7    ? Message::graph
                   : field == 20 ? Message::training
                   : field == 25 ? Message::function
                                 : Message::none;
        case Message::training: return field == 1 || field == 2 ? Message::graph : Message::none;
        case Message::function: return field == 7 ? Message::node : field == 11 ? Message::attribute : Message::none;
        case Message::graph: return inside_graph(field);
        case Message::node: return field == 5 ? Message::attribute : Message::none;
        case Message::attribute: return inside_attribute(field);
        case Message::sparse: return field == 1 || field == 2 ? Message::tensor : Message::none;
        default: return Message::none;
    }
}

bool is_outside(std::string_view file, const Field& field) {
    if (field.number != kDataLocation) return field.number == kExternalData;
    return file.substr(field.payload, field.end - field.payload) != std::string_view("\0", 1);  // in the tensor itself
}

struct Waiting {
    Message message;
    std::size_t start, end;
    int depth;
};

}  // namespace

bool tensors_outside(std::string_view file) {
    std::vector<Waiting> waiting{{Message::model, 0, file.size(), 0}};
    std::vector<Field> fields;
    std::size_t count = 0;
    while (!waiting.empty()) {
        const Waiting next = waiting.back();
        waiting.pop_back();
        if (next.depth > kDeepest) throw WireProblem{"its messages are nested too deep", false};
        fields.clear();
        scan(file, next.start, next.end, kMostFields - count + 1, fields);
        count += fields.size();
        if (count > kMostFields) throw WireProblem{"it has too many fields", false};
        for (const Field& field : fields) {
            if (next.message == Message::tensor && is_outside(file, field)) return true;
            const Message message = inside(next.message, field.number);
            if (message != Message::none) waiting.push_back({message, field.payload, field.end, next.depth + 1});
        }
    }
    return false;
}

}  // namespace ast_edge_impl
