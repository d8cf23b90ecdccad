/* The ring of records: many producers, one consumer, in memory that a dead process leaves readable. docs/formats/ring.md has the
 * layout, cra/reference/ring.py the same in Python. No call here knows of Python; each may run without the GIL.
 *
 * A producer encodes in place:
 *
 *     uint64_t position;
 *     void *record = cra_ring_claim(ring, length, &position);
 *     if (record == NULL) ... no room, or cra_ring_state(ring) is not CRA_RING_OPEN; nothing was claimed
 *     ... write exactly `length` bytes ...
 *     cra_ring_commit(ring, position, length);
 *
 * What it claimed it has to commit: a claim without commit stops the consumer there. Records are contiguous, at both sides.
 */
#ifndef CRA_RING_H
#define CRA_RING_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "rings are little endian; on this machine the reference implementation does without the compiled half"
#endif

/* The identity: magic, u32 version, u32 zero, u64 size, u64 secret, u64 pid, u32 CRC-32 of all before. */
#define CRA_RING_MAGIC "cra-ring"
#define CRA_RING_VERSION 1
#define CRA_RING_IDENTITY 44 /* bytes */
#define CRA_RING_DATA_OFFSET 65536 /* a multiple of every page size in use: the data is mapped twice in a row */
#define CRA_RING_HEAD_OFFSET 128
#define CRA_RING_TAIL_OFFSET 256 /* the tail, then its seal */
#define CRA_RING_MIN_SIZE 4096   /* or a page, where that is larger */
#define CRA_RING_MAX_SIZE (UINT64_C(1) << 30)
#define CRA_RING_FRAME 16 /* bytes before a record: u64 commit word, u32 CRC-32 of length and record, u32 length */

/* Fields are grouped by who writes them, a cache line or more each. */
typedef struct {
    /* Written once. */
    uint8_t *data;   /* `size` bytes, and the same again behind them */
    uint8_t *header; /* the beginning of the mapping */
    size_t mapped;
    uint64_t size, secret;
    _Atomic uint64_t *head, *tail, *seal; /* in the header */
    /* Written by producers. */
    _Alignas(128) _Atomic uint64_t account; /* room and claims in one word: see ring_internal.h */
    _Atomic uint64_t reserved;              /* bytes */
    /* Written by the consumer. */
    _Alignas(128) _Atomic uint64_t position;
    _Atomic uint64_t reads; /* records */
    uint64_t waited_at;     /* the position at its last wait */
    int64_t worked_ns;      /* when it last had got further */
    /* Written where one side tells the other, and by close. */
    _Alignas(128) _Atomic uint32_t bell; /* how the consumer sleeps */
    _Atomic uint32_t woken;
    _Atomic uint32_t room_waiters;
    _Atomic uint32_t room_made; /* counts, for the waiters */
    _Atomic uint32_t generation; /* that of the process, while open */
    _Atomic uint32_t closed;
    pthread_mutex_t mutex; /* these two only where there is no futex */
    pthread_cond_t condition;
} cra_ring;

typedef enum { CRA_RING_OPEN = 0, CRA_RING_CLOSED = 1, CRA_RING_FORKED = 2 } cra_ring_status;

/* A ring in the empty file `fd` is open on, or in anonymous memory if `fd` < 0; all of it touched. `secret` is random. NULL: errno
 * says why; EINVAL for a size that is no power of two or out of bounds, EEXIST for a file that is not empty. */
cra_ring *cra_ring_open(uint64_t size, int fd, uint64_t secret);
/* No more claims and reads; wakes all who sleep. The memory stays, so that late calls are harmless. */
void cra_ring_close(cra_ring *ring);
/* Unmaps and frees; nobody may be in a call. */
void cra_ring_destroy(cra_ring *ring);
cra_ring_status cra_ring_state(const cra_ring *ring);

static inline uint64_t cra_ring_max_record(const cra_ring *ring) {
    return ring->size / 2;
}

/* What a record takes. `length` is at most CRA_RING_MAX_SIZE. */
static inline uint64_t cra_ring_frame_size(uint64_t length) {
    return (CRA_RING_FRAME + length + 7) & ~UINT64_C(7);
}

