// Attention over packed sequences in f32, without tensor cores: exact, and slow. A warp has four queries, a lane a key.
#pragma once

#include "attention.cuh"

constexpr int WIDE_QUERIES = 16;
constexpr int WIDE_KEYS = 32;
constexpr int WIDE_WARPS = 4;

template <int DEPTH>
struct WideShape {
    static constexpr int ROW = DEPTH + 1;
    static constexpr int BYTES = (WIDE_QUERIES + 2 * WIDE_KEYS) * ROW * 4;
};

template <int DEPTH>
__device__ inline void attend_wide(const AttentionParams& p) {
    constexpr int ROW = WideShape<DEPTH>::ROW, EACH = WIDE_QUERIES / WIDE_WARPS, DEEP = DEPTH / 32;
    extern __shared__ __align__(16) unsigned char memory[];
    float* queries = reinterpret_cast<float*>(memory);
    float* keys = queries + WIDE_QUERIES * ROW;
    float* values = keys + WIDE_KEYS * ROW;
    const int head = blockIdx.x;
    Tile tile;
    if (!find_tile(p, WIDE_QUERIES, blockIdx.y, head, tile)) return;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const float* qkv = static_cast<const float*>(p.qkv) + static_cast<int64_t>(tile.start) * tile.width;
    auto load = [&](float* to, int at, int first, int rows, int end) {
        for (int i = threadIdx.x; i < rows * DEPTH; i += WIDE_WARPS * 32) {
            const int r = i / DEPTH, d = i % DEPTH;
            const bool there = first + r < end && d < p.size;
            to[r * ROW + d] = there ? qkv[static_cast<int64_t>(first + r) * tile.width + at + d] : 0.0f;
        }
    };
    load(queries, tile.query_at, tile.first, WIDE_QUERIES, tile.length);
    float result[EACH][DEEP] = {}, most[EACH], sum[EACH] = {};
#pragma unroll
    for (int r = 0; r < EACH; ++r) most[r] = -INFINITY;
    const float* met_by_queries = static_cast<const float*>(p.met_by_queries);
    const float* met_by_keys = static_cast<const float*>(p.met_by_keys);
    for (int first = tile.from / WIDE_KEYS * WIDE_KEYS; first < tile.to; first += WIDE_KEYS) {
        __syncthreads();
        load(keys, tile.key_at, first, WIDE_KEYS, tile.to);
        load(values, tile.value_at, first, WIDE_KEYS, tile.to);
        __syncthreads();
        const int key = first + lane;
#pragma unroll
        for (int r = 0; r < EACH; ++r) {
            const int own = warp * EACH + r, query = tile.first + own, behind = key - query;
            float x = 0.0f;
            for (int d = 0; d < p.size; ++d) x += queries[own * ROW + d] * keys[lane * ROW + d];
            if (p.columns) {
                const int column = p.columns[clamped(behind, p.reach)];
                const int64_t at = (static_cast<int64_t>(head) * p.vectors + column) * p.size;
                float more = 0.0f;
                if (met_by_queries) for (int d = 0; d < p.size; ++d) more += queries[own * ROW + d] * met_by_queries[at + d];
                x += more;
                more = 0.0f;
                if (met_by_keys) for (int d = 0; d < p.size; ++d) more += keys[lane * ROW + d] * met_by_keys[at + d];
                x += more;
            }
            x *= p.scale;
            if (p.by_distance) x += p.by_distance[static_cast<int64_t>(head) * (2 * p.reach + 1) + clamped(behind, p.reach)];
            if (!sees(p, tile, query, key)) x = -INFINITY;
            const float now = fmaxf(most[r], warp_max(x)), base = now == -INFINITY ? 0.0f : now;
            const float fade = expf(most[r] - base), weight = expf(x - base);
            most[r] = now;
            sum[r] = sum[r] * fade + warp_sum(weight);
#pragma unroll
            for (int d = 0; d < DEEP; ++d) result[r][d] *= fade;
            for (int j = 0; j < WIDE_KEYS; ++j) {
                const float w = __shfl_sync(0xffffffff, weight, j);
#pragma unroll
                for (int d = 0; d < DEEP; ++d) result[r][d] += w * values[j * ROW + d * 32 + lane];
            }
        }
    }
#pragma unroll
    for (int r = 0; r < EACH; ++r) {
        const int place = tile.first + warp * EACH + r;
        if (place >= tile.length) continue;
        // As PyTorch's softmax has it: who sees no key gets nothing.
        const float share = sum[r] > 0.0f ? 1.0f / sum[r] : (sum[r] == 0.0f ? 0.0f : sum[r]);
        float* out = static_cast<float*>(p.out) + (static_cast<int64_t>(tile.start + place) * p.heads + head) * p.size;
#pragma unroll
        for (int d = 0; d < DEEP; ++d) {
            if (d * 32 + lane < p.size) out[d * 32 + lane] = result[r][d] * share;
        }
    }
}
