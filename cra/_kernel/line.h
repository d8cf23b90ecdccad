/* One line of a trace file, read without making anything of it: is it plainly an event, and does its hash hold?
 *
 * Called by the scanner of files (scan.h). "Plainly" means: exactly as the runtime writes lines, though the fields may stand in any
 * order. Escapes, numbers and keys have to be in canonical form, so that the payload's text is what was hashed. What is not plain is
 * not wrong: somebody slower has to look. PROTOCOL: Event hash, Grammar before hash, Canonical JSON. */
#ifndef CRA_LINE_H
#define CRA_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "grammar.h"

/* How many bytes must be readable behind a line. The first is a newline or zero, which ends all that is read; the rest is ignored. */
#define CRA_LINE_SLACK 128

/* The fields in the order in which they are hashed, then the hash. */
enum {
    CRA_TRACE_VERSION,
    CRA_EVENT_ID,
    CRA_TRACE_ID,
    CRA_SPAN_ID,
    CRA_PARENT_SPAN_ID,
    CRA_SESSION_ID,
    CRA_SEQUENCE,
    CRA_TIMESTAMP,
    CRA_EVENT_TYPE,
    CRA_PAYLOAD,
    CRA_PREVIOUS_EVENT_HASH,
    CRA_EVENT_HASH,
    CRA_FIELDS
};

typedef struct {
    const char *text; /* without quotes; a parent that is null or absent is empty */
    size_t length;
} cra_field;

typedef struct {
    cra_field fields[CRA_FIELDS];
    uint64_t sequence;
} cra_event_line;

/* Whether the line (without its newline) is plainly an event; then its fields point into it. */
bool cra_read_line(const char *line, size_t length, cra_dialect dialect, cra_event_line *event);

/* The bytes that the event's hash is taken over; `out` has room for the line's length and 8 bytes more. Returns how many. */
size_t cra_line_hash_input(const cra_event_line *event, cra_dialect dialect, uint8_t *out);

#endif
