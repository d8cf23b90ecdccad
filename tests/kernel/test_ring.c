/* The ring: order, room, threads, sleep, what a crash leaves, and damage. docs/formats/ring.md. */
#define _GNU_SOURCE
#include "check.h"
#include "ring.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SMALL 65536

static uint64_t size_of_tests(void) { /* the smallest ring of this machine, so that it wraps often */
    const long page = sysconf(_SC_PAGESIZE);
    return page > CRA_RING_MIN_SIZE ? (uint64_t)page : CRA_RING_MIN_SIZE;
}

static cra_ring *open_ring(uint64_t size) {
    cra_ring *ring = cra_ring_open(size, -1, 0x123456789ABCDEF0);
    CHECK(ring != NULL);
    return ring;
}

/* Record `number` of `owner`: its bytes follow from both and cannot be mistaken for another's. */
static uint32_t make_record(uint8_t *into, uint32_t owner, uint32_t number, uint32_t largest) {
    uint64_t seed = (uint64_t)owner << 32 | number;
    const uint32_t length = 8 + (uint32_t)(next_random(&seed) % (largest - 7));
    memcpy(into, &owner, 4);
    memcpy(into + 4, &number, 4);
    for (uint32_t i = 8; i < length; i++)
        into[i] = (uint8_t)(seed + i * 31 + owner);
    return length;
}

static void check_record(const uint8_t *record, uint64_t length, uint32_t owner, uint32_t number, uint32_t largest) {
    uint8_t expected[SMALL];
    CHECK(length == make_record(expected, owner, number, largest));
    CHECK(memcmp(record, expected, length) == 0);
}

static void test_sizes(void) {
    const uint64_t wrong[] = {0, 4095, 4097, 12288, CRA_RING_MAX_SIZE * 2};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK(cra_ring_open(wrong[i], -1, 1) == NULL && errno == EINVAL);
}

static void test_order_and_room(void) {
    const uint64_t size = size_of_tests();
    cra_ring *ring = open_ring(size);
    uint8_t record[SMALL];
    uint32_t put = 0, read = 0, length;
    uint64_t seed = 2;
    const uint8_t *found;
    for (int step = 0; step < 200000; step++) {
        if (next_random(&seed) % 2) {
            const uint64_t room = cra_ring_room(ring), head = *ring->head, need = cra_ring_frame_size(make_record(record, 1, put, 400));
            const bool done = cra_ring_put(ring, record, make_record(record, 1, put, 400));
            CHECK(done == (room >= need));
            CHECK(*ring->head == head + (done ? need : 0) && cra_ring_room(ring) == room - (done ? need : 0));
            put += done;
        } else if (cra_ring_peek(ring, &found, &length)) {
            check_record(found, length, 1, read++, 400);
            cra_ring_advance(ring, length);
        } else {
            CHECK(read == put);
        }
        if (next_random(&seed) % 8 == 0)
            CHECK(cra_ring_free(ring, ring->position));
    }
    CHECK(cra_ring_puts(ring) == put && *ring->head > 100 * size);
    CHECK(!cra_ring_free(ring, ring->position + 8) && !cra_ring_free(ring, *ring->tail - 8));
    cra_ring_destroy(ring);
}

static void test_reservations(void) {
    cra_ring *ring = open_ring(size_of_tests());
    const uint64_t max = cra_ring_max_record(ring);
    uint8_t record[SMALL] = {0};
    uint64_t position;
    CHECK(!cra_ring_reserve(ring, max + 1) && cra_ring_claim(ring, max + 1, &position) == NULL);
    CHECK(!cra_ring_release(ring, 10));
    CHECK(cra_ring_reserve(ring, 1000));
    while (cra_ring_put(ring, record, 100)) {
    }
    while (cra_ring_put(ring, record, 0)) {
    }
    CHECK(!cra_ring_reserve(ring, 0) && cra_ring_room(ring) < 16);
    CHECK(cra_ring_claim_reserved(ring, 1001, 1000, &position) == NULL);
    uint8_t *place = cra_ring_claim_reserved(ring, 9, 1000, &position);
    CHECK(place != NULL && position + cra_ring_frame_size(9) == *ring->head);
    memset(place, 7, 9);
    cra_ring_commit(ring, position, 9);
    CHECK(ring->reserved == 0 && cra_ring_room(ring) + (*ring->head - *ring->tail) == ring->size);
    CHECK(cra_ring_claim_reserved(ring, 9, 1000, &position) == NULL);
    cra_ring_close(ring);
    cra_ring_destroy(ring);

    ring = open_ring(size_of_tests());
    CHECK(cra_ring_reserve(ring, 500) && cra_ring_room(ring) == ring->size - cra_ring_frame_size(500));
    CHECK(cra_ring_release(ring, 500) && !cra_ring_release(ring, 500) && cra_ring_room(ring) == ring->size);
    cra_ring_destroy(ring);
}

