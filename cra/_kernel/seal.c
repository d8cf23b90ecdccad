/* Two lanes over the blocks of a run of events. Ends of events are taken in order; between them, and before, beginnings. */
#include "seal.h"

#include <stdbool.h>
#include <string.h>

#include "hex.h"

_Static_assert(CRA_HASH == CRA_SHA256_BLOCK, "a hash in hex is one block long");

typedef struct {
    cra_seal *seal;
    const uint8_t *blocks;
    size_t left; /* 0: nothing to do */
    bool ends;   /* the blocks end the event */
} lane;

/* What is not begun, and what is not ended; indexes into the seals. */
typedef struct {
    cra_seal *seals;
    size_t count, begin, end;
} work;

static void begin_event(lane *l, cra_seal *seal) {
    cra_sha256_start(seal->state);
    seal->begun = 0;
    *l = (lane){seal, seal->text, seal->length / CRA_SHA256_BLOCK, false};
}

/* The rest of the text, the previous hash, and the padding. */
static void end_event(lane *l, cra_seal *seal) {
    size_t rest = seal->length % CRA_SHA256_BLOCK;
    memcpy(seal->last, seal->text + seal->length - rest, rest);
    memcpy(seal->last + rest, seal->previous, CRA_HASH);
    memcpy(seal->previous_out, seal->previous, CRA_HASH);
    /* A block's length of hash leaves as many bytes for the padded blocks as there were before it. */
    const uint8_t *left = (const uint8_t *)seal->previous + CRA_HASH - rest;
    size_t padded = cra_sha256_pad(seal->last + CRA_SHA256_BLOCK, left, seal->length + CRA_HASH);
    *l = (lane){seal, seal->last, 1 + padded, true};
}

static void finish(lane *l) {
    if (l->ends) {
        uint8_t digest[CRA_SHA256_DIGEST];
        cra_sha256_digest(l->seal->state, digest);
        cra_hex(l->seal->previous, digest, sizeof digest);
        memcpy(l->seal->event_hash_out, l->seal->previous, CRA_HASH);
    } else {
        l->seal->begun = 1;
    }
}

/* Gives an idle lane something to do, if there is anything that does not wait for the other lane. */
static void pick(lane *l, const lane *other, work *w) {
    if (w->end < w->begin && w->seals[w->end].begun) {
        cra_seal *next = &w->seals[w->end];
        bool waits = other->left > 0 && other->ends && other->seal->previous == next->previous;
        if (!waits) {
            w->end++;
            end_event(l, next);
            return;
        }
    }
    if (w->begin < w->count) begin_event(l, &w->seals[w->begin++]);
}

static void skip(lane *l, size_t count) {
    l->blocks += count * CRA_SHA256_BLOCK;
    l->left -= count;
    if (l->left == 0) finish(l);
}

void cra_seal_all(cra_seal *seals, size_t count) {
    work w = {seals, count, 0, 0};
    lane a = {0}, b = {0};
    for (;;) {
        if (a.left == 0) pick(&a, &b, &w);
        if (b.left == 0) pick(&b, &a, &w);
        if (a.left > 0 && b.left > 0) {
            size_t both = a.left < b.left ? a.left : b.left;
            cra_sha256_compress2(a.seal->state, a.blocks, b.seal->state, b.blocks, both);
            skip(&a, both);
            skip(&b, both);
        } else {
            lane *only = a.left > 0 ? &a : &b;
            if (only->left == 0) return;
            cra_sha256_compress(only->seal->state, only->blocks, only->left);
            skip(only, only->left);
        }
    }
}
