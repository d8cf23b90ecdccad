/* Sessions, templates, and which events a record is. PROTOCOL: Events of a resolve. */
#include "expand.h"

#include <stdlib.h>
#include <string.h>

#include "crc32.h"
#include "frames.h"
#include "template.h"

static const char NO_SESSION[] = "its session is defined by no record before it";
static const char OTHER_SESSION[] = "it defines its session a second time, with other ids";
static const char OPEN_ELSEWHERE[] = "it defines a session that is open under another number";
static const char NO_TEMPLATE[] = "its template is defined by no record before it";
static const char NO_BLOCK[] = "it names a block that its template does not have";

static inline void count(_Atomic uint64_t *counter, uint64_t more) {
    /* One thread writes. */
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + more, memory_order_relaxed);
}

static int compare_heads(const void *a, const void *b) {
    return memcmp(((const cra_chain_head *)a)->session_id, ((const cra_chain_head *)b)->session_id, CRA_UUID_ROOM);
}

cra_expander *cra_expander_new(cra_chain_head *heads, size_t count) {
    cra_expander *x = calloc(1, sizeof *x);
    if (!x) return NULL;
    if (count > 0) qsort(heads, count, sizeof *heads, compare_heads);
    x->heads = heads;
    x->head_count = count;
    return x;
}

void cra_expander_free(cra_expander *x) {
    if (!x) return;
    cra_expander_clear(x);
    for (size_t i = 0; i < x->sessions.capacity; i++) free(x->sessions.slots[i].value);
    for (size_t i = 0; i < x->templates.capacity; i++) free(x->templates.slots[i].value);
    cra_table_free(&x->sessions);
    cra_table_free(&x->ids);
    cra_table_free(&x->templates);
    cra_writer_free(&x->writer);
    free(x->heads);
    free(x->runs);
    free(x->frames);
    free(x);
}

/* Seals what is written. Only then may sessions go that have ended. */
static void seal(cra_expander *x) {
    cra_writer_seal(&x->writer);
    while (x->ended) {
        cra_session *next = x->ended->next_ended;
        free(x->ended);
        x->ended = next;
    }
}

void cra_expander_clear(cra_expander *x) {
    seal(x);
    cra_writer_clear(&x->writer);
    x->run_count = 0;
    x->frames_length = 0;
    x->pending_records = x->pending_events = 0;
}

/* Sessions */

static cra_chain_head *find_head(const cra_expander *x, const char *session_id) {
    if (x->head_count == 0) return NULL;
    cra_chain_head key;
    memcpy(key.session_id, session_id, CRA_UUID_ROOM);
    cra_chain_head *head = bsearch(&key, x->heads, x->head_count, sizeof key, compare_heads);
    return head && !head->opened ? head : NULL;
}

/* Its chain goes on as `heads` has it, or begins. */
static void set_head(const cra_expander *x, cra_session *session) {
    const cra_chain_head *known = find_head(x, session->head.session_id);
    if (known) {
        memcpy(session->head.previous, known->previous, CRA_HASH);
        session->head.sequence = known->sequence;
        session->head.time_ns = known->time_ns;
    } else {
        memset(session->head.previous, '0', CRA_HASH); /* genesis */
        session->head.sequence = 0;
        session->head.time_ns = 0;
    }
}

/* A session as its first record defines it. */
static void define(const cra_expander *x, cra_session *session, const uint8_t *definition) {
    memcpy(session->define, definition, CRA_DEFINITION);
    cra_put_uuid(session->head.session_id, definition);
    cra_put_uuid(session->head.trace_id, definition + CRA_UUID);
    cra_put_uuid(session->head.span_id, definition + 2 * CRA_UUID);
    set_head(x, session);
}

