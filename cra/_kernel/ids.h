/* UUIDv7 identifiers from a generator in this process. The twin is `RandomIds` of `cra.ids`.
 *
 * Every thread has a generator of its own, ChaCha with 12 rounds, keyed by the system at its first draw and again after a fork. Whoever
 * sees ids can not tell others from them: the key is replaced with every refill. */
#ifndef CRA_IDS_H
#define CRA_IDS_H

#include <stdbool.h>
#include <stdint.h>

/* A fresh UUIDv7 for a wall-clock time, big endian, as `cra.ids.make_uuid7` builds it: the lowest 16 bits are zero. False, with errno,
 * if the system gives no randomness. */
bool cra_ids_draw(uint64_t unix_ms, uint8_t id[16]);

/* The UUIDv7 for a time and 58 random bits: 12 of them for what is called rand_a, 46 for rand_b. */
void cra_ids_make(uint64_t unix_ms, uint64_t random, uint8_t id[16]);

/* Reads the form that cra_put_uuid writes, and nothing else. */
bool cra_ids_parse(const char text[36], uint8_t id[16]);

#endif
