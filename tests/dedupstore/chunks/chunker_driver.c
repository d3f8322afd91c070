/* Runs the chunker's C core on many random buffers; test_chunker_sanitized.py compiles it with sanitizers.
 *
 * Every buffer is malloc'ed at its exact size, so a read of one byte too many ends the program.  Checked besides:
 * scalar and vector code agree, every chunk keeps the bounds, and 0 is said only when more bytes are needed.
 */
#include <stdio.h>
#include <stdlib.h>

#include "../../digest.h"
#include "_chunker_core.h"

static uint64_t state = UINT64_C(0x9E3779B97F4A7C15);

/* xorshift64: the same numbers in every run */
static uint32_t random_below(uint32_t bound)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32) % bound;
}

static void fill(uint8_t *p, size_t size)
{
    uint32_t values = random_below(3) == 0 ? 1 + random_below(3) : 256; /* few values: zeros, long repeats */

    for (size_t i = 0; i < size; i++)
        p[i] = (uint8_t)random_below(values);
}

static void check(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "chunker_driver: %s\n", what);
        exit(1);
    }
}

static void check_buffer(const chunker_t *c, const uint8_t *data, size_t size)
{
    size_t start = 0, length;

    do {
        size_t rest = size - start;
        length = chunk_length(c, data + start, rest);
        check(length == chunk_length_scalar(c, data + start, rest), "scalar and vector code differ");
        check(length <= rest && length <= c->maximum, "a chunk is too long");
        check(length == 0 ? rest < c->maximum : length >= c->minimum, "a chunk is too short, or missing");
        digest_number(length);
        start += length;
    } while (length != 0);
}

static void check_wide(const chunker_t *c, const uint8_t *data, size_t size)
{
    size_t start = 0, length;

    do {
        size_t rest = size - start;
        length = chunk_length_wide(c, data + start, rest);
        check(length <= rest && length <= c->maximum, "a chunk by the wide hash is too long");
        check(length == 0 ? rest < c->maximum : length >= c->minimum, "a chunk by the wide hash is too short, or missing");
        start += length;
    } while (length != 0);
}

int main(void)
{
    for (int round = 0; round < 3000; round++) {
        uint8_t *gear = malloc(GEAR_BYTES);
        ptrdiff_t average = (ptrdiff_t)256 << random_below(5);
        ptrdiff_t minimum = 64 + random_below((uint32_t)average - 64);
        ptrdiff_t maximum = average + 1 + random_below(3 * (uint32_t)average);
        size_t size = random_below(round % 2 == 0 ? 2000 : 30000);
        uint8_t *data = malloc(size);
        chunker_t chunker;

        check(gear != NULL && (data != NULL || size == 0), "out of memory");
        for (int i = 0; i < GEAR_BYTES; i++)
            gear[i] = (uint8_t)random_below(256);
        fill(data, size);
        check(chunker_init(&chunker, gear, minimum, average, maximum), "good sizes were refused");
        check(!chunker_init(&chunker, gear, 63, average, maximum), "a minimum of 63 was taken");
        check_buffer(&chunker, data, size);
        if (minimum > WIDE_WINDOW)
            check_wide(&chunker, data, size);
        free(data);
        free(gear);
    }
    print_digest();
    return 0;
}
