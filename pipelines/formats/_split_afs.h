/* Walks an AFS volume dump as it streams by, in plain C without Python.
 *
 * The data of files (vnode type 1) of SMALLEST_CONTENT bytes or more are content; all else is skeleton.
 *
 * Invariants: the answer does not depend on where buffers end; memory grows by one record for each vnode, whatever
 * lengths the dump claims; the walk stops at the first byte that makes no sense, and all from it on is content.
 */
#ifndef PIPELINES_SPLIT_AFS_H
#define PIPELINES_SPLIT_AFS_H

#include "_split_afs_fields.h"
#include "_split_hash.h"

enum {
    LONGEST_NAME = 255, /* bytes kept; OpenAFS allows 31 */
    VNODE_RECORD = 32,  /* bytes: "<IIIBxxxQQ" */
    WHOLE = 1,
    HAS_DATA = 2,
};

/* What the next byte belongs to.  The last two are content, IN_DATA may be either; the rest is skeleton. */
typedef enum { AT_BEGIN, AT_TAG, IN_NUMBER, IN_TEXT, IN_SKIPPED, IN_DATA, AFTER_END, UNPARSED } afs_state_t;

enum { /* pseudo-tags of numbers that no tag announces, below those of fields */
    LENGTH_OF_LENGTH = 1,
    LENGTH,
    TIMES,
    SECTION_NUMBER,
};

typedef struct {
    uint32_t volume, since, until;                                                 /* of the dump header */
    uint32_t id, uniquifier, type, parent, clone, creation, update, backup, access; /* of the volume header */
    uint8_t name[LONGEST_NAME];
    uint8_t name_length, named;
} afs_facts_t;

/* All zeros at the beginning of a stream. */
typedef struct {
    uint64_t position; /* in the stream, of the next buffer's first byte */
    uint64_t unparsed; /* where it gave up */
    uint64_t end;      /* behind the end mark */
    uint64_t left;     /* bytes of this number, data or skipped field to come */
    uint64_t number;
    afs_state_t state;
    uint8_t section, tag;
    uint8_t critical; /* the tag before was CRITICAL */
    uint8_t closed;   /* `section` has ended, and others that are not known came after it */
    uint8_t data_kind, facts_known, complete;
    afs_facts_t facts;
    struct {
        uint32_t number, unique, data_version;
        uint8_t flags, type;
        uint64_t length, hash;
    } vnode;
    hash_t hash;
    column_t vnodes;
    uint64_t others; /* sections among the vnodes that are not known */
    char reason[REASON];
} afs_t;

static const char *section_name(const afs_t *a)
{
    return a->section == VNODE ? "vnode" : a->section == VOLUME_HEADER ? "volume header" : "dump header";
}

static void expect_number(afs_t *a, uint8_t tag, uint64_t bytes)
{
    a->state = IN_NUMBER;
    a->tag = tag;
    a->number = 0;
    a->left = bytes;
}

static void skip(afs_t *a, uint64_t bytes)
{
    a->state = bytes != 0 ? IN_SKIPPED : AT_TAG;
    a->left = bytes;
}

/* The functions below return 0 where the dump makes no sense, and then `reason` is set. */

static void end_vnode(afs_t *a)
{
    uint8_t *record = column_extend(&a->vnodes, VNODE_RECORD);

    if (record == NULL)
        return;
    put_little_32(record, a->vnode.number);
    put_little_32(record + 4, a->vnode.unique);
    put_little_32(record + 8, a->vnode.data_version);
    put_little_32(record + 12, a->vnode.flags);
    put_little_64(record + 16, a->vnode.length);
    put_little_64(record + 24, a->vnode.hash);
}

static int on_section(afs_t *a, uint8_t tag)
{
    int other = tag > END_MARK; /* it has a length, so that it can be skipped */
    int follows = a->section == DUMP_HEADER ? tag == VOLUME_HEADER : tag == VNODE || tag == END_MARK;

    if (!follows && !other)
        return nonsense(a->reason, "a %s is followed by tag 0x%02x", section_name(a), tag);
    if (other && a->critical)
        return nonsense(a->reason, "after a %s, section 0x%02x is unknown and critical", section_name(a), tag);
    if (a->section == VNODE && !a->closed)
        end_vnode(a);
    if (a->section == VOLUME_HEADER)
        a->facts_known = 1;
    a->critical = 0;
    a->closed = (uint8_t)other;
    if (other) {
        a->others += a->section == VNODE;
        expect_number(a, LENGTH_OF_LENGTH, 1);
        return 1;
    }
    a->section = tag;
    if (tag != VOLUME_HEADER)
        expect_number(a, SECTION_NUMBER, tag == VNODE ? 8 : 4);
    return 1;
}

