/* The grammar of an event's fields, checked sixteen bytes at a time. PROTOCOL: Grammar before hash.
 *
 * The same rules as `cra.reference.grammar`: each function says whether a text has the form, none says why not. */
#ifndef CRA_GRAMMAR_H
#define CRA_GRAMMAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define CRA_UUID_LENGTH 36
#define CRA_HASH_LENGTH 64
/* A time as it is compared: `YYYY-MM-DDTHH:MM:SS.fffffffff`, filled up with zeros. */
#define CRA_TIME_LENGTH 29

typedef enum { CRA_DIALECT_TRACE, CRA_DIALECT_RUST } cra_dialect;

typedef uint8_t cra_bytes16 __attribute__((vector_size(16)));

static inline cra_bytes16 cra_load16(const char *text) {
    cra_bytes16 bytes;
    memcpy(&bytes, text, sizeof bytes);
    return bytes;
}

static inline cra_bytes16 cra_digits16(cra_bytes16 bytes) { return (cra_bytes16)(bytes - '0' <= 9); }
static inline cra_bytes16 cra_hex16(cra_bytes16 bytes) { return cra_digits16(bytes) | (cra_bytes16)(bytes - 'a' <= 5); }

/* 0xff for each byte that is as in `form`, where `0` stands for a decimal digit and `x` for a lower-case hex digit. */
static inline cra_bytes16 cra_form16(const char *text, const char form[17]) {
    cra_bytes16 bytes = cra_load16(text), wanted = cra_load16(form);
    cra_bytes16 decimal = (cra_bytes16)(wanted == '0'), hex = (cra_bytes16)(wanted == 'x');
    return (decimal & cra_digits16(bytes)) | (hex & cra_hex16(bytes)) | (~(decimal | hex) & (cra_bytes16)(bytes == wanted));
}

static inline bool cra_all16(cra_bytes16 mask) {
    uint64_t halves[2];
    memcpy(halves, &mask, sizeof mask);
    return (halves[0] & halves[1]) == UINT64_MAX;
}

/* 36 bytes: 8-4-4-4-12 lower-case hex digits. */
static inline bool cra_is_uuid(const char *text) {
    return cra_all16(cra_form16(text, "xxxxxxxx-xxxx-xx") & cra_form16(text + 16, "xx-xxxx-xxxxxxxx") &
                     cra_form16(text + 20, "xxx-xxxxxxxxxxxx"));
}

/* 64 bytes: lower-case hex digits. */
static inline bool cra_is_hash(const char *text) {
    return cra_all16(cra_hex16(cra_load16(text)) & cra_hex16(cra_load16(text + 16)) & cra_hex16(cra_load16(text + 32)) &
                     cra_hex16(cra_load16(text + 48)));
}

static inline bool cra_is_digit(char c) { return c >= '0' && c <= '9'; }

/* `YYYY-MM-DDTHH:MM:SS.f…Z`: six fractional digits, or one to nine in the Rust implementation's dialect. */
static inline bool cra_is_timestamp(const char *text, size_t length, cra_dialect dialect) {
    if (dialect == CRA_DIALECT_TRACE) {
        return length == 27 && cra_all16(cra_form16(text, "0000-00-00T00:00") & cra_form16(text + 11, "00:00:00.000000Z"));
    }
    if (length < 22 || length > 30 || text[length - 1] != 'Z') return false;
    if (!cra_all16(cra_form16(text, "0000-00-00T00:00") & cra_form16(text + 4, "-00-00T00:00:00."))) return false;
    for (size_t i = 20; i < length - 1; i++) {
        if (!cra_is_digit(text[i])) return false;
    }
    return true;
}

/* A timestamp of the grammar, as it is compared. */
static inline void cra_comparable_time(char time[CRA_TIME_LENGTH], const char *text, size_t length) {
    memset(time, '0', CRA_TIME_LENGTH);
    memcpy(time, text, length - 1);
}

/* `[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+` */
static inline bool cra_is_event_type(const char *text, size_t length) {
    bool start = true, dotted = false;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (c >= 'a' && c <= 'z') {
            start = false;
        } else if (start) {
            return false;
        } else if (c == '.') {
            start = dotted = true;
        } else if (c != '_' && !cra_is_digit(c)) {
            return false;
        }
    }
    return dotted && !start;
}

#endif
