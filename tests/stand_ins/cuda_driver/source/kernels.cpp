// Machine code, kernels and their launches. The code itself is not run: DRIVER_STAND_IN_KERNELS names a library with
// the same kernels compiled for the CPU.

#include <cstdlib>
#include <cstring>
#include <dlfcn.h>

#include "stand_in.hpp"

struct Kernel {
    std::string name;
    std::vector<size_t> sizes;  // of its parameters, in bytes
    int shared_limit = SHARED_WITHOUT_ASKING;
    bool loaded = false;
};

struct Library {
    std::map<std::string, std::unique_ptr<Kernel>> kernels;
};

static std::map<void*, std::unique_ptr<Library>> libraries;

static void* compiled(const char* symbol) {
    const char* path = getenv("DRIVER_STAND_IN_KERNELS");
    static void* library = path == nullptr ? nullptr : dlopen(path, RTLD_NOW | RTLD_LOCAL);
    return library == nullptr ? nullptr : dlsym(library, symbol);
}

EXPORTED Result cuLibraryLoadData(void** handle, const void* code, void*, void*, unsigned, void*, void*, unsigned) {
    LOCKED;
    UNSAFE_WHILE_CAPTURING;
    if (memcmp(code, "\x7f" "ELF", 4) != 0) return violation(INVALID_VALUE, "what is loaded is no machine code");
    auto library = std::make_unique<Library>();
    *handle = library.get();
    libraries[*handle] = std::move(library);
    return SUCCESS;
}

EXPORTED Result cuLibraryUnload(void* handle) {
    LOCKED;
    return libraries.erase(handle) ? SUCCESS : violation(INVALID_HANDLE, "a library is unloaded twice");
}

EXPORTED Result cuLibraryGetKernel(void** handle, void* library, const char* name) {
    LOCKED;
    auto found = libraries.find(library);
    if (found == libraries.end()) return violation(INVALID_HANDLE, "a kernel is taken from an unloaded library");
    std::unique_ptr<Kernel>& kernel = found->second->kernels[name];
    if (!kernel) {
        auto sizes_of = reinterpret_cast<int (*)(const char*, size_t*)>(compiled("shim_sizes"));
        size_t sizes[64];
        int count = sizes_of == nullptr ? -1 : sizes_of(name, sizes);
        if (count < 0) return NOT_FOUND;
        kernel = std::make_unique<Kernel>();
        kernel->name = name;
        kernel->sizes.assign(sizes, sizes + count);
    }
    *handle = kernel.get();
    return SUCCESS;
}

EXPORTED Result cuKernelGetFunction(void** function, void* kernel) {
    NEED_CONTEXT;
    *function = kernel;
    return SUCCESS;
}

// Drivers load lazily: code reaches the GPU at the first launch, or here. Loading may wait for the whole context.
EXPORTED Result cuFuncLoad(void* function) {
    LOCKED;
    NEED_CONTEXT;
    UNSAFE_WHILE_CAPTURING;
    static_cast<Kernel*>(function)->loaded = true;
    return SUCCESS;
}

EXPORTED Result cuFuncIsLoaded(int* state, void* function) {
    *state = static_cast<Kernel*>(function)->loaded;
    return SUCCESS;
}

EXPORTED Result cuKernelSetAttribute(int attribute, int value, void* kernel, int) {
    LOCKED;
    if (attribute != 8) return SUCCESS;  // CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    if (value > SHARED_LIMIT) return violation(INVALID_VALUE, "a kernel asks for more shared memory than there is");
    static_cast<Kernel*>(kernel)->shared_limit = value;
    return SUCCESS;
}

EXPORTED Result cuKernelGetAttribute(int* value, int, void*, int) {
    *value = 0;
    return SUCCESS;
}

EXPORTED Result cuKernelGetParamInfo(void* handle, size_t index, size_t* offset, size_t* size) {
    auto* kernel = static_cast<Kernel*>(handle);
    if (index >= kernel->sizes.size()) return INVALID_VALUE;
    *offset = 0;
    if (size != nullptr) *size = kernel->sizes[index];
    return SUCCESS;
}

struct LaunchConfig {  // CUlaunchConfig
    unsigned grid[3], block[3], shared;
    void* stream;
    void* attributes;
    unsigned attribute_count;
};

using Arguments = std::vector<std::vector<char>>;