static int on_tag(afs_t *a, uint8_t tag)
{
    if (tag <= HIGHEST_SECTION_TAG)
        return on_section(a, tag);
    if (a->closed)
        return nonsense(a->reason, "a section that is not known is followed by tag 0x%02x", tag);

    afs_kind_t kind = known_field(a->section, tag);
    int critical = a->critical;
    a->critical = 0;
    a->vnode.flags |= WHOLE;
    switch (kind) {
    case UNKNOWN:
        break;
    case TEXT:
        a->state = IN_TEXT;
        a->tag = tag;
        return 1;
    case WORDS:
        expect_number(a, tag, 2);
        return 1;
    case RIGHTS:
        skip(a, ACCESS_LIST);
        return 1;
    default:
        expect_number(a, tag, kind);
        return 1;
    }
    if (tag == CRITICAL) {
        a->critical = 1;
        return 1;
    }
    if (critical)
        return nonsense(a->reason, "a %s's tag 0x%02x is unknown and critical", section_name(a), tag);
    if (tag > HIGHEST_TAG)
        return nonsense(a->reason, "a %s has the impossible tag 0x%02x", section_name(a), tag);
    if (tag <= HIGHEST_LONG_FIELD)
        expect_number(a, LENGTH_OF_LENGTH, 1);
    else if (tag <= HIGHEST_NUMBER)
        skip(a, 4);
    return 1;
}

/* The data are complete.  Of a second field of data in one vnode volserver takes no notice either. */
static void end_data(afs_t *a)
{
    if ((a->vnode.flags & HAS_DATA) == 0) {
        a->vnode.length = a->hash.total;
        a->vnode.hash = hash_end(&a->hash);
        a->vnode.flags |= HAS_DATA;
    }
    a->state = AT_TAG;
}

static int begin_data(afs_t *a, uint64_t length)
{
    if (length >> 63 != 0)
        return nonsense(a->reason, "a vnode claims data of 2^63 bytes or more");
    a->data_kind = a->vnode.type == 1 && length >= SMALLEST_CONTENT ? CONTENT : SKELETON;
    a->left = length;
    a->state = IN_DATA;
    hash_begin(&a->hash);
    if (length == 0)
        end_data(a);
    return 1;
}

static int on_vnode_number(afs_t *a, uint64_t number)
{
    switch (a->tag) {
    case SECTION_NUMBER:
        memset(&a->vnode, 0, sizeof a->vnode);
        a->vnode.number = (uint32_t)(number >> 32);
        a->vnode.unique = (uint32_t)number;
        break;
    case 't':
        a->vnode.type = (uint8_t)number;
        break;
    case 'v':
        a->vnode.data_version = (uint32_t)number;
        break;
    case 'f':
    case 'h':
        return begin_data(a, number);
    }
    return 1;
}

static int on_header_number(afs_t *a, uint64_t number)
{
    uint32_t value = (uint32_t)number;

    if (a->section == DUMP_HEADER) {
        switch (a->tag) {
        case 'v':
            a->facts.volume = value;
            break;
        case 't':
            if (number % 2 != 0)
                return nonsense(a->reason, "a dump header has an odd number of times, %u", (unsigned)value);
            if (number != 0)
                expect_number(a, TIMES, 8);
            a->facts.since = value; /* how many, until they are here */
            break;
        case TIMES: /* the first pair counts: nobody writes another */
            skip(a, 4 * ((uint64_t)a->facts.since - 2));
            a->facts.since = (uint32_t)(number >> 32);
            a->facts.until = value;
            break;
        }
        return 1;
    }
    switch (a->tag) {
    case 'i': a->facts.id = value; break;
    case 'u': a->facts.uniquifier = value; break;
    case 't': a->facts.type = value; break;
    case 'p': a->facts.parent = value; break;
    case 'c': a->facts.clone = value; break;
    case 'C': a->facts.creation = value; break;
    case 'U': a->facts.update = value; break;
    case 'B': a->facts.backup = value; break;
    case 'A': a->facts.access = value; break;
    case 'W': skip(a, 4 * number); break;
    }
    return 1;
}

