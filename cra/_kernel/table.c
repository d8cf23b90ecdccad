/* Open addressing with linear probing, at most half full; removing closes the gap, so that nothing but the keys takes room. */
#include "table.h"

#include <stdlib.h>

enum { FIRST_CAPACITY = 16 };

/* Where the key belongs. Numbers are given out in sequence: multiplying spreads them over the high bits. */
static size_t home(const cra_table *table, uint64_t key) {
    return (size_t)(key * 0x9e3779b97f4a7c15u >> 32) & (table->capacity - 1);
}

/* The slot of the key, or the free one where it would go. There is always a free one. */
static cra_slot *probe(const cra_table *table, uint64_t key) {
    size_t i = home(table, key);
    while (table->slots[i].value && table->slots[i].key != key) i = (i + 1) & (table->capacity - 1);
    return &table->slots[i];
}

void *cra_table_find(const cra_table *table, uint64_t key) { return table->capacity ? probe(table, key)->value : NULL; }

bool cra_table_reserve(cra_table *table) {
    if (2 * (table->count + 1) <= table->capacity) return true;
    cra_table larger = {.capacity = table->capacity ? 2 * table->capacity : FIRST_CAPACITY, .count = table->count};
    larger.slots = calloc(larger.capacity, sizeof *larger.slots);
    if (!larger.slots) return false;
    for (size_t i = 0; i < table->capacity; i++) {
        if (table->slots[i].value) *probe(&larger, table->slots[i].key) = table->slots[i];
    }
    free(table->slots);
    *table = larger;
    return true;
}

void *cra_table_put(cra_table *table, uint64_t key, void *value) {
    cra_slot *slot = probe(table, key);
    void *before = slot->value;
    if (!before) table->count++;
    *slot = (cra_slot){key, value};
    return before;
}

void *cra_table_remove(cra_table *table, uint64_t key) {
    if (!table->capacity) return NULL;
    cra_slot *gap = probe(table, key);
    void *removed = gap->value;
    if (!removed) return NULL;
    table->count--;
    size_t mask = table->capacity - 1, i = (size_t)(gap - table->slots);
    for (size_t next = (i + 1) & mask; table->slots[next].value; next = (next + 1) & mask) {
        /* What is further from its home than from the gap may move into it. */
        if (((next - home(table, table->slots[next].key)) & mask) >= ((next - i) & mask)) {
            table->slots[i] = table->slots[next];
            i = next;
        }
    }
    table->slots[i].value = NULL;
    return removed;
}

void cra_table_free(cra_table *table) {
    free(table->slots);
    *table = (cra_table){0};
}
