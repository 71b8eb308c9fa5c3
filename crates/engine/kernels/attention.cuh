// What attention kernels share: where heads lie, which keys a query sees, which tile a block has.
#pragma once

#include "numbers.cuh"

enum Sight { SIGHT_ALL = 0, SIGHT_CAUSAL = 1, SIGHT_WINDOW = 2 };

// As `AttentionLaunch` of cuda/kernels/attention.rs has it, field by field.
struct AttentionParams {
    const void* qkv;             // (tokens x width): queries of the heads that share a key, that key, that value
    void* out;                   // (tokens x heads * size)
    const int* cumulative;       // (sequences + 1)
    const int* keys;             // (sequences) how many tokens of each are seen; null: all
    const float* by_distance;    // (heads x 2 * reach + 1); null: none
    const void* met_by_queries;  // (heads x columns x size); null: none
    const void* met_by_keys;     // the same
    const int* columns;          // (2 * reach + 1): column of each distance
    int tokens, sequences, heads, kv_heads, size, sight, radius, reach, vectors;
    float scale;
};

// Queries of a tile of one sequence and one head, and what they see.
struct Tile {
    int start;       // first token of the sequence
    int length;      // its tokens
    int keys;        // those of them that are seen
    int first;       // place of the tile's first query
    int from, to;    // keys that any of its queries sees
    int query_at, key_at, value_at, width;
};

// Tiles of `rows` queries: slot `cumulative[s] / rows + s` is the first of sequence `s`. Slots of two sequences never meet, and
// the host needs no table of them. False: the slot is empty.
__device__ inline bool find_tile(const AttentionParams& p, int rows, int slot, int head, Tile& tile) {
    int low = 0, high = p.sequences - 1;
    while (low < high) {
        const int middle = (low + high + 1) / 2;
        if (p.cumulative[middle] / rows + middle <= slot) low = middle; else high = middle - 1;
    }
    tile.start = p.cumulative[low];
    tile.length = p.cumulative[low + 1] - tile.start;
    tile.first = (slot - tile.start / rows - low) * rows;
    if (tile.first < 0 || tile.first >= tile.length) return false;
    tile.keys = p.keys ? min(p.keys[low], tile.length) : tile.length;
    const int last = min(tile.first + rows, tile.length) - 1;
    tile.from = p.sight == SIGHT_WINDOW ? max(0, tile.first - p.radius) : 0;
    tile.to = tile.keys;
    if (p.sight == SIGHT_CAUSAL) tile.to = min(tile.to, last + 1);
    if (p.sight == SIGHT_WINDOW) tile.to = min(tile.to, last + p.radius + 1);
    const int each = p.heads / p.kv_heads;
    const int group = (head / each) * (each + 2) * p.size;
    tile.width = (p.heads + 2 * p.kv_heads) * p.size;
    tile.query_at = group + (head % each) * p.size;
    tile.key_at = group + each * p.size;
    tile.value_at = tile.key_at + p.size;
    return true;
}

__device__ inline bool sees(const AttentionParams& p, const Tile& tile, int query, int key) {
    if (key >= tile.keys) return false;
    if (p.sight == SIGHT_CAUSAL) return key <= query;
    if (p.sight == SIGHT_WINDOW) return key >= query - p.radius && key <= query + p.radius;
    return true;
}

// Whether some query of a tile does not see some of these keys.
__device__ inline bool any_hidden(const AttentionParams& p, const Tile& tile, int queries, int first, int keys) {
    if (first + keys > tile.keys) return true;
    if (p.sight == SIGHT_CAUSAL) return first + keys - 1 > tile.first;
    if (p.sight == SIGHT_WINDOW) {
        return first < tile.first + queries - 1 - p.radius || first + keys - 1 > tile.first + p.radius;
    }
    return false;
}

__device__ inline int clamped(int behind, int reach) { return max(-reach, min(reach, behind)) + reach; }