enum { PRODUCERS = 4, RECORDS = 20000, LARGEST = 300 };

typedef struct {
    cra_ring *ring;
    uint32_t owner;
} producer;

static void *produce(void *argument) {
    const producer *self = argument;
    uint8_t record[LARGEST];
    uint64_t position;
    for (uint32_t number = 0; number < RECORDS; number++) {
        const uint32_t length = make_record(record, self->owner, number, LARGEST);
        const bool reserves = number % 5 == 0;
        while (!(reserves ? cra_ring_reserve(self->ring, LARGEST) : cra_ring_put(self->ring, record, length)))
            cra_ring_wait_room(self->ring, LARGEST, -1);
        if (reserves) {
            void *place = cra_ring_claim_reserved(self->ring, length, LARGEST, &position);
            CHECK(place != NULL);
            memcpy(place, record, length);
            cra_ring_commit(self->ring, position, length);
        }
    }
    return NULL;
}

static void test_many_producers(void) {
    cra_ring *ring = open_ring(size_of_tests());
    pthread_t threads[PRODUCERS];
    producer producers[PRODUCERS];
    uint32_t next[PRODUCERS] = {0}, length;
    const uint8_t *record;
    for (uint32_t i = 0; i < PRODUCERS; i++) {
        producers[i] = (producer){ring, i};
        CHECK(pthread_create(&threads[i], NULL, produce, &producers[i]) == 0);
    }
    for (int read = 0; read < PRODUCERS * RECORDS;) {
        const int found = cra_ring_peek(ring, &record, &length);
        CHECK(found >= 0);
        if (found == 0) {
            CHECK(cra_ring_free(ring, ring->position));
            CHECK(cra_ring_wait(ring, -1) != 0);
            continue;
        }
        uint32_t owner;
        memcpy(&owner, record, 4);
        CHECK(owner < PRODUCERS);
        check_record(record, length, owner, next[owner]++, LARGEST);
        cra_ring_advance(ring, length);
        if (++read % 7 == 0)
            CHECK(cra_ring_free(ring, ring->position));
    }
    for (int i = 0; i < PRODUCERS; i++)
        pthread_join(threads[i], NULL);
    CHECK(cra_ring_free(ring, ring->position));
    CHECK(cra_ring_puts(ring) == PRODUCERS * RECORDS && cra_ring_room(ring) == ring->size && ring->reserved == 0 && ring->room_waiters == 0);
    cra_ring_destroy(ring);
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void pause_ms(int ms) {
    const struct timespec length = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&length, NULL);
}

typedef struct {
    cra_ring *ring;
    int pause;
    _Atomic int64_t at;
    void (*act)(cra_ring *);
} later;

static void *act_later(void *argument) {
    later *self = argument;
    pause_ms(self->pause);
    atomic_store(&self->at, now_ns());
    self->act(self->ring);
    return NULL;
}

static void put_one(cra_ring *ring) {
    CHECK(cra_ring_put(ring, "x", 1));
}

static void free_all(cra_ring *ring) {
    CHECK(cra_ring_free(ring, ring->position));
}

static int wait_any(cra_ring *ring) {
    return cra_ring_wait(ring, -1);
}

static int wait_for_room(cra_ring *ring) {
    return cra_ring_wait_room(ring, 1000, -1);
}

static void read_all(cra_ring *ring) {
    const uint8_t *record;
    uint32_t length;
    while (cra_ring_peek(ring, &record, &length) == 1)
        cra_ring_advance(ring, length);
}

/* How long after `act` the sleeper runs again, best of a few. */
static int64_t delay_of(cra_ring *ring, int pause, void (*act)(cra_ring *), int (*sleep)(cra_ring *), int expected) {
    int64_t best = INT64_MAX;
    for (int i = 0; i < 5; i++) {
        later argument = {ring, pause, 0, act};
        pthread_t thread;
        if (sleep == wait_for_room)
            while (cra_ring_put(ring, "x", 1)) {
            }
        read_all(ring);
        if (sleep == wait_any)
            free_all(ring);
        CHECK(pthread_create(&thread, NULL, act_later, &argument) == 0);
        CHECK(sleep(ring) == expected);
        const int64_t delay = now_ns() - atomic_load(&argument.at);
        CHECK(atomic_load(&argument.at) > 0);
        best = delay < best ? delay : best;
        pthread_join(thread, NULL);
        if (act == cra_ring_close)
            break;
    }
    return best;
}

