#include "images/rows.h"

#include "base/codec.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#define ROW_VERSION 1

struct slice part_of(const char *repo, struct part *p)
{
    size_t n = strlen(repo);

    if (n > IMAGES_NAME_MAX)
        n = IMAGES_NAME_MAX;
    memcpy(p->text, "images/", 7);
    memcpy(p->text + 7, repo, n);
    p->text[7 + n] = 0;
    p->name = slice_of(p->text, 7 + n);
    return p->name;
}

static void add_digest(struct row_key *k, const struct digest *d)
{
    size_t n = digest_length(d->algorithm);

    k->bytes[k->len++] = d->algorithm;
    memcpy(k->bytes + k->len, d->bytes, n);
    k->len += n;
}

static struct row_key key_of(char kind, const struct digest *first, const struct digest *second)
{
    struct row_key k = {.len = 1};

    k.bytes[0] = (uint8_t)kind;
    add_digest(&k, first);
    if (second != NULL)
        add_digest(&k, second);
    return k;
}

struct row_key key_tag(struct slice tag)
{
    struct row_key k = {.len = 1};

    k.bytes[0] = 't';
    if (tag.len > IMAGES_TAG_MAX)
        tag.len = IMAGES_TAG_MAX;
    if (tag.len > 0)
        memcpy(k.bytes + 1, tag.data, tag.len);
    k.len += tag.len;
    return k;
}

struct row_key key_manifest(const struct digest *d)
{
    return key_of('m', d, NULL);
}

struct row_key key_touch(const struct digest *d)
{
    return key_of('u', d, NULL);
}

struct row_key key_link(const struct digest *d)
{
    return key_of('b', d, NULL);
}

struct row_key key_need(const struct digest *blob, const struct digest *manifest)
{
    return key_of('k', blob, manifest);
}

struct row_key key_referrer(const struct digest *subject, const struct digest *manifest)
{
    return key_of('r', subject, manifest);
}

struct row_key key_after(struct row_key prefix)
{
    while (prefix.len > 0 && prefix.bytes[prefix.len - 1] == 0xff)
        prefix.len--;
    if (prefix.len > 0)
        prefix.bytes[prefix.len - 1]++;
    return prefix;
}

/* Moves *in on behind a digest. */
static int take_digest(struct slice *in, struct digest *ret)
{
    const uint8_t *p = in->data;
    struct digest d = {0};
    size_t n;

    if (in->len == 0 || (p[0] != DIGEST_SHA256 && p[0] != DIGEST_SHA512))
        return -EBADMSG;
    n = digest_length(p[0]);
    if (in->len < 1 + n)
        return -EBADMSG;
    d.algorithm = p[0];
    memcpy(d.bytes, p + 1, n);
    *in = slice_skip(*in, 1 + n);
    *ret = d;
    return 0;
}

int key_last_digest(struct slice key, struct digest *ret)
{
    bool two = key.len > 0 && (*(const char *)key.data == 'k' || *(const char *)key.data == 'r');
    struct digest d;

    if (key.len == 0)
        return -EBADMSG;
    key = slice_skip(key, 1);
    if (two && take_digest(&key, &d) < 0)
        return -EBADMSG;
    if (take_digest(&key, &d) < 0 || key.len != 0)
        return -EBADMSG;
    *ret = d;
    return 0;
}

int key_digests(struct slice key, struct digest *ret_first, struct digest *ret_last)
{
    if (key.len == 0)
        return -EBADMSG;
    key = slice_skip(key, 1);
    if (take_digest(&key, ret_first) < 0 || take_digest(&key, ret_last) < 0 || key.len != 0)
        return -EBADMSG;
    return 0;
}

static void add_u64(struct buf *out, uint64_t v)
{
    uint8_t bytes[8];

    be64_put(bytes, v);
    buf_add(out, bytes, sizeof bytes);
}

static uint64_t take_u64(struct slice *in)
{
    uint64_t v = be64_get(in->data);

    *in = slice_skip(*in, 8);
    return v;
}

/* The version at the head of a value, and whether so many bytes follow it. */
static int take_head(struct slice *in, size_t need)
{
    if (in->len < 1 + need || *(const uint8_t *)in->data != ROW_VERSION)
        return -EBADMSG;
    *in = slice_skip(*in, 1);
    return 0;
}

void tag_row_print(const struct tag_row *row, struct buf *out)
{
    struct row_key digest = {0};

    add_digest(&digest, &row->manifest);
    buf_add_char(out, ROW_VERSION);
    add_u64(out, (uint64_t)row->changed_unix_ms);
    buf_add(out, digest.bytes, digest.len);
}

int tag_row_parse(struct slice value, struct tag_row *ret)
{
    struct tag_row row;

    if (take_head(&value, 8) < 0)
        return -EBADMSG;
    row.changed_unix_ms = (int64_t)take_u64(&value);
    if (take_digest(&value, &row.manifest) < 0 || value.len != 0)
        return -EBADMSG;
    *ret = row;
    return 0;
}

