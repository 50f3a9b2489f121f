#include "images/rootfs/merge.h"

#include <errno.h>

#define LINKS_MAX 8 /* from hard link to hard link, through layers */

/* What the layers have under one name, from the uppermost down. */
struct gathering {
    struct op *op;
    struct merged found;
    bool any;
    bool named; /* a folder: some layer says what it is like */
    bool end;   /* lower layers do not matter */
};

static int damaged(struct op *op, int r)
{
    return r == -EBADMSG ? op_fail(op, EIO, "the index of a layer is damaged; run infrafs scrub")
                         : r;
}

static struct merge_at *stack_new(struct op *op, const struct merge *m)
{
    return op_alloc(op, (m->n_layers + 1) * sizeof(struct merge_at));
}

static void begin(struct op *op, struct merge_at *stack, struct gathering *g)
{
    *g = (struct gathering){.op = op};
    g->found.layer = MERGE_NOWHERE;
    g->found.inode = (struct index_inode){.type = INDEX_FOLDER, .mode = 0755, .nlink = 2};
    g->found.stack = stack;
}

static void gather_folder(struct gathering *g, unsigned layer, uint32_t number,
                          const struct index_inode *inode)
{
    g->found.stack[g->found.n_stack++] = (struct merge_at){layer, *inode};
    if (!g->named && (inode->flags & INDEX_IMPLIED) == 0) {
        g->named = true;
        g->found.layer = layer;
        g->found.number = number;
        g->found.inode = *inode;
    }
    g->any = true;
    g->end = (inode->flags & INDEX_OPAQUE) != 0;
}

/* The name as one layer has it. */
static int gather(struct gathering *g, const struct merge *m, unsigned layer,
                  const struct index_name *name)
{
    struct index_inode inode;
    int r;

    if (name->inode != INDEX_NONE) {
        r = layer_index_inode_get(m->layers[layer], name->inode, &inode);
        if (r < 0)
            return r;
        if (inode.type == INDEX_FOLDER) {
            gather_folder(g, layer, name->inode, &inode);
        } else {
            if (!g->any) {
                g->found.layer = layer;
                g->found.number = name->inode;
                g->found.inode = inode;
            }
            g->any = g->end = true; /* a folder above it hides it */
        }
    }
    if ((name->flags & INDEX_WHITEOUT) != 0)
        g->end = true;
    return 0;
}

static int find_below(struct op *op, const struct merge *m, unsigned from, const char *path,
                      unsigned depth, struct merged *ret);

/* A hard link to what its own layer has not: the file as that layer sees it. */
static int resolve(struct op *op, const struct merge *m, unsigned depth, struct merged *found)
{
    char *text;
    int r;

    if (found->inode.type != INDEX_LINK)
        return 0;
    if (depth == LINKS_MAX)
        return -ENOENT;
    text = op_alloc(op, INDEX_TEXT_MAX + 1);
    r = layer_index_text_get(m->layers[found->layer], &found->inode, text);
    if (r == 0)
        r = find_below(op, m, found->layer, text, depth + 1, found);
    if (r == -ENOTDIR || (r == 0 && found->inode.type == INDEX_FOLDER))
        return -ENOENT;
    return r;
}

static int finish(struct gathering *g, const struct merge *m, unsigned depth, struct merged *ret)
{
    if (!g->any)
        return -ENOENT;
    *ret = g->found;
    return resolve(g->op, m, depth, ret);
}

static int top(struct op *op, const struct merge *m, unsigned from, struct merged *ret)
{
    struct gathering g;

    begin(op, stack_new(op, m), &g);
    g.any = true;
    for (unsigned i = from; i < m->n_layers && !g.end; i++) {
        struct index_inode inode;
        int r = layer_index_inode_get(m->layers[i], 0, &inode);

        if (r < 0)
            return r;
        gather_folder(&g, i, 0, &inode);
    }
    *ret = g.found;
    return 0;
}

static int find_child(struct op *op, const struct merge *m, const struct merged *folder,
                      struct slice name, unsigned depth, struct merged *ret)
{
    struct gathering g;

