// The device, its facts, and which context is current in which thread.

#include <cstdio>
#include <cstring>

#include "stand_in.hpp"

static Context primary;
static bool initialised;
static int retained;
static thread_local std::vector<Context*> stack;  // every thread has its own stack of contexts

Context* current_context() { return stack.empty() ? nullptr : stack.back(); }

// How many contexts the calling thread has stacked: what is pushed must be popped.
EXPORTED int stand_in_contexts() { return static_cast<int>(stack.size()); }

EXPORTED Result cuInit(unsigned) {
    initialised = true;
    return SUCCESS;
}

EXPORTED Result cuDriverGetVersion(int* version) {
    *version = 13000;
    return SUCCESS;
}

EXPORTED Result cuDeviceGetCount(int* count) {
    if (!initialised) return violation(NOT_INITIALIZED, "cuDeviceGetCount before cuInit");
    *count = 1;
    return SUCCESS;
}

EXPORTED Result cuDeviceGet(int* device, int index) {
    *device = index;
    return index == 0 ? SUCCESS : INVALID_DEVICE;
}

EXPORTED Result cuDeviceGetName(char* name, int size, int) {
    snprintf(name, static_cast<size_t>(size), "Stand-in without a GPU");
    return SUCCESS;
}

EXPORTED Result cuDeviceGetUuid_v2(char* uuid, int) {
    memset(uuid, 7, 16);
    return SUCCESS;
}

EXPORTED Result cuDeviceGetUuid(char* uuid, int device) { return cuDeviceGetUuid_v2(uuid, device); }

EXPORTED Result cuDeviceTotalMem_v2(size_t* size, int) {
    *size = size_t{6} << 30;
    return SUCCESS;
}

EXPORTED Result cuDeviceTotalMem(size_t* size, int device) { return cuDeviceTotalMem_v2(size, device); }

EXPORTED Result cuMemGetInfo(size_t* unused, size_t* size) {
    NEED_CONTEXT;
    *unused = *size = size_t{6} << 30;
    return SUCCESS;
}

// By number of CUdevice_attribute: an H200, so that no kernel is compiled for a GPU older than the newest CUDA knows.
EXPORTED Result cuDeviceGetAttribute(int* value, int attribute, int) {
    switch (attribute) {
        case 8: *value = SHARED_WITHOUT_ASKING; break;
        case 16: *value = 132; break;  // multiprocessors
        case 75: *value = 9; break;    // compute capability 9.0
        case 76: *value = 0; break;
        case 97: *value = SHARED_LIMIT; break;
        default: *value = 1;  // capabilities, most of them: yes
    }
    return SUCCESS;
}

EXPORTED Result cuDevicePrimaryCtxRetain(void** context, int) {
    LOCKED;
    ++retained;
    *context = &primary;
    return SUCCESS;
}

EXPORTED Result cuDevicePrimaryCtxRelease(int) {
    LOCKED;
    if (retained == 0) return violation(INVALID_CONTEXT, "the primary context is released more often than retained");
    --retained;
    return SUCCESS;
}

EXPORTED Result cuDevicePrimaryCtxGetState(int, unsigned* flags, int* active) {
    *flags = 0;
    *active = retained > 0;
    return SUCCESS;
}

EXPORTED Result cuCtxGetCurrent(void** context) {
    *context = current_context();
    return SUCCESS;
}

// Replaces the top of the stack; null pops it.
EXPORTED Result cuCtxSetCurrent(void* context) {
    if (context == nullptr) {
        if (!stack.empty()) stack.pop_back();
        return SUCCESS;
    }
    if (context != &primary) return violation(INVALID_CONTEXT, "cuCtxSetCurrent of a context that does not exist");
    if (stack.empty()) stack.push_back(nullptr);
    stack.back() = &primary;
    return SUCCESS;
}

EXPORTED Result cuCtxPushCurrent(void* context) {
    if (context != &primary) return violation(INVALID_CONTEXT, "cuCtxPushCurrent of a context that does not exist");
    stack.push_back(&primary);
    return SUCCESS;
}

EXPORTED Result cuCtxPopCurrent(void** context) {
    if (stack.empty()) return violation(INVALID_CONTEXT, "cuCtxPopCurrent without a context");
    if (context != nullptr) *context = stack.back();
    stack.pop_back();
    return SUCCESS;
}

EXPORTED Result cuCtxGetDevice(int* device) {
    *device = 0;
    return current_context() ? SUCCESS : INVALID_CONTEXT;
}

EXPORTED Result cuCtxGetDevice_v2(int* device, void*) {
    *device = 0;
    return SUCCESS;
}

EXPORTED Result cuCtxGetId(void*, unsigned long long* id) {
    *id = 1;
    return SUCCESS;
}

EXPORTED Result cuCtxGetStreamPriorityRange(int* least, int* greatest) {
    NEED_CONTEXT;
    *least = 0;
    *greatest = -5;
    return SUCCESS;
}

// A capturing stream belongs to the context, so nobody may wait for the whole context, in whatever thread.
EXPORTED Result cuCtxSynchronize() {
    LOCKED;
    NEED_CONTEXT;
    UNSAFE_WHILE_CAPTURING;
    if (anything_captures()) return violation(CAPTURE_UNSUPPORTED, "cuCtxSynchronize while a stream is captured");
    return run_everything();
}
