/* What the splitters write: growable columns, and the ranges that cover a buffer.
 *
 * Invariant: the ranges of a call add up to its bytes, none is empty, and two that follow each other differ in
 * kind, or the first of them ends a piece of content.  Memory that cannot be had sets `failed`, and nothing more
 * is written.
 */
#ifndef PIPELINES_SPLIT_RANGES_H
#define PIPELINES_SPLIT_RANGES_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SMALLEST_CONTENT = 512, /* bytes; what is shorter stays in the skeleton, as a chunk costs about 100 */
    SKELETON = 0,
    CONTENT = 1,
    ENDS = 2,
    REASON = 96, /* bytes of a text that says why a stream could not be parsed, with its zero byte */
};

typedef struct {
    uint8_t *bytes;
    size_t used, capacity;
    int failed;
} column_t;

/* Room for `count` more bytes at the column's end, counted as used; NULL if there is no memory. */
static uint8_t *column_extend(column_t *c, size_t count)
{
    if (c->failed)
        return NULL;
    if (count > c->capacity - c->used) {
        size_t capacity = c->capacity + c->capacity / 2 + count + 4096;
        uint8_t *bytes = capacity > c->capacity ? realloc(c->bytes, capacity) : NULL;
        if (bytes == NULL) {
            c->failed = 1;
            return NULL;
        }
        c->bytes = bytes;
        c->capacity = capacity;
    }
    c->used += count;
    return c->bytes + c->used - count;
}

static void column_free(column_t *c)
{
    free(c->bytes);
    memset(c, 0, sizeof *c);
}

static void put_little_32(uint8_t *p, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(value >> 8 * i);
}

static void put_little_64(uint8_t *p, uint64_t value)
{
    put_little_32(p, (uint32_t)value);
    put_little_32(p + 4, (uint32_t)(value >> 32));
}

static uint32_t little_32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t little_64(const uint8_t *p)
{
    return little_32(p) | (uint64_t)little_32(p + 4) << 32;
}

/* Note that the next `length` bytes are of this kind: SKELETON, CONTENT or CONTENT | ENDS. */
static void add_range(column_t *ranges, uint64_t length, unsigned kind)
{
    if (length == 0)
        return;
    if (ranges->used != 0) {
        uint8_t *last = ranges->bytes + ranges->used - 8;
        uint64_t value = little_64(last);
        if ((value & ENDS) == 0 && (value & CONTENT) == (kind & CONTENT)) {
            put_little_64(last, value + (length << 2 | (kind & ENDS)));
            return;
        }
    }
    uint8_t *item = column_extend(ranges, 8);
    if (item != NULL)
        put_little_64(item, length << 2 | kind);
}

static size_t lesser(uint64_t left, size_t size)
{
    return left < size ? (size_t)left : size;
}

/* Say why a stream makes no sense; 0, so that parsers can return it. */
#ifdef __GNUC__
__attribute__((format(printf, 2, 3)))
#endif
static int nonsense(char reason[REASON], const char *format, ...)
{
    va_list values;

    va_start(values, format);
    vsnprintf(reason, REASON, format, values);
    va_end(values);
    return 0;
}

#endif
