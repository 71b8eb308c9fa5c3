// Layers of experts: which experts read a token, where each expert's tokens are, and the two products of those alone.
//
// A token's numbers depend on the token alone: its row is multiplied in the same order wherever it stands in a tile, and what
// its experts give is added in the order of their numbers.
#pragma once

#include "rows.cuh"
#include "tensor_cores.cuh"

// As `MOST_EXPERTS` of cuda/kernels/experts.rs has it.
constexpr int MOST_EXPERTS = 256;
constexpr int ROUTE_WARPS = 4;

// As `RouteLaunch` of cuda/kernels/experts.rs has it.
struct RouteParams {
    const void* x;        // (rows x width)
    const float* router;  // (experts x width)
    const float* bias;    // (experts), or null
    int* chosen;          // (rows x each): numbers of experts, rising
    float* shares;        // (rows x each)
    int rows, width, experts, each;
};

// A warp has a token: it weighs the experts by the softmax of their products with it, and keeps the heaviest `each`; of equal
// ones the first.
template <typename T>
__device__ inline void route(const RouteParams& p) {
    __shared__ float all[ROUTE_WARPS][MOST_EXPERTS];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, token = blockIdx.x * ROUTE_WARPS + warp;
    if (token >= p.rows) return;
    float* shares = all[warp];
    const T* x = static_cast<const T*>(p.x) + static_cast<int64_t>(token) * p.width;
    float most = -INFINITY;
    for (int e = 0; e < p.experts; ++e) {
        const float* weights = p.router + static_cast<int64_t>(e) * p.width;
        float sum = 0.0f;
        for (int k = lane; k < p.width; k += 32) sum += Format<T>::up(x[k]) * weights[k];
        sum = warp_sum(sum) + (p.bias ? p.bias[e] : 0.0f);
        if (lane == 0) shares[e] = sum;
        most = fmaxf(most, sum);
    }
    __syncwarp();
    float sum = 0.0f;
    for (int e = lane; e < p.experts; e += 32) {
        shares[e] = fabsf(expf(shares[e] - most));
        sum += shares[e];
    }
    sum = warp_sum(sum);
    __syncwarp();
    // Taken ones are marked by their sign: a share is not negative.
    for (int turn = 0; turn < p.each; ++turn) {
        float best = -1.0f;
        int which = p.experts;
        for (int e = lane; e < p.experts; e += 32) {
            if (!signbit(shares[e]) && (shares[e] > best || which == p.experts)) best = shares[e], which = e;
        }
#pragma unroll
        for (int apart = 16; apart > 0; apart /= 2) {
            const float other = __shfl_xor_sync(0xffffffff, best, apart);
            const int at = __shfl_xor_sync(0xffffffff, which, apart);
            if (at < p.experts && (which == p.experts || other > best || (!(other < best) && at < which))) best = other, which = at;
        }
        if (lane == 0) shares[which] = -shares[which];
        __syncwarp();
    }
    if (lane > 0) return;
    int slot = 0;
    for (int e = 0; e < p.experts && slot < p.each; ++e) {
        if (!signbit(shares[e])) continue;
        p.chosen[static_cast<int64_t>(token) * p.each + slot] = e;
        p.shares[static_cast<int64_t>(token) * p.each + slot] = -shares[e] / sum;
        ++slot;
    }
}

// As `PlacesLaunch` has it.
struct PlacesParams {
    const int* chosen;  // (slots)
    int* order;         // (slots): slots of the first expert, then those of the second, and so on
    int* starts;        // (experts + 1): where each expert's begin
    int slots, experts;
};

// One block. Where an expert's slots stand among themselves changes no number.
__device__ inline void expert_places(const PlacesParams& p) {
    __shared__ int counts[MOST_EXPERTS];
    for (int e = threadIdx.x; e < p.experts; e += blockDim.x) counts[e] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < p.slots; i += blockDim.x) atomicAdd(&counts[p.chosen[i]], 1);
    __syncthreads();
    if (threadIdx.x == 0) {
        int at = 0;
        for (int e = 0; e < p.experts; ++e) {
            p.starts[e] = at;
            at += counts[e];
            counts[e] = p.starts[e];
        }
        p.starts[p.experts] = at;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < p.slots; i += blockDim.x) p.order[atomicAdd(&counts[p.chosen[i]], 1)] = i;
}