static int on_number(afs_t *a)
{
    uint64_t number = a->number;

    a->state = AT_TAG;
    if (a->section == NO_SECTION) { /* the magic number, and a version that nobody looks at */
        if (number >> 32 != DUMP_BEGIN)
            return nonsense(a->reason, "it does not begin as a volume dump");
        a->section = DUMP_HEADER;
        return 1;
    }
    if (a->section == END_MARK) {
        if (number != DUMP_END)
            return nonsense(a->reason, "its end mark is wrong: 0x%08x", (unsigned)number);
        a->complete = 1;
        a->state = AFTER_END;
        return 1;
    }
    if (a->tag == LENGTH_OF_LENGTH) {
        if (number < 0x80)
            skip(a, number);
        else if (number == 0x80) /* it would have to be understood to find its end */
            return nonsense(a->reason, "a %s has a field of a length that is not said", section_name(a));
        else if (number > 0x88)
            return nonsense(a->reason, "a %s has a length that takes %u bytes", section_name(a), (unsigned)number & 0x7F);
        else
            expect_number(a, LENGTH, number & 0x7F);
        return 1;
    }
    if (a->tag == LENGTH) {
        if (number >> 63 != 0)
            return nonsense(a->reason, "a %s's field claims 2^63 bytes or more", section_name(a));
        skip(a, number);
        return 1;
    }
    return a->section == VNODE ? on_vnode_number(a, number) : on_header_number(a, number);
}

/* Keep these bytes of a name, of which the first counts: the dump header's. */
static void keep_name(afs_facts_t *f, const uint8_t *p, size_t size, int ends)
{
    if (f->named)
        return;
    size_t kept = lesser((uint64_t)LONGEST_NAME - f->name_length, size);
    memcpy(f->name + f->name_length, p, kept);
    f->name_length = (uint8_t)(f->name_length + kept);
    f->named = (uint8_t)ends;
}

/* Take one step from p, of which `size` > 0 bytes are there; the bytes taken, or 0 where they make no sense. */
static size_t afs_step(afs_t *a, const uint8_t *p, size_t size)
{
    size_t count = 0;
    const uint8_t *zero;

    switch (a->state) {
    case AT_BEGIN:
        if (p[0] != DUMP_HEADER)
            return nonsense(a->reason, "it does not begin as a volume dump");
        expect_number(a, SECTION_NUMBER, 8);
        return 1;
    case AT_TAG:
        return on_tag(a, p[0]) ? 1 : 0;
    case IN_NUMBER:
        while (count < size && a->left != 0) {
            a->number = a->number << 8 | p[count++];
            a->left--;
        }
        if (a->left == 0 && !on_number(a))
            return count - 1; /* its last byte showed it */
        return count;
    case IN_TEXT:
        zero = memchr(p, 0, size);
        count = zero != NULL ? (size_t)(zero - p) : size;
        if (a->tag == 'n')
            keep_name(&a->facts, p, count, zero != NULL);
        if (zero == NULL)
            return count;
        a->state = AT_TAG;
        return count + 1;
    default: /* IN_SKIPPED */
        count = lesser(a->left, size);
        a->left -= count;
        if (a->left == 0)
            a->state = AT_TAG;
        return count;
    }
}

/* Walk the stream's next `size` bytes and add the ranges that cover them. */
static void afs_split(afs_t *a, const uint8_t *data, size_t size, column_t *ranges)
{
    size_t at = 0, covered = 0;

    while (at < size) {
        if (a->state == AFTER_END || a->state == UNPARSED) {
            add_range(ranges, at - covered, SKELETON);
            add_range(ranges, size - at, CONTENT);
            at = covered = size;
        } else if (a->state == IN_DATA) {
            size_t count = lesser(a->left, size - at);
            hash_more(&a->hash, data + at, count);
            a->left -= count;
            if (a->data_kind == CONTENT) {
                add_range(ranges, at - covered, SKELETON);
                add_range(ranges, count, a->left == 0 ? CONTENT | ENDS : CONTENT);
                covered = at + count;
            }
            at += count;
            if (a->left == 0)
                end_data(a);
        } else {
            at += afs_step(a, data + at, size - at);
            if (a->state == AFTER_END)
                a->end = a->position + at;
            if (a->reason[0] != 0) {
                a->state = UNPARSED;
                a->unparsed = a->position + at;
            }
        }
    }
    add_range(ranges, at - covered, SKELETON);
    a->position += size;
}

/* The stream has ended; say so in `reason` if the dump has not. */
static void afs_end(afs_t *a)
{
    if (a->complete || a->reason[0] != 0)
        return;
    if (a->section == VNODE)
        nonsense(a->reason, "it stops in or after vnode %u.%u, without its end mark", (unsigned)a->vnode.number,
                 (unsigned)a->vnode.unique);
    else if (a->section == END_MARK)
        nonsense(a->reason, "it stops within its end mark");
    else
        nonsense(a->reason, "it stops in or after its %s, without its end mark", section_name(a));
}

#endif
