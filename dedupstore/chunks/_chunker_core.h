/* Where chunks end: two rolling hashes and the normalised thresholds of FastCDC, in plain C without Python.
 *
 *     narrow: h_i = sum over k = 0..31 of gear[byte i-k] << k, modulo 2^32: a window of 32 bytes, since older ones
 *     are shifted out.
 *     wide: h_i = sum over k = 0..1023 of gear[byte i-k] * MULTIPLIER^k, modulo 2^32: for bytes such as headers,
 *     of which 32 are the same again and again, so that luck with the key would decide about thousands of cuts.
 *
 * A chunk ends at the smallest length L, minimum <= L <= maximum, where the hash of its last byte is below `strict`
 * (L < average) or `loose` (L >= average), or where L is the maximum.
 *
 * Source: Xia et al., "FastCDC", USENIX ATC 2016 and IEEE TPDS 2020 (gear, cut-point skipping, normalisation 2); the
 * wide hash is that of Karp and Rabin, "Efficient randomized pattern-matching algorithms", 1987.
 *
 * Invariant: chunk_length and chunk_length_scalar give the same answer for the same bytes on every machine.
 * The vector code only ever says "no chunk ends in these bytes"; every cut is found by the scalar code.  As
 * minimum >= 64, the window never reaches outside the chunk, so the hash may start in its middle.
 */
#ifndef DEDUPSTORE_CHUNKER_CORE_H
#define DEDUPSTORE_CHUNKER_CORE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#define CHUNKER_AVX512
#include <immintrin.h>
#endif

enum {
    WINDOW = 32, /* bytes that a hash depends on */
    GEAR_BYTES = 1024,
    SMALLEST_MINIMUM = 64,
    SMALLEST_AVERAGE = 256,
    LARGEST_MAXIMUM = 1 << 21,
    WIDE_WINDOW = 1024,
    MULTIPLIER = 5, /* of the wide hash: odd, so that no byte is shifted out; one instruction */
};

typedef struct {
    uint32_t gear[256];
    size_t minimum, average, maximum; /* bytes */
    uint32_t strict, loose;
    uint32_t leaving[256]; /* what a byte of the wide hash has become when it leaves the window */
} chunker_t;

/* Fill *c; `gear` is GEAR_BYTES long, little-endian.  Returns 0, and fills nothing, if the sizes are refused. */
static int chunker_init(chunker_t *c, const uint8_t *gear, ptrdiff_t minimum, ptrdiff_t average, ptrdiff_t maximum)
{
    if (minimum < SMALLEST_MINIMUM || minimum >= average || average >= maximum || maximum > LARGEST_MAXIMUM ||
        average < SMALLEST_AVERAGE || (average & (average - 1)) != 0)
        return 0;
    uint32_t power = 1; /* MULTIPLIER^WIDE_WINDOW */
    for (int k = 0; k < WIDE_WINDOW; k++)
        power *= MULTIPLIER;
    for (int i = 0; i < 256; i++, gear += 4) {
        c->gear[i] = (uint32_t)gear[0] | (uint32_t)gear[1] << 8 | (uint32_t)gear[2] << 16 | (uint32_t)gear[3] << 24;
        c->leaving[i] = c->gear[i] * power;
    }
    c->minimum = (size_t)minimum;
    c->average = (size_t)average;
    c->maximum = (size_t)maximum;
    c->strict = (uint32_t)((UINT64_C(1) << 32) / (c->average * 4));
    c->loose = (uint32_t)((UINT64_C(1) << 32) / (c->average / 4));
    return 1;
}

/* The hash of the window that ends before p[i]; i >= WINDOW. */
static uint32_t hash_before(const chunker_t *c, const uint8_t *p, size_t i)
{
    uint32_t hash = 0;

    for (size_t k = i - WINDOW; k < i; k++)
        hash = (hash << 1) + c->gear[p[k]];
    return hash;
}

/* The first i in [from, to) whose hash is below the threshold, or `to`; *hash is that before p[from] and moves on.
 *
 * This loop is the speed of every machine without the vector code.  It is bound by instructions per byte, so it
 * is unrolled by hand, and kept out of its caller, where GCC 12 makes it 40 % slower. */
