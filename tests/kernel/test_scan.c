/* Files of lines: every line is given once, in order, whole or cut at the limit, whatever the chunks and threads; chains are linked. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "json.h"
#include "scan.h"
#include "sha256.h"

enum { MAX_LINE = 3000 };

typedef struct {
    char *text;
    size_t length, room;
} text;

static text empty(void) {
    text t = {malloc(1), 0, 1};
    CHECK(t.text != NULL);
    return t;
}

static void append(text *t, const char *data, size_t length) {
    if (t->length + length > t->room) {
        t->room = 2 * (t->length + length);
        t->text = realloc(t->text, t->room);
        CHECK(t->text != NULL);
    }
    memcpy(t->text + t->length, data, length);
    t->length += length;
}

static int file_of(const text *t) {
    FILE *file = tmpfile();
    CHECK(file != NULL);
    CHECK(fwrite(t->text, 1, t->length, file) == t->length && fflush(file) == 0);
    int descriptor = dup(fileno(file));
    CHECK(descriptor >= 0 && fclose(file) == 0);
    return descriptor;
}

/* Event number `sequence` of a session, sealed; `previous` is replaced by its hash. */
static void append_event(text *t, unsigned session, uint64_t sequence, char previous[64], size_t padding) {
    char uuid[37], number[21] = {0}, line[MAX_LINE], input[MAX_LINE];
    char *filler = malloc(padding + 1);
    CHECK(filler != NULL);
    memset(filler, 'x', padding);
    filler[padding] = 0;
    snprintf(uuid, sizeof uuid, "00000000-0000-7000-8000-%012x", session);
    *cra_put_unsigned(number, sequence) = 0;
    int length = snprintf(input, sizeof input, "1.0%s%s%s%s%s2026-01-01T12:00:00.%06dZa.b{\"x\":\"%s\"}%.64s", uuid, uuid, uuid,
                          uuid, number, (int)(sequence % 1000), filler, previous);
    uint8_t digest[32];
    char hash[64];
    cra_sha256_of(input, (size_t)length, digest);
    cra_sha256_hex(digest, hash);
    length = snprintf(line, sizeof line,
                      "{\"trace_version\":\"1.0\",\"event_id\":\"%s\",\"trace_id\":\"%s\",\"span_id\":\"%s\","
                      "\"session_id\":\"%s\",\"sequence\":%s,\"timestamp\":\"2026-01-01T12:00:00.%06dZ\",\"event_type\":\"a.b\",\"payload\":{\"x\":\"%s\"},"
                      "\"event_hash\":\"%.64s\",\"previous_event_hash\":\"%.64s\"}\n",
                      uuid, uuid, uuid, uuid, number, (int)(sequence % 1000), filler, hash, previous);
    append(t, line, (size_t)length);
    memcpy(previous, hash, 64);
    free(filler);
}

/* Every line of the text, as a plain reader finds them, is what the scanner gives. */
static void check_lines(const text *t, unsigned threads, size_t chunk_size) {
    int descriptor = file_of(t);
    cra_scan *scan = cra_scan_start(descriptor, CRA_DIALECT_TRACE, threads, chunk_size, MAX_LINE);
    CHECK(scan != NULL);
    size_t at = 0;
    for (const cra_chunk *chunk; (chunk = cra_scan_next(scan)); cra_scan_release(scan)) {
        CHECK(chunk->error == 0);
        for (size_t i = 0; i < chunk->count; i++) {
            const char *newline = memchr(t->text + at, '\n', t->length - at);
            size_t length = newline ? (size_t)(newline + 1 - (t->text + at)) : t->length - at;
            size_t kept = length > MAX_LINE ? MAX_LINE + 1 : length;
            CHECK(chunk->lines[i].length == kept);
            CHECK(memcmp(chunk->lines[i].start, t->text + at, kept) == 0);
            at += length;
        }
    }
    CHECK(at == t->length);
    cra_scan_stop(scan);
    close(descriptor);
}

