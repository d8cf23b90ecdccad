#include "links.h"

#include <stdlib.h>
#include <string.h>

/* The chains stand in the order in which they came; an open-addressing table of indices + 1 finds them. */
struct cra_chains {
    uint64_t seed;
    cra_chain *chains;
    size_t count, room;
    uint32_t *table;
    size_t table_size; /* a power of two, more than twice `room` */
    uint32_t *changed; /* indices; `told` of the `changed_count` have been told */
    size_t changed_count, told;
    size_t latest; /* the chain that was asked for last is mostly asked for next */
};

void cra_chain_start(cra_chain *chain, const char *session_id) {
    memset(chain, 0, sizeof *chain);
    memcpy(chain->session_id, session_id, CRA_UUID_LENGTH);
    memset(chain->previous, '0', CRA_HASH_LENGTH);
}

bool cra_chain_take(cra_chain *chain, const cra_line *line) {
    if (chain->faulty) {
        chain->count++;
        return true;
    }
    if (!line->sealed || line->sequence != chain->sequence) return false;
    if (memcmp(line->previous, chain->previous, CRA_HASH_LENGTH) != 0) return false;
    char time[CRA_TIME_LENGTH];
    cra_comparable_time(time, line->timestamp, line->timestamp_length);
    if (memcmp(time, chain->time, CRA_TIME_LENGTH) < 0 && chain->backwards++ == 0) chain->first_backwards = chain->count;
    memcpy(chain->time, time, CRA_TIME_LENGTH);
    memcpy(chain->previous, line->event_hash, CRA_HASH_LENGTH);
    chain->sequence++;
    chain->count++;
    return true;
}

static uint64_t load8(const char *text) {
    uint64_t bytes;
    memcpy(&bytes, text, sizeof bytes);
    return bytes;
}

static uint64_t mix(uint64_t a, uint64_t b) {
    a ^= b;
    a ^= a >> 32;
    a *= 0xd6e8feb86659fd93u;
    a ^= a >> 32;
    a *= 0xd6e8feb86659fd93u;
    return a ^ a >> 32;
}

static size_t slot_of(const cra_chains *all, const char *session_id) {
    uint64_t hash = all->seed;
    for (int at = 0; at < 32; at += 8) hash = mix(hash, load8(session_id + at));
    return (size_t)mix(hash, load8(session_id + CRA_UUID_LENGTH - 8)) & (all->table_size - 1);
}

static void enter(cra_chains *all, size_t index) {
    size_t slot = slot_of(all, all->chains[index].session_id);
    while (all->table[slot]) slot = (slot + 1) & (all->table_size - 1);
    all->table[slot] = (uint32_t)(index + 1);
}

static bool grow(cra_chains *all) {
    size_t room = all->room ? 2 * all->room : 16;
    cra_chain *chains = realloc(all->chains, room * sizeof *chains);
    if (chains) all->chains = chains;
    uint32_t *changed = realloc(all->changed, room * sizeof *changed);
    if (changed) all->changed = changed;
    uint32_t *table = calloc(4 * room, sizeof *table);
    if (!chains || !changed || !table || room > UINT32_MAX / 4) {
        free(table);
        return false;
    }
    free(all->table);
    all->table = table;
    all->table_size = 4 * room;
    all->room = room;
    for (size_t index = 0; index < all->count; index++) enter(all, index);
    return true;
}

cra_chains *cra_chains_new(uint64_t seed) {
    cra_chains *all = calloc(1, sizeof *all);
    if (!all) return NULL;
    all->seed = seed;
    if (!grow(all)) {
        cra_chains_free(all);
        return NULL;
    }
    return all;
}

void cra_chains_free(cra_chains *all) {
    if (!all) return;
    free(all->chains);
    free(all->changed);
    free(all->table);
    free(all);
}

static bool is_of(const cra_chain *chain, const char *session_id) {
    return memcmp(chain->session_id, session_id, CRA_UUID_LENGTH) == 0;
}

cra_chain *cra_chains_find(cra_chains *all, const char *session_id) {
    if (all->count > 0 && is_of(&all->chains[all->latest], session_id)) return &all->chains[all->latest];
    size_t slot = slot_of(all, session_id);
    for (; all->table[slot]; slot = (slot + 1) & (all->table_size - 1)) {
        size_t index = all->table[slot] - 1;
        if (is_of(&all->chains[index], session_id)) {
            all->latest = index;
            return &all->chains[index];
        }
    }
    if (all->count == all->room && !grow(all)) return NULL;
    all->latest = all->count++;
    cra_chain_start(&all->chains[all->latest], session_id);
    enter(all, all->latest);
    return &all->chains[all->latest];
}

int64_t cra_chains_take(cra_chains *all, const cra_line *lines, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (!lines[i].plain) return (int64_t)i;
        cra_chain *chain = cra_chains_find(all, lines[i].session_id);
        if (!chain) return -1;
        if (!cra_chain_take(chain, &lines[i])) return (int64_t)i;
        if (!chain->changed) {
            chain->changed = true;
            all->changed[all->changed_count++] = (uint32_t)all->latest;
        }
    }
    return (int64_t)count;
}

cra_chain *cra_chains_next_changed(cra_chains *all) {
    if (all->told == all->changed_count) {
        all->told = all->changed_count = 0;
        return NULL;
    }
    cra_chain *chain = &all->chains[all->changed[all->told++]];
    chain->changed = false;
    return chain;
}
