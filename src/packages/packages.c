#include "packages/packages.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/scope.h"
#include "config.h"
#include "identity/identity.h"
#include "packages/contents.h"
#include "packages/mirror.h"
#include "packages/packages_tree.h"
#include "packages/packages_web.h"
#include "packages/pages.h"
#include "packages/place.h"
#include "packages/state.h"

#include <errno.h>

int package_get(struct op *op, struct packages *pk, const char *project, const char *file,
                struct package_file *ret)
{
    char text[PARTITION_MAX];
    struct store_value value = {0};
    int r;

    r = store_get(pk->store, project_partition(project, text), slice_str(file), &value);
    if (r == -ENOENT)
        return op_fail(op, ENOENT, "there is no file '%s' in project '%s'", file, project);
    if (r < 0)
        return op_fail(op, -r, "reading the record of '%s' failed", file);
    r = record_decode(op, op_strdup(op, project), op_strdup(op, file), value.data, ret);
    store_value_release(&value);
    return r;
}

int package_find(struct op *op, struct packages *pk, const char *file, struct package_file *ret)
{
    struct package_filename parsed;
    int r;

    if (package_filename_parse(slice_str(file), &parsed, NULL) < 0)
        return op_fail(op, ENOENT, "there is no file '%s'", file);
    do {
        r = package_get(op, pk, parsed.normal, file, ret);
        if (r != -ENOENT)
            return r;
        op_forgive(op);
    } while (package_filename_next(&parsed));
    return op_fail(op, ENOENT, "there is no file '%s'", file);
}

int package_each(struct op *op, struct packages *pk, const char *project,
                 int (*f)(void *ctx, const struct package_file *file), void *ctx)
{
    char text[PARTITION_MAX];
    struct package_file file;
    struct store_scan *scan;
    struct slice key, value;
    bool files;
    int r;

    r = project_get(op, pk, project, NULL, &files);
    if (r < 0)
        return r;
    project = op_strdup(op, project);
    r = store_scan(pk->store, project_partition(project, text), SLICE(FIRST_FILE), SLICE(""), 0,
                   &scan);
    if (r < 0)
        return op_fail(op, -r, "reading project '%s' failed", project);
    while ((r = store_scan_next(scan, &key, &value)) == 1) {
        r = record_decode(op, project, op_strndup(op, key.data, key.len), value, &file);
        if (r == 0)
            r = f(ctx, &file);
        if (r != 0)
            break;
    }
    store_scan_free(scan);
    return r;
}

void changed_file(struct op *op, const char *project, const char *file)
{
    op_changed(op, CHANGE_ENTRY | CHANGE_CONTENT, "/packages/%s/%s", project, file);
    op_changed(op, CHANGE_ENTRY | CHANGE_CONTENT, "/packages/%s", file);
    op_changed(op, CHANGE_ENTRY | CHANGE_CONTENT, "/packages/@all/%s", file);
    op_changed(op, CHANGE_ENTRY | CHANGE_CONTENT, "/packages/%s/@metadata/%s", project, file);
    op_changed(op, CHANGE_CONTENT, "/packages/%s", project);
    op_changed(op, CHANGE_CONTENT, "/packages/%s/@simple.html", project);
    op_changed(op, CHANGE_CONTENT, "/packages/%s/@simple.json", project);
    op_changed(op, CHANGE_CONTENT, "/packages/%s/@sha256sums", project);
}

/* Puts `f` in the place of `old`, or nothing; -EAGAIN if the row is not `old` any more. */
static int replace_row(struct packages *pk, const struct package_file *old,
                       const struct package_file *f)
{
    char text[PARTITION_MAX];
    struct store_batch *batch = store_batch_new(pk->store, project_partition(old->project, text));
    autobuf is = {0};

    store_batch_expect(batch, slice_str(old->name), old->row);
    if (f != NULL) {
        record_encode(f, &is);
        store_batch_put(batch, slice_str(old->name), buf_slice(&is));
    } else {
        store_batch_delete(batch, slice_str(old->name));
        spelling_leave(batch, old);
    }
    return store_commit(batch, STORE_DURABLE);
}

static int delete_row(struct op *op, struct packages *pk, const struct package_file *f)
{
    int64_t deadline = clock_unix_ms() + pk->env.config->gc_grace_ms;
    int r = reclaim_note(pk, RECLAIM_DELETED, f, deadline);

    if (r == 0)
        r = replace_row(pk, f, NULL);
    if (r == -EAGAIN)
        return r;
    if (r < 0)
        return op_fail(op, -r, "deleting '%s' failed: %s", f->name, strerror(-r));
    return 0;
}