static void test_waits(void) {
    cra_ring *ring = open_ring(size_of_tests());
    int64_t begin = now_ns();
    CHECK(cra_ring_wait(ring, 20000000) == 0 && now_ns() - begin >= 20000000);
    CHECK(cra_ring_wait(ring, 0) == 0);
    cra_ring_wake(ring);
    CHECK(cra_ring_wait(ring, -1) == 1 && cra_ring_wait(ring, 0) == 0);
    const int64_t limit = 1000000, slack = 4; /* what sanitizers and a busy machine add */
    CHECK(delay_of(ring, 10, put_one, wait_any, 1) < slack * limit);
    CHECK(delay_of(ring, 90, put_one, wait_any, 1) < slack * limit);
    CHECK(delay_of(ring, 10, cra_ring_wake, wait_any, 1) < slack * limit);
    CHECK(delay_of(ring, 10, free_all, wait_for_room, 1) < slack * limit);
    CHECK(cra_ring_wait_room(ring, cra_ring_max_record(ring) + 1, -1) == 0);
    CHECK(delay_of(ring, 10, cra_ring_close, wait_for_room, 0) < slack * limit);
    CHECK(cra_ring_wait(ring, -1) == 1 && cra_ring_state(ring) == CRA_RING_CLOSED);
    CHECK(!cra_ring_put(ring, "x", 1) && !cra_ring_reserve(ring, 1) && !cra_ring_free(ring, ring->position));
    cra_ring_destroy(ring);
}

