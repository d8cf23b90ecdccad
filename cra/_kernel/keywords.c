#include "keywords.h"

#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX
#define ROOT 0u
#define MAX_BYTES ((size_t)1 << 31)

/* A state of the trie; `child` and `sibling` are its edges, newest first. Numbers are those of `order` once it is built. */
typedef struct {
    uint32_t child, sibling;
    uint32_t fail;   /* the longest proper suffix that is a state */
    uint32_t output; /* the first trigger here, in `outputs` */
    uint32_t report; /* itself or the next suffix with an output; NONE where there is none */
    uint32_t told;   /* the search that it was last reported in */
    uint8_t class_of_edge;
} state;

/* One trigger of a state, and the next one. */
typedef struct {
    uint32_t trigger, next;
} output;

struct cra_keywords {
    uint8_t classes[256]; /* equivalent bytes have one class; 0 are those in no keyword */
    uint32_t class_count;
    uint32_t *table; /* rows of cells: the cell of a state is where its row begins, of one without a row dense + its number */
    uint32_t dense;  /* cells of the table */
    uint32_t quiet;  /* cells below need no attention: a row, and nothing to report */
    uint32_t rows;
    state *states; /* those with a row first, and of them those that report nothing first */
    uint32_t state_count;
    output *outputs;
    uint32_t output_count;
    size_t longest;
    size_t triggers;
    uint32_t search;
};

static uint8_t lower(uint8_t byte) {
    return byte >= 'A' && byte <= 'Z' ? byte + ('a' - 'A') : byte;
}

static void make_classes(cra_keywords *set, const cra_keyword *words, size_t count) {
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < words[i].length; j++)
            set->classes[words[i].bytes[j]] = 1;
    set->class_count = 1;
    /* Never 257 of them, since upper case is never in use. */
    for (int byte = 0; byte < 256; byte++)
        if (set->classes[byte])
            set->classes[byte] = (uint8_t)set->class_count++;
    for (int byte = 'A'; byte <= 'Z'; byte++)
        set->classes[byte] = set->classes[lower((uint8_t)byte)];
}

static uint32_t child_of(const state *states, uint32_t at, uint8_t class) {
    uint32_t child = states[at].child;
    while (child != NONE && states[child].class_of_edge != class)
        child = states[child].sibling;
    return child;
}

static void make_trie(cra_keywords *set, const cra_keyword *words, size_t count) {
    set->states[ROOT] = (state){.child = NONE, .sibling = NONE, .fail = ROOT, .output = NONE, .report = NONE};
    set->state_count = 1;
    for (size_t i = 0; i < count; i++) {
        uint32_t at = ROOT;
        for (size_t j = 0; j < words[i].length; j++) {
            uint8_t class = set->classes[words[i].bytes[j]];
            uint32_t next = child_of(set->states, at, class);
            if (next == NONE) {
                next = set->state_count++;
                set->states[next] = (state){.child = NONE, .sibling = set->states[at].child, .output = NONE,
                                            .report = NONE, .class_of_edge = class};
                set->states[at].child = next;
            }
            at = next;
        }
        set->outputs[set->output_count] = (output){words[i].trigger, set->states[at].output};
        set->states[at].output = set->output_count++;
        if (words[i].length > set->longest)
            set->longest = words[i].length;
    }
}

/* Breadth first, so that a suffix link, which is shorter, is known before it is needed. Fills `order` with the states. */
static void make_links(cra_keywords *set, uint32_t *order) {
    state *states = set->states;
    uint32_t filled = 0;
    order[filled++] = ROOT;
    for (uint32_t taken = 0; taken < filled; taken++) {
        uint32_t at = order[taken];
        states[at].report = states[at].output != NONE ? at : at == ROOT ? NONE : states[states[at].fail].report;
        for (uint32_t child = states[at].child; child != NONE; child = states[child].sibling) {
            uint32_t suffix = at, next = NONE;
            while (suffix != ROOT && next == NONE) {
                suffix = states[suffix].fail;
                next = child_of(states, suffix, states[child].class_of_edge);
            }
            states[child].fail = next == NONE ? ROOT : next;
            order[filled++] = child;
        }
    }
}

