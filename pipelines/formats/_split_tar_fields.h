/* A tar's header: 512 bytes with fields at fixed places.
 *
 * Sources: POSIX.1-2017, pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format".
 */
#ifndef PIPELINES_SPLIT_TAR_FIELDS_H
#define PIPELINES_SPLIT_TAR_FIELDS_H

#include "_split_ranges.h"

enum { BLOCK = 512 };

static int is_zero(const uint8_t *p, size_t size)
{
    return size == 0 || (p[0] == 0 && memcmp(p, p + 1, size - 1) == 0);
}

/* An octal number: spaces, digits, then a space, a zero byte or the field's end.  Nothing at all is 0. */
static int octal(const uint8_t *p, size_t size, uint64_t *value)
{
    size_t i = 0;

    while (i < size && p[i] == ' ')
        i++;
    for (*value = 0; i < size && p[i] >= '0' && p[i] <= '7'; i++)
        *value = *value << 3 | (uint64_t)(p[i] - '0');
    return i == size || p[i] == ' ' || p[i] == 0;
}

/* A size: octal, or in GNU's way big endian behind a byte 0x80. */
static int member_size(const uint8_t *p, uint64_t *value)
{
    if ((p[0] & 0x80) == 0)
        return octal(p, 12, value);
    for (int i = 0; i < 4; i++)
        if (p[i] != (i == 0 ? 0x80 : 0))
            return 0; /* negative, or beyond 2^64 */
    *value = 0;
    for (int i = 4; i < 12; i++)
        *value = *value << 8 | p[i];
    return *value >> 63 == 0;
}

/* The sum of the header's bytes, its own field taken as spaces; some old programs added up signed bytes. */
static int checksum_fits(const uint8_t *header)
{
    uint32_t sum = 8 * ' ', high = 0;
    uint64_t said;

    for (int i = 0; i < BLOCK; i++) {
        sum += header[i];
        high += header[i] >> 7;
    }
    for (int i = 148; i < 156; i++) {
        sum -= header[i];
        high -= header[i] >> 7;
    }
    return octal(header + 148, 8, &said) && (said == sum || (int64_t)said == (int64_t)sum - 256 * (int64_t)high);
}

#endif
