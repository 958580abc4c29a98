// OpenVINO, on the CPU or another device, through its C interface, which is stable across compilers and versions.
#include <openvino/c/openvino.h>

#include <algorithm>
#include <cstring>

#include "error.hpp"
#include "network.hpp"

namespace ast_edge_impl {
namespace {

constexpr std::size_t kMostRows = 16;  // at once, if the batch is dynamic

template <typename Thing, void (*Free)(Thing*)>
struct Freed {
    void operator()(Thing* thing) const { Free(thing); }
};

template <typename Thing, void (*Free)(Thing*)>
using Owned = std::unique_ptr<Thing, Freed<Thing, Free>>;

using Core = Owned<ov_core_t, ov_core_free>;
using Model = Owned<ov_model_t, ov_model_free>;
using Compiled = Owned<ov_compiled_model_t, ov_compiled_model_free>;
using Request = Owned<ov_infer_request_t, ov_infer_request_free>;
using Tensor = Owned<ov_tensor_t, ov_tensor_free>;
using Port = Owned<ov_output_const_port_t, ov_output_const_port_free>;

std::string one_line(std::string text) {
    std::replace(text.begin(), text.end(), '\n', ' ');
    return text;
}

std::string reason_of(ov_status_e status) {
    const char* last = ov_get_last_err_msg();
    std::string text = last != nullptr && *last != '\0' ? last : ov_get_error_info(status);
    if (last != nullptr) ov_free(last);
    return one_line(std::move(text));
}

void check(ov_status_e status, const std::string& what) {
    if (status != ov_status_e::OK) throw backend_error("OpenVINO: ", what, " failed (", reason_of(status), ").");
}

std::vector<int> shape_of(const ov_partial_shape_t& shape) {
    std::vector<int> sizes;
    for (std::int64_t i = 0; i < shape.rank.max; ++i) {
        const ov_dimension_t& size = shape.dims[i];
        sizes.push_back(size.min == size.max ? static_cast<int>(size.min) : -1);
    }
    return sizes;
}

TensorSpec spec_of(const Port& port, const std::string& path) {
    char* name = nullptr;
    check(ov_port_get_any_name(port.get(), &name), "a tensor's name");
    const std::string copied = name;
    ov_free(name);
    ov_element_type_e type{};
    check(ov_port_get_element_type(port.get(), &type), "a tensor's type");
    if (type != ov_element_type_e::U8 && type != ov_element_type_e::F32)
        throw backend_error(path, ": the network's tensor '", copied, "' is neither uint8 nor float32.");
    ov_partial_shape_t shape{};
    check(ov_port_get_partial_shape(port.get(), &shape), "a tensor's shape");
    TensorSpec spec{copied, type == ov_element_type_e::U8 ? Type::uint8 : Type::float32, shape_of(shape)};
    ov_partial_shape_free(&shape);
    return spec;
}

using Count = ov_status_e (*)(const ov_model_t*, std::size_t*);
using ByIndex = ov_status_e (*)(const ov_model_t*, std::size_t, ov_output_const_port_t**);

void check_tensors(const Model& network, Count count_of, ByIndex by_index, const std::vector<TensorSpec>& expected,
                   const std::string& path) {
    std::size_t count = 0;
    check(count_of(network.get(), &count), "the network's tensors");
    std::string found;
    std::size_t fitting = 0;
    for (std::size_t i = 0; i < count; ++i) {
        ov_output_const_port_t* raw = nullptr;
        check(by_index(network.get(), i, &raw), "a tensor");
        const TensorSpec spec = spec_of(Port(raw), path);
        fitting += std::find(expected.begin(), expected.end(), spec) != expected.end();
        found += (i ? ", " : "") + describe(spec);
    }
    if (count == expected.size() && fitting == count) return;
    std::string wanted;
    for (const TensorSpec& spec : expected) wanted += (wanted.empty() ? "" : ", ") + describe(spec);
    throw backend_error(path, ": the network has other tensors than its manifest says (expected ", wanted, ", found ",
                        found, "); export the model again.");
}

Tensor make_tensor(const TensorSpec& spec, std::size_t rows) {
    std::vector<std::int64_t> sizes(spec.shape.begin(), spec.shape.end());
    sizes[0] = static_cast<std::int64_t>(rows);
    ov_shape_t shape{};
    check(ov_shape_create(static_cast<std::int64_t>(sizes.size()), sizes.data(), &shape), "a shape");
    ov_tensor_t* tensor = nullptr;
    const auto type = spec.type == Type::uint8 ? ov_element_type_e::U8 : ov_element_type_e::F32;
    const ov_status_e status = ov_tensor_create(type, shape, &tensor);
    ov_shape_free(&shape);
    check(status, "a tensor's memory");
    return Tensor(tensor);
}

char* data_of(const Tensor& tensor) {
    void* data = nullptr;
    check(ov_tensor_data(tensor.get(), &data), "a tensor's data");
    return static_cast<char*>(data);
}

class OpenVinoNetwork : public Network {
public:
    OpenVinoNetwork(const ModelFile& model, int threads, Processor processor)
        : inputs_(model.manifest.inputs),
          map_values_(model.manifest.outputs[1].values()),
          fixed_(std::max(model.manifest.batch(), 0)),
          processor_(std::move(processor)) {
        ov_core_t* core = nullptr;
        check(ov_core_create(&core), "its start");
        core_.reset(core);
        const Model network = read(model);
        compile(network, model.path, threads);
        make_request();
    }

