/* Reads a trace file in chunks, on several threads, and says of every line whether it is plainly an event and whether its hash holds.
 *
 * An event's hash does not depend on its neighbours, so chunks are independent; what links the events is checked afterwards, in order
 * (links.h). The caller is one of the threads. No Python. */
#ifndef CRA_SCAN_H
#define CRA_SCAN_H

#include <stddef.h>
#include <stdint.h>

#include "grammar.h"
#include "links.h"

typedef struct {
    size_t count;
    cra_line *lines; /* in the order of the file; they hold until the chunk is released */
    int error; /* an errno; then there are no lines, and nothing comes after */
} cra_chunk;

typedef struct cra_scan cra_scan;

/* Starts to scan the file behind a descriptor, which is only read with pread, on `threads` threads (at least 1), in chunks of
 * `chunk_size` bytes. Of a line longer than `max_line` bytes, newline included, only the first `max_line` + 1 are kept, and it is not
 * plain. NULL without memory. */
cra_scan *cra_scan_start(int descriptor, cra_dialect dialect, unsigned threads, size_t chunk_size, size_t max_line);

/* The next chunk, in order; NULL at the end. Works on a chunk itself rather than wait for one. */
const cra_chunk *cra_scan_next(cra_scan *scan);

/* Done with the chunk that was given last. */
void cra_scan_release(cra_scan *scan);

/* Stops the threads, wherever they are, and frees everything. */
void cra_scan_stop(cra_scan *scan);

#endif
