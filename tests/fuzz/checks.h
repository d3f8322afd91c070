/* What must hold for the splitters whatever they are given; any breach ends the program.
 *
 * Every buffer ends where its malloc'ed memory ends, so that a sanitizer sees a read of one byte too many.
 */
#ifndef FUZZ_CHECKS_H
#define FUZZ_CHECKS_H

#include "_split_succeed.h"
#include "_split_tar.h"

static void check(int holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "splitters: %s\n", what);
        abort();
    }
}

static uint8_t *exact_copy(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size != 0 ? size : 1);

    check(copy != NULL, "out of memory");
    if (size != 0)
        memcpy(copy, data, size);
    return copy;
}

/* The ranges cover `size` bytes, and go on in `all` as if they were of one call. */
static void check_ranges(const column_t *ranges, size_t size, column_t *all)
{
    uint64_t sum = 0;

    check(!ranges->failed && ranges->used % 8 == 0, "no ranges");
    for (size_t i = 0; i < ranges->used; i += 8) {
        uint64_t value = little_64(ranges->bytes + i);
        uint64_t before = i != 0 ? little_64(ranges->bytes + i - 8) : ~value & CONTENT;
        check(value >> 2 != 0, "an empty range");
        check((value & (CONTENT | ENDS)) != ENDS, "the skeleton ends");
        check(((value ^ before) & CONTENT) != 0 || (before & ENDS) != 0, "two ranges that are one");
        sum += value >> 2;
        add_range(all, value >> 2, value & (CONTENT | ENDS));
    }
    check(sum == size, "ranges do not cover the buffer");
}

#ifdef TESTS_DIGEST_H
static void digest_end(int state, uint64_t unparsed, const char *reason)
{
    digest_number((uint64_t)state);
    digest_number(unparsed);
    digest((const uint8_t *)reason, strlen(reason));
}
#else /* the fuzzer needs none */
static void digest(const uint8_t *p, size_t size)
{
    (void)p, (void)size;
}

static void digest_end(int state, uint64_t unparsed, const char *reason)
{
    (void)state, (void)unparsed, (void)reason;
}
#endif

typedef void (*split_function)(void *, const uint8_t *, size_t, column_t *);

/* Walk data in pieces of random lengths below `longest`, or in one piece if that is 0. */
static void walk(split_function split, void *walker, const uint8_t *data, size_t size, uint64_t longest, column_t *all)
{
    uint64_t state = UINT64_C(0x9E3779B97F4A7C15) ^ size;
    uint8_t *memory = exact_copy(data, size);
    column_t ranges = {0};

    for (size_t at = 0, count; at < size; at += count) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        count = longest != 0 ? lesser(1 + (state >> 20) % longest, size - at) : size;
        uint8_t *piece = memory + size - count;
        memcpy(piece, data + at, count);
        ranges.used = 0;
        split(walker, piece, count, &ranges);
        check_ranges(&ranges, count, all);
    }
    column_free(&ranges);
    free(memory);
}

static void check_same(const column_t *a, const column_t *b, const char *what)
{
    check(a->used == b->used && (a->used == 0 || memcmp(a->bytes, b->bytes, a->used) == 0), what);
}

static void split_dump(void *walker, const uint8_t *data, size_t size, column_t *ranges)
{
    afs_split(walker, data, size, ranges);
}

static void check_afs(const uint8_t *data, size_t size)
{
    static const uint64_t longest[] = {1, 5, 70, 3000};
    column_t ranges = {0};
    afs_t whole;

    memset(&whole, 0, sizeof whole);
    walk(split_dump, &whole, data, size, 0, &ranges);
    afs_end(&whole);
    check(whole.complete + (whole.reason[0] != 0) == 1, "neither complete nor a reason, or both");
    check(whole.state != UNPARSED || whole.unparsed < size, "gave up behind the end");
    digest(ranges.bytes, ranges.used);
    digest(whole.vnodes.bytes, whole.vnodes.used);
    digest_end(whole.state, whole.unparsed, whole.reason);
    check(whole.vnodes.used <= size / 9 * VNODE_RECORD, "more vnodes than there can be");
    for (int i = 0; i < 4; i++) {
        column_t again = {0};
        afs_t pieces;

        memset(&pieces, 0, sizeof pieces);
        walk(split_dump, &pieces, data, size, longest[i], &again);
        afs_end(&pieces);
        check_same(&ranges, &again, "other ranges with other buffers");
        check_same(&whole.vnodes, &pieces.vnodes, "other vnodes with other buffers");
        check(memcmp(&whole.facts, &pieces.facts, sizeof whole.facts) == 0, "other facts with other buffers");
        check(whole.state == pieces.state && whole.unparsed == pieces.unparsed && whole.end == pieces.end &&
                  strcmp(whole.reason, pieces.reason) == 0,
              "another end with other buffers");
        column_free(&again);
        column_free(&pieces.vnodes);
    }
    column_free(&ranges);
    column_free(&whole.vnodes);
}

