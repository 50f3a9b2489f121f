/* Manifests coming. One batch in the repository's partition holds all that must agree:
 * the manifest, what it needs, whom it refers to, and its tags; the list of repositories follows.
 */
#include "base/clock.h"
#include "base/scope.h"
#include "identity/identity.h"
#include "images/state.h"

#include <errno.h>
#include <stdlib.h>

static int by_digest(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct digest));
}

struct digest *manifest_needs(struct op *op, const struct manifest *m, size_t *ret_n)
{
    struct digest *list = op_alloc(op, (m->n_items + 1) * sizeof *list);
    size_t n = 0, kept = 0;

    if (m->has_config)
        list[n++] = m->config.digest;
    for (size_t i = 0; m->kind == MANIFEST_IMAGE && i < m->n_items; i++)
        if (!m->items[i].foreign)
            list[n++] = m->items[i].digest;
    qsort(list, n, sizeof *list, by_digest);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || !digest_eq(&list[kept - 1], &list[i]))
            list[kept++] = list[i];
    *ret_n = kept;
    return list;
}

static const struct descriptor *descriptor_of(const struct manifest *m, const struct digest *d)
{
    if (m->has_config && digest_eq(&m->config.digest, d))
        return &m->config;
    for (size_t i = 0; i < m->n_items; i++)
        if (digest_eq(&m->items[i].digest, d))
            return &m->items[i];
    return NULL;
}

/* What one push of a manifest goes through. */
struct push_state {
    struct op *op;
    struct images *im;
    const char *repo;
    struct slice part;
    struct manifest_push *push;
    struct manifest *m;
    const char *tag; /* of the reference; NULL if it is a digest */
    bool held;       /* a large manifest's blob, under this nonce: */
    uint64_t nonce;
};

/* The blob is here and of the size that is claimed; the batch holds only while it stays so. */
static int add_need(struct push_state *s, const struct digest *blob, struct store_batch *batch)
{
    struct row_key link = key_link(blob), need = key_need(blob, &s->push->digest);
    uint64_t said = descriptor_of(s->m, blob)->size_bytes;
    const char *repo = s->repo;
    struct op *op = s->op;
    uint8_t bytes[LINK_ROW_BYTES];
    char text[DIGEST_TEXT_MAX];
    struct link_row row;
    struct slice old;
    int r;

    r = images_row(op, s->im, s->part, key_slice(&link), &old);
    if (r == -ENOENT && s->push->mirrored) {
        store_batch_put(batch, key_slice(&need), slice_of("", 0));
        return 0;
    }
    if (r == -ENOENT)
        return op_fail(op, ENODATA, "blob %s is not in '%s'; push it before the manifest",
                       digest_print(blob, text), repo);
    if (r < 0)
        return r;
    if (link_row_parse(old, &row) < 0)
        return images_damaged(op, repo, digest_print(blob, text));
    if (row.size_bytes != said)
        return op_fail(op, EINVAL, "blob %s has %" PRIu64 " bytes, the manifest says %" PRIu64,
                       digest_print(blob, text), row.size_bytes, said);
    store_batch_expect(batch, key_slice(&link), old);
    if (row.expires_unix_ms != LINK_NEEDED) {
        row.expires_unix_ms = LINK_NEEDED;
        store_batch_put(batch, key_slice(&link), link_row_print(&row, bytes));
    }
    store_batch_put(batch, key_slice(&need), slice_of("", 0));
    return 0;
}

static int add_needs(struct push_state *s, struct store_batch *batch)
{
    size_t n;
    struct digest *list = manifest_needs(s->op, s->m, &n);

    for (size_t i = 0; i < n; i++) {
        int r = add_need(s, &list[i], batch);

        if (r < 0)
            return r;
    }
    return 0;
}

static void add_referrer(const struct manifest *m, const struct digest *manifest,
                         uint64_t size_bytes, struct store_batch *batch)
{
    struct row_key key = key_referrer(&m->subject.digest, manifest);
    autobuf json = {0};

    manifest_print_descriptor(m, manifest, size_bytes, &json);
    if (json.len > MANIFEST_INLINE_MAX)
        buf_clear(&json); /* made again from the manifest when it is asked for */
    store_batch_put(batch, key_slice(&key), buf_slice(&json));
}