// Eight bytes that are an address of the GPU must point to live memory, now and when the kernel runs.
static Result check_pointers(const std::string& name, const Arguments& arguments) {
    for (const std::vector<char>& argument : arguments) {
        Address address = 0;
        if (argument.size() != sizeof address) continue;
        memcpy(&address, argument.data(), sizeof address);
        if (on_device(address) && !is_allocated({address, 1}))
            return violation(ILLEGAL_ADDRESS, "kernel %s is given memory that is freed", name.c_str());
    }
    return SUCCESS;
}

static Result check_shape(const LaunchConfig& config, const Kernel& kernel) {
    const char* name = kernel.name.c_str();
    if (static_cast<int>(config.shared) > kernel.shared_limit)
        return violation(INVALID_VALUE, "kernel %s is launched with %u bytes of shared memory; it may have %d", name,
                         config.shared, kernel.shared_limit);
    const unsigned *grid = config.grid, *block = config.block;
    bool empty = !grid[0] || !grid[1] || !grid[2] || !block[0] || !block[1] || !block[2];
    if (empty || uint64_t{block[0]} * block[1] * block[2] > MOST_THREADS || block[2] > 64 || grid[0] > 0x7fffffff ||
        grid[1] > MOST_BLOCKS_YZ || grid[2] > MOST_BLOCKS_YZ)
        return violation(INVALID_VALUE, "kernel %s is launched with a grid or block that no GPU has", name);
    if (config.attribute_count != 0) return violation(NOT_SUPPORTED, "launch attributes are not modelled");
    return SUCCESS;
}

static Result run_on_cpu(const std::string& name, const LaunchConfig& config, Arguments& arguments) {
    using Launch = int (*)(const char*, const unsigned*, const unsigned*, unsigned, void**, uint64_t);
    if (Result failed = check_pointers(name, arguments)) return failed;
    static auto launch = reinterpret_cast<Launch>(compiled("shim_launch"));
    static uint64_t seed = 1;  // of the order in which threads run
    seed += 2654435761;
    std::vector<void*> pointers;
    for (std::vector<char>& argument : arguments) pointers.push_back(argument.data());
    int outcome = launch(name.c_str(), config.grid, config.block, config.shared, pointers.data(), seed);
    if (outcome == 0) return SUCCESS;
    return violation(LAUNCH_FAILED, "kernel %s: some threads never reach a barrier (%d)", name.c_str(), outcome);
}

EXPORTED Result cuLaunchKernelEx(const LaunchConfig* config, void* function, void** given, void**) {
    LOCKED;
    NEED_CONTEXT;
    auto* kernel = static_cast<Kernel*>(function);
    Stream* stream = stream_of(config->stream);
    if (stream == nullptr) return INVALID_HANDLE;
    if (!kernel->loaded && anything_captures()) {
        if (stream->capture) stream->invalidated = true;
        return violation(CAPTURE_UNSUPPORTED, "kernel %s is loaded while a stream is captured", kernel->name.c_str());
    }
    kernel->loaded = true;
    if (Result failed = check_shape(*config, *kernel)) return failed;
    Arguments arguments;
    for (size_t i = 0; i < kernel->sizes.size(); ++i) {
        auto* bytes = static_cast<const char*>(given[i]);
        arguments.emplace_back(bytes, bytes + kernel->sizes[i]);
    }
    if (Result failed = check_pointers(kernel->name, arguments)) return failed;
    auto run = [name = kernel->name, shape = *config, arguments]() mutable {
        return run_on_cpu(name, shape, arguments);
    };
    return enqueue(stream, KERNEL_NODE, "kernel " + kernel->name, run);
}

// Work that a run time for networks would launch: a function of the host that stands for its kernels.
EXPORTED Result stand_in_enqueue(void* handle, int (*work)()) {
    LOCKED;
    NEED_CONTEXT;
    Stream* stream = stream_of(handle);
    if (stream == nullptr) return INVALID_HANDLE;
    return enqueue(stream, KERNEL_NODE, "network",
                   [work] { return work() == 0 ? SUCCESS : violation(LAUNCH_FAILED, "the network failed"); });
}

// Apart from what else is alive: cuda.core never unloads a library, because that crashed some programs at their end.
EXPORTED int stand_in_libraries() {
    LOCKED;
    return static_cast<int>(libraries.size());
}
