// The kNN averaging of class probabilities, all rounds in one launch: p_i <- (1/k) * sum over j in N(i) of p_j.
//
// Classes are independent columns: a block keeps one column of n floats in shared memory and never leaves its SM. Each
// round reads only the round before (Jacobi). Order of operations, in float32: the first neighbour, plus the second,
// plus the third ..., then times the float32 nearest to 1/k. Bit for bit ifseg_rt.host.refinement.refine.
//
// Two layouts of shared memory: two columns (2 n floats) and one barrier per round while they fit 48 KB (n <= 6144),
// else one column, sums held in registers, and two barriers. Neighbour indices stay in registers, 16 bits each: 8 per
// patch up to 6144 patches, 4 (the usual k is 3) up to 12288; otherwise they are read again every round, from L2.
//
// Floor: read n x C and n x K, write n x C: 1024 patches, 150 classes, K = 8: 1.3 MB, 0.3 us at 4.8 TB/s (H200). It
// really waits for shared memory: 150 x 1024 x 3 gathers x 25 rounds; of a warp's 32 random addresses about 3.5 meet in
// one bank (the first neighbour, the patch itself, never does), so a round takes a block about 300 cycles: 25 rounds
// 4 us on one SM at 1.9 GHz, 8 us where 150 blocks share 132 SMs. A launch per round would cost 25 x 2 us. All this is
// reckoned, not measured.

#include "device.cuh"

namespace refining {

constexpr int MOST_SUMS = 16;  // patches per thread of the general kernel

// An index out of range (a damaged model) must not reach outside the column.
__device__ inline int safe(int index, int n) { return (int)min((unsigned int)index, (unsigned int)(n - 1)); }

// PATCHES per thread, SLOTS neighbours of each in registers, two to a register.
template <int PATCHES, int SLOTS>
__device__ inline void held(const float* planes, const int* neighbours, int n, int stride, int k, int rounds,
                            float share, int doubled, float* out) {
    DYNAMIC_SHARED(float, column);
    const long long start = (long long)blockIdx.x * n;
    unsigned int pairs[PATCHES][SLOTS / 2];
#pragma unroll
    for (int p = 0; p < PATCHES; ++p) {
        int patch = p * blockDim.x + threadIdx.x;
        if (patch < n) column[patch] = planes[start + patch];
#pragma unroll
        for (int slot = 0; slot < SLOTS; slot += 2) {
            unsigned int pair = 0;
            if (patch < n && slot < k) pair = safe(neighbours[(long long)patch * stride + slot], n);
            if (patch < n && slot + 1 < k) pair |= safe(neighbours[(long long)patch * stride + slot + 1], n) << 16;
            pairs[p][slot / 2] = pair;
        }
    }
    __syncthreads();

    float* current = column;
    float* next = doubled ? column + n : column;
    for (int round = 0; round < rounds; ++round) {
        float sums[PATCHES];
#pragma unroll
        for (int p = 0; p < PATCHES; ++p) {
            float sum = current[pairs[p][0] & 0xffffu];
#pragma unroll
            for (int slot = 1; slot < SLOTS; ++slot)
                if (slot < k) sum += current[slot % 2 ? pairs[p][slot / 2] >> 16 : pairs[p][slot / 2] & 0xffffu];
            sums[p] = sum * share;
        }
        if (!doubled) __syncthreads();  // everybody has read before anybody writes
#pragma unroll
        for (int p = 0; p < PATCHES; ++p) {
            int patch = p * blockDim.x + threadIdx.x;
            if (patch < n) next[patch] = sums[p];
        }
        __syncthreads();
        float* previous = current;
        current = next;
        next = previous;
    }
    for (int patch = threadIdx.x; patch < n; patch += blockDim.x) out[start + patch] = current[patch];
}

}  // namespace refining

// planes, out: classes x n float32, one block per class; out may be planes. neighbours: n x stride int32, the first k
// of each row take part. share: float32 of 1 / k. doubled: shared memory holds 2 n floats instead of n.
extern "C" __global__ void __launch_bounds__(1024)
refine_1(const float* planes, const int* __restrict__ neighbours, int n, int stride, int k, int rounds, float share,
         int doubled, float* out) {
    refining::held<1, 8>(planes, neighbours, n, stride, k, rounds, share, doubled, out);
}

extern "C" __global__ void __launch_bounds__(1024)
refine_2(const float* planes, const int* __restrict__ neighbours, int n, int stride, int k, int rounds, float share,
         int doubled, float* out) {
    refining::held<2, 8>(planes, neighbours, n, stride, k, rounds, share, doubled, out);
}

extern "C" __global__ void __launch_bounds__(1024)
refine_4(const float* planes, const int* __restrict__ neighbours, int n, int stride, int k, int rounds, float share,
         int doubled, float* out) {
    refining::held<4, 8>(planes, neighbours, n, stride, k, rounds, share, doubled, out);
}

extern "C" __global__ void __launch_bounds__(1024)
refine_6(const float* planes, const int* __restrict__ neighbours, int n, int stride, int k, int rounds, float share,
         int doubled, float* out) {
    refining::held<6, 8>(planes, neighbours, n, stride, k, rounds, share, doubled, out);
}

extern "C" __global__ void __launch_bounds__(1024)
refine_12(const float* planes, const int* __restrict__ neighbours, int n, int stride, int k, int rounds, float share,
         int doubled, float* out) {
    refining::held<12, 4>(planes, neighbours, n, stride, k, rounds, share, doubled, out);
}

// One block on a multiprocessor: without that, CUDA 13.0 keeps to 32 registers on sm_80 and spills 136 bytes.
extern "C" __global__ void __launch_bounds__(1024, 1)
refine_any(const float* planes, const int* __restrict__ neighbours, int n, int stride, int k, int rounds, float share,
           int doubled, float* out) {
    using namespace refining;
    DYNAMIC_SHARED(float, column);
    const long long start = (long long)blockIdx.x * n;
    for (int patch = threadIdx.x; patch < n; patch += blockDim.x) column[patch] = planes[start + patch];
    __syncthreads();

    float* current = column;
    float* next = doubled ? column + n : column;
    for (int round = 0; round < rounds; ++round) {
        float sums[MOST_SUMS];
#pragma unroll
        for (int p = 0; p < MOST_SUMS; ++p) {
            int patch = p * blockDim.x + threadIdx.x;
            if (patch < n) {
                const int* row = neighbours + (long long)patch * stride;
                float sum = current[safe(row[0], n)];
                for (int slot = 1; slot < k; ++slot) sum += current[safe(row[slot], n)];
                sums[p] = sum * share;
            }
        }
        if (!doubled) __syncthreads();
#pragma unroll
        for (int p = 0; p < MOST_SUMS; ++p) {
            int patch = p * blockDim.x + threadIdx.x;
            if (patch < n) next[patch] = sums[p];
        }
        __syncthreads();
        float* previous = current;
        current = next;
        next = previous;
    }
    for (int patch = threadIdx.x; patch < n; patch += blockDim.x) out[start + patch] = current[patch];
}
