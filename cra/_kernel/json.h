/* Canonical JSON, as text is written: strings, integers, UUIDs, timestamps. PROTOCOL: Canonical JSON, Event.
 *
 * Called by whatever writes events. Each function writes at `out`, where the caller has made the room that is named here, and
 * returns the end of what it wrote; none writes a terminating zero, allocates, or fails. The twins are `cra.reference.canonical`,
 * `cra.ids.format_uuid` and `cra.timing.clock.format_timestamp`. */
#ifndef CRA_JSON_H
#define CRA_JSON_H

#include <stddef.h>
#include <stdint.h>

/* The room that `cra_put_string` needs at most: quotes, and six bytes for each byte. */
#define CRA_STRING_ROOM(length) (6 * (size_t)(length) + 2)
#define CRA_INTEGER_ROOM 20
#define CRA_UUID_ROOM 36
#define CRA_TIMESTAMP_ROOM 27

/* The room that it needs exactly. */
size_t cra_string_size(const char *text, size_t length);

/* A string in quotes. `text` is valid UTF-8 of `length` bytes and does not overlap `out`. */
char *cra_put_string(char *out, const char *text, size_t length);

/* The same without the quotes, in room that is smaller by two. */
char *cra_put_escaped(char *out, const char *text, size_t length);

char *cra_put_unsigned(char *out, uint64_t value);
char *cra_put_integer(char *out, int64_t value);

/* 8-4-4-4-12 lower-case hex digits of a big-endian UUID, without quotes. */
char *cra_put_uuid(char *out, const uint8_t uuid[16]);

/* `ns` since the Unix epoch as `YYYY-MM-DDTHH:MM:SS.ffffffZ`, rounded down, without quotes. */
char *cra_put_timestamp(char *out, int64_t ns);

#endif