void cra_expander_make_lines(cra_expander *x, cra_chain_head *heads, size_t head_count) {
    if (head_count > 0) qsort(heads, head_count, sizeof *heads, compare_heads);
    free(x->heads);
    x->heads = heads;
    x->head_count = head_count;
    x->omits_lines = false;
    for (size_t i = 0; i < x->sessions.capacity; i++) {
        cra_session *session = x->sessions.slots[i].value;
        if (!session) continue;
        set_head(x, session);
        cra_chain_head *known = find_head(x, session->head.session_id);
        if (known) known->opened = true;
    }
}

/* Ids are random, but whoever writes records may choose them: a key stands for several. */
static uint64_t key_of(const uint8_t id[CRA_UUID]) {
    uint64_t high, low;
    memcpy(&high, id, sizeof high);
    memcpy(&low, id + sizeof high, sizeof low);
    return high * 0x9e3779b97f4a7c15u ^ low;
}

static bool is_open(const cra_expander *x, const uint8_t id[CRA_UUID]) {
    const cra_session *session = cra_table_find(&x->ids, key_of(id));
    while (session && memcmp(session->define, id, CRA_UUID) != 0) session = session->next_of_key;
    return session != NULL;
}

/* Makes what `record` defines a session. After the checks, and after everything that can fail. */
static void open_session(cra_expander *x, const cra_record *record, cra_session *session) {
    cra_chain_head *known = find_head(x, session->head.session_id);
    if (known) known->opened = true;
    cra_table_put(&x->sessions, record->session, session);
    session->next_of_key = cra_table_put(&x->ids, key_of(session->define), session);
}

static void end_session(cra_expander *x, const cra_record *record, cra_session *session) {
    uint64_t key = key_of(session->define);
    cra_session *first = cra_table_find(&x->ids, key);
    if (first != session) {
        cra_session *before = first;
        while (before->next_of_key != session) before = before->next_of_key;
        before->next_of_key = session->next_of_key;
    } else if (session->next_of_key) {
        cra_table_put(&x->ids, key, session->next_of_key);
    } else {
        cra_table_remove(&x->ids, key);
    }
    cra_table_remove(&x->sessions, record->session);
    session->next_ended = x->ended;
    x->ended = session;
}

/* Writing */

static bool reserve(cra_expander *x, size_t events, size_t bytes, size_t largest) {
    if (x->run_count == x->run_capacity) {
        size_t larger = x->run_capacity ? 2 * x->run_capacity : 64;
        cra_run *moved = realloc(x->runs, larger * sizeof *moved);
        if (!moved) return false;
        x->runs = moved;
        x->run_capacity = larger;
    }
    return cra_writer_reserve(&x->writer, events, bytes, largest);
}

/* `base` + `offset`, as 128 bits. */
static void add(const uint8_t base[CRA_UUID], uint64_t offset, uint64_t *high, uint64_t *low) {
    *high = *low = 0;
    for (int i = 0; i < 8; i++) {
        *high = *high << 8 | base[i];
        *low = *low << 8 | base[8 + i];
    }
    *low += offset;
    *high += *low < offset;
}

static void start(cra_expander *x, const cra_record *record, cra_session *session, const uint8_t *span) {
    uint64_t high, low;
    add(record->base, CRA_FIRST_EVENT, &high, &low);
    cra_writer_start(&x->writer, &session->head, record->time_ns, high, low, span);
}

static void count_events(cra_expander *x, size_t events) {
    count(&x->events, events);
    x->pending_events += events;
}

/* Counts what was written since the output had `before` bytes. */
static void finish(cra_expander *x, const cra_session *session, size_t before, size_t events) {
    count_events(x, events);
    if (events == 0) return;
    size_t bytes = x->writer.length - before;
    cra_run *last = x->run_count ? &x->runs[x->run_count - 1] : NULL;
    if (last && memcmp(last->session_id, session->head.session_id, CRA_UUID_ROOM) == 0) {
        last->bytes += bytes;
        last->events += events;
        return;
    }
    last = &x->runs[x->run_count++];
    memcpy(last->session_id, session->head.session_id, CRA_UUID_ROOM);
    last->bytes = bytes;
    last->events = events;
}

