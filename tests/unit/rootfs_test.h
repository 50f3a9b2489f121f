/* rootfs_test.h: layers made by the test: tar archives, packed in several ways. */
#ifndef ROOTFS_TEST_H
#define ROOTFS_TEST_H

#include "images_test.h"

#include <zlib.h>
#include <zstd.h>

struct tar_member {
    const char *path;
    char type;
    const char *link;
    struct slice content;
    unsigned mode;
    unsigned long long uid, gid, mtime;
};

static inline void tar_pad(struct buf *out)
{
    static const char zeros[512];

    if (out->len % 512 != 0)
        buf_add(out, zeros, 512 - out->len % 512);
}

static inline void tar_sum(char *header)
{
    unsigned sum = 0;

    memset(header + 148, ' ', 8);
    for (int i = 0; i < 512; i++)
        sum += (unsigned char)header[i];
    snprintf(header + 148, 8, "%06o", sum);
}

static inline void tar_add(struct buf *out, struct tar_member m)
{
    char h[512] = {0};
    size_t n = strlen(m.path);

    memcpy(h, m.path, n < 100 ? n : 100);
    snprintf(h + 100, 8, "%07o", m.mode & 07777u);
    snprintf(h + 108, 8, "%07llo", m.uid & 07777777u);
    snprintf(h + 116, 8, "%07llo", m.gid & 07777777u);
    snprintf(h + 124, 12, "%011zo", m.content.len);
    snprintf(h + 136, 12, "%011llo", m.mtime);
    h[156] = m.type;
    if (m.link != NULL)
        memcpy(h + 157, m.link, strnlen(m.link, 100));
    memcpy(h + 257, "ustar\00000", 8);
    if (m.type == '3' || m.type == '4') {
        memcpy(h + 329, "0000001", 8);
        memcpy(h + 337, "0000003", 8);
    }
    tar_sum(h);
    buf_add(out, h, sizeof h);
    buf_add_slice(out, m.content);
    tar_pad(out);
}

/* A pax header with one record. */
static inline void pax_add(struct buf *out, const char *key, struct slice value)
{
    struct buf record = {0};
    size_t n = strlen(key) + value.len + 3, digits = 1;

    while (snprintf(NULL, 0, "%zu", n + digits) != (int)digits)
        digits++;
    buf_printf(&record, "%zu %s=", n + digits, key);
    buf_add_slice(&record, value);
    buf_add_char(&record, '\n');
    tar_add(out, (struct tar_member){"pax", 'x', NULL, buf_slice(&record), 0644, 0, 0, 0});
    buf_done(&record);
}

static inline void tar_finish(struct buf *out)
{
    static const char zeros[1024];

    buf_add(out, zeros, sizeof zeros);
}

/* One member of gzip. */
static inline void gzip_add(struct buf *out, struct slice in, int level)
{
    z_stream z = {0};
    size_t bound;

    assert_int_equal(deflateInit2(&z, level, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    bound = deflateBound(&z, in.len) + 64;
    buf_reserve(out, bound);
    z.next_in = (Bytef *)(uintptr_t)in.data;
    z.avail_in = (unsigned)in.len;
    z.next_out = (Bytef *)out->data + out->len;
    z.avail_out = (unsigned)bound;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    out->len += z.total_out;
    deflateEnd(&z);
}

/* One frame of zstd. */
static inline void zstd_add(struct buf *out, struct slice in)
{
    size_t bound = ZSTD_compressBound(in.len), n;

    buf_reserve(out, bound);
    n = ZSTD_compress(out->data + out->len, bound, in.data, in.len, 1);
    assert_false(ZSTD_isError(n));
    out->len += n;
}

static inline void push_bytes(struct images_test *t, const char *repo, struct slice content)
{
    char target[512], digest[DIGEST_TEXT_MAX];

    snprintf(target, sizeof target, "/v2/%s/blobs/uploads/?digest=%s", repo,
             digest_text(content, digest));
    assert_int_equal(call(t, "POST", target, NULL, NULL, content), 201);
}

#define ROOTFS_LAYER_TYPE "application/vnd.oci.image.layer.v1.tar+gzip"

/* Pushes an image of these layers, the lowest first. `ret`: the path of its folder. */
static inline void push_layers(struct images_test *t, const char *repo, const struct slice *layers,
                               size_t n, char ret[400])
{
    struct buf text = {0};
    char digest[DIGEST_TEXT_MAX];

    push_bytes(t, repo, SLICE("{}"));
    buf_printf(&text,
               "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_OCI_MANIFEST
               "\",\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\","
               "\"digest\":\"%s\",\"size\":2},\"layers\":[",
               digest_text(SLICE("{}"), digest));
    for (size_t i = 0; i < n; i++) {
        push_bytes(t, repo, layers[i]);
        buf_printf(&text,
                   "%s{\"mediaType\":\"" ROOTFS_LAYER_TYPE "\",\"digest\":\"%s\",\"size\":%zu}",
                   i > 0 ? "," : "", digest_text(layers[i], digest), layers[i].len);
    }
    buf_add_str(&text, "]}");
    digest_text(buf_slice(&text), digest);
    assert_int_equal(put_manifest(t, repo, digest, text.data), 201);
    snprintf(ret, 400, "images/%s/@manifests/sha256-%s", repo, digest + 7);
    buf_done(&text);
}

#endif
