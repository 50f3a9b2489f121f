/* record.c: a release file's row: tag, length, bytes, again and again; unknown tags are skipped, so
 * that an older program reads what a newer one wrote. */
#include "base/codec.h"
#include "packages/state.h"

#include <errno.h>

/* On disk: never renumber. */
enum tag {
    TAG_VERSION = 1,
    TAG_KIND,
    TAG_SIZE,
    TAG_SHA256,
    TAG_BLAKE2B, /* not written any more, as the next */
    TAG_MD5,
    TAG_UPLOADED,
    TAG_REQUIRES_PYTHON,
    TAG_METADATA,
    TAG_METADATA_BYTES,
    TAG_UPLOADER,
    TAG_YANKED,
    TAG_ID,
    TAG_DISPLAY,
    TAG_SIGNATURE,
    TAG_SIGNATURE_BYTES,
    TAG_PROVENANCE,
    TAG_PROVENANCE_BYTES,
    TAG_URL,
};

static void put(struct buf *out, enum tag tag, struct slice bytes)
{
    varint_put(out, tag);
    varint_put(out, bytes.len);
    buf_add_slice(out, bytes);
}

static void put_number(struct buf *out, enum tag tag, uint64_t v)
{
    autobuf bytes = {0};

    varint_put(&bytes, v);
    put(out, tag, buf_slice(&bytes));
}

static void put_part(struct buf *out, enum tag digest, enum tag bytes,
                     const struct package_part *part)
{
    if (part->size_bytes == 0)
        return;
    put(out, digest, slice_of(part->digest.bytes, 32));
    put_number(out, bytes, part->size_bytes);
}

void record_encode(const struct package_file *f, struct buf *out)
{
    put(out, TAG_VERSION, slice_str(f->version));
    put_number(out, TAG_KIND, f->kind);
    put_number(out, TAG_SIZE, f->size_bytes);
    put(out, TAG_SHA256, slice_of(f->digest.bytes, 32));
    put_number(out, TAG_UPLOADED, (uint64_t)f->uploaded_unix_ns);
    put(out, TAG_REQUIRES_PYTHON, slice_str(f->requires_python));
    put(out, TAG_UPLOADER, slice_str(f->uploader));
    put(out, TAG_ID, slice_str(f->id));
    put(out, TAG_DISPLAY, slice_str(f->display));
    put_part(out, TAG_METADATA, TAG_METADATA_BYTES, &f->metadata);
    put_part(out, TAG_SIGNATURE, TAG_SIGNATURE_BYTES, &f->signature);
    put_part(out, TAG_PROVENANCE, TAG_PROVENANCE_BYTES, &f->provenance);
    if (f->url != NULL)
        put(out, TAG_URL, slice_str(f->url));
    if (f->yanked != NULL)
        put(out, TAG_YANKED, slice_str(f->yanked));
}

static int get_bytes(struct slice in, void *ret, size_t n)
{
    if (in.len != n)
        return -EIO;
    memcpy(ret, in.data, n);
    return 0;
}

static int get_number(struct slice in, uint64_t *ret)
{
    return varint_get(&in, ret) < 0 || in.len > 0 ? -EIO : 0;
}

static int get_digest(struct slice in, struct digest *ret)
{
    *ret = (struct digest){.algorithm = DIGEST_SHA256};
    return get_bytes(in, ret->bytes, 32);
}

static int get_text(struct op *op, struct slice in, const char **ret)
{
    *ret = op_strndup(op, in.data, in.len);
    return 0;
}

static int get_field(struct op *op, uint64_t tag, struct slice in, struct package_file *f)
{
    uint64_t number = 0;
    int r = 0;

    switch (tag) {
    case TAG_VERSION:
        return get_text(op, in, &f->version);
    case TAG_KIND:
        r = get_number(in, &number);
        f->kind = (enum package_kind)number;
        return r;
    case TAG_SIZE:
        return get_number(in, &f->size_bytes);
    case TAG_SHA256:
        return get_digest(in, &f->digest);
    case TAG_UPLOADED:
        r = get_number(in, &number);
        f->uploaded_unix_ns = (int64_t)number;
        return r;
    case TAG_REQUIRES_PYTHON:
        return get_text(op, in, &f->requires_python);
    case TAG_METADATA:
        return get_digest(in, &f->metadata.digest);
    case TAG_METADATA_BYTES:
        return get_number(in, &f->metadata.size_bytes);
    case TAG_SIGNATURE:
        return get_digest(in, &f->signature.digest);
    case TAG_SIGNATURE_BYTES:
        return get_number(in, &f->signature.size_bytes);
    case TAG_PROVENANCE:
        return get_digest(in, &f->provenance.digest);
    case TAG_PROVENANCE_BYTES:
        return get_number(in, &f->provenance.size_bytes);
    case TAG_URL:
        return get_text(op, in, &f->url);
    case TAG_UPLOADER:
        return get_text(op, in, &f->uploader);
    case TAG_YANKED:
        return get_text(op, in, &f->yanked);
    case TAG_ID:
        return get_text(op, in, &f->id);
    case TAG_DISPLAY:
        return get_text(op, in, &f->display);
    default:
        return 0;
    }
}

int record_decode(struct op *op, const char *project, const char *name, struct slice row,
                  struct package_file *ret)
{
    struct package_file f = {
        .project = project,
        .name = name,
        .display = project,
        .requires_python = "",
        .uploader = "",
    };
    uint64_t tag, len;
    int r = 0;

    f.row = row = op_slice(op, row);
    while (row.len > 0 && r == 0) {
        if (varint_get(&row, &tag) < 0 || varint_get(&row, &len) < 0 || len > row.len)
            r = -EIO;
        else
            r = get_field(op, tag, slice_of(row.data, (size_t)len), &f);
        if (r == 0)
            row = slice_skip(row, (size_t)len);
    }
    if (r < 0 || f.version == NULL || f.id == NULL || f.digest.algorithm == 0)
        return op_fail(op, EIO, "the record of '%s' is damaged; run a scrub", name);
    *ret = f;
    return 0;
}
