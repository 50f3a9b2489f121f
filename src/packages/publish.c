/* publish.c: from the bytes of a file to a release that everyone sees. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "base/scope.h"
#include "config.h"
#include "identity/identity.h"
#include "packages/sdist.h"
#include "packages/sidecar.h"
#include "packages/state.h"
#include "packages/wheel.h"

#include <errno.h>
#include <stdio.h>
#include <strings.h>
#include <sys/random.h>

#define RACES_MAX 16 /* a name that comes and goes this often while we look is somebody's loop */

struct package_draft {
    struct packages *pk;
    char name[PACKAGE_FILENAME_MAX + 1];
    struct package_filename parsed; /* slices into name */
    struct blob_stage *stage;       /* SHA-256 is computed there */
    struct hash *blake2b, *md5;     /* NULL: not computed on the way */
    uint64_t size_bytes;
};

/* How a file of each kind begins. */
static struct slice magic_of(enum package_kind kind)
{
    return kind == PACKAGE_SDIST_TAR ? SLICE("\x1f\x8b\x08") : SLICE("PK\x03\x04");
}

int package_draft_new(struct op *op, struct packages *pk, const char *file, unsigned hashes,
                      struct package_draft **ret)
{
    struct package_filename parsed;
    struct package_draft *d;
    autobuf why = {0};
    int r;

    r = package_filename_parse(slice_str(file), &parsed, &why);
    if (r < 0)
        return op_fail(op, -r, "%s", why.data);
    r = identity_check(op, POLICY_CREATE, "packages/%s", parsed.normal);
    if (r == 0)
        r = project_takes_files(op, pk, parsed.normal);
    if (r < 0)
        return r;
    d = xcalloc(1, sizeof *d);
    d->pk = pk;
    memcpy(d->name, file, parsed.text.len + 1);
    r = package_filename_parse(slice_str(d->name), &d->parsed, NULL);
    if (r == 0)
        r = blob_stage_begin(pk->store, DIGEST_SHA256, 0, &d->stage);
    if (r < 0) {
        free(d);
        return op_fail(op, -r, "'%s' cannot be received now", file);
    }
    d->blake2b = hashes & PACKAGE_BLAKE2B ? hash_new(HASH_BLAKE2B_256) : NULL;
    d->md5 = hashes & PACKAGE_MD5 ? hash_new(HASH_MD5) : NULL;
    *ret = d;
    return 0;
}

void package_draft_free(struct package_draft *d)
{
    if (d == NULL)
        return;
    blob_stage_drop(d->stage);
    if (d->blake2b != NULL)
        hash_free(d->blake2b);
    if (d->md5 != NULL)
        hash_free(d->md5);
    free(d);
}

uint64_t package_draft_size(const struct package_draft *d)
{
    return d->size_bytes;
}

static int check_magic(struct op *op, const struct package_draft *d, const char *bytes, size_t n)
{
    struct slice magic = magic_of(d->parsed.kind);

    for (size_t i = 0; i < n && d->size_bytes + i < magic.len; i++)
        if (bytes[i] != ((const char *)magic.data)[d->size_bytes + i])
            return op_fail(op, EINVAL, "'%s' does not begin as a %s does", d->name,
                           d->parsed.kind == PACKAGE_SDIST_TAR ? "gzip file" : "zip archive");
    return 0;
}

int package_draft_write(struct op *op, struct package_draft *d, const void *bytes, size_t n)
{
    uint64_t limit = d->pk->env.config->limits.package_bytes;
    int r;

    if (n > limit || d->size_bytes > limit - n)
        return op_fail(op, EFBIG, "'%s' is larger than limits.package_bytes allows, %" PRIu64,
                       d->name, limit);
    r = check_magic(op, d, bytes, n);
    if (r < 0)
        return r;
    r = blob_stage_write(d->stage, bytes, n);
    if (r < 0)
        return op_fail(op, -r, "writing '%s' failed: %s", d->name, strerror(-r));
    if (d->blake2b != NULL)
        hash_update(d->blake2b, bytes, n);
    if (d->md5 != NULL)
        hash_update(d->md5, bytes, n);
    d->size_bytes += n;
    return 0;
}