    std::string name() const override {
        if (processor_.device == "CPU") return network_engine() + " on the CPU";
        return network_engine() + " on " + processor_.device + (partly_on_cpu_ ? ", partly or wholly the CPU" : "");
    }
    std::size_t rows() const override { return fixed_ > 0 ? static_cast<std::size_t>(fixed_) : kMostRows; }

    Targets targets(std::size_t row) override {
        Targets found;
        for (std::size_t i = 0; i < inputs_.size(); ++i) found[inputs_[i].name] = memory_[i] + row * inputs_[i].bytes();
        return found;
    }

    void fill(std::size_t row, const Tensors& tensors) override {
        const Targets to = targets(row);
        for (const TensorSpec& spec : inputs_) std::memcpy(to.at(spec.name), tensors.at(spec.name), spec.bytes());
    }

    std::vector<Answer> run(std::size_t count) override {
        if (fixed_ > 0)
            fill_up(count);
        else
            bind(count);
        check(ov_infer_request_infer(request_.get()), "running the network");
        return answers(count);
    }

private:
    Model read(const ModelFile& model) const {
        ov_model_t* network = nullptr;
        const ov_status_e status = ov_core_read_model_from_memory_buffer(core_.get(), model.content.data(),
                                                                         model.content.size(), nullptr, &network);
        if (status != ov_status_e::OK)
            throw backend_error(model.path, ": OpenVINO cannot read the network (", reason_of(status),
                                "); export the model again or upgrade OpenVINO.");
        Model read(network);
        check_tensors(read, ov_model_inputs_size, ov_model_const_input_by_index, model.manifest.inputs, model.path);
        check_tensors(read, ov_model_outputs_size, ov_model_const_output_by_index, model.manifest.outputs, model.path);
        return read;
    }

    void compile(const Model& network, const std::string& path, int threads) {
        if (processor_.device == "CPU")
            compile_for_cpu(network, path, threads);
        else
            compile_for_device(network, path);
    }

    void compile_for_device(const Model& network, const std::string& path) {
        ov_compiled_model_t* compiled = nullptr;
        const std::string& device = processor_.device;
        // AUTO neither begins on the CPU while another device compiles, nor goes there when it fails.
        const std::size_t count = device.rfind("AUTO", 0) == 0 ? 8 : 4;
        const ov_status_e status = ov_core_compile_model(
            core_.get(), network.get(), device.c_str(), count, &compiled, "INFERENCE_PRECISION_HINT", "f32",
            "PERFORMANCE_HINT", "LATENCY", "ENABLE_STARTUP_FALLBACK", "NO", "ENABLE_RUNTIME_FALLBACK", "NO");
        if (status != ov_status_e::OK)
            throw backend_error(path, ": OpenVINO cannot run the network on ", device, " (", reason_of(status),
                                "); check its driver, or give another processor.");
        compiled_.reset(compiled);
        partly_on_cpu_ = runs_on_cpu();
        if (partly_on_cpu_ && !processor_.allow_cpu)
            throw backend_error(path, ": OpenVINO on ", device,
                                " leaves the network, or a part of it, to the CPU; check its driver and libraries, or ",
                                "allow that (allow_cpu).");
    }

    bool runs_on_cpu() const {
        char* devices = nullptr;
        check(ov_compiled_model_get_property(compiled_.get(), "EXECUTION_DEVICES", &devices), "the devices in use");
        const std::string found = devices;
        ov_free(devices);
        return found.find("CPU") != std::string::npos;
    }

