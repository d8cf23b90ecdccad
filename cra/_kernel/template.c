/* Templates are copied out of their records: a record's memory is not its reader's to keep. */
#include "template.h"

#include <stdlib.h>
#include <string.h>

#include "hex.h"
#include "json.h"

/* The payload of carp.resolution.completed without the rest: at most this long. */
enum { COMPLETED = 512 };

static char *append(char *p, const char *text) {
    size_t length = strlen(text);
    memcpy(p, text, length);
    return p + length;
}

static void write_completed(cra_template *template, const cra_record *record) {
    char *p = append(template->counts, "{\"allowed_count\":");
    p = cra_put_unsigned(p, record->allowed);
    p = append(p, ",\"context_block_count\":");
    template->counts_length = (size_t)(p - template->counts);

    p = append(template->decision, ",\"decision_type\":\"");
    memcpy(p, record->decision.data, record->decision.length);
    p = append(p + record->decision.length, "\",\"denied_count\":");
    p = cra_put_unsigned(p, record->denied);
    p = append(p, ",\"policy_set\":\"");
    cra_hex(p, record->policy_set, CRA_POLICY_SET);
    p = append(p + 2 * CRA_POLICY_SET, "\",\"request_id\":\"");
    template->decision_length = (size_t)(p - template->decision);

    p = append(template->ttl, "\",\"ttl_seconds\":");
    p = cra_put_unsigned(p, record->ttl_seconds);
    p = append(p, "}");
    template->ttl_length = (size_t)(p - template->ttl);
}

cra_template *cra_template_new(const cra_record *record) {
    size_t count = record->evaluations + 2 * record->blocks;
    cra_template *template = malloc(sizeof *template + count * sizeof *template->payloads + record->fragment_bytes);
    if (!template) return NULL;
    template->evaluations = record->evaluations;
    template->blocks = record->blocks;
    template->bytes = 0;
    template->largest = COMPLETED;
    write_completed(template, record);
    uint8_t *data = (uint8_t *)(template->payloads + count);
    const uint8_t *at = record->fragments;
    for (size_t i = 0; i < count; i++) {
        cra_text payload;
        at = cra_next_fragment(at, &payload);
        memcpy(data, payload.data, payload.length);
        template->payloads[i] = (cra_text){data, payload.length};
        data += payload.length;
        size_t size = CRA_BLOCK_TYPE + payload.length;
        if (size > template->largest) template->largest = size;
        if (i < record->evaluations) template->bytes += size;
    }
    return template;
}
