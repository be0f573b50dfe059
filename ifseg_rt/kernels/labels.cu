// Class planes on the patch grid -> the best class of every pixel, and on request its value and a painted picture.
//
// Definition, in float32, every operation rounded: with the grid value p of one class at the four grid points around a
// pixel, a = p00 * (1 - wx) + p01 * wx; b = p10 * (1 - wx) + p11 * wx; v = a * (1 - wy) + b * wy; the label is the
// first class with the largest v. wx = float32(position - floor(position)) from position = (x + 0.5) * grid / size
// - 0.5 in double, clamped to the grid.
//
// C x H x W is never formed. A block owns one cell, the pixels between four neighbouring grid points, and first finds
// which classes can win in it. Rounding is monotone: a class that is nowhere larger at the four corners is nowhere
// larger inside. So a class is left out only
//   * when its largest corner lies below what some class always reaches: the best class is at least the mean of the
//     classes that win the four corners, and that mean is smallest at a corner; or
//   * when a class before it is at least as large at all four corners, or a class after it is larger by more than all
//     rounding errors together at all four (equal values would go to the first).
// Usually 1 to 4 classes stay (one: the cell is filled); pixels compare only those. More than 256: all are compared.
//
// Floor: read C x h x w floats, write one byte per pixel: 1080p, 150 classes, 32 x 32: 0.6 + 2.1 MB, 0.6 us at 4.8 TB/s
// (H200); a picture adds 6.2 MB in and out, 2.6 us. The corners are read by up to four cells: 12 MB of 32-byte sectors
// from L2, about 3 us. Arithmetic: 3 + 6/4 operations and 2 selections per pixel and candidate, 2.1 M x 3 x 6.5 = 40 M,
// 1 us. By this reckoning, not a measurement, a launch takes about 5 us on a data-centre GPU.

#include "device.cuh"

