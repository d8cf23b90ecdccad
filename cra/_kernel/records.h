/* Records as the hot path writes them, decoded in place. The twin is `decode` of `cra.reference.records`; the format is described
 * in docs/formats/records.md.
 *
 * Called by the expander. Decoding looks at every byte once and never beyond the end; what it returns points into the record,
 * and everything that a `cra_record` says is checked: whoever walks its events or fragments needs no bounds of its own. */
#ifndef CRA_RECORDS_H
#define CRA_RECORDS_H

#include <stddef.h>
#include <stdint.h>

enum { CRA_EVENTS = 1, CRA_RESOLVE = 2, CRA_TEMPLATE = 3, CRA_FORGET = 4 };
enum { CRA_DEFINES = 1, CRA_HAS_SPAN = 2 };         /* flags of EVENTS */
enum { CRA_PAYLOAD = 1, CRA_HAS_REQUEST_ID = 2 };   /* flags of RESOLVE */
enum { CRA_REQUEST = 1, CRA_RESOLUTION = 2, CRA_FIRST_EVENT = 3 }; /* what is added to `base` */
enum { CRA_UUID = 16, CRA_DEFINITION = 3 * CRA_UUID, CRA_POLICY_SET = 32 };

#define CRA_MAX_PAYLOAD ((1u << 24) - (1u << 17))

typedef struct {
    const uint8_t *data;
    size_t length;
} cra_text;

/* Which fields mean something depends on the kind; the others are not set. */
typedef struct {
    int kind;
    unsigned flags;
    /* EVENTS and RESOLVE */
    uint64_t session;
    int64_t time_ns;
    const uint8_t *base;
    /* EVENTS */
    const uint8_t *define; /* session, trace and span id; NULL: it defines nothing */
    const uint8_t *span;   /* NULL: `base` */
    size_t count;          /* events */
    const uint8_t *events;
    size_t largest;        /* type and payload of the largest event */
    size_t total;          /* of all events */
    int ends;              /* whether the last event is session.ended */
    /* RESOLVE and TEMPLATE */
    uint32_t number;       /* of the template */
    /* RESOLVE */
    const uint8_t *request_id; /* NULL: `base` + CRA_REQUEST */
    size_t injected, cut;
    const uint8_t *indexes; /* of both, one after the other; see `cra_index` */
    cra_text text;          /* the goal, or with CRA_PAYLOAD the payload */
    size_t text_size;       /* of the goal as a JSON string, or of the payload */
    /* TEMPLATE */
    size_t evaluations, blocks;
    uint32_t allowed, denied, ttl_seconds;
    const uint8_t *policy_set;
    cra_text decision;
    const uint8_t *fragments; /* `evaluations` payloads, then `blocks` pairs of them; see `cra_next_fragment` */
    size_t fragment_bytes;    /* of all payloads together */
} cra_record;

/* Fills `record`; returns NULL, or why the bytes are no record. */
const char *cra_record_decode(const uint8_t *data, size_t length, cra_record *record);

/* The event at `at`; returns where the next one is. */
const uint8_t *cra_next_event(const uint8_t *at, cra_text *type, cra_text *payload);

/* The payload at `at`; returns where the next one is. */
const uint8_t *cra_next_fragment(const uint8_t *at, cra_text *payload);

/* The block that the `i`-th of a RESOLVE's indexes names. */
size_t cra_index(const cra_record *record, size_t i);

#endif
