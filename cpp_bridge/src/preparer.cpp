#include "preparer.hpp"

#include <algorithm>
#include <cstring>

#include "error.hpp"

extern "C" int ast_edge_launch(const char* name, const unsigned* grid, const unsigned* block, unsigned shared_bytes,
                               void** arguments);

namespace ast_edge_impl {
namespace {

constexpr std::size_t kLayoutsKept = 4;  // a line has one; trying several must not fill the memory

// An input of the network, written to its own buffer.
bool is_input(const std::string& name) { return name == "image" || name == "depth" || name == "foreground"; }

struct Cell {  // the storage of a kernel argument
    union {
        std::int32_t integer;
        double number;
        const void* address;
    };
};

}  // namespace

// Buffers and arguments for parts of one layout.
class Preparer::Prepared {
public:
    Prepared(const Layouts& layouts, const Preprocessing& spec)
        : layouts(layouts), counts(counts_of(spec)), plan_(plan_part(layouts, spec)) {
        for (const auto* buffers : {&plan_.constants, &plan_.workspace, &plan_.outputs})
            for (const Buffer& buffer : *buffers)
                if (!is_input(buffer.name)) add(buffer);
        for (const Launch& launch : plan_.launches) calls_.push_back(wired(launch));
    }

    void run(const Part& part, const Targets& targets) {
        for (auto& [name, cells] : outside_) {
            const void* address = name == "frame" ? part.frame : name == "depth_m" ? part.depth_m : targets.at(name);
            for (Cell* cell : cells) cell->address = address;
        }
        for (std::size_t i = 0; i < calls_.size(); ++i) {
            const Launch& launch = plan_.launches[i];
            const unsigned block[3] = {1, 1, 1};
            if (ast_edge_launch(launch.kernel.c_str(), launch.grid.data(), block, launch.shared_bytes,
                                calls_[i].pointers.data()) != 0)
                throw Error(AST_EDGE_INTERNAL, concat("there is no kernel ", launch.kernel));
        }
    }

    const void* address(const std::string& name) const { return memory_.at(name).data(); }

    const Layouts layouts;
    const Counts counts;

private:
    struct Call {
        std::vector<Cell> cells;
        std::vector<void*> pointers;
    };

    void add(const Buffer& buffer) {
        std::vector<std::max_align_t>& memory = memory_[buffer.name];
        memory.resize(buffer.bytes / sizeof(std::max_align_t) + 1);
        if (!buffer.content.empty()) std::memcpy(memory.data(), buffer.content.data(), buffer.bytes);
    }

    Call wired(const Launch& launch) {
        Call call;
        call.cells.resize(launch.arguments.size());  // not resized later: pointers refer into it
        for (std::size_t i = 0; i < call.cells.size(); ++i) {
            Cell& cell = call.cells[i];
            call.pointers.push_back(&cell);
            if (const auto* integer = std::get_if<std::int32_t>(&launch.arguments[i])) cell.integer = *integer;
            if (const auto* number = std::get_if<double>(&launch.arguments[i])) cell.number = *number;
            const auto* name = std::get_if<std::string>(&launch.arguments[i]);
            if (name == nullptr) continue;
            if (memory_.count(*name) > 0)
                cell.address = address(*name);
            else
                outside_[*name].push_back(&cell);
        }
        return call;
    }

    Plan plan_;
    std::map<std::string, std::vector<std::max_align_t>> memory_;
    std::vector<Call> calls_;
    std::map<std::string, std::vector<Cell*>> outside_;  // arguments that differ for every part
};

Inputs Preparer::prepare(const Part& part, const Targets& targets) {
    Prepared& prepared = prepared_for(part.layouts);
    prepared.run(part, targets);
    std::int32_t status = 0;
    std::memcpy(&status, prepared.address("status"), sizeof status);
    Inputs inputs{std::nullopt, part_seen(status)};
    if (part.layouts.frame) {
        std::uint64_t sums[4];
        std::memcpy(sums, prepared.address("levels"), sizeof sums);
        inputs.levels = levels_from_sums(sums, prepared.counts);
    }
    return inputs;
}

Preparer::Prepared& Preparer::prepared_for(const Layouts& layouts) {
    const auto same = [&](const auto& one) { return one->layouts == layouts; };
    const auto found = std::find_if(prepared_.begin(), prepared_.end(), same);
    if (found != prepared_.end()) {
        prepared_.splice(prepared_.begin(), prepared_, found);
    } else {
        prepared_.push_front(std::make_shared<Prepared>(layouts, spec_));
        if (prepared_.size() > kLayoutsKept) prepared_.pop_back();
    }
    return *prepared_.front();
}

}  // namespace ast_edge_impl