    void compile_for_cpu(const Model& network, const std::string& path, int threads) {
        const std::string count = std::to_string(threads);
        ov_compiled_model_t* compiled = nullptr;
        // Respect FP32 in the graph: by default processors with BF16 or FP16 would compute in those.
        // Threads are not pinned to cores: other handles and the rest of the program run there too.
        const ov_status_e status =
            ov_core_compile_model(core_.get(), network.get(), "CPU", threads > 0 ? 10 : 8, &compiled,
                                  "INFERENCE_PRECISION_HINT", "f32", "PERFORMANCE_HINT", "LATENCY", "NUM_STREAMS", "1",
                                  "ENABLE_CPU_PINNING", "NO", "INFERENCE_NUM_THREADS", count.c_str());
        if (status != ov_status_e::OK)
            throw backend_error(path, ": OpenVINO cannot run the network (", reason_of(status), ").");
        compiled_.reset(compiled);
    }

    void make_request() {
        ov_infer_request_t* request = nullptr;
        check(ov_compiled_model_create_infer_request(compiled_.get(), &request), "a request");
        request_.reset(request);
        for (const TensorSpec& spec : inputs_) {
            tensors_.push_back(make_tensor(spec, rows()));
            memory_.push_back(data_of(tensors_.back()));
        }
        bind(rows());
    }

    // Lets the network see the first `count` rows.
    void bind(std::size_t count) {
        if (bound_ == count) return;
        bound_ = 0;  // unknown if it fails halfway
        for (std::size_t i = 0; i < inputs_.size(); ++i) {
            std::vector<std::int64_t> sizes(inputs_[i].shape.begin(), inputs_[i].shape.end());
            sizes[0] = static_cast<std::int64_t>(count);
            ov_shape_t shape{};
            check(ov_shape_create(static_cast<std::int64_t>(sizes.size()), sizes.data(), &shape), "a shape");
            const ov_status_e status = ov_tensor_set_shape(tensors_[i].get(), shape);
            ov_shape_free(&shape);
            check(status, "a tensor's shape");
            check(ov_infer_request_set_tensor(request_.get(), inputs_[i].name.c_str(), tensors_[i].get()), "an input");
        }
        bound_ = count;
    }

    // A batch that must be larger is filled with copies of its first row.
    void fill_up(std::size_t count) {
        for (std::size_t i = 0; i < inputs_.size(); ++i)
            for (std::size_t row = count; row < rows(); ++row)
                std::memcpy(memory_[i] + row * inputs_[i].bytes(), memory_[i], inputs_[i].bytes());
    }

    std::vector<Answer> answers(std::size_t count) const {
        const Tensor scores = output("score", fixed_ > 0 ? rows() : count, 1);
        const std::size_t values = map_values_;
        const Tensor maps = output("anomaly_map", fixed_ > 0 ? rows() : count, values);
        const auto* score = reinterpret_cast<const float*>(data_of(scores));
        const auto* map = reinterpret_cast<const float*>(data_of(maps));
        std::vector<Answer> found;
        for (std::size_t row = 0; row < count; ++row)
            found.push_back({score[row], std::vector<float>(map + row * values, map + (row + 1) * values)});
        return found;
    }

    Tensor output(const char* name, std::size_t rows, std::size_t values) const {
        ov_tensor_t* tensor = nullptr;
        check(ov_infer_request_get_tensor(request_.get(), name, &tensor), "an output");
        Tensor owned(tensor);
        std::size_t size = 0;
        check(ov_tensor_get_size(tensor, &size), "an output's size");
        if (size != rows * values)
            throw backend_error("OpenVINO: output '", name, "' has ", size, " values, expected ", rows * values, ".");
        return owned;
    }

    std::vector<TensorSpec> inputs_;
    std::size_t map_values_;
    int fixed_;  // batch; 0: any
    Processor processor_;
    bool partly_on_cpu_ = false;
    std::size_t bound_ = 0;
    Core core_;
    Compiled compiled_;
    Request request_;
    std::vector<Tensor> tensors_;
    std::vector<char*> memory_;
};

}  // namespace

std::unique_ptr<Network> open_network(const ModelFile& model, int threads, const Processor& processor) {
    if (threads < 0) throw usage_error("threads: expected 0 (one per core) or more, found ", threads, ".");
    return std::make_unique<OpenVinoNetwork>(model, threads, processor);
}

std::string network_engine() {
    ov_version_t version{};
    if (ov_get_openvino_version(&version) != ov_status_e::OK) return "OpenVINO";
    const std::string build = version.buildNumber;
    ov_version_free(&version);
    return "OpenVINO " + build.substr(0, build.find('-'));
}

}  // namespace ast_edge_impl
