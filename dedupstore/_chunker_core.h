/* Where chunks end: the gear rolling hash, one way that is plainly right.  Stub, to be made fast. */
#ifndef DEDUPSTORE_CHUNKER_CORE_H
#define DEDUPSTORE_CHUNKER_CORE_H
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint32_t gear[256];
    size_t minimum, average, maximum;
    uint32_t strict, loose;
} chunker_t;

enum { GEAR_BYTES = 1024, MINIMUM_FLOOR = 64, AVERAGE_FLOOR = 256, MAXIMUM_CEILING = 2 << 20 };

static int chunker_init(chunker_t *c, const uint8_t *gear, ptrdiff_t minimum, ptrdiff_t average, ptrdiff_t maximum)
{
    if (minimum < MINIMUM_FLOOR || minimum >= average || average >= maximum || maximum > MAXIMUM_CEILING ||
        average < AVERAGE_FLOOR || (average & (average - 1)) != 0)
        return 0;
    for (int i = 0; i < 256; i++)
        c->gear[i] = (uint32_t)gear[4 * i] | (uint32_t)gear[4 * i + 1] << 8 | (uint32_t)gear[4 * i + 2] << 16 |
                     (uint32_t)gear[4 * i + 3] << 24;
    c->minimum = (size_t)minimum;
    c->average = (size_t)average;
    c->maximum = (size_t)maximum;
    c->strict = (uint32_t)((UINT64_C(1) << 32) / (4 * c->average));
    c->loose = (uint32_t)((UINT64_C(1) << 32) / (c->average / 4));
    return 1;
}

static size_t chunk_length_scalar(const chunker_t *c, const uint8_t *p, size_t n)
{
    size_t end = n < c->maximum ? n : c->maximum;
    uint32_t h = 0;
    for (size_t i = 0; i < end; i++) {
        h = (h << 1) + c->gear[p[i]];
        if (i + 1 >= c->minimum && h < (i + 1 < c->average ? c->strict : c->loose))
            return i + 1;
    }
    return end == c->maximum ? end : 0;
}
#define chunk_length_vector chunk_length_scalar
#endif
