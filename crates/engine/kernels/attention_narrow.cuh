// Attention over packed sequences in f16 and bf16, by the tensor cores: sums, softmax and results in f32.
//
// A block has 64 queries of one sequence and one head; each of its four warps has 16. It walks over the keys in tiles, with a
// running largest score and sum (Milakov and Gimelshein, 2018; Dao and others, 2022). What a query gives depends on its own
// sequence alone, its length and the place of the query in it: batch-mates change no bit.
#pragma once

#include "attention.cuh"
#include "tensor_cores.cuh"

constexpr int QUERIES = 64;
constexpr int WARPS = 4;
constexpr float LOG2_E = 1.4426950408889634f;

enum Extra { EXTRA_NONE = 0, EXTRA_NUMBERS = 1, EXTRA_VECTORS = 2 };

// Copies `valid` of ROWS rows of `size` numbers, `apart` numbers from each other, to shared memory; the rest is zero.
template <typename T, int ROWS, int DEPTH>
__device__ inline void load_rows(T* to, const T* from, int64_t apart, int valid, int size) {
    constexpr int CHUNK = 8, CHUNKS = DEPTH / CHUNK;
    const bool whole = size % CHUNK == 0;
    for (int i = threadIdx.x; i < ROWS * CHUNKS; i += WARPS * 32) {
        const int row = i / CHUNKS, d = i % CHUNKS * CHUNK;
        T* at = to + row * (DEPTH + PAD) + d;
        if (row < valid && whole && d < size) {
            copy_async(at, from + row * apart + d);
        } else {
#pragma unroll
            for (int k = 0; k < CHUNK; ++k) {
                at[k] = row < valid && d + k < size ? from[row * apart + d + k] : Format<T>::down(0.0f);
            }
        }
    }
}

template <typename T, int DEPTH, int EXTRA>
struct Shape {
    // Keys of a tile: as many as registers and shared memory allow.
    static constexpr int KEYS = EXTRA == EXTRA_VECTORS || DEPTH > 64 ? 32 : 64;
    // Tiles of keys and values in flight.
    static constexpr int STAGES = EXTRA == EXTRA_VECTORS || DEPTH > 128 ? 1 : 2;
    static constexpr int ROW = DEPTH + PAD;
    // Distances of a tile's keys to its queries: QUERIES + KEYS - 1 of them, and as many columns at most.
    static constexpr int COLUMNS = QUERIES + KEYS;
    static constexpr int MET_ROW = COLUMNS + PAD;
    static constexpr int KEYS_AT = QUERIES * ROW;
    static constexpr int VALUES_AT = KEYS_AT + STAGES * KEYS * ROW;
    static constexpr int MET_AT = VALUES_AT + STAGES * KEYS * ROW;
    static constexpr int TILE_NUMBERS = EXTRA == EXTRA_VECTORS ? MET_AT + 2 * COLUMNS * ROW : MET_AT;
    static constexpr int SCORES = EXTRA == EXTRA_VECTORS ? (QUERIES + KEYS) * MET_ROW : 0;
    static constexpr int EXTRAS = EXTRA == EXTRA_NONE ? 0 : COLUMNS;
    static constexpr int BYTES = TILE_NUMBERS * 2 + SCORES * 2 + EXTRAS * 4;
};

// (rows of `a`) times (rows of `b`), 16 of the first and BLOCKS * 8 of the second.
template <typename T, int DEPTH, int BLOCKS>
__device__ inline void met(float (&sums)[BLOCKS][4], const T* a, const T* b) {
    constexpr int ROW = DEPTH + PAD;
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int n = 0; n < BLOCKS; ++n) sums[n][0] = sums[n][1] = sums[n][2] = sums[n][3] = 0.0f;
#pragma unroll
    for (int k = 0; k < DEPTH; k += 16) {
        uint32_t x[4];
        load_matrices(x, a + (lane & 15) * ROW + k + (lane >> 4) * 8);
#pragma unroll
        for (int n = 0; n < BLOCKS; n += 2) {
            uint32_t y[4];
            load_matrices(y, b + (n * 8 + (lane & 7) + (lane >> 4) * 8) * ROW + k + ((lane >> 3) & 1) * 8);
            multiply<T>(sums[n], x, y[0], y[1]);
            multiply<T>(sums[n + 1], x, y[2], y[3]);
        }
    }
}

