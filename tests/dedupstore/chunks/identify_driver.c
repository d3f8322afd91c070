/* Compares the ids of many chunks with the BLAKE3 team's own hash of each, in buffers of exactly their size.
 *
 *     identify_driver [ROUNDS]
 */
#include <stdio.h>
#include <stdlib.h>

#include "../../digest.h"
#include "_identify_core.h"
#include "blake3.h"

/* Sizes around the edges of blocks, leaves and lanes, and the largest. */
static size_t some_size(int kind)
{
    static const size_t edges[] = {0, 64, 1024, 2048, 3072, 8192, 16384, 17408, 65536};
    size_t edge = edges[(size_t)rand() % (sizeof edges / sizeof *edges)];
    if (kind == 0)
        return edge + (size_t)rand() % 3;
    if (kind == 1)
        return (size_t)LARGEST - (size_t)rand() % 3;
    return (size_t)rand() % 40000;
}

static int compare(size_t count, int kind)
{
    uint8_t *starts = malloc(8 * count + 1), *ends = malloc(8 * count + 1), *ids = malloc(ID_SIZE * count + 1);
    uint8_t key[BLAKE3_KEY_LEN];
    uint64_t at = 0;
    for (size_t i = 0; i < count; i++) {
        at += i % 3 == 2 ? (uint64_t)rand() % 5 : 0; /* chunks need not follow each other */
        memcpy(starts + 8 * i, &at, 8);
        at += some_size(kind);
        memcpy(ends + 8 * i, &at, 8);
    }
    uint8_t *data = malloc(at ? at : 1);
    for (uint64_t i = 0; i < at; i++)
        data[i] = (uint8_t)(rand() >> 7);
    for (size_t i = 0; i < sizeof key; i++)
        key[i] = (uint8_t)rand();
    chunks_t chunks = {.data = data, .starts = starts, .ends = ends};
    load_key_words(key, chunks.key);
    int right = are_chunks(&chunks, count, at) && (at == 0 || !are_chunks(&chunks, count, at - 1));
    work_t *work = malloc(sizeof *work);
    identify_chunks(&chunks, count, work, ids);
    for (size_t i = 0; i < count && right; i++) {
        uint8_t id[ID_SIZE];
        blake3_hasher hasher;
        blake3_hasher_init_keyed(&hasher, key);
        blake3_hasher_update(&hasher, data + offset_at(starts, i), size_of(&chunks, i));
        blake3_hasher_finalize(&hasher, id, sizeof id);
        right = memcmp(id, ids + ID_SIZE * i, sizeof id) == 0;
    }
    digest(ids, ID_SIZE * count);
    free(work);
    free(data);
    free(ids);
    free(ends);
    free(starts);
    return right;
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 150;
    srand(1);
    for (int i = 0; i < rounds; i++) {
        int kind = i % 10 == 9 ? 1 : i % 2 ? 2 : 0;
        if (!compare(1 + (size_t)rand() % (kind == 1 ? 9 : 70), kind)) {
            fprintf(stderr, "round %d went wrong\n", i);
            return 1;
        }
    }
    print_digest();
    return 0;
}