/* Lines of any length, around every seam of chunks and of the limit. */
static void test_lines(void) {
    uint64_t seed = 5;
    static const size_t CHUNKS[] = {1, 2, 100, 4096, 1 << 20};
    static char filler[4 * MAX_LINE];
    memset(filler, 'x', sizeof filler);
    for (int round = 0; round < 60; round++) {
        text t = empty();
        uint64_t count = next_random(&seed) % 30;
        for (uint64_t i = 0; i < count; i++) {
            size_t length = next_random(&seed) % (i % 10 == 9 ? sizeof filler : 200);
            append(&t, filler, length);
            if (i < count - 1 || next_random(&seed) % 2) append(&t, "\n", 1);
        }
        size_t chunk = CHUNKS[(size_t)round % (sizeof CHUNKS / sizeof *CHUNKS)];
        check_lines(&t, 1 + (unsigned)(next_random(&seed) % 4), t.length > 5000 && chunk < 100 ? 100 : chunk);
        free(t.text);
    }
    for (int extra = -1; extra <= 1; extra++) {
        text t = empty();
        append(&t, filler, (size_t)(MAX_LINE - 1 + extra));
        append(&t, "\nx\n", 3);
        append(&t, filler, (size_t)(MAX_LINE + extra));
        check_lines(&t, 2, 64);
        check_lines(&t, 2, 1 << 20);
        free(t.text);
    }
}

/* Chains of several sessions are taken to the end; a changed byte stops them at its line, and at no other. */
static void test_chains(void) {
    enum { SESSIONS = 40, EVENTS = 25 };
    text t = empty();
    char previous[SESSIONS][64];
    uint64_t seed = 6;
    memset(previous, '0', sizeof previous);
    for (uint64_t sequence = 0; sequence < EVENTS; sequence++) {
        for (unsigned session = 0; session < SESSIONS; session++) {
            append_event(&t, session, sequence, previous[session], next_random(&seed) % 300);
        }
    }
    for (unsigned round = 0; round < 40; round++) {
        size_t broken = round == 0 ? t.length : next_random(&seed) % t.length;
        if (broken < t.length) t.text[broken] ^= 4;
        int64_t expected = 0;
        for (size_t i = 0; i < (broken < t.length ? broken : 0); i++) expected += t.text[i] == '\n';
        if (round == 0) expected = SESSIONS * EVENTS;
        int descriptor = file_of(&t);
        cra_scan *scan = cra_scan_start(descriptor, CRA_DIALECT_TRACE, 1 + round % 4, round % 2 ? 1000 : 1 << 16, MAX_LINE);
        cra_chains *chains = cra_chains_new(seed);
        CHECK(scan != NULL && chains != NULL);
        int64_t taken = 0;
        for (const cra_chunk *chunk; (chunk = cra_scan_next(scan)); cra_scan_release(scan)) {
            int64_t some = cra_chains_take(chains, chunk->lines, chunk->count);
            CHECK(some >= 0);
            taken += some;
            if ((size_t)some < chunk->count) break;
        }
        CHECK(taken == expected);
        if (round == 0) {
            unsigned changed = 0;
            for (const cra_chain *chain; (chain = cra_chains_next_changed(chains)); changed++) {
                CHECK(chain->count == EVENTS && chain->sequence == EVENTS && chain->backwards == 0);
                CHECK(memcmp(chain->previous, previous[changed], 64) == 0); /* in the order in which they came */
            }
            CHECK(changed == SESSIONS);
        }
        cra_scan_stop(scan); /* in the middle, where a fault was found */
        cra_chains_free(chains);
        close(descriptor);
        if (broken < t.length) t.text[broken] ^= 4;
    }
    free(t.text);
}

/* A file that cannot be read is an error, not an end. */
static void test_error(void) {
    int descriptor = open("/", O_RDONLY | O_DIRECTORY);
    CHECK(descriptor >= 0);
    cra_scan *scan = cra_scan_start(descriptor, CRA_DIALECT_TRACE, 2, 1000, MAX_LINE);
    const cra_chunk *chunk = cra_scan_next(scan);
    CHECK(chunk != NULL && chunk->error != 0 && chunk->count == 0);
    cra_scan_stop(scan);
    close(descriptor);
}

int main(void) {
    test_lines();
    test_chains();
    test_error();
    printf("scan");
    return 0;
}
