/* All keywords of a set found in one pass over a text: Aho-Corasick over bytes. Without Python, without locks.
 *
 * The states nearest to the root have a row in a dense table of bounded size, the others their edges and a link to the longest
 * suffix that goes on; so memory is linear in the keywords and a search linear in the text, whatever the keywords are. Text of
 * some length is walked in several lanes at once, which hides the latency of the table. ASCII letters match in either case. */
#ifndef CRA_KEYWORDS_H
#define CRA_KEYWORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The bytes of the dense table, at most. */
#define CRA_KEYWORDS_DENSE (1u << 20)

typedef struct {
    const uint8_t *bytes; /* no upper-case ASCII letters: a text is looked at as if it had none */
    size_t length;        /* not 0 */
    uint32_t trigger;     /* below `triggers` */
} cra_keyword;

typedef struct cra_keywords cra_keywords;

/* NULL when there is no memory, or the keywords together have 2^31 bytes or more. Nothing is kept of `words`. */
cra_keywords *cra_keywords_new(const cra_keyword *words, size_t count, uint32_t triggers, size_t dense_bytes);
void cra_keywords_free(cra_keywords *set);

/* Sets the bit of every trigger that has a keyword in the text, in `found`: (triggers + 63) / 64 words, cleared before. Returns
 * whether there is any. One search at a time: the set remembers what it has told. */
bool cra_keywords_find(cra_keywords *set, const uint8_t *text, size_t length, uint64_t *found);

/* The bytes that the set takes. */
size_t cra_keywords_size(const cra_keywords *set);

#endif
