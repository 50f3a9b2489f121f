/* index.c: the list of projects, one row each, derived from the files there are.
 *
 * The row of a project is written after the row of its file and without a sync of its own: a crash
 * between the two is mended when the store is opened again (index_mend). */
#include "base/alloc.h"
#include "base/scope.h"
#include "identity/identity.h"
#include "packages/state.h"

#include <errno.h>

/* First byte of a row; the display name follows. On disk: never change. */
#define ROW_FILES  'f'
#define ROW_FOLDER 'd'

/* 1, 0 or an errno; the display name that the first file has, in the op. */
static int has_files(struct op *op, struct packages *pk, const char *project,
                     const char **ret_display)
{
    char text[PARTITION_MAX];
    struct package_file f;
    struct store_scan *scan;
    struct slice key, value;
    int r = store_scan(pk->store, project_partition(project, text), SLICE(FIRST_FILE), SLICE(""), 0,
                       &scan);

    if (r < 0)
        return r;
    r = store_scan_next(scan, &key, &value);
    if (r == 1 && record_decode(op, project, "", value, &f) == 0)
        *ret_display = f.display;
    store_scan_free(scan);
    return r;
}

static int write_row(struct packages *pk, const char *project, char kind, const char *display,
                     unsigned flags)
{
    struct store_batch *batch = store_batch_new(pk->store, SLICE(INDEX_PARTITION));
    autobuf row = {0};

    if (kind != 0) {
        buf_add_char(&row, kind);
        buf_add_str(&row, display);
        store_batch_put(batch, slice_str(project), buf_slice(&row));
    } else {
        store_batch_delete(batch, slice_str(project));
    }
    return store_commit(batch, flags);
}

/* The row's kind, 0 if there is none, or an errno; the display name in the op. */
static int read_row(struct op *op, struct packages *pk, const char *project,
                    const char **ret_display)
{
    struct store_value value = {0};
    int r = store_get(pk->store, SLICE(INDEX_PARTITION), slice_str(project), &value);

    if (r < 0)
        return r == -ENOENT ? 0 : r;
    r = value.data.len > 0 ? *(const char *)value.data.data : -EIO;
    if (r > 0)
        *ret_display = op_strndup(op, (const char *)value.data.data + 1, value.data.len - 1);
    store_value_release(&value);
    return r;
}

static void changed_project(struct op *op, const char *project)
{
    op_changed(op, CHANGE_ENTRY | CHANGE_CONTENT, "/packages/%s", project);
    op_changed(op, CHANGE_CONTENT, "/packages");
}

int index_derive(struct op *op, struct packages *pk, const char *project, bool keep)
{
    /* Between the look at the files and the write of the row another thread may publish or delete;
     * who writes the row last looks again, so that the last look is never older than the files. */
    for (;;) {
        const char *old = NULL, *display = project;
        int files = has_files(op, pk, project, &display);
        int kind = read_row(op, pk, project, &old);
        int want, r;

        if (files < 0 || kind < 0)
            return files < 0 ? files : kind;
        want = files ? ROW_FILES : keep || kind == ROW_FOLDER ? ROW_FOLDER : 0;
        if (want == kind)
            return 0;
        if (old == NULL)
            old = project;
        r = write_row(pk, project, (char)want, files ? display : old, 0);
        if (r < 0)
            return r;
        changed_project(op, project);
    }
}

void index_follow(struct op *op, struct packages *pk, const char *project, bool keep)
{
    if (index_derive(op, pk, project, keep) == 0)
        return;
    log_event(LOG_WARN, op, "packages.index", "project=%s error=not written", project);
    op_forgive(op);
    __atomic_store_n(&pk->index_behind, true, __ATOMIC_RELEASE);
}

int project_get(struct op *op, struct packages *pk, const char *project, const char **ret_display,
                bool *ret_has_files)
{
    const char *display = NULL;
    int kind = read_row(op, pk, project, &display);

    if (kind < 0)
        return kind;
    if (kind == 0)
        return op_fail(op, ENOENT, "there is no project '%s'", project);
    if (ret_display != NULL)
        *ret_display = display;
    *ret_has_files = kind == ROW_FILES;
    return 0;
}

int project_each(struct op *op, struct packages *pk,
                 int (*f)(void *ctx, const char *project, const char *display, bool has_files),
                 void *ctx)
{
    struct store_scan *scan;
    struct slice key, value;
    autobuf name = {0}, display = {0};
    int r = store_scan(pk->store, SLICE(INDEX_PARTITION), SLICE(""), SLICE(""), 0, &scan);

    if (r < 0)
        return op_fail(op, -r, "reading the index failed");
    while ((r = store_scan_next(scan, &key, &value)) == 1) {
        if (value.len == 0)
            continue;
        buf_clear(&name);
        buf_clear(&display);
        buf_add_slice(&name, key);
        buf_add_slice(&display, slice_skip(value, 1));
        r = f(ctx, name.data, display.data != NULL ? display.data : "",
              *(const char *)value.data == ROW_FILES);
        if (r != 0)
            break;
    }
    store_scan_free(scan);
    return r;
}

int project_make(struct op *op, struct packages *pk, const char *project)
{
    struct store_batch *batch = store_batch_new(pk->store, SLICE(INDEX_PARTITION));
    autobuf row = {0};
    int r;

    buf_add_char(&row, ROW_FOLDER);
    buf_add_str(&row, project);
    store_batch_expect_absent(batch, slice_str(project));
    store_batch_put(batch, slice_str(project), buf_slice(&row));
    r = store_commit(batch, STORE_DURABLE);
    if (r == -EAGAIN)
        return op_fail(op, EEXIST, "project '%s' exists", project);
    if (r == 0)
        changed_project(op, project);
    return r;
}

int project_remove(struct op *op, struct packages *pk, const char *project)
{
    bool files;
    int r = project_get(op, pk, project, NULL, &files);

    if (r < 0)
        return r;
    if (files)
        return op_fail(op, ENOTEMPTY, "project '%s' has files", project);
    r = write_row(pk, project, 0, NULL, STORE_DURABLE);
    if (r < 0)
        return r;
    changed_project(op, project);
    return index_derive(op, pk, project, false); /* one may have been published meanwhile */
}

struct names {
    char **name;
    size_t n, cap;
};

static void names_add(struct names *names, const char *name, size_t len)
{
    if (names->n == names->cap) {
        names->cap = names->cap > 0 ? 2 * names->cap : 64;
        names->name = xrealloc(names->name, names->cap * sizeof *names->name);
    }
    names->name[names->n++] = xstrndup(name, len);
}

static int collect_partition(void *ctx, struct slice part)
{
    struct slice project = slice_skip(part, strlen("packages/"));

    if (project.len > 0 && *(const char *)project.data != '.')
        names_add(ctx, project.data, project.len);
    return 0;
}

static int collect_row(void *ctx, const char *project, const char *display, bool files)
{
    (void)display;
    if (files)
        names_add(ctx, project, strlen(project));
    return 0;
}

int index_mend(struct packages *pk)
{
    struct names names = {0};
    struct op op;
    int r;

    op_init(&op, DOOR_INTERNAL, identity_internal(pk->env.identities));
    r = store_partitions(pk->store, SLICE("packages/"), collect_partition, &names);
    if (r == 0)
        r = project_each(&op, pk, collect_row, &names);
    for (size_t i = 0; i < names.n; i++) {
        if (r == 0)
            r = index_derive(&op, pk, names.name[i], false);
        if (r == 0)
            r = status_look(pk, names.name[i]);
        free(names.name[i]);
    }
    free(names.name);
    op_done(&op);
    return r;
}
