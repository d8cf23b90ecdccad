/* Records, decoded: every bound, flag and text is checked here, in the order in which the reference checks them. */
#include "records.h"

#include <stdbool.h>
#include <string.h>

#include "json.h"

#define MAX_GOAL (CRA_MAX_PAYLOAD - 128)
enum { MAX_DECISION = 32 };

static const char TOO_SHORT[] = "it ends early";
static const char UNKNOWN_KIND[] = "there is no record of its kind";
static const char UNKNOWN_FLAGS[] = "it has unknown flags";
static const char NOT_RESERVED[] = "its reserved bytes are not zero";
static const char TRAILING[] = "bytes follow its end";
static const char NO_TYPE[] = "an event type is lower-case words joined by dots";
static const char NO_PAYLOAD[] = "a payload is a canonical JSON object";
static const char LONG_PAYLOAD[] = "a payload is too long";
static const char NO_TEXT[] = "a goal is text in UTF-8";
static const char LONG_GOAL[] = "a goal is too long";
static const char NO_DECISION[] = "a decision type is one lower-case word";

/* What is left of a record. Taking more than that is answered with NULL and takes nothing. */
typedef struct {
    const uint8_t *at;
    size_t left;
} reader;

static const uint8_t *take(reader *r, size_t length) {
    if (length > r->left) return NULL;
    const uint8_t *taken = r->at;
    r->at += length;
    r->left -= length;
    return taken;
}

/* Little endian, wherever it stands. Compilers know the shape and load the number at once. */
static inline uint16_t read16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static inline uint32_t read32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline uint64_t read64(const uint8_t *p) { return read32(p) | (uint64_t)read32(p + 4) << 32; }

/* Characters */

/* The length of the UTF-8 sequence at `p`, of which `left` bytes are there; 0 where there is none. As Python has it: no overlong
 * forms, no surrogates, nothing above U+10FFFF. */
static size_t sequence_length(const uint8_t *p, size_t left) {
    uint8_t first = p[0];
    size_t length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (first < 0xc2 || first > 0xf4 || length > left) return 0;
    uint8_t low = 0x80, high = 0xbf;
    if (first == 0xe0) low = 0xa0;
    if (first == 0xed) high = 0x9f;
    if (first == 0xf0) low = 0x90;
    if (first == 0xf4) high = 0x8f;
    if (p[1] < low || p[1] > high) return 0;
    for (size_t i = 2; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
    }
    return length;
}

/* Whether the bytes are UTF-8 and none is below `lowest`. */
static bool is_text(const uint8_t *p, size_t length, uint8_t lowest) {
    const uint64_t high = 0x8080808080808080u, least = 0x0101010101010101u * lowest;
    while (length > 0) {
        if (length >= 8) {
            uint64_t bytes;
            memcpy(&bytes, p, sizeof bytes);
            if (((bytes | (bytes - least)) & high) == 0) {
                p += 8;
                length -= 8;
                continue;
            }
        }
        size_t step = 1;
        if (*p >= 0x80) {
            step = sequence_length(p, length);
            if (step == 0) return false;
        } else if (*p < lowest) {
            return false;
        }
        p += step;
        length -= step;
    }
    return true;
}

static bool is_lower(uint8_t byte) { return byte >= 'a' && byte <= 'z'; }

/* [a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+ */
static bool is_event_type(const uint8_t *p, size_t length) {
    bool begins = true, dotted = false;
    for (size_t i = 0; i < length; i++) {
        uint8_t byte = p[i];
        if (begins) {
            if (!is_lower(byte)) return false;
            begins = false;
        } else if (byte == '.') {
            begins = dotted = true;
        } else if (!is_lower(byte) && !(byte >= '0' && byte <= '9') && byte != '_') {
            return false;
        }
    }
    return dotted && !begins;
}

/* [a-z][a-z_]{0,31} */
static bool is_decision(const uint8_t *p, size_t length) {
    if (length == 0 || length > MAX_DECISION || !is_lower(p[0])) return false;
    for (size_t i = 1; i < length; i++) {
        if (!is_lower(p[i]) && p[i] != '_') return false;
    }
    return true;
}

static const char *take_payload(reader *r, size_t length) {
    if (length > CRA_MAX_PAYLOAD) return LONG_PAYLOAD;
    const uint8_t *p = take(r, length);
    if (!p) return TOO_SHORT;
    if (length < 2 || p[0] != '{' || p[length - 1] != '}' || !is_text(p, length, 0x20)) return NO_PAYLOAD;
    return NULL;
}

/* Kinds */

