/* The expander without Python: what it writes is linked, what it refuses changes nothing, what is over leaves memory, and a ring is
 * drained while producers write. That the bytes are the reference's, tests/unit/reference/test_expander.py says. */
#include <pthread.h>
#include <string.h>

#include "check.h"
#include "expand.h"

static const uint8_t IDS[48] = "session-id-16-b!trace-id-16-byt!session-span-16!";

typedef struct {
    uint8_t bytes[4096];
    size_t length;
} record;

static void put(record *r, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) r->bytes[r->length++] = i < 8 ? (uint8_t)(value >> 8 * i) : 0;
}

static void put_text(record *r, const char *text) {
    memcpy(r->bytes + r->length, text, strlen(text));
    r->length += strlen(text);
}

/* An EVENTS record with `count` events of one type. */
static record events(uint64_t session, int defines, uint16_t count, const char *type, const char *payload) {
    record r = {.length = 0};
    put(&r, CRA_EVENTS, 1);
    put(&r, defines ? CRA_DEFINES : 0, 1);
    put(&r, count, 2);
    put(&r, session, 8);
    put(&r, 1767268800000000000, 8);
    put(&r, session, 16);
    if (defines) {
        memcpy(r.bytes + r.length, IDS, sizeof IDS);
        r.bytes[r.length] = (uint8_t)session; /* sessions have ids of their own */
        r.bytes[r.length + 1] = (uint8_t)(session >> 8);
        r.bytes[r.length + 2] = (uint8_t)(session >> 16);
        r.length += sizeof IDS;
    }
    for (int i = 0; i < count; i++) {
        put(&r, strlen(type), 2);
        put(&r, strlen(payload), 4);
        put_text(&r, type);
        put_text(&r, payload);
    }
    return r;
}

static record template_record(uint32_t number, uint32_t evaluations, uint16_t blocks) {
    record r = {.length = 0};
    put(&r, CRA_TEMPLATE, 2);
    put(&r, blocks, 2);
    put(&r, number, 4);
    put(&r, evaluations, 4);
    put(&r, 2, 4);
    put(&r, 1, 4);
    put(&r, 3600, 4);
    for (int i = 0; i < CRA_POLICY_SET; i++) put(&r, (uint64_t)i, 1);
    put(&r, 5, 4);
    put_text(&r, "allow");
    for (uint32_t i = 0; i < evaluations + 2u * blocks; i++) {
        put(&r, 9, 4);
        put_text(&r, "{\"a\":\"b\"}");
    }
    return r;
}

static record resolve(uint64_t session, uint32_t number, uint16_t injected, const char *goal) {
    record r = {.length = 0};
    put(&r, CRA_RESOLVE, 2);
    put(&r, injected, 2);
    put(&r, 0, 4);
    put(&r, session, 8);
    put(&r, 1767268800000000000, 8);
    put(&r, 99, 16);
    put(&r, number, 4);
    put(&r, strlen(goal), 4);
    for (uint16_t i = 0; i < injected; i++) put(&r, i, 2);
    put_text(&r, goal);
    return r;
}

static cra_expander *make(void) {
    cra_expander *x = cra_expander_new(NULL, 0);
    CHECK(x);
    return x;
}

static cra_expand_status feed(cra_expander *x, const record *r) {
    /* As long as it says and no longer, so that a read beyond the end is seen. */
    uint8_t *exact = malloc(r->length ? r->length : 1);
    const char *reason = NULL;
    memcpy(exact, r->bytes, r->length);
    cra_expand_status status = cra_expander_feed(x, exact, r->length, &reason);
    free(exact);
    CHECK((status == CRA_REFUSED) == (reason != NULL));
    return status;
}

static void must_feed(cra_expander *x, record r) { CHECK(feed(x, &r) == CRA_FED); }

/* The value of `name` in a line. */
static const char *field(const char *line, const char *name) {
    const char *at = strstr(line, name);
    CHECK(at);
    return at + strlen(name);
}

/* Every line but a session's first names the hash of the line before; returns how many lines there are. All of one session. */
static size_t check_links(const cra_expander *x) {
    char *text = malloc(x->writer.length + 1), previous[CRA_HASH];
    memcpy(text, x->writer.lines, x->writer.length);
    text[x->writer.length] = 0;
    memset(previous, '0', sizeof previous);
    size_t lines = 0;
    for (char *line = text, *end; *line; line = end + 1, lines++) {
        end = strchr(line, '\n');
        CHECK(end);
        *end = 0;
        CHECK(memcmp(field(line, "\"previous_event_hash\":\""), previous, CRA_HASH) == 0);
        CHECK((size_t)strtoull(field(line, "\"sequence\":"), NULL, 10) == lines);
        memcpy(previous, field(line, "\"event_hash\":\""), CRA_HASH);
    }
    free(text);
    return lines;
}

