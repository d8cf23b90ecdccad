/* One flag between two threads: one sets it, the other waits for it, first awake and then asleep.

   A wait that ends within microseconds costs less awake than the two system calls and the scheduler's work of a sleep. So the one
   who waits looks for a while, giving way to whoever wants the processor, before it says that it goes to sleep; only then does the
   other pay for waking it. How to sleep is the caller's: nothing here knows a lock. */

#ifndef CRA_HANDOFF_H
#define CRA_HANDOFF_H

#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

enum {
    CRA_FLAG_CLEAR = 0,
    CRA_FLAG_SET = 1,
    CRA_FLAG_ASLEEP = 2, /* clear, and the one who waits sleeps */
    CRA_FLAG_LEFT = 3,   /* clear, and nobody waits any more */
};

/* About what falling asleep and being woken on another processor take together: waiting awake costs at most as much again. */
#define CRA_AWAKE_NS 50000
#define CRA_PAUSES 64

typedef struct {
    _Atomic int state;
} cra_flag;

static inline int64_t cra_flag_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline void cra_flag_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

static inline void cra_flag_clear(cra_flag *flag) { atomic_store_explicit(&flag->state, CRA_FLAG_CLEAR, memory_order_release); }

/* Set the flag; what it was. After CRA_FLAG_ASLEEP the caller wakes the one who waits; after CRA_FLAG_LEFT nobody will look. */
static inline int cra_flag_set(cra_flag *flag) { return atomic_exchange_explicit(&flag->state, CRA_FLAG_SET, memory_order_acq_rel); }

static inline int cra_flag_is_set(cra_flag *flag)
{
    return atomic_load_explicit(&flag->state, memory_order_acquire) == CRA_FLAG_SET;
}

static inline int cra_flag_change(cra_flag *flag, int from, int to)
{
    return atomic_compare_exchange_strong_explicit(&flag->state, &from, to, memory_order_acq_rel, memory_order_acquire);
}

/* Wait awake. 1: the flag is set. 0: not yet, and from now on whoever sets it wakes the caller, who goes to sleep. */
static inline int cra_flag_await(cra_flag *flag)
{
    for (int i = 0; i < CRA_PAUSES; i++) {
        if (cra_flag_is_set(flag))
            return 1;
        cra_flag_pause();
    }
    int64_t end = cra_flag_now() + CRA_AWAKE_NS;
    do {
        if (cra_flag_is_set(flag))
            return 1;
        sched_yield();
    } while (cra_flag_now() < end);
    return !cra_flag_change(flag, CRA_FLAG_CLEAR, CRA_FLAG_ASLEEP);
}

/* Wait no longer, after a sleep: leave the flag in `state`. 0: it has been set in the meantime, and the wake-up is on its way. */
static inline int cra_flag_leave(cra_flag *flag, int state) { return cra_flag_change(flag, CRA_FLAG_ASLEEP, state); }

#endif
