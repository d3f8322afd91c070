/* What became of a volume's vnodes from one dump to the next, from the columns of records that the walk left.
 *
 * Invariant: memory is one copy of the older column at most, and that only if its vnodes are not in the order in
 * which volserver sends them: odd ones ascending (directories), then even ones.
 */
#ifndef PIPELINES_SPLIT_SUCCEED_H
#define PIPELINES_SPLIT_SUCCEED_H

#include "_split_afs.h"

enum { MOST_ALTERED = 100 };

typedef struct {
    uint64_t missing, altered_count;
    uint32_t first_missing[2];
    uint32_t altered[MOST_ALTERED];
} succession_t;

/* Of a record: its numerical order is that of a dump. */
static uint64_t place(const uint8_t *record)
{
    uint64_t number = little_32(record);

    return (number % 2 == 0 ? UINT64_C(1) << 63 : 0) | number >> 1 << 32 | little_32(record + 4);
}

static int compare_places(const void *one, const void *other)
{
    uint64_t a = place(one), b = place(other);

    return a < b ? -1 : a > b;
}

static int in_order(const uint8_t *records, size_t count)
{
    for (size_t i = 1; i < count; i++)
        if (place(records + (i - 1) * VNODE_RECORD) > place(records + i * VNODE_RECORD))
            return 0;
    return 1;
}

/* The first of `count` ordered records whose place is not below `wanted`.  All before `from` are known to be below;
 * the search goes on from there in growing steps, as the answer is mostly near. */
static size_t find_place(const uint8_t *records, size_t count, size_t from, uint64_t wanted)
{
    size_t step = 1, low = from;

    while (step <= count - low && place(records + (low + step - 1) * VNODE_RECORD) < wanted) {
        low += step;
        step *= 2;
    }
    size_t high = step <= count - low ? low + step - 1 : count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (place(records + middle * VNODE_RECORD) < wanted)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void note_successor(succession_t *s, const uint8_t *before, uint8_t *now)
{
    if ((now[12] & WHOLE) == 0) {
        if (before != NULL) {
            memcpy(now + 8, before + 8, VNODE_RECORD - 8);
        } else if (s->missing++ == 0) {
            s->first_missing[0] = little_32(now);
            s->first_missing[1] = little_32(now + 4);
        }
    } else if (before != NULL && (before[12] & now[12] & HAS_DATA) != 0 &&
               memcmp(before + 8, now + 8, 4) == 0 && memcmp(before + 16, now + 16, 16) != 0) {
        if (s->altered_count < MOST_ALTERED)
            s->altered[s->altered_count] = little_32(now);
        s->altered_count++;
    }
}

/* `state` is the younger column and becomes what is known after it.  0 if there is no memory. */
static int succeed_columns(succession_t *s, const uint8_t *parent, size_t parents, uint8_t *state, size_t count)
{
    uint8_t *sorted = NULL;
    uint64_t previous = 0;
    size_t at = 0;

    memset(s, 0, sizeof *s);
    if (!in_order(parent, parents)) {
        sorted = malloc(parents * VNODE_RECORD);
        if (sorted == NULL)
            return 0;
        memcpy(sorted, parent, parents * VNODE_RECORD);
        qsort(sorted, parents, VNODE_RECORD, compare_places);
        parent = sorted;
    }
    for (size_t i = 0; i < count; i++, state += VNODE_RECORD) {
        uint64_t wanted = place(state);
        at = find_place(parent, parents, wanted < previous ? 0 : at, wanted);
        previous = wanted;
        int found = at < parents && place(parent + at * VNODE_RECORD) == wanted;
        note_successor(s, found ? parent + at * VNODE_RECORD : NULL, state);
    }
    free(sorted);
    return 1;
}

#endif