static void write_event(cra_expander *x, const void *type, size_t type_length, cra_text payload) {
    char *p = cra_writer_begin(&x->writer, type, type_length, payload.length);
    memcpy(p, payload.data, payload.length);
    cra_writer_end(&x->writer, p + payload.length);
}

static void write_events(cra_expander *x, const cra_record *record, cra_session *session) {
    size_t before = x->writer.length;
    start(x, record, session, record->span ? record->span : record->base);
    const uint8_t *at = record->events;
    for (size_t i = 0; i < record->count; i++) {
        cra_text type, payload;
        at = cra_next_event(at, &type, &payload);
        write_event(x, type.data, type.length, payload);
    }
    finish(x, session, before, record->count);
}

/* Kinds of records */

static cra_expand_status feed_events(cra_expander *x, const cra_record *record, const char **reason) {
    cra_session *session = cra_table_find(&x->sessions, record->session), *defined = NULL;
    if (!session && !record->define) return *reason = NO_SESSION, CRA_REFUSED;
    if (session && record->define && memcmp(session->define, record->define, CRA_DEFINITION) != 0) {
        return *reason = OTHER_SESSION, CRA_REFUSED;
    }
    if (!session) {
        if (is_open(x, record->define)) return *reason = OPEN_ELSEWHERE, CRA_REFUSED;
        if (!cra_table_reserve(&x->sessions) || !cra_table_reserve(&x->ids) || !(defined = malloc(sizeof *defined))) return CRA_NO_MEMORY;
        define(x, defined, record->define);
        session = defined;
    }
    if (!x->omits_lines && !reserve(x, record->count, record->total, record->largest)) {
        free(defined);
        return CRA_NO_MEMORY;
    }
    if (defined) open_session(x, record, defined);
    if (x->omits_lines) {
        count_events(x, record->count);
    } else {
        write_events(x, record, session);
    }
    if (record->ends) end_session(x, record, session);
    return CRA_FED;
}

#define WRITE(x, type, payload) write_event(x, type, sizeof(type) - 1, payload)

static const char RECEIVED[] = "carp.request.received", COMPLETED[] = "carp.resolution.completed";
/* What the payloads of these two take beyond the goal. */
enum { RECEIVED_ROOM = 128, COMPLETED_ROOM = 512 };

static char *append(char *p, const void *data, size_t length) {
    memcpy(p, data, length);
    return p + length;
}

static void write_received(cra_expander *x, const cra_record *record, const char *request_id) {
    if (record->flags & CRA_PAYLOAD) {
        WRITE(x, RECEIVED, record->text);
        return;
    }
    static const char BEFORE[] = "{\"goal\":", BETWEEN[] = ",\"operation\":\"resolve\",\"request_id\":\"", AFTER[] = "\"}";
    char *p = cra_writer_begin(&x->writer, RECEIVED, sizeof RECEIVED - 1, record->text_size + RECEIVED_ROOM);
    p = append(p, BEFORE, sizeof BEFORE - 1);
    p = cra_put_string(p, (const char *)record->text.data, record->text.length);
    p = append(p, BETWEEN, sizeof BETWEEN - 1);
    p = append(p, request_id, CRA_UUID_ROOM);
    p = append(p, AFTER, sizeof AFTER - 1);
    cra_writer_end(&x->writer, p);
}

static void write_completed(cra_expander *x, const cra_record *record, const cra_template *template, const char *request_id) {
    uint64_t high, low;
    add(record->base, CRA_RESOLUTION, &high, &low);
    char *p = cra_writer_begin(&x->writer, COMPLETED, sizeof COMPLETED - 1, COMPLETED_ROOM);
    p = append(p, template->counts, template->counts_length);
    p = cra_put_unsigned(p, record->injected);
    p = append(p, template->decision, template->decision_length);
    p = append(p, request_id, CRA_UUID_ROOM);
    static const char BETWEEN[] = "\",\"resolution_id\":\"";
    p = append(p, BETWEEN, sizeof BETWEEN - 1);
    cra_put_number(p, high, low);
    p = append(p + CRA_UUID_ROOM, template->ttl, template->ttl_length);
    cra_writer_end(&x->writer, p);
}

