/* Processes with several producers are killed at random moments: what they acknowledged is in the file of their ring.
 *
 * CRA_RING_KILLS sets how many; without it 200. Not under ThreadSanitizer, which has no threads in a forked child. */
#define _GNU_SOURCE
#include "check.h"
#include "ring.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef __SANITIZE_THREAD__
#define UNDER_THREAD_SANITIZER 1
#else
#define UNDER_THREAD_SANITIZER 0
#endif

enum { PRODUCERS = 3, LARGEST = 4000, SIZE = 262144 };

/* What the child says: a record was put (after the put returned), or is about to be freed. */
typedef struct {
    uint16_t owner, freed;
    uint32_t number;
} message;

typedef struct {
    cra_ring *ring;
    uint16_t owner;
    int pipe;
} producer;

static uint32_t length_of(uint16_t owner, uint32_t number) {
    uint64_t seed = (uint64_t)owner << 32 | number;
    return 8 + (uint32_t)(next_random(&seed) % (LARGEST - 7));
}

static void make_record(uint8_t *into, uint16_t owner, uint32_t number) {
    const uint32_t length = length_of(owner, number);
    const message head = {owner, 0, number};
    memcpy(into, &head, 8);
    for (uint32_t i = 8; i < length; i++)
        into[i] = (uint8_t)(number * 7 + i * i);
}

static void *produce(void *argument) {
    const producer *self = argument;
    for (uint32_t number = 0;; number++) {
        const uint32_t length = length_of(self->owner, number);
        uint64_t position;
        uint8_t *place;
        while ((place = cra_ring_claim(self->ring, length, &position)) == NULL)
            cra_ring_wait_room(self->ring, length, -1);
        make_record(place, self->owner, number);
        cra_ring_commit(self->ring, position, length);
        const message put = {self->owner, 0, number};
        CHECK(write(self->pipe, &put, sizeof put) == sizeof put);
    }
    return NULL;
}

/* The consumer: reads all, and frees all but half of the ring. */
static void consume(cra_ring *ring, int pipe) {
    message freed[PRODUCERS] = {{0, 0, 0}};
    for (;;) {
        const uint8_t *record;
        uint32_t length;
        if (cra_ring_peek(ring, &record, &length) != 1) {
            cra_ring_wait(ring, -1);
            continue;
        }
        message head;
        memcpy(&head, record, sizeof head);
        freed[head.owner] = (message){head.owner, 1, head.number};
        cra_ring_advance(ring, length);
        if (cra_ring_position(ring) - cra_ring_tail(ring) < SIZE / 2)
            continue;
        for (int i = 0; i < PRODUCERS; i++)
            CHECK(!freed[i].freed || write(pipe, &freed[i], sizeof *freed) == sizeof *freed);
        CHECK(cra_ring_free(ring, cra_ring_position(ring)));
    }
}

static void run_child(int fd, int pipe) {
    cra_ring *ring = cra_ring_open(SIZE, fd, (uint64_t)getpid() * UINT64_C(0x9E3779B97F4A7C15));
    CHECK(ring != NULL);
    for (uint16_t i = 0; i < PRODUCERS; i++) {
        producer *self = malloc(sizeof *self);
        pthread_t thread;
        *self = (producer){ring, i, pipe};
        CHECK(pthread_create(&thread, NULL, produce, self) == 0);
    }
    consume(ring, pipe);
}

typedef struct {
    int kills, torn, hiding, wrapped;
} counts;

/* Compare what is in the file with what the pipe told: `next[owner]` was not put yet, `freed[owner]` not freed. */
static void check_file(int fd, const uint32_t *next, const uint32_t *freed, counts *seen) {
    static uint8_t image[CRA_RING_DATA_OFFSET + SIZE];
    uint8_t expected[LARGEST];
    uint32_t found[PRODUCERS], first[PRODUCERS];
    cra_ring_scan scan;
    for (int i = 0; i < PRODUCERS; i++)
        found[i] = first[i] = UINT32_MAX;
    CHECK(pread(fd, image, sizeof image, 0) == sizeof image);
    CHECK(cra_ring_scan_open(&scan, image, sizeof image) == CRA_RING_SCANNED);
    seen->wrapped += scan.head > SIZE;
    bool torn = false, hiding = false;
    for (cra_ring_item item = cra_ring_scan_next(&scan); item.kind != CRA_RING_END; item = cra_ring_scan_next(&scan)) {
        if (item.kind != CRA_RING_RECORD) {
            CHECK(item.kind == CRA_RING_NOT_COMMITTED);
            torn = true;
            continue;
        }
        hiding = hiding || torn; /* a record behind a hole */
        message head;
        memcpy(&head, item.record, sizeof head);
        CHECK(head.owner < PRODUCERS && item.length == length_of(head.owner, head.number));
        make_record(expected, head.owner, head.number);
        CHECK(memcmp(item.record, expected, item.length) == 0);
        if (first[head.owner] == UINT32_MAX)
            first[head.owner] = head.number;
        else
            CHECK(head.number == found[head.owner] + 1);
        found[head.owner] = head.number;
    }
    for (int i = 0; i < PRODUCERS; i++) {
        if (first[i] == UINT32_MAX) {
            CHECK(next[i] == freed[i]);
        } else {
            CHECK(first[i] <= freed[i]);
            CHECK(found[i] + 1 == next[i] || found[i] == next[i]); /* or the last one was put and not told */
        }
    }
    seen->torn += torn;
    seen->hiding += hiding;
    cra_ring_scan_close(&scan);
}

static void kill_one(uint64_t *seed, counts *seen) {
    int ends[2];
    const int fd = memfd_create("ring", MFD_CLOEXEC);
    CHECK(fd >= 0 && pipe(ends) == 0);
    CHECK(fcntl(ends[1], F_SETPIPE_SZ, 1 << 20) >= 0);
    const pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        run_child(fd, ends[1]);
    }
    close(ends[1]);
    uint32_t next[PRODUCERS] = {0}, freed[PRODUCERS] = {0};
    message told;
    CHECK(read(ends[0], &told, sizeof told) == sizeof told);
    next[told.owner] = told.number + 1;
    const struct timespec pause = {0, (long)(next_random(seed) % 4000000)};
    nanosleep(&pause, NULL);
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
    while (read(ends[0], &told, sizeof told) == sizeof told)
        (told.freed ? freed : next)[told.owner] = told.number + 1;
    close(ends[0]);
    check_file(fd, next, freed, seen);
    close(fd);
    seen->kills++;
}

int main(void) {
    if (UNDER_THREAD_SANITIZER) {
        puts("ring kills: not under ThreadSanitizer");
        return 0;
    }
    const char *wanted = getenv("CRA_RING_KILLS");
    uint64_t seed = 5;
    counts seen = {0, 0, 0, 0};
    for (int kills = wanted ? atoi(wanted) : 200; kills > 0; kills--)
        kill_one(&seed, &seen);
    CHECK(seen.torn > 0); /* or the kills missed the writes */
    printf("ring kills: %d, of which %d in the middle of a write, %d with records behind a hole, %d after a lap; no record missing\n",
           seen.kills, seen.torn, seen.hiding, seen.wrapped);
    return 0;
}
