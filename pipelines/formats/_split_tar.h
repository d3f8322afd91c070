/* Walks a tar as it streams by, in plain C without Python: v7, ustar, pax and GNU, with their sparse files.
 *
 * A tar is blocks of 512 bytes: each member is a header and data filled up with zeros; two blocks of zeros end it.
 * The data of members of SMALLEST_CONTENT bytes or more are content, without what fills the last block; headers,
 * pax records, over-long names and the maps of sparse files are skeleton.
 * Sources: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Header Block"; GNU tar manual, "Basic Tar Format"
 * and "Storing Sparse Files".
 *
 * Invariants: the answer does not depend on where buffers end; nothing is allocated, whatever lengths the tar claims;
 * the walk stops after the first header that makes no sense, and all behind it is content.
 */
#ifndef PIPELINES_SPLIT_TAR_H
#define PIPELINES_SPLIT_TAR_H

#include "_split_tar_records.h"

/* What the next byte belongs to.  The last is content, IN_MEMBER may be either; the rest is skeleton. */
typedef enum {
    AT_HEADER,
    IN_MORE_MAP, /* further blocks of a GNU sparse file's map */
    IN_RECORDS,
    IN_MAP,
    IN_MEMBER, /* its data */
    IN_FILLER,
    IN_ZEROS, /* behind the end */
    TAR_UNPARSED,
} tar_state_t;

/* All zeros at the beginning of a stream. */
typedef struct {
    uint64_t position; /* in the stream, of the next buffer's first byte */
    uint64_t unparsed; /* where it gave up */
    uint64_t members;
    uint64_t left;     /* bytes to come of this member's data or this filler */
    tar_state_t state;
    unsigned data_kind;
    uint16_t filler;   /* bytes behind the data */
    uint16_t held;     /* bytes in `block` */
    uint8_t zero_blocks, complete;

    tar_said_t of_all, of_next; /* members */
    tar_said_t *records_of;     /* one of these */
    tar_records_t records;
    tar_map_t map;
    uint8_t block[BLOCK]; /* a header that lies in two buffers */
    char reason[REASON];
} tar_t;

static void next_header(tar_t *t)
{
    t->state = t->filler != 0 ? IN_FILLER : AT_HEADER;
    t->left = t->filler;
    t->filler = 0;
}

/* The next `size` bytes are data. */
static void begin_member_data(tar_t *t, uint64_t size, int is_skeleton)
{
    t->data_kind = !is_skeleton && size >= SMALLEST_CONTENT ? CONTENT : SKELETON;
    t->left = size;
    if (size != 0)
        t->state = IN_MEMBER;
    else
        next_header(t);
}

static void begin_file(tar_t *t, uint64_t size)
{
    if (t->of_next.has_map && size >= SMALLEST_CONTENT) {
        memset(&t->map, 0, sizeof t->map);
        t->state = IN_MAP;
        t->left = size;
    } else {
        begin_member_data(t, size, 0);
    }
    memset(&t->of_next, 0, sizeof t->of_next);
}

/* A header, of this type, that says something of other members: a name or pax records. */
static void begin_extension(tar_t *t, uint8_t type, uint64_t size)
{
    t->filler = (uint16_t)(-size % BLOCK);
    begin_member_data(t, size, 1);
    if (type == 'L' || type == 'K' || size == 0)
        return;
    memset(&t->records, 0, sizeof t->records);
    t->records_of = type == 'g' ? &t->of_all : &t->of_next;
    t->state = IN_RECORDS;
}

