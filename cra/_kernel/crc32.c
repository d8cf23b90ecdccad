/* Two ways to one number. Portable: tables, sixteen bytes a step. On x86 with PCLMULQDQ: folding by carry-less multiplication, after
 * Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction" (Intel, 2009). */
#include "crc32.h"

#include <string.h>

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define CRA_CRC32_PCLMUL 1
#include <immintrin.h>
#endif

#define POLYNOMIAL 0xEDB88320u

static uint32_t tables[16][256]; /* tables[k][b]: the CRC of byte b with k zero bytes behind it */
static int has_pclmul;

__attribute__((constructor)) static void make_tables(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
        tables[0][byte] = crc;
    }
    for (int k = 1; k < 16; k++)
        for (int byte = 0; byte < 256; byte++)
            tables[k][byte] = tables[k - 1][byte] >> 8 ^ tables[0][tables[k - 1][byte] & 0xFF];
#ifdef CRA_CRC32_PCLMUL
    __builtin_cpu_init();
    has_pclmul = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
#endif
}

static uint32_t load32(const uint8_t *from) {
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

static uint32_t step4(uint32_t word, int behind) {
    return tables[behind + 3][word & 0xFF] ^ tables[behind + 2][word >> 8 & 0xFF] ^ tables[behind + 1][word >> 16 & 0xFF] ^
           tables[behind][word >> 24];
}

/* All of these work on the inverted CRC. */
static uint32_t by_tables(uint32_t crc, const uint8_t *data, size_t length) {
    for (; length >= 16; data += 16, length -= 16)
        crc = step4(crc ^ load32(data), 12) ^ step4(load32(data + 4), 8) ^ step4(load32(data + 8), 4) ^ step4(load32(data + 12), 0);
    if (length >= 8) {
        crc = step4(crc ^ load32(data), 4) ^ step4(load32(data + 4), 0);
        data += 8, length -= 8;
    }
    if (length >= 4) {
        crc = step4(crc ^ load32(data), 0);
        data += 4, length -= 4;
    }
    while (length--)
        crc = crc >> 8 ^ tables[0][(crc ^ *data++) & 0xFF];
    return crc;
}

#ifdef CRA_CRC32_PCLMUL

/* x^n mod P, reflected, for the distances folded over. */
static const uint64_t FOLD_64[2] __attribute__((aligned(16))) = {0x0154442bd4, 0x01c6e41596};
static const uint64_t FOLD_16[2] __attribute__((aligned(16))) = {0x01751997d0, 0x00ccaa009e};
static const uint64_t FOLD_8[2] __attribute__((aligned(16))) = {0x0163cd6124, 0};
static const uint64_t BARRETT[2] __attribute__((aligned(16))) = {0x01db710641, 0x01f7011641};

__attribute__((target("pclmul,sse4.1"))) static inline __m128i fold(__m128i lane, __m128i constants, __m128i next) {
    __m128i low = _mm_clmulepi64_si128(lane, constants, 0x00);
    __m128i high = _mm_clmulepi64_si128(lane, constants, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

#define LOAD(at) _mm_loadu_si128((const __m128i *)(const void *)(at))
#define CONSTANTS(of) _mm_load_si128((const __m128i *)(const void *)(of))

/* `length` is at least 64 and a multiple of 16. */
__attribute__((target("pclmul,sse4.1"))) static uint32_t by_folding(uint32_t crc, const uint8_t *data, size_t length) {
    __m128i a = _mm_xor_si128(LOAD(data), _mm_cvtsi32_si128((int)crc));
    __m128i b = LOAD(data + 16), c = LOAD(data + 32), d = LOAD(data + 48);
    __m128i constants = CONSTANTS(FOLD_64);
    for (data += 64, length -= 64; length >= 64; data += 64, length -= 64) {
        a = fold(a, constants, LOAD(data));
        b = fold(b, constants, LOAD(data + 16));
        c = fold(c, constants, LOAD(data + 32));
        d = fold(d, constants, LOAD(data + 48));
    }
    constants = CONSTANTS(FOLD_16);
    a = fold(fold(fold(a, constants, b), constants, c), constants, d);
    for (; length; data += 16, length -= 16)
        a = fold(a, constants, LOAD(data));
    /* 128 bits to 64, then to 32 by Barrett reduction. */
    const __m128i low32 = _mm_setr_epi32(-1, 0, -1, 0);
    b = _mm_clmulepi64_si128(a, constants, 0x10);
    a = _mm_xor_si128(_mm_srli_si128(a, 8), b);
    b = _mm_srli_si128(a, 4);
    a = _mm_xor_si128(_mm_clmulepi64_si128(_mm_and_si128(a, low32), CONSTANTS(FOLD_8), 0x00), b);
    constants = CONSTANTS(BARRETT);
    b = _mm_clmulepi64_si128(_mm_and_si128(a, low32), constants, 0x10);
    b = _mm_clmulepi64_si128(_mm_and_si128(b, low32), constants, 0x00);
    return (uint32_t)_mm_extract_epi32(_mm_xor_si128(a, b), 1);
}

#endif

uint32_t cra_crc32_portable(uint32_t crc, const void *data, size_t length) {
    return ~by_tables(~crc, data, length);
}

uint32_t cra_crc32(uint32_t crc, const void *data, size_t length) {
    const uint8_t *bytes = data;
    crc = ~crc;
#ifdef CRA_CRC32_PCLMUL
    if (has_pclmul && length >= 64) {
        size_t folded = length & ~(size_t)15;
        crc = by_folding(crc, bytes, folded);
        bytes += folded, length -= folded;
    }
#endif
    return ~by_tables(crc, bytes, length);
}
