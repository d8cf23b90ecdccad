/* Bytes as lower-case hex digits, four bytes at a time in an integer register. */
#ifndef CRA_HEX_H
#define CRA_HEX_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The eight digits of four bytes. */
static inline void cra_hex_of_four(char digits[8], const uint8_t bytes[4]) {
    /* One nibble a byte, the first digit in the lowest. */
    uint64_t n = (uint64_t)bytes[0] | (uint64_t)bytes[1] << 16 | (uint64_t)bytes[2] << 32 | (uint64_t)bytes[3] << 48;
    n = (n >> 4 & 0x000f000f000f000fu) | (n & 0x000f000f000f000fu) << 8;
    uint64_t letters = (n + 0x0606060606060606u) >> 4 & 0x0101010101010101u;
    n += 0x3030303030303030u + letters * ('a' - '0' - 10);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    n = __builtin_bswap64(n);
#endif
    memcpy(digits, &n, sizeof n);
}

/* The 2 × `count` digits of `count` bytes, a multiple of four; no terminating zero. */
static inline void cra_hex(char *digits, const uint8_t *bytes, size_t count) {
    for (size_t i = 0; i < count; i += 4) cra_hex_of_four(digits + 2 * i, bytes + i);
}

#endif
