/* Runs the checks on files and on damaged copies of them, the same in every run; any C compiler will do.
 *
 *     driver ROUNDS FILE...
 */
#include "../digest.h"
#include "checks.h"

enum { LARGEST = 16384 };

static uint64_t state = UINT64_C(0x9E3779B97F4A7C15);

/* xorshift64: the same numbers in every run */
static size_t random_below(size_t bound)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (size_t)(state >> 32) % bound;
}

static size_t damage(uint8_t *data, size_t size)
{
    for (size_t changes = 1 + random_below(4); changes != 0 && size != 0; changes--) {
        size_t at = random_below(2) == 0 ? random_below(size) : random_below(size < 700 ? size : 700);
        size_t count = 1 + random_below(40);
        count = count < size - at ? count : size - at;
        switch (random_below(4)) {
        case 0:
            data[at] = (uint8_t)random_below(256);
            break;
        case 1:
            data[at] = "\x7e\xff\x80" "fhtA01xgLS"[random_below(13)];
            break;
        case 2:
            memmove(data + at, data + at + count, size - at - count);
            size -= count;
            break;
        default:
            memmove(data + at, data + random_below(size - count + 1), count);
        }
    }
    return size;
}

int main(int argc, char **argv)
{
    static uint8_t original[LARGEST], data[LARGEST];
    long rounds = argc > 2 ? strtol(argv[1], NULL, 10) : 0;

    for (int i = 2; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        check(file != NULL, "cannot open a file");
        size_t size = fread(original, 1, LARGEST, file);
        fclose(file);
        for (long round = 0; round < rounds; round++) {
            memcpy(data, original, size);
            size_t left = round != 0 ? damage(data, size) : size;
            check_afs(data, left);
            check_succeed(data, left);
            if (round % 8 != 0)
                fit_checksums(data, left, (unsigned)round);
            check_tar(data, left);
        }
    }
    print_digest();
    return 0;
}
