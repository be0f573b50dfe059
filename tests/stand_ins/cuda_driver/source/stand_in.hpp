// A stand-in for the CUDA driver (libcuda.so.1), for tests on computers without a GPU. The installed cuda.core and
// cuda.bindings load it and do not know the difference; kernels run on the CPU, compiled through ../../cuda/shim.
//
// Modelled: one device with one context; streams as queues whose work runs only when somebody waits for it; memory of
// the "GPU" that faults when the host touches it; page-locked memory; stream-ordered allocation; stream capture with
// what it forbids; graphs; events; kernel loading and launches. What breaks a rule of CUDA is a violation: it is kept
// with a line that says which rule, and the call fails as it would on a GPU, or would only be slow or racy there.
//
// Not modelled: time (events count work), work of two streams running at once, several devices, textures, peer access,
// forks and joins within a capture. Machine code is compiled by the real NVRTC and then ignored. While work runs, the
// host can touch the GPU's memory unnoticed. A pass here says that the calls are in order, not that a GPU agrees.

#pragma once

#include <pthread.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#define EXPORTED extern "C" __attribute__((visibility("default")))

// The values of CUresult that are used.
enum Result : int {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    INVALID_DEVICE = 101,
    INVALID_CONTEXT = 201,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    NOT_READY = 600,
    ILLEGAL_ADDRESS = 700,
    LAUNCH_FAILED = 719,
    NOT_SUPPORTED = 801,
    CAPTURE_UNSUPPORTED = 900,
    CAPTURE_INVALIDATED = 901,
    CAPTURE_ISOLATION = 905,
    CAPTURE_IMPLICIT = 906,
    CAPTURED_EVENT = 907,
    CAPTURE_WRONG_THREAD = 908,
};

using Address = unsigned long long;  // CUdeviceptr

// One lock for the whole driver: calls of several threads take turns, in the order the threads make them.
extern std::recursive_mutex driver_lock;
#define LOCKED std::lock_guard<std::recursive_mutex> guard(driver_lock)

// --- violations.cpp

// Keeps a line about a broken rule and returns the code that the call fails with.
__attribute__((format(printf, 2, 3))) Result violation(Result code, const char* format, ...);

// --- device.cpp

struct Context {};

Context* current_context();
// Most calls need a context that is current in the calling thread.
#define NEED_CONTEXT \
    if (!current_context()) return violation(INVALID_CONTEXT, "%s without a current context", __func__)

constexpr int SHARED_LIMIT = 232448;         // bytes of shared memory that a block may ask for (H100, H200)
constexpr int SHARED_WITHOUT_ASKING = 49152;  // and without asking, on every GPU
constexpr int MOST_THREADS = 1024;
constexpr int MOST_BLOCKS_YZ = 65535;

// --- memory.cpp

struct Range {
    Address begin;
    size_t size;
};

// The GPU's memory can be touched as long as an object of this class lives.
class DeviceMemoryOpen {
public:
    DeviceMemoryOpen();
    ~DeviceMemoryOpen();
};

bool on_device(Address address);    // whether it lies in the GPU's address range, allocated or not
bool is_allocated(Range range);     // a part of one live allocation of the GPU
bool is_page_locked(Range range);   // a part of one live page-locked allocation
std::string memory_alive();

// --- streams.cpp

// The values of CUgraphNodeType.
enum NodeType {
    KERNEL_NODE = 0,
    COPY_NODE = 1,
    HOST_NODE = 3,
    GRAPH_NODE = 4,
    WAIT_NODE = 6,
    RECORD_NODE = 7,
    FREE_NODE = 11,
};

// A piece of work in a stream, or a node of a graph.
struct Task {
    NodeType type;
    std::string name;
    std::function<Result()> run;
    std::vector<Range> touches;  // what it reads and writes, as far as that is known
};
using TaskPointer = std::shared_ptr<Task>;

struct Graph {
    std::vector<TaskPointer> nodes;
};

struct Stream {
    Context* context = nullptr;
    bool blocking = true;  // ordered with the legacy default stream; CU_STREAM_NON_BLOCKING is not
    std::deque<TaskPointer> queue;
    uint64_t enqueued = 0, done = 0;
    std::unique_ptr<Graph> capture;  // what is being recorded
    bool invalidated = false;
    int mode = 0;  // CUstreamCaptureMode: 0 global, 1 thread local, 2 relaxed
    pthread_t thread{};
};

Stream* stream_of(void* handle);  // null, after a violation, for one that does not exist
bool stream_exists(const Stream* stream);
Result enqueue(Stream* stream, NodeType type, const std::string& name, std::function<Result()> run,
               std::vector<Range> touches = {});
Result run_until(Stream* stream, uint64_t ticket);  // runs what waits in a stream, as far as a point in it
Result run_everything();
const Task* task_waiting_for(Range range);  // enqueued work that still touches a piece of memory, or null

// Whether a capture forbids this thread a call that may wait or allocate ("potentially unsafe"): any thread's global
// one, and a thread-local one of this thread. Such a call fails and spoils the capture.
bool spoils_a_capture(const char* call);
#define UNSAFE_WHILE_CAPTURING \
    if (spoils_a_capture(__func__)) return CAPTURE_UNSUPPORTED
bool anything_captures();
const std::set<Stream*>& all_streams();  // but the default ones
bool is_legacy(const Stream* stream);   // the legacy default stream
std::string streams_alive();

// --- graphs.cpp, events.cpp

void* new_graph(std::unique_ptr<Graph> graph);
std::string graphs_alive();
std::string events_alive();
