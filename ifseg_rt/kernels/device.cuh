// Operations of a whole warp, and what the kernels agree on. NVRTC sees this text in place of the #include; it has no
// headers of its own, so nothing here (or in the kernels) includes any.
//
// Every kernel is compiled without contraction of a * b + c (fmad off): the definitions they must equal to the last
// bit are NumPy's and OpenCV's, which round after every operation. Where a fused operation is meant, it says fmaf.

#pragma once

constexpr unsigned int WHOLE_WARP = 0xffffffffu;
constexpr int WARP = 32;

#ifndef DYNAMIC_SHARED
#define DYNAMIC_SHARED(type, name) extern __shared__ type name[]
#endif

// Where the tests look at a number that decides how fast a kernel is, not what it computes.
#ifndef OBSERVE
#define OBSERVE(number)
#endif

// Largest and smallest value and sum over the 32 lanes; every lane gets the same result. NaN never wins.
__device__ inline float warp_max(float value) {
    for (int step = WARP / 2; step > 0; step /= 2) value = fmaxf(value, __shfl_xor_sync(WHOLE_WARP, value, step));
    return value;
}

__device__ inline float warp_min(float value) {
    for (int step = WARP / 2; step > 0; step /= 2) value = fminf(value, __shfl_xor_sync(WHOLE_WARP, value, step));
    return value;
}

__device__ inline float warp_sum(float value) {
    for (int step = WARP / 2; step > 0; step /= 2) value += __shfl_xor_sync(WHOLE_WARP, value, step);
    return value;
}

// The largest value over the warp and the smallest index that has it; every lane gets the same.
__device__ inline void warp_winner(float& value, int& index) {
    for (int step = WARP / 2; step > 0; step /= 2) {
        float other = __shfl_xor_sync(WHOLE_WARP, value, step);
        int other_index = __shfl_xor_sync(WHOLE_WARP, index, step);
        if (other > value || (other == value && other_index < index)) {
            value = other;
            index = other_index;
        }
    }
}
