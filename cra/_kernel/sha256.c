/* SHA-256: the portable backend, the choice of a backend, and the message interface over it. */
#include "sha256.h"

#include <stdatomic.h>
#include <string.h>

#include "hex.h"
#include "sha256_backend.h"

_Alignas(64) const uint32_t cra_sha256_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t value, int bits) { return value >> bits | value << (32 - bits); }

static uint32_t read_big_endian(const uint8_t *bytes) {
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static void write_big_endian(uint8_t *bytes, uint32_t value) {
    bytes[0] = (uint8_t)(value >> 24);
    bytes[1] = (uint8_t)(value >> 16);
    bytes[2] = (uint8_t)(value >> 8);
    bytes[3] = (uint8_t)value;
}

static void portable_compress(uint32_t state[8], const uint8_t *blocks, size_t count) {
    for (; count > 0; count--, blocks += CRA_SHA256_BLOCK) {
        uint32_t w[64];
        for (int i = 0; i < 16; i++) w[i] = read_big_endian(blocks + 4 * i);
        for (int i = 16; i < 64; i++) {
            uint32_t small0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
            uint32_t small1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
            w[i] = w[i - 16] + small0 + w[i - 7] + small1;
        }
        uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
        uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
        for (int i = 0; i < 64; i++) {
            uint32_t big1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
            uint32_t first = h + big1 + (g ^ (e & (f ^ g))) + cra_sha256_k[i] + w[i];
            uint32_t big0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
            uint32_t second = big0 + ((a & b) | (c & (a | b)));
            h = g, g = f, f = e, e = d + first;
            d = c, c = b, b = a, a = first + second;
        }
        state[0] += a, state[1] += b, state[2] += c, state[3] += d;
        state[4] += e, state[5] += f, state[6] += g, state[7] += h;
    }
}

static void portable_compress2(uint32_t first[8], const uint8_t *first_blocks, uint32_t second[8], const uint8_t *second_blocks,
                               size_t count) {
    portable_compress(first, first_blocks, count);
    portable_compress(second, second_blocks, count);
}

static const cra_sha256_functions PORTABLE = {"portable", portable_compress, portable_compress2};

/* NULL until somebody hashes. Two threads may both choose: they choose the same, and what is behind the pointer is constant. */
static _Atomic(const cra_sha256_functions *) chosen;

static const cra_sha256_functions *choose(void) {
    const cra_sha256_functions *best = cra_sha256_x86();
    if (!best) best = cra_sha256_arm();
    if (!best) best = &PORTABLE;
    atomic_store_explicit(&chosen, best, memory_order_relaxed);
    return best;
}

static inline const cra_sha256_functions *backend(void) {
    const cra_sha256_functions *functions = atomic_load_explicit(&chosen, memory_order_relaxed);
    return functions ? functions : choose();
}

const char *cra_sha256_backend(void) { return backend()->name; }

void cra_sha256_force_portable(bool force) { atomic_store_explicit(&chosen, force ? &PORTABLE : NULL, memory_order_relaxed); }

void cra_sha256_compress(uint32_t state[8], const uint8_t *blocks, size_t count) { backend()->compress(state, blocks, count); }

void cra_sha256_compress2(uint32_t first[8], const uint8_t *first_blocks, uint32_t second[8], const uint8_t *second_blocks,
                          size_t count) {
    backend()->compress2(first, first_blocks, second, second_blocks, count);
}

void cra_sha256_start(uint32_t state[8]) {
    static const uint32_t START[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(state, START, sizeof START);
}

size_t cra_sha256_pad(uint8_t blocks[2 * CRA_SHA256_BLOCK], const uint8_t *rest, uint64_t length) {
    size_t taken = (size_t)(length % CRA_SHA256_BLOCK);
    size_t count = taken < CRA_SHA256_BLOCK - 8 ? 1 : 2;
    uint8_t *end = blocks + count * CRA_SHA256_BLOCK;
    if (taken > 0) memcpy(blocks, rest, taken);
    blocks[taken] = 0x80;
    memset(blocks + taken + 1, 0, count * CRA_SHA256_BLOCK - taken - 9);
    write_big_endian(end - 8, (uint32_t)(length >> 29));
    write_big_endian(end - 4, (uint32_t)(length << 3));
    return count;
}

void cra_sha256_digest(const uint32_t state[8], uint8_t digest[CRA_SHA256_DIGEST]) {
    for (int i = 0; i < 8; i++) write_big_endian(digest + 4 * i, state[i]);
}

void cra_sha256_init(cra_sha256 *hash) {
    cra_sha256_start(hash->state);
    hash->length = 0;
}

void cra_sha256_update(cra_sha256 *hash, const void *data, size_t length) {
    if (length == 0) return; /* `data` may be NULL */
    const uint8_t *bytes = data;
    size_t taken = (size_t)(hash->length % CRA_SHA256_BLOCK);
    hash->length += length;
    if (taken > 0) {
        size_t room = CRA_SHA256_BLOCK - taken;
        size_t first = length < room ? length : room;
        memcpy(hash->tail + taken, bytes, first);
        if (first < room) return;
        cra_sha256_compress(hash->state, hash->tail, 1);
        bytes += first;
        length -= first;
    }
    size_t whole = length / CRA_SHA256_BLOCK;
    if (whole > 0) cra_sha256_compress(hash->state, bytes, whole);
    memcpy(hash->tail, bytes + whole * CRA_SHA256_BLOCK, length % CRA_SHA256_BLOCK);
}

void cra_sha256_final(cra_sha256 *hash, uint8_t digest[CRA_SHA256_DIGEST]) {
    uint8_t last[2 * CRA_SHA256_BLOCK];
    cra_sha256_compress(hash->state, last, cra_sha256_pad(last, hash->tail, hash->length));
    cra_sha256_digest(hash->state, digest);
}

void cra_sha256_of(const void *data, size_t length, uint8_t digest[CRA_SHA256_DIGEST]) {
    const uint8_t *bytes = data;
    size_t whole = length / CRA_SHA256_BLOCK;
    uint32_t state[8];
    uint8_t last[2 * CRA_SHA256_BLOCK];
    cra_sha256_start(state);
    if (whole > 0) {
        cra_sha256_compress(state, bytes, whole);
        bytes += whole * CRA_SHA256_BLOCK;
    }
    cra_sha256_compress(state, last, cra_sha256_pad(last, bytes, length));
    cra_sha256_digest(state, digest);
}

/* A message as a run of whole blocks, then the padded ones. */
typedef struct {
    uint32_t state[8];
    const uint8_t *blocks;
    size_t count;
    size_t padded;
    uint8_t last[2 * CRA_SHA256_BLOCK];
} lane;

static void lane_start(lane *l, const uint8_t *data, size_t length) {
    cra_sha256_start(l->state);
    l->count = length / CRA_SHA256_BLOCK;
    l->blocks = l->count > 0 ? data : l->last;
    const uint8_t *rest = l->count > 0 ? data + l->count * CRA_SHA256_BLOCK : data;
    l->padded = cra_sha256_pad(l->last, rest, length);
    if (l->count == 0) l->count = l->padded, l->padded = 0;
}

static void lane_skip(lane *l, size_t count) {
    l->count -= count;
    l->blocks += count * CRA_SHA256_BLOCK;
    if (l->count == 0) l->blocks = l->last, l->count = l->padded, l->padded = 0;
}

void cra_sha256_of_two(const void *first, size_t first_length, uint8_t first_digest[CRA_SHA256_DIGEST], const void *second,
                       size_t second_length, uint8_t second_digest[CRA_SHA256_DIGEST]) {
    const cra_sha256_functions *functions = backend();
    lane a, b;
    lane_start(&a, first, first_length);
    lane_start(&b, second, second_length);
    while (a.count > 0 && b.count > 0) {
        size_t both = a.count < b.count ? a.count : b.count;
        functions->compress2(a.state, a.blocks, b.state, b.blocks, both);
        lane_skip(&a, both);
        lane_skip(&b, both);
    }
    for (; a.count > 0; lane_skip(&a, a.count)) functions->compress(a.state, a.blocks, a.count);
    for (; b.count > 0; lane_skip(&b, b.count)) functions->compress(b.state, b.blocks, b.count);
    cra_sha256_digest(a.state, first_digest);
    cra_sha256_digest(b.state, second_digest);
}

void cra_sha256_hex(const uint8_t digest[CRA_SHA256_DIGEST], char hex[2 * CRA_SHA256_DIGEST]) {
    cra_hex(hex, digest, CRA_SHA256_DIGEST);
}
