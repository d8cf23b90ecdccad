/* Claims, commits, reads. How the orders fit together:
 *
 * - Room is taken by compare-and-swap before the head moves, so that what is claimed or reserved always has room, and a full ring is
 *   seen before anything is claimed. All changes of the account are read-modify-writes, so a take synchronises with every `free`
 *   before it.
 * - The head moves with acquire and release: the place that a producer gets may have been freed later than its own take, but never
 *   later than those of the producers who claimed before it.
 * - The commit word is stored last, with release. The look at the bell behind it may be taken before the store is visible, for a
 *   fence would cost as much as all the rest; ring_wait.c says why nobody sleeps through it. */
#include "ring.h"
#include "crc32.h"
#include "ring_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static _Atomic uint32_t forks = 1; /* of this process since the first ring, from 1 */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void count_fork(void) {
    atomic_fetch_add_explicit(&forks, 1, memory_order_relaxed);
}

static void watch_forks(void) {
    pthread_atfork(NULL, NULL, count_fork);
}

static inline bool is_open(const cra_ring *ring) {
    return atomic_load_explicit(&ring->generation, memory_order_relaxed) == atomic_load_explicit(&forks, memory_order_relaxed);
}

uint64_t cra_ring_mix(uint64_t position, uint64_t secret) {
    uint64_t word = (position ^ secret) * UINT64_C(0x9E3779B97F4A7C15);
    word ^= word >> 32;
    word *= UINT64_C(0xD6E8FEB86659FD93);
    return word ^ word >> 32;
}

cra_ring *cra_ring_open(uint64_t size, int fd, uint64_t secret) {
    pthread_once(&once, watch_forks);
    cra_ring *ring = aligned_alloc(_Alignof(cra_ring), sizeof *ring);
    if (ring == NULL)
        return NULL;
    memset(ring, 0, sizeof *ring);
    ring->size = size;
    ring->secret = secret;
    if (cra_ring_map(ring, fd) < 0) {
        int error = errno;
        free(ring);
        errno = error;
        return NULL;
    }
    pthread_mutex_init(&ring->mutex, NULL);
    pthread_cond_init(&ring->condition, NULL);
    atomic_init(&ring->account, size / 8);
    atomic_init(&ring->generation, atomic_load(&forks));
    return ring;
}

void cra_ring_close(cra_ring *ring) {
    if (cra_ring_state(ring) != CRA_RING_OPEN)
        return;
    atomic_store(&ring->closed, 1);
    atomic_store(&ring->generation, 0);
    cra_ring_wake(ring);
    cra_ring_wake_producers(ring);
}

void cra_ring_destroy(cra_ring *ring) {
    if (cra_ring_state(ring) != CRA_RING_FORKED) { /* else a thread that is not here may hold them */
        pthread_cond_destroy(&ring->condition);
        pthread_mutex_destroy(&ring->mutex);
    }
    cra_ring_unmap(ring);
    free(ring);
}

cra_ring_status cra_ring_state(const cra_ring *ring) {
    if (is_open(ring))
        return CRA_RING_OPEN;
    return atomic_load(&ring->closed) ? CRA_RING_CLOSED : CRA_RING_FORKED;
}

/* Takes the room for `need` bytes and counts `claims` (0 or CRA_RING_ONE_CLAIM). */
static bool take(cra_ring *ring, uint64_t need, uint64_t claims) {
    uint64_t account = atomic_load_explicit(&ring->account, memory_order_relaxed);
    do {
        if ((account & CRA_RING_ROOM_MASK) < need / 8)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&ring->account, &account, account - need / 8 + claims, memory_order_acquire,
                                                    memory_order_relaxed));
    return true;
}

static void give(cra_ring *ring, uint64_t nbytes, uint64_t claims) {
    atomic_fetch_add_explicit(&ring->account, nbytes / 8 + claims, memory_order_seq_cst);
    if (nbytes > 0 && atomic_load_explicit(&ring->room_waiters, memory_order_seq_cst) > 0)
        cra_ring_wake_producers(ring);
}

static void *claim_taken(cra_ring *ring, uint64_t need, uint64_t *position) {
    *position = atomic_fetch_add_explicit(ring->head, need, memory_order_acq_rel);
    return ring->data + (*position & (ring->size - 1)) + CRA_RING_FRAME;
}

void *cra_ring_claim(cra_ring *ring, uint64_t length, uint64_t *position) {
    if (!is_open(ring) || length > cra_ring_max_record(ring) || !take(ring, cra_ring_frame_size(length), CRA_RING_ONE_CLAIM))
        return NULL;
    return claim_taken(ring, cra_ring_frame_size(length), position);
}

void cra_ring_commit(cra_ring *ring, uint64_t position, uint64_t length) {
    uint8_t *frame = ring->data + (position & (ring->size - 1));
    const uint32_t stored = (uint32_t)length;
    memcpy(frame + 12, &stored, 4);
    const uint32_t checksum = cra_crc32(0, frame + 12, 4 + length);
    memcpy(frame + 8, &checksum, 4);
    atomic_store_explicit((_Atomic uint64_t *)(void *)frame, cra_ring_mix(position, ring->secret), memory_order_release);
    if (atomic_load_explicit(&ring->bell, memory_order_seq_cst) == CRA_RING_ASLEEP)
        cra_ring_ring_bell(ring);
}