ssize_t package_draft_read(struct package_draft *d, uint64_t offset, void *buf, size_t n)
{
    return d->stage != NULL ? blob_stage_read(d->stage, offset, buf, n) : -EBADF;
}

static ssize_t read_stage(void *ctx, uint64_t offset, void *buf, size_t n)
{
    return blob_stage_read(ctx, offset, buf, n);
}

/* Checks the archive; the text of its metadata comes in `text`. */
static int check_content(struct op *op, struct package_draft *d, struct buf *text,
                         struct metadata *ret)
{
    struct zip_source source = {read_stage, d->stage, d->size_bytes};
    autobuf why = {0};
    int r;

    if (d->size_bytes == 0)
        return op_fail(op, EINVAL, "'%s' is empty", d->name);
    if (d->parsed.kind == PACKAGE_WHEEL)
        r = wheel_check(&source, &d->parsed, text, ret, &why);
    else
        r = sdist_check(&source, &d->parsed, text, ret, &why);
    if (r < 0)
        return op_fail(op, -r, "'%s' is refused: %s", d->name,
                       why.len > 0 ? why.data : strerror(-r));
    /* An sdist's name may have been read another way since the draft was begun. */
    r = identity_check(op, POLICY_CREATE, "packages/%s", d->parsed.normal);
    return r < 0 ? r : project_takes_files(op, d->pk, d->parsed.normal);
}

/* The hash of what was staged; `*at` is it if it was computed on the way. */
static int finish_hash(struct op *op, const struct package_draft *d, struct hash **at,
                       enum hash_kind kind, uint8_t ret[64])
{
    enum { PIECE = 256 << 10 };
    autofree char *piece = NULL;

    if (*at == NULL) {
        *at = hash_new(kind);
        piece = xmalloc(PIECE);
        for (uint64_t done = 0; done < d->size_bytes;) {
            ssize_t n = blob_stage_read(d->stage, done, piece, PIECE);

            if (n <= 0)
                return op_fail(op, EIO, "reading '%s' again failed", d->name);
            hash_update(*at, piece, (size_t)n);
            done += (uint64_t)n;
        }
    }
    hash_final(*at, ret);
    return 0;
}

static int check_hash(struct op *op, const char *field, const char *claimed,
                      const struct package_draft *d, struct hash **at, enum hash_kind kind)
{
    char hex[2 * 64 + 1];
    uint8_t bytes[64];
    int r;

    if (claimed == NULL)
        return 0;
    r = finish_hash(op, d, at, kind, bytes);
    if (r < 0)
        return r;
    hex_encode(slice_of(bytes, kind == HASH_MD5 ? 16 : 32), hex);
    if (strcasecmp(claimed, hex) != 0)
        return op_fail(op, EINVAL, "%s does not match the content, which has %s", field, hex);
    return 0;
}

static int check_claims(struct op *op, struct package_draft *d, const struct package_claims *claims,
                        const struct package_file *f)
{
    bool wheel = d->parsed.kind == PACKAGE_WHEEL;
    int r;

    if (claims->filetype != NULL && strcmp(claims->filetype, wheel ? "bdist_wheel" : "sdist") != 0)
        return op_fail(op, EINVAL, "filetype '%s' is not that of the file '%s'", claims->filetype,
                       d->name);
    if (claims->name != NULL && !project_name_same(slice_str(claims->name), slice_str(f->project)))
        return op_fail(op, EINVAL, "name '%s' is not that of the file '%s'", claims->name, d->name);
    if (claims->version != NULL && !version_same(slice_str(claims->version), slice_str(f->version)))
        return op_fail(op, EINVAL, "version '%s' is not that of the file '%s'", claims->version,
                       d->name);
    if (claims->pyversion != NULL && wheel &&
        !slice_eq(slice_str(claims->pyversion), d->parsed.python))
        return op_fail(op, EINVAL, "pyversion '%s' is not the python tag of the file '%s'",
                       claims->pyversion, d->name);
    r = check_hash(op, "blake2_256_digest", claims->blake2b, d, &d->blake2b, HASH_BLAKE2B_256);
    return r < 0 ? r : check_hash(op, "md5_digest", claims->md5, d, &d->md5, HASH_MD5);
}

