#include "packages/inside.h"

#include "base/alloc.h"
#include "base/scope.h"
#include "base/utf8.h"
#include "packages/tarball.h"

#include <errno.h>

DEFINE_SCOPE(tarball, struct tarball, tarball_free)
DEFINE_SCOPE(inside, struct inside, inside_close)

struct inside {
    struct zip_source source;
    struct zip *zip; /* NULL: a tarball */
    struct inside_entry *entries;
    size_t n, cap;
    size_t path_bytes;
};

/* As strcmp, but a slash comes before everything: a folder's own follow it directly. */
static int path_cmp(const char *a, const char *b)
{
    while (*a != 0 && *a == *b) {
        a++;
        b++;
    }
    if (*a == *b)
        return 0;
    if (*a == '/' || *b == '/')
        return *a == 0 ? -1 : *b == 0 ? 1 : *a == '/' ? -1 : 1;
    return (unsigned char)*a < (unsigned char)*b ? -1 : 1;
}

/* Of one path a folder comes first, then the last that the archive has: the one that counts. */
static int entry_cmp(const void *x, const void *y)
{
    const struct inside_entry *a = x, *b = y;
    int r = path_cmp(a->path, b->path);

    if (r != 0)
        return r;
    if (a->is_folder != b->is_folder)
        return a->is_folder ? -1 : 1;
    return a->number > b->number ? -1 : a->number < b->number;
}

/* Each component a name that a folder can show. */
static bool path_is_plain(struct slice path)
{
    const char *s = path.data;
    size_t start = 0;

    if (path.len == 0 || path.len > 4000 || !utf8_valid(path) || memchr(s, 0, path.len) != NULL)
        return false;
    for (size_t i = 0; i <= path.len; i++) {
        size_t len = i - start;

        if (i < path.len && s[i] != '/')
            continue;
        if (len == 0 || len > 255 || (len == 1 && s[start] == '.') ||
            (len == 2 && s[start] == '.' && s[start + 1] == '.'))
            return false;
        start = i + 1;
    }
    return true;
}

static int add(struct inside *in, struct slice path, uint64_t size, size_t number, bool folder)
{
    if (in->n == INSIDE_ENTRIES_MAX || path.len > INSIDE_PATHS_MAX - in->path_bytes)
        return -EFBIG;
    if (in->n == in->cap) {
        in->cap = in->cap > 0 ? 2 * in->cap : 64;
        in->entries = xrealloc(in->entries, in->cap * sizeof *in->entries);
    }
    in->entries[in->n++] = (struct inside_entry){
        .path = xstrndup(path.data, path.len),
        .size_bytes = size,
        .number = number,
        .is_folder = folder,
    };
    in->path_bytes += path.len;
    return 0;
}

/* The entry, and the folders it lies in: an archive need not name those. The folders of the entry
 * before it are there already. */
static int add_path(struct inside *in, struct slice path, uint64_t size, size_t number, bool folder,
                    struct buf *last)
{
    const char *s = path.data;
    int r = 0;

    while (path.len > 2 && s[0] == '.' && s[1] == '/') {
        path = slice_skip(path, 2);
        s = path.data;
    }
    while (path.len > 0 && s[path.len - 1] == '/')
        path.len--;
    if (!path_is_plain(path))
        return 0;
    for (size_t i = 0; r == 0 && i < path.len; i++)
        if (s[i] == '/' &&
            !(last->len > i && last->data[i] == '/' && memcmp(last->data, s, i) == 0))
            r = add(in, slice_of(s, i), 0, number, true);
    buf_clear(last);
    buf_add_slice(last, path);
    return r == 0 ? add(in, path, size, number, folder) : r;
}

static int read_zip(struct inside *in, struct buf *why)
{
    autobuf last = {0};
    int r = zip_open(&in->source, &in->zip, why);

    for (size_t i = 0; r == 0 && i < zip_count(in->zip); i++) {
        const struct zip_entry *e = zip_entry(in->zip, i);

        r = add_path(in, e->name, e->size_bytes, i, e->is_folder, &last);
    }
    return r;
}

