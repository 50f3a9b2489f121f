#include "metrics/head/symbols.h"

#include "base/alloc.h"
#include "metrics/labels.h"

#include <stdlib.h>

#define BLOCK (64u << 10)

struct symbol_block {
    struct symbol_block *next;
};

void symbols_init(struct symbols *s)
{
    *s = (struct symbols){.n = 1, .cap = 256, .table_size = 512};
    s->strings = xcalloc(s->cap, sizeof *s->strings);
    s->strings[0] = SLICE("");
    s->table = xcalloc(s->table_size, sizeof *s->table);
}

void symbols_done(struct symbols *s)
{
    while (s->blocks != NULL) {
        struct symbol_block *next = s->blocks->next;

        free(s->blocks);
        s->blocks = next;
    }
    free(s->strings);
    free(s->table);
    *s = (struct symbols){0};
}

void *symbols_room(struct symbols *s, size_t n)
{
    char *p;

    n = (n + 7) & ~(size_t)7;
    if (n > s->room_left) {
        size_t size = n > BLOCK / 4 ? n : BLOCK;
        struct symbol_block *b = xmalloc(sizeof *b + size);

        b->next = s->blocks;
        s->blocks = b;
        s->bytes += sizeof *b + size;
        if (size == n)
            return b + 1;
        s->room = (char *)(b + 1);
        s->room_left = size;
    }
    p = s->room;
    s->room += n;
    s->room_left -= n;
    return p;
}

static uint32_t *slot_of(const struct symbols *s, struct slice text)
{
    uint32_t i = (uint32_t)hash_bytes(text.data, text.len, 17) & (s->table_size - 1);

    while (s->table[i] != 0 && !slice_eq(s->strings[s->table[i]], text))
        i = (i + 1) & (s->table_size - 1);
    return &s->table[i];
}

uint32_t symbols_find(const struct symbols *s, struct slice text)
{
    uint32_t found;

    if (text.len == 0)
        return 0;
    found = *slot_of(s, text);
    return found != 0 ? found : UINT32_MAX;
}

static void grow(struct symbols *s)
{
    free(s->table);
    s->table_size *= 2;
    s->table = xcalloc(s->table_size, sizeof *s->table);
    for (uint32_t i = 1; i < s->n; i++)
        *slot_of(s, s->strings[i]) = i;
}

uint32_t symbols_add(struct symbols *s, struct slice text)
{
    uint32_t *slot;
    char *copy;

    if (text.len == 0)
        return 0;
    slot = slot_of(s, text);
    if (*slot != 0)
        return *slot;
    if (s->n == s->cap) {
        s->cap *= 2;
        s->strings = xrealloc(s->strings, s->cap * sizeof *s->strings);
    }
    copy = symbols_room(s, text.len);
    memcpy(copy, text.data, text.len);
    s->strings[s->n] = slice_of(copy, text.len);
    *slot = s->n++;
    if (s->n * 2 > s->table_size)
        grow(s);
    return s->n - 1;
}
