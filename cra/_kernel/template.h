/* Templates: what the resolves of one ruling have in common, with its payloads ready to be copied. */
#ifndef CRA_TEMPLATE_H
#define CRA_TEMPLATE_H

#include <stdbool.h>

#include "records.h"

enum { CRA_BLOCK_TYPE = sizeof("context.injected") - 1 }; /* as long as context.redacted and policy.evaluated */

/* One allocation, freed with `free`. */
typedef struct {
    size_t evaluations, blocks;
    size_t bytes;   /* types and payloads of all evaluations */
    size_t largest; /* the largest type and payload that it can make */
    /* The parts of carp.resolution.completed's payload between what its resolve says. */
    char counts[64], decision[256], ttl[64];
    size_t counts_length, decision_length, ttl_length;
    cra_text payloads[]; /* evaluations, then an injected and a redacted one of each block */
} cra_template;

/* NULL: no memory. */
cra_template *cra_template_new(const cra_record *record);

static inline cra_text cra_template_block(const cra_template *template, size_t block, bool cut) {
    return template->payloads[template->evaluations + 2 * block + cut];
}

#endif