enum manifest_flags { MANIFEST_ROW_INLINE = 1, MANIFEST_ROW_INDEX = 2 };

void manifest_row_print(const struct manifest_row *row, struct buf *out)
{
    buf_add_char(out, ROW_VERSION);
    buf_add_char(out, (char)((row->is_inline ? MANIFEST_ROW_INLINE : 0) |
                             (row->is_index ? MANIFEST_ROW_INDEX : 0)));
    add_u64(out, row->revision);
    add_u64(out, row->size_bytes);
    add_u64(out, (uint64_t)row->pushed_unix_ms);
    add_u64(out, row->nonce);
    buf_add_char(out, (char)row->media_type.len);
    buf_add_slice(out, row->media_type);
    if (row->is_inline)
        buf_add_slice(out, row->bytes);
}

int manifest_row_parse(struct slice value, struct manifest_row *ret)
{
    struct manifest_row row = {0};
    uint8_t flags, n;

    if (take_head(&value, 1 + 4 * 8 + 1) < 0)
        return -EBADMSG;
    flags = *(const uint8_t *)value.data;
    value = slice_skip(value, 1);
    row.is_inline = flags & MANIFEST_ROW_INLINE;
    row.is_index = flags & MANIFEST_ROW_INDEX;
    row.revision = take_u64(&value);
    row.size_bytes = take_u64(&value);
    row.pushed_unix_ms = (int64_t)take_u64(&value);
    row.nonce = take_u64(&value);
    n = *(const uint8_t *)value.data;
    if (value.len < 1u + n)
        return -EBADMSG;
    row.media_type = slice_of((const char *)value.data + 1, n);
    row.bytes = slice_skip(value, 1u + n);
    if (row.is_inline && row.bytes.len != row.size_bytes)
        return -EBADMSG;
    *ret = row;
    return 0;
}

struct slice link_row_print(const struct link_row *row, uint8_t bytes[LINK_ROW_BYTES])
{
    bytes[0] = ROW_VERSION;
    be64_put(bytes + 1, row->size_bytes);
    be64_put(bytes + 9, (uint64_t)row->expires_unix_ms);
    be64_put(bytes + 17, row->nonce);
    return slice_of(bytes, LINK_ROW_BYTES);
}

int link_row_parse(struct slice value, struct link_row *ret)
{
    const uint8_t *p = value.data;

    if (value.len != LINK_ROW_BYTES || p[0] != ROW_VERSION)
        return -EBADMSG;
    *ret = (struct link_row){
        .size_bytes = be64_get(p + 1),
        .expires_unix_ms = (int64_t)be64_get(p + 9),
        .nonce = be64_get(p + 17),
    };
    return 0;
}

void upload_row_print(const struct upload_row *row, struct buf *out)
{
    buf_add_char(out, ROW_VERSION);
    buf_add_char(out, (char)row->algorithm);
    add_u64(out, (uint64_t)row->started_unix_ms);
    add_u64(out, (uint64_t)row->touched_unix_ms);
    buf_add_char(out, (char)row->repo.len);
    buf_add_slice(out, row->repo);
    buf_add_slice(out, row->owner);
}

int upload_row_parse(struct slice value, struct upload_row *ret)
{
    struct upload_row row = {0};
    uint8_t n;

    if (take_head(&value, 1 + 2 * 8 + 1) < 0)
        return -EBADMSG;
    row.algorithm = *(const uint8_t *)value.data;
    value = slice_skip(value, 1);
    row.started_unix_ms = (int64_t)take_u64(&value);
    row.touched_unix_ms = (int64_t)take_u64(&value);
    n = *(const uint8_t *)value.data;
    if (value.len < 1u + n || (row.algorithm != DIGEST_SHA256 && row.algorithm != DIGEST_SHA512))
        return -EBADMSG;
    row.repo = slice_of((const char *)value.data + 1, n);
    row.owner = slice_skip(value, 1u + n);
    *ret = row;
    return 0;
}

struct slice holder_print(const char *repo, uint64_t nonce, char text[HOLDER_MAX])
{
    int n = snprintf(text, HOLDER_MAX, "images/%s#%016" PRIx64, repo, nonce);

    return slice_of(text, (size_t)n);
}

int holder_parse(struct slice owner, struct holder *ret)
{
    const char *hash = owner.len > 0 ? memrchr(owner.data, '#', owner.len) : NULL;
    size_t before = hash != NULL ? (size_t)(hash - (const char *)owner.data) : 0;
    uint8_t bytes[8];

    if (hash == NULL || !slice_starts(owner, PART_REPOSITORIES) || owner.len - before != 17)
        return -EINVAL;
    if (hex_decode(slice_skip(owner, before + 1), bytes, sizeof bytes) != 8)
        return -EINVAL;
    ret->repo = slice_of((const char *)owner.data + 7, before - 7);
    ret->nonce = be64_get(bytes);
    return 0;
}
