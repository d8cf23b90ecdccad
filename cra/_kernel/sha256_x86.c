/* SHA-256 with the SHA extensions of x86 (SHA-NI), where the processor has them.
 *
 * The functions are compiled for those instructions by attribute, not by a flag of the whole build, so that the same binary runs on
 * processors without them. */
#include "sha256_backend.h"

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))

#include <cpuid.h>
#include <immintrin.h>

#define TARGET __attribute__((target("sha,sse4.1,ssse3")))

static int has_sha(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSSE3) || !(c & bit_SSE4_1)) return 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & 1u << 29); /* leaf 7: SHA */
}

/* The state as the instructions want it: ABEF and CDGH, most significant word first. */
#define LOAD_STATE(state, abef, cdgh) \
    do { \
        __m128i dcba = _mm_loadu_si128((const __m128i *)(const void *)(state)); \
        __m128i hgfe = _mm_loadu_si128((const __m128i *)(const void *)((state) + 4)); \
        dcba = _mm_shuffle_epi32(dcba, 0xB1); \
        hgfe = _mm_shuffle_epi32(hgfe, 0x1B); \
        abef = _mm_alignr_epi8(dcba, hgfe, 8); \
        cdgh = _mm_blend_epi16(hgfe, dcba, 0xF0); \
    } while (0)

#define STORE_STATE(state, abef, cdgh) \
    do { \
        __m128i feba = _mm_shuffle_epi32(abef, 0x1B); \
        __m128i dchg = _mm_shuffle_epi32(cdgh, 0xB1); \
        _mm_storeu_si128((__m128i *)(void *)(state), _mm_blend_epi16(feba, dchg, 0xF0)); \
        _mm_storeu_si128((__m128i *)(void *)((state) + 4), _mm_alignr_epi8(dchg, feba, 8)); \
    } while (0)

#define LOAD_BLOCK(blocks, m) \
    do { \
        for (int i = 0; i < 4; i++) \
            m[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(blocks) + i), order); \
    } while (0)

/* Four rounds with words 4i to 4i+3, which are in m[i % 4]; and what they allow of the words to come: the schedule of words
 * 4(i+1) is finished, that of words 4(i+3) begun. */
#define FOUR_ROUNDS(i, abef, cdgh, m) \
    do { \
        __m128i words = _mm_add_epi32(m[(i) % 4], _mm_load_si128((const __m128i *)(const void *)cra_sha256_k + (i))); \
        cdgh = _mm_sha256rnds2_epu32(cdgh, abef, words); \
        if ((i) >= 3 && (i) < 15) { \
            m[((i) + 1) % 4] = _mm_add_epi32(m[((i) + 1) % 4], _mm_alignr_epi8(m[(i) % 4], m[((i) + 3) % 4], 4)); \
            m[((i) + 1) % 4] = _mm_sha256msg2_epu32(m[((i) + 1) % 4], m[(i) % 4]); \
        } \
        abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(words, 0x0E)); \
        if ((i) >= 1 && (i) < 13) m[((i) + 3) % 4] = _mm_sha256msg1_epu32(m[((i) + 3) % 4], m[(i) % 4]); \
    } while (0)

#define SIXTY_FOUR(ROUNDS) \
    ROUNDS(0); ROUNDS(1); ROUNDS(2); ROUNDS(3); ROUNDS(4); ROUNDS(5); ROUNDS(6); ROUNDS(7); \
    ROUNDS(8); ROUNDS(9); ROUNDS(10); ROUNDS(11); ROUNDS(12); ROUNDS(13); ROUNDS(14); ROUNDS(15)

#define BYTE_ORDER_OF_WORDS _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL)

TARGET static void compress(uint32_t state[8], const uint8_t *blocks, size_t count) {
    const __m128i order = BYTE_ORDER_OF_WORDS;
    __m128i abef, cdgh;
    LOAD_STATE(state, abef, cdgh);
    for (; count > 0; count--, blocks += 64) {
        __m128i m[4], abef_before = abef, cdgh_before = cdgh;
        LOAD_BLOCK(blocks, m);
#define ROUNDS(i) FOUR_ROUNDS(i, abef, cdgh, m)
        SIXTY_FOUR(ROUNDS);
#undef ROUNDS
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    STORE_STATE(state, abef, cdgh);
}

TARGET static void compress2(uint32_t first[8], const uint8_t *first_blocks, uint32_t second[8], const uint8_t *second_blocks,
                             size_t count) {
    const __m128i order = BYTE_ORDER_OF_WORDS;
    __m128i abef1, cdgh1, abef2, cdgh2;
    LOAD_STATE(first, abef1, cdgh1);
    LOAD_STATE(second, abef2, cdgh2);
    for (; count > 0; count--, first_blocks += 64, second_blocks += 64) {
        __m128i m1[4], m2[4];
        __m128i abef1_before = abef1, cdgh1_before = cdgh1, abef2_before = abef2, cdgh2_before = cdgh2;
        LOAD_BLOCK(first_blocks, m1);
        LOAD_BLOCK(second_blocks, m2);
#define ROUNDS(i) \
    FOUR_ROUNDS(i, abef1, cdgh1, m1); \
    FOUR_ROUNDS(i, abef2, cdgh2, m2)
        SIXTY_FOUR(ROUNDS);
#undef ROUNDS
        abef1 = _mm_add_epi32(abef1, abef1_before);
        cdgh1 = _mm_add_epi32(cdgh1, cdgh1_before);
        abef2 = _mm_add_epi32(abef2, abef2_before);
        cdgh2 = _mm_add_epi32(cdgh2, cdgh2_before);
    }
    STORE_STATE(first, abef1, cdgh1);
    STORE_STATE(second, abef2, cdgh2);
}

const cra_sha256_functions *cra_sha256_x86(void) {
    static const cra_sha256_functions FUNCTIONS = {"sha-ni", compress, compress2};
    return has_sha() ? &FUNCTIONS : NULL;
}

#else

const cra_sha256_functions *cra_sha256_x86(void) { return NULL; }

#endif
