/* The hash chain of events, two at a time. PROTOCOL: Event hash.
 *
 * The hashed text of an event ends in the hash of the event before, so that its whole blocks before that depend on nothing. While one
 * lane finishes an event, the other begins the next ones. Called by the expander with the events that it has written, in order. */
#ifndef CRA_SEAL_H
#define CRA_SEAL_H

#include <stddef.h>
#include <stdint.h>

#include "sha256.h"

enum { CRA_HASH = 2 * CRA_SHA256_DIGEST }; /* as hex digits */

/* An event whose hash is to be made. The last three fields are the chain's own. */
typedef struct {
    char *previous;       /* the last hash of its session, which this one replaces */
    const uint8_t *text;  /* hashed, up to the previous hash; at least a block long */
    size_t length;
    char *event_hash_out; /* where the two hashes are written as well */
    char *previous_out;
    uint32_t state[8];
    int begun; /* its text's whole blocks are hashed */
    uint8_t last[3 * CRA_SHA256_BLOCK];
} cra_seal;

/* Makes the hashes of `count` events, as if one after the other. */
void cra_seal_all(cra_seal *seals, size_t count);

#endif
