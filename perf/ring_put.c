/* What it costs to put a record of 150 bytes into the ring, in C: prints ns, the median of ARGUMENT rounds. `python -m perf` builds it. */
#define _GNU_SOURCE
#include "ring.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROUND = 10000, LENGTH = 150 };

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int count, char **arguments) {
    const int rounds = count > 1 ? atoi(arguments[1]) : 100;
    cra_ring *ring = cra_ring_open(8 * 1024 * 1024, -1, 0x123456789ABCDEF0);
    double *taken = rounds > 0 ? calloc((size_t)rounds, sizeof *taken) : NULL;
    if (ring == NULL || taken == NULL)
        return 1;
    const uint8_t record[LENGTH] = {1};
    const uint8_t *found;
    uint32_t length;
    for (int round = 0; round < rounds; round++) {
        const int64_t started = now_ns();
        for (int i = 0; i < ROUND; i++)
            if (!cra_ring_put(ring, record, LENGTH))
                return 1;
        taken[round] = (double)(now_ns() - started) / ROUND;
        while (cra_ring_peek(ring, &found, &length) == 1)
            cra_ring_advance(ring, length);
        if (!cra_ring_free(ring, cra_ring_position(ring)))
            return 1;
    }
    qsort(taken, (size_t)rounds, sizeof *taken, ascending);
    printf("%.1f\n", taken[rounds / 2]);
    cra_ring_destroy(ring);
    free(taken);
    return 0;
}