static void test_lines_are_linked(void) {
    cra_expander *x = make();
    must_feed(x, events(1, 1, 2, "session.started", "{}"));
    must_feed(x, template_record(1, 5, 2));
    for (int i = 0; i < 30; i++) must_feed(x, resolve(1, 1, (uint16_t)(i % 3), "tell \"them\"\n"));
    must_feed(x, events(1, 0, 1, "session.ended", "{\"reason\":\"completed\"}"));
    size_t count = 2 + 30 * 7 + 30 + 1;
    CHECK(check_links(x) == count && cra_expander_events(x) == count && cra_expander_records(x) == 33);
    CHECK(x->run_count == 1 && x->runs[0].events == count && x->runs[0].bytes == x->writer.length);
    CHECK(x->sessions.count == 0);
    cra_expander_free(x);
}

/* As much as the whole state that a record may change. */
typedef struct {
    size_t length, runs, sessions, templates;
    uint64_t events, records;
} state;

static state look(const cra_expander *x) {
    return (state){x->writer.length, x->run_count, x->sessions.count, x->templates.count, cra_expander_events(x),
                   cra_expander_records(x)};
}

static void test_cut_and_changed_records_change_nothing_or_are_whole(uint64_t seed) {
    record good[] = {events(1, 1, 3, "a.b", "{\"x\":\"\xc3\xa9\"}"), template_record(2, 3, 2), resolve(7, 1, 2, "goal \xf0\x9f\x98\x80 \x01"),
                     events(7, 0, 2, "session.ended", "{}")};
    for (size_t kind = 0; kind < 4; kind++) {
        for (int round = 0; round < 1000; round++) {
            cra_expander *x = make();
            must_feed(x, events(7, 1, 1, "session.started", "{}"));
            must_feed(x, template_record(1, 1, 2));
            state before = look(x);
            record bad = good[kind];
            if (round < (int)bad.length) {
                bad.length = (size_t)round;
                CHECK(feed(x, &bad) == CRA_REFUSED);
            } else {
                for (uint64_t n = next_random(&seed) % 3; n < 3; n++) {
                    bad.bytes[next_random(&seed) % bad.length] = (uint8_t)next_random(&seed);
                }
                feed(x, &bad);
            }
            state after = look(x);
            if (after.records == before.records) CHECK(memcmp(&before, &after, sizeof before) == 0);
            cra_expander_free(x);
        }
    }
}

static void test_what_nothing_defines_is_refused(void) {
    cra_expander *x = make();
    record unknown[] = {events(1, 0, 1, "a.b", "{}"), resolve(1, 1, 0, "goal")};
    for (int i = 0; i < 2; i++) CHECK(feed(x, &unknown[i]) == CRA_REFUSED);
    must_feed(x, events(1, 1, 1, "a.b", "{}"));
    CHECK(feed(x, &unknown[1]) == CRA_REFUSED);
    must_feed(x, template_record(1, 0, 1));
    must_feed(x, unknown[1]);
    record block = resolve(1, 1, 2, "goal");
    CHECK(feed(x, &block) == CRA_REFUSED);
    must_feed(x, events(1, 1, 1, "a.b", "{}")); /* the same definition again */
    record other = events(1, 1, 1, "a.b", "{}");
    other.bytes[40]++;
    CHECK(feed(x, &other) == CRA_REFUSED);
    record forget = {.length = 0};
    put(&forget, CRA_FORGET, 4);
    put(&forget, 1, 4);
    must_feed(x, forget);
    must_feed(x, forget);
    CHECK(x->templates.count == 0 && feed(x, &unknown[1]) == CRA_REFUSED);
    cra_expander_free(x);
}

static void test_memory_is_flat_over_many_sessions(void) {
    cra_expander *x = make();
    for (uint64_t n = 1; n <= 100000; n++) {
        must_feed(x, events(n, 1, 1, "session.started", "{}"));
        if (n > 20) must_feed(x, events(n - 20, 0, 1, "session.ended", "{}"));
        cra_expander_clear(x);
    }
    CHECK(x->sessions.count == 20 && x->sessions.capacity <= 64 && x->run_capacity <= 64);
    cra_expander_free(x);
}

static void test_table_agrees_with_an_array(uint64_t seed) {
    enum { KEYS = 500 };
    static int values[KEYS];
    void *expected[KEYS] = {0};
    cra_table table = {0};
    size_t count = 0;
    for (int step = 0; step < 200000; step++) {
        uint64_t key = next_random(&seed) % KEYS, spread = key << (key % 3 * 20);
        if (next_random(&seed) % 2) {
            CHECK(cra_table_reserve(&table));
            CHECK(cra_table_put(&table, spread, &values[key]) == expected[key]);
            count += !expected[key];
            expected[key] = &values[key];
        } else {
            CHECK(cra_table_remove(&table, spread) == expected[key]);
            count -= expected[key] != NULL;
            expected[key] = NULL;
        }
        CHECK(table.count == count);
        uint64_t other = next_random(&seed) % KEYS;
        CHECK(cra_table_find(&table, other << (other % 3 * 20)) == expected[other]);
    }
    cra_table_free(&table);
}

