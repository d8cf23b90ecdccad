/* Frames are found whole or not at all, and nothing is read beyond their end. That what is found is the reference's,
 * tests/unit/reference/test_frames.py says. */
#include <string.h>

#include "check.h"
#include "crc32.h"
#include "frames.h"

static size_t put(uint8_t *out, const void *content, uint32_t length) {
    memcpy(out + 4, &length, 4);
    memcpy(out + 8, content, length);
    const uint32_t checksum = cra_crc32(0, out + 4, 4 + length);
    memcpy(out, &checksum, 4);
    return 8 + length;
}

int main(void) {
    uint64_t seed = 3;
    size_t whole = 0, cut = 0;
    for (int turn = 0; turn < 2000; turn++) {
        uint8_t content[96];
        const uint32_t length = (uint32_t)(next_random(&seed) % sizeof content);
        for (uint32_t i = 0; i < length; i++) content[i] = (uint8_t)(next_random(&seed) % 7);
        uint8_t built[104];
        const size_t size = put(built, content, length);
        for (size_t seen = 0; seen <= size; seen++) {
            uint8_t *exact = malloc(seen + (seen == 0)); /* so that a sanitizer sees a read beyond the end */
            memcpy(exact, built, seen);
            cra_frame frame;
            const bool found = cra_frame_at(exact, seen, &frame);
            CHECK(found == (seen == size));
            cut += !found;
            if (found) {
                uint64_t session;
                CHECK(frame.length == length && memcmp(frame.content, content, length) == 0);
                if (cra_frame_session(&frame, &session)) whole += cra_frame_has_events(&frame);
                whole += cra_frame_matters(&frame) + cra_frame_is_template(&frame);
            }
            free(exact);
        }
        built[next_random(&seed) % size] ^= 1 + (uint8_t)(next_random(&seed) % 255);
        cra_frame frame;
        CHECK(!cra_frame_at(built, size, &frame));
    }
    CHECK(whole > 0);
    printf("frames: 2000 contents, cut at %zu places, and damaged\n", cut);
    return 0;
}
