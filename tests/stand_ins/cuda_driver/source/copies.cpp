// Copies, what a pointer points to, and memory pools, of which there is one.

#include <cstring>

#include "stand_in.hpp"

static const char* why_not_copied(Range range) {
    if (on_device(range.begin)) return is_allocated(range) ? nullptr : "memory of the GPU that is not allocated";
    return is_page_locked(range) ? nullptr : "pageable memory of the host";
}

static Result checked(Range range, const char* when) {
    const char* reason = why_not_copied(range);
    return reason == nullptr ? SUCCESS : violation(INVALID_VALUE, "an asynchronous copy %s %s", when, reason);
}

// Pageable memory is allowed by CUDA, which then stages the bytes or waits: slow, and not what the code means. In a
// capture it cannot be replayed. So it is a violation here.
EXPORTED Result cuMemcpyAsync(Address to, Address from, size_t size, void* handle) {
    LOCKED;
    NEED_CONTEXT;
    Stream* stream = stream_of(handle);
    if (stream == nullptr) return INVALID_HANDLE;
    std::vector<Range> ranges = {{to, size}, {from, size}};
    for (Range range : ranges)
        if (Result failed = checked(range, "of")) return failed;
    auto copy = [=] {
        for (Range range : ranges)  // it may have been freed since
            if (Result failed = checked(range, "runs over")) return failed;
        memmove(reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), size);
        return SUCCESS;
    };
    return enqueue(stream, COPY_NODE, "copy", copy, ranges);
}

EXPORTED Result cuMemcpyHtoDAsync(Address to, void* from, size_t size, void* handle) {
    return cuMemcpyAsync(to, reinterpret_cast<Address>(from), size, handle);
}

EXPORTED Result cuMemcpyDtoHAsync(void* to, Address from, size_t size, void* handle) {
    return cuMemcpyAsync(reinterpret_cast<Address>(to), from, size, handle);
}

// In the default stream: other streams that do not block it are not waited for.
static Result copy_now(Address to, Address from, size_t size, Address device) {
    if (!is_allocated({device, size})) return violation(INVALID_VALUE, "a copy of memory that is not allocated");
    Stream* stream = stream_of(nullptr);
    auto copy = [=] {
        memmove(reinterpret_cast<void*>(to), reinterpret_cast<void*>(from), size);
        return SUCCESS;
    };
    if (Result failed = enqueue(stream, COPY_NODE, "copy", copy)) return failed;
    return run_until(stream, stream->enqueued);
}

EXPORTED Result cuMemcpyHtoD(Address to, void* from, size_t size) {
    LOCKED;
    NEED_CONTEXT;
    UNSAFE_WHILE_CAPTURING;
    return copy_now(to, reinterpret_cast<Address>(from), size, to);
}

EXPORTED Result cuMemcpyDtoH(void* to, Address from, size_t size) {
    LOCKED;
    NEED_CONTEXT;
    UNSAFE_WHILE_CAPTURING;
    return copy_now(reinterpret_cast<Address>(to), from, size, from);
}

// By number of CUpointer_attribute.
enum PointerAttribute { CONTEXT_OF = 1, MEMORY_TYPE = 2, DEVICE_ORDINAL = 9 };
enum MemoryType { UNKNOWN_MEMORY = 0, HOST_MEMORY = 1, DEVICE_MEMORY = 2 };

static MemoryType type_of(Address address) {
    if (on_device(address)) return DEVICE_MEMORY;
    return is_page_locked({address, 1}) ? HOST_MEMORY : UNKNOWN_MEMORY;
}

EXPORTED Result cuPointerGetAttribute(void* value, int attribute, Address address) {
    LOCKED;
    MemoryType type = type_of(address);
    if (type == UNKNOWN_MEMORY) return INVALID_VALUE;
    if (attribute == CONTEXT_OF) *static_cast<void**>(value) = current_context();
    else *static_cast<unsigned*>(value) = attribute == MEMORY_TYPE ? type : 0;
    return SUCCESS;
}

EXPORTED Result cuPointerGetAttributes(unsigned count, int* attributes, void** values, Address address) {
    LOCKED;
    for (unsigned i = 0; i < count; ++i)
        *static_cast<unsigned*>(values[i]) = attributes[i] == MEMORY_TYPE ? type_of(address) : 0;
    return SUCCESS;
}

static int pool;

static Result give_pool(void** found) {
    *found = &pool;
    return SUCCESS;
}

EXPORTED Result cuDeviceGetDefaultMemPool(void** found, int) { return give_pool(found); }
EXPORTED Result cuDeviceGetMemPool(void** found, int) { return give_pool(found); }
EXPORTED Result cuMemGetDefaultMemPool(void** found, void*, int) { return give_pool(found); }
EXPORTED Result cuMemGetMemPool(void** found, void*, int) { return give_pool(found); }
EXPORTED Result cuMemPoolCreate(void** found, void*) { return give_pool(found); }
EXPORTED Result cuMemPoolDestroy(void*) { return SUCCESS; }
EXPORTED Result cuMemPoolSetAttribute(void*, int, void*) { return SUCCESS; }

EXPORTED Result cuMemPoolGetAttribute(void*, int, void* value) {
    *static_cast<unsigned long long*>(value) = 0;
    return SUCCESS;
}

EXPORTED Result cuMemPoolGetAccess(int* flags, void*, void*) {
    *flags = 3;  // read and write
    return SUCCESS;
}
