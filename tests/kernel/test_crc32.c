/* Both ways to the CRC-32 against the definition, bit by bit, for every length and alignment that takes another branch. */
#include "check.h"
#include "crc32.h"

static uint32_t by_definition(uint32_t crc, const uint8_t *data, size_t length) {
    crc = ~crc;
    while (length--) {
        crc ^= *data++;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return ~crc;
}

int main(void) {
    static uint8_t data[1200];
    uint64_t seed = 1;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)next_random(&seed);
    CHECK(cra_crc32(0, "123456789", 9) == 0xCBF43926u);
    CHECK(cra_crc32(7, NULL, 0) == 7);
    for (size_t length = 0; length < 1100; length++) {
        const size_t offset = next_random(&seed) % 17;
        const uint32_t crc = (uint32_t)next_random(&seed), expected = by_definition(crc, data + offset, length);
        CHECK(cra_crc32(crc, data + offset, length) == expected);
        CHECK(cra_crc32_portable(crc, data + offset, length) == expected);
        const size_t cut = next_random(&seed) % (length + 1);
        CHECK(cra_crc32(cra_crc32(crc, data + offset, cut), data + offset + cut, length - cut) == expected);
    }
    puts("crc32: 1100 lengths, whole and in two parts");
    return 0;
}
