/* What a SHA-256 backend is; private to sha256*.c. Each returns NULL where this processor, or this compiler, does not have it. */
#ifndef CRA_SHA256_BACKEND_H
#define CRA_SHA256_BACKEND_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    const char *name;
    void (*compress)(uint32_t state[8], const uint8_t *blocks, size_t count);
    void (*compress2)(uint32_t first[8], const uint8_t *first_blocks, uint32_t second[8], const uint8_t *second_blocks,
                      size_t count);
} cra_sha256_functions;

extern const uint32_t cra_sha256_k[64];

const cra_sha256_functions *cra_sha256_x86(void);
const cra_sha256_functions *cra_sha256_arm(void);

#endif
