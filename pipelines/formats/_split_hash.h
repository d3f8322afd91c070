/* XXH64 with seed 0: a fast hash, not a cryptographic one, that takes its bytes in pieces.
 *
 * It tells whether a file's data are still those of another day; who wants two files to look alike can have that.
 * Source: the xxHash specification (doc/xxhash_spec.md of github.com/Cyan4973/xxHash, version 0.2.0).
 *
 * Invariant: the same bytes give the same number on every machine, however they were divided.
 */
#ifndef PIPELINES_SPLIT_HASH_H
#define PIPELINES_SPLIT_HASH_H

#include "_split_ranges.h"

#define PRIME_1 UINT64_C(0x9E3779B185EBCA87)
#define PRIME_2 UINT64_C(0xC2B2AE3D27D4EB4F)
#define PRIME_3 UINT64_C(0x165667B19E3779F9)
#define PRIME_4 UINT64_C(0x85EBCA77C2B2AE63)
#define PRIME_5 UINT64_C(0x27D4EB2F165667C5)

enum { STRIPE = 32 };

typedef struct {
    uint64_t lanes[4];
    uint64_t total;        /* bytes so far */
    uint8_t rest[STRIPE]; /* the last total % STRIPE of them */
} hash_t;

static uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static uint64_t hash_round(uint64_t lane, uint64_t word)
{
    return rotate(lane + word * PRIME_2, 31) * PRIME_1;
}

static void hash_begin(hash_t *h)
{
    h->lanes[0] = PRIME_1 + PRIME_2;
    h->lanes[1] = PRIME_2;
    h->lanes[2] = 0;
    h->lanes[3] = 0 - PRIME_1;
    h->total = 0;
}

static void hash_stripes(hash_t *h, const uint8_t *p, size_t count)
{
    uint64_t a = h->lanes[0], b = h->lanes[1], c = h->lanes[2], d = h->lanes[3];

    for (; count != 0; count--, p += STRIPE) {
        a = hash_round(a, little_64(p));
        b = hash_round(b, little_64(p + 8));
        c = hash_round(c, little_64(p + 16));
        d = hash_round(d, little_64(p + 24));
    }
    h->lanes[0] = a, h->lanes[1] = b, h->lanes[2] = c, h->lanes[3] = d;
}

static void hash_more(hash_t *h, const uint8_t *p, size_t size)
{
    size_t kept = h->total % STRIPE;

    h->total += size;
    if (kept != 0) {
        size_t taken = lesser(STRIPE - kept, size);
        memcpy(h->rest + kept, p, taken);
        p += taken;
        size -= taken;
        if (kept + taken < STRIPE)
            return;
        hash_stripes(h, h->rest, 1);
    }
    hash_stripes(h, p, size / STRIPE);
    if (size % STRIPE != 0)
        memcpy(h->rest, p + size / STRIPE * STRIPE, size % STRIPE);
}

static uint64_t hash_end(const hash_t *h)
{
    const uint8_t *p = h->rest, *end = h->rest + h->total % STRIPE;
    uint64_t hash = PRIME_5;

    if (h->total >= STRIPE) {
        hash = rotate(h->lanes[0], 1) + rotate(h->lanes[1], 7) + rotate(h->lanes[2], 12) + rotate(h->lanes[3], 18);
        for (int i = 0; i < 4; i++)
            hash = (hash ^ hash_round(0, h->lanes[i])) * PRIME_1 + PRIME_4;
    }
    hash += h->total;
    for (; end - p >= 8; p += 8)
        hash = rotate(hash ^ hash_round(0, little_64(p)), 27) * PRIME_1 + PRIME_4;
    if (end - p >= 4) {
        hash = rotate(hash ^ little_32(p) * PRIME_1, 23) * PRIME_2 + PRIME_3;
        p += 4;
    }
    for (; p < end; p++)
        hash = rotate(hash ^ *p * PRIME_5, 11) * PRIME_1;
    hash = (hash ^ hash >> 33) * PRIME_2;
    hash = (hash ^ hash >> 29) * PRIME_3;
    return hash ^ hash >> 32;
}

#endif
