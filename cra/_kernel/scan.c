#define _POSIX_C_SOURCE 200809L

#include "scan.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "chunk.h"

/* Chunks are numbered; whoever has nothing to do takes the next number. Chunk n is scanned into buffer n % `buffers_count`, which is
 * free once chunk n - `buffers_count` was released. */
struct cra_scan {
    cra_chunk_plan plan;
    pthread_mutex_t lock; /* for what follows */
    pthread_cond_t changed;
    uint64_t taken; /* the next number to be scanned */
    uint64_t given; /* the next number to be given to the caller */
    uint64_t end; /* the first number behind the end of the file, as far as is known */
    bool stopped;
    cra_chunk_buffer *buffers;
    unsigned buffers_count;
    pthread_t *threads;
    unsigned threads_count;
};

static cra_chunk_buffer *buffer_of(cra_scan *scan, uint64_t number) { return &scan->buffers[number % scan->buffers_count]; }

/* With the lock, which is given up meanwhile. */
static void scan_one(cra_scan *scan) {
    uint64_t number = scan->taken++;
    cra_chunk_buffer *buffer = buffer_of(scan, number);
    pthread_mutex_unlock(&scan->lock);
    cra_chunk_scan(buffer, &scan->plan, number);
    pthread_mutex_lock(&scan->lock);
    if (buffer->last && number < scan->end) scan->end = number + 1;
    buffer->ready = true;
    pthread_cond_broadcast(&scan->changed);
}

static bool can_take(const cra_scan *scan) { return scan->taken < scan->given + scan->buffers_count && scan->taken < scan->end; }

static void *work(void *argument) {
    cra_scan *scan = argument;
    pthread_mutex_lock(&scan->lock);
    while (!scan->stopped) {
        if (can_take(scan)) {
            scan_one(scan);
        } else {
            pthread_cond_wait(&scan->changed, &scan->lock);
        }
    }
    pthread_mutex_unlock(&scan->lock);
    return NULL;
}

/* Threads that cannot be started are done without. */
static void start_threads(cra_scan *scan, unsigned count) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the caller's */
    while (scan->threads_count < count) {
        if (pthread_create(&scan->threads[scan->threads_count], NULL, work, scan) != 0) break;
        scan->threads_count++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

cra_scan *cra_scan_start(int descriptor, cra_dialect dialect, unsigned threads, size_t chunk_size, size_t max_line) {
    cra_scan *scan = calloc(1, sizeof *scan);
    if (!scan) return NULL;
    scan->plan = (cra_chunk_plan){descriptor, dialect, chunk_size, max_line};
    scan->end = UINT64_MAX;
    scan->buffers_count = threads > 1 ? 2 * threads : 1;
    scan->buffers = calloc(scan->buffers_count, sizeof *scan->buffers);
    scan->threads = calloc(threads, sizeof *scan->threads);
    if (!scan->buffers || !scan->threads) {
        free(scan->buffers);
        free(scan->threads);
        free(scan);
        return NULL;
    }
    pthread_mutex_init(&scan->lock, NULL);
    pthread_cond_init(&scan->changed, NULL);
    start_threads(scan, threads - 1);
    return scan;
}

const cra_chunk *cra_scan_next(cra_scan *scan) {
    pthread_mutex_lock(&scan->lock);
    const cra_chunk *chunk = NULL;
    while (scan->given < scan->end) {
        cra_chunk_buffer *buffer = buffer_of(scan, scan->given);
        if (buffer->ready) {
            chunk = &buffer->chunk;
            break;
        }
        if (can_take(scan)) {
            scan_one(scan);
        } else {
            pthread_cond_wait(&scan->changed, &scan->lock);
        }
    }
    pthread_mutex_unlock(&scan->lock);
    return chunk;
}

void cra_scan_release(cra_scan *scan) {
    pthread_mutex_lock(&scan->lock);
    buffer_of(scan, scan->given)->ready = false;
    scan->given++;
    pthread_cond_broadcast(&scan->changed);
    pthread_mutex_unlock(&scan->lock);
}

void cra_scan_stop(cra_scan *scan) {
    pthread_mutex_lock(&scan->lock);
    scan->stopped = true;
    pthread_cond_broadcast(&scan->changed);
    pthread_mutex_unlock(&scan->lock);
    for (unsigned i = 0; i < scan->threads_count; i++) pthread_join(scan->threads[i], NULL);
    for (unsigned i = 0; i < scan->buffers_count; i++) cra_chunk_free(&scan->buffers[i]);
    pthread_cond_destroy(&scan->changed);
    pthread_mutex_destroy(&scan->lock);
    free(scan->threads);
    free(scan->buffers);
    free(scan);
}
