// Graphs that were recorded, and executable ones that repeat them.

#include "stand_in.hpp"

struct Executable {
    std::vector<TaskPointer> nodes;
};

static std::map<void*, std::unique_ptr<Graph>> graphs;
static std::map<void*, std::shared_ptr<Executable>> executables;

void* new_graph(std::unique_ptr<Graph> graph) {
    void* handle = graph.get();
    graphs[handle] = std::move(graph);
    return handle;
}

EXPORTED Result cuGraphCreate(void** graph, unsigned) {
    LOCKED;
    *graph = new_graph(std::make_unique<Graph>());
    return SUCCESS;
}

EXPORTED Result cuGraphGetNodes(void* graph, void** nodes, size_t* count) {
    LOCKED;
    auto found = graphs.find(graph);
    if (found == graphs.end()) return violation(INVALID_VALUE, "a graph is read that does not exist");
    const std::vector<TaskPointer>& all = found->second->nodes;
    if (nodes == nullptr) {
        *count = all.size();
        return SUCCESS;
    }
    for (size_t i = 0; i < *count; ++i) nodes[i] = i < all.size() ? all[i].get() : nullptr;
    *count = std::min(*count, all.size());
    return SUCCESS;
}

EXPORTED Result cuGraphNodeGetType(void* node, int* type) {
    *type = static_cast<Task*>(node)->type;
    return SUCCESS;
}

EXPORTED Result cuGraphInstantiateWithFlags(void** executable, void* graph, unsigned long long) {
    LOCKED;
    NEED_CONTEXT;
    auto found = graphs.find(graph);
    if (found == graphs.end()) return violation(INVALID_VALUE, "a graph is instantiated that does not exist");
    auto made = std::make_shared<Executable>(Executable{found->second->nodes});
    *executable = made.get();
    executables[made.get()] = made;
    return SUCCESS;
}

EXPORTED Result cuGraphInstantiate(void** executable, void* graph, unsigned long long flags) {
    return cuGraphInstantiateWithFlags(executable, graph, flags);
}

struct InstantiateParameters {  // CUDA_GRAPH_INSTANTIATE_PARAMS
    unsigned long long flags;
    void* upload_stream;
    void* error_node;
    int result;
};

EXPORTED Result cuGraphInstantiateWithParams(void** executable, void* graph, InstantiateParameters* parameters) {
    parameters->result = 0;
    return cuGraphInstantiateWithFlags(executable, graph, parameters->flags);
}

EXPORTED Result cuGraphUpload(void*, void*) { return SUCCESS; }

// The memory a replay works on must still be there when it runs; its copies and kernels look. So must the executable
// graph: nothing that CUDA documents lets it go before its launches are through.
EXPORTED Result cuGraphLaunch(void* executable, void* handle) {
    LOCKED;
    Stream* stream = stream_of(handle);
    auto found = executables.find(executable);
    if (stream == nullptr) return INVALID_HANDLE;
    if (found == executables.end()) return violation(INVALID_VALUE, "a graph is launched that was destroyed");
    std::vector<Range> touches;
    for (const TaskPointer& node : found->second->nodes)
        touches.insert(touches.end(), node->touches.begin(), node->touches.end());
    std::weak_ptr<Executable> kept = found->second;
    auto replay = [kept] {
        std::shared_ptr<Executable> alive = kept.lock();
        if (!alive) return violation(ILLEGAL_ADDRESS, "a graph was destroyed before its launch has run");
        for (const TaskPointer& node : alive->nodes)
            if (Result failed = node->run()) return failed;
        return SUCCESS;
    };
    return enqueue(stream, GRAPH_NODE, "graph launch", replay, touches);
}

EXPORTED Result cuGraphDestroy(void* graph) {
    LOCKED;
    return graphs.erase(graph) ? SUCCESS : violation(INVALID_VALUE, "a graph is destroyed twice");
}

EXPORTED Result cuGraphExecDestroy(void* executable) {
    LOCKED;
    return executables.erase(executable) ? SUCCESS : violation(INVALID_VALUE, "an executable graph is destroyed twice");
}

// cuda.core lets graphs own Python objects through these.
EXPORTED Result cuUserObjectCreate(void** object, void*, void (*)(void*), unsigned, unsigned) {
    static int anything;
    *object = &anything;
    return SUCCESS;
}

EXPORTED Result cuUserObjectRetain(void*, unsigned) { return SUCCESS; }
EXPORTED Result cuUserObjectRelease(void*, unsigned) { return SUCCESS; }
EXPORTED Result cuGraphRetainUserObject(void*, void*, unsigned, unsigned) { return SUCCESS; }
EXPORTED Result cuGraphReleaseUserObject(void*, void*, unsigned) { return SUCCESS; }

std::string graphs_alive() {
    std::string found;
    if (!graphs.empty()) found += "graphs: " + std::to_string(graphs.size());
    if (!executables.empty())
        found += (found.empty() ? "" : ", ") + ("executable graphs: " + std::to_string(executables.size()));
    return found;
}
