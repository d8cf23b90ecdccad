/* What the parts of the ring share: ring_map.c, ring.c, ring_wait.c. */
#ifndef CRA_RING_INTERNAL_H
#define CRA_RING_INTERNAL_H

#include "ring.h"

/* `account`: the room in units of 8 bytes, and above it the number of claims, modulo 2^36. One atomic operation does both. */
#define CRA_RING_ROOM_BITS 28
#define CRA_RING_ROOM_MASK ((UINT64_C(1) << CRA_RING_ROOM_BITS) - 1)
#define CRA_RING_ONE_CLAIM (UINT64_C(1) << CRA_RING_ROOM_BITS)

/* Values of `bell`. */
#define CRA_RING_AWAKE 0u
#define CRA_RING_NAPPING 1u /* wakes by itself within a millisecond */
#define CRA_RING_ASLEEP 2u  /* has to be woken */

/* Fills in the fields that are written once, and the header. -1 and errno. */
int cra_ring_map(cra_ring *ring, int fd);
void cra_ring_unmap(cra_ring *ring);

bool cra_ring_has_record(const cra_ring *ring);
void cra_ring_ring_bell(cra_ring *ring);
void cra_ring_wake_producers(cra_ring *ring);

#endif