static cra_expand_status feed_resolve(cra_expander *x, const cra_record *record, const char **reason) {
    cra_session *session = cra_table_find(&x->sessions, record->session);
    if (!session) return *reason = NO_SESSION, CRA_REFUSED;
    const cra_template *template = cra_table_find(&x->templates, record->number);
    if (!template) return *reason = NO_TEMPLATE, CRA_REFUSED;
    size_t named = record->injected + record->cut, events = 2 + template->evaluations + named;
    size_t bytes = sizeof RECEIVED + RECEIVED_ROOM + record->text_size + template->bytes + sizeof COMPLETED + COMPLETED_ROOM;
    for (size_t i = 0; i < named; i++) {
        size_t block = cra_index(record, i);
        if (block >= template->blocks) return *reason = NO_BLOCK, CRA_REFUSED;
        bytes += cra_template_block(template, block, i >= record->injected).length + CRA_BLOCK_TYPE;
    }
    if (x->omits_lines) return count_events(x, events), CRA_FED;
    size_t received = sizeof RECEIVED + RECEIVED_ROOM + record->text_size;
    size_t largest = received > template->largest ? received : template->largest;
    if (!reserve(x, events, bytes, largest)) return CRA_NO_MEMORY;

    size_t before = x->writer.length;
    start(x, record, session, record->base);
    char request_id[CRA_UUID_ROOM];
    if (record->request_id) {
        cra_put_uuid(request_id, record->request_id);
    } else {
        uint64_t high, low;
        add(record->base, CRA_REQUEST, &high, &low);
        cra_put_number(request_id, high, low);
    }
    write_received(x, record, request_id);
    for (size_t i = 0; i < template->evaluations; i++) WRITE(x, "policy.evaluated", template->payloads[i]);
    for (size_t i = 0; i < named; i++) {
        bool cut = i >= record->injected;
        cra_text payload = cra_template_block(template, cra_index(record, i), cut);
        if (cut) {
            WRITE(x, "context.redacted", payload);
        } else {
            WRITE(x, "context.injected", payload);
        }
    }
    write_completed(x, record, template, request_id);
    finish(x, session, before, events);
    return CRA_FED;
}

static cra_expand_status feed_template(cra_expander *x, const cra_record *record) {
    if (!cra_table_reserve(&x->templates)) return CRA_NO_MEMORY;
    cra_template *template = cra_template_new(record);
    if (!template) return CRA_NO_MEMORY;
    free(cra_table_put(&x->templates, record->number, template));
    return CRA_FED;
}

static bool reserve_frame(cra_expander *x, size_t length) {
    const size_t need = x->frames_length + CRA_FRAME + length;
    if (need <= x->frames_capacity) return true;
    size_t larger = x->frames_capacity ? x->frames_capacity : 64 << 10;
    while (larger < need) larger *= 2;
    uint8_t *moved = realloc(x->frames, larger);
    if (!moved) return false;
    x->frames = moved;
    x->frames_capacity = larger;
    return true;
}

static void keep_frame(cra_expander *x, const uint8_t *data, size_t length) {
    uint8_t *frame = x->frames + x->frames_length;
    const uint32_t stored = (uint32_t)length;
    memcpy(frame + 4, &stored, 4);
    memcpy(frame + CRA_FRAME, data, length);
    const uint32_t checksum = cra_crc32(0, frame + 4, 4 + length);
    memcpy(frame, &checksum, 4);
    x->frames_length += CRA_FRAME + length;
}

