// Kernels over rows of states: norms with what is added before, activations and gates, heads normed and rotated, and
// reductions over a sequence's rows. Sums are in f32, in an order that the row's width alone decides.
#pragma once

#include "numbers.cuh"

enum NormKind { NORM_NONE = 0, NORM_LAYER = 1, NORM_RMS = 2 };

// As `NormLaunch` of cuda/kernels/rows.rs has it.
struct NormParams {
    const float* given;       // (rows x width), or null: nothing is added
    const float* sum;         // (rows x width): the stream
    const float* given_gamma; // (width), or null: what is given is added as it is
    const float* given_beta;
    const float* gamma;       // (width)
    const float* beta;        // (width), or null
    float* sum_out;           // (rows x width), or null
    void* read;               // (rows x width)
    int width, kind, given_kind;
    float eps, given_eps;
};

// Norms `row`, which lies in shared memory, in place.
__device__ inline void norm_row(
    float* row, int width, int kind, const float* gamma, const float* beta, float eps, float* shared) {
    if (kind == NORM_NONE) return;
    float mean = 0.0f;
    if (kind == NORM_LAYER) {
        for (int i = threadIdx.x; i < width; i += blockDim.x) mean += row[i];
        mean = block_sum(mean, shared) / width;
    }
    float square = 0.0f;
    for (int i = threadIdx.x; i < width; i += blockDim.x) square += (row[i] - mean) * (row[i] - mean);
    const float share = rsqrtf(block_sum(square, shared) / width + eps);
    for (int i = threadIdx.x; i < width; i += blockDim.x) {
        row[i] = (row[i] - mean) * share * gamma[i] + (beta ? beta[i] : 0.0f);
    }
}

template <typename T>
__device__ inline void add_norm(const NormParams& p) {
    extern __shared__ __align__(16) unsigned char memory[];
    float* row = reinterpret_cast<float*>(memory);
    __shared__ float shared[32];
    const int64_t at = static_cast<int64_t>(blockIdx.x) * p.width;
    // Each thread has the same places throughout: no barrier is needed but those inside sums.
    for (int i = threadIdx.x; i < p.width; i += blockDim.x) row[i] = p.given ? p.given[at + i] : 0.0f;
    if (p.given && p.given_gamma) norm_row(row, p.width, p.given_kind, p.given_gamma, p.given_beta, p.given_eps, shared);
    for (int i = threadIdx.x; i < p.width; i += blockDim.x) {
        row[i] += p.sum[at + i];
        if (p.sum_out) p.sum_out[at + i] = row[i];
    }
    norm_row(row, p.width, p.kind, p.gamma, p.beta, p.eps, shared);
    T* read = static_cast<T*>(p.read) + at;
    for (int i = threadIdx.x; i < p.width; i += blockDim.x) read[i] = Format<T>::down(row[i]);
}

enum Act { ACT_GELU = 0, ACT_GELU_TANH = 1, ACT_RELU = 2, ACT_SILU = 3, ACT_TANH = 4 };

__device__ inline float activated(float x, int act) {
    switch (act) {
        case ACT_GELU: return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
        case ACT_GELU_TANH: return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
        case ACT_RELU: return x > 0.0f ? x : (x != x ? x : 0.0f);
        case ACT_SILU: return x / (1.0f + expf(-x));
        default: return tanhf(x);
    }
}

// As `GateLaunch` of cuda/kernels/rows.rs has it.
struct GateParams {
    const void* x;   // (rows x width), or where it is gated (rows x 2 * width): gates, then what they gate
    void* y;         // (rows x width)
    int64_t numbers; // rows * width
    int width, act, gated;
    float scale;     // a power of two
};

template <typename T>
__device__ inline void gate(const GateParams& p) {
    constexpr int EACH = 16 / sizeof(T);
    const T* x = static_cast<const T*>(p.x);
    T* y = static_cast<T*>(p.y);
    const int64_t first = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * EACH;
    if (first >= p.numbers) return;
    const int64_t from = p.gated ? first / p.width * 2 * p.width + first % p.width : first;
    if (p.width % EACH == 0) {
        __align__(16) T low[EACH], high[EACH];
        *reinterpret_cast<uint4*>(low) = *reinterpret_cast<const uint4*>(x + from);
        if (p.gated) *reinterpret_cast<uint4*>(high) = *reinterpret_cast<const uint4*>(x + from + p.width);
#pragma unroll
        for (int k = 0; k < EACH; ++k) {
            float v = activated(Format<T>::up(low[k]), p.act);
            if (p.gated) v *= Format<T>::up(high[k]);
            low[k] = Format<T>::down(v * p.scale);
        }
        *reinterpret_cast<uint4*>(y + first) = *reinterpret_cast<uint4*>(low);
        return;
    }
    for (int64_t i = first; i < first + EACH && i < p.numbers; ++i) {
        const int64_t at = p.gated ? i / p.width * 2 * p.width + i % p.width : i;
        float v = activated(Format<T>::up(x[at]), p.act);
        if (p.gated) v *= Format<T>::up(x[at + p.width]);
        y[i] = Format<T>::down(v * p.scale);
    }
}