/* Producers. Lengths beyond max_record never have room. */
void *cra_ring_claim(cra_ring *ring, uint64_t length, uint64_t *position);
void cra_ring_commit(cra_ring *ring, uint64_t position, uint64_t length);
bool cra_ring_put(cra_ring *ring, const void *record, uint64_t length);
/* Room for a later record of at most `nbytes`; claim_reserved uses it (length <= nbytes) and gives the rest back. NULL and false
 * only when nothing was reserved, or the ring is not open. */
bool cra_ring_reserve(cra_ring *ring, uint64_t nbytes);
bool cra_ring_release(cra_ring *ring, uint64_t nbytes);
void *cra_ring_claim_reserved(cra_ring *ring, uint64_t length, uint64_t nbytes, uint64_t *position);
/* 1: there was room for `nbytes`. 0: not within `timeout_ns` (negative: for ever), or closed. -1: interrupted by a signal. */
int cra_ring_wait_room(cra_ring *ring, uint64_t nbytes, int64_t timeout_ns);

/* The consumer. peek: 1 and the record at the read position; 0: none is committed there; -1: the memory is damaged. The record stays
 * where it is until `free`. */
int cra_ring_peek(cra_ring *ring, const uint8_t **record, uint32_t *length);
void cra_ring_advance(cra_ring *ring, uint32_t length);
/* Frees all before `position`, which is one that was read up to; false if it is not. */
bool cra_ring_free(cra_ring *ring, uint64_t position);
/* 1: there is something to read, or somebody called wake or close. 0: not within `timeout_ns` (negative: for ever). -1: interrupted by
 * a signal. For 50 ms after the last work it naps, and producers do not have to wake it; then it sleeps until they do. */
int cra_ring_wait(cra_ring *ring, int64_t timeout_ns);
void cra_ring_wake(cra_ring *ring);

/* Positions (head: of the next claim, tail: freed up to here, position: read up to here) and bytes (room: neither used nor reserved), as
 * of some moment during the call; puts: the records since the beginning. */
uint64_t cra_ring_head(const cra_ring *ring);
uint64_t cra_ring_tail(const cra_ring *ring);
uint64_t cra_ring_position(const cra_ring *ring);
uint64_t cra_ring_room(const cra_ring *ring);
uint64_t cra_ring_reserved(const cra_ring *ring);
uint64_t cra_ring_puts(const cra_ring *ring);
uint64_t cra_ring_mix(uint64_t position, uint64_t secret);

/* Recovery: what is in the image of a ring's file. */
typedef enum {
    CRA_RING_SCANNED = 0,
    CRA_RING_BLANK,   /* nothing but zeros: its making was not finished */
    CRA_RING_REFUSED, /* not a ring of this version, or its identity is damaged */
    CRA_RING_NO_MEMORY,
} cra_ring_scan_status;

typedef enum {
    CRA_RING_END = 0,
    CRA_RING_RECORD,
    CRA_RING_NOT_COMMITTED,  /* claimed, and not committed */
    CRA_RING_DAMAGED_RECORD, /* committed, and its checksum is wrong */
    CRA_RING_DAMAGED_HEAD,
    CRA_RING_DAMAGED_TAIL, /* where the records begin is not known */
    CRA_RING_CUT_SHORT,
} cra_ring_item_kind;

typedef struct {
    cra_ring_item_kind kind;
    uint64_t position, length;
    const uint8_t *record; /* of CRA_RING_RECORD, valid until scan_close */
} cra_ring_item;

typedef struct {
    uint64_t size, secret, pid, head, tail;
    uint8_t *data; /* twice in a row */
    uint64_t missing, limit, position, end;
    bool head_is_sound, tail_is_known, damaged, walked, finished;
    cra_ring_item pending;
} cra_ring_scan;

cra_ring_scan_status cra_ring_scan_open(cra_ring_scan *scan, const uint8_t *image, size_t length);
/* The records in order, and in between what is torn; CRA_RING_END in the end. */
cra_ring_item cra_ring_scan_next(cra_ring_scan *scan);
void cra_ring_scan_close(cra_ring_scan *scan);

#endif