#ifdef __GNUC__
__attribute__((noinline))
#endif
static size_t first_below(const uint32_t *gear, const uint8_t *p, size_t from, size_t to, uint32_t threshold,
                          uint32_t *hash)
{
    uint32_t h = *hash;
    size_t i = from;

#define STEP(k)                          \
    h = (h << 1) + gear[p[i + (k)]];     \
    if (h < threshold)                   \
        return i + (k);
    for (; to - i >= 8; i += 8) {
        STEP(0) STEP(1) STEP(2) STEP(3) STEP(4) STEP(5) STEP(6) STEP(7)
    }
    for (; i < to; i++) {
        STEP(0)
    }
#undef STEP
    *hash = h;
    return to;
}

/* The length of the chunk at p, of which `size` bytes are there, known not to be shorter than `shortest`
 * (>= minimum).  0 if more bytes are needed to tell. */
static size_t chunk_length_from(const chunker_t *c, const uint8_t *p, size_t size, size_t shortest)
{
    size_t end = size < c->maximum ? size : c->maximum;

    if (shortest <= end) {
        size_t at = shortest - 1; /* where the last byte of a chunk may be */
        uint32_t hash = hash_before(c, p, at);
        size_t middle = end < c->average ? end : c->average - 1;

        if (at < middle) {
            at = first_below(c->gear, p, at, middle, c->strict, &hash);
            if (at < middle)
                return at + 1;
        }
        at = first_below(c->gear, p, at, end, c->loose, &hash);
        if (at < end)
            return at + 1;
    }
    return end == c->maximum ? end : 0;
}

static size_t chunk_length_scalar(const chunker_t *c, const uint8_t *p, size_t size)
{
    return chunk_length_from(c, p, size, c->minimum);
}

#ifdef CHUNKER_AVX512

enum { LANES = 16, BLOCK = LANES * WINDOW };

/* table[x & 63] for 16 numbers at once; `bit5` says where bit 5 of x is set. */
__attribute__((target("avx512f"), always_inline)) static inline __m512i look_up_64(const __m512i table[4], __m512i x,
                                                                                   __mmask16 bit5)
{
    return _mm512_mask_blend_epi32(bit5, _mm512_permutex2var_epi32(table[0], x, table[1]),
                                   _mm512_permutex2var_epi32(table[2], x, table[3]));
}

/* table[x & 255] for 16 numbers at once.  The whole table lies in 16 registers, of which one instruction can
 * search two; loads from memory, gathered or one by one, were slower. */
__attribute__((target("avx512f"), always_inline)) static inline __m512i look_up(const __m512i table[16], __m512i x)
{
    const __mmask16 bit5 = _mm512_test_epi32_mask(x, _mm512_set1_epi32(1 << 5));
    const __mmask16 bit6 = _mm512_test_epi32_mask(x, _mm512_set1_epi32(1 << 6));
    const __mmask16 bit7 = _mm512_test_epi32_mask(x, _mm512_set1_epi32(1 << 7));
    const __m512i low = _mm512_mask_blend_epi32(bit6, look_up_64(table, x, bit5), look_up_64(table + 4, x, bit5));
    const __m512i high = _mm512_mask_blend_epi32(bit6, look_up_64(table + 8, x, bit5), look_up_64(table + 12, x, bit5));

    return _mm512_mask_blend_epi32(bit7, low, high);
}

/* A length >= `length` such that no chunk ends at [length, result), going on while whole blocks are left before
 * `end`.  `length` is a multiple of WINDOW, and >= SMALLEST_MINIMUM.
 *
 * A block is 16 rows of 32 bytes, one row to a lane.  All lanes first hash their own rows, from 0; then each adds
 * what the row above it has left in the window, its last hash, shifted on.  The average is a multiple of 32, so
 * a row has one threshold. */
