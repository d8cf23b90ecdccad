/* SHA-256 with the crypto extensions of ARMv8, where the processor has them. */
#include "sha256_backend.h"

#if defined(__aarch64__) && defined(__ARM_NEON) && (defined(__linux__) || defined(__APPLE__))

#include <arm_neon.h>

#ifdef __linux__
#include <asm/hwcap.h>
#include <sys/auxv.h>
static int has_sha(void) { return (getauxval(AT_HWCAP) & HWCAP_SHA2) != 0; }
#else
static int has_sha(void) { return 1; } /* every Apple processor for macOS */
#endif

#ifdef __clang__
#define TARGET __attribute__((target("sha2")))
#else
#define TARGET __attribute__((target("+crypto")))
#endif

#define LOAD_BLOCK(blocks, m) \
    do { \
        for (int i = 0; i < 4; i++) m[i] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8((blocks) + 16 * i))); \
    } while (0)

/* Four rounds with words 4i to 4i+3, which are in m[i % 4], where afterwards words 4(i+4) are. */
#define FOUR_ROUNDS(i, abcd, efgh, m) \
    do { \
        uint32x4_t words = vaddq_u32(m[(i) % 4], vld1q_u32(cra_sha256_k + 4 * (i))); \
        uint32x4_t abcd_before = abcd; \
        if ((i) < 12) m[(i) % 4] = vsha256su0q_u32(m[(i) % 4], m[((i) + 1) % 4]); \
        abcd = vsha256hq_u32(abcd, efgh, words); \
        efgh = vsha256h2q_u32(efgh, abcd_before, words); \
        if ((i) < 12) m[(i) % 4] = vsha256su1q_u32(m[(i) % 4], m[((i) + 2) % 4], m[((i) + 3) % 4]); \
    } while (0)

#define SIXTY_FOUR(ROUNDS) \
    ROUNDS(0); ROUNDS(1); ROUNDS(2); ROUNDS(3); ROUNDS(4); ROUNDS(5); ROUNDS(6); ROUNDS(7); \
    ROUNDS(8); ROUNDS(9); ROUNDS(10); ROUNDS(11); ROUNDS(12); ROUNDS(13); ROUNDS(14); ROUNDS(15)

TARGET static void compress(uint32_t state[8], const uint8_t *blocks, size_t count) {
    uint32x4_t abcd = vld1q_u32(state), efgh = vld1q_u32(state + 4);
    for (; count > 0; count--, blocks += 64) {
        uint32x4_t m[4], abcd_start = abcd, efgh_start = efgh;
        LOAD_BLOCK(blocks, m);
#define ROUNDS(i) FOUR_ROUNDS(i, abcd, efgh, m)
        SIXTY_FOUR(ROUNDS);
#undef ROUNDS
        abcd = vaddq_u32(abcd, abcd_start);
        efgh = vaddq_u32(efgh, efgh_start);
    }
    vst1q_u32(state, abcd);
    vst1q_u32(state + 4, efgh);
}

TARGET static void compress2(uint32_t first[8], const uint8_t *first_blocks, uint32_t second[8], const uint8_t *second_blocks,
                             size_t count) {
    uint32x4_t abcd1 = vld1q_u32(first), efgh1 = vld1q_u32(first + 4);
    uint32x4_t abcd2 = vld1q_u32(second), efgh2 = vld1q_u32(second + 4);
    for (; count > 0; count--, first_blocks += 64, second_blocks += 64) {
        uint32x4_t m1[4], m2[4];
        uint32x4_t abcd1_start = abcd1, efgh1_start = efgh1, abcd2_start = abcd2, efgh2_start = efgh2;
        LOAD_BLOCK(first_blocks, m1);
        LOAD_BLOCK(second_blocks, m2);
#define ROUNDS(i) \
    FOUR_ROUNDS(i, abcd1, efgh1, m1); \
    FOUR_ROUNDS(i, abcd2, efgh2, m2)
        SIXTY_FOUR(ROUNDS);
#undef ROUNDS
        abcd1 = vaddq_u32(abcd1, abcd1_start);
        efgh1 = vaddq_u32(efgh1, efgh1_start);
        abcd2 = vaddq_u32(abcd2, abcd2_start);
        efgh2 = vaddq_u32(efgh2, efgh2_start);
    }
    vst1q_u32(first, abcd1);
    vst1q_u32(first + 4, efgh1);
    vst1q_u32(second, abcd2);
    vst1q_u32(second + 4, efgh2);
}

const cra_sha256_functions *cra_sha256_arm(void) {
    static const cra_sha256_functions FUNCTIONS = {"armv8", compress, compress2};
    return has_sha() ? &FUNCTIONS : NULL;
}

#else

const cra_sha256_functions *cra_sha256_arm(void) { return NULL; }

#endif