// As `ExpertsLaunch` has it.
struct ExpertsParams {
    const void* x;        // (slots / shared x inner)
    const void* weight;   // (experts x inner x columns)
    const int* order;     // (slots)
    const int* starts;    // (experts + 1)
    const float* shares;  // (slots), or null: first products are activated, second ones multiplied by their share
    void* y;              // (slots x columns): as x, or f32 for second products
    int inner, columns, experts;
    int shared;           // neighbouring slots that read one row of x
    int act;
};

constexpr int EXPERT_ROWS = 64;
constexpr int EXPERT_COLUMNS = 64;
constexpr int EXPERT_DEPTH = 64;
constexpr int EXPERT_THREADS = 128;

// Finds the expert and the slots of the tile that a block has; false where there is none. `slots` gets -1 behind the last one.
__device__ inline bool find_expert(const ExpertsParams& p, int& expert, int (&slots)[EXPERT_ROWS]) {
    __shared__ int found[3];
    if (threadIdx.x == 0) {
        int tile = blockIdx.y, e = 0;
        for (; e < p.experts; ++e) {
            const int tiles = (p.starts[e + 1] - p.starts[e] + EXPERT_ROWS - 1) / EXPERT_ROWS;
            if (tile < tiles) break;
            tile -= tiles;
        }
        found[0] = e;
        found[1] = e < p.experts ? p.starts[e] + tile * EXPERT_ROWS : 0;
        found[2] = e < p.experts ? p.starts[e + 1] : 0;
    }
    __syncthreads();
    expert = found[0];
    if (expert >= p.experts) return false;
    for (int r = threadIdx.x; r < EXPERT_ROWS; r += EXPERT_THREADS) {
        slots[r] = found[1] + r < found[2] ? p.order[found[1] + r] : -1;
    }
    __syncthreads();
    return true;
}

// A number of the result, from its sum.
template <typename T>
__device__ inline void put_expert(const ExpertsParams& p, int slot, int column, float sum) {
    const int64_t at = static_cast<int64_t>(slot) * p.columns + column;
    if (p.shares) {
        static_cast<float*>(p.y)[at] = sum * p.shares[slot];
    } else {
        static_cast<T*>(p.y)[at] = Format<T>::down(activated(sum, p.act));
    }
}

