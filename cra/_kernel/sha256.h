/* SHA-256 (FIPS 180-4), with the fastest code that the processor has, chosen at run time.
 *
 * Called by everything in the kernel that hashes. `compress2` runs two independent states at once, which costs the processor little
 * more than one: a single chain of SHA instructions leaves it waiting for itself most of the time. No Python, no allocation; safe
 * from many threads, each with states of its own. */
#ifndef CRA_SHA256_H
#define CRA_SHA256_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CRA_SHA256_BLOCK 64
#define CRA_SHA256_DIGEST 32

typedef struct {
    uint32_t state[8];
    uint64_t length; /* bytes taken so far */
    uint8_t tail[CRA_SHA256_BLOCK]; /* the first length % 64 of them count */
} cra_sha256;

void cra_sha256_init(cra_sha256 *hash);
void cra_sha256_update(cra_sha256 *hash, const void *data, size_t length);
void cra_sha256_final(cra_sha256 *hash, uint8_t digest[CRA_SHA256_DIGEST]);

/* All at once; and two messages at once, of any lengths. */
void cra_sha256_of(const void *data, size_t length, uint8_t digest[CRA_SHA256_DIGEST]);
void cra_sha256_of_two(const void *first, size_t first_length, uint8_t first_digest[CRA_SHA256_DIGEST],
                       const void *second, size_t second_length, uint8_t second_digest[CRA_SHA256_DIGEST]);

/* The parts, for callers that lay out blocks themselves: the initial state; `count` whole blocks into one state, or into each of
 * two; the last one or two blocks of a message (`rest` are its bytes after the last whole block; returns how many blocks); the
 * digest in a state. */
void cra_sha256_start(uint32_t state[8]);
void cra_sha256_compress(uint32_t state[8], const uint8_t *blocks, size_t count);
void cra_sha256_compress2(uint32_t first[8], const uint8_t *first_blocks, uint32_t second[8], const uint8_t *second_blocks,
                          size_t count);
size_t cra_sha256_pad(uint8_t blocks[2 * CRA_SHA256_BLOCK], const uint8_t *rest, uint64_t length);
void cra_sha256_digest(const uint32_t state[8], uint8_t digest[CRA_SHA256_DIGEST]);

/* 64 lower-case hex digits, without a terminating zero. */
void cra_sha256_hex(const uint8_t digest[CRA_SHA256_DIGEST], char hex[2 * CRA_SHA256_DIGEST]);

/* "sha-ni", "armv8" or "portable". */
const char *cra_sha256_backend(void);
/* For tests: hash with the portable code whatever the processor has; false goes back to the best. */
void cra_sha256_force_portable(bool force);

#endif
