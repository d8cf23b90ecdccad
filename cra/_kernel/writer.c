/* Lines and hashed texts, copied together from the parts that do not change within a record. */
#include "writer.h"

#include <stdlib.h>
#include <string.h>

#define VERSION "1.0"
#define UUID_SPACE "00000000-0000-0000-0000-000000000000"

enum {
    KEPT_LINES = 8 << 20, /* what a batch and its last record usually need */
    KEPT_TEXTS = 64 << 10, /* stays in the processor's cache */
    TEXT_ROOM = 256, /* what an event takes in its text beyond type and payload, at most */
};

/* Appends; `LITERAL` without its terminating zero. */
#define LITERAL(p, text) put(p, text, sizeof(text) - 1)

static inline char *put(char *p, const void *data, size_t length) {
    memcpy(p, data, length);
    return p + length;
}

static bool grow(uint8_t **data, size_t *capacity, size_t needed, size_t least) {
    if (needed <= *capacity) return true;
    size_t larger = *capacity < least ? least : *capacity;
    while (larger < needed) larger *= 2;
    uint8_t *moved = realloc(*data, larger);
    if (!moved) return false;
    *data = moved;
    *capacity = larger;
    return true;
}

bool cra_writer_reserve(cra_writer *w, size_t events, size_t bytes, size_t largest) {
    size_t lines = w->length + events * CRA_LINE_ROOM + bytes;
    size_t text = largest + TEXT_ROOM;
    /* Links point into both buffers. */
    if (lines > w->capacity || text > w->texts_capacity) cra_writer_seal(w);
    return grow(&w->lines, &w->capacity, lines, KEPT_LINES / 4) && grow(&w->texts, &w->texts_capacity, text, KEPT_TEXTS);
}

static void write_starts(cra_writer *w, bool root) {
    const cra_head *head = w->head;
    char *p = w->line_start;
    p = LITERAL(p, "{\"trace_version\":\"" VERSION "\",\"event_id\":\"" UUID_SPACE "\",\"trace_id\":\"");
    p = put(p, head->trace_id, CRA_UUID_ROOM);
    p = LITERAL(p, "\",\"span_id\":\"");
    p = put(p, w->span_id, CRA_UUID_ROOM);
    if (root) {
        p = LITERAL(p, "\",\"parent_span_id\":null");
    } else {
        p = LITERAL(p, "\",\"parent_span_id\":\"");
        p = put(p, head->span_id, CRA_UUID_ROOM);
        *p++ = '"';
    }
    p = LITERAL(p, ",\"session_id\":\"");
    p = put(p, head->session_id, CRA_UUID_ROOM);
    p = LITERAL(p, "\",\"sequence\":");
    w->line_start_length = (size_t)(p - w->line_start);

    p = w->text_start;
    p = LITERAL(p, VERSION UUID_SPACE);
    p = put(p, head->trace_id, CRA_UUID_ROOM);
    p = put(p, w->span_id, CRA_UUID_ROOM);
    if (!root) p = put(p, head->span_id, CRA_UUID_ROOM);
    p = put(p, head->session_id, CRA_UUID_ROOM);
    w->text_start_length = (size_t)(p - w->text_start);
    w->root = root;
}

enum { ID_IN_LINE = sizeof("{\"trace_version\":\"" VERSION "\",\"event_id\":\"") - 1, ID_IN_TEXT = sizeof(VERSION) - 1 };

void cra_writer_start(cra_writer *w, cra_head *head, int64_t time_ns, uint64_t id_high, uint64_t id_low, const uint8_t span[16]) {
    w->head = head;
    if (head->time_ns < time_ns) head->time_ns = time_ns; /* timestamps of a session never decrease */
    w->id_high = id_high;
    w->id_low = id_low;
    cra_put_uuid(w->span_id, span);
    cra_put_timestamp(w->timestamp, head->time_ns);
    write_starts(w, false);
}

void cra_put_number(char *p, uint64_t high, uint64_t low) {
    uint8_t bytes[16];
    for (int i = 0; i < 8; i++) {
        bytes[i] = (uint8_t)(high >> (56 - 8 * i));
        bytes[8 + i] = (uint8_t)(low >> (56 - 8 * i));
    }
    cra_put_uuid(p, bytes);
}

char *cra_writer_begin(cra_writer *w, const void *type, size_t type_length, size_t payload_room) {
    static const char STARTED[] = "session.started";
    size_t room = type_length + payload_room + TEXT_ROOM;
    if (w->count == CRA_PENDING_SEALS || w->texts_length + room > w->texts_capacity) cra_writer_seal(w);
    bool root = type_length == sizeof STARTED - 1 && memcmp(type, STARTED, type_length) == 0;
    if (root != w->root) write_starts(w, root);
    char *text = (char *)w->texts + w->texts_length;
    char *p = put(text, w->text_start, w->text_start_length);
    cra_put_number(text + ID_IN_TEXT, w->id_high, w->id_low);
    if (++w->id_low == 0) w->id_high++;
    char *sequence = p;
    p = cra_put_unsigned(p, w->head->sequence++);
    w->sequence_length = (size_t)(p - sequence);
    p = put(p, w->timestamp, CRA_TIMESTAMP_ROOM);
    p = put(p, type, type_length);
    w->type_length = type_length;
    w->payload = (uint8_t *)p;
    return p;
}

void cra_writer_end(cra_writer *w, const char *end) {
    const uint8_t *text = w->texts + w->texts_length, *sequence = text + w->text_start_length;
    char *p = (char *)w->lines + w->length;
    char *line = p;
    p = put(p, w->line_start, w->line_start_length);
    memcpy(line + ID_IN_LINE, text + ID_IN_TEXT, CRA_UUID_ROOM);
    p = put(p, sequence, w->sequence_length);
    p = LITERAL(p, ",\"timestamp\":\"");
    p = put(p, w->timestamp, CRA_TIMESTAMP_ROOM);
    p = LITERAL(p, "\",\"event_type\":\"");
    p = put(p, w->payload - w->type_length, w->type_length);
    p = LITERAL(p, "\",\"payload\":");
    p = put(p, w->payload, (size_t)((const uint8_t *)end - w->payload));
    p = LITERAL(p, ",\"event_hash\":\"");
    cra_seal *seal = &w->seals[w->count++];
    seal->previous = w->head->previous;
    seal->text = text;
    seal->length = (size_t)((const uint8_t *)end - text);
    seal->event_hash_out = p;
    p = LITERAL(p + CRA_HASH, "\",\"previous_event_hash\":\"");
    seal->previous_out = p;
    p = LITERAL(p + CRA_HASH, "\"}\n");
    w->length += (size_t)(p - line);
    w->texts_length += seal->length;
}

void cra_writer_seal(cra_writer *w) {
    cra_seal_all(w->seals, w->count);
    w->count = 0;
    w->texts_length = 0;
}

static void give_back(uint8_t **data, size_t *capacity, size_t kept) {
    if (*capacity <= kept) return;
    free(*data);
    *data = NULL;
    *capacity = 0;
}

void cra_writer_clear(cra_writer *w) {
    w->length = 0;
    give_back(&w->lines, &w->capacity, KEPT_LINES);
    give_back(&w->texts, &w->texts_capacity, KEPT_TEXTS);
}

void cra_writer_free(cra_writer *w) {
    free(w->lines);
    free(w->texts);
    *w = (cra_writer){0};
}
