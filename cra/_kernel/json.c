/* Canonical JSON text, written fast: eight bytes at a time where nothing has to be escaped, two digits at a time. */
#include "json.h"

#include <string.h>

#include "hex.h"

#define ONES 0x0101010101010101u
#define HIGH 0x8080808080808080u

/* Not zero where one of eight bytes is `"`, `\` or a control character. */
static inline uint64_t find_special(uint64_t bytes) {
    uint64_t quote = bytes ^ ONES * '"', backslash = bytes ^ ONES * '\\';
    uint64_t below_space = bytes - ONES * 0x20;
    return (((quote - ONES) & ~quote) | ((backslash - ONES) & ~backslash) | (below_space & ~bytes)) & HIGH;
}

static inline uint64_t load8(const char *text) {
    uint64_t bytes;
    memcpy(&bytes, text, sizeof bytes);
    return bytes;
}

static inline int is_special(unsigned char byte) { return byte < 0x20 || byte == '"' || byte == '\\'; }

/* What follows the backslash where a short form exists, else 0. */
static inline char short_form(unsigned char byte) {
    switch (byte) {
        case '"': return '"';
        case '\\': return '\\';
        case '\b': return 'b';
        case '\f': return 'f';
        case '\n': return 'n';
        case '\r': return 'r';
        case '\t': return 't';
        default: return 0;
    }
}

static inline char *put_escape(char *out, unsigned char byte) {
    char letter = short_form(byte);
    *out++ = '\\';
    if (letter) {
        *out++ = letter;
        return out;
    }
    memcpy(out, "u00", 3);
    out[3] = (char)('0' + (byte >> 4));
    out[4] = "0123456789abcdef"[byte & 15];
    return out + 5;
}

size_t cra_string_size(const char *text, size_t length) {
    size_t size = length + 2;
    for (size_t i = 0; i < length; i++) {
        if (length - i >= 8 && !find_special(load8(text + i))) {
            i += 7;
        } else if (is_special((unsigned char)text[i])) {
            size += short_form((unsigned char)text[i]) ? 1 : 5;
        }
    }
    return size;
}

char *cra_put_escaped(char *out, const char *text, size_t length) {
    const char *end = text + length;
    while (text < end) {
        while (end - text >= 8) {
            uint64_t bytes = load8(text);
            if (find_special(bytes)) break;
            memcpy(out, &bytes, sizeof bytes);
            out += 8;
            text += 8;
        }
        /* The rest, or up to eight bytes with something special in them. */
        const char *stop = end - text >= 8 ? text + 8 : end;
        for (; text < stop; text++) {
            unsigned char byte = (unsigned char)*text;
            if (is_special(byte)) {
                out = put_escape(out, byte);
            } else {
                *out++ = (char)byte;
            }
        }
    }
    return out;
}

char *cra_put_string(char *out, const char *text, size_t length) {
    *out++ = '"';
    out = cra_put_escaped(out, text, length);
    *out++ = '"';
    return out;
}

#define TEN(tens) tens "0" tens "1" tens "2" tens "3" tens "4" tens "5" tens "6" tens "7" tens "8" tens "9"
static const char TWO_DIGITS[] =
    TEN("0") TEN("1") TEN("2") TEN("3") TEN("4") TEN("5") TEN("6") TEN("7") TEN("8") TEN("9");

static inline void put_two(char *out, unsigned value) { memcpy(out, TWO_DIGITS + 2 * value, 2); }

char *cra_put_unsigned(char *out, uint64_t value) {
    char digits[CRA_INTEGER_ROOM];
    char *first = digits + sizeof digits;
    while (value >= 100) {
        first -= 2;
        put_two(first, (unsigned)(value % 100));
        value /= 100;
    }
    if (value >= 10) {
        first -= 2;
        put_two(first, (unsigned)value);
    } else {
        *--first = (char)('0' + value);
    }
    size_t count = (size_t)(digits + sizeof digits - first);
    memcpy(out, first, count);
    return out + count;
}

char *cra_put_integer(char *out, int64_t value) {
    if (value >= 0) return cra_put_unsigned(out, (uint64_t)value);
    *out++ = '-';
    return cra_put_unsigned(out, 0 - (uint64_t)value);
}

char *cra_put_uuid(char *out, const uint8_t uuid[16]) {
    char digits[32];
    cra_hex(digits, uuid, 16);
    memcpy(out, digits, 8);
    out[8] = '-';
    memcpy(out + 9, digits + 8, 4);
    out[13] = '-';
    memcpy(out + 14, digits + 12, 4);
    out[18] = '-';
    memcpy(out + 19, digits + 16, 4);
    out[23] = '-';
    memcpy(out + 24, digits + 20, 12);
    return out + CRA_UUID_ROOM;
}

char *cra_put_timestamp(char *out, int64_t ns) {
    enum { NS_PER_US = 1000, US_PER_SECOND = 1000000, SECONDS_PER_DAY = 86400 };
    int64_t us = ns / NS_PER_US - (ns % NS_PER_US < 0);
    int64_t seconds = us / US_PER_SECOND - (us % US_PER_SECOND < 0);
    unsigned fraction = (unsigned)(us - seconds * US_PER_SECOND);
    int64_t days = seconds / SECONDS_PER_DAY - (seconds % SECONDS_PER_DAY < 0);
    unsigned second = (unsigned)(seconds - days * SECONDS_PER_DAY);
    /* The civil date, counted from 1 March of year 0, where a leap day ends its year: an era of 400 years has 146,097 days. The
     * years that 64 bits of nanoseconds can name, 1677 to 2262, are far above zero. */
    unsigned day = (unsigned)(days + 719468);
    unsigned era = day / 146097, of_era = day % 146097;
    unsigned year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    unsigned of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned march_month = (5 * of_year + 2) / 153;
    unsigned of_month = of_year - (153 * march_month + 2) / 5 + 1;
    unsigned month = march_month < 10 ? march_month + 3 : march_month - 9;
    unsigned year = era * 400 + year_of_era + (month <= 2);
    put_two(out, year / 100);
    put_two(out + 2, year % 100);
    out[4] = '-';
    put_two(out + 5, month);
    out[7] = '-';
    put_two(out + 8, of_month);
    out[10] = 'T';
    put_two(out + 11, second / 3600);
    out[13] = ':';
    put_two(out + 14, second / 60 % 60);
    out[16] = ':';
    put_two(out + 17, second % 60);
    out[19] = '.';
    put_two(out + 20, fraction / 10000);
    put_two(out + 22, fraction / 100 % 100);
    put_two(out + 24, fraction % 100);
    out[26] = 'Z';
    return out + CRA_TIMESTAMP_ROOM;
}
