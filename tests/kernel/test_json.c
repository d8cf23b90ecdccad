/* Canonical JSON text: escapes at every offset of a word, the ends of the integers, UUIDs, timestamps around calendar seams. */
#include <inttypes.h>
#include <string.h>

#include "check.h"
#include "json.h"

static void check_string(const char *text, size_t length, const char *expected) {
    size_t size = strlen(expected);
    CHECK(size == cra_string_size(text, length));
    /* Room and text of exactly these sizes, so that the address sanitizer sees one byte too many. */
    char *room = malloc(size), *copy = malloc(length + 1);
    CHECK(room != NULL && copy != NULL);
    memcpy(copy, text, length);
    CHECK(cra_put_string(room, copy, length) == room + size);
    CHECK(memcmp(expected, room, size) == 0);
    free(room);
    free(copy);
}

/* Only quotes, backslashes and control characters are escaped, in the short form where there is one. RFC 8785, 3.2.2.2. */
static void test_escapes(void) {
    check_string("", 0, "\"\"");
    check_string("plain", 5, "\"plain\"");
    check_string("\"\\\b\f\n\r\t", 7, "\"\\\"\\\\\\b\\f\\n\\r\\t\"");
    check_string("\0\x01\x0b\x1f\x7f/", 6, "\"\\u0000\\u0001\\u000b\\u001f\x7f/\"");
    check_string("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"");
}

/* An escape is found wherever it stands in a word of eight bytes, beside bytes of any value. */
static void test_escapes_at_every_offset(void) {
    for (size_t length = 1; length <= 20; length++) {
        for (size_t at = 0; at < length; at++) {
            for (int filler = 0x20; filler < 0x100; filler++) {
                if (filler == '"' || filler == '\\') continue;
                char text[20], expected[32];
                memset(text, filler, length);
                text[at] = '\n';
                expected[0] = '"';
                memset(expected + 1, filler, at);
                memcpy(expected + 1 + at, "\\n", 2);
                memset(expected + 3 + at, filler, length - at - 1);
                memcpy(expected + length + 2, "\"", 2);
                check_string(text, length, expected);
            }
        }
    }
}

static void test_integers(void) {
    char room[CRA_INTEGER_ROOM], expected[CRA_INTEGER_ROOM + 1];
    uint64_t seed = 3;
    for (int i = 0; i < 20000; i++) {
        uint64_t value = i < 200 ? (uint64_t)i - 100 : next_random(&seed) >> (i % 64);
        int size = snprintf(expected, sizeof expected, "%" PRIu64, value);
        CHECK(cra_put_unsigned(room, value) == room + size);
        CHECK(memcmp(expected, room, (size_t)size) == 0);
        size = snprintf(expected, sizeof expected, "%" PRId64, (int64_t)value);
        CHECK(cra_put_integer(room, (int64_t)value) == room + size);
        CHECK(memcmp(expected, room, (size_t)size) == 0);
    }
    CHECK(cra_put_integer(room, INT64_MIN) == room + 20);
    CHECK(memcmp("-9223372036854775808", room, 20) == 0);
}

static void test_uuid(void) {
    uint8_t uuid[16];
    for (int i = 0; i < 16; i++) uuid[i] = (uint8_t)(i * 17 ^ 0xa0);
    char room[CRA_UUID_ROOM];
    CHECK(cra_put_uuid(room, uuid) == room + CRA_UUID_ROOM);
    CHECK(memcmp("a0b18293-e4f5-c6d7-2839-0a1b6c7d4e5f", room, CRA_UUID_ROOM) == 0);
}

static void check_timestamp(int64_t ns, const char *expected) {
    char room[CRA_TIMESTAMP_ROOM];
    CHECK(cra_put_timestamp(room, ns) == room + CRA_TIMESTAMP_ROOM);
    CHECK(memcmp(expected, room, CRA_TIMESTAMP_ROOM) == 0);
}

/* Rounded down to microseconds, before the epoch too; leap years by the rule of 400. */
static void test_timestamps(void) {
    const int64_t second = 1000000000, day = 86400 * second;
    check_timestamp(0, "1970-01-01T00:00:00.000000Z");
    check_timestamp(999, "1970-01-01T00:00:00.000000Z");
    check_timestamp(-1, "1969-12-31T23:59:59.999999Z");
    check_timestamp(1735689599 * second + 123456789, "2024-12-31T23:59:59.123456Z");
    check_timestamp(19782 * day, "2024-02-29T00:00:00.000000Z");
    check_timestamp(11016 * day, "2000-02-29T00:00:00.000000Z");
    check_timestamp(47540 * day, "2100-02-28T00:00:00.000000Z");
    check_timestamp(47541 * day, "2100-03-01T00:00:00.000000Z");
    check_timestamp(INT64_MAX, "2262-04-11T23:47:16.854775Z");
    check_timestamp(INT64_MIN, "1677-09-21T00:12:43.145224Z");
}

int main(void) {
    test_escapes();
    test_escapes_at_every_offset();
    test_integers();
    test_uuid();
    test_timestamps();
    printf("json");
    return 0;
}
