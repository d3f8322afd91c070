/* The tags of a volume dump: what follows each.
 *
 * A dump is sections, each begun by a tag up to 20: dump header (1), volume header (2), any number of vnodes (3),
 * end mark (4).  A section is fields, each begun by a higher tag, in any order; numbers are big endian.
 * Source: src/volser/dump.h and dumpstuff.c of OpenAFS 1.8 (ReadDumpHeader, ReadVolumeHeader, ReadVnodes,
 * HandleUnknownTag, ReadStandardTagLen); the AFS3 Dump Stream Tag Registry: sections 0x05 to 0x14 are tag, length, value,
 * and lengths have one to nine bytes.
 */
#ifndef PIPELINES_SPLIT_AFS_FIELDS_H
#define PIPELINES_SPLIT_AFS_FIELDS_H

#include <stdint.h>

enum {
    HIGHEST_SECTION_TAG = 20, /* D_MAX */
    ACCESS_LIST = 192,        /* bytes: VAclDiskSize */
    CRITICAL = 0x7E,          /* what follows must be known */
    HIGHEST_LONG_FIELD = 0x60, /* unknown tags up to this one have a length, ... */
    HIGHEST_NUMBER = 0x7A,     /* ... up to this one four bytes, ... */
    HIGHEST_TAG = 0x7F,        /* ... up to this one nothing */
};
#define DUMP_BEGIN UINT64_C(0xB3A11322)
#define DUMP_END UINT64_C(0x3A214B6E)

/* A section's tag stands for the section. */
enum { NO_SECTION = 0, DUMP_HEADER = 1, VOLUME_HEADER = 2, VNODE = 3, END_MARK = 4 };

/* What follows a tag; those that are a number stand for its bytes. */
typedef enum {
    UNKNOWN = 0,
    BYTE = 1,
    SHORT = 2,
    LONG = 4,
    DOUBLE = 8,
    TEXT,  /* up to a zero byte */
    WORDS, /* a short, and as many longs */
    RIGHTS,
} afs_kind_t;

static afs_kind_t known_field(int section, int tag)
{
    if (section == VNODE)
        switch (tag) {
        case 'v': case 'm': case 's': case 'a': case 'o': case 'g': case 'p': case 'f': return LONG;
        case 'l': case 'b': return SHORT;
        case 't': return BYTE;
        case 'h': return DOUBLE;
        case 'A': return RIGHTS;
        default: return UNKNOWN;
        }
    if (section == VOLUME_HEADER)
        switch (tag) {
        case 'i': case 'v': case 'u': case 'p': case 'c': case 'q': case 'm': case 'd': case 'f': case 'a':
        case 'o': case 'C': case 'A': case 'U': case 'E': case 'B': case 'D': case 'Z': case 'V': return LONG;
        case 's': case 'b': case 't': return BYTE;
        case 'n': case 'O': case 'M': return TEXT;
        case 'W': return WORDS;
        default: return UNKNOWN;
        }
    return tag == 'v' ? LONG : tag == 'n' ? TEXT : tag == 't' ? WORDS : UNKNOWN;
}

#endif
