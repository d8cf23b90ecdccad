/* The chains of a trace file: one a session, each checked link by link. PROTOCOL: Verification.
 *
 * What is here are the chains as they stand, and the step from one line to the next where nothing is wrong. A line that is not plainly
 * the next link is for the exact verifier (Python's); the two tell each other how far a chain has come. Not safe from two threads. */
#ifndef CRA_LINKS_H
#define CRA_LINKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "grammar.h"

/* Where a chain stands: what its next event has to say, and what its result will say. */
typedef struct {
    char session_id[CRA_UUID_LENGTH];
    char previous[CRA_HASH_LENGTH];
    char time[CRA_TIME_LENGTH]; /* of the last event, as it is compared; zero bytes before the first */
    bool faulty; /* the first fault has been found: lines are only counted */
    uint64_t count; /* events so far; of a faulty chain, those that the exact verifier has not been told of */
    uint64_t sequence;
    uint64_t backwards, first_backwards; /* how often timestamps ran backwards, and the first event that did */
    bool changed; /* and the exact verifier does not know yet */
} cra_chain;

/* What a line says of itself, once its text has been read (line.h). Texts lie in the scanner's chunk. */
typedef struct {
    const char *start;
    size_t length; /* newline included */
    bool plain; /* plainly an event; without it, nothing below is known */
    bool sealed; /* its hash is right */
    uint8_t timestamp_length;
    uint64_t sequence;
    const char *session_id, *timestamp, *event_hash, *previous;
} cra_line;

/* A chain before its first event. */
void cra_chain_start(cra_chain *chain, const char *session_id);

/* Takes the line if it is plainly the chain's next link, or if nothing about it can change the chain's verdict. */
bool cra_chain_take(cra_chain *chain, const cra_line *line);

typedef struct cra_chains cra_chains;

/* NULL without memory. `seed` keeps the author of a file from choosing session ids that are slow to find. */
cra_chains *cra_chains_new(uint64_t seed);
void cra_chains_free(cra_chains *chains);

/* The chain of a session, begun where it is not known yet. NULL without memory. The pointer holds until the next call. */
cra_chain *cra_chains_find(cra_chains *chains, const char *session_id);

/* How many of the lines were taken before one that was not; all of them where that is `count`. -1 without memory. */
int64_t cra_chains_take(cra_chains *chains, const cra_line *lines, size_t count);

/* The chains that changed since the last call, one a call, in the order in which they did; then NULL. */
cra_chain *cra_chains_next_changed(cra_chains *chains);

#endif