/* `feed` without sealing. */
static cra_expand_status write_record(cra_expander *x, const uint8_t *data, size_t length, const char **reason) {
    cra_record record;
    *reason = cra_record_decode(data, length, &record);
    if (*reason) return CRA_REFUSED;
    if (x->keeps_frames && !reserve_frame(x, length)) return CRA_NO_MEMORY;
    cra_expand_status status = CRA_FED;
    switch (record.kind) {
        case CRA_EVENTS: status = feed_events(x, &record, reason); break;
        case CRA_RESOLVE: status = feed_resolve(x, &record, reason); break;
        case CRA_TEMPLATE: status = feed_template(x, &record); break;
        case CRA_FORGET: free(cra_table_remove(&x->templates, record.number)); break;
    }
    if (status == CRA_FED) {
        if (x->keeps_frames) keep_frame(x, data, length);
        x->pending_records++;
        count(&x->records, 1);
    }
    return status;
}

cra_expand_status cra_expander_feed(cra_expander *x, const uint8_t *record, size_t length, const char **reason) {
    cra_expand_status status = write_record(x, record, length, reason);
    seal(x);
    return status;
}

cra_expand_status cra_expander_feed_frames(cra_expander *x, const uint8_t *data, size_t length, size_t *end) {
    cra_expand_status status = CRA_FED;
    cra_frame frame;
    *end = 0;
    while (cra_frame_at(data + *end, length - *end, &frame)) {
        const char *reason;
        if (frame.length > 0 && frame.content[0] >= CRA_EVENTS && frame.content[0] <= CRA_FORGET) {
            status = write_record(x, frame.content, frame.length, &reason);
        }
        if (status == CRA_NO_MEMORY) break;
        if (status == CRA_REFUSED) count(&x->refused, 1);
        status = CRA_FED;
        *end += CRA_FRAME + frame.length;
    }
    seal(x);
    return status;
}

/* Draining a ring */

cra_expand_status cra_expander_drain(cra_expander *x, cra_ring *ring, size_t max_bytes, uint64_t *taken) {
    cra_expand_status status = CRA_FED;
    *taken = 0;
    while (x->writer.length + x->frames_length < max_bytes) {
        const uint8_t *record;
        const char *reason;
        uint32_t length;
        int found = cra_ring_peek(ring, &record, &length);
        if (found <= 0) {
            if (found < 0) status = CRA_DAMAGED_RING;
            break;
        }
        status = write_record(x, record, length, &reason);
        if (status == CRA_NO_MEMORY) break;
        if (status == CRA_REFUSED) count(&x->refused, 1);
        status = CRA_FED;
        cra_ring_advance(ring, length);
        ++*taken;
    }
    seal(x);
    return status;
}

enum { RUN_BYTES = 256 << 10 }; /* lines nobody reads stay in the processor's cache */

cra_expand_status cra_expander_run(cra_expander *x, cra_ring *ring, int64_t timeout_ns) {
    for (;;) {
        uint64_t taken;
        cra_expand_status status = cra_expander_drain(x, ring, RUN_BYTES, &taken);
        cra_expander_clear(x);
        cra_ring_free(ring, atomic_load_explicit(&ring->position, memory_order_relaxed));
        if (status != CRA_FED) return status;
        if (atomic_exchange_explicit(&x->interrupted, false, memory_order_acquire)) return CRA_INTERRUPTED;
        if (cra_ring_state(ring) != CRA_RING_OPEN) return CRA_CLOSED_RING;
        if (taken > 0) continue;
        int woken = cra_ring_wait(ring, timeout_ns);
        if (woken < 0) return CRA_SIGNALLED;
        if (woken == 0) return CRA_FED;
    }
}

void cra_expander_interrupt(cra_expander *x) { atomic_store_explicit(&x->interrupted, true, memory_order_release); }

/* Counts */

uint64_t cra_expander_records(const cra_expander *x) { return atomic_load_explicit(&x->records, memory_order_relaxed); }
uint64_t cra_expander_events(const cra_expander *x) { return atomic_load_explicit(&x->events, memory_order_relaxed); }
uint64_t cra_expander_refused(const cra_expander *x) { return atomic_load_explicit(&x->refused, memory_order_relaxed); }
void cra_expander_count_refused(cra_expander *x) { count(&x->refused, 1); }
