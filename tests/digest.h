/* What the drivers found, as one number that is the same on every machine: they print it, and tests compare it.
 *
 * FNV-1a of 64 bits (draft-eastlake-fnv): any difference changes it, but for one in 2^64.
 */
#ifndef TESTS_DIGEST_H
#define TESTS_DIGEST_H

#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

static uint64_t digested = UINT64_C(0xCBF29CE484222325);

static inline void digest(const uint8_t *p, size_t size)
{
    for (size_t i = 0; i < size; i++)
        digested = (digested ^ p[i]) * UINT64_C(0x100000001B3);
}

static inline void digest_number(uint64_t value)
{
    for (int i = 0; i < 8; i++) {
        uint8_t byte = (uint8_t)(value >> 8 * i);
        digest(&byte, 1);
    }
}

static inline void print_digest(void)
{
    printf("%016" PRIx64 "\n", digested);
}

#endif
