/* Keywords in one pass, compared with looking for each of them everywhere; exact rooms, so that a sanitizer sees one byte too many. */
#include <string.h>

#include "check.h"
#include "keywords.h"

#define MOST_WORDS 30
#define LONGEST 15
#define MOST_TRIGGERS 130
#define FOUND_WORDS ((MOST_TRIGGERS + 63) / 64)

static const size_t DENSE[] = {0, 64, 300, CRA_KEYWORDS_DENSE};

static uint8_t lower(uint8_t byte) {
    return byte >= 'A' && byte <= 'Z' ? byte + 32 : byte;
}

static uint8_t *copy_of(const void *bytes, size_t length) {
    uint8_t *copy = malloc(length ? length : 1);
    CHECK(copy != NULL);
    memcpy(copy, bytes, length);
    return copy;
}

static bool occurs(const cra_keyword *word, const uint8_t *text, size_t length) {
    for (size_t start = 0; start + word->length <= length; start++) {
        size_t same = 0;
        while (same < word->length && lower(text[start + same]) == word->bytes[same]) same++;
        if (same == word->length) return true;
    }
    return false;
}

static void check_text(cra_keywords *set, const cra_keyword *words, size_t count, uint32_t triggers, const uint8_t *text,
                       size_t length) {
    uint64_t expected[FOUND_WORDS] = {0};
    size_t size = (triggers + 63) / 64;
    bool any = false;
    for (size_t i = 0; i < count; i++) {
        if (occurs(&words[i], text, length)) {
            expected[words[i].trigger >> 6] |= (uint64_t)1 << (words[i].trigger & 63);
            any = true;
        }
    }
    uint64_t *found = malloc(size * sizeof *found);
    CHECK(found != NULL);
    CHECK(cra_keywords_find(set, text, length, found) == any);
    CHECK(memcmp(expected, found, size * sizeof *found) == 0);
    free(found);
}

/* Words of two letters, where nearly everything is a near miss, and words of any bytes; texts of every length around the lanes. */
static void test_random(void) {
    uint64_t seed = 7;
    for (int round = 0; round < 1000; round++) {
        bool narrow = round % 2;
        size_t count = next_random(&seed) % (MOST_WORDS + 1);
        uint32_t triggers = 1 + (uint32_t)(next_random(&seed) % MOST_TRIGGERS);
        cra_keyword words[MOST_WORDS];
        for (size_t i = 0; i < count; i++) {
            uint8_t bytes[LONGEST];
            words[i].length = 1 + next_random(&seed) % LONGEST;
            for (size_t j = 0; j < words[i].length; j++)
                bytes[j] = lower(narrow ? "ab"[next_random(&seed) % 2] : (uint8_t)next_random(&seed));
            words[i].bytes = copy_of(bytes, words[i].length);
            words[i].trigger = (uint32_t)(next_random(&seed) % triggers);
        }
        cra_keywords *set = cra_keywords_new(words, count, triggers, DENSE[next_random(&seed) % 4]);
        CHECK(set != NULL);
        for (int search = 0; search < 20; search++) {
            size_t length = next_random(&seed) % 200;
            uint8_t bytes[200];
            for (size_t j = 0; j < length; j++)
                bytes[j] = narrow ? (uint8_t)"abAB"[next_random(&seed) % 4] : (uint8_t)next_random(&seed);
            uint8_t *text = copy_of(bytes, length);
            check_text(set, words, count, triggers, text, length);
            free(text);
        }
        cra_keywords_free(set);
        for (size_t i = 0; i < count; i++) free((void *)words[i].bytes);
    }
}

/* One word at every place of texts of every length: in a lane, over its border, at the end. */
static void test_every_place(void) {
    const cra_keyword word = {(const uint8_t *)"stale", 5, 0};
    cra_keywords *set = cra_keywords_new(&word, 1, 1, CRA_KEYWORDS_DENSE);
    CHECK(set != NULL);
    for (size_t length = 5; length < 130; length++) {
        for (size_t at = 0; at + 5 <= length; at++) {
            uint8_t *text = malloc(length);
            uint64_t found;
            CHECK(text != NULL);
            memset(text, 's', length);
            CHECK(!cra_keywords_find(set, text, length, &found) && found == 0);
            memcpy(text + at, "sTaLe", 5);
            CHECK(cra_keywords_find(set, text, length, &found) && found == 1);
            free(text);
        }
    }
    cra_keywords_free(set);
}

static void test_nothing(void) {
    uint64_t found;
    cra_keywords *set = cra_keywords_new(NULL, 0, 1, 0);
    CHECK(set != NULL && cra_keywords_size(set) > 0);
    CHECK(!cra_keywords_find(set, (const uint8_t *)"text", 4, &found) && found == 0);
    CHECK(!cra_keywords_find(set, NULL, 0, &found));
    cra_keywords_free(set);
    cra_keywords_free(NULL);
    const cra_keyword endless[] = {{(const uint8_t *)"a", (size_t)1 << 31, 0}};
    CHECK(cra_keywords_new(endless, 1, 1, 0) == NULL);
}

int main(void) {
    test_random();
    test_every_place();
    test_nothing();
    printf("keywords");
    return 0;
}