static int seal(struct op *op, struct package_draft *d, const char *sha256, struct digest *ret)
{
    struct digest want = {.algorithm = DIGEST_SHA256};
    int r;

    if (sha256 != NULL && hex_decode(slice_str(sha256), want.bytes, 32) != 32)
        return op_fail(op, EINVAL, "sha256_digest is not 64 hexadecimal digits");
    r = blob_seal_early(d->stage, sha256 != NULL ? &want : NULL, ret); /* put_row syncs */
    if (r == -EBADMSG)
        return op_fail(op, EINVAL, "sha256_digest does not match the content");
    d->stage = NULL;
    if (r < 0)
        return op_fail(op, -r, "storing '%s' failed: %s", d->name, strerror(-r));
    return 0;
}

static int put_text(struct store *s, struct slice text, struct digest *ret)
{
    struct blob_stage *stage;
    int r = blob_stage_begin(s, DIGEST_SHA256, text.len, &stage);

    if (r < 0)
        return r;
    r = blob_stage_write(stage, text.data, text.len);
    if (r < 0) {
        blob_stage_drop(stage);
        return r;
    }
    return blob_seal_early(stage, NULL, ret);
}

/* Core metadata is served for wheels; that of an sdist may change when it is built (PEP 643). */
static int put_metadata(struct op *op, struct package_draft *d, struct slice text,
                        struct package_file *f)
{
    int r;

    if (d->parsed.kind != PACKAGE_WHEEL)
        return 0;
    r = put_text(d->pk->store, text, &f->metadata.digest);
    if (r < 0)
        return op_fail(op, -r, "storing the metadata of '%s' failed: %s", d->name, strerror(-r));
    f->metadata.size_bytes = text.len;
    return 0;
}

static int check_sidecars(struct op *op, const struct package_claims *claims,
                          const struct package_file *f, struct buf *provenance)
{
    struct attested of = {f->name, &f->digest, f->uploader};
    autobuf why = {0};
    int r = 0;

    if (claims->signature.len > 0)
        r = signature_check(claims->signature, &why);
    if (r == 0 && claims->attestations.len > 0)
        r = provenance_make(claims->attestations, &of, provenance, &why);
    return r < 0 ? op_fail(op, -r, "'%s' is refused: %s", f->name,
                           why.len > 0 ? why.data : strerror(-r))
                 : 0;
}

static int put_sidecars(struct op *op, struct package_draft *d, const struct package_claims *claims,
                        struct slice provenance, struct package_file *f)
{
    int r = 0;

    if (claims->signature.len > 0)
        r = put_text(d->pk->store, claims->signature, &f->signature.digest);
    f->signature.size_bytes = claims->signature.len;
    if (r == 0 && provenance.len > 0)
        r = put_text(d->pk->store, provenance, &f->provenance.digest);
    f->provenance.size_bytes = provenance.len;
    return r < 0 ? op_fail(op, -r, "storing what came with '%s' failed: %s", d->name, strerror(-r))
                 : 0;
}

