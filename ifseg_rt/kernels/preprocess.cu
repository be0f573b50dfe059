// A uint8 frame of any size and pitch -> the network's input: resized, normalised, planar, float32 or float16.
//
// Bit for bit what cv2.resize(INTER_LINEAR) on uint8 followed by (value / 255 - mean) / std in float32 gives:
//   * the weights are fixed point with 11 bits, from positions in double that are rounded to float before the floor;
//   * along a row the sum keeps all bits; between the two rows 4 bits are dropped before and 16 after each product,
//     and the last 2 are rounded;
//   * a frame of exactly twice the size in both directions is the mean of 2 x 2 pixels, rounded half up;
//   * a frame of the same size is copied.
//
// Floor: every frame byte once, every result once. 1080p to 512 x 512 float32: 6.2 + 3.1 MB, 2 us at 4.8 TB/s (H200),
// 46 us at 204 GB/s (Jetson Orin). One pass, no intermediate picture. The positions need double precision, which
// small GPUs do at 1/64 of the float rate: a block computes 32 + 8 of them for its 256 pixels and shares them.

#include "device.cuh"

namespace preprocessing {

constexpr int COLUMNS = 32;
constexpr int ROWS = 8;
constexpr int ONE = 2048;  // a weight of 1 in fixed point

constexpr int COPY = 0;
constexpr int HALVE = 1;
// any other mode: bilinear

struct Tap {
    int low, high;         // the two source rows or columns
    int weight, opposite;  // fixed point weights of low and high
};

// OpenCV repeats the edge differently along the two axes: columns outside get the whole weight on the edge pixel, rows
// keep their two weights and take the edge row twice, whose dropped bits can then differ by one level.
__device__ inline Tap tap_of(int index, double scale, int size, bool column) {
    float position = (float)((index + 0.5) * scale - 0.5);
    float whole = floorf(position);
    float fraction = position - whole;
    int low = (int)whole;
    if (column && low < 0) {
        low = 0;
        fraction = 0.0f;
    }
    if (column && low >= size - 1) {
        low = size - 1;
        fraction = 0.0f;
    }
    Tap tap;
    tap.low = min(max(low, 0), size - 1);
    tap.high = min(max(low + 1, 0), size - 1);
    tap.weight = __float2int_rn((1.0f - fraction) * ONE);
    tap.opposite = __float2int_rn(fraction * ONE);
    return tap;
}

// Round to nearest, ties to even, exactly as a conversion instruction does, but in plain integer code: the same lines
// run in the tests on a CPU.
__device__ inline unsigned short half_bits(float value) {
    unsigned int bits = __float_as_uint(value);
    unsigned int sign = (bits >> 16) & 0x8000u;
    unsigned int magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (unsigned short)(sign | 0x7e00u);   // not a number
    if (magnitude >= 0x47800000u) return (unsigned short)(sign | 0x7c00u);  // 65536 and above: infinity
    if (magnitude < 0x38800000u) {
        // Below 2^-14 the result counts in steps of 2^-24, the step of floats from 0.5 to 1: adding 0.5 rounds.
        unsigned int steps = __float_as_uint(__uint_as_float(magnitude) + 0.5f) - 0x3f000000u;
        return (unsigned short)(sign | steps);
    }
    // From 65520 on this carries into the exponent of infinity.
    unsigned int rounded = magnitude + 0x0fffu + ((magnitude >> 13) & 1u);
    return (unsigned short)(sign | ((rounded - 0x38000000u) >> 13));
}

}  // namespace preprocessing

// frame: height x width x 3 uint8, rows pitch bytes apart. out: 3 x out_height x out_width. swap: the frame's channel
// order is the reverse of the network's. scale: source pixels per result pixel. Block 32 x 8, one thread per pixel.
extern "C" __global__ void __launch_bounds__(256)
preprocess(const unsigned char* __restrict__ frame, long long pitch, int height, int width, int mode, int swap,
           double scale_y, double scale_x, float mean_0, float mean_1, float mean_2, float std_0, float std_1,
           float std_2, void* __restrict__ out, int out_height, int out_width, int half) {
    using namespace preprocessing;
    __shared__ Tap columns[COLUMNS];
    __shared__ Tap rows[ROWS];

    int thread = threadIdx.y * COLUMNS + threadIdx.x;
    int left = blockIdx.x * COLUMNS;
    int top = blockIdx.y * ROWS;
    if (thread < COLUMNS) columns[thread] = tap_of(left + thread, scale_x, width, true);
    if (thread >= COLUMNS && thread < COLUMNS + ROWS)
        rows[thread - COLUMNS] = tap_of(top + thread - COLUMNS, scale_y, height, false);
    __syncthreads();

    int x = left + threadIdx.x;
    int y = top + threadIdx.y;
    if (x >= out_width || y >= out_height) return;

    const float mean[3] = {mean_0, mean_1, mean_2};
    const float deviation[3] = {std_0, std_1, std_2};
    Tap column = columns[threadIdx.x];
    Tap row = rows[threadIdx.y];
    if (mode == COPY) row.low = y, column.low = x;
    if (mode == HALVE) row.low = 2 * y, row.high = 2 * y + 1, column.low = 2 * x, column.high = 2 * x + 1;
    const unsigned char* upper = frame + row.low * pitch;
    const unsigned char* lower = frame + row.high * pitch;
    long long plane = (long long)out_height * out_width;
    long long place = (long long)y * out_width + x;

#pragma unroll
    for (int channel = 0; channel < 3; ++channel) {
        int source = swap ? 2 - channel : channel;
        int near = 3 * column.low + source;
        int far = 3 * column.high + source;
        int level;
        if (mode == COPY) {
            level = upper[near];
        } else if (mode == HALVE) {
            level = (upper[near] + upper[far] + lower[near] + lower[far] + 2) >> 2;
        } else {
            int first = upper[near] * column.weight + upper[far] * column.opposite;
            int second = lower[near] * column.weight + lower[far] * column.opposite;
            level = ((((row.weight * (first >> 4)) >> 16) + ((row.opposite * (second >> 4)) >> 16)) + 2) >> 2;
            level = min(level, 255);
        }
        float value = ((float)level / 255.0f - mean[channel]) / deviation[channel];
        if (half)
            ((unsigned short*)out)[channel * plane + place] = half_bits(value);
        else
            ((float*)out)[channel * plane + place] = value;
    }
}
