// What the network's scores need besides softmax: a check for values that are not finite, and their transposition for
// labels without refinement.
//
// not_finite: every block writes its own flag, so nothing has to be cleared before a frame and no two blocks meet.
// Floor: read n x C floats: 1024 patches, 150 classes: 0.6 MB, 0.1 us at 4.8 TB/s: the launch costs more.
// transpose: through a 32 x 33 tile, so that both reads and writes run along rows and no two lanes share a bank.

#include "device.cuh"

namespace scoring {

constexpr int TILE = 32;
constexpr int TILE_ROWS = 8;  // rows of threads; each walks TILE / TILE_ROWS rows of values
constexpr int THREADS = 256;  // of not_finite
constexpr float LARGEST = 3.402823466e+38f;

}  // namespace scoring

// values: count float32. flags: one int32 per block, 1 where this block met a value that is not finite, else 0.
extern "C" __global__ void __launch_bounds__(256)
not_finite(const float* __restrict__ values, long long count, int* __restrict__ flags) {
    using namespace scoring;
    __shared__ unsigned int found[THREADS / WARP];
    bool bad = false;
    long long step = (long long)gridDim.x * blockDim.x;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += step)
        bad = bad || !(fabsf(values[i]) <= LARGEST);  // not a number is not <= anything
    unsigned int lanes = __ballot_sync(WHOLE_WARP, bad);
    if (threadIdx.x % WARP == 0) found[threadIdx.x / WARP] = lanes;
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (int warp = 1; warp < THREADS / WARP; ++warp) lanes |= found[warp];
    flags[blockIdx.x] = lanes != 0;
}

// rows: n x classes float32. planes: classes x n float32. Block 32 x 8, grid (ceil(classes / 32), ceil(n / 32)).
extern "C" __global__ void __launch_bounds__(256)
transpose(const float* __restrict__ rows, int n, int classes, float* __restrict__ planes) {
    using namespace scoring;
    __shared__ float tile[TILE][TILE + 1];
    int first_class = blockIdx.x * TILE;
    int first_patch = blockIdx.y * TILE;
    for (int y = threadIdx.y; y < TILE; y += TILE_ROWS) {
        int patch = first_patch + y;
        int c = first_class + threadIdx.x;
        if (patch < n && c < classes) tile[y][threadIdx.x] = rows[(long long)patch * classes + c];
    }
    __syncthreads();
    for (int y = threadIdx.y; y < TILE; y += TILE_ROWS) {
        int c = first_class + y;
        int patch = first_patch + threadIdx.x;
        if (patch < n && c < classes) planes[(long long)c * n + patch] = tile[threadIdx.x][y];
    }
}
