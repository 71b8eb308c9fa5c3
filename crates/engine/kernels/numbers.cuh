// Number formats, and what threads of a warp do together.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cstdint>

template <typename T>
struct Format;

template <>
struct Format<float> {
    static __device__ float up(float x) { return x; }
    static __device__ float down(float x) { return x; }
};

template <>
struct Format<__half> {
    static __device__ float up(__half x) { return __half2float(x); }
    static __device__ __half down(float x) { return __float2half_rn(x); }
    static __device__ uint32_t pair(float low, float high) {
        __half2 both = __floats2half2_rn(low, high);
        return *reinterpret_cast<uint32_t*>(&both);
    }
};

template <>
struct Format<__nv_bfloat16> {
    static __device__ float up(__nv_bfloat16 x) { return __bfloat162float(x); }
    static __device__ __nv_bfloat16 down(float x) { return __float2bfloat16_rn(x); }
    static __device__ uint32_t pair(float low, float high) {
        __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
        return *reinterpret_cast<uint32_t*>(&both);
    }
};

// Sum over a warp, the same in every lane: pairs are added in one fixed order.
__device__ inline float warp_sum(float x) {
#pragma unroll
    for (int apart = 16; apart > 0; apart /= 2) x += __shfl_xor_sync(0xffffffff, x, apart);
    return x;
}

// Largest over a warp.
__device__ inline float warp_max(float x) {
#pragma unroll
    for (int apart = 16; apart > 0; apart /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffff, x, apart));
    return x;
}

// Sum over a block of at most 32 warps, the same in every thread. `shared` holds one number a warp.
__device__ inline float block_sum(float x, float* shared) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = (blockDim.x + 31) / 32;
    x = warp_sum(x);
    __syncthreads();
    if (lane == 0) shared[warp] = x;
    __syncthreads();
    float sum = 0;
    for (int w = 0; w < warps; ++w) sum += shared[w];
    return sum;
}

// The sequence that a token belongs to: the last that starts at or before it and is not empty.
__device__ inline int sequence_of(const int* cumulative, int sequences, int token) {
    int low = 0, high = sequences - 1;
    while (low < high) {
        const int middle = (low + high + 1) / 2;
        if (cumulative[middle] <= token) low = middle; else high = middle - 1;
    }
    return low;
}