bool cra_ring_put(cra_ring *ring, const void *record, uint64_t length) {
    uint64_t position;
    void *place = cra_ring_claim(ring, length, &position);
    if (place == NULL)
        return false;
    if (length > 0)
        memcpy(place, record, length);
    cra_ring_commit(ring, position, length);
    return true;
}

bool cra_ring_reserve(cra_ring *ring, uint64_t nbytes) {
    if (!is_open(ring) || nbytes > cra_ring_max_record(ring) || !take(ring, cra_ring_frame_size(nbytes), 0))
        return false;
    atomic_fetch_add_explicit(&ring->reserved, cra_ring_frame_size(nbytes), memory_order_relaxed);
    return true;
}

static bool end_reservation(cra_ring *ring, uint64_t nbytes) {
    if (!is_open(ring) || nbytes > cra_ring_max_record(ring))
        return false;
    const uint64_t size = cra_ring_frame_size(nbytes);
    uint64_t reserved = atomic_load_explicit(&ring->reserved, memory_order_relaxed);
    do {
        if (reserved < size)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&ring->reserved, &reserved, reserved - size, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

bool cra_ring_release(cra_ring *ring, uint64_t nbytes) {
    if (!end_reservation(ring, nbytes))
        return false;
    give(ring, cra_ring_frame_size(nbytes), 0);
    return true;
}

void *cra_ring_claim_reserved(cra_ring *ring, uint64_t length, uint64_t nbytes, uint64_t *position) {
    if (length > nbytes || !end_reservation(ring, nbytes))
        return NULL;
    const uint64_t need = cra_ring_frame_size(length);
    void *place = claim_taken(ring, need, position);
    give(ring, cra_ring_frame_size(nbytes) - need, CRA_RING_ONE_CLAIM);
    return place;
}

static bool has_record(const cra_ring *ring, uint64_t position) {
    const uint8_t *frame = ring->data + (position & (ring->size - 1));
    const uint64_t word = atomic_load_explicit((const _Atomic uint64_t *)(const void *)frame, memory_order_seq_cst);
    return word == cra_ring_mix(position, ring->secret);
}

bool cra_ring_has_record(const cra_ring *ring) {
    return has_record(ring, atomic_load_explicit(&ring->position, memory_order_relaxed));
}

int cra_ring_peek(cra_ring *ring, const uint8_t **record, uint32_t *length) {
    const uint64_t position = atomic_load_explicit(&ring->position, memory_order_relaxed);
    if (!is_open(ring) || !has_record(ring, position))
        return 0;
    const uint8_t *frame = ring->data + (position & (ring->size - 1));
    memcpy(length, frame + 12, 4);
    *record = frame + CRA_RING_FRAME;
    return *length <= cra_ring_max_record(ring) ? 1 : -1;
}

void cra_ring_advance(cra_ring *ring, uint32_t length) {
    const uint64_t position = atomic_load_explicit(&ring->position, memory_order_relaxed);
    const uint64_t reads = atomic_load_explicit(&ring->reads, memory_order_relaxed);
    atomic_store_explicit(&ring->reads, reads + 1, memory_order_release);
    atomic_store_explicit(&ring->position, position + cra_ring_frame_size(length), memory_order_release);
}

bool cra_ring_free(cra_ring *ring, uint64_t position) {
    const uint64_t tail = atomic_load_explicit(ring->tail, memory_order_relaxed);
    if (!is_open(ring) || position < tail || position % 8 || position > atomic_load_explicit(&ring->position, memory_order_relaxed))
        return false;
    /* The tail before its seal: a crash in between leaves the old one, by its seal. */
    atomic_store_explicit(ring->tail, position, memory_order_release);
    atomic_store_explicit(ring->seal, cra_ring_mix(position, ring->secret), memory_order_release);
    give(ring, position - tail, 0);
    return true;
}

uint64_t cra_ring_head(const cra_ring *ring) {
    return atomic_load(ring->head);
}

uint64_t cra_ring_tail(const cra_ring *ring) {
    return atomic_load(ring->tail);
}

uint64_t cra_ring_position(const cra_ring *ring) {
    return atomic_load(&ring->position);
}

uint64_t cra_ring_reserved(const cra_ring *ring) {
    return atomic_load(&ring->reserved);
}

uint64_t cra_ring_room(const cra_ring *ring) {
    return (atomic_load(&ring->account) & CRA_RING_ROOM_MASK) * 8;
}

uint64_t cra_ring_puts(const cra_ring *ring) {
    /* Claims are ahead of reads, by less than their count can wrap. */
    const uint64_t reads = atomic_load(&ring->reads), claims = atomic_load(&ring->account) >> CRA_RING_ROOM_BITS;
    return reads + ((claims - reads) & (UINT64_MAX >> CRA_RING_ROOM_BITS));
}
