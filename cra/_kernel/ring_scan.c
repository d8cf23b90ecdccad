/* The reader of recovery; cra/reference/ring_scan.py says what it does and why. It works on a copy and never writes. */
#include "crc32.h"
#include "ring.h"

#include <stdlib.h>
#include <string.h>

static uint64_t load64(const uint8_t *from) {
    uint64_t value;
    memcpy(&value, from, 8);
    return value;
}

/* The word at an offset of an image that may end before it or within it: what is missing is zero. */
static uint64_t word_at(const uint8_t *image, size_t length, size_t offset) {
    uint8_t word[8] = {0};
    if (offset < length)
        memcpy(word, image + offset, length - offset < 8 ? length - offset : 8);
    return load64(word);
}

static uint32_t load32(const uint8_t *from) {
    uint32_t value;
    memcpy(&value, from, 4);
    return value;
}

static uint64_t inverse(uint64_t odd) {
    uint64_t result = odd; /* right in the low 3 bits; each step doubles them */
    for (int step = 0; step < 5; step++)
        result *= 2 - odd * result;
    return result;
}

static uint64_t unmix(uint64_t word, uint64_t secret) {
    word ^= word >> 32;
    word *= inverse(UINT64_C(0xD6E8FEB86659FD93));
    word ^= word >> 32;
    return word * inverse(UINT64_C(0x9E3779B97F4A7C15)) ^ secret;
}

static bool is_blank(const uint8_t *image, size_t length) {
    return length == 0 || (image[0] == 0 && memcmp(image, image + 1, length - 1) == 0);
}

static bool may_be_tail(const cra_ring_scan *scan, uint64_t position) {
    return position % 8 == 0 && position <= scan->head && scan->head - position <= scan->size;
}

/* Which tail to believe. The process may have died between tail and seal, or one of them is damaged. */
static void find_tail(cra_ring_scan *scan, uint64_t tail, uint64_t seal) {
    const uint64_t sealed = unmix(seal, scan->secret);
    scan->tail = tail;
    scan->tail_is_known = true;
    if (sealed == tail)
        return;
    if (may_be_tail(scan, sealed))
        scan->tail = sealed;
    else
        scan->tail_is_known = may_be_tail(scan, tail);
}

cra_ring_scan_status cra_ring_scan_open(cra_ring_scan *scan, const uint8_t *image, size_t length) {
    memset(scan, 0, sizeof *scan);
    if (is_blank(image, length))
        return CRA_RING_BLANK;
    if (length < CRA_RING_IDENTITY || memcmp(image, CRA_RING_MAGIC, 8) != 0 || load32(image + 8) != CRA_RING_VERSION ||
        load32(image + 40) != cra_crc32(0, image, 40))
        return CRA_RING_REFUSED;
    const uint64_t size = load64(image + 16);
    if (size < CRA_RING_MIN_SIZE || size > CRA_RING_MAX_SIZE || (size & (size - 1)))
        return CRA_RING_REFUSED;
    scan->data = calloc(2, size);
    if (scan->data == NULL)
        return CRA_RING_NO_MEMORY;
    uint64_t present = length > CRA_RING_DATA_OFFSET ? length - CRA_RING_DATA_OFFSET : 0;
    if (present > size)
        present = size;
    if (present > 0) {
        memcpy(scan->data, image + CRA_RING_DATA_OFFSET, present);
        memcpy(scan->data + size, image + CRA_RING_DATA_OFFSET, present);
    }
    scan->size = size;
    scan->missing = size - present;
    scan->secret = load64(image + 24);
    scan->pid = load64(image + 32);
    scan->head = word_at(image, length, CRA_RING_HEAD_OFFSET);
    find_tail(scan, word_at(image, length, CRA_RING_TAIL_OFFSET), word_at(image, length, CRA_RING_TAIL_OFFSET + 8));
    scan->head_is_sound = scan->head % 8 == 0 && may_be_tail(scan, scan->tail);
    scan->position = scan->end = scan->tail;
    scan->limit = scan->tail + size;
    return CRA_RING_SCANNED;
}

/* The record whose commit word is at `position`, if it ends before the limit and its checksum is right. */
static bool load_record(const cra_ring_scan *scan, uint64_t position, cra_ring_item *item) {
    const uint8_t *frame = scan->data + (position & (scan->size - 1));
    if (scan->limit - position < CRA_RING_FRAME)
        return false;
    const uint64_t length = load32(frame + 12);
    if (length > scan->size / 2 || cra_ring_frame_size(length) > scan->limit - position ||
        cra_crc32(0, frame + 12, 4 + length) != load32(frame + 8))
        return false;
    *item = (cra_ring_item){CRA_RING_RECORD, position, length, frame + CRA_RING_FRAME};
    return true;
}

/* The next record; END when there is none. */
static cra_ring_item walk(cra_ring_scan *scan) {
    cra_ring_item item = {CRA_RING_END, 0, 0, NULL};
    for (; scan->position != scan->limit; scan->position += 8) {
        const uint64_t position = scan->position;
        const uint64_t word = load64(scan->data + (position & (scan->size - 1)));
        if (word == 0 || word != cra_ring_mix(position, scan->secret))
            continue;
        if (load_record(scan, position, &item))
            break;
        scan->damaged = scan->damaged || position == scan->end;
    }
    return item;
}

static cra_ring_item gap(cra_ring_scan *scan, uint64_t until) {
    const cra_ring_item_kind kind = scan->damaged ? CRA_RING_DAMAGED_RECORD : CRA_RING_NOT_COMMITTED;
    scan->damaged = false;
    return (cra_ring_item){kind, scan->end, until - scan->end, NULL};
}

static cra_ring_item emit(cra_ring_scan *scan, cra_ring_item record) {
    scan->end = scan->position = record.position + cra_ring_frame_size(record.length);
    return record;
}

cra_ring_item cra_ring_scan_next(cra_ring_scan *scan) {
    const cra_ring_item over = {CRA_RING_END, 0, 0, NULL};
    if (scan->missing > 0) {
        const cra_ring_item item = {CRA_RING_CUT_SHORT, 0, scan->missing, NULL};
        scan->missing = 0;
        return item;
    }
    if (scan->pending.kind != CRA_RING_END) {
        const cra_ring_item record = scan->pending;
        scan->pending = over;
        return emit(scan, record);
    }
    if (scan->finished)
        return over;
    if (!scan->tail_is_known) {
        scan->finished = true;
        return (cra_ring_item){CRA_RING_DAMAGED_TAIL, 0, scan->size, NULL};
    }
    if (!scan->walked) {
        const cra_ring_item record = walk(scan);
        if (record.kind == CRA_RING_RECORD) {
            if (record.position == scan->end)
                return emit(scan, record);
            scan->pending = record;
            return gap(scan, record.position);
        }
        scan->walked = true;
        if (scan->head_is_sound && scan->head > scan->end)
            return gap(scan, scan->head);
    }
    scan->finished = true;
    if (!scan->head_is_sound || scan->end > scan->head)
        return (cra_ring_item){CRA_RING_DAMAGED_HEAD, scan->end, 0, NULL};
    return over;
}

void cra_ring_scan_close(cra_ring_scan *scan) {
    free(scan->data);
    scan->data = NULL;
}