static const char *decode_events(reader *r, cra_record *record) {
    const uint8_t *p = take(r, 36);
    if (!p) return TOO_SHORT;
    record->flags = p[1];
    record->count = read16(p + 2);
    record->session = read64(p + 4);
    record->time_ns = (int64_t)read64(p + 12);
    record->base = p + 20;
    if (record->flags & ~(unsigned)(CRA_DEFINES | CRA_HAS_SPAN)) return UNKNOWN_FLAGS;
    record->define = record->span = NULL;
    if (record->flags & CRA_DEFINES && !(record->define = take(r, CRA_DEFINITION))) return TOO_SHORT;
    if (record->flags & CRA_HAS_SPAN && !(record->span = take(r, CRA_UUID))) return TOO_SHORT;
    record->events = r->at;
    record->largest = record->total = 0;
    record->ends = 0;
    for (size_t i = 0; i < record->count; i++) {
        if (!(p = take(r, 6))) return TOO_SHORT;
        size_t type_length = read16(p), length = read32(p + 2);
        if (!(p = take(r, type_length))) return TOO_SHORT;
        if (!is_event_type(p, type_length)) return NO_TYPE;
        const char *refusal = take_payload(r, length);
        if (refusal) return refusal;
        size_t size = type_length + length;
        if (size > record->largest) record->largest = size;
        record->total += size;
        record->ends = type_length == 13 && memcmp(p, "session.ended", 13) == 0;
    }
    return NULL;
}

static const char *decode_resolve(reader *r, cra_record *record) {
    const uint8_t *p = take(r, 48);
    if (!p) return TOO_SHORT;
    record->flags = p[1];
    record->injected = read16(p + 2);
    record->cut = read16(p + 4);
    record->session = read64(p + 8);
    record->time_ns = (int64_t)read64(p + 16);
    record->base = p + 24;
    record->number = read32(p + 40);
    size_t length = read32(p + 44);
    if (record->flags & ~(unsigned)(CRA_PAYLOAD | CRA_HAS_REQUEST_ID)) return UNKNOWN_FLAGS;
    if (p[6] || p[7]) return NOT_RESERVED;
    record->request_id = NULL;
    if (record->flags & CRA_HAS_REQUEST_ID && !(record->request_id = take(r, CRA_UUID))) return TOO_SHORT;
    record->indexes = take(r, 2 * (record->injected + record->cut));
    if (!record->indexes) return TOO_SHORT;
    record->text = (cra_text){r->at, length};
    record->text_size = length;
    if (record->flags & CRA_PAYLOAD) return take_payload(r, length);
    if (!take(r, length)) return TOO_SHORT;
    if (!is_text(record->text.data, length, 0)) return NO_TEXT;
    record->text_size = cra_string_size((const char *)record->text.data, length);
    return record->text_size > MAX_GOAL ? LONG_GOAL : NULL;
}

static const char *decode_template(reader *r, cra_record *record) {
    const uint8_t *p = take(r, 60);
    if (!p) return TOO_SHORT;
    record->blocks = read16(p + 2);
    record->number = read32(p + 4);
    record->evaluations = read32(p + 8);
    record->allowed = read32(p + 12);
    record->denied = read32(p + 16);
    record->ttl_seconds = read32(p + 20);
    record->policy_set = p + 24;
    size_t length = read32(p + 56);
    if (p[1]) return NOT_RESERVED;
    if (!(p = take(r, length))) return TOO_SHORT;
    if (!is_decision(p, length)) return NO_DECISION;
    record->decision = (cra_text){p, length};
    record->fragments = r->at;
    record->fragment_bytes = 0;
    for (size_t i = 0; i < record->evaluations + 2 * record->blocks; i++) {
        if (!(p = take(r, 4))) return TOO_SHORT;
        const char *refusal = take_payload(r, read32(p));
        if (refusal) return refusal;
        record->fragment_bytes += read32(p);
    }
    return NULL;
}

static const char *decode_forget(reader *r, cra_record *record) {
    const uint8_t *p = take(r, 8);
    if (!p) return TOO_SHORT;
    if (p[1] || p[2] || p[3]) return NOT_RESERVED;
    record->number = read32(p + 4);
    return NULL;
}

const char *cra_record_decode(const uint8_t *data, size_t length, cra_record *record) {
    reader r = {data, length};
    const char *refusal = UNKNOWN_KIND;
    record->kind = length > 0 ? data[0] : 0;
    switch (record->kind) {
        case CRA_EVENTS: refusal = decode_events(&r, record); break;
        case CRA_RESOLVE: refusal = decode_resolve(&r, record); break;
        case CRA_TEMPLATE: refusal = decode_template(&r, record); break;
        case CRA_FORGET: refusal = decode_forget(&r, record); break;
    }
    return refusal ? refusal : r.left > 0 ? TRAILING : NULL;
}

const uint8_t *cra_next_event(const uint8_t *at, cra_text *type, cra_text *payload) {
    *type = (cra_text){at + 6, read16(at)};
    *payload = (cra_text){at + 6 + type->length, read32(at + 2)};
    return payload->data + payload->length;
}

const uint8_t *cra_next_fragment(const uint8_t *at, cra_text *payload) {
    *payload = (cra_text){at + 4, read32(at)};
    return payload->data + payload->length;
}

size_t cra_index(const cra_record *record, size_t i) { return read16(record->indexes + 2 * i); }