static void test_fork(void) {
    cra_ring *ring = open_ring(size_of_tests());
    const uint64_t head = *ring->head;
    const pid_t child = fork();
    if (child == 0) {
        const bool refused = cra_ring_state(ring) == CRA_RING_FORKED && !cra_ring_put(ring, "x", 1) && !cra_ring_reserve(ring, 1);
        cra_ring_close(ring);
        cra_ring_destroy(ring);
        _exit(refused ? 0 : 1);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(*ring->head == head && cra_ring_put(ring, "x", 1) && cra_ring_state(ring) == CRA_RING_OPEN);
    cra_ring_destroy(ring);
}

typedef struct {
    uint64_t position;
    uint32_t number;
    bool committed;
} claim;

/* Many claims, some of them without a commit, with the content written in part: what producers leave that die in between. */
static cra_ring *make_wreck(uint64_t *seed, claim *claims, size_t *count) {
    cra_ring *ring = open_ring(size_of_tests());
    uint8_t record[SMALL];
    uint32_t number = 0;
    const uint8_t *found;
    uint32_t length;
    for (uint64_t laps = next_random(seed) % 200; laps > 0; laps--) {
        while (cra_ring_put(ring, record, make_record(record, 9, number, 200)))
            number++;
        for (uint64_t some = next_random(seed) % 20; some > 0 && cra_ring_peek(ring, &found, &length) == 1; some--)
            cra_ring_advance(ring, length);
        CHECK(cra_ring_free(ring, ring->position));
    }
    read_all(ring);
    CHECK(cra_ring_free(ring, ring->position));
    *count = 0;
    for (uint64_t left = next_random(seed) % 30; left > 0; left--, number++) {
        claim *next = &claims[*count];
        length = make_record(record, 9, number, 200);
        uint8_t *place = cra_ring_claim(ring, length, &next->position);
        if (place == NULL)
            break;
        next->number = number;
        next->committed = next_random(seed) % 4 != 0;
        memcpy(place, record, next->committed ? length : next_random(seed) % (length + 1));
        if (next->committed)
            cra_ring_commit(ring, next->position, length);
        ++*count;
    }
    return ring;
}

static void test_scan_finds_all_that_was_committed(void) {
    uint64_t seed = 3;
    for (int round = 0; round < 300; round++) {
        claim claims[64];
        size_t count, at = 0;
        cra_ring *ring = make_wreck(&seed, claims, &count);
        cra_ring_scan scan;
        CHECK(cra_ring_scan_open(&scan, ring->header, CRA_RING_DATA_OFFSET + ring->size) == CRA_RING_SCANNED);
        CHECK(scan.head == *ring->head && scan.tail == *ring->tail && scan.pid == (uint64_t)getpid());
        uint64_t covered = scan.tail;
        for (cra_ring_item item = cra_ring_scan_next(&scan); item.kind != CRA_RING_END; item = cra_ring_scan_next(&scan)) {
            CHECK(item.position == covered);
            if (item.kind == CRA_RING_NOT_COMMITTED) {
                covered += item.length;
                while (at < count && claims[at].position < covered)
                    CHECK(!claims[at++].committed);
            } else {
                CHECK(item.kind == CRA_RING_RECORD && claims[at].committed && claims[at].position == item.position);
                check_record(item.record, item.length, 9, claims[at++].number, 200);
                covered += cra_ring_frame_size(item.length);
            }
        }
        CHECK(covered == *ring->head && at == count);
        cra_ring_scan_close(&scan);
        cra_ring_destroy(ring);
    }
}

/* One byte or the end of the image is wrong: never another record, and no access out of bounds (the sanitizers look). */
static void test_scan_survives_damage(void) {
    uint64_t seed = 4;
    claim claims[64];
    size_t count, missing = 0;
    cra_ring *ring = make_wreck(&seed, claims, &count);
    while (count < 10) {
        cra_ring_destroy(ring);
        ring = make_wreck(&seed, claims, &count);
    }
    const size_t whole = CRA_RING_DATA_OFFSET + ring->size;
    uint8_t *image = malloc(whole);
    for (size_t round = 0; round < 6000; round++) {
        cra_ring_scan scan;
        memcpy(image, ring->header, whole);
        const uint64_t live = CRA_RING_DATA_OFFSET + (*ring->tail + next_random(&seed) % (*ring->head - *ring->tail)) % ring->size;
        image[round < 300 ? round : live] ^= (uint8_t)(1 + next_random(&seed) % 255);
        const size_t length = round % 10 == 9 ? next_random(&seed) % whole : whole;
        uint8_t *exact = malloc(length + !length);
        memcpy(exact, image, length);
        if (cra_ring_scan_open(&scan, exact, length) == CRA_RING_SCANNED) {
            size_t at = 0;
            for (cra_ring_item item = cra_ring_scan_next(&scan); item.kind != CRA_RING_END; item = cra_ring_scan_next(&scan)) {
                if (item.kind != CRA_RING_RECORD)
                    continue;
                while (at < count && claims[at].position < item.position)
                    missing += claims[at++].committed;
                CHECK(at < count && claims[at].position == item.position && claims[at].committed);
                check_record(item.record, item.length, 9, claims[at++].number, 200);
            }
            cra_ring_scan_close(&scan);
        }
        free(exact);
    }
    CHECK(missing > 0); /* the damage was real */
    free(image);
    cra_ring_destroy(ring);
}

/* Head, tail and seal, each bit of them wrong: every record is found all the same, and none that was freed. */
static void test_scan_needs_neither_head_nor_tail_to_be_right(void) {
    cra_ring *ring = open_ring(size_of_tests());
    uint8_t record[SMALL];
    for (uint32_t number = 0; number < 2000; number++) {
        read_all(ring);
        if (number < 1990)
            CHECK(cra_ring_free(ring, number % 2 ? ring->position : *ring->tail));
        CHECK(cra_ring_put(ring, record, make_record(record, 9, number, 100)));
    }
    for (int bit = 0; bit < 192; bit++) {
        uint8_t *word = ring->header + (bit < 64 ? CRA_RING_HEAD_OFFSET : bit < 128 ? CRA_RING_TAIL_OFFSET : CRA_RING_TAIL_OFFSET + 8);
        cra_ring_scan scan;
        word[bit % 64 / 8] ^= (uint8_t)(1 << bit % 8);
        CHECK(cra_ring_scan_open(&scan, ring->header, CRA_RING_DATA_OFFSET + ring->size) == CRA_RING_SCANNED);
        uint32_t number = 1989;
        cra_ring_item item = cra_ring_scan_next(&scan);
        for (; item.kind == CRA_RING_RECORD; item = cra_ring_scan_next(&scan))
            check_record(item.record, item.length, 9, number++, 100);
        CHECK(number == 2000 && item.kind != CRA_RING_DAMAGED_TAIL);
        CHECK(bit >= 64 ? item.kind == CRA_RING_END : item.kind == CRA_RING_DAMAGED_HEAD || item.kind == CRA_RING_NOT_COMMITTED);
        cra_ring_scan_close(&scan);
        word[bit % 64 / 8] ^= (uint8_t)(1 << bit % 8);
    }
    cra_ring_destroy(ring);
}

int main(void) {
    test_sizes();
    test_order_and_room();
    test_reservations();
    test_many_producers();
    test_waits();
    test_fork();
    test_scan_finds_all_that_was_committed();
    test_scan_needs_neither_head_nor_tail_to_be_right();
    test_scan_survives_damage();
    printf("ring: %d records of %d producers, waits, fork, 300 wrecks, 6000 damages\n", PRODUCERS * RECORDS, PRODUCERS);
    return 0;
}
