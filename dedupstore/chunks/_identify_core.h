/* Keyed BLAKE3 of many chunks at once, without Python.
 *
 * BLAKE3 hashes leaves of 1 KiB side by side, as many as the processor's vectors have lanes (16 with AVX-512), then
 * joins their chaining values pair by pair (https://github.com/BLAKE3-team/BLAKE3-specs, sections 2.4 and 2.5).  In a
 * chunk of some 12 KiB most lanes stay empty, and nearly all in its tree.  Here leaves of different chunks share the
 * lanes.  The compression itself, for every kind of processor, is the BLAKE3 team's own C code.
 *
 * Invariant: chunks are independent; each id is what the whole chunk alone would give.  No memory is touched but
 * the chunks, the ids, and a work space of a size that the number of leaves gives.
 */
#ifndef IDENTIFY_CORE_H
#define IDENTIFY_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "blake3_impl.h"

enum {
    ID_SIZE = BLAKE3_OUT_LEN,
    LANES = 16,         /* the widest vectors there are */
    MOST_LEAVES = 8192, /* of the chunks that are worked on together: 8 MiB */
    LARGEST = 2 << 20,  /* bytes of a chunk; fewer leaves than MOST_LEAVES */
    LEAF_BLOCKS = BLAKE3_CHUNK_LEN / BLAKE3_BLOCK_LEN,
};

typedef struct {
    const uint8_t *data;
    const uint8_t *starts, *ends; /* of each chunk in the data: offsets of 8 bytes in the machine's order */
    uint32_t key[8];
} chunks_t;

static size_t offset_at(const uint8_t *column, size_t i)
{
    uint64_t offset; /* perhaps not aligned */
    memcpy(&offset, column + sizeof offset * i, sizeof offset);
    return (size_t)offset;
}

static size_t size_of(const chunks_t *chunks, size_t i)
{
    return offset_at(chunks->ends, i) - offset_at(chunks->starts, i);
}

/* Tell whether the chunks lie in the data, and are of sizes that can be worked on. */
static bool are_chunks(const chunks_t *chunks, size_t count, size_t size)
{
    for (size_t i = 0; i < count; i++) {
        size_t start = offset_at(chunks->starts, i), end = offset_at(chunks->ends, i);
        if (start > end || end > size || end - start > (size_t)LARGEST)
            return false;
    }
    return true;
}

/* For each leaf of the chunks that are worked on together. */
typedef struct {
    uint8_t values[MOST_LEAVES][ID_SIZE]; /* chaining values, those of a chunk one after the other */
    const uint8_t *leaves[MOST_LEAVES];
    uint32_t next[MOST_LEAVES];           /* the slot behind this one in the list of its number */
    uint32_t lists[MOST_LEAVES];          /* leaves that have the same number in their chunks */
    uint32_t firsts[MOST_LEAVES];         /* where the values of a chunk begin */
    uint32_t widths[MOST_LEAVES];         /* how many values it has left */
} work_t;

enum { NO_SLOT = UINT32_MAX };

/* What is hashed side by side: inputs of the same kind, each with the place of its result. */
typedef struct {
    const uint32_t *key;
    size_t blocks;
    uint64_t number; /* of the leaves in their chunks */
    uint8_t flags, flags_start, flags_end;
    size_t count;
    const uint8_t *inputs[LANES];
    uint8_t *targets[LANES];
} lanes_t;

static void run_lanes(lanes_t *lanes)
{
    uint8_t results[LANES][ID_SIZE];
    if (lanes->count == 0)
        return;
    blake3_hash_many(lanes->inputs, lanes->count, lanes->blocks, lanes->key, lanes->number, false, lanes->flags,
                     lanes->flags_start, lanes->flags_end, results[0]);
    for (size_t i = 0; i < lanes->count; i++)
        memcpy(lanes->targets[i], results[i], ID_SIZE);
    lanes->count = 0;
}

static void add_lane(lanes_t *lanes, const uint8_t *input, uint8_t *target)
{
    lanes->inputs[lanes->count] = input;
    lanes->targets[lanes->count] = target;
    if (++lanes->count == LANES)
        run_lanes(lanes);
}

/* A leaf that is not full, perhaps empty, or one that is a chunk by itself. */
static void hash_leaf(const uint32_t key[8], const uint8_t *data, size_t size, uint64_t number, uint8_t last_flags,
                      uint8_t *target)
{
    uint32_t value[8];
    uint8_t flags = KEYED_HASH | CHUNK_START;
    memcpy(value, key, sizeof value);
    for (; size > BLAKE3_BLOCK_LEN; size -= BLAKE3_BLOCK_LEN, data += BLAKE3_BLOCK_LEN) {
        blake3_compress_in_place(value, data, BLAKE3_BLOCK_LEN, number, flags);
        flags = KEYED_HASH;
    }
    uint8_t block[BLAKE3_BLOCK_LEN] = {0};
    if (size > 0)
        memcpy(block, data, size);
    blake3_compress_in_place(value, block, (uint8_t)size, number, flags | CHUNK_END | last_flags);
    store_cv_words(target, value);
}

