// Memory of the GPU, page-locked memory, allocation and release.
//
// The GPU's memory is a range of addresses that the host may not touch; work in a stream opens it while it runs. New
// memory is full of a pattern, freed memory of another, and a guard behind every block shows writes past its end.

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>

#include "stand_in.hpp"

static constexpr size_t ROOM = size_t{6} << 30;  // of addresses; pages are only taken when they are written
static constexpr size_t ALIGNMENT = 512, GUARD = 512;
static constexpr int FRESH = 0xA5, STALE = 0xDD;

static char* room;
static size_t used;
static int openings;
static std::map<Address, size_t> device_blocks, locked_blocks;
static std::multimap<size_t, Address> spare;  // freed blocks by room: memory pools hand them out again
static struct sigaction handler_before;

// A host that follows an address of the GPU dies on a real machine too, but without saying why.
static void explain_fault(int, siginfo_t* what, void*) {
    auto address = reinterpret_cast<Address>(what->si_addr);
    if (on_device(address)) violation(ILLEGAL_ADDRESS, "the host touches memory of the GPU at %#llx", address);
    // The instruction is tried again, and whoever handled faults before ends the process.
    sigaction(SIGSEGV, &handler_before, nullptr);
}

static bool make_room() {
    if (room != nullptr) return true;
    void* found = mmap(nullptr, ROOM, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (found == MAP_FAILED) return false;
    room = static_cast<char*>(found);
    used = 4096;
    struct sigaction handler = {};
    handler.sa_sigaction = explain_fault;
    handler.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &handler, &handler_before);
    return true;
}

DeviceMemoryOpen::DeviceMemoryOpen() {
    if (room != nullptr && openings++ == 0) mprotect(room, used, PROT_READ | PROT_WRITE);
}

DeviceMemoryOpen::~DeviceMemoryOpen() {
    if (room != nullptr && --openings == 0) mprotect(room, used, PROT_NONE);
}

bool on_device(Address address) {
    auto begin = reinterpret_cast<Address>(room);
    return room != nullptr && address >= begin && address < begin + ROOM;
}

static bool lies_in(const std::map<Address, size_t>& blocks, Range range) {
    auto after = blocks.upper_bound(range.begin);
    if (after == blocks.begin()) return false;
    auto [begin, size] = *std::prev(after);
    return range.begin + range.size <= begin + size;
}

bool is_allocated(Range range) { return lies_in(device_blocks, range); }

bool is_page_locked(Range range) { return lies_in(locked_blocks, range); }

static size_t padded(size_t size) { return (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT + GUARD; }

static Result allocate(Address* address, size_t size) {
    if (size == 0) return violation(INVALID_VALUE, "an allocation of no bytes");
    if (!make_room()) return OUT_OF_MEMORY;
    size_t whole = padded(size);
    if (auto found = spare.find(whole); found != spare.end()) {
        *address = found->second;
        spare.erase(found);
    } else {
        if (used + whole > ROOM) return OUT_OF_MEMORY;
        *address = reinterpret_cast<Address>(room) + used;
        used += whole;
    }
    device_blocks[*address] = size;
    mprotect(room, used, openings > 0 ? PROT_READ | PROT_WRITE : PROT_NONE);
    DeviceMemoryOpen open;
    memset(reinterpret_cast<void*>(*address), FRESH, whole);
    return SUCCESS;
}

static Result release(Address address) {
    auto found = device_blocks.find(address);
    if (found == device_blocks.end()) return violation(INVALID_VALUE, "memory of the GPU is freed twice");
    size_t size = found->second, whole = padded(size);
    DeviceMemoryOpen open;
    auto* bytes = reinterpret_cast<unsigned char*>(address);
    for (size_t i = size; i < whole; ++i)
        if (bytes[i] != FRESH) {
            violation(ILLEGAL_ADDRESS, "byte %zu behind an allocation of %zu bytes was written", i - size + 1, size);
            break;
        }
    memset(bytes, STALE, whole);
    device_blocks.erase(found);
    spare.emplace(whole, address);
    return SUCCESS;
}

// In a capture both would become nodes of the graph: every replay would allocate or free again.
static bool recorded_by_mistake(Stream* stream, const char* call) {
    if (!stream->capture) return false;
    stream->invalidated = true;
    violation(CAPTURE_UNSUPPORTED, "%s in a stream that is captured", call);
    return true;
}

EXPORTED Result cuMemAllocFromPoolAsync(Address* address, size_t size, void*, void* handle) {
    LOCKED;
    Stream* stream = stream_of(handle);
    if (stream == nullptr) return INVALID_HANDLE;
    return recorded_by_mistake(stream, "allocation") ? CAPTURE_UNSUPPORTED : allocate(address, size);
}

EXPORTED Result cuMemAllocAsync(Address* address, size_t size, void* handle) {
    return cuMemAllocFromPoolAsync(address, size, nullptr, handle);
}

EXPORTED Result cuMemFreeAsync(Address address, void* handle) {
    LOCKED;
    Stream* stream = stream_of(handle);
    if (stream == nullptr) return INVALID_HANDLE;
    if (recorded_by_mistake(stream, "free")) return CAPTURE_UNSUPPORTED;
    return enqueue(stream, FREE_NODE, "free", [address] { return release(address); });
}

EXPORTED Result cuMemAlloc(Address* address, size_t size) {
    LOCKED;
    NEED_CONTEXT;
    UNSAFE_WHILE_CAPTURING;
    return allocate(address, size);
}

EXPORTED Result cuMemFree(Address address) {
    LOCKED;
    NEED_CONTEXT;
    UNSAFE_WHILE_CAPTURING;
    run_everything();
    return release(address);
}

EXPORTED Result cuMemHostAlloc(void** memory, size_t size, unsigned) {
    LOCKED;
    NEED_CONTEXT;
    UNSAFE_WHILE_CAPTURING;
    if (size == 0) return violation(INVALID_VALUE, "an allocation of no bytes");
    *memory = aligned_alloc(4096, (size + 4095) / 4096 * 4096);
    if (*memory == nullptr) return OUT_OF_MEMORY;
    memset(*memory, FRESH, size);
    locked_blocks[reinterpret_cast<Address>(*memory)] = size;
    return SUCCESS;
}

EXPORTED Result cuMemFreeHost(void* memory) {
    LOCKED;
    NEED_CONTEXT;
    UNSAFE_WHILE_CAPTURING;
    auto found = locked_blocks.find(reinterpret_cast<Address>(memory));
    if (found == locked_blocks.end()) return violation(INVALID_VALUE, "page-locked memory is freed twice");
    // Drivers happen to wait here; nothing promises it.
    if (const Task* task = task_waiting_for({found->first, found->second}))
        return violation(ILLEGAL_ADDRESS, "page-locked memory is freed before an enqueued %s has used it",
                         task->name.c_str());
    locked_blocks.erase(found);
    free(memory);
    return SUCCESS;
}

std::string memory_alive() {
    std::string found;
    if (!device_blocks.empty()) found += "blocks of GPU memory: " + std::to_string(device_blocks.size());
    if (!locked_blocks.empty())
        found += (found.empty() ? "" : ", ") + ("page-locked blocks: " + std::to_string(locked_blocks.size()));
    return found;
}