// Products in f16 and bf16, by the tensor cores: each of four warps has 16 of the tile's rows.
template <typename T>
__device__ inline void experts_narrow(const ExpertsParams& p) {
    constexpr int ROW = EXPERT_DEPTH + PAD, BLOCKS = EXPERT_COLUMNS / 8, CHUNK = 8, CHUNKS = EXPERT_DEPTH / CHUNK;
    static_assert(EXPERT_DEPTH == EXPERT_COLUMNS, "rows of both tiles are as long");
    __shared__ __align__(16) T rows[2][EXPERT_ROWS * ROW];
    __shared__ __align__(16) T weights[2][EXPERT_DEPTH * ROW];
    __shared__ int slots[EXPERT_ROWS];
    int expert;
    if (!find_expert(p, expert, slots)) return;
    const int first = blockIdx.x * EXPERT_COLUMNS;
    const T* x = static_cast<const T*>(p.x);
    const T* weight = static_cast<const T*>(p.weight) + static_cast<int64_t>(expert) * p.inner * p.columns;
    const bool whole = p.inner % CHUNK == 0 && p.columns % CHUNK == 0;
    auto copy = [&](T* to, const T* from, int there) {
        if (whole && there >= CHUNK) {
            copy_async(to, from);
        } else {
#pragma unroll
            for (int k = 0; k < CHUNK; ++k) to[k] = k < there ? from[k] : Format<T>::down(0.0f);
        }
    };
    auto load = [&](int depth, int stage) {
        for (int i = threadIdx.x; i < EXPERT_ROWS * CHUNKS; i += EXPERT_THREADS) {
            const int r = i / CHUNKS, k = i % CHUNKS * CHUNK, slot = slots[r];
            const int there = slot < 0 ? 0 : p.inner - depth - k;
            const T* from = x + static_cast<int64_t>(max(slot, 0) / p.shared) * p.inner + depth + k;
            copy(&rows[stage][r * ROW + k], from, there);
        }
        for (int i = threadIdx.x; i < EXPERT_DEPTH * CHUNKS; i += EXPERT_THREADS) {
            const int k = i / CHUNKS, c = i % CHUNKS * CHUNK;
            const int there = depth + k < p.inner ? p.columns - first - c : 0;
            copy(&weights[stage][k * ROW + c], weight + static_cast<int64_t>(depth + k) * p.columns + first + c, there);
        }
        copies_commit();
    };
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    float sums[BLOCKS][4] = {};
    load(0, 0);
    for (int depth = 0, stage = 0; depth < p.inner; depth += EXPERT_DEPTH, stage ^= 1) {
        if (depth + EXPERT_DEPTH < p.inner) {
            load(depth + EXPERT_DEPTH, stage ^ 1);
            copies_wait<1>();
        } else {
            copies_wait<0>();
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < EXPERT_DEPTH; k += 16) {
            uint32_t a[4];
            load_matrices(a, &rows[stage][(warp * 16 + (lane & 15)) * ROW + k + (lane >> 4) * 8]);
#pragma unroll
            for (int n = 0; n < BLOCKS; n += 2) {
                uint32_t b[4];
                load_matrices_turned(b, &weights[stage][(k + (lane & 15)) * ROW + n * 8 + (lane >> 4) * 8]);
                multiply<T>(sums[n], a, b[0], b[1]);
                multiply<T>(sums[n + 1], a, b[2], b[3]);
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int n = 0; n < BLOCKS; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const int slot = slots[warp * 16 + lane / 4 + i / 2 * 8], column = first + n * 8 + lane % 4 * 2 + i % 2;
            if (slot >= 0 && column < p.columns) put_expert<T>(p, slot, column, sums[n][i]);
        }
    }
}

// Products in f32: a thread has eight rows and four columns.
__device__ inline void experts_wide(const ExpertsParams& p) {
    constexpr int DEPTH = 16, DOWN = 8, ACROSS = 4;
    __shared__ float rows[EXPERT_ROWS][DEPTH + 1];
    __shared__ float weights[DEPTH][EXPERT_COLUMNS + 4];
    __shared__ int slots[EXPERT_ROWS];
    int expert;
    if (!find_expert(p, expert, slots)) return;
    const int first = blockIdx.x * EXPERT_COLUMNS;
    const float* x = static_cast<const float*>(p.x);
    const float* weight = static_cast<const float*>(p.weight) + static_cast<int64_t>(expert) * p.inner * p.columns;
    const int across = threadIdx.x % (EXPERT_COLUMNS / ACROSS) * ACROSS, down = threadIdx.x / (EXPERT_COLUMNS / ACROSS) * DOWN;
    float sums[DOWN][ACROSS] = {};
    for (int depth = 0; depth < p.inner; depth += DEPTH) {
        for (int i = threadIdx.x; i < EXPERT_ROWS * DEPTH; i += EXPERT_THREADS) {
            const int r = i / DEPTH, k = i % DEPTH, slot = slots[r];
            const bool there = slot >= 0 && depth + k < p.inner;
            rows[r][k] = there ? x[static_cast<int64_t>(slot / p.shared) * p.inner + depth + k] : 0.0f;
        }
        for (int i = threadIdx.x; i < DEPTH * EXPERT_COLUMNS; i += EXPERT_THREADS) {
            const int k = i / EXPERT_COLUMNS, c = i % EXPERT_COLUMNS;
            const bool there = depth + k < p.inner && first + c < p.columns;
            weights[k][c] = there ? weight[static_cast<int64_t>(depth + k) * p.columns + first + c] : 0.0f;
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < DEPTH; ++k) {
#pragma unroll
            for (int r = 0; r < DOWN; ++r) {
#pragma unroll
                for (int c = 0; c < ACROSS; ++c) sums[r][c] += rows[down + r][k] * weights[k][across + c];
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int r = 0; r < DOWN; ++r) {
        const int slot = slots[down + r];
        for (int c = 0; slot >= 0 && c < ACROSS; ++c) {
            if (first + across + c < p.columns) put_expert<float>(p, slot, first + across + c, sums[r][c]);
        }
    }
}

// As `GivenLaunch` has it.
struct GivenParams {
    const float* given;  // (rows x each x width)
    void* y;             // (rows x width)
    int64_t numbers;     // rows * width
    int width, each;
};

// What a token's experts gave, added up.
template <typename T>
__device__ inline void add_given(const GivenParams& p) {
    const int64_t at = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (at >= p.numbers) return;
    const float* given = p.given + at / p.width * p.each * p.width + at % p.width;
    float sum = 0.0f;
    for (int e = 0; e < p.each; ++e) sum += given[static_cast<int64_t>(e) * p.width];
    static_cast<T*>(p.y)[at] = Format<T>::down(sum);
}
