/* A generator in the manner of arc4random: key, refill, erase. The buffer is small, so that no draw waits long for its refill. */
#define _DEFAULT_SOURCE
#include "ids.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#ifdef __APPLE__
#include <sys/random.h>
#endif

enum { ROUNDS = 12, KEY = 8, BLOCK = 16, BLOCKS = 2 }; /* the last three in words of 32 bits, and blocks */
enum { WORDS = BLOCKS * BLOCK, DRAWN = 2 };            /* words of a refill, and of a draw */

typedef struct {
    uint32_t key[KEY];
    uint32_t words[WORDS];
    unsigned next;       /* the first word not drawn; WORDS: none is left */
    unsigned generation; /* of the process that keyed it; 0: nobody has */
} generator;

static _Thread_local generator own;
static _Atomic unsigned generation = 1;
static pthread_once_t watched = PTHREAD_ONCE_INIT;

static void leave_parent(void) { atomic_fetch_add_explicit(&generation, 1, memory_order_relaxed); }
static void watch_forks(void) { pthread_atfork(NULL, NULL, leave_parent); }

static inline uint32_t rotate(uint32_t value, int bits) { return value << bits | value >> (32 - bits); }

static inline void quarter(uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d) {
    *a += *b, *d = rotate(*d ^ *a, 16);
    *c += *d, *b = rotate(*b ^ *c, 12);
    *a += *b, *d = rotate(*d ^ *a, 8);
    *c += *d, *b = rotate(*b ^ *c, 7);
}

static void chacha(const uint32_t key[KEY], uint32_t counter, uint32_t out[BLOCK]) {
    const uint32_t start[BLOCK] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574, key[0], key[1], key[2], key[3],
                                   key[4],     key[5],     key[6],     key[7],     counter, 0,     0,      0};
    uint32_t x[BLOCK];
    memcpy(x, start, sizeof x);
    for (int i = 0; i < ROUNDS; i += 2) {
        for (int column = 0; column < 4; column++) quarter(&x[column], &x[4 + column], &x[8 + column], &x[12 + column]);
        for (int d = 0; d < 4; d++) quarter(&x[d], &x[4 + (d + 1) % 4], &x[8 + (d + 2) % 4], &x[12 + (d + 3) % 4]);
    }
    for (int i = 0; i < BLOCK; i++) out[i] = x[i] + start[i];
}

/* Of the new words the first replace the key: what was drawn before can not be computed any more. */
static void refill(generator *g) {
    for (uint32_t i = 0; i < BLOCKS; i++) chacha(g->key, i, g->words + i * BLOCK);
    memcpy(g->key, g->words, sizeof g->key);
    for (int i = 0; i < KEY; i++) g->words[i] = 0;
    g->next = KEY;
}

static bool key_generator(generator *g, unsigned now) {
    pthread_once(&watched, watch_forks);
    if (getentropy(g->key, sizeof g->key) != 0) return false;
    g->next = WORDS;
    g->generation = now;
    return true;
}

void cra_ids_make(uint64_t unix_ms, uint64_t random, uint8_t id[16]) {
    uint64_t high = unix_ms << 16 | 0x7000 | (random >> 46 & 0xfff);
    uint64_t low = UINT64_C(1) << 63 | (random & ((UINT64_C(1) << 46) - 1)) << 16;
    for (int i = 0; i < 8; i++) {
        id[i] = (uint8_t)(high >> (56 - 8 * i));
        id[8 + i] = (uint8_t)(low >> (56 - 8 * i));
    }
}

bool cra_ids_draw(uint64_t unix_ms, uint8_t id[16]) {
    generator *g = &own;
    unsigned now = atomic_load_explicit(&generation, memory_order_relaxed);
    if (g->generation != now && !key_generator(g, now)) return false;
    if (g->next + DRAWN > WORDS) refill(g);
    uint64_t random = (uint64_t)g->words[g->next] << 32 | g->words[g->next + 1];
    g->words[g->next] = g->words[g->next + 1] = 0;
    g->next += DRAWN;
    cra_ids_make(unix_ms, random, id);
    return true;
}

static int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool cra_ids_parse(const char text[36], uint8_t id[16]) {
    for (int byte = 0, at = 0; byte < 16; byte++, at += 2) {
        if ((byte == 4 || byte == 6 || byte == 8 || byte == 10) && text[at++] != '-') return false;
        int high = digit(text[at]), low = digit(text[at + 1]);
        if (high < 0 || low < 0) return false;
        id[byte] = (uint8_t)(high << 4 | low);
    }
    return true;
}
