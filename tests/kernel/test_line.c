/* Lines of a trace: what is plainly an event is taken with the right fields, and whatever is changed, nothing is read past the end. */
#include <stdbool.h>
#include <string.h>

#include "check.h"
#include "line.h"
#include "sha256.h"

static const char LINE[] =
    "{\"trace_version\":\"1.0\",\"event_id\":\"00000000-0000-7000-8000-000000000001\","
    "\"trace_id\":\"00000000-0000-7000-8000-000000000002\",\"span_id\":\"00000000-0000-7000-8000-000000000003\","
    "\"parent_span_id\":null,\"session_id\":\"00000000-0000-7000-8000-00000000000a\",\"sequence\":12,\"timestamp\":\"2026-01-01T12:00:00.000000Z\",\"event_type\":\"action.executed\","
    "\"payload\":{\"a\":[1,-2,0.5,\"\\n\\u0001\xc3\xa9\",[],{}],\"b\":{\"x\":true,\"y\":null}},"
    "\"event_hash\":\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\","
    "\"previous_event_hash\":\"fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210\"}";

/* In memory of exactly the size that readers are promised, so that the address sanitizer sees one byte too many. */
static bool read_copy(const char *text, size_t length, char end, cra_event_line *event, char **copy) {
    *copy = malloc(length + CRA_LINE_SLACK);
    CHECK(*copy != NULL);
    memcpy(*copy, text, length);
    memset(*copy + length, end == '\n' ? 'x' : 0, CRA_LINE_SLACK);
    (*copy)[length] = end;
    return cra_read_line(*copy, length, CRA_DIALECT_TRACE, event);
}

static bool is_plain(const char *text, size_t length) {
    cra_event_line event;
    char *copy;
    bool plain = read_copy(text, length, '\n', &event, &copy);
    free(copy);
    return plain;
}

/* The same of the line with `from` replaced. */
static bool is_plain_with(const char *from, const char *to) {
    char text[2 * sizeof LINE];
    const char *at = strstr(LINE, from);
    CHECK(at != NULL);
    int length = snprintf(text, sizeof text, "%.*s%s%s", (int)(at - LINE), LINE, to, at + strlen(from));
    return is_plain(text, (size_t)length);
}

/* The fields are found, and hashed in the order of the protocol. */
static void test_fields(void) {
    cra_event_line event;
    char *copy;
    CHECK(read_copy(LINE, sizeof LINE - 1, 0, &event, &copy));
    CHECK(event.sequence == 12);
    CHECK(event.fields[CRA_PARENT_SPAN_ID].length == 0);
    CHECK(memcmp(event.fields[CRA_EVENT_TYPE].text, "action.executed", event.fields[CRA_EVENT_TYPE].length) == 0);
    static const char EXPECTED[] =
        "1.000000000-0000-7000-8000-00000000000100000000-0000-7000-8000-00000000000200000000-0000-7000-8000-000000000003"
        "00000000-0000-7000-8000-00000000000a122026-01-01T12:00:00.000000Zaction.executed"
        "{\"a\":[1,-2,0.5,\"\\n\\u0001\xc3\xa9\",[],{}],\"b\":{\"x\":true,\"y\":null}}"
        "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";
    uint8_t input[sizeof LINE + 8];
    CHECK(cra_line_hash_input(&event, CRA_DIALECT_TRACE, input) == sizeof EXPECTED - 1);
    CHECK(memcmp(EXPECTED, input, sizeof EXPECTED - 1) == 0);
    free(copy);
}

/* Fields may stand in any order; each has to be there once, the parent aside. */
static void test_order(void) {
    CHECK(is_plain_with("\"sequence\":12,\"timestamp\":\"2026-01-01T12:00:00.000000Z\"",
                        "\"timestamp\":\"2026-01-01T12:00:00.000000Z\",\"sequence\":12"));
    CHECK(is_plain_with("\"parent_span_id\":null,", ""));
    CHECK(is_plain_with("\"parent_span_id\":null", "\"parent_span_id\":\"00000000-0000-7000-8000-000000000004\""));
    CHECK(!is_plain_with("\"sequence\":12,", ""));
    CHECK(!is_plain_with("\"sequence\":12,", "\"sequence\":12,\"sequence\":12,"));
    CHECK(!is_plain_with("\"sequence\":12,", "\"sequence\":12,\"more\":12,"));
    CHECK(!is_plain_with("\"sequence\":12,", "\"sequence\":12, "));
}

/* What has another canonical form, and what is no JSON, is left to somebody else. */
static void test_payloads(void) {
    static const char VALUE[] = "[1,-2,0.5,\"\\n\\u0001\xc3\xa9\",[],{}]";
    static const char *const ODD[] = {
        "-0", "01", "1.0", "1e3", "1.", "12345678901234567890", "0.1234567890123456", "nul", "\"\\/\"", "\"\\u000a\"",
        "\"\\u001F\"", "\"\\u0041\"", "\"\xed\xa0\x80\"", "\"\xc0\xaf\"", "\"\xf4\x90\x80\x80\"", "\"\xe2\x82\"", "\"\x01\"",
        "[1,]", "[", "{\"b\":1,\"a\":1}", "{\"a\":1,\"a\":1}", "{\"a\":1,}", "{\"\\n\":1}", "{\"a\" :1}", "",
    };
    static const char *const PLAIN[] = {
        "0", "1234567890123456789", "0.12345678901234", "\"\\u001f\"", "\"\xf4\x8f\xbf\xbf\"", "[[],[]]", "{\"a\":1,\"aa\":1}",
    };
    for (size_t i = 0; i < sizeof ODD / sizeof *ODD; i++) CHECK(!is_plain_with(VALUE, ODD[i]));
    for (size_t i = 0; i < sizeof PLAIN / sizeof *PLAIN; i++) CHECK(is_plain_with(VALUE, PLAIN[i]));
}

/* Cut at every byte, and with every byte changed to what confuses readers most: no crash, and never plain when it is cut. */
static void test_damage(void) {
    static const char BYTES[] = "\"\\{}[]:,0-.e\n\x80\xc3\xe2\xf0\xff ut";
    for (size_t length = 0; length < sizeof LINE - 1; length++) CHECK(!is_plain(LINE, length));
    char text[sizeof LINE];
    for (size_t at = 0; at < sizeof LINE - 1; at++) {
        memcpy(text, LINE, sizeof LINE);
        for (size_t i = 0; i < sizeof BYTES; i++) {
            text[at] = BYTES[i];
            is_plain(text, sizeof LINE - 1);
            is_plain(text, at + 1);
        }
    }
    uint64_t seed = 4;
    for (int round = 0; round < 20000; round++) {
        memcpy(text, LINE, sizeof LINE);
        for (uint64_t changes = 1 + next_random(&seed) % 4; changes > 0; changes--) {
            text[next_random(&seed) % (sizeof LINE - 1)] = (char)next_random(&seed);
        }
        is_plain(text, sizeof LINE - 1);
    }
}

int main(void) {
    test_fields();
    test_order();
    test_payloads();
    test_damage();
    printf("line");
    return 0;
}