static void split_archive(void *walker, const uint8_t *data, size_t size, column_t *ranges)
{
    tar_split(walker, data, size, ranges);
}

static void check_tar(const uint8_t *data, size_t size)
{
    static const uint64_t longest[] = {1, 60, 700, 3000};
    column_t ranges = {0};
    tar_t whole;

    memset(&whole, 0, sizeof whole);
    walk(split_archive, &whole, data, size, 0, &ranges);
    tar_end(&whole);
    check(whole.complete || whole.reason[0] != 0, "neither complete nor a reason");
    digest(ranges.bytes, ranges.used);
    digest_end(whole.state, whole.unparsed, whole.reason);
    check(whole.state != TAR_UNPARSED || whole.unparsed <= size, "gave up behind the end");
    for (int i = 0; i < 4; i++) {
        column_t again = {0};
        tar_t pieces;

        memset(&pieces, 0, sizeof pieces);
        walk(split_archive, &pieces, data, size, longest[i], &again);
        tar_end(&pieces);
        check_same(&ranges, &again, "other ranges with other buffers");
        check(whole.state == pieces.state && whole.unparsed == pieces.unparsed && whole.members == pieces.members &&
                  whole.complete == pieces.complete && strcmp(whole.reason, pieces.reason) == 0,
              "another end with other buffers");
        column_free(&again);
    }
    column_free(&ranges);
}

/* The first half of the records is the parent's.  Few names are left of them, so that some are equal. */
static void check_succeed(const uint8_t *data, size_t size)
{
    size_t count = size / VNODE_RECORD, parents = count / 2;
    uint8_t *records = exact_copy(data, count * VNODE_RECORD);
    uint64_t missing = 0;
    succession_t s;

    for (size_t i = 0; i < count; i++) {
        put_little_32(records + i * VNODE_RECORD, records[i * VNODE_RECORD] & 15);
        put_little_32(records + i * VNODE_RECORD + 4, records[i * VNODE_RECORD + 4] & 1);
    }
    const uint8_t *child = records + parents * VNODE_RECORD;
    uint8_t *parent = exact_copy(records, parents * VNODE_RECORD);
    uint8_t *state = exact_copy(child, (count - parents) * VNODE_RECORD);
    check(succeed_columns(&s, parent, parents, state, count - parents), "out of memory");
    for (size_t i = 0; i < count - parents; i++) {
        const uint8_t *before = child + i * VNODE_RECORD, *now = state + i * VNODE_RECORD;
        int known = 0, taken = 0;
        for (size_t k = 0; k < parents; k++) {
            known |= memcmp(parent + k * VNODE_RECORD, before, 8) == 0;
            taken |= memcmp(parent + k * VNODE_RECORD, now, VNODE_RECORD) == 0;
        }
        int bare = (before[12] & WHOLE) == 0;
        missing += bare && !known;
        check(bare && known ? taken : memcmp(before, now, VNODE_RECORD) == 0, "a wrong successor");
    }
    digest(state, (count - parents) * VNODE_RECORD);
    check(missing == s.missing, "a wrong number of missing vnodes");
    check(s.missing + s.altered_count <= count - parents, "more findings than vnodes");
    free(state);
    free(parent);
    free(records);
}

/* Make most headers' checksums right again after a mutation, or nothing behind them would ever be seen. */
static void fit_checksums(uint8_t *data, size_t size, unsigned seed)
{
    for (size_t at = 0; at + BLOCK <= size; at += BLOCK) {
        uint32_t sum = 8 * ' ';
        char digits[12];

        if (memcmp(data + at + 257, "ustar", 5) != 0 || (seed + at / BLOCK) % 16 == 0)
            continue;
        for (size_t i = 0; i < BLOCK; i++)
            sum += i < 148 || i >= 156 ? data[at + i] : 0;
        snprintf(digits, sizeof digits, "%06o", (unsigned)sum);
        memcpy(data + at + 148, digits, 7);
        data[at + 155] = ' ';
    }
}

#endif
