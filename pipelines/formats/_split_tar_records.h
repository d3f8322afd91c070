/* The two texts of a tar that say how long something is, read byte for byte: pax records, and the maps of sparse files.
 *
 * Sources: POSIX.1-2017, pax, "pax Header Block"; GNU tar manual, "PAX Format, Version 1.0" of sparse files.
 */
#ifndef PIPELINES_SPLIT_TAR_RECORDS_H
#define PIPELINES_SPLIT_TAR_RECORDS_H

#include "_split_tar_fields.h"

enum {
    KEYWORD = 24,      /* bytes kept of a record's keyword; those that matter are shorter */
    MOST_DIGITS = 17,  /* of a record's length */
};

#define NUMBER_LIMIT (UINT64_C(1) << 59) /* a number below it can take one more digit */

/* What pax records say of members. */
typedef struct {
    uint64_t size; /* of the data as stored; only if `sized` */
    uint8_t sized;
    uint8_t has_map; /* the data begin with a map: GNU.sparse.major=1 */
} tar_said_t;

/* A record is  "length keyword=value\n", where the length counts all of it. */
typedef struct {
    enum { IN_LENGTH, IN_KEYWORD, IN_VALUE, IN_VAIN } state;
    uint8_t digits, keyword_length;
    uint8_t is_number; /* the value, so far */
    uint64_t left;     /* bytes of the record to come; in its length, the length so far */
    uint64_t value;
    char keyword[KEYWORD];
} tar_records_t;

static void end_record(tar_records_t *r, tar_said_t *said)
{
    if (r->is_number && r->keyword_length == 4 && memcmp(r->keyword, "size", 4) == 0) {
        said->size = r->value;
        said->sized = 1;
    }
    if (r->keyword_length == 16 && memcmp(r->keyword, "GNU.sparse.major", 16) == 0)
        said->has_map = r->is_number && r->value == 1;
    memset(r, 0, sizeof *r);
}

/* Read one byte.  Records that make no sense are passed over, and all behind them: sizes that they had said are then
 * missed, which shows at the next header. */
static void on_record_byte(tar_records_t *r, tar_said_t *said, uint8_t byte)
{
    int digit = byte >= '0' && byte <= '9' ? byte - '0' : -1;

    switch (r->state) {
    case IN_LENGTH:
        if (digit >= 0 && r->digits < MOST_DIGITS) {
            r->left = 10 * r->left + (uint64_t)digit;
            r->digits++;
        } else if (byte == ' ' && r->left > r->digits + 1U) {
            r->left -= r->digits + 1U;
            r->state = IN_KEYWORD;
        } else {
            r->state = IN_VAIN;
        }
        return;
    case IN_KEYWORD:
        r->left--;
        if (byte == '=') {
            r->state = IN_VALUE;
            r->is_number = r->left > 1;
        } else if (r->keyword_length < KEYWORD) {
            r->keyword[r->keyword_length++] = (char)byte;
        }
        if (r->left == 0)
            r->state = IN_VAIN;
        return;
    case IN_VALUE:
        r->left--;
        if (r->left == 0 ? byte != '\n' : digit < 0 || r->value >= NUMBER_LIMIT)
            r->is_number = 0;
        else if (r->left != 0)
            r->value = 10 * r->value + (uint64_t)digit;
        if (r->left == 0)
            end_record(r, said);
        return;
    case IN_VAIN:
        return;
    }
}

/* A map is lines with a decimal number, the first with how many pairs of lines follow; filled up to a block. */
typedef struct {
    uint64_t read, number; /* bytes; the number in this line, so far */
    uint64_t lines;        /* to come, once counted */
    uint8_t counted;
} tar_map_t;

/* Read one byte; 0 if no more belong to the map, as it is over or makes no sense. */
static int on_map_byte(tar_map_t *m, uint8_t byte)
{
    m->read++;
    if (m->counted && m->lines == 0) /* what fills the block */
        return m->read % BLOCK != 0;
    if (byte >= '0' && byte <= '9' && m->number < NUMBER_LIMIT) {
        m->number = 10 * m->number + (uint64_t)(byte - '0');
        return 1;
    }
    if (byte != '\n')
        return 0;
    m->lines = m->counted ? m->lines - 1 : 2 * m->number;
    m->counted = 1;
    m->number = 0;
    return m->lines != 0 || m->read % BLOCK != 0;
}

#endif
