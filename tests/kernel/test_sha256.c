/* SHA-256: the examples of FIPS 180-4, every length against the portable code in pieces, two at once, and many threads at once. */
#include <pthread.h>
#include <string.h>

#include "check.h"
#include "sha256.h"

static void check_hex(const void *data, size_t length, const char *expected) {
    uint8_t digest[32];
    char hex[64];
    cra_sha256_of(data, length, digest);
    cra_sha256_hex(digest, hex);
    CHECK(memcmp(expected, hex, 64) == 0);
}

/* The published examples hold on every backend. */
static void test_examples(void) {
    check_hex("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    check_hex("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    check_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
              "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    char *million = malloc(1000000);
    CHECK(million != NULL);
    memset(million, 'a', 1000000);
    check_hex(million, 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    free(million);
}

enum { LONGEST = 400 };
static uint8_t message[LONGEST];

static void portable_digest(const uint8_t *data, size_t length, uint8_t digest[32]) {
    cra_sha256_force_portable(true);
    cra_sha256_of(data, length, digest);
    cra_sha256_force_portable(false);
}

/* Whole, in pieces of any size, and beside another message, a message has one digest, on the best backend and the portable one. */
static void test_lengths(void) {
    uint64_t seed = 1;
    for (size_t length = 0; length <= LONGEST; length++) {
        /* Copies of exactly this size, so that the address sanitizer sees one byte too many. */
        size_t other_length = next_random(&seed) % (LONGEST + 1);
        uint8_t *data = malloc(length + 1), *other = malloc(other_length + 1);
        CHECK(data != NULL && other != NULL);
        uint8_t expected[32], expected_other[32], digest[32], other_digest[32];
        memcpy(data, message, length);
        memcpy(other, message, other_length);
        portable_digest(data, length, expected);
        portable_digest(other, other_length, expected_other);

        cra_sha256_of(data, length, digest);
        CHECK(memcmp(expected, digest, 32) == 0);
        cra_sha256_of_two(data, length, digest, other, other_length, other_digest);
        CHECK(memcmp(expected, digest, 32) == 0);
        CHECK(memcmp(expected_other, other_digest, 32) == 0);

        cra_sha256 hash;
        cra_sha256_init(&hash);
        for (size_t done = 0; done < length;) {
            size_t piece = next_random(&seed) % 100;
            if (piece > length - done) piece = length - done;
            cra_sha256_update(&hash, data + done, piece);
            done += piece;
        }
        cra_sha256_final(&hash, digest);
        CHECK(memcmp(expected, digest, 32) == 0);
        free(data);
        free(other);
    }
}

static void *hash_often(void *argument) {
    for (int i = 0; i < 200; i++) check_hex("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    return argument;
}

/* The first hashes of several threads at once agree on a backend without a race. */
static void test_threads(void) {
    cra_sha256_force_portable(false);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], NULL, hash_often, NULL) == 0);
    for (int i = 0; i < 4; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}

int main(void) {
    uint64_t seed = 2;
    for (size_t i = 0; i < LONGEST; i++) message[i] = (uint8_t)next_random(&seed);
    test_threads();
    test_examples();
    test_lengths();
    cra_sha256_force_portable(true);
    CHECK(strcmp("portable", cra_sha256_backend()) == 0);
    test_examples();
    test_lengths();
    cra_sha256_force_portable(false);
    printf("sha256 (%s)", cra_sha256_backend());
    return 0;
}
