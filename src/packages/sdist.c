#include "packages/sdist.h"

#include "base/scope.h"
#include "packages/gunzip.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>

DEFINE_SCOPE(zip, struct zip, zip_close)

DEFINE_SCOPE(gunzip, struct gunzip, gunzip_free)

static void archive_close(struct archive *a)
{
    archive_read_free(a);
}
DEFINE_SCOPE(archive, struct archive, archive_close)

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

/* libarchive's source. */
struct feed {
    struct gunzip *gunzip;
    ssize_t err; /* what ended the stream, negative; 0 */
};

static la_ssize_t feed_read(struct archive *a, void *ctx, const void **ret)
{
    struct feed *f = ctx;
    ssize_t n = gunzip_next(f->gunzip, ret);

    if (n >= 0)
        return n;
    f->err = n;
    archive_set_error(a, EIO, "reading failed");
    return ARCHIVE_FATAL;
}

static int read_metadata(struct sdist *s, struct archive *a)
{
    const void *bytes;
    size_t n;
    la_int64_t offset;
    int r;

    if (s->has_metadata)
        return refuse(s, "PKG-INFO is there twice");
    s->has_metadata = true;
    while ((r = archive_read_data_block(a, &bytes, &n, &offset)) == ARCHIVE_OK) {
        /* A sparse file's holes would be skipped: its blocks must follow each other. */
        if ((uint64_t)offset != s->text->len - s->start || n > METADATA_BYTES_MAX - s->text->len)
            return refuse(s, "PKG-INFO is too large or sparse");
        buf_add(s->text, bytes, n);
    }
    return r == ARCHIVE_EOF ? 0 : refuse(s, "the archive is damaged inside PKG-INFO");
}

static int note_entry(struct sdist *s, struct archive *a, struct archive_entry *e)
{
    const char *path = archive_entry_pathname(e);
    int r;

    if (path == NULL)
        return refuse(s, "an entry has no path");
    r = note_path(s, slice_str(path));
    if (r <= 0)
        return r;
    if (archive_entry_filetype(e) != AE_IFREG || archive_entry_hardlink(e) != NULL)
        return refuse(s, "PKG-INFO is not a regular file");
    return read_metadata(s, a);
}

static int read_entries(struct sdist *s, struct archive *a)
{
    struct archive_entry *e;
    unsigned n = 0;
    int r;

    while ((r = archive_read_next_header(a, &e)) == ARCHIVE_OK || r == ARCHIVE_WARN) {
        if (++n > SDIST_ENTRIES_MAX)
            return refuse(s, "too many entries");
        r = note_entry(s, a, e);
        if (r < 0)
            return r;
    }
    return r == ARCHIVE_EOF ? 0 : refuse(s, "not a whole tar archive");
}

/* What follows the archive in the stream is padding; reading it checks the sum at the end. */
static ssize_t drain(struct feed *f)
{
    const void *bytes;
    ssize_t n;

    while ((n = gunzip_next(f->gunzip, &bytes)) > 0)
        ;
    return n;
}

static int check_tar(struct sdist *s, const struct zip_source *source)
{
    scope_cleanup(scope_archive) struct archive *a = archive_read_new();
    scope_cleanup(scope_gunzip) struct gunzip *g = gunzip_new(source);
    struct feed f = {.gunzip = g};
    int r = -EINVAL;

    if (a == NULL)
        return -ENOMEM;
    archive_read_support_format_tar(a);
    if (archive_read_open(a, &f, NULL, feed_read, NULL) == ARCHIVE_OK)
        r = read_entries(s, a);
    if (r == 0)
        f.err = drain(&f);
    if (f.err == 0)
        return r < 0 && s->why->len == 0 ? refuse(s, "not a tar archive") : r;
    if (gunzip_why(g) == NULL)
        return (int)f.err;
    buf_clear(s->why); /* what libarchive made of the cut stream matters less */
    return refuse(s, gunzip_why(g));
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
