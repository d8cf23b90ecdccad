/* Records to sealed events, as the lines of a trace. The twin is `Expander` of `cra.reference.expander`.
 *
 * Called by the recorder's worker, without Python: `cra_expander_drain` from a ring, or `cra_expander_feed` record by record. One
 * thread at a time; only the counts may be read by others meanwhile. A record that is refused changes nothing. */
#ifndef CRA_EXPAND_H
#define CRA_EXPAND_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "records.h"
#include "ring.h"
#include "table.h"
#include "writer.h"

/* Lines of one session that follow each other. */
typedef struct {
    char session_id[CRA_UUID_ROOM];
    size_t bytes, events;
} cra_run;

/* An open session. */
typedef struct cra_session {
    cra_head head;
    uint8_t define[CRA_DEFINITION];
    struct cra_session *next_of_key, *next_ended;
} cra_session;

/* A chain to go on with, once its session is defined. */
typedef struct {
    char session_id[CRA_UUID_ROOM];
    char previous[CRA_HASH];
    uint64_t sequence;
    int64_t time_ns;
    bool opened;
} cra_chain_head;

typedef struct {
    _Atomic uint64_t records, events, refused;
    cra_table sessions, templates; /* by number */
    cra_table ids;                 /* the same sessions by what `key_of` makes of their ids; those of one key are a list */
    cra_session *ended; /* which seals of the writer may still point to */
    cra_chain_head *heads; /* sorted by session id */
    size_t head_count;
    cra_writer writer;
    cra_run *runs;
    size_t run_count, run_capacity;
    uint64_t pending_records, pending_events;
    bool omits_lines; /* events are counted and not made, and chains stand still */
    bool keeps_frames;
    uint8_t *frames; /* of the records that were taken; see frames.h */
    size_t frames_length, frames_capacity;
    _Atomic bool interrupted; /* tells `cra_expander_run` to return */
} cra_expander;

typedef enum {
    CRA_FED,
    CRA_REFUSED,
    CRA_NO_MEMORY,
    CRA_DAMAGED_RING,
    CRA_INTERRUPTED, /* by cra_expander_interrupt */
    CRA_SIGNALLED,   /* by a signal */
    CRA_CLOSED_RING,
} cra_expand_status;

/* NULL: no memory. `heads` (may be NULL if there are none) become the expander's. */
cra_expander *cra_expander_new(cra_chain_head *heads, size_t count);
void cra_expander_free(cra_expander *expander);

/* CRA_FED, CRA_REFUSED (`reason` says why) or CRA_NO_MEMORY; in the last two nothing has changed. */
cra_expand_status cra_expander_feed(cra_expander *expander, const uint8_t *record, size_t length, const char **reason);

/* Feeds the records among frames, passes over what is none, and counts in the expander what is refused. `end` is where the last whole
 * frame ends. CRA_FED or CRA_NO_MEMORY. */
cra_expand_status cra_expander_feed_frames(cra_expander *expander, const uint8_t *data, size_t length, size_t *end);

/* Feeds what `ring` holds until `max_bytes` of lines and frames are pending or nothing is left; `taken` counts records, refused ones included.
 * CRA_FED, CRA_NO_MEMORY (the record stays in the ring), or CRA_DAMAGED_RING. */
cra_expand_status cra_expander_drain(cra_expander *expander, cra_ring *ring, size_t max_bytes, uint64_t *taken);

/* Drains, forgets and frees what `ring` holds and what comes, until something else than that is to be done, and says what: nothing came
 * for `timeout_ns` (CRA_FED; negative: wait for ever), CRA_INTERRUPTED, CRA_SIGNALLED, CRA_CLOSED_RING, or what a drain says. */
cra_expand_status cra_expander_run(cra_expander *expander, cra_ring *ring, int64_t timeout_ns);

/* From any thread: has the `cra_expander_run` that is under way, or the next one, return. Whoever calls it wakes the ring, too. */
void cra_expander_interrupt(cra_expander *expander);

/* Has lines made from now on. Sessions that are open go on from the new `heads`, which become the expander's as in `new`; one that is
 * not in them has had no event. */
void cra_expander_make_lines(cra_expander *expander, cra_chain_head *heads, size_t count);

/* Forgets pending lines, runs and frames. */
void cra_expander_clear(cra_expander *expander);

/* The counts, for any thread; and one more record refused, for who feeds what it read elsewhere. */
uint64_t cra_expander_records(const cra_expander *expander);
uint64_t cra_expander_events(const cra_expander *expander);
uint64_t cra_expander_refused(const cra_expander *expander);
void cra_expander_count_refused(cra_expander *expander);

#endif