static void on_header(tar_t *t, const uint8_t *header)
{
    uint8_t type = header[156];
    uint64_t size;

    if (is_zero(header, BLOCK)) {
        t->state = AT_HEADER;
        if (++t->zero_blocks == 2) {
            t->complete = 1;
            t->state = IN_ZEROS;
        }
        return;
    }
    t->zero_blocks = 0;
    if (!checksum_fits(header)) {
        nonsense(t->reason, "a member's header has a wrong checksum");
        return;
    }
    if (!member_size(header + 124, &size)) {
        nonsense(t->reason, "a member's size is no number, negative or too large");
        return;
    }
    if (memchr("xXgLK", type, 5) != NULL) { /* X is Solaris's x */
        begin_extension(t, type, size);
        return;
    }
    t->members++;
    if (type >= '1' && type <= '6') /* links, devices, folders, pipes: no data, whatever the size says */
        size = 0;
    else if (t->of_next.sized)
        size = t->of_next.size;
    else if (t->of_all.sized)
        size = t->of_all.size;
    t->filler = (uint16_t)(-size % BLOCK);
    if (type == 'D' || type == 'N' || type == 'V') { /* GNU: names in a folder, long names of old, the tar's label */
        memset(&t->of_next, 0, sizeof t->of_next);
        begin_member_data(t, size, 1);
    } else if (type == 'S' && header[482] != 0) {
        t->left = size;
        t->state = IN_MORE_MAP;
    } else {
        begin_file(t, size);
    }
}

/* Take a whole block: a header, or one of a map that ends unless it says otherwise. */
static void on_block(tar_t *t, const uint8_t *block)
{
    if (t->state == AT_HEADER)
        on_header(t, block);
    else if (block[504] == 0)
        begin_file(t, t->left);
}

/* Take one step from p, of which `size` > 0 bytes are there; the bytes taken, all of them skeleton. */
static size_t tar_step(tar_t *t, const uint8_t *p, size_t size)
{
    size_t count = 0;

    switch (t->state) {
    case AT_HEADER:
    case IN_MORE_MAP:
        if (t->held == 0 && size >= BLOCK) {
            on_block(t, p);
            return BLOCK;
        }
        count = lesser((uint64_t)BLOCK - t->held, size);
        memcpy(t->block + t->held, p, count);
        t->held = (uint16_t)(t->held + count);
        if (t->held == BLOCK) {
            t->held = 0;
            on_block(t, t->block);
        }
        return count;
    case IN_RECORDS:
        for (count = 0; count < size && t->left != 0; t->left--)
            on_record_byte(&t->records, t->records_of, p[count++]);
        if (t->left == 0)
            next_header(t);
        return count;
    case IN_MAP:
        while (count < size && t->left != 0) {
            t->left--;
            if (!on_map_byte(&t->map, p[count++])) {
                begin_member_data(t, t->left, 0);
                return count;
            }
        }
        if (t->left == 0)
            next_header(t);
        return count;
    default: /* IN_FILLER */
        count = lesser(t->left, size);
        t->left -= count;
        if (t->left == 0)
            next_header(t);
        return count;
    }
}

static void tar_give_up(tar_t *t, uint64_t at)
{
    t->state = TAR_UNPARSED;
    t->unparsed = at;
}

/* Walk the stream's next `size` bytes and add the ranges that cover them. */
static void tar_split(tar_t *t, const uint8_t *data, size_t size, column_t *ranges)
{
    size_t at = 0, covered = 0;

    while (at < size) {
        if (t->state == TAR_UNPARSED) {
            add_range(ranges, at - covered, SKELETON);
            add_range(ranges, size - at, CONTENT);
            at = covered = size;
        } else if (t->state == IN_ZEROS) {
            while (size - at >= BLOCK && is_zero(data + at, BLOCK))
                at += BLOCK;
            while (at < size && data[at] == 0)
                at++;
            if (at < size) {
                nonsense(t->reason, "there is more than zeros behind its end");
                tar_give_up(t, t->position + at);
            }
        } else if (t->state == IN_MEMBER) {
            size_t count = lesser(t->left, size - at);
            t->left -= count;
            if (t->data_kind == CONTENT) {
                add_range(ranges, at - covered, SKELETON);
                add_range(ranges, count, t->left == 0 ? CONTENT | ENDS : CONTENT);
                covered = at + count;
            }
            at += count;
            if (t->left == 0)
                next_header(t);
        } else {
            at += tar_step(t, data + at, size - at);
            if (t->reason[0] != 0)
                tar_give_up(t, t->position + at);
        }
    }
    add_range(ranges, at - covered, SKELETON);
    t->position += size;
}

/* The stream has ended; say so in `reason` if the tar has not. */
static void tar_end(tar_t *t)
{
    if (!t->complete && t->reason[0] == 0)
        nonsense(t->reason, t->state == AT_HEADER && t->held == 0 ? "it has no two blocks of zeros at its end"
                                                                  : "it stops within a member");
}

#endif