__attribute__((target("avx512f"))) static size_t skip_rows(const chunker_t *c, const uint8_t *p, size_t length,
                                                           size_t end)
{
    if (length + BLOCK - 1 > end)
        return length;

    __m512i table[16];
    __m512i above = _mm512_set1_epi32((int)hash_before(c, p, length - 1));
    for (int i = 0; i < 16; i++)
        table[i] = _mm512_loadu_si512(c->gear + 16 * i);
    for (; length + BLOCK - 1 <= end; length += BLOCK) {
        uint32_t columns[WINDOW / 4][LANES]; /* four bytes of each row beside each other */
        __m512i own[WINDOW];
        __m512i hash = _mm512_setzero_si512();

        for (int row = 0; row < LANES; row++)
            for (int i = 0; i < WINDOW / 4; i++)
                memcpy(&columns[i][row], p + length - 1 + WINDOW * row + 4 * i, 4);
        for (int i = 0; i < WINDOW / 4; i++) {
            __m512i bytes = _mm512_loadu_si512(columns[i]);
            for (int k = 0; k < 4; k++) {
                hash = _mm512_add_epi32(_mm512_add_epi32(hash, hash), look_up(table, bytes));
                own[4 * i + k] = hash;
                bytes = _mm512_srli_epi32(bytes, 8);
            }
        }

        __m512i left = _mm512_alignr_epi32(hash, above, LANES - 1);
        __m512i least = _mm512_set1_epi32(-1);
        for (int i = 0; i < WINDOW; i++) {
            left = _mm512_add_epi32(left, left);
            least = _mm512_min_epu32(least, _mm512_add_epi32(own[i], left));
        }
        above = hash;

        size_t below_average = length < c->average ? (c->average - length) / WINDOW : 0;
        __mmask16 strict_rows = below_average < LANES ? (__mmask16)((1U << below_average) - 1) : 0xFFFF;
        __m512i threshold = _mm512_mask_blend_epi32(strict_rows, _mm512_set1_epi32((int)c->loose),
                                                    _mm512_set1_epi32((int)c->strict));
        unsigned ending = _mm512_cmplt_epu32_mask(least, threshold);
        if (ending != 0)
            return length + WINDOW * (size_t)__builtin_ctz(ending);
    }
    return length;
}

#endif

/* The length of the chunk at p, of which `size` bytes are there; 0 if more bytes are needed to tell. */
static size_t chunk_length(const chunker_t *c, const uint8_t *p, size_t size)
{
    size_t shortest = c->minimum;

#ifdef CHUNKER_AVX512
    if (__builtin_cpu_supports("avx512f")) {
        size_t end = size < c->maximum ? size : c->maximum;
        size_t length = skip_rows(c, p, shortest / WINDOW * WINDOW, end);
        shortest = length > shortest ? length : shortest;
    }
#endif
    return chunk_length_from(c, p, size, shortest);
}

/* The first i in [from, to) whose wide hash is below the threshold, or `to`; from >= WIDE_WINDOW; *hash is that before
 * p[from] and moves on.
 *
 * Two bytes at a time: only every second sum waits for the one before. */
static size_t first_below_wide(const chunker_t *c, const uint8_t *p, size_t from, size_t to, uint32_t threshold,
                               uint32_t *hash)
{
    uint32_t h = *hash;
    size_t i = from;

#define NEW(k) (c->gear[p[i + (k)]] - c->leaving[p[i + (k)-WIDE_WINDOW]])
#define STEP(k)                                           \
    own = NEW(k);                                         \
    if (h * MULTIPLIER + own < threshold)                 \
        return i + (k);                                   \
    own = own * MULTIPLIER + NEW((k) + 1);                \
    h = h * MULTIPLIER * MULTIPLIER + own;                \
    if (h < threshold)                                    \
        return i + (k) + 1;
    for (; to - i >= 8; i += 8) {
        uint32_t own;
        STEP(0) STEP(2) STEP(4) STEP(6)
    }
    for (; i < to; i++) {
        h = h * MULTIPLIER + NEW(0);
        if (h < threshold)
            return i;
    }
#undef STEP
#undef NEW
    *hash = h;
    return to;
}

/* As chunk_length, by the wide hash; the minimum is above WIDE_WINDOW. */
static size_t chunk_length_wide(const chunker_t *c, const uint8_t *p, size_t size)
{
    size_t end = size < c->maximum ? size : c->maximum;

    if (c->minimum <= end) {
        size_t at = c->minimum - 1; /* where the last byte of a chunk may be */
        size_t middle = end < c->average ? end : c->average - 1;
        uint32_t hash = 0;

        for (size_t k = at - WIDE_WINDOW; k < at; k++)
            hash = hash * MULTIPLIER + c->gear[p[k]];
        at = first_below_wide(c, p, at, middle, c->strict, &hash);
        if (at < middle)
            return at + 1;
        at = first_below_wide(c, p, at, end, c->loose, &hash);
        if (at < end)
            return at + 1;
    }
    return end == c->maximum ? end : 0;
}

#endif
