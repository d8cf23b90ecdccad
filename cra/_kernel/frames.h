/* Frames of records, one after the other. The twin is cra/reference/frames.py; docs/formats/journal.md has the layout. */
#ifndef CRA_FRAMES_H
#define CRA_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CRA_FRAME = 8 }; /* bytes before the content: u32 CRC-32 of the length and the content, u32 length */

/* What a frame holds, as far as it says without being decoded. */
typedef struct {
    const uint8_t *content;
    uint32_t length;
} cra_frame;

/* The frame that begins `data`; false where no whole one does. */
bool cra_frame_at(const uint8_t *data, size_t length, cra_frame *frame);

/* Whether it changes what later records mean: anything but RESOLVE, and EVENTS that neither define their session nor end it. */
bool cra_frame_matters(const cra_frame *frame);

/* Whether it carries the number of a session, and which; and whether it is a TEMPLATE or FORGET, which no session's events go without. */
bool cra_frame_session(const cra_frame *frame, uint64_t *session);
bool cra_frame_is_template(const cra_frame *frame);

/* Whether a record that carries the number of a session has any event. */
bool cra_frame_has_events(const cra_frame *frame);

#endif
