// Every kernel of ours, under the name that cuda/kernels loads it by.
#include "attention_narrow.cuh"
#include "attention_wide.cuh"
#include "experts.cuh"
#include "rows.cuh"

// Blocks that a multiprocessor is to hold: as many as their shared memory leaves room for.
#define BLOCKS(DEPTH, EXTRA) ((DEPTH) > 128 || ((DEPTH) > 64 && (EXTRA) == EXTRA_VECTORS) ? 1 \
    : (DEPTH) > 64 || (EXTRA) == EXTRA_VECTORS ? 3 : 4)

#define NARROW(NAME, T, DEPTH, EXTRA) \
    extern "C" __global__ void __launch_bounds__(WARPS * 32, BLOCKS(DEPTH, EXTRA)) \
        NAME(const __grid_constant__ AttentionParams p) { \
        attend_narrow<T, DEPTH, EXTRA>(p); \
    }

#define NARROW_DEPTHS(T, NAME)                              \
    NARROW(attend_##NAME##_32, T, 32, EXTRA_NONE)           \
    NARROW(attend_##NAME##_64, T, 64, EXTRA_NONE)           \
    NARROW(attend_##NAME##_128, T, 128, EXTRA_NONE)         \
    NARROW(attend_##NAME##_256, T, 256, EXTRA_NONE)         \
    NARROW(attend_##NAME##_numbers_32, T, 32, EXTRA_NUMBERS)   \
    NARROW(attend_##NAME##_numbers_64, T, 64, EXTRA_NUMBERS)   \
    NARROW(attend_##NAME##_numbers_128, T, 128, EXTRA_NUMBERS) \
    NARROW(attend_##NAME##_vectors_32, T, 32, EXTRA_VECTORS)   \
    NARROW(attend_##NAME##_vectors_64, T, 64, EXTRA_VECTORS)   \
    NARROW(attend_##NAME##_vectors_128, T, 128, EXTRA_VECTORS)

NARROW_DEPTHS(__half, f16)
NARROW_DEPTHS(__nv_bfloat16, bf16)

#define WIDE(DEPTH)                     \
    extern "C" __global__ void __launch_bounds__(WIDE_WARPS * 32)                                        \
        attend_f32_##DEPTH(const __grid_constant__ AttentionParams p) { attend_wide<DEPTH>(p); }         \

WIDE(32)
WIDE(64)
WIDE(128)
WIDE(256)

#define ROWS(T, NAME)                        \
    extern "C" __global__ void norm_##NAME(const __grid_constant__ NormParams p) { add_norm<T>(p); }           \
    extern "C" __global__ void gate_##NAME(const __grid_constant__ GateParams p) { gate<T>(p); }               \
    extern "C" __global__ void heads_##NAME(const __grid_constant__ HeadsParams p) { heads<T>(p); }            \
    extern "C" __global__ void route_##NAME(const __grid_constant__ RouteParams p) { route<T>(p); }            \
    extern "C" __global__ void given_##NAME(const __grid_constant__ GivenParams p) { add_given<T>(p); }

ROWS(__half, f16)
ROWS(__nv_bfloat16, bf16)
ROWS(float, f32)

extern "C" __global__ void segments_f32(const __grid_constant__ SegmentsParams p) { segments(p); }

extern "C" __global__ void dots_f32(const __grid_constant__ DotsParams p) { dots(p); }

extern "C" __global__ void places(const __grid_constant__ PlacesParams p) { expert_places(p); }

#define EXPERTS(NAME, ...) \
    extern "C" __global__ void __launch_bounds__(EXPERT_THREADS) \
        experts_##NAME(const __grid_constant__ ExpertsParams p) { __VA_ARGS__(p); }

EXPERTS(f16, experts_narrow<__half>)
EXPERTS(bf16, experts_narrow<__nv_bfloat16>)
EXPERTS(f32, experts_wide)