// As `HeadsLaunch` of cuda/kernels/rows.rs has it.
struct HeadsParams {
    const void* qkv;        // (tokens x width), as attention takes it
    void* out;              // the same
    const int* cumulative;  // (sequences + 1)
    const float* rotation;  // (2 x positions x size / 2): cosines, then sines; null: none
    const float* norms;     // (2 x size): weights of queries and of keys; null: none
    int sequences, heads, kv_heads, size, positions;
    float eps;
};

// A block has a token, a warp a head at a time.
template <typename T>
__device__ inline void heads(const HeadsParams& p) {
    const int token = blockIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    const int place = token - p.cumulative[sequence_of(p.cumulative, p.sequences, token)];
    const int each = p.heads / p.kv_heads, slots = p.heads + 2 * p.kv_heads, half = (p.size + 1) / 2;
    const T* from = static_cast<const T*>(p.qkv) + static_cast<int64_t>(token) * slots * p.size;
    T* to = static_cast<T*>(p.out) + static_cast<int64_t>(token) * slots * p.size;
    const float* cosines = p.rotation + static_cast<int64_t>(place) * half;
    const float* sines = cosines + static_cast<int64_t>(p.positions) * half;
    for (int slot = warp; slot < slots; slot += warps) {
        const int within = slot % (each + 2);
        const T* x = from + slot * p.size;
        T* y = to + slot * p.size;
        if (within == each + 1) {
            for (int d = lane; d < p.size; d += 32) y[d] = x[d];
            continue;
        }
        float share = 1.0f;
        const float* weights = p.norms ? p.norms + (within == each ? p.size : 0) : nullptr;
        if (weights) {
            float square = 0.0f;
            for (int d = lane; d < p.size; d += 32) square += Format<T>::up(x[d]) * Format<T>::up(x[d]);
            share = rsqrtf(warp_sum(square) / p.size + p.eps);
        }
        for (int m = lane; m < half; m += 32) {
            const bool two = m + half < p.size;
            float a = Format<T>::up(x[m]), b = two ? Format<T>::up(x[m + half]) : 0.0f;
            if (weights) a *= share * weights[m], b *= two ? share * weights[m + half] : 0.0f;
            if (p.rotation) {
                const float c = cosines[m], s = sines[m], turned = a * c - b * s;
                b = b * c + a * s, a = turned;
            }
            y[m] = Format<T>::down(a);
            if (two) y[m + half] = Format<T>::down(b);
        }
    }
}

enum Reduction { REDUCE_MEAN = 0, REDUCE_MAX = 1, REDUCE_LOG = 2, REDUCE_LOG_LOG = 3 };

// As `SegmentsLaunch` of cuda/kernels/rows.rs has it.
struct SegmentsParams {
    const float* x;         // (tokens x width)
    const int* cumulative;  // (sequences + 1)
    float* y;               // (sequences x width)
    int width, reduction;
};

// A thread has a column of a sequence; rows are taken in their order.
__device__ inline void segments(const SegmentsParams& p) {
    const int column = blockIdx.x * blockDim.x + threadIdx.x, sequence = blockIdx.y;
    if (column >= p.width) return;
    const int start = p.cumulative[sequence], end = p.cumulative[sequence + 1];
    float y = p.reduction == REDUCE_MAX ? -INFINITY : 0.0f;
    for (int t = start; t < end; ++t) {
        float x = p.x[static_cast<int64_t>(t) * p.width + column];
        if (p.reduction == REDUCE_MAX) {
            if (x > y || x != x) y = x;
            continue;
        }
        if (p.reduction >= REDUCE_LOG) x = log1pf(x > 0.0f ? x : (x != x ? x : 0.0f));
        if (p.reduction == REDUCE_LOG_LOG) x = log1pf(x);
        y += x;
    }
    if (p.reduction == REDUCE_MEAN) y /= end - start;
    p.y[static_cast<int64_t>(sequence) * p.width + column] = y;
}
