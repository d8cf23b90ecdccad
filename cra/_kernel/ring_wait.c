/* Sleeping and waking. Nobody spins: who waits sleeps on a word, by futex, elsewhere by a condition variable. */
#define _GNU_SOURCE
#include "ring_internal.h"

#include <errno.h>
#include <limits.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_SECOND INT64_C(1000000000)
#define NAP_NS INT64_C(700000)          /* with what a timer adds, less than a millisecond */
#define ALERT_NS INT64_C(50000000)      /* how long after the last work it naps only */
#define LONGEST_NS (60 * NS_PER_SECOND) /* of one sleep; the callers look again */

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

#if defined(__linux__) && !defined(CRA_RING_PORTABLE)
#include <linux/futex.h>
#include <sys/syscall.h>

/* Sleep while `*word` is `value`, for at most `ns`. -1: a signal. */
static int sleep_on(cra_ring *ring, _Atomic uint32_t *word, uint32_t value, int64_t ns) {
    (void)ring;
    const struct timespec timeout = {ns / NS_PER_SECOND, ns % NS_PER_SECOND};
    if (syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, &timeout, NULL, 0) < 0 && errno == EINTR)
        return -1;
    return 0;
}

static void wake_on(cra_ring *ring, _Atomic uint32_t *word) {
    (void)ring;
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}
#else
static int sleep_on(cra_ring *ring, _Atomic uint32_t *word, uint32_t value, int64_t ns) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)((until.tv_nsec + ns) / NS_PER_SECOND);
    until.tv_nsec = (until.tv_nsec + ns) % NS_PER_SECOND;
    pthread_mutex_lock(&ring->mutex);
    if (atomic_load(word) == value)
        pthread_cond_timedwait(&ring->condition, &ring->mutex, &until);
    pthread_mutex_unlock(&ring->mutex);
    return 0;
}

static void wake_on(cra_ring *ring, _Atomic uint32_t *word) {
    (void)word;
    pthread_mutex_lock(&ring->mutex); /* whoever looked at the word before it changed sleeps by now */
    pthread_cond_broadcast(&ring->condition);
    pthread_mutex_unlock(&ring->mutex);
}
#endif

/* When a wait that begins now is over. */
static int64_t deadline_of(int64_t now, int64_t timeout_ns) {
    return timeout_ns < 0 || timeout_ns > INT64_MAX - now ? INT64_MAX : now + timeout_ns;
}

static int64_t shorter(int64_t a, int64_t b) {
    return a < b ? a : b;
}

int cra_ring_wait(cra_ring *ring, int64_t timeout_ns) {
    int64_t now = now_ns();
    const int64_t deadline = deadline_of(now, timeout_ns);
    const uint64_t position = atomic_load_explicit(&ring->position, memory_order_relaxed);
    if (position != ring->waited_at) {
        ring->waited_at = position;
        ring->worked_ns = now;
    }
    /* A producer may look at the bell before its record is visible here, and miss that it is set. So the bell stays set for the length
     * of a nap before the consumer relies on it: by then whatever was stored before a look that missed it has long been visible. */
    int64_t set_ns = now;
    for (int slept = 0;; now = now_ns()) {
        const bool awake = atomic_exchange(&ring->woken, 0) || cra_ring_state(ring) != CRA_RING_OPEN || cra_ring_has_record(ring);
        if (awake || slept < 0 || now >= deadline) {
            atomic_store(&ring->bell, CRA_RING_AWAKE);
            return awake ? 1 : slept;
        }
        const uint32_t how = now - ring->worked_ns < ALERT_NS ? CRA_RING_NAPPING : CRA_RING_ASLEEP;
        if (atomic_load(&ring->bell) != how) {
            atomic_store(&ring->bell, how);
            set_ns = now_ns();
            if (atomic_load(&ring->woken)) /* it was set before the bell was */
                continue;
        }
        const bool relies = how == CRA_RING_ASLEEP && now - set_ns >= NAP_NS;
        slept = sleep_on(ring, &ring->bell, how, shorter(deadline - now, relies ? LONGEST_NS : NAP_NS));
    }
}

void cra_ring_ring_bell(cra_ring *ring) {
    if (atomic_exchange(&ring->bell, CRA_RING_AWAKE) != CRA_RING_AWAKE)
        wake_on(ring, &ring->bell);
}

void cra_ring_wake(cra_ring *ring) {
    atomic_store(&ring->woken, 1);
    cra_ring_ring_bell(ring);
}

int cra_ring_wait_room(cra_ring *ring, uint64_t nbytes, int64_t timeout_ns) {
    if (nbytes > cra_ring_max_record(ring))
        return 0;
    const uint64_t need = cra_ring_frame_size(nbytes);
    const int64_t deadline = deadline_of(now_ns(), timeout_ns);
    int result;
    atomic_fetch_add(&ring->room_waiters, 1);
    for (;;) {
        const uint32_t seen = atomic_load(&ring->room_made);
        result = 0;
        if (cra_ring_state(ring) != CRA_RING_OPEN)
            break;
        result = 1;
        if (cra_ring_room(ring) >= need)
            break;
        result = 0;
        const int64_t now = now_ns();
        if (now >= deadline)
            break;
        result = -1;
        if (sleep_on(ring, &ring->room_made, seen, shorter(deadline - now, LONGEST_NS)) < 0)
            break;
    }
    atomic_fetch_sub(&ring->room_waiters, 1);
    return result;
}

void cra_ring_wake_producers(cra_ring *ring) {
    atomic_fetch_add(&ring->room_made, 1);
    wake_on(ring, &ring->room_made);
}
