// The words of CUDA C++ that the kernels use, in terms of block.hpp.

#pragma once

#include "block.hpp"

#define __global__
#define __device__
#define __launch_bounds__(...)
#define __restrict__
#ifdef __ELF__
#define __shared__ static __attribute__((section("shim_shared")))
#else
#define __shared__ static
#endif
#define DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(shim::dynamic_memory.data())

#define OBSERVE(number) shim::observed.push_back(number)

#define threadIdx (shim::running->thread)
#define blockIdx (shim::block_index)
#define blockDim (shim::block_size)
#define gridDim (shim::grid_size)
#define __syncthreads() shim::barrier(__LINE__)
#define __shfl_xor_sync(mask, value, step) shim::shuffle_xor(value, step)
#define __ballot_sync(mask, vote) shim::ballot(vote)
#define __popc(bits) __builtin_popcount(bits)

inline unsigned int __float_as_uint(float value) {
    unsigned int bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}
inline float __uint_as_float(unsigned int bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
inline int __float2int_rn(float value) { return static_cast<int>(std::lrint(value)); }