/* A tag that may not move must be new, or where it is already, when the batch is applied. */
static int add_tag(struct push_state *s, struct store_batch *batch, const char *tag)
{
    struct tag_row row = {.changed_unix_ms = clock_unix_ms(), .manifest = s->push->digest}, there;
    struct row_key key = key_tag(slice_str(tag));
    struct slice old;
    autobuf value = {0};
    int r = touch_left(s->op, s->im, s->part, tag, &row.manifest, batch);

    if (r == 0 && !s->push->may_move) {
        r = images_row(s->op, s->im, s->part, key_slice(&key), &old);
        if (r == -ENOENT) {
            store_batch_expect_absent(batch, key_slice(&key));
        } else if (r < 0) {
            return r;
        } else if (tag_row_parse(old, &there) < 0) {
            return images_damaged(s->op, s->repo, "tag");
        } else if (!digest_eq(&there.manifest, &row.manifest)) {
            return op_fail(s->op, EEXIST, "'%s:%s' exists, and '%s' may not move tags here",
                           s->repo, tag, s->op->who->name);
        } else {
            store_batch_expect(batch, key_slice(&key), old);
        }
    }
    if (r < 0 && r != -ENOENT)
        return r;
    tag_row_print(&row, &value);
    store_batch_put(batch, key_slice(&key), buf_slice(&value));
    return 0;
}

/* What an index lists is in use from now on, also if it is as old as what retention removes. */
static void touch_items(struct push_state *s, struct store_batch *batch)
{
    for (size_t i = 0; s->m->kind == MANIFEST_INDEX && i < s->m->n_items; i++)
        touch_put(s->im, batch, &s->m->items[i].digest);
}

/* A large manifest is a blob with a hold of its own. */
static int hold_bytes(struct push_state *s)
{
    char text[HOLDER_MAX];
    struct digest d;
    int r;

    if (s->held || s->push->bytes.len <= MANIFEST_INLINE_MAX)
        return 0;
    r = blob_put(s->im->store, s->push->digest.algorithm, s->push->bytes.data, s->push->bytes.len,
                 &d);
    if (r < 0)
        return r;
    s->nonce = images_nonce(s->im);
    r = blob_hold(s->im->store, &d, holder_print(s->repo, s->nonce, text));
    s->held = r == 0;
    return r;
}

void manifest_release(struct images *im, const char *repo, const struct digest *d,
                          uint64_t nonce)
{
    char text[HOLDER_MAX];

    if (nonce != 0 && blob_release(im->store, d, holder_print(repo, nonce, text)) < 0)
        __atomic_store_n(&im->held, true, __ATOMIC_RELAXED);
}

/* The manifest's own row, over the one that may be there. */
static int add_row(struct push_state *s, struct store_batch *batch, bool *ret_used)
{
    struct row_key key = key_manifest(&s->push->digest);
    struct manifest_row row = {0};
    struct slice old;
    autobuf value = {0};
    int r;

    *ret_used = false;
    r = images_row(s->op, s->im, s->part, key_slice(&key), &old);
    if (r < 0 && r != -ENOENT)
        return r;
    if (r == 0) {
        if (manifest_row_parse(old, &row) < 0)
            return images_damaged(s->op, s->repo, "manifest");
        store_batch_expect(batch, key_slice(&key), old);
    } else {
        r = hold_bytes(s);
        if (r < 0)
            return r;
        store_batch_expect_absent(batch, key_slice(&key));
        row.pushed_unix_ms = clock_unix_ms();
        row.nonce = s->nonce;
        row.is_inline = !s->held;
        *ret_used = s->held;
    }
    row.revision++;
    row.is_index = s->m->kind == MANIFEST_INDEX;
    row.media_type = slice_str(s->m->media_type);
    row.bytes = s->push->bytes;
    row.size_bytes = s->push->bytes.len;
    manifest_row_print(&row, &value);
    store_batch_put(batch, key_slice(&key), buf_slice(&value));
    return 0;
}

