/* Walking over frames. Nothing here trusts what the bytes say: they may come from a damaged file. */
#include "frames.h"

#include <string.h>

#include "crc32.h"
#include "records.h"

enum { EVENTS_BYTES = 36, EVENT_BYTES = 6, RESOLVE_BYTES = 48, EVENTS_SESSION = 4, RESOLVE_SESSION = 8 };
static const char ENDED[] = "session.ended";

static uint16_t load16(const uint8_t *from) {
    uint16_t value;
    memcpy(&value, from, sizeof value);
    return value;
}

static uint32_t load32(const uint8_t *from) {
    uint32_t value;
    memcpy(&value, from, sizeof value);
    return value;
}

bool cra_frame_at(const uint8_t *data, size_t length, cra_frame *frame) {
    if (length < CRA_FRAME) return false;
    frame->length = load32(data + 4);
    frame->content = data + CRA_FRAME;
    return frame->length <= length - CRA_FRAME && cra_crc32(0, data + 4, 4 + (size_t)frame->length) == load32(data);
}

static bool is(const cra_frame *frame, int kind, size_t at_least) {
    return frame->length >= at_least && frame->content[0] == kind;
}

/* Whether the last event of an EVENTS record ends its session. */
static bool ends(const cra_frame *frame) {
    const uint8_t *at = frame->content + EVENTS_BYTES, *const end = frame->content + frame->length;
    size_t ids = (frame->content[1] & CRA_DEFINES ? CRA_DEFINITION : 0) + (frame->content[1] & CRA_HAS_SPAN ? CRA_UUID : 0);
    if ((size_t)(end - at) < ids) return false;
    at += ids;
    bool last = false;
    for (uint16_t left = load16(frame->content + 2); left > 0; left--) {
        if (end - at < EVENT_BYTES) return false;
        const size_t type = load16(at), payload = load32(at + 2);
        at += EVENT_BYTES;
        if ((size_t)(end - at) < type + payload) return false;
        last = type == sizeof ENDED - 1 && memcmp(at, ENDED, type) == 0;
        at += type + payload;
    }
    return last;
}

bool cra_frame_matters(const cra_frame *frame) {
    if (is(frame, CRA_EVENTS, EVENTS_BYTES)) return frame->content[1] & CRA_DEFINES || ends(frame);
    return !is(frame, CRA_RESOLVE, 1);
}

bool cra_frame_session(const cra_frame *frame, uint64_t *session) {
    if (is(frame, CRA_EVENTS, EVENTS_BYTES)) {
        memcpy(session, frame->content + EVENTS_SESSION, sizeof *session);
        return true;
    }
    if (is(frame, CRA_RESOLVE, RESOLVE_BYTES)) {
        memcpy(session, frame->content + RESOLVE_SESSION, sizeof *session);
        return true;
    }
    return false;
}

bool cra_frame_is_template(const cra_frame *frame) {
    return is(frame, CRA_TEMPLATE, 1) || is(frame, CRA_FORGET, 1);
}

bool cra_frame_has_events(const cra_frame *frame) {
    return frame->content[0] == CRA_RESOLVE || load16(frame->content + 2) != 0;
}