    begin(op, stack_new(op, m), &g);
    for (unsigned i = 0; i < folder->n_stack && !g.end; i++) {
        const struct merge_at *at = &folder->stack[i];
        struct index_name found;
        int r = layer_index_find(m->layers[at->layer], &at->inode, name, &found);

        if (r == 0)
            r = gather(&g, m, at->layer, &found);
        if (r < 0 && r != -ENOENT)
            return r;
    }
    return finish(&g, m, depth, ret);
}

/* Paths of hard links come from archives: they may begin with a slash, and have "." and "..". */
static int find_below(struct op *op, const struct merge *m, unsigned from, const char *path,
                      unsigned depth, struct merged *ret)
{
    struct merged *way = op_alloc(op, (strlen(path) / 2 + 2) * sizeof *way);
    size_t n = 0;
    int r = top(op, m, from, &way[0]);

    while (r == 0) {
        size_t len;

        path += strspn(path, "/");
        len = strcspn(path, "/");
        if (len == 0)
            break;
        if (len == 2 && memcmp(path, "..", 2) == 0)
            n -= n > 0;
        else if (way[n].inode.type != INDEX_FOLDER)
            r = -ENOTDIR;
        else if (len != 1 || path[0] != '.')
            r = find_child(op, m, &way[n], slice_of(path, len), depth, &way[n + 1]), n++;
        path += len;
    }
    if (r == 0)
        *ret = way[n];
    return r;
}

int merge_find(struct op *op, const struct merge *m, const char *path, struct merged *ret)
{
    return damaged(op, find_below(op, m, 0, path, 0, ret));
}

/* Listing: the names of all layers' folders are sorted, so they are merged as they come. */
struct column {
    unsigned layer;
    uint32_t next, end;
    struct index_name name;
    char text[256];
    bool has;
};

static int advance(const struct merge *m, struct column *c)
{
    c->has = c->next < c->end;
    return c->has ? layer_index_name_get(m->layers[c->layer], c->next++, &c->name, c->text) : 0;
}

static const char *least(const struct column *columns, unsigned n)
{
    const char *text = NULL;

    for (unsigned i = 0; i < n; i++)
        if (columns[i].has && (text == NULL || strcmp(columns[i].text, text) < 0))
            text = columns[i].text;
    return text;
}

/* The least name in all columns. */
static int take_name(struct op *op, const struct merge *m, struct column *columns, unsigned n,
                     const char *name, struct merge_at *stack, struct merged *ret)
{
    struct gathering g;
    int r = 0;

    begin(op, stack, &g);
    for (unsigned i = 0; r == 0 && i < n; i++) {
        struct column *c = &columns[i];

        if (!c->has || strcmp(c->text, name) != 0)
            continue;
        if (!g.end)
            r = gather(&g, m, c->layer, &c->name);
        if (r == 0)
            r = advance(m, c);
    }
    return r < 0 ? r : finish(&g, m, 0, ret);
}

int merge_list(struct op *op, const struct merge *m, const struct merged *folder,
               int (*f)(void *ctx, const char *name, const struct merged *child), void *ctx)
{
    unsigned n = folder->n_stack;
    struct column *columns = op_alloc(op, (n + 1) * sizeof *columns);
    struct merge_at *stack = stack_new(op, m);
    const char *text;
    int r = 0;

    for (unsigned i = 0; r == 0 && i < n; i++) {
        const struct merge_at *at = &folder->stack[i];

        columns[i] = (struct column){
            .layer = at->layer,
            .next = at->inode.first,
            .end = at->inode.first + at->inode.count,
        };
        r = advance(m, &columns[i]);
    }
    while (r == 0 && (text = least(columns, n)) != NULL) {
        struct merged child;
        char name[256];
        struct op own; /* what one name takes goes with it: there may be many */

        memcpy(name, text, strlen(text) + 1);
        op_init(&own, op->door, op->who);
        r = take_name(&own, m, columns, n, name, stack, &child);
        op_done(&own);
        if (r == 0)
            r = f(ctx, name, &child);
        else if (r == -ENOENT)
            r = 0; /* a whiteout, or a hard link to nothing */
    }
    return damaged(op, r);
}
