// Kernels with the faults that the CPU shim has to notice, and one without.

extern "C" __global__ void __launch_bounds__(64) rotate(const int* values, int* out) {
    __shared__ int tile[64];
    tile[threadIdx.x] = values[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = tile[(threadIdx.x + 1) % 64];
}

extern "C" __global__ void __launch_bounds__(64) no_barrier(const int* values, int* out) {
    __shared__ int tile[64];
    tile[threadIdx.x] = values[threadIdx.x];
    out[threadIdx.x] = tile[(threadIdx.x + 1) % 64];
}

extern "C" __global__ void __launch_bounds__(64) never_written(const int* values, int* out) {
    __shared__ int tile[65];
    tile[threadIdx.x] = values[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x + 1];
}

extern "C" __global__ void __launch_bounds__(64) divergent(const int* values, int* out) {
    if (threadIdx.x < 32) {
        __syncthreads();
    } else {
        __syncthreads();
    }
    out[threadIdx.x] = values[threadIdx.x];
}

extern "C" __global__ void __launch_bounds__(64) lost_lane(const int* values, int* out) {
    if (threadIdx.x == 5) return;
    out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, values[threadIdx.x], 1);
}

extern "C" __global__ void __launch_bounds__(64) half_a_warp_waits(const int* values, int* out) {
    if (threadIdx.x < 16) __syncthreads();
    out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, values[threadIdx.x], 1);
}

extern "C" __global__ void __launch_bounds__(64) exchange(const int* values, int* out) {
    int other = __shfl_xor_sync(0xffffffffu, values[threadIdx.x], 3);
    unsigned int votes = __ballot_sync(0xffffffffu, other % 3 == 0);
    out[threadIdx.x] = other + 1000 * __popc(votes);
}
