#include "packages/trash.h"

#include "base/scope.h"
#include "identity/identity.h"
#include "packages/state.h"

#include <errno.h>

/* Calls f for each deleted file that op's caller may see; f's non-zero result ends it. */
struct visit {
    struct op *op;
    struct packages *pk;
    int (*f)(void *ctx, const struct package_file *file, int64_t deadline_unix_ms);
    void *ctx;
};

static int visit_one(void *ctx, const struct package_file *file, int64_t deadline_unix_ms)
{
    struct visit *v = ctx;
    struct package_file live;
    int r;

    if (!project_visible(v->op, file->project))
        return 0;
    r = package_get(v->op, v->pk, file->project, file->name, &live);
    op_forgive(v->op);
    if (r == 0 && strcmp(live.id, file->id) == 0) /* a crash: it never went, or is back */
        return 0;
    return v->f(v->ctx, file, deadline_unix_ms);
}

static int trash_each(struct op *op, struct packages *pk,
                      int (*f)(void *ctx, const struct package_file *file,
                               int64_t deadline_unix_ms),
                      void *ctx)
{
    struct visit v = {op, pk, f, ctx};

    return reclaim_each_deleted(op, pk, visit_one, &v);
}

struct search {
    const struct place *place;
    struct package_file file;
    int64_t deadline_unix_ms;
};

static int match(void *ctx, const struct package_file *file, int64_t deadline_unix_ms)
{
    struct search *s = ctx;

    if (strcmp(file->id, s->place->id) != 0)
        return 0;
    if (s->place->file != NULL && strcmp(file->name, s->place->file) != 0)
        return 0;
    s->file = *file;
    s->deadline_unix_ms = deadline_unix_ms;
    return 1;
}

static int find(struct op *op, struct packages *pk, const struct place *p, struct search *ret)
{
    int r;

    *ret = (struct search){.place = p};
    r = trash_each(op, pk, match, ret);
    if (r < 0)
        return r;
    return r == 1 ? 0 : op_fail(op, ENOENT, "there is no '%s' in the trash", p->id);
}

/* Volatile: the reclaimer takes entries away without a word. */
static void stat_folder(struct node_stat *ret)
{
    *ret = (struct node_stat){.type = NODE_DIR, .mode = 0555, .flags = NODE_VOLATILE};
}

static void stat_file(const struct package_file *f, struct node_stat *ret)
{
    *ret = (struct node_stat){
        .type = NODE_FILE,
        .mode = 0444,
        .flags = NODE_VOLATILE,
        .size_bytes = f->size_bytes,
        .mtime_ns = f->uploaded_unix_ns,
    };
}

int trash_stat(struct op *op, struct packages *pk, const struct place *p, struct node_stat *ret)
{
    struct search s;
    int r = p->kind == PLACE_TRASH ? 0 : find(op, pk, p, &s);

    if (r < 0)
        return r;
    if (p->kind == PLACE_TRASH_FILE)
        stat_file(&s.file, ret);
    else
        stat_folder(ret);
    return 0;
}

struct listing {
    node_emit_fn *emit;
    void *ctx;
};

static int emit_id(void *ctx, const struct package_file *file, int64_t deadline_unix_ms)
{
    struct listing *l = ctx;
    struct node_stat st;

    (void)deadline_unix_ms;
    stat_folder(&st);
    return l->emit(l->ctx, file->id, &st);
}

int trash_list(struct op *op, struct packages *pk, const struct place *p, node_emit_fn *emit,
               void *ctx)
{
    struct listing l = {emit, ctx};
    struct node_stat st;
    struct search s;
    int r;

    if (p->kind == PLACE_TRASH)
        return trash_each(op, pk, emit_id, &l);
    if (p->kind == PLACE_TRASH_FILE)
        return op_fail(op, ENOTDIR, "'%s' is not a folder", p->file);
    r = find(op, pk, p, &s);
    if (r < 0)
        return r;
    stat_file(&s.file, &st);
    return emit(ctx, s.file.name, &st);
}

int trash_open(struct op *op, struct packages *pk, const struct place *p, struct node_file **ret)
{
    struct blob *blob;
    struct search s;
    int r = p->kind == PLACE_TRASH ? 0 : find(op, pk, p, &s);

    if (r < 0)
        return r;
    if (p->kind != PLACE_TRASH_FILE)
        return op_fail(op, EISDIR, "the trash is a folder");
    r = identity_check(op, POLICY_READ, "packages/%s", s.file.project);
    if (r == 0)
        r = blob_open(pk->store, &s.file.digest, &blob);
    return r < 0 ? r : node_blob_open(blob, NODE_VOLATILE, ret);
}

/* With the lock, so that the reclaimer does not let go of the blobs between its look and this. */
static int put_back(struct op *op, struct packages *pk, const struct place *p, struct search *s)
{
    char text[PARTITION_MAX];
    struct store_batch *batch;
    int r;

    guard(&pk->trash_lock);
    r = find(op, pk, p, s);
    if (r == 0)
        r = identity_check(op, POLICY_CREATE, "packages/%s", s->file.project);
    if (r < 0)
        return r;
    batch = store_batch_new(pk->store, project_partition(s->file.project, text));
    store_batch_expect_absent(batch, slice_str(s->file.name));
    store_batch_put(batch, slice_str(s->file.name), s->file.row);
    spelling_take(batch, &s->file);
    r = store_commit(batch, STORE_DURABLE);
    if (r == -EAGAIN)
        return op_fail(op, EEXIST, "File already exists ('%s'): published after it was deleted",
                       s->file.name);
    if (r < 0)
        return op_fail(op, -r, "publishing '%s' again failed", s->file.name);
    reclaim_forget(pk, &s->file, s->deadline_unix_ms);
    return 0;
}

int trash_restore(struct op *op, struct packages *pk, const struct place *p)
{
    struct search s;
    int r = put_back(op, pk, p, &s);

    if (r < 0)
        return r;
    changed_file(op, s.file.project, s.file.name);
    index_follow(op, pk, s.file.project, false);
    return 0;
}
