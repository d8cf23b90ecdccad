/* One chunk of a trace file: reading it, finding its lines, and reading those; private to scan.c and chunk.c. */
#ifndef CRA_CHUNK_H
#define CRA_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "scan.h"

typedef struct {
    cra_chunk chunk;
    size_t lines_room;
    char *data;
    size_t length, room;
    uint8_t *inputs[2]; /* what two events are hashed over */
    size_t input_room;
    bool last; /* the file ends in this chunk */
    bool ready;
} cra_chunk_buffer;

typedef struct {
    int descriptor;
    cra_dialect dialect;
    size_t chunk_size, max_line;
} cra_chunk_plan;

/* Scans the lines that start in chunk number `index`. */
void cra_chunk_scan(cra_chunk_buffer *buffer, const cra_chunk_plan *plan, uint64_t index);
void cra_chunk_free(cra_chunk_buffer *buffer);

#endif