namespace labelling {

constexpr int THREADS = 128;
constexpr int WARPS = THREADS / WARP;
constexpr int TILE_WIDTH = 128;  // the host cuts larger cells
constexpr int TILE_HEIGHT = 64;
constexpr int ROWS = 4;  // pixels of one column that a thread evaluates together: a and b are the same for all
constexpr int CAPACITY = 256;
constexpr int OWN = CAPACITY / THREADS;
// Either value carries at most 4 roundings of 2^-24 of the largest magnitude and the bound 4 more, weights that do not
// quite add up to 1 another 4: 16 are covered by 32, and what underflows by the smallest normal number.
constexpr float RELATIVE_MARGIN = 32.0f / 16777216.0f;
constexpr float ABSOLUTE_MARGIN = 1.17549435e-38f;

struct Candidates {
    float4 corner[CAPACITY];  // p00, p01, p10, p11
    int index[CAPACITY];
};

// Where a pixel lies on the grid, before clamping. Small GPUs do double precision at 1/64 of the float rate: nothing
// else is done in it, and a block shares the positions of its rows and columns.
__device__ inline double position_of(int pixel, double scale) { return (pixel + 0.5) * scale - 0.5; }

// The weight of the far grid point; clamped positions have none: before the first grid point and behind the last.
__device__ inline float weight_of(int pixel, double scale, int cell, int cells) {
    return cell == cells - 1 ? 0.0f : fmaxf((float)(position_of(pixel, scale) - cell), 0.0f);
}

// The first pixel in or behind a cell. The estimate is never behind it, since 0.01 pixel is more than float rounds away
// in frames of up to 32 768 pixels; from there the position rule itself decides.
__device__ inline int first_pixel(int cell, double scale, int cells, int size) {
    if (cell <= 0) return 0;
    if (cell >= cells) return size;
    int pixel = min(max((int)((cell + 0.5f) / (float)scale - 0.51f), 0), size);
    while (pixel < size && position_of(pixel, scale) < cell) ++pixel;
    return pixel;
}

// Keeps ascending order: the place of this thread's entry among the kept ones of the block. Every thread calls it the
// same number of times; turn alternates so that a fast warp never overwrites what a slow one still reads.
__device__ inline int place_of(bool kept, unsigned int (*ballots)[WARPS], int turn, int& count) {
    int lane = threadIdx.x % WARP;
    int warp = threadIdx.x / WARP;
    unsigned int ballot = __ballot_sync(WHOLE_WARP, kept);
    if (lane == 0) ballots[turn % 2][warp] = ballot;
    __syncthreads();
    int place = count + __popc(ballot & ((1u << lane) - 1u));
    for (int w = 0; w < WARPS; ++w) {
        int others = __popc(ballots[turn % 2][w]);
        if (w < warp) place += others;
        count += others;
    }
    return place;
}

__device__ inline bool beaten(float4 mine, float4 other, float margin) {
    return other.x >= mine.x + margin && other.y >= mine.y + margin && other.z >= mine.z + margin &&
           other.w >= mine.w + margin;
}

// cv2.addWeighted on uint8 as compilers build it where a fused multiply-add exists (AVX2, NEON): one rounding for
// paint * cover, one for the sum, then to the nearest level, ties to even.
__device__ inline unsigned char blended(unsigned char below, unsigned char paint, float keep, float cover) {
    float value = fmaf((float)below, keep, (float)paint * cover);
    return (unsigned char)min(max(__float2int_rn(value), 0), 255);
}

// What both kernels do; see them for the arguments. A template, because one kernel with a branch inside is compiled into
// half the code (the loops over pixels are no longer made apart for one candidate, listed ones and all).
template <bool FROM_VALUES>
__device__ inline void
label_tile(const float* __restrict__ planes, int classes, int grid_h, int grid_w, double scale_y, double scale_x,
           int tiles_y, int tiles_x, void* __restrict__ labels, int height, int width, int wide,
           float* __restrict__ confidence, const float* __restrict__ values, const unsigned char* frame,
           long long frame_pitch, unsigned char* picture, long long picture_pitch,
           const unsigned char* __restrict__ palette, float keep, float cover) {
    __shared__ Candidates candidates;
    __shared__ float weight_x[TILE_WIDTH];
    __shared__ float weight_y[TILE_HEIGHT];
    __shared__ float most[WARPS][4];
    __shared__ int most_index[WARPS][4];
    __shared__ float least[WARPS];
    __shared__ unsigned int ballots[2][WARPS];
    __shared__ int bounds[4];

    const int thread = threadIdx.x;
    const int cell_x = blockIdx.x / tiles_x;
    const int cell_y = blockIdx.y / tiles_y;

    // The pixels of this tile.
    if (thread < 4) {
        bool across = thread < 2;
        bounds[thread] = first_pixel((across ? cell_x : cell_y) + thread % 2, across ? scale_x : scale_y,
                                     across ? grid_w : grid_h, across ? width : height);
    }
    __syncthreads();
    const int share_x = (bounds[1] - bounds[0] + tiles_x - 1) / tiles_x;
    const int share_y = (bounds[3] - bounds[2] + tiles_y - 1) / tiles_y;
    const int left = bounds[0] + (int)(blockIdx.x % tiles_x) * share_x;
    const int top = bounds[2] + (int)(blockIdx.y % tiles_y) * share_y;
    const int tile_w = min(left + share_x, bounds[1]) - left;
    const int tile_h = min(top + share_y, bounds[3]) - top;
    if (tile_w <= 0 || tile_h <= 0) return;
    for (int i = thread; i < tile_w + TILE_HEIGHT; i += THREADS) {
        int row = i - tile_w;
        if (row < 0)
            weight_x[i] = weight_of(left + i, scale_x, cell_x, grid_w);
        else
            weight_y[row] = row < tile_h ? weight_of(top + row, scale_y, cell_y, grid_h) : 0.0f;
    }

    // The winners of the four corners, and what some class reaches everywhere in the cell.
    const long long plane = (long long)grid_h * grid_w;
    const int next_x = min(cell_x + 1, grid_w - 1);
    const int next_y = min(cell_y + 1, grid_h - 1);
    const float* p00 = planes + cell_y * grid_w + cell_x;
    const float* p01 = planes + cell_y * grid_w + next_x;
    const float* p10 = planes + next_y * grid_w + cell_x;
    const float* p11 = planes + next_y * grid_w + next_x;
    auto corners_of = [=](int c) {
        long long at = c * plane;
        return make_float4(p00[at], p01[at], p10[at], p11[at]);
    };
    const float infinity = __uint_as_float(0x7f800000u);
    float high[4] = {-infinity, -infinity, -infinity, -infinity};
    int high_index[4] = {0, 0, 0, 0};
    float low = infinity;
    for (int c = thread; c < classes; c += THREADS) {
        float4 q = corners_of(c);
        const float value[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
        for (int corner = 0; corner < 4; ++corner) {
            low = fminf(low, value[corner]);
            if (value[corner] > high[corner]) {
                high[corner] = value[corner];
                high_index[corner] = c;
            }
        }
    }
    low = warp_min(low);
#pragma unroll
    for (int corner = 0; corner < 4; ++corner) {
        warp_winner(high[corner], high_index[corner]);
        if (thread % WARP == 0) {
            most[thread / WARP][corner] = high[corner];
            most_index[thread / WARP][corner] = high_index[corner];
        }
    }
    if (thread % WARP == 0) least[thread / WARP] = low;
    __syncthreads();
    float magnitude = 0.0f;
    float4 reached = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll
    for (int corner = 0; corner < 4; ++corner) {
        int best = 0;
        for (int w = 0; w < WARPS && w * WARP < classes; ++w) {  // the warps that saw a class
            if (most[w][corner] > most[best][corner]) best = w;
            magnitude = fmaxf(magnitude, fmaxf(fabsf(most[w][corner]), fabsf(least[w])));
        }
        float4 q = corners_of(most_index[best][corner]);
        reached.x += 0.25f * q.x;
        reached.y += 0.25f * q.y;
        reached.z += 0.25f * q.z;
        reached.w += 0.25f * q.w;
    }
    const float margin = magnitude * RELATIVE_MARGIN + ABSOLUTE_MARGIN;
    const float threshold = fminf(fminf(reached.x, reached.y), fminf(reached.z, reached.w)) - margin;

    // The classes that may win, in ascending order.
    int count = 0;
    int turn = 0;
    for (int first = 0; first < classes; first += THREADS, ++turn) {
        int c = first + thread;
        float4 q = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        bool kept = false;
        if (c < classes) {
            q = corners_of(c);
            kept = fmaxf(fmaxf(q.x, q.y), fmaxf(q.z, q.w)) >= threshold;
        }
        int place = place_of(kept, ballots, turn, count);
        if (kept && place < CAPACITY) {
            candidates.corner[place] = q;
            candidates.index[place] = c;
        }
    }
    const bool listed = count > 0 && count <= CAPACITY;  // none: only where nothing is a number
    __syncthreads();
    if (listed && count > 1) {
        float4 mine[OWN];
        int index[OWN];
        bool kept[OWN];
#pragma unroll
        for (int own = 0; own < OWN; ++own) {
            int k = own * THREADS + thread;
            kept[own] = k < count;
            if (!kept[own]) continue;
            mine[own] = candidates.corner[k];
            index[own] = candidates.index[k];
            for (int other = 0; other < count && kept[own]; ++other)
                if (other != k && beaten(mine[own], candidates.corner[other], other < k ? 0.0f : margin))
                    kept[own] = false;
        }
        count = 0;
#pragma unroll
        for (int own = 0; own < OWN; ++own, ++turn) {
            int place = place_of(kept[own], ballots, turn, count);  // has a barrier: all have read the whole list
            if (kept[own]) {
                candidates.corner[place] = mine[own];
                candidates.index[place] = index[own];
            }
        }
        __syncthreads();
    }
    const int compared = listed ? count : classes;
    if (thread == 0) OBSERVE(compared);
    const bool known = compared == 1 && (FROM_VALUES || !confidence);

    // The pixels: a thread takes four of one column at a time.
    const int groups = (tile_h + ROWS - 1) / ROWS;
    for (int item = thread; item < groups * tile_w; item += THREADS) {
        int column = item % tile_w;
        int row = item / tile_w * ROWS;
        float wx = weight_x[column];
        float ux = 1.0f - wx;
        float wy[ROWS], uy[ROWS], best[ROWS];
        int winner[ROWS];
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            wy[r] = weight_y[row + r];
            uy[r] = 1.0f - wy[r];
            best[r] = -infinity;
            winner[r] = 0;
        }
        for (int k = 0; k < compared && !known; ++k) {
            float4 q = listed ? candidates.corner[k] : corners_of(k);
            float a = q.x * ux + q.y * wx;
            float b = q.z * ux + q.w * wx;
#pragma unroll
            for (int r = 0; r < ROWS; ++r) {
                float value = a * uy[r] + b * wy[r];
                if (value > best[r]) {
                    best[r] = value;
                    winner[r] = k;
                }
            }
        }
#pragma unroll
        for (int r = 0; r < ROWS; ++r) {
            if (row + r >= tile_h) break;
            int label = listed ? candidates.index[winner[r]] : winner[r];
            long long y = top + row + r;
            int x = left + column;
            if (wide)
                ((unsigned short*)labels)[y * width + x] = (unsigned short)label;
            else
                ((unsigned char*)labels)[y * width + x] = (unsigned char)label;
            if (FROM_VALUES || confidence) {
                float value = best[r];
                if (FROM_VALUES) {
                    const float* there = values + label * plane;
                    float a = there[p00 - planes] * ux + there[p01 - planes] * wx;
                    float b = there[p10 - planes] * ux + there[p11 - planes] * wx;
                    value = a * uy[r] + b * wy[r];
                }
                confidence[y * width + x] = value;
            }
            if (picture) {
#pragma unroll
                for (int channel = 0; channel < 3; ++channel)
                    picture[y * picture_pitch + 3 * x + channel] =
                        blended(frame[y * frame_pitch + 3 * x + channel], palette[3 * label + channel], keep, cover);
            }
        }
    }
}

}  // namespace labelling

