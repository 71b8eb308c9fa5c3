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

// Four neighbouring numbers.
template <typename T>
struct alignas(4 * sizeof(T)) Four {
    T at[4];
};

template <typename T>
__device__ inline void add_norm(const NormParams& p) {
    extern __shared__ __align__(16) unsigned char memory[];
    float* row = reinterpret_cast<float*>(memory);
    __shared__ float shared[32];
    const int64_t at = static_cast<int64_t>(blockIdx.x) * p.width;
    T* read = static_cast<T*>(p.read) + at;
    if (p.width % 4 == 0 && !p.given_gamma) {
        // Each thread keeps to its own places: no barrier is needed but those inside sums.
        for (int i = threadIdx.x * 4; i < p.width; i += blockDim.x * 4) {
            float4 x = *reinterpret_cast<const float4*>(p.sum + at + i);
            if (p.given) {
                const float4 more = *reinterpret_cast<const float4*>(p.given + at + i);
                x.x = more.x + x.x, x.y = more.y + x.y, x.z = more.z + x.z, x.w = more.w + x.w;
            }
            if (p.sum_out) *reinterpret_cast<float4*>(p.sum_out + at + i) = x;
            *reinterpret_cast<float4*>(row + i) = x;
        }
        float mean = 0.0f, square = 0.0f;
        if (p.kind == NORM_LAYER) {
            for (int i = threadIdx.x * 4; i < p.width; i += blockDim.x * 4) mean += (row[i] + row[i + 1]) + (row[i + 2] + row[i + 3]);
            mean = block_sum(mean, shared) / p.width;
        }
        float share = 1.0f;
        if (p.kind != NORM_NONE) {
            for (int i = threadIdx.x * 4; i < p.width; i += blockDim.x * 4) {
#pragma unroll
                for (int k = 0; k < 4; ++k) square += (row[i + k] - mean) * (row[i + k] - mean);
            }
            share = rsqrtf(block_sum(square, shared) / p.width + p.eps);
        }
        for (int i = threadIdx.x * 4; i < p.width; i += blockDim.x * 4) {
            Four<T> out;
#pragma unroll
            for (int k = 0; k < 4; ++k) {
                float x = row[i + k];
                if (p.kind != NORM_NONE) x = (x - mean) * share * p.gamma[i + k] + (p.beta ? p.beta[i + k] : 0.0f);
                out.at[k] = Format<T>::down(x);
            }
            *reinterpret_cast<Four<T>*>(read + i) = out;
        }
        return;
    }
    for (int i = threadIdx.x; i < p.width; i += blockDim.x) row[i] = p.given ? p.given[at + i] : 0.0f;
    if (p.given && p.given_gamma) norm_row(row, p.width, p.given_kind, p.given_gamma, p.given_beta, p.given_eps, shared);
    for (int i = threadIdx.x; i < p.width; i += blockDim.x) {
        row[i] += p.sum[at + i];
        if (p.sum_out) p.sum_out[at + i] = row[i];
    }
    norm_row(row, p.width, p.kind, p.gamma, p.beta, p.eps, shared);
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

// Lanes that a head takes where each reads two neighbouring numbers of either half: a power of two, at most a warp; 0 where the
// head is not of such a size.
__device__ inline int lanes_of(int size) {
    const int half = size / 2;
    if (size % 4 != 0) return 0;
    if (half % 64 == 0) return 32;
    const int lanes = half / 2;
    return lanes <= 32 && (lanes & (lanes - 1)) == 0 ? lanes : 0;
}

template <typename T>
struct alignas(2 * sizeof(T)) Two {
    T low, high;
};

// A block has a token; `lanes` of a warp have a head at a time.
template <typename T>
__device__ inline void heads(const HeadsParams& p) {
    const int token = blockIdx.x;
    const int place = token - p.cumulative[sequence_of(p.cumulative, p.sequences, token)];
    const int each = p.heads / p.kv_heads, slots = p.heads + 2 * p.kv_heads, half = (p.size + 1) / 2;
    const T* from = static_cast<const T*>(p.qkv) + static_cast<int64_t>(token) * slots * p.size;
    T* to = static_cast<T*>(p.out) + static_cast<int64_t>(token) * slots * p.size;
    const float* cosines = p.rotation + static_cast<int64_t>(place) * half;
    const float* sines = cosines + static_cast<int64_t>(p.positions) * half;
    const int paired = lanes_of(p.size), lanes = paired ? paired : 32, step = paired ? 2 : 1;
    const int lane = threadIdx.x % lanes, first = threadIdx.x / lanes, together = blockDim.x / lanes;
    // Whole warps go on together: sums over lanes need all of them.
    for (int turn = 0; turn < slots; turn += together) {
        const int slot = turn + first;
        const bool there = slot < slots;
        const int within = slot % (each + 2);
        const T* x = from + slot * p.size;
        T* y = to + slot * p.size;
        const bool value = within == each + 1;
        const float* weights = p.norms && !value ? p.norms + (within == each ? p.size : 0) : nullptr;
        float share = 1.0f;
        if (p.norms) {
            float square = 0.0f;
            for (int d = lane; there && d < p.size; d += lanes) square += Format<T>::up(x[d]) * Format<T>::up(x[d]);
            for (int apart = lanes / 2; apart > 0; apart /= 2) square += __shfl_xor_sync(0xffffffff, square, apart);
            share = rsqrtf(square / p.size + p.eps);
        }
        if (!there) continue;
        for (int m = lane * step; m < half; m += lanes * step) {
            float a[2], b[2];
            if (paired) {
                const Two<T> low = *reinterpret_cast<const Two<T>*>(x + m), high = *reinterpret_cast<const Two<T>*>(x + m + half);
                a[0] = Format<T>::up(low.low), a[1] = Format<T>::up(low.high);
                b[0] = Format<T>::up(high.low), b[1] = Format<T>::up(high.high);
            } else {
                a[0] = Format<T>::up(x[m]), b[0] = m + half < p.size ? Format<T>::up(x[m + half]) : 0.0f;
            }
#pragma unroll
            for (int k = 0; k < 2; ++k) {
                if (k == step || value) break;
                if (weights) a[k] *= share * weights[m + k], b[k] *= m + k + half < p.size ? share * weights[m + k + half] : 0.0f;
                if (p.rotation) {
                    const float c = cosines[m + k], s = sines[m + k], turned = a[k] * c - b[k] * s;
                    b[k] = b[k] * c + a[k] * s, a[k] = turned;
                }
            }
            if (paired) {
                *reinterpret_cast<Two<T>*>(y + m) = {Format<T>::down(a[0]), Format<T>::down(a[1])};
                *reinterpret_cast<Two<T>*>(y + m + half) = {Format<T>::down(b[0]), Format<T>::down(b[1])};
            } else {
                y[m] = Format<T>::down(a[0]);
                if (m + half < p.size) y[m + half] = Format<T>::down(b[0]);
            }
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

constexpr int SEGMENT_COLUMNS = 32;
constexpr int SEGMENT_ROWS = 16;

__device__ inline float reduced(float y, float x, int reduction) {
    if (reduction == REDUCE_MAX) return x > y || x != x ? x : y;
    return y + x;
}

// A block has some columns of a sequence. Each of its row lanes takes every sixteenth row, in their order; then the lanes are
// taken in theirs.
__device__ inline void segments(const SegmentsParams& p) {
    __shared__ float parts[SEGMENT_ROWS][SEGMENT_COLUMNS];
    const int within = threadIdx.x % SEGMENT_COLUMNS, lane = threadIdx.x / SEGMENT_COLUMNS;
    const int column = blockIdx.x * SEGMENT_COLUMNS + within, sequence = blockIdx.y;
    const int start = p.cumulative[sequence], end = p.cumulative[sequence + 1];
    float y = p.reduction == REDUCE_MAX ? -INFINITY : 0.0f;
    for (int t = start + lane; column < p.width && t < end; t += SEGMENT_ROWS) {
        float x = p.x[static_cast<int64_t>(t) * p.width + column];
        if (p.reduction >= REDUCE_LOG) x = log1pf(x > 0.0f ? x : (x != x ? x : 0.0f));
        if (p.reduction == REDUCE_LOG_LOG) x = log1pf(x);
        y = reduced(y, x, p.reduction);
    }
    parts[lane][within] = y;
    __syncthreads();
    if (lane > 0 || column >= p.width) return;
    for (int other = 1; other < SEGMENT_ROWS; ++other) y = reduced(y, parts[other][within], p.reduction);
    if (p.reduction == REDUCE_MEAN) y /= end - start;
    p.y[static_cast<int64_t>(sequence) * p.width + column] = y;
}

// As `DotsLaunch` of cuda/kernels/rows.rs has it.
struct DotsParams {
    const float* x;       // (rows x inner)
    const float* weight;  // (inner x columns)
    const float* bias;    // (columns), or null
    float* y;             // (rows x columns)
    int inner, columns;
    float factor;
};

// A product of few columns: a warp has a number of the result. For heads, whose last product cublasLt has no fit kernel for.
__device__ inline void dots(const DotsParams& p) {
    const int lane = threadIdx.x % 32, column = blockIdx.y * (blockDim.x / 32) + threadIdx.x / 32;
    if (column >= p.columns) return;
    const float* x = p.x + static_cast<int64_t>(blockIdx.x) * p.inner;
    float sum = 0.0f;
    for (int k = lane; k < p.inner; k += 32) sum += x[k] * p.weight[static_cast<int64_t>(k) * p.columns + column];
    sum = warp_sum(sum) * p.factor;
    if (lane == 0) p.y[static_cast<int64_t>(blockIdx.x) * p.columns + column] = sum + (p.bias ? p.bias[column] : 0.0f);
}
