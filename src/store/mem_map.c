#include "store/mem_map.h"

#include "base/alloc.h"

#include <stdlib.h>

struct version {
    struct version *older;
    uint64_t seq;
    bool deleted;
    size_t len;
    char value[];
};

struct mem_node {
    struct version *newest;
    char *key;
    size_t key_len;
    unsigned height;
    struct mem_node *next[]; /* height of them */
};

struct slice mem_node_key(const struct mem_node *n)
{
    return slice_of(n->key, n->key_len);
}

static void free_versions(struct version *v)
{
    while (v != NULL) {
        struct version *older = v->older;

        free(v);
        v = older;
    }
}

static void free_node(struct mem_node *n)
{
    free_versions(n->newest);
    free(n->key);
    free(n);
}

void mem_map_done(struct mem_map *m)
{
    struct mem_node *n = m->first[0];

    while (n != NULL) {
        struct mem_node *next = n->next[0];

        free_node(n);
        n = next;
    }
    *m = (struct mem_map){0};
}

/* The links that lead to the first node at or after key, one a level. */
static void find(struct mem_map *m, struct slice key, struct mem_node **links[MEM_MAP_HEIGHT])
{
    struct mem_node *before = NULL;

    for (int i = MEM_MAP_HEIGHT - 1; i >= 0; i--) {
        struct mem_node **link = before != NULL ? &before->next[i] : &m->first[i];

        while (*link != NULL && slice_cmp(mem_node_key(*link), key) < 0) {
            before = *link;
            link = &before->next[i];
        }
        links[i] = link;
    }
}

struct mem_node *mem_map_at(struct mem_map *m, struct slice key)
{
    struct mem_node **links[MEM_MAP_HEIGHT];

    find(m, key, links);
    return *links[0];
}

struct mem_node *mem_map_before(struct mem_map *m, struct slice key)
{
    struct mem_node *before = NULL;

    for (int i = MEM_MAP_HEIGHT - 1; i >= 0; i--) {
        struct mem_node *n = before != NULL ? before->next[i] : m->first[i];

        for (; n != NULL && slice_cmp(mem_node_key(n), key) < 0; n = n->next[i])
            before = n;
    }
    return before;
}

struct mem_node *mem_node_step(struct mem_map *m, struct mem_node *n, bool back)
{
    return back ? mem_map_before(m, mem_node_key(n)) : n->next[0];
}

/* xorshift: each level holds a quarter of the one below. */
static unsigned random_height(struct mem_map *m)
{
    unsigned h = 1;
    uint64_t x = m->random != 0 ? m->random : 88172645463325252u;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    m->random = x;
    for (; h < MEM_MAP_HEIGHT && (x & 3) == 0; x >>= 2)
        h++;
    return h;
}

static struct mem_node *insert(struct mem_map *m, struct slice key)
{
    struct mem_node **links[MEM_MAP_HEIGHT];
    struct mem_node *n;
    unsigned height;

    find(m, key, links);
    n = *links[0];
    if (n != NULL && slice_eq(mem_node_key(n), key))
        return n;
    height = random_height(m);
    n = xcalloc(1, sizeof *n + height * sizeof(struct mem_node *));
    n->key = xmemdup(key.data, key.len);
    n->key_len = key.len;
    n->height = height;
    for (unsigned i = 0; i < height; i++) {
        n->next[i] = *links[i];
        *links[i] = n;
    }
    return n;
}

static void add_version(struct mem_map *m, struct mem_node *n, struct slice value, bool deleted,
                        uint64_t seq)
{
    struct version *v = xmalloc(sizeof *v + value.len);

    *v = (struct version){.older = n->newest, .seq = seq, .deleted = deleted, .len = value.len};
    if (value.len > 0)
        memcpy(v->value, value.data, value.len);
    n->newest = v;
    if (m->cursors == 0) {
        free_versions(v->older);
        v->older = NULL;
    }
}

void mem_map_put(struct mem_map *m, struct slice key, struct slice value, uint64_t seq)
{
    add_version(m, insert(m, key), value, false, seq);
}

static void remove_node(struct mem_map *m, struct mem_node *n)
{
    struct mem_node **links[MEM_MAP_HEIGHT];

    find(m, mem_node_key(n), links);
    for (unsigned i = 0; i < n->height; i++)
        *links[i] = n->next[i];
    free_node(n);
}

static void delete_node(struct mem_map *m, struct mem_node *n, uint64_t seq)
{
    if (m->cursors == 0)
        remove_node(m, n);
    else
        add_version(m, n, (struct slice){0}, true, seq);
}

void mem_map_delete(struct mem_map *m, struct slice key, uint64_t seq)
{
    struct mem_node *n = mem_map_at(m, key);

    if (n != NULL && slice_eq(mem_node_key(n), key))
        delete_node(m, n, seq);
}

void mem_map_delete_range(struct mem_map *m, struct slice lower, struct slice upper, uint64_t seq)
{
    struct mem_node *n = mem_map_at(m, lower);

    while (n != NULL && slice_cmp(mem_node_key(n), upper) < 0) {
        struct mem_node *next = n->next[0];

        delete_node(m, n, seq);
        n = next;
    }
}

bool mem_node_value(const struct mem_node *n, uint64_t seq, struct slice *ret)
{
    const struct version *v = n->newest;

    while (v != NULL && v->seq > seq)
        v = v->older;
    if (v == NULL || v->deleted)
        return false;
    *ret = slice_of(v->value, v->len);
    return true;
}

bool mem_map_get(struct mem_map *m, struct slice key, struct slice *ret)
{
    struct mem_node *n = mem_map_at(m, key);

    return n != NULL && slice_eq(mem_node_key(n), key) && mem_node_value(n, UINT64_MAX, ret);
}
