/* Divides random ranges of buffers of exactly their size, so that a sanitizer sees any byte too far. */
#include <stdio.h>
#include <stdlib.h>

#include "../../digest.h"
#include "_divide_core.h"

static void write_range(uint8_t *p, uint64_t length, unsigned flags)
{
    uint64_t value = length << 2 | flags;
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(value >> 8 * i);
}

static int divide_once(size_t count, int damage)
{
    uint8_t *ranges = malloc(8 * count + 1);
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        size_t length = 1 + (size_t)rand() % 400;
        write_range(ranges + 8 * i, length, (unsigned)rand() % 4);
        size += length;
    }
    /* one call of rand in a statement: compilers choose the order of others */
    if (damage && count > 0) {
        uint8_t *victim = ranges + 8 * ((size_t)rand() % count);
        write_range(victim, (uint64_t)rand() << 31, 1);
    }
    division_t d = {.content = rand() % 2};
    d.length = (uint64_t)rand();
    d.length <<= rand() % 31;
    int fits = measure(&d, ranges, count, size);
    if (fits) {
        uint8_t *buffer = malloc(size + 1);
        output_t out = {malloc(d.skeleton_size + 1), malloc(8 * d.end_count + 1), malloc(d.layout_size + 1)};
        uint8_t *exact = realloc(buffer, size ? size : 1);
        for (size_t i = 0; i < size; i++)
            exact[i] = (uint8_t)(i * 7 + i / 251);
        size_t kept = perform(&d, exact, 0, ranges, count, out);
        fits = kept + d.skeleton_size == size;
        digest(exact, kept);
        digest(out.skeleton, d.skeleton_size);
        digest(out.layout, d.layout_size);
        for (size_t i = 0; i < d.end_count; i++) {
            uint64_t end;
            memcpy(&end, out.ends + 8 * i, sizeof end);
            digest_number(end);
        }
        digest_number(d.length);
        free(exact);
        free(out.skeleton);
        free(out.ends);
        free(out.layout);
    }
    free(ranges);
    return damage ? 1 : fits;
}

/* Walk pairs of good layouts, cut and damaged ones, in memory of exactly their size. */
static int walk_once(int damage)
{
    uint8_t written[40 * 10];
    size_t size = 0, numbers = (size_t)rand() % 40, cut = 0;
    uint64_t sums[2] = {0, 0};
    for (size_t i = 0; i < numbers; i++) {
        uint64_t value = 1 + ((uint64_t)rand() << rand() % 25);
        size += put_varint(written + size, value);
        sums[i % 2] += value;
    }
    if (damage && size > 0) {
        cut = (size_t)rand() % size;
        size -= cut;
        written[(size_t)rand() % (size + 1)] ^= (uint8_t)rand();
    }
    uint8_t *exact = malloc(size + !size);
    memcpy(exact, written, size);
    size_t least = (size_t)rand() % (size + 2);
    int ended = rand() % 2;
    pairs_t walk;
    int found = walk_pairs(&walk, exact, size, least, 1, ended, NULL);
    digest_number((uint64_t)(found + 1));
    if (found > 0) {
        uint8_t *out = malloc(8 * walk.count + 1);
        pairs_t again;
        found = walk_pairs(&again, exact, walk.end, walk.end, 1, 1, out) == 1 && again.count == walk.count;
        digest_number(walk.end);
        digest_number(walk.sums[0]);
        digest_number(walk.sums[1]);
        if (!damage && walk.end == size)
            found = found && walk.sums[0] == sums[0] && walk.sums[1] == sums[1];
        free(out);
    }
    free(exact);
    return damage || found >= 0;
}

int main(void)
{
    srand(1);
    for (int i = 0; i < 20000; i++)
        if (!walk_once(i % 2)) {
            fprintf(stderr, "walk %d went wrong\n", i);
            return 1;
        }
    for (int i = 0; i < 20000; i++)
        if (!divide_once((size_t)rand() % 30, i % 4 == 3)) {
            fprintf(stderr, "round %d went wrong\n", i);
            return 1;
        }
    print_digest();
    return 0;
}