int package_delete(struct op *op, struct packages *pk, const char *project, const char *file)
{
    struct package_file f;
    int r = identity_check(op, POLICY_DELETE, "packages/%s", project);

    if (r < 0)
        return r;
    do {
        r = package_get(op, pk, project, file, &f);
        if (r == 0)
            r = delete_row(op, pk, &f);
    } while (r == -EAGAIN);
    if (r < 0)
        return r;
    changed_file(op, project, file);
    __atomic_fetch_add(&pk->deleted, 1, __ATOMIC_RELAXED);
    /* Through the mount the folder stays, so that `rm -r` finds it when it comes to rmdir. Beside a
     * mirror it stays in any case: the team's name must not become that of somebody else's files.
     */
    index_follow(op, pk, project, op->door == DOOR_MOUNT || pk->mirror != NULL);
    return 0;
}

int package_yank(struct op *op, struct packages *pk, const char *project, const char *file,
                 const char *reason)
{
    struct package_file f, with;
    int r = identity_check(op, POLICY_UPDATE, "packages/%s", project);

    if (r < 0)
        return r;
    if (reason != NULL && strlen(reason) > 1000)
        return op_fail(op, EINVAL, "the reason for a yank is longer than 1000 bytes");
    do {
        r = package_get(op, pk, project, file, &f);
        if (r < 0)
            return r;
        with = f;
        with.yanked = reason;
        r = replace_row(pk, &f, &with);
    } while (r == -EAGAIN);
    if (r < 0)
        return op_fail(op, -r, "yanking '%s' failed: %s", file, strerror(-r));
    changed_file(op, project, file);
    return 0;
}

static void close_packages(void *self)
{
    struct packages *pk = self;

    reclaim_stop(pk);
    mirror_free(pk->mirror);
    pages_free(pk->pages);
    contents_free(pk->contents);
    pthread_mutex_destroy(&pk->trash_lock);
    pthread_mutex_destroy(&pk->lock);
    free(pk);
}

static int open_packages(const struct domain_env *env, void **ret_self, struct buf *why)
{
    struct packages *pk = xcalloc(1, sizeof *pk);
    int r;

    pk->env = *env;
    pk->store = env->store;
    pk->contents = contents_new();
    pthread_mutex_init(&pk->trash_lock, NULL);
    pthread_mutex_init(&pk->lock, NULL);
    r = pages_new(pk, &pk->pages);
    if (r == 0)
        r = mirror_new(pk, &pk->mirror, why);
    if (r == 0)
        r = index_mend(pk);
    if (r == 0)
        r = reclaim_start(pk);
    if (r < 0) {
        if (why->len == 0)
            buf_printf(why, "packages: %s", strerror(-r));
        close_packages(pk);
        return r;
    }
    *ret_self = pk;
    return 0;
}

static int count_project(void *ctx, const char *project, const char *display, bool has_files)
{
    (void)project, (void)display;
    *(uint64_t *)ctx += has_files;
    return 0;
}

static uint64_t count_projects(struct packages *pk)
{
    struct op op;
    uint64_t n = 0;

    op_init(&op, DOOR_INTERNAL, identity_internal(pk->env.identities));
    project_each(&op, pk, count_project, &n);
    op_done(&op);
    return n;
}

static void metrics(void *self, struct buf *out)
{
    struct packages *pk = self;

    buf_printf(out,
               "# HELP infrafs_packages_projects Projects that have files.\n"
               "# TYPE infrafs_packages_projects gauge\n"
               "infrafs_packages_projects %" PRIu64 "\n"
               "# HELP infrafs_packages_published_total Files published since the start.\n"
               "# TYPE infrafs_packages_published_total counter\n"
               "infrafs_packages_published_total %" PRIu64 "\n"
               "# HELP infrafs_packages_refused_total Uploads refused since the start.\n"
               "# TYPE infrafs_packages_refused_total counter\n"
               "infrafs_packages_refused_total %" PRIu64 "\n"
               "# HELP infrafs_packages_deleted_total Files deleted since the start.\n"
               "# TYPE infrafs_packages_deleted_total counter\n"
               "infrafs_packages_deleted_total %" PRIu64 "\n",
               count_projects(pk), __atomic_load_n(&pk->published, __ATOMIC_RELAXED),
               __atomic_load_n(&pk->refused, __ATOMIC_RELAXED),
               __atomic_load_n(&pk->deleted, __ATOMIC_RELAXED));
    mirror_metrics(pk->mirror, out);
}

static void status(void *self, struct buf *out)
{
    buf_printf(out, "packages: %" PRIu64 " projects\n", count_projects(self));
}

static int tidy(void *self, struct op *op, bool dry_run, struct buf *out)
{
    return mirror_tidy(op, self, dry_run, out);
}

static const char *const roots[] = {"packages", TRASH_ROOT, NULL};

const struct domain packages_domain = {
    .name = "packages",
    .roots = roots,
    .open = open_packages,
    .close = close_packages,
    .tree = &packages_tree,
    .routes = packages_routes,
    .render = packages_render,
    .metrics = metrics,
    .tidy = tidy,
    .status = status,
};