static int read_tar(struct inside *in, struct buf *why)
{
    scope_cleanup(scope_tarball) struct tarball *t = tarball_new(&in->source);
    struct tarball_entry e;
    autobuf last = {0};
    int r;

    for (size_t i = 0; (r = tarball_next(t, &e, why)) == 1; i++) {
        if (e.kind == TARBALL_OTHER)
            continue;
        r = add_path(in, slice_str(e.path), e.kind == TARBALL_FILE ? e.size_bytes : 0, i,
                     e.kind == TARBALL_FOLDER, &last);
        if (r < 0)
            break;
    }
    return r;
}

/* Sorts; of entries with one path the first stays. */
static void settle(struct inside *in)
{
    size_t n = 0;

    if (in->n == 0)
        return;
    qsort(in->entries, in->n, sizeof *in->entries, entry_cmp);
    for (size_t i = 1; i < in->n; i++) {
        if (strcmp(in->entries[n].path, in->entries[i].path) != 0)
            in->entries[++n] = in->entries[i];
        else
            free((char *)(uintptr_t)in->entries[i].path);
    }
    in->n = n + 1;
}

int inside_open(const struct zip_source *source, enum package_kind kind, struct inside **ret,
                struct buf *why)
{
    scope_cleanup(scope_inside) struct inside *in = xcalloc(1, sizeof *in);
    int r;

    in->source = *source;
    r = kind == PACKAGE_SDIST_TAR ? read_tar(in, why) : read_zip(in, why);
    if (r == -EFBIG)
        buf_add_str(why, "there is too much in the archive to be shown");
    if (r < 0)
        return r;
    settle(in);
    *ret = take(in);
    return 0;
}

void inside_close(struct inside *in)
{
    if (in == NULL)
        return;
    for (size_t i = 0; i < in->n; i++)
        free((char *)(uintptr_t)in->entries[i].path);
    free(in->entries);
    zip_close(in->zip);
    free(in);
}

/* The first entry that does not come before path. */
static size_t lower_bound(const struct inside *in, const char *path)
{
    size_t from = 0, to = in->n;

    while (from < to) {
        size_t middle = from + (to - from) / 2;

        if (path_cmp(in->entries[middle].path, path) < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

const struct inside_entry *inside_find(const struct inside *in, const char *path)
{
    size_t i = lower_bound(in, path);

    return i < in->n && strcmp(in->entries[i].path, path) == 0 ? &in->entries[i] : NULL;
}

int inside_list(const struct inside *in, const char *folder,
                int (*f)(void *ctx, const char *name, const struct inside_entry *e), void *ctx)
{
    size_t len = strlen(folder);
    size_t skip = len > 0 ? len + 1 : 0;
    int r = 0;

    for (size_t i = len > 0 ? lower_bound(in, folder) + 1 : 0; r == 0 && i < in->n; i++) {
        const char *path = in->entries[i].path;

        if (len > 0 && (strncmp(path, folder, len) != 0 || path[len] != '/'))
            break;
        if (strchr(path + skip, '/') == NULL)
            r = f(ctx, path + skip, &in->entries[i]);
    }
    return r;
}

static int read_from_tar(const struct inside *in, size_t number, struct buf *out, struct buf *why)
{
    scope_cleanup(scope_tarball) struct tarball *t = tarball_new(&in->source);
    struct tarball_entry e;
    int r = 1;

    for (size_t i = 0; r == 1 && i <= number; i++)
        r = tarball_next(t, &e, why);
    if (r == 0)
        return -EIO;
    return r < 0 ? r : tarball_read(t, INSIDE_FILE_MAX, out, why);
}

int inside_read(const struct inside *in, const struct inside_entry *e, struct buf *out,
                struct buf *why)
{
    if (e->size_bytes > INSIDE_FILE_MAX) {
        buf_add_str(why, "the file is too large to be shown; unpack the archive");
        return -EFBIG;
    }
    if (in->zip != NULL)
        return zip_read(in->zip, zip_entry(in->zip, e->number), INSIDE_FILE_MAX, out, why);
    return read_from_tar(in, e->number, out, why);
}
