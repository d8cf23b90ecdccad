/* Events as lines of a trace, sealed and chained. The fields and their order are those of `cra.trace.event.Event`; PROTOCOL: Event.
 *
 * Called by the expander: room first, then a record's events one by one, each begun, its payload written in place, and ended. Hashes
 * are filled in by `cra_writer_seal`, for many events at once. */
#ifndef CRA_WRITER_H
#define CRA_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "json.h"
#include "seal.h"

/* What an event takes in its line beyond type and payload, at most. */
#define CRA_LINE_ROOM 640

enum { CRA_PENDING_SEALS = 64 };

/* Where a session's chain stands, and the ids that its events share, as text. */
typedef struct {
    char session_id[CRA_UUID_ROOM], trace_id[CRA_UUID_ROOM], span_id[CRA_UUID_ROOM];
    char previous[CRA_HASH];
    uint64_t sequence;
    int64_t time_ns;
} cra_head;

/* All zero is a writer without memory; `cra_writer_reserve` gives it some. */
typedef struct {
    uint8_t *lines;
    size_t length, capacity;

    /* The hashed texts of the seals, up to the previous hash. */
    uint8_t *texts;
    size_t texts_length, texts_capacity;
    cra_seal seals[CRA_PENDING_SEALS];
    size_t count;

    /* The record that is being written, and what its events share. */
    cra_head *head;
    uint64_t id_high, id_low; /* of the next event */
    bool root;                /* its events have no parent span */
    char span_id[CRA_UUID_ROOM], timestamp[CRA_TIMESTAMP_ROOM];
    char line_start[320], text_start[192]; /* up to the sequence */
    size_t line_start_length, text_start_length;

    /* The event that is being written: offsets into its text. */
    size_t type_length, sequence_length;
    uint8_t *payload;
} cra_writer;

/* The 128-bit number high × 2^64 + low as a UUID; 36 bytes. */
void cra_put_number(char *out, uint64_t high, uint64_t low);

/* Room for events that take `bytes` for their types and payloads, the largest of them `largest`; false where there is no memory. */
bool cra_writer_reserve(cra_writer *writer, size_t events, size_t bytes, size_t largest);

/* A record of `head`'s session at `time_ns`: ids count up from `first_id`. */
void cra_writer_start(cra_writer *writer, cra_head *head, int64_t time_ns, uint64_t id_high, uint64_t id_low,
                      const uint8_t span[16]);

/* The next event. Returns where its payload has to be written, of at most `payload_room` bytes; `end` is the end of that. */
char *cra_writer_begin(cra_writer *writer, const void *type, size_t type_length, size_t payload_room);
void cra_writer_end(cra_writer *writer, const char *end);

/* Fills in the hashes of all events that have been ended. */
void cra_writer_seal(cra_writer *writer);

/* Forgets the lines, which are sealed; memory that was needed for something unusually large is given back. */
void cra_writer_clear(cra_writer *writer);
void cra_writer_free(cra_writer *writer);

#endif