static size_t leaves_in(const chunks_t *chunks, size_t i)
{
    size_t size = size_of(chunks, i);
    return size == 0 ? 1 : (size + BLAKE3_CHUNK_LEN - 1) / BLAKE3_CHUNK_LEN;
}

/* Hash the leaves of the chunks from `begin` to `end`; those left over by full lanes wait in the lists. */
static uint32_t hash_leaves(const chunks_t *chunks, size_t begin, size_t end, work_t *work, uint8_t *ids)
{
    uint32_t slot = 0, numbers = 0;
    bool share = end - begin >= LANES; /* fewer chunks fill lanes better with what they have themselves */
    for (size_t i = begin; i < end; i++) {
        const uint8_t *data = chunks->data + offset_at(chunks->starts, i);
        size_t size = size_of(chunks, i);
        uint32_t count = (uint32_t)leaves_in(chunks, i), full = (uint32_t)(size / BLAKE3_CHUNK_LEN), leaf = 0;
        work->firsts[i - begin] = slot;
        work->widths[i - begin] = count;
        if (count == 1) {
            hash_leaf(chunks->key, data, size, 0, ROOT, ids + ID_SIZE * i);
            continue;
        }
        while (leaf < full && (full - leaf >= LANES || !share)) {
            const uint8_t *inputs[LANES];
            uint32_t lanes = full - leaf < LANES ? full - leaf : LANES;
            for (uint32_t lane = 0; lane < lanes; lane++)
                inputs[lane] = data + (size_t)BLAKE3_CHUNK_LEN * (leaf + lane);
            blake3_hash_many(inputs, lanes, LEAF_BLOCKS, chunks->key, leaf, true, KEYED_HASH, CHUNK_START, CHUNK_END,
                             work->values[slot + leaf]);
            leaf += lanes;
        }
        for (; leaf < full; leaf++) {
            for (; numbers <= leaf; numbers++)
                work->lists[numbers] = NO_SLOT;
            work->leaves[slot + leaf] = data + (size_t)BLAKE3_CHUNK_LEN * leaf;
            work->next[slot + leaf] = work->lists[leaf];
            work->lists[leaf] = slot + leaf;
        }
        if (leaf < count)
            hash_leaf(chunks->key, data + (size_t)BLAKE3_CHUNK_LEN * leaf, size % BLAKE3_CHUNK_LEN, leaf, 0,
                      work->values[slot + leaf]);
        slot += count;
    }
    return numbers;
}

static void hash_left_over(const chunks_t *chunks, uint32_t numbers, work_t *work)
{
    lanes_t lanes = {.key = chunks->key,
                     .blocks = LEAF_BLOCKS,
                     .flags = KEYED_HASH,
                     .flags_start = CHUNK_START,
                     .flags_end = CHUNK_END};
    for (uint32_t number = 0; number < numbers; number++) {
        lanes.number = number;
        for (uint32_t slot = work->lists[number]; slot != NO_SLOT; slot = work->next[slot])
            add_lane(&lanes, work->leaves[slot], work->values[slot]);
        run_lanes(&lanes);
    }
}

/* Join pairs, level by level, until each chunk has two values; an odd one is passed on to the next level. */
static void join_pairs(const chunks_t *chunks, size_t count, work_t *work)
{
    lanes_t lanes = {.key = chunks->key, .blocks = 1, .flags = KEYED_HASH | PARENT};
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < count; i++) {
            uint8_t(*values)[ID_SIZE] = work->values + work->firsts[i];
            if (work->widths[i] > 2) /* a result is written where all that was there has been read */
                for (uint32_t pair = 0; pair < work->widths[i] / 2; pair++)
                    add_lane(&lanes, values[2 * pair], values[pair]);
        }
        run_lanes(&lanes);
        for (size_t i = 0; i < count; i++) {
            uint8_t(*values)[ID_SIZE] = work->values + work->firsts[i];
            uint32_t width = work->widths[i];
            if (width <= 2)
                continue;
            if (width % 2 == 1)
                memcpy(values[width / 2], values[width - 1], ID_SIZE);
            work->widths[i] = (width + 1) / 2;
            more = more || work->widths[i] > 2;
        }
    }
}

static void join_roots(const chunks_t *chunks, size_t begin, size_t count, work_t *work, uint8_t *ids)
{
    lanes_t lanes = {.key = chunks->key, .blocks = 1, .flags = KEYED_HASH | PARENT | ROOT};
    for (size_t i = 0; i < count; i++)
        if (work->widths[i] == 2)
            add_lane(&lanes, work->values[work->firsts[i]], ids + ID_SIZE * (begin + i));
    run_lanes(&lanes);
}

/* Write the id of each chunk. */
static void identify_chunks(const chunks_t *chunks, size_t count, work_t *work, uint8_t *ids)
{
    for (size_t begin = 0, end = 0; begin < count; begin = end) {
        for (size_t leaves = 0; end < count && (leaves += leaves_in(chunks, end)) <= MOST_LEAVES;)
            end++;
        uint32_t numbers = hash_leaves(chunks, begin, end, work, ids);
        hash_left_over(chunks, numbers, work);
        join_pairs(chunks, end - begin, work);
        join_roots(chunks, begin, end - begin, work, ids);
    }
}

#endif