static int push_once(struct push_state *s, bool *ret_used)
{
    struct store_batch *batch = store_batch_new(s->im->store, s->part);
    int r;

    r = add_needs(s, batch);
    if (r == 0)
        r = add_row(s, batch, ret_used);
    if (r == 0 && s->tag != NULL)
        r = add_tag(s, batch, s->tag);
    for (size_t i = 0; r == 0 && i < s->push->n_tags; i++)
        r = add_tag(s, batch, s->push->tags[i]);
    if (r < 0) {
        store_batch_free(batch);
        return r;
    }
    touch_items(s, batch);
    if (s->m->has_subject)
        add_referrer(s->m, &s->push->digest, s->push->bytes.len, batch);
    return store_commit(batch, STORE_DURABLE);
}

static int push_checked(struct push_state *s)
{
    bool used = false;
    autoturn turn = NULL;
    int r = -EAGAIN;

    for (unsigned i = 0; r == -EAGAIN && i < RETRIES; i++) {
        retry_in_turn(s->im, s->part, i, &turn);
        r = push_once(s, &used);
    }
    if (s->held && (r < 0 || !used))
        manifest_release(s->im, s->repo, &s->push->digest, s->nonce);
    if (r == 0)
        r = repo_note(s->op, s->im, s->repo);
    if (r < 0)
        return r;
    manifest_changed(s->op, s->repo, &s->push->digest);
    if (s->m->has_subject)
        referrer_changed(s->op, s->repo, &s->m->subject.digest, &s->push->digest);
    if (s->tag != NULL)
        tag_changed(s->op, s->repo, s->tag);
    for (size_t i = 0; i < s->push->n_tags; i++)
        tag_changed(s->op, s->repo, s->push->tags[i]);
    return 0;
}

static int check_tags(struct op *op, const struct manifest_push *push)
{
    if (push->n_tags > IMAGES_TAGS_PER_PUSH_MAX)
        return op_fail(op, EFBIG, "%zu tags at once; the limit is %u", push->n_tags,
                       IMAGES_TAGS_PER_PUSH_MAX);
    for (size_t i = 0; i < push->n_tags; i++)
        if (!tag_valid(slice_str(push->tags[i])))
            return op_fail(op, EDOM, "'%s' is not a valid tag", push->tags[i]);
    return 0;
}

int manifest_put(struct op *op, struct images *im, const char *repo, struct manifest_push *push)
{
    const struct reference *ref = push->ref;
    char named[DIGEST_TEXT_MAX], real[DIGEST_TEXT_MAX];
    struct push_state s = {.op = op, .im = im, .repo = repo, .push = push};
    struct part p;
    autobuf why = {0};
    int r;

    if (push->bytes.len > im->config->limits.manifest_bytes)
        return op_fail(op, EFBIG, "the manifest has %zu bytes; the limit is %" PRIu64,
                       push->bytes.len, im->config->limits.manifest_bytes);
    digest_of(ref->is_digest ? ref->digest.algorithm : DIGEST_SHA256,
              push->bytes.len > 0 ? push->bytes.data : "", push->bytes.len, &push->digest);
    if (ref->is_digest && !digest_eq(&ref->digest, &push->digest))
        return op_fail(op, EBADMSG, "the manifest is %s, not %s", digest_print(&push->digest, real),
                       digest_print(&ref->digest, named));
    r = check_tags(op, push);
    if (r < 0)
        return r;
    r = manifest_parse(push->bytes, push->content_type, &s.m, &why);
    if (r < 0)
        return op_fail(op, -r, "the manifest is not valid: %.*s", (int)why.len, why.data);
    s.part = part_of(repo, &p);
    s.tag = ref->is_digest ? NULL : op_strndup(op, ref->tag.data, ref->tag.len);
    push->has_subject = s.m->has_subject;
    push->subject = s.m->subject.digest;
    r = push_checked(&s);
    manifest_free(s.m);
    return r;
}