/* Numbers the states anew: those with a row that report nothing, those with a row that report, the others. */
static bool renumber(cra_keywords *set, const uint32_t *order) {
    state *renumbered = malloc(set->state_count * sizeof *renumbered);
    uint32_t *number = malloc(set->state_count * sizeof *number);
    if (renumbered == NULL || number == NULL) {
        free(renumbered);
        free(number);
        return false;
    }
    uint32_t next = 0;
    for (int reporting = 0; reporting < 2; reporting++) {
        for (uint32_t i = 0; i < set->rows; i++)
            if ((set->states[order[i]].report != NONE) == reporting)
                number[order[i]] = next++;
        if (!reporting)
            set->quiet = next * set->class_count;
    }
    for (uint32_t i = set->rows; i < set->state_count; i++)
        number[order[i]] = next++;
    for (uint32_t i = 0; i < set->state_count; i++) {
        state moved = set->states[i];
        moved.fail = number[moved.fail];
        if (moved.child != NONE)
            moved.child = number[moved.child];
        if (moved.sibling != NONE)
            moved.sibling = number[moved.sibling];
        if (moved.report != NONE)
            moved.report = number[moved.report];
        renumbered[number[i]] = moved;
    }
    free(number);
    free(set->states);
    set->states = renumbered;
    return true;
}

static uint32_t cell_of(const cra_keywords *set, uint32_t at) {
    return at < set->rows ? at * set->class_count : set->dense + (at - set->rows);
}

static uint32_t state_of(const cra_keywords *set, uint32_t cell) {
    return cell < set->dense ? cell / set->class_count : set->rows + (cell - set->dense);
}

/* Breadth first again, since a row begins as that of the longest suffix; `queue` has room for every state. */
static void fill_rows(cra_keywords *set, uint32_t *queue) {
    uint32_t filled = 0;
    queue[filled++] = ROOT;
    for (uint32_t taken = 0; taken < filled; taken++) {
        uint32_t at = queue[taken];
        uint32_t *row = set->table + at * set->class_count;
        if (at == ROOT)
            memset(row, 0, set->class_count * sizeof *row);
        else
            memcpy(row, set->table + set->states[at].fail * set->class_count, set->class_count * sizeof *row);
        for (uint32_t child = set->states[at].child; child != NONE; child = set->states[child].sibling) {
            row[set->states[child].class_of_edge] = cell_of(set, child);
            if (child < set->rows)
                queue[filled++] = child;
        }
    }
}

static bool build(cra_keywords *set, const cra_keyword *words, size_t count, size_t dense_bytes) {
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        if (words[i].length >= MAX_BYTES - bytes)
            return false;
        bytes += words[i].length;
    }
    set->states = malloc((bytes + 1) * sizeof *set->states);
    set->outputs = malloc((count ? count : 1) * sizeof *set->outputs);
    if (set->states == NULL || set->outputs == NULL)
        return false;
    make_classes(set, words, count);
    make_trie(set, words, count);
    uint32_t *order = malloc(set->state_count * sizeof *order);
    if (order == NULL)
        return false;
    make_links(set, order);
    size_t rows = dense_bytes / (set->class_count * sizeof *set->table);
    set->rows = rows == 0 ? 1 : rows < set->state_count ? (uint32_t)rows : set->state_count;
    set->dense = set->rows * set->class_count;
    set->table = malloc(set->dense * sizeof *set->table);
    bool built = set->table != NULL && renumber(set, order);
    if (built)
        fill_rows(set, order);
    free(order);
    return built;
}

cra_keywords *cra_keywords_new(const cra_keyword *words, size_t count, uint32_t triggers, size_t dense_bytes) {
    cra_keywords *set = calloc(1, sizeof *set);
    if (set == NULL)
        return NULL;
    set->triggers = triggers;
    if (!build(set, words, count, dense_bytes)) {
        cra_keywords_free(set);
        return NULL;
    }
    return set;
}

void cra_keywords_free(cra_keywords *set) {
    if (set != NULL) {
        free(set->table);
        free(set->states);
        free(set->outputs);
        free(set);
    }
}

