/* A hash table from 64-bit numbers to pointers. Room is made by the only call that can fail, so that what follows it cannot. */
#ifndef CRA_TABLE_H
#define CRA_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t key;
    void *value; /* NULL: the slot is free */
} cra_slot;

/* All zero is an empty table. */
typedef struct {
    cra_slot *slots;
    size_t capacity; /* a power of two, or 0 */
    size_t count;
} cra_table;

void *cra_table_find(const cra_table *table, uint64_t key);

/* Room for one more key; false where there is no memory. */
bool cra_table_reserve(cra_table *table);

/* Returns what the key had before, NULL if nothing. A new key needs a `cra_table_reserve` before; `value` is not NULL. */
void *cra_table_put(cra_table *table, uint64_t key, void *value);

/* Returns what the key had, NULL if nothing. */
void *cra_table_remove(cra_table *table, uint64_t key);

/* Frees the slots, not the values. */
void cra_table_free(cra_table *table);

#endif
