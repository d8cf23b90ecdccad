#include "line.h"

#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum {
    MAX_LEVELS = 32, /* of a payload; deeper ones are legal, and rare */
    SURE_DIGITS = 15, /* decimals of so many digits are the shortest for their double */
    SURE_INTEGER = 19, /* integers of so many digits are within ±(2^64−1) */
};

/* The first byte from `p` on that is a quote, a backslash, a control character or not ASCII. */
static inline const char *find_special(const char *p) {
#ifdef __SSE2__
    for (;; p += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
        __m128i quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')), backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'));
        __m128i low = _mm_cmplt_epi8(bytes, _mm_set1_epi8(0x20)); /* signed: all that is not ASCII is below too */
        unsigned found = (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, backslash), low));
        if (found) return p + __builtin_ctz(found);
    }
#else
    while ((unsigned char)*p >= 0x20 && (unsigned char)*p < 0x80 && *p != '"' && *p != '\\') p++;
    return p;
#endif
}

static inline bool continues(const char *p) { return ((unsigned char)*p & 0xc0) == 0x80; }

/* Past one character that is not ASCII; NULL where it is not valid UTF-8. */
static const char *skip_utf8(const char *p) {
    unsigned char first = (unsigned char)p[0], second = (unsigned char)p[1];
    if (first < 0xc2 || !continues(p + 1)) return NULL;
    if (first < 0xe0) return p + 2;
    if (first < 0xf0) {
        if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f)) return NULL; /* overlong; a surrogate */
        return continues(p + 2) ? p + 3 : NULL;
    }
    if (first > 0xf4 || (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f)) return NULL;
    return continues(p + 2) && continues(p + 3) ? p + 4 : NULL;
}

/* Past an escape in canonical form, `p` is behind its backslash; NULL for another one. */
static const char *skip_escape(const char *p) {
    switch (*p) {
        case '"': case '\\': case 'b': case 'f': case 'n': case 'r': case 't': return p + 1;
        case 'u': break;
        default: return NULL;
    }
    if (p[1] != '0' || p[2] != '0' || (p[3] != '0' && p[3] != '1')) return NULL;
    char low = p[4];
    if (!cra_is_digit(low) && !(low >= 'a' && low <= 'f')) return NULL;
    bool has_short_form = p[3] == '0' && (low == '8' || low == '9' || low == 'a' || low == 'c' || low == 'd');
    return has_short_form ? NULL : p + 5;
}

/* Past the closing quote of a string, `p` is behind the opening one; NULL where it is not in canonical form. `escaped` says whether
 * there was an escape. */
static inline const char *skip_string(const char *p, bool *escaped) {
    for (;;) {
        p = find_special(p);
        if (*p == '"') return p + 1;
        if (*p == '\\') {
            *escaped = true;
            p = skip_escape(p + 1);
        } else if ((unsigned char)*p >= 0x80) {
            p = skip_utf8(p);
        } else {
            return NULL;
        }
        if (!p) return NULL;
    }
}

/* Past a number that is in canonical form for certain, else NULL. */
static const char *skip_number(const char *p) {
    bool negative = *p == '-';
    if (negative) p++;
    const char *start = p;
    while (cra_is_digit(*p)) p++;
    size_t whole = (size_t)(p - start);
    if (whole == 0 || (whole > 1 && *start == '0')) return NULL;
    if (*p != '.') return whole <= SURE_INTEGER && !(negative && *start == '0') && *p != 'e' && *p != 'E' ? p : NULL;
    const char *fraction = ++p;
    while (cra_is_digit(*p)) p++;
    size_t digits = whole + (size_t)(p - fraction);
    return p > fraction && p[-1] != '0' && digits <= SURE_DIGITS && *p != 'e' && *p != 'E' ? p : NULL;
}

static int compare(const char *a, size_t a_length, const char *b, size_t b_length) {
    int order = memcmp(a, b, a_length < b_length ? a_length : b_length);
    return order ? order : (a_length > b_length) - (a_length < b_length);
}

