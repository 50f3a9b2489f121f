#include "packages/tarball.h"

#include "base/alloc.h"
#include "packages/gunzip.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>

struct tarball {
    struct gunzip *gunzip;
    struct archive *archive;
    ssize_t err; /* what ended the stream, negative; 0 */
    unsigned entries;
    bool opened;
};

static la_ssize_t feed(struct archive *a, void *ctx, const void **ret)
{
    struct tarball *t = ctx;
    ssize_t n = gunzip_next(t->gunzip, ret);

    if (n >= 0)
        return n;
    t->err = n;
    archive_set_error(a, EIO, "reading failed");
    return ARCHIVE_FATAL;
}

struct tarball *tarball_new(const struct zip_source *source)
{
    struct tarball *t = xcalloc(1, sizeof *t);

    t->gunzip = gunzip_new(source);
    t->archive = archive_read_new();
    if (t->archive == NULL)
        abort();
    archive_read_support_format_tar(t->archive);
    return t;
}

void tarball_free(struct tarball *t)
{
    if (t == NULL)
        return;
    archive_read_free(t->archive);
    gunzip_free(t->gunzip);
    free(t);
}

/* Why libarchive stopped: the stream's own fault comes first. */
static int refuse(const struct tarball *t, struct buf *why, const char *what)
{
    if (t->err < 0 && gunzip_why(t->gunzip) == NULL)
        return (int)t->err;
    buf_add_str(why, t->err < 0 ? gunzip_why(t->gunzip) : what);
    return -EINVAL;
}

/* What follows the archive in the stream is padding; reading it checks the sum at the end. */
static int drain(struct tarball *t, struct buf *why)
{
    const void *bytes;
    ssize_t n;

    while ((n = gunzip_next(t->gunzip, &bytes)) > 0)
        ;
    t->err = n;
    return n < 0 ? refuse(t, why, "") : 0;
}

static enum tarball_kind kind_of(struct archive_entry *e)
{
    if (archive_entry_hardlink(e) != NULL)
        return TARBALL_OTHER;
    if (archive_entry_filetype(e) == AE_IFREG)
        return TARBALL_FILE;
    return archive_entry_filetype(e) == AE_IFDIR ? TARBALL_FOLDER : TARBALL_OTHER;
}

int tarball_next(struct tarball *t, struct tarball_entry *ret, struct buf *why)
{
    struct archive_entry *e;
    int r;

    if (!t->opened && archive_read_open(t->archive, t, NULL, feed, NULL) != ARCHIVE_OK)
        return refuse(t, why, "not a gzipped tar archive");
    t->opened = true;
    r = archive_read_next_header(t->archive, &e);
    if (r == ARCHIVE_EOF && t->err == 0)
        return drain(t, why);
    if (r != ARCHIVE_OK && r != ARCHIVE_WARN)
        return refuse(t, why, "not a whole tar archive");
    if (++t->entries > TARBALL_ENTRIES_MAX)
        return refuse(t, why, "too many entries");
    if (archive_entry_pathname(e) == NULL)
        return refuse(t, why, "an entry has no path");
    *ret = (struct tarball_entry){
        .path = archive_entry_pathname(e),
        .size_bytes = archive_entry_size(e) > 0 ? (uint64_t)archive_entry_size(e) : 0,
        .kind = kind_of(e),
    };
    return 1;
}

int tarball_read(struct tarball *t, size_t limit_bytes, struct buf *out, struct buf *why)
{
    size_t start = out->len;
    const void *bytes;
    la_int64_t offset;
    size_t n;
    int r;

    while ((r = archive_read_data_block(t->archive, &bytes, &n, &offset)) == ARCHIVE_OK) {
        /* A sparse file's holes would be skipped: its blocks must follow each other. */
        if ((uint64_t)offset != out->len - start)
            return refuse(t, why, "an entry is sparse");
        if (n > limit_bytes - (out->len - start)) {
            buf_add_str(why, "an entry is too large");
            return -EFBIG;
        }
        buf_add(out, bytes, n);
    }
    return r == ARCHIVE_EOF ? 0 : refuse(t, why, "the archive is damaged");
}
