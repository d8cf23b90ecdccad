#define _POSIX_C_SOURCE 200809L

#include "chunk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "line.h"
#include "sha256.h"

enum { LOOK_AHEAD = 16384 /* what is read behind a chunk, for its last line, until more turns out to be needed */ };

static bool make_room(cra_chunk_buffer *b, size_t length) {
    if (length + CRA_LINE_SLACK <= b->room) return true;
    char *data = realloc(b->data, length + CRA_LINE_SLACK);
    if (!data) {
        b->chunk.error = ENOMEM;
        return false;
    }
    b->data = data;
    b->room = length + CRA_LINE_SLACK;
    return true;
}

/* Reads on until the buffer has `length` bytes; fewer at the end of the file, or after an error. `offset` is where its first byte
 * stands in the file. Behind what was read are zeros. */
static void read_until(cra_chunk_buffer *b, int descriptor, uint64_t offset, size_t length) {
    while (b->length < length) {
        if (!make_room(b, length)) break;
        ssize_t got = pread(descriptor, b->data + b->length, length - b->length, (off_t)(offset + b->length));
        if (got > 0) {
            b->length += (size_t)got;
        } else if (got == 0) {
            break;
        } else if (errno != EINTR) {
            b->chunk.error = errno;
            break;
        }
    }
    if (b->data) memset(b->data + b->length, 0, CRA_LINE_SLACK);
}

static cra_line *add_line(cra_chunk_buffer *b) {
    if (b->chunk.count == b->lines_room) {
        size_t room = b->lines_room ? 2 * b->lines_room : 1024;
        cra_line *lines = realloc(b->chunk.lines, room * sizeof *lines);
        if (!lines) {
            b->chunk.error = ENOMEM;
            return NULL;
        }
        b->chunk.lines = lines;
        b->lines_room = room;
    }
    cra_line *line = &b->chunk.lines[b->chunk.count++];
    memset(line, 0, sizeof *line);
    return line;
}

/* Reads on until the last line that starts before `end` is there as a whole, or is longer than lines may be. */
static void complete_last_line(cra_chunk_buffer *b, const cra_chunk_plan *plan, uint64_t offset, size_t end) {
    if (b->length <= end) return; /* the file ends */
    size_t start = end, seen = end - 1;
    while (start > 0 && b->data[start - 1] != '\n') start--;
    while (!memchr(b->data + seen, '\n', b->length - seen) && b->length - start <= plan->max_line) {
        size_t wanted = 2 * b->length, longest = start + plan->max_line + 1;
        seen = b->length;
        read_until(b, plan->descriptor, offset, wanted < longest ? wanted : longest);
        if (b->length == seen) return;
    }
}

static bool make_input_room(cra_chunk_buffer *b, size_t length) {
    if (length <= b->input_room) return true;
    for (int i = 0; i < 2; i++) {
        uint8_t *input = realloc(b->inputs[i], length);
        if (!input) {
            b->chunk.error = ENOMEM;
            return false;
        }
        b->inputs[i] = input;
    }
    b->input_room = length;
    return true;
}

static void compare(cra_line *line, const uint8_t digest[CRA_SHA256_DIGEST]) {
    char hex[CRA_HASH_LENGTH];
    cra_sha256_hex(digest, hex);
    line->sealed = memcmp(hex, line->event_hash, CRA_HASH_LENGTH) == 0;
}

/* Reads the text of a line; returns how long the input of its hash is in `inputs[which]`, 0 where the line is not plain. */
static size_t read_line(cra_chunk_buffer *b, const cra_chunk_plan *plan, cra_line *line, int which) {
    cra_event_line event;
    size_t length = line->length;
    while (length > 0 && (line->start[length - 1] == '\n' || line->start[length - 1] == '\r')) length--;
    line->plain = cra_read_line(line->start, length, plan->dialect, &event);
    if (!line->plain) return 0;
    line->sequence = event.sequence;
    line->session_id = event.fields[CRA_SESSION_ID].text;
    line->timestamp = event.fields[CRA_TIMESTAMP].text;
    line->timestamp_length = (uint8_t)event.fields[CRA_TIMESTAMP].length;
    line->event_hash = event.fields[CRA_EVENT_HASH].text;
    line->previous = event.fields[CRA_PREVIOUS_EVENT_HASH].text;
    return cra_line_hash_input(&event, plan->dialect, b->inputs[which]);
}

/* The lines that start between `from` and `end`; their events are hashed two by two. */
static void read_lines(cra_chunk_buffer *b, const cra_chunk_plan *plan, size_t from, size_t end) {
    uint8_t digest[CRA_SHA256_DIGEST], other[CRA_SHA256_DIGEST];
    size_t waiting = 0, waiting_length = 0; /* an event whose hash is to come, and how long its input is; 0: none */
    while (from < end && from < b->length) {
        const char *newline = memchr(b->data + from, '\n', b->length - from);
        size_t length = newline ? (size_t)(newline - b->data) + 1 - from : b->length - from;
        bool too_long = length > plan->max_line;
        cra_line *line = add_line(b);
        if (!line || (!too_long && !make_input_room(b, length + 8))) return;
        line->start = b->data + from;
        line->length = too_long ? plan->max_line + 1 : length;
        from += length;
        size_t input_length = too_long ? 0 : read_line(b, plan, line, waiting_length > 0);
        if (input_length > 0 && waiting_length > 0) {
            cra_sha256_of_two(b->inputs[0], waiting_length, digest, b->inputs[1], input_length, other);
            compare(&b->chunk.lines[waiting], digest);
            compare(line, other);
            waiting_length = 0;
        } else if (input_length > 0) {
            waiting = b->chunk.count - 1;
            waiting_length = input_length;
        }
    }
    if (waiting_length > 0) {
        cra_sha256_of(b->inputs[0], waiting_length, digest);
        compare(&b->chunk.lines[waiting], digest);
    }
}

void cra_chunk_scan(cra_chunk_buffer *b, const cra_chunk_plan *plan, uint64_t index) {
    b->length = 0;
    b->last = false;
    b->chunk.count = 0;
    b->chunk.error = 0;
    /* One byte before the chunk shows whether a line starts with it. */
    size_t before = index > 0;
    uint64_t offset = index * plan->chunk_size - before;
    size_t end = before + plan->chunk_size;
    read_until(b, plan->descriptor, offset, end + LOOK_AHEAD);
    if (b->chunk.error == 0 && b->length > before) {
        size_t from = 0;
        if (before) {
            const char *newline = memchr(b->data, '\n', b->length);
            from = newline ? (size_t)(newline - b->data) + 1 : end;
        }
        if (from < end) {
            complete_last_line(b, plan, offset, end);
            if (b->chunk.error == 0) read_lines(b, plan, from, end);
        }
    }
    b->last = b->length <= end;
    if (b->chunk.error) {
        b->chunk.count = 0;
        b->last = true;
    }
}

void cra_chunk_free(cra_chunk_buffer *b) {
    free(b->chunk.lines);
    free(b->data);
    free(b->inputs[0]);
    free(b->inputs[1]);
}