template <typename T, int DEPTH, int EXTRA>
__device__ inline void attend_narrow(const AttentionParams& p) {
    using S = Shape<T, DEPTH, EXTRA>;
    constexpr int KEYS = S::KEYS, ROW = S::ROW, STAGES = S::STAGES;
    constexpr int BLOCKS = KEYS / 8, DEEP = DEPTH / 8;
    // Queries stay in registers where these suffice.
    constexpr bool HELD = DEPTH <= 128;
    extern __shared__ __align__(16) unsigned char memory[];
    T* queries = reinterpret_cast<T*>(memory);
    T* keys = queries + S::KEYS_AT;
    T* values = queries + S::VALUES_AT;
    T* vectors = queries + S::MET_AT;
    __half* of_queries = reinterpret_cast<__half*>(queries + S::TILE_NUMBERS);
    __half* of_keys = of_queries + QUERIES * S::MET_ROW;
    float* added = reinterpret_cast<float*>(of_queries + S::SCORES);
    int* column = reinterpret_cast<int*>(added);

    const int head = blockIdx.x;
    Tile tile;
    // The last queries of a causal text see the most keys: their blocks begin first.
    if (!find_tile(p, QUERIES, gridDim.y - 1 - blockIdx.y, head, tile)) return;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, row = lane / 4, pair = lane % 4 * 2;
    const T* qkv = static_cast<const T*>(p.qkv) + static_cast<int64_t>(tile.start) * tile.width;
    const int asking = min(QUERIES, tile.length - tile.first);

    auto load = [&](int first, int stage) {
        const int there = min(KEYS, tile.to - first);
        const T* at = qkv + static_cast<int64_t>(first) * tile.width;
        load_rows<T, KEYS, DEPTH>(keys + stage * KEYS * ROW, at + tile.key_at, tile.width, there, p.size);
        load_rows<T, KEYS, DEPTH>(values + stage * KEYS * ROW, at + tile.value_at, tile.width, there, p.size);
    };

    load_rows<T, QUERIES, DEPTH>(
        queries, qkv + static_cast<int64_t>(tile.first) * tile.width + tile.query_at, tile.width, asking, p.size);
    // Tiles start at multiples of their size, wherever the first key lies that is seen.
    const int begin = tile.from / KEYS * KEYS;
    if (begin < tile.to) load(begin, 0);
    copies_commit();

    const T* own_queries = queries + warp * 16 * ROW;
    uint32_t q[HELD ? DEPTH / 16 : 1][4];
    float result[DEEP][4], most[2] = {-INFINITY, -INFINITY}, sum[2] = {0.0f, 0.0f};
#pragma unroll
    for (int d = 0; d < DEEP; ++d) result[d][0] = result[d][1] = result[d][2] = result[d][3] = 0.0f;
    bool held = false;

    for (int first = begin, turn = 0; first < tile.to; first += KEYS, ++turn) {
        const int stage = turn % STAGES;
        if (STAGES > 1) {
            if (first + KEYS < tile.to) load(first + KEYS, (turn + 1) % STAGES);
            copies_commit();
            copies_wait<1>();
        } else {
            if (turn > 0) {
                load(first, 0);
                copies_commit();
            }
            copies_wait<0>();
        }
        int lowest = 0;
        if (EXTRA == EXTRA_NUMBERS) {
            // What the tile's distances add, from that of its first key to its last query on.
            const float* own = p.by_distance + static_cast<int64_t>(head) * (2 * p.reach + 1);
            for (int i = threadIdx.x; i < S::COLUMNS; i += WARPS * 32) {
                added[i] = own[clamped(first + i - tile.first - QUERIES + 1, p.reach)] * LOG2_E;
            }
        }
        if (EXTRA == EXTRA_VECTORS) {
            lowest = p.columns[clamped(first - tile.first - QUERIES + 1, p.reach)];
            for (int i = threadIdx.x; i < S::COLUMNS; i += WARPS * 32) {
                column[i] = p.columns[clamped(first + i - tile.first - QUERIES + 1, p.reach)] - lowest;
            }
            const int there = min(S::COLUMNS, p.vectors - lowest);
            const int64_t at = (static_cast<int64_t>(head) * p.vectors + lowest) * p.size;
            if (p.met_by_queries) {
                load_rows<T, S::COLUMNS, DEPTH>(vectors, static_cast<const T*>(p.met_by_queries) + at, p.size, there, p.size);
            }
            if (p.met_by_keys) {
                load_rows<T, S::COLUMNS, DEPTH>(
                    vectors + S::COLUMNS * ROW, static_cast<const T*>(p.met_by_keys) + at, p.size, there, p.size);
            }
            copies_commit();
            copies_wait<0>();
        }
        __syncthreads();
        const T* tile_keys = keys + stage * KEYS * ROW;
        const T* tile_values = values + stage * KEYS * ROW;
        if (HELD && !held) {
#pragma unroll
            for (int k = 0; k < DEPTH / 16; ++k) {
                load_matrices(q[HELD ? k : 0], own_queries + (lane & 15) * ROW + k * 16 + (lane >> 4) * 8);
            }
            held = true;
        }
        if (EXTRA == EXTRA_VECTORS) {
            if (p.met_by_queries) {
                float sums[S::COLUMNS / 8][4];
                met<T, DEPTH, S::COLUMNS / 8>(sums, own_queries, vectors);
#pragma unroll
                for (int n = 0; n < S::COLUMNS / 8; ++n) {
                    __half* at = of_queries + (warp * 16 + row) * S::MET_ROW + n * 8 + pair;
                    at[0] = __float2half_rn(sums[n][0]), at[1] = __float2half_rn(sums[n][1]);
                    at += 8 * S::MET_ROW;
                    at[0] = __float2half_rn(sums[n][2]), at[1] = __float2half_rn(sums[n][3]);
                }
            }
            if (p.met_by_keys) {
                // Two warps share 16 keys, each has half of the columns.
                constexpr int HALF = S::COLUMNS / 2;
                const int keys_of = warp % 2 * 16, columns_of = warp / 2 * HALF;
                float sums[HALF / 8][4];
                met<T, DEPTH, HALF / 8>(sums, tile_keys + keys_of * ROW, vectors + (S::COLUMNS + columns_of) * ROW);
#pragma unroll
                for (int n = 0; n < HALF / 8; ++n) {
                    __half* at = of_keys + (keys_of + row) * S::MET_ROW + columns_of + n * 8 + pair;
                    at[0] = __float2half_rn(sums[n][0]), at[1] = __float2half_rn(sums[n][1]);
                    at += 8 * S::MET_ROW;
                    at[0] = __float2half_rn(sums[n][2]), at[1] = __float2half_rn(sums[n][3]);
                }
            }
            __syncthreads();
        }

        float score[BLOCKS][4];
#pragma unroll
        for (int n = 0; n < BLOCKS; ++n) score[n][0] = score[n][1] = score[n][2] = score[n][3] = 0.0f;
#pragma unroll
        for (int k = 0; k < DEPTH / 16; ++k) {
            uint32_t x[4];
            if (HELD) {
                x[0] = q[HELD ? k : 0][0], x[1] = q[HELD ? k : 0][1], x[2] = q[HELD ? k : 0][2], x[3] = q[HELD ? k : 0][3];
            } else {
                load_matrices(x, own_queries + (lane & 15) * ROW + k * 16 + (lane >> 4) * 8);
            }
#pragma unroll
            for (int n = 0; n < BLOCKS; n += 2) {
                uint32_t y[4];
                load_matrices(y, tile_keys + (n * 8 + (lane & 7) + (lane >> 4) * 8) * ROW + k * 16 + ((lane >> 3) & 1) * 8);
                multiply<T>(score[n], x, y[0], y[1]);
                multiply<T>(score[n + 1], x, y[2], y[3]);
            }
        }

        // In powers of two: one multiplication less in each exponential.
        const float scale = p.scale * LOG2_E;
        const bool masked = any_hidden(p, tile, QUERIES, first, KEYS);
        float largest[2] = {-INFINITY, -INFINITY};
#pragma unroll
        for (int n = 0; n < BLOCKS; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int own = warp * 16 + row + i / 2 * 8, other = n * 8 + pair + i % 2;
                const int distance = other - own + QUERIES - 1;
                float x = score[n][i];
                if (EXTRA == EXTRA_VECTORS) {
                    const int c = column[distance];
                    if (p.met_by_queries) x += __half2float(of_queries[own * S::MET_ROW + c]);
                    if (p.met_by_keys) x += __half2float(of_keys[other * S::MET_ROW + c]);
                }
                x *= scale;
                if (EXTRA == EXTRA_NUMBERS) x += added[distance];
                if (masked && !sees(p, tile, tile.first + own, first + other)) x = -INFINITY;
                score[n][i] = x;
                largest[i / 2] = fmaxf(largest[i / 2], x);
            }
        }
        float base[2];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            largest[r] = fmaxf(largest[r], __shfl_xor_sync(0xffffffff, largest[r], 1));
            largest[r] = fmaxf(largest[r], __shfl_xor_sync(0xffffffff, largest[r], 2));
            const float now = fmaxf(most[r], largest[r]);
            // A query that has seen no key yet has no largest score.
            base[r] = now == -INFINITY ? 0.0f : now;
            const float fade = exp2f(most[r] - base[r]);
            most[r] = now;
            sum[r] *= fade;
#pragma unroll
            for (int d = 0; d < DEEP; ++d) result[d][2 * r] *= fade, result[d][2 * r + 1] *= fade;
        }
