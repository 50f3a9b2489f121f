#include "packages/contents.h"

#include "base/alloc.h"
#include "base/scope.h"
#include "identity/identity.h"
#include "packages/inside.h"
#include "packages/state.h"

#include <errno.h>

#define ARCHIVES 8

/* One open archive. Immutable once it is in the table; shared by reference count. */
struct archive_ref {
    struct digest digest;
    struct blob *blob;
    struct inside *inside;
    unsigned refs; /* atomic */
};

struct contents {
    pthread_mutex_t lock;                   /* guards: archives */
    struct archive_ref *archives[ARCHIVES]; /* the one used last comes first; NULL: free */
};

struct contents *contents_new(void)
{
    struct contents *c = xcalloc(1, sizeof *c);

    pthread_mutex_init(&c->lock, NULL);
    return c;
}

static void archive_unref(struct archive_ref *a)
{
    if (a == NULL || __atomic_sub_fetch(&a->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    inside_close(a->inside);
    blob_close(a->blob);
    free(a);
}
DEFINE_SCOPE(archive_ref, struct archive_ref, archive_unref)

void contents_free(struct contents *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < ARCHIVES; i++)
        archive_unref(c->archives[i]);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* To the front; a new one pushes the last out. Call with the lock held. */
static void put_first(struct contents *c, size_t from, struct archive_ref *a)
{
    memmove(&c->archives[1], &c->archives[0], from * sizeof c->archives[0]);
    c->archives[0] = a;
}

static struct archive_ref *look(struct contents *c, const struct digest *digest)
{
    guard(&c->lock);
    for (size_t i = 0; i < ARCHIVES; i++) {
        struct archive_ref *a = c->archives[i];

        if (a == NULL || !digest_eq(&a->digest, digest))
            continue;
        put_first(c, i, a);
        __atomic_fetch_add(&a->refs, 1, __ATOMIC_RELAXED);
        return a;
    }
    return NULL;
}

static void keep(struct contents *c, struct archive_ref *a)
{
    struct archive_ref *out;

    __atomic_fetch_add(&a->refs, 1, __ATOMIC_RELAXED);
    pthread_mutex_lock(&c->lock);
    out = c->archives[ARCHIVES - 1];
    put_first(c, ARCHIVES - 1, a);
    pthread_mutex_unlock(&c->lock);
    archive_unref(out);
}

static ssize_t read_blob(void *ctx, uint64_t offset, void *buf, size_t n)
{
    return blob_read(ctx, offset, buf, n);
}

/* *ret is a new reference. */
static int open_archive(struct op *op, struct packages *pk, const struct package_file *f,
                        struct archive_ref **ret)
{
    scope_cleanup(scope_archive_ref) struct archive_ref *a = look(pk->contents, &f->digest);
    struct zip_source source = {read_blob, NULL, f->size_bytes};
    autobuf why = {0};
    int r;

    if (a == NULL) {
        a = xcalloc(1, sizeof *a);
        a->refs = 1;
        a->digest = f->digest;
        r = blob_open(pk->store, &f->digest, &a->blob);
        if (r < 0)
            return op_fail(op, EIO, "the content of '%s' cannot be read", f->name);
        source.ctx = a->blob;
        r = inside_open(&source, f->kind, &a->inside, &why);
        if (r < 0)
            return op_fail(op, -r, "'%s': %s", f->name, why.len > 0 ? why.data : strerror(-r));
        keep(pk->contents, a);
    }
    *ret = take(a);
    return 0;
}

/* The entry at a place; NULL: the archive itself, as a folder. */
static int find(struct op *op, struct packages *pk, const struct place *p, struct package_file *f,
                struct archive_ref **ret_archive, const struct inside_entry **ret)
{
    scope_cleanup(scope_archive_ref) struct archive_ref *a = NULL;
    const struct inside_entry *e = NULL;
    int r = package_place_find(op, pk, p, f);

    if (r == 0)
        r = identity_check(op, POLICY_READ, "packages/%s", f->project);
    if (r == 0)
        r = project_offers_files(op, pk, f->project);
    if (r == 0)
        r = open_archive(op, pk, f, &a);
    if (r < 0)
        return r;
    if (p->inner[0] != 0) {
        e = inside_find(a->inside, p->inner);
        if (e == NULL)
            return op_fail(op, ENOENT, "there is no '%s' in '%s'", p->inner, f->name);
    }
    *ret_archive = take(a);
    *ret = e;
    return 0;
}

static void stat_entry(const struct package_file *f, const struct inside_entry *e,
                       struct node_stat *ret)
{
    bool folder = e == NULL || e->is_folder;

    *ret = (struct node_stat){
        .type = folder ? NODE_DIR : NODE_FILE,
        .mode = folder ? 0555 : 0444,
        .flags = folder ? 0 : NODE_IMMUTABLE,
        .size_bytes = folder ? 0 : e->size_bytes,
        .mtime_ns = f->uploaded_unix_ns,
    };
}

int contents_stat(struct op *op, struct packages *pk, const struct place *p, struct node_stat *ret)
{
    scope_cleanup(scope_archive_ref) struct archive_ref *a = NULL;
    const struct inside_entry *e;
    struct package_file f;
    bool files;
    int r;

    if (p->file == NULL) {
        r = project_get(op, pk, p->project, NULL, &files);
        *ret = (struct node_stat){.type = NODE_DIR, .mode = 0555};
        return r;
    }
    r = find(op, pk, p, &f, &a, &e);
    if (r == 0)
        stat_entry(&f, e, ret);
    return r;
}

struct listing {
    const struct package_file *file;
    node_emit_fn *emit;
    void *ctx;
};

static int emit_archive(void *ctx, const struct package_file *f)
{
    struct listing *l = ctx;
    struct node_stat st;

    stat_entry(f, NULL, &st);
    return l->emit(l->ctx, f->name, &st);
}

static int emit_entry(void *ctx, const char *name, const struct inside_entry *e)
{
    struct listing *l = ctx;
    struct node_stat st;

    stat_entry(l->file, e, &st);
    return l->emit(l->ctx, name, &st);
}

int contents_list(struct op *op, struct packages *pk, const struct place *p, node_emit_fn *emit,
                  void *ctx)
{
    scope_cleanup(scope_archive_ref) struct archive_ref *a = NULL;
    struct listing l = {NULL, emit, ctx};
    const struct inside_entry *e;
    struct package_file f;
    int r;

    if (p->file == NULL)
        return package_each(op, pk, p->project, emit_archive, &l);
    r = find(op, pk, p, &f, &a, &e);
    if (r < 0)
        return r;
    if (e != NULL && !e->is_folder)
        return op_fail(op, ENOTDIR, "'%s' is not a folder", p->inner);
    l.file = &f;
    return inside_list(a->inside, p->inner, emit_entry, &l);
}

int contents_open(struct op *op, struct packages *pk, const struct place *p, struct node_file **ret)
{
    scope_cleanup(scope_archive_ref) struct archive_ref *a = NULL;
    const struct inside_entry *e = NULL;
    autobuf content = {0}, why = {0};
    struct package_file f;
    int r = p->file != NULL ? find(op, pk, p, &f, &a, &e) : 0;

    if (r < 0)
        return r;
    if (e == NULL || e->is_folder)
        return op_fail(op, EISDIR, "that is a folder");
    r = inside_read(a->inside, e, &content, &why);
    if (r < 0)
        return op_fail(op, -r, "'%s' in '%s': %s", p->inner, f.name,
                       why.len > 0 ? why.data : strerror(-r));
    return node_bytes_open(buf_slice(&content), NODE_IMMUTABLE, ret);
}