static const char *new_id(struct op *op)
{
    uint8_t bytes[8];
    char hex[17];

    while (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
        ;
    hex_encode(slice_of(bytes, sizeof bytes), hex);
    return op_strdup(op, hex);
}

static void fill(struct op *op, struct package_draft *d, const struct metadata *m,
                 struct package_file *f)
{
    struct version version;
    autobuf text = {0};

    version_parse(m->version, &version);
    version_print(&version, &text);
    *f = (struct package_file){
        .project = op_strdup(op, d->parsed.normal),
        .name = op_strdup(op, d->name),
        .display = op_strndup(op, m->name.data, m->name.len),
        .version = op_strdup(op, text.data),
        .requires_python = op_strndup(op, m->requires_python.data, m->requires_python.len),
        .uploader = op->who->name,
        .id = new_id(op),
        .kind = d->parsed.kind,
        .size_bytes = d->size_bytes,
        .uploaded_unix_ns = clock_unix_ns(),
    };
}

/* 1: the same file is there already; -EEXIST: another one; 0: the name is free. */
static int look(struct op *op, struct packages *pk, const struct package_file *f)
{
    struct package_file there;
    int r = package_get(op, pk, f->project, f->name, &there);

    if (r == -ENOENT) {
        op_forgive(op);
        return spelling_check(op, pk, f);
    }
    if (r < 0)
        return r;
    if (digest_eq(&there.digest, &f->digest))
        return 1;
    return op_fail(op, EEXIST,
                   "File already exists ('%s'): its content differs, and a release cannot be "
                   "replaced; publish a new version",
                   f->name);
}

static int put_row(struct packages *pk, const struct package_file *f)
{
    char text[PARTITION_MAX];
    struct store_batch *batch = store_batch_new(pk->store, project_partition(f->project, text));
    autobuf row = {0};

    record_encode(f, &row);
    store_batch_expect_absent(batch, slice_str(f->name));
    store_batch_put(batch, slice_str(f->name), buf_slice(&row));
    spelling_take(batch, f);
    return store_commit(batch, STORE_DURABLE);
}

/* Content first, then the row that makes it visible: of all who want the name one gets it. */
static int claim(struct op *op, struct packages *pk, const struct package_file *f)
{
    int64_t deadline = clock_unix_ms() + pk->env.config->gc_grace_ms + 3600 * 1000;
    int r;

    r = reclaim_note(pk, RECLAIM_PUBLISHING, f, deadline);
    if (r == 0)
        r = reclaim_hold(pk, f);
    if (r == 0)
        r = put_row(pk, f);
    if (r == -EAGAIN)
        reclaim_release(pk, f);
    if (r < 0 && r != -EAGAIN) /* the journal's row settles what was held */
        return op_fail(op, -r, "publishing '%s' failed: %s", f->name, strerror(-r));
    reclaim_forget(pk, f, deadline);
    return r;
}

static int publish(struct op *op, struct packages *pk, const struct package_file *f)
{
    int r = -EAGAIN;

    for (int i = 0; r == -EAGAIN && i < RACES_MAX; i++) {
        r = look(op, pk, f);
        if (r == 0)
            r = claim(op, pk, f);
    }
    if (r == -EAGAIN)
        return op_fail(op, EBUSY, "'%s' is being published and deleted elsewhere; try again",
                       f->name);
    if (r < 0)
        return r;
    changed_file(op, f->project, f->name);
    index_follow(op, pk, f->project, false);
    return 0;
}

int package_draft_publish(struct op *op, struct package_draft *d,
                          const struct package_claims *claims)
{
    static const struct package_claims none;
    struct packages *pk = d->pk;
    struct metadata m;
    struct package_file f;
    autobuf text = {0}, provenance = {0};
    int r;

    if (claims == NULL)
        claims = &none;
    r = check_content(op, d, &text, &m);
    if (r == 0) {
        fill(op, d, &m, &f);
        r = check_claims(op, d, claims, &f);
    }
    if (r == 0)
        r = seal(op, d, claims->sha256, &f.digest);
    if (r == 0)
        r = check_sidecars(op, claims, &f, &provenance);
    if (r == 0)
        r = put_metadata(op, d, buf_slice(&text), &f);
    if (r == 0)
        r = put_sidecars(op, d, claims, buf_slice(&provenance), &f);
    if (r == 0)
        r = publish(op, pk, &f);
    blob_stage_drop(take(d->stage));
    __atomic_fetch_add(r == 0 ? &pk->published : &pk->refused, 1, __ATOMIC_RELAXED);
    return r;
}