size_t cra_keywords_size(const cra_keywords *set) {
    return sizeof *set + set->dense * sizeof *set->table + set->state_count * sizeof *set->states
           + set->output_count * sizeof *set->outputs;
}

/* What ends at a state: its own keywords and those of its suffixes. What a search has told once it does not look at again, so that
 * all reports of a search together take no more steps than there are states. */
static void report(cra_keywords *set, uint32_t cell, uint64_t *found) {
    state *states = set->states;
    for (uint32_t at = states[state_of(set, cell)].report; at != NONE && states[at].told != set->search;
         at = states[states[at].fail].report) {
        states[at].told = set->search;
        for (uint32_t each = states[at].output; each != NONE; each = set->outputs[each].next)
            found[set->outputs[each].trigger >> 6] |= (uint64_t)1 << (set->outputs[each].trigger & 63);
    }
}

/* From a state without a row: along its edges, else those of its suffixes, until one goes on or has a row. */
static uint32_t step_without_row(const cra_keywords *set, uint32_t cell, uint8_t class) {
    uint32_t at = state_of(set, cell);
    while (at >= set->rows) {
        uint32_t next = child_of(set->states, at, class);
        if (next != NONE)
            return cell_of(set, next);
        at = set->states[at].fail;
    }
    return set->table[at * set->class_count + class];
}

static inline uint32_t step(const cra_keywords *set, uint32_t cell, uint8_t byte) {
    uint8_t class = set->classes[byte];
    return __builtin_expect(cell < set->dense, 1) ? set->table[cell + class] : step_without_row(set, cell, class);
}

static inline void notice(cra_keywords *set, uint32_t cell, uint64_t *found, bool *any) {
    if (set->states[state_of(set, cell)].report != NONE) {
        *any = true;
        report(set, cell, found);
    }
}

static bool walk(cra_keywords *set, const uint8_t *text, size_t length, uint64_t *found) {
    bool any = false;
    uint32_t cell = cell_of(set, ROOT);
    for (size_t i = 0; i < length; i++) {
        cell = step(set, cell, text[i]);
        if (__builtin_expect(cell >= set->quiet, 0))
            notice(set, cell, found, &any);
    }
    return any;
}

/* Four lanes that begin a quarter apart and each go on `stride` bytes: what begins in a lane's quarter ends in its walk. */
static bool walk_lanes(cra_keywords *set, const uint8_t *text, size_t quarter, size_t stride, uint64_t *found) {
    bool any = false;
    const uint8_t *second = text + quarter, *third = second + quarter, *fourth = third + quarter;
    uint32_t a = cell_of(set, ROOT), b = a, c = a, d = a;
    for (size_t i = 0; i < stride; i++) {
        a = step(set, a, text[i]);
        b = step(set, b, second[i]);
        c = step(set, c, third[i]);
        d = step(set, d, fourth[i]);
        if (__builtin_expect((a >= set->quiet) | (b >= set->quiet) | (c >= set->quiet) | (d >= set->quiet), 0)) {
            notice(set, a, found, &any);
            notice(set, b, found, &any);
            notice(set, c, found, &any);
            notice(set, d, found, &any);
        }
    }
    return any;
}

static void begin(cra_keywords *set, uint64_t *found) {
    memset(found, 0, (set->triggers + 63) / 64 * sizeof *found);
    if (++set->search == 0) { /* after 2^32 searches the marks mean nothing any more */
        for (uint32_t i = 0; i < set->state_count; i++)
            set->states[i].told = 0;
        set->search = 1;
    }
}

bool cra_keywords_find(cra_keywords *set, const uint8_t *text, size_t length, uint64_t *found) {
    begin(set, found);
    /* The fourth lane takes what remains: quarter + (length - 4 * quarter) ≤ stride bytes. */
    size_t overlap = set->longest ? set->longest - 1 : 0;
    size_t quarter = length / 4 > overlap ? (length - overlap) / 4 : 0;
    if (quarter == 0)
        return walk(set, text, length, found);
    size_t stride = length - 3 * quarter;
    return walk_lanes(set, text, quarter, stride, found);
}