#pragma unroll
        for (int n = 0; n < BLOCKS; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                score[n][i] = exp2f(score[n][i] - base[i / 2]);
                sum[i / 2] += score[n][i];
            }
        }
#pragma unroll
        for (int k = 0; k < KEYS / 16; ++k) {
            const uint32_t weights[4] = {
                Format<T>::pair(score[2 * k][0], score[2 * k][1]), Format<T>::pair(score[2 * k][2], score[2 * k][3]),
                Format<T>::pair(score[2 * k + 1][0], score[2 * k + 1][1]), Format<T>::pair(score[2 * k + 1][2], score[2 * k + 1][3])};
#pragma unroll
            for (int d = 0; d < DEEP; d += 2) {
                uint32_t y[4];
                load_matrices_turned(y, tile_values + (k * 16 + (lane & 15)) * ROW + d * 8 + (lane >> 4) * 8);
                multiply<T>(result[d], weights, y[0], y[1]);
                multiply<T>(result[d + 1], weights, y[2], y[3]);
            }
        }
        __syncthreads();
    }

#pragma unroll
    for (int r = 0; r < 2; ++r) {
        sum[r] += __shfl_xor_sync(0xffffffff, sum[r], 1);
        sum[r] += __shfl_xor_sync(0xffffffff, sum[r], 2);
        const int place = tile.first + warp * 16 + row + r * 8;
        if (place >= tile.length) continue;
        // As PyTorch's softmax has it: who sees no key gets nothing.
        const float share = sum[r] > 0.0f ? 1.0f / sum[r] : (sum[r] == 0.0f ? 0.0f : sum[r]);
        T* out = static_cast<T*>(p.out) + (static_cast<int64_t>(tile.start + place) * p.heads + head) * p.size;
#pragma unroll
        for (int d = 0; d < DEEP; ++d) {
            const int at = d * 8 + pair;
            if (at + 1 < p.size && p.size % 2 == 0) {
                *reinterpret_cast<uint32_t*>(out + at) = Format<T>::pair(result[d][2 * r] * share, result[d][2 * r + 1] * share);
            } else {
                if (at < p.size) out[at] = Format<T>::down(result[d][2 * r] * share);
                if (at + 1 < p.size) out[at + 1] = Format<T>::down(result[d][2 * r + 1] * share);
            }
        }
    }
}