// planes: classes x grid_h x grid_w float32. labels: height x width, uint8 or (wide) uint16. confidence: height x width
// float32, filled with the label's v, or null. frame, picture: height x width x 3 uint8, rows *_pitch bytes apart, both
// null or both the same if wanted so. palette: classes x 3 uint8 in the picture's channel order. scale: grid cells per
// pixel. Block 128, grid (grid_w * tiles_x, grid_h * tiles_y); a cell's share of a tile is at most 128 x 64 pixels.
extern "C" __global__ void __launch_bounds__(128)
labels(const float* __restrict__ planes, int classes, int grid_h, int grid_w, double scale_y, double scale_x,
       int tiles_y, int tiles_x, void* __restrict__ labels, int height, int width, int wide,
       float* __restrict__ confidence, const unsigned char* frame, long long frame_pitch, unsigned char* picture,
       long long picture_pitch, const unsigned char* __restrict__ palette, float keep, float cover) {
    labelling::label_tile<false>(planes, classes, grid_h, grid_w, scale_y, scale_x, tiles_y, tiles_x, labels, height,
                                 width, wide, confidence, nullptr, frame, frame_pitch, picture, picture_pitch, palette,
                                 keep, cover);
}

// The same, but confidence (never null) is the label's v in values, which are like planes: where labels come from
// logits, the probabilities.
extern "C" __global__ void __launch_bounds__(128)
labels_valued(const float* __restrict__ planes, int classes, int grid_h, int grid_w, double scale_y, double scale_x,
              int tiles_y, int tiles_x, void* __restrict__ labels, int height, int width, int wide,
              float* __restrict__ confidence, const float* __restrict__ values, const unsigned char* frame,
              long long frame_pitch, unsigned char* picture, long long picture_pitch,
              const unsigned char* __restrict__ palette, float keep, float cover) {
    labelling::label_tile<true>(planes, classes, grid_h, grid_w, scale_y, scale_x, tiles_y, tiles_x, labels, height,
                                width, wide, confidence, values, frame, frame_pitch, picture, picture_pitch, palette,
                                keep, cover);
}
