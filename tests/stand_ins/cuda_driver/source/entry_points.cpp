// How callers find the driver's functions, and the words for its codes.

#include <cstring>
#include <dlfcn.h>

#include "stand_in.hpp"

EXPORTED Result cuInit(unsigned);
EXPORTED Result cuEventElapsedTime_v2(float*, void*, void*);

// A function that is missing here is one that nobody has needed yet: callers are told that this driver lacks it.
EXPORTED Result cuGetProcAddress_v2(const char* symbol, void** function, int, unsigned long long, int* status) {
    static void* driver = nullptr;
    if (driver == nullptr) {
        Dl_info here;
        dladdr(reinterpret_cast<void*>(&cuInit), &here);
        driver = dlopen(here.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    }
    *function = dlsym(driver, symbol);
    if (strcmp(symbol, "cuGetProcAddress") == 0) *function = reinterpret_cast<void*>(&cuGetProcAddress_v2);
    if (strcmp(symbol, "cuEventElapsedTime") == 0) *function = reinterpret_cast<void*>(&cuEventElapsedTime_v2);
    if (status != nullptr) *status = *function == nullptr ? 1 : 0;
    return *function == nullptr ? NOT_FOUND : SUCCESS;
}

EXPORTED Result cuGetExportTable(const void** table, const void*) {
    *table = nullptr;
    return NOT_FOUND;
}

struct Named {
    Result code;
    const char* name;
    const char* words;
};

static const Named NAMES[] = {
    {SUCCESS, "CUDA_SUCCESS", "no error"},
    {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
    {CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"},
    {CAPTURE_INVALIDATED, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error"},
    {CAPTURE_ISOLATION, "CUDA_ERROR_STREAM_CAPTURE_ISOLATION", "dependency on uncaptured work in another stream"},
};

static const Named& named(Result code) {
    for (const Named& found : NAMES)
        if (found.code == code) return found;
    static const Named other = {SUCCESS, "CUDA_ERROR_UNKNOWN", "unknown error"};
    return other;
}

EXPORTED Result cuGetErrorName(Result code, const char** name) {
    *name = named(code).name;
    return SUCCESS;
}

EXPORTED Result cuGetErrorString(Result code, const char** words) {
    *words = named(code).words;
    return SUCCESS;
}