static void test_large_payloads_are_written_and_their_memory_given_back(void) {
    size_t length = CRA_MAX_PAYLOAD;
    record small = events(1, 1, 1, "a.b", "{}");
    /* header 36, definition 48, then u16 type length, u32 payload length, "a.b" */
    uint8_t *large = malloc(36 + 48 + 6 + 3 + length + 1);
    memcpy(large, small.bytes, 36 + 48 + 6 + 3);
    uint8_t *payload = large + 36 + 48 + 6 + 3;
    memset(payload, 'x', length + 1);
    payload[0] = '{', payload[length - 1] = payload[length] = '}';
    cra_expander *x = make();
    const char *reason;
    for (size_t n = length + 1; n >= length; n--) {
        for (int i = 0; i < 4; i++) large[36 + 48 + 2 + i] = (uint8_t)(n >> 8 * i);
        cra_expand_status status = cra_expander_feed(x, large, 36 + 48 + 6 + 3 + n, &reason);
        CHECK(status == (n == length ? CRA_FED : CRA_REFUSED));
    }
    CHECK(x->writer.length > length && x->writer.length <= 1u << 24);
    cra_expander_clear(x);
    CHECK(x->writer.capacity == 0 && x->writer.texts_capacity == 0);
    must_feed(x, events(1, 0, 1, "a.b", "{}"));
    free(large);
    cra_expander_free(x);
}

/* A ring with a producer and an expander that discards. */
enum { PRODUCED = 20000 };

static void *produce(void *argument) {
    cra_ring *ring = argument;
    for (uint64_t n = 1; n <= PRODUCED; n++) {
        record r = n % 100 == 0 ? events(0, 0, 1, "never.defined", "{}") : events(n, 1, 3, "a.b", "{\"x\":1}");
        while (!cra_ring_put(ring, r.bytes, r.length)) cra_ring_wait_room(ring, r.length, -1);
        if (n % 100) {
            r = events(n, 0, 1, "session.ended", "{}");
            while (!cra_ring_put(ring, r.bytes, r.length)) cra_ring_wait_room(ring, r.length, -1);
        }
    }
    return NULL;
}

typedef struct {
    cra_expander *expander;
    cra_ring *ring;
    cra_expand_status status;
} worker;

static void *discard(void *argument) {
    worker *w = argument;
    w->status = cra_expander_run(w->expander, w->ring, -1);
    return NULL;
}

static void test_a_ring_is_drained_until_interrupted(void) {
    cra_ring *ring = cra_ring_open(1 << 16, -1, 1);
    CHECK(ring);
    worker w = {make(), ring, CRA_FED};
    pthread_t producer, consumer;
    CHECK(pthread_create(&consumer, NULL, discard, &w) == 0);
    CHECK(pthread_create(&producer, NULL, produce, ring) == 0);
    pthread_join(producer, NULL);
    uint64_t whole = PRODUCED - PRODUCED / 100;
    while (cra_expander_records(w.expander) < 2 * whole) cra_ring_wait_room(ring, 1 << 15, 1000000);
    cra_expander_interrupt(w.expander);
    cra_ring_wake(ring);
    pthread_join(consumer, NULL);
    CHECK(w.status == CRA_INTERRUPTED);
    CHECK(cra_expander_events(w.expander) == 4 * whole && cra_expander_refused(w.expander) == PRODUCED / 100);
    CHECK(atomic_load(ring->tail) == atomic_load(ring->head) && w.expander->sessions.count == 0);

    /* Nothing comes: it says so after the time it was given. And it stops at a closed ring. */
    CHECK(cra_expander_run(w.expander, ring, 1000000) == CRA_FED);
    cra_ring_close(ring);
    CHECK(cra_expander_run(w.expander, ring, -1) == CRA_CLOSED_RING);
    cra_expander_free(w.expander);
    cra_ring_destroy(ring);
}

static void test_a_drain_stops_at_its_limit(void) {
    cra_ring *ring = cra_ring_open(1 << 16, -1, 1);
    cra_expander *x = make();
    for (uint64_t n = 1; n <= 10; n++) {
        record r = events(n, 1, 1, "a.b", "{}");
        CHECK(cra_ring_put(ring, r.bytes, r.length));
    }
    uint64_t taken;
    CHECK(cra_expander_drain(x, ring, 1, &taken) == CRA_FED && taken == 1 && x->run_count == 1);
    CHECK(cra_expander_drain(x, ring, 1, &taken) == CRA_FED && taken == 0);
    CHECK(cra_expander_drain(x, ring, 1 << 20, &taken) == CRA_FED && taken == 9 && x->run_count == 10);
    CHECK(x->pending_records == 10 && x->pending_events == 10);
    cra_expander_free(x);
    cra_ring_close(ring);
    cra_ring_destroy(ring);
}

int main(void) {
    test_lines_are_linked();
    test_cut_and_changed_records_change_nothing_or_are_whole(1);
    test_what_nothing_defines_is_refused();
    test_memory_is_flat_over_many_sessions();
    test_table_agrees_with_an_array(2);
    test_large_payloads_are_written_and_their_memory_given_back();
    test_a_drain_stops_at_its_limit();
    test_a_ring_is_drained_until_interrupted();
    puts("expand: ok");
    return 0;
}