/* Past a value that is no object and no array, in canonical form; else NULL. */
static const char *skip_scalar(const char *p) {
    bool escaped;
    switch (*p) {
        case '"': return skip_string(p + 1, &escaped);
        case 't': return memcmp(p, "true", 4) == 0 ? p + 4 : NULL;
        case 'f': return memcmp(p, "false", 5) == 0 ? p + 5 : NULL;
        case 'n': return memcmp(p, "null", 4) == 0 ? p + 4 : NULL;
        default: return skip_number(p);
    }
}

/* Past a key and its colon; NULL where it is not plain, or does not come after `key`, which it replaces. */
static const char *skip_key(const char *p, cra_field *key) {
    bool escaped = false;
    if (*p != '"') return NULL;
    cra_field next = {p + 1, 0};
    p = skip_string(p + 1, &escaped);
    if (!p || escaped || *p != ':') return NULL;
    next.length = (size_t)(p - 1 - next.text);
    if (key->text && compare(key->text, key->length, next.text, next.length) >= 0) return NULL;
    *key = next;
    return p + 1;
}

/* Past an object in canonical form: keys in order (UTF-8 sorts as code points do), each once; NULL where that is not certain. */
static const char *skip_object(const char *p) {
    struct {
        bool is_object;
        cra_field key; /* the one before */
    } levels[MAX_LEVELS];
    int level = -1;
    for (;;) { /* at a value */
        if (*p == '{' || *p == '[') {
            if (++level == MAX_LEVELS) return NULL;
            levels[level].is_object = *p == '{';
            levels[level].key.text = NULL;
            p++;
            if (*p != (levels[level].is_object ? '}' : ']')) {
                if (levels[level].is_object && !(p = skip_key(p, &levels[level].key))) return NULL;
                continue;
            }
        } else if (!(p = skip_scalar(p))) {
            return NULL;
        }
        while (*p == (levels[level].is_object ? '}' : ']')) {
            p++;
            if (--level < 0) return p;
        }
        if (*p++ != ',') return NULL;
        if (levels[level].is_object && !(p = skip_key(p, &levels[level].key))) return NULL;
    }
}

/* --- the event around the payload --- */

/* Past the quotes of a text of `length` bytes; NULL where there are none. What is between them is for others to check. */
static inline const char *skip_quoted(const char *p, size_t length, cra_field *field) {
    if (p[0] != '"' || p[length + 1] != '"') return NULL;
    *field = (cra_field){p + 1, length};
    return p + length + 2;
}

static const char *read_uuid(const char *p, cra_field *field) {
    p = skip_quoted(p, CRA_UUID_LENGTH, field);
    return p && cra_is_uuid(field->text) ? p : NULL;
}

static const char *read_parent(const char *p, cra_field *field) {
    if (memcmp(p, "null", 4) != 0) return read_uuid(p, field);
    *field = (cra_field){p, 0};
    return p + 4;
}

static const char *read_hash(const char *p, cra_field *field) {
    p = skip_quoted(p, CRA_HASH_LENGTH, field);
    return p && cra_is_hash(field->text) ? p : NULL;
}

static const char *read_version(const char *p, cra_field *field) {
    p = skip_quoted(p, 3, field);
    return p && memcmp(field->text, "1.0", 3) == 0 ? p : NULL;
}

static const char *read_sequence(const char *p, cra_field *field, uint64_t *sequence) {
    const char *start = p;
    if (!cra_is_digit(*p) || !(p = skip_number(start))) return NULL;
    *field = (cra_field){start, (size_t)(p - start)};
    *sequence = 0;
    for (; start < p; start++) {
        if (!cra_is_digit(*start)) return NULL; /* a fraction */
        *sequence = *sequence * 10 + (uint64_t)(*start - '0');
    }
    return p;
}

static const char *read_text(const char *p, cra_field *field) {
    if (*p != '"') return NULL;
    const char *end = find_special(p + 1);
    if (*end != '"') return NULL;
    *field = (cra_field){p + 1, (size_t)(end - p - 1)};
    return end + 1;
}

