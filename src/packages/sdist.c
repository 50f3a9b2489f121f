#include "packages/sdist.h"

#include "base/scope.h"
#include "packages/tarball.h"

#include <errno.h>

DEFINE_SCOPE(zip, struct zip, zip_close)

DEFINE_SCOPE(tarball, struct tarball, tarball_free)

/* What has been seen of an sdist so far. */
struct sdist {
    char top[256];    /* the folder at the top; "" before the first entry */
    struct buf *text; /* PKG-INFO is appended here */
    size_t start;
    bool has_metadata;
    struct buf *why;
};

static int refuse(struct sdist *s, const char *what)
{
    buf_printf(s->why, "sdist: %s", what);
    return -EINVAL;
}

/* Takes note of an entry's path: 1 if it is the PKG-INFO at the top, else 0. */
static int note_path(struct sdist *s, struct slice path)
{
    const char *p = path.data;
    const char *slash;
    size_t len;

    while (path.len > 2 && p[0] == '.' && p[1] == '/') {
        path = slice_skip(path, 2);
        p = path.data;
    }
    if (path.len == 0 || p[0] == '/')
        return refuse(s, "an entry has an absolute or empty path");
    for (size_t i = 0; i + 1 < path.len; i++)
        if (p[i] == '.' && p[i + 1] == '.' && (i == 0 || p[i - 1] == '/') &&
            (i + 2 == path.len || p[i + 2] == '/'))
            return refuse(s, "an entry leaves the folder by '..'");
    slash = memchr(p, '/', path.len);
    len = slash != NULL ? (size_t)(slash - p) : path.len;
    if (len >= sizeof s->top)
        return refuse(s, "the folder at the top has too long a name");
    if (s->top[0] == 0) {
        memcpy(s->top, p, len);
        s->top[len] = 0;
    }
    if (!slice_eq(slice_str(s->top), slice_of(p, len)))
        return refuse(s, "there is more than one entry at the top");
    return slash != NULL && slice_eq(slice_skip(path, len + 1), SLICE("PKG-INFO"));
}

static int note_entry(struct sdist *s, struct tarball *t, const struct tarball_entry *e)
{
    int r = note_path(s, slice_str(e->path));

    if (r <= 0)
        return r;
    if (e->kind != TARBALL_FILE)
        return refuse(s, "PKG-INFO is not a regular file");
    if (s->has_metadata)
        return refuse(s, "PKG-INFO is there twice");
    s->has_metadata = true;
    return tarball_read(t, METADATA_BYTES_MAX, s->text, s->why);
}

static int check_tar(struct sdist *s, const struct zip_source *source)
{
    scope_cleanup(scope_tarball) struct tarball *t = tarball_new(source);
    struct tarball_entry e;
    autobuf why = {0};
    int r;

    while ((r = tarball_next(t, &e, &why)) == 1) {
        r = note_entry(s, t, &e);
        if (r < 0)
            return r;
    }
    return r == -EINVAL ? refuse(s, why.data) : r;
}

static int check_zip(struct sdist *s, const struct zip_source *source)
{
    scope_cleanup(scope_zip) struct zip *z = NULL;
    int r = zip_open(source, &z, s->why);

    for (size_t i = 0; r == 0 && i < zip_count(z); i++) {
        r = note_path(s, zip_entry(z, i)->name);
        if (r != 1)
            continue;
        s->has_metadata = true;
        r = zip_read(z, zip_entry(z, i), METADATA_BYTES_MAX, s->text, s->why);
    }
    return r;
}

int sdist_check(const struct zip_source *source, struct package_filename *name, struct buf *text,
                struct metadata *ret, struct buf *why)
{
    struct sdist s = {.text = text, .start = text->len, .why = why};
    int r;

    r = name->kind == PACKAGE_SDIST_ZIP ? check_zip(&s, source) : check_tar(&s, source);
    if (r == 0 && !s.has_metadata)
        r = refuse(&s, "there is no PKG-INFO in the folder at the top");
    if (r == 0)
        r = metadata_parse(slice_skip(buf_slice(text), s.start), ret, why);
    if (r == 0)
        r = metadata_agrees(ret, name, why);
    return r == -EFBIG ? -EINVAL : r;
}
