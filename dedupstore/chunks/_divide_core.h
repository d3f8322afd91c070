/* The division itself, without Python: two passes, one that measures and checks, one that moves bytes; and the pairs
 * of a layout, read back likewise. */
#ifndef DIVIDE_CORE_H
#define DIVIDE_CORE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    int content;     /* what the layout's open number counts */
    uint64_t length; /* that number */
    size_t skeleton_size;
    size_t end_count;
    size_t layout_size;
} division_t;

typedef struct {
    uint8_t *skeleton;
    uint8_t *ends;
    uint8_t *layout;
} output_t;

typedef struct {
    size_t length;
    int content;
    int ends;
} range_t;

static range_t range_at(const uint8_t *ranges, size_t i)
{
    const uint8_t *p = ranges + 8 * i;
    uint64_t value = 0;
    for (int k = 7; k >= 0; k--) /* little-endian, whatever the machine */
        value = value << 8 | p[k];
    return (range_t){(size_t)(value >> 2), (int)(value & 1), (int)(value >> 1 & 1)};
}

/* LEB128; with `out` NULL, return only its size. */
static size_t put_varint(uint8_t *out, uint64_t value)
{
    size_t size = 0;
    do {
        if (out != NULL)
            out[size] = (uint8_t)((value & 127) | (value > 127 ? 128 : 0));
        value >>= 7;
        size++;
    } while (value > 0);
    return size;
}

/* Count a range in the layout; returns how many bytes of it that completes. */
static size_t count_range(int *content, uint64_t *length, range_t range, uint8_t *out)
{
    size_t size = 0;
    if (range.content != *content) {
        size = put_varint(out, *length);
        *content = range.content;
        *length = 0;
    }
    *length += range.length;
    return size;
}

/* Say how much there will be of everything; 0 if the ranges do not cover `size` bytes exactly. */
static int measure(division_t *d, const uint8_t *ranges, size_t count, size_t size)
{
    int content = d->content;
    uint64_t length = d->length;
    size_t left = size;

    d->skeleton_size = d->end_count = d->layout_size = 0;
    for (size_t i = 0; i < count; i++) {
        range_t range = range_at(ranges, i);
        if (range.length == 0 || range.length > left)
            return 0;
        left -= range.length;
        if (!range.content)
            d->skeleton_size += range.length;
        else if (range.ends)
            d->end_count++;
        d->layout_size += count_range(&content, &length, range, NULL);
    }
    return left == 0;
}

/* Move content together from `at` on, and fill the output as measured; returns where the content ends. */
static size_t perform(division_t *d, uint8_t *buffer, size_t at, const uint8_t *ranges, size_t count, output_t out)
{
    size_t kept = at;
    for (size_t i = 0; i < count; i++) {
        range_t range = range_at(ranges, i);
        if (range.content) {
            if (kept != at)
                memmove(buffer + kept, buffer + at, range.length);
            kept += range.length;
            if (range.ends) {
                uint64_t end = kept;
                memcpy(out.ends, &end, sizeof end);
                out.ends += sizeof end;
            }
        } else {
            memcpy(out.skeleton, buffer + at, range.length);
            out.skeleton += range.length;
        }
        at += range.length;
        out.layout += count_range(&d->content, &d->length, range, out.layout);
    }
    return kept;
}

#define NO_NUMBER ((size_t)-1)
#define MOST_SUM ((uint64_t)1 << 63)

/* Read a LEB128 number; returns its size, 0 if it is cut short, NO_NUMBER if it has more than 63 bits or is written
 * too long. */
static size_t get_varint(const uint8_t *p, size_t size, uint64_t *value)
{
    *value = 0;
    for (size_t i = 0; i < 9; i++) {
        if (i == size)
            return 0;
        *value |= (uint64_t)(p[i] & 127) << 7 * i;
        if (p[i] < 128)
            return p[i] == 0 && i > 0 ? NO_NUMBER : i + 1;
    }
    return NO_NUMBER;
}

typedef struct {
    size_t end;       /* where the last pair ends */
    size_t count;     /* numbers up to there */
    uint64_t sums[2]; /* of skeleton and content */
} pairs_t;

/* Walk pairs up to the first that ends at `least` or behind it.  `first`: the layout begins here, only there a number
 * may be 0.  `ended`: it ends behind these bytes, perhaps within a pair.  Returns 1; 0 if that takes more bytes; -1
 * for bytes that are no layout.  The numbers go to `out`, 8 bytes each, unless it is NULL. */
static int walk_pairs(pairs_t *walk, const uint8_t *data, size_t size, size_t least, int first, int ended, uint8_t *out)
{
    size_t at = 0;
    *walk = (pairs_t){0, 0, {0, 0}};
    while (walk->count % 2 || at < least) {
        uint64_t value;
        if (at == size) /* after a whole number */
            break;
        size_t used = get_varint(data + at, size - at, &value);
        if (used == NO_NUMBER || (used > 0 && value == 0 && !(first && at == 0)))
            return -1;
        if (used == 0)
            return ended ? -1 : 0;
        uint64_t *sum = &walk->sums[walk->count % 2];
        if (value >= MOST_SUM - *sum)
            return -1;
        *sum += value;
        if (out != NULL)
            memcpy(out + 8 * walk->count, &value, sizeof value);
        walk->count++;
        at += used;
    }
    walk->end = at;
    return ended || (walk->count % 2 == 0 && at >= least);
}

#endif