static const char *read_field(int which, const char *p, cra_dialect dialect, cra_event_line *event) {
    cra_field *field = &event->fields[which];
    switch (which) {
        case CRA_TRACE_VERSION: return read_version(p, field);
        case CRA_PARENT_SPAN_ID: return read_parent(p, field);
        case CRA_SEQUENCE: return read_sequence(p, field, &event->sequence);
        case CRA_TIMESTAMP:
            p = read_text(p, field);
            return p && cra_is_timestamp(field->text, field->length, dialect) ? p : NULL;
        case CRA_EVENT_TYPE:
            p = read_text(p, field);
            return p && cra_is_event_type(field->text, field->length) ? p : NULL;
        case CRA_PAYLOAD:
            if (*p != '{') return NULL;
            field->text = p;
            p = skip_object(p);
            if (p) field->length = (size_t)(p - field->text);
            return p;
        case CRA_PREVIOUS_EVENT_HASH: case CRA_EVENT_HASH: return read_hash(p, field);
        default: return read_uuid(p, field);
    }
}

/* The keys with quotes and colon, in the order in which the runtime writes them. */
static const struct {
    int field;
    const char *key;
    size_t length;
} KEYS[CRA_FIELDS] = {
#define KEY(field, name) {field, "\"" name "\":", sizeof name + 2}
    KEY(CRA_TRACE_VERSION, "trace_version"), KEY(CRA_EVENT_ID, "event_id"),     KEY(CRA_TRACE_ID, "trace_id"),
    KEY(CRA_SPAN_ID, "span_id"),             KEY(CRA_PARENT_SPAN_ID, "parent_span_id"), KEY(CRA_SESSION_ID, "session_id"),
    KEY(CRA_SEQUENCE, "sequence"),           KEY(CRA_TIMESTAMP, "timestamp"),   KEY(CRA_EVENT_TYPE, "event_type"),
    KEY(CRA_PAYLOAD, "payload"),             KEY(CRA_EVENT_HASH, "event_hash"), KEY(CRA_PREVIOUS_EVENT_HASH, "previous_event_hash"),
#undef KEY
};

/* Which of KEYS stands at `p`, most likely the one at `guess`; CRA_FIELDS where none does. */
static inline int find_key(const char *p, int guess) {
    if (guess < CRA_FIELDS && memcmp(p, KEYS[guess].key, KEYS[guess].length) == 0) return guess;
    int index = 0;
    while (index < CRA_FIELDS && memcmp(p, KEYS[index].key, KEYS[index].length) != 0) index++;
    return index;
}

bool cra_read_line(const char *line, size_t length, cra_dialect dialect, cra_event_line *event) {
    const unsigned all = (1u << CRA_FIELDS) - 1, parent = 1u << CRA_PARENT_SPAN_ID;
    const char *p = line, *end = line + length;
    unsigned seen = 0;
    event->fields[CRA_PARENT_SPAN_ID] = (cra_field){line, 0};
    if (*p++ != '{') return false;
    for (int guess = 0;; guess++, p++) {
        guess = find_key(p, guess);
        if (guess == CRA_FIELDS) return false;
        int which = KEYS[guess].field;
        if (seen & 1u << which) return false;
        seen |= 1u << which;
        p = read_field(which, p + KEYS[guess].length, dialect, event);
        if (!p) return false;
        if (*p != ',') break;
    }
    return *p == '}' && p + 1 == end && (seen | parent) == all;
}

size_t cra_line_hash_input(const cra_event_line *event, cra_dialect dialect, uint8_t *out) {
    uint8_t *start = out;
    for (int which = 0; which < CRA_EVENT_HASH; which++) {
        const cra_field *field = &event->fields[which];
        memcpy(out, field->text, field->length);
        out += field->length;
        if (which == CRA_TIMESTAMP && dialect == CRA_DIALECT_RUST) {
            memcpy(out - 1, "+00:00", 6); /* where the event says Z */
            out += 5;
        }
    }
    return (size_t)(out - start);
}
