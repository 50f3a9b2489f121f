/* packages_fixture.h: wheels and sdists made in memory, whole or with one fault. */
#ifndef PACKAGES_FIXTURE_H
#define PACKAGES_FIXTURE_H

#include "base/buf.h"
#include "base/scope.h"
#include "packages/zip.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdlib.h>
#include <zlib.h>

enum member_fault {
    M_DEFLATE = 1, /* no fault: packed */
    M_AFTER = 2,   /* no fault: sum and sizes follow in a data descriptor */
    M_ZIP64 = 4,   /* no fault: sizes in a zip64 field */
    M_ENCRYPTED = 8,
    M_METHOD = 16,    /* bzip2 */
    M_LOCAL_CRC = 32, /* the local header has another sum */
    M_LOCAL_SIZE = 64,
    M_BAD_AFTER = 128, /* the descriptor has another size */
    M_HIDDEN = 256,    /* not in the central directory */
    M_GAP = 512,       /* bytes between this entry and the next */
    M_COMMENT = 1024,
    M_SECOND_NAME = 2048, /* Info-ZIP unicode path */
    M_BAD_CRC = 4096,     /* both headers have the same wrong sum */
    M_SIZE_LIE = 8192,    /* both headers say one byte more than it unpacks to */
    M_VOLUME = 16384,
    M_CUT_DEFLATE = 32768, /* deflated stream without its end */
};

enum archive_fault {
    A_PREFIX = 1,
    A_TRAILING = 2,
    A_COMMENT = 4,    /* no fault: a comment of the right length */
    A_COUNT = 8,      /* the end record counts one more */
    A_ZIP64 = 16,     /* no fault: zip64 end records */
    A_ZIP64_BAD = 32, /* the two end records disagree */
    A_NO_END = 64,
    A_VOLUMES = 128,
    A_DIRECTORY_OFFSET = 256,
};

struct member {
    const char *name, *content;
    unsigned faults;
    const char *local_name; /* NULL: the same */
};

static void le(struct buf *out, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        buf_add_char(out, (char)(v >> 8 * i));
}

static void deflated(struct buf *out, const char *content)
{
    z_stream z = {0};
    unsigned char room[4096];

    if (deflateInit2(&z, 6, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        abort();
    z.next_in = (unsigned char *)(uintptr_t)content;
    z.avail_in = (unsigned)strlen(content);
    do {
        z.next_out = room;
        z.avail_out = sizeof room;
        deflate(&z, Z_FINISH);
        buf_add(out, room, sizeof room - z.avail_out);
    } while (z.avail_out == 0);
    deflateEnd(&z);
}

struct zip_sums {
    uint32_t crc;
    size_t packed, size;
    unsigned method, flags;
};

static void header_fields(struct buf *out, const struct member *m, const struct zip_sums *s,
                          bool local)
{
    bool after = local && (m->faults & M_AFTER);
    bool wide = m->faults & M_ZIP64;

    le(out, s->flags, 2);
    le(out, s->method, 2);
    le(out, 0, 4);
    le(out, after ? 0 : s->crc + (local && (m->faults & M_LOCAL_CRC) ? 1 : 0), 4);
    le(out, after ? 0 : wide ? 0xffffffff : s->packed, 4);
    le(out,
       after  ? 0
       : wide ? 0xffffffff
              : s->size + (local && (m->faults & M_LOCAL_SIZE) ? 1 : 0),
       4);
}

static void extra_field(struct buf *out, const struct member *m, const struct zip_sums *s)
{
    if (m->faults & M_ZIP64) {
        le(out, 1, 2);
        le(out, 16, 2);
        le(out, s->size, 8);
        le(out, s->packed, 8);
    }
    if (m->faults & M_SECOND_NAME) {
        le(out, 0x7075, 2);
        le(out, 5 + 4, 2);
        le(out, 1, 1);
        le(out, 0, 4);
        buf_add_str(out, "evil");
    }
}

static void local_header(struct buf *out, const struct member *m, const struct zip_sums *s)
{
    const char *name = m->local_name != NULL ? m->local_name : m->name;
    autobuf extra = {0};

    extra_field(&extra, m, s);
    le(out, 0x04034b50, 4);
    le(out, 20, 2);
    header_fields(out, m, s, true);
    le(out, strlen(name), 2);
    le(out, extra.len, 2);
    buf_add_str(out, name);
    buf_add_slice(out, buf_slice(&extra));
}

static void central_header(struct buf *out, const struct member *m, const struct zip_sums *s,
                           size_t offset)
{
    autobuf extra = {0};

    extra_field(&extra, m, s);
    le(out, 0x02014b50, 4);
    le(out, 20, 2);
    le(out, 20, 2);
    header_fields(out, m, s, false);
    le(out, strlen(m->name), 2);
    le(out, extra.len, 2);
    le(out, m->faults & M_COMMENT ? 2 : 0, 2);
    le(out, m->faults & M_VOLUME ? 1 : 0, 2);
    le(out, 0, 6);
    le(out, offset, 4);
    buf_add_str(out, m->name);
    buf_add_slice(out, buf_slice(&extra));
    if (m->faults & M_COMMENT)
        buf_add_str(out, "hi");
}

static void add_member(struct buf *out, struct buf *directory, const struct member *m)
{
    autobuf packed = {0};
    size_t offset = out->len;
    struct zip_sums s = {.size = strlen(m->content)};

    s.crc = (uint32_t)crc32(0, (const unsigned char *)m->content, (unsigned)s.size);
    if (m->faults & M_BAD_CRC)
        s.crc++;
    if (m->faults & M_DEFLATE)
        deflated(&packed, m->content);
    else
        buf_add_str(&packed, m->content);
    if (m->faults & M_CUT_DEFLATE)
        packed.len -= 4;
    if (m->faults & M_SIZE_LIE)
        s.size++;
    s.packed = packed.len;
    s.method = m->faults & M_METHOD ? 12 : m->faults & M_DEFLATE ? 8 : 0;
    s.flags = (m->faults & M_ENCRYPTED ? 1 : 0) | (m->faults & M_AFTER ? 8 : 0);
    local_header(out, m, &s);
    buf_add_slice(out, buf_slice(&packed));
    if (m->faults & M_AFTER) {
        le(out, 0x08074b50, 4);
        le(out, s.crc, 4);
        le(out, s.packed, 4);
        le(out, s.size + (m->faults & M_BAD_AFTER ? 1 : 0), 4);
    }
    if (m->faults & M_GAP)
        buf_add_str(out, "gap");
    if (!(m->faults & M_HIDDEN))
        central_header(directory, m, &s, offset);
}

static void end_records(struct buf *out, size_t offset, size_t bytes, size_t n, unsigned faults)
{
    size_t end64 = out->len;
    bool wide = faults & (A_ZIP64 | A_ZIP64_BAD);

    if (wide) {
        le(out, 0x06064b50, 4);
        le(out, 44, 8);
        le(out, 45, 2);
        le(out, 45, 2);
        le(out, 0, 8);
        le(out, n, 8);
        le(out, n, 8);
        le(out, bytes, 8);
        le(out, offset, 8);
        le(out, 0x07064b50, 4);
        le(out, 0, 4);
        le(out, end64, 8);
        le(out, 1, 4);
    }
    if (faults & A_NO_END)
        return;
    le(out, 0x06054b50, 4);
    le(out, faults & A_VOLUMES ? 1 : 0, 4);
    n += faults & (A_COUNT | A_ZIP64_BAD) ? 1 : 0;
    le(out, faults & A_ZIP64 ? 0xffff : n, 2);
    le(out, faults & A_ZIP64 ? 0xffff : n, 2);
    le(out, faults & A_ZIP64 ? 0xffffffff : bytes, 4);
    le(out, faults & A_ZIP64 ? 0xffffffff : offset + (faults & A_DIRECTORY_OFFSET ? 1 : 0), 4);
    le(out, faults & A_COMMENT ? 5 : 0, 2);
    if (faults & A_COMMENT)
        buf_add_str(out, "hello");
}

static void make_zip(struct buf *out, const struct member *members, size_t n, unsigned faults)
{
    autobuf directory = {0};
    size_t listed = 0, offset;

    if (faults & A_PREFIX)
        buf_add_str(out, "#!/bin/sh\n");
    for (size_t i = 0; i < n; i++) {
        add_member(out, &directory, &members[i]);
        listed += !(members[i].faults & M_HIDDEN);
    }
    offset = out->len;
    buf_add_slice(out, buf_slice(&directory));
    end_records(out, offset, directory.len, listed, faults);
    if (faults & A_TRAILING)
        buf_add_str(out, "more");
}

#define WHEEL_FILE "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"

/* A good wheel of name and version; `headers` are added to its METADATA. */
__attribute__((unused)) static void make_wheel(struct buf *out, const char *name,
                                               const char *version, const char *headers,
                                               const char *payload)
{
    autobuf metadata = {0}, a = {0}, b = {0}, c = {0}, d = {0};

    buf_printf(&metadata, "Metadata-Version: 2.1\nName: %s\nVersion: %s\n%s\nAbout %s.\n", name,
               version, headers, name);
    buf_printf(&a, "%s-%s.dist-info/METADATA", name, version);
    buf_printf(&b, "%s-%s.dist-info/WHEEL", name, version);
    buf_printf(&c, "%s-%s.dist-info/RECORD", name, version);
    buf_printf(&d, "%s/__init__.py", name);
    make_zip(out,
             (struct member[]){{d.data, payload, M_DEFLATE, NULL},
                               {a.data, metadata.data, M_DEFLATE, NULL},
                               {b.data, WHEEL_FILE, 0, NULL},
                               {c.data, "", 0, NULL}},
             4, 0);
}

struct tar_member {
    const char *path, *content; /* content NULL: a folder */
    size_t zeros;               /* that many zero bytes as content instead */
};

static la_ssize_t tar_write(struct archive *a, void *ctx, const void *bytes, size_t n)
{
    (void)a;
    buf_add(ctx, bytes, n);
    return (la_ssize_t)n;
}

static void tar_content(struct archive *a, const struct tar_member *m)
{
    static const char zeros[64 << 10];

    if (m->content != NULL && m->zeros == 0)
        archive_write_data(a, m->content, strlen(m->content));
    for (size_t left = m->zeros; left > 0;) {
        size_t n = left < sizeof zeros ? left : sizeof zeros;

        archive_write_data(a, zeros, n);
        left -= n;
    }
}

/* A tar archive, gzipped or not. */
static void make_tar(struct buf *out, const struct tar_member *members, size_t n, bool gzipped)
{
    struct archive *a = archive_write_new();

    archive_write_set_format_pax_restricted(a);
    if (gzipped)
        archive_write_add_filter_gzip(a);
    archive_write_set_bytes_in_last_block(a, 1);
    archive_write_open(a, out, NULL, tar_write, NULL);
    for (size_t i = 0; i < n; i++) {
        const struct tar_member *m = &members[i];
        struct archive_entry *e = archive_entry_new();
        bool folder = m->content == NULL && m->zeros == 0;

        archive_entry_set_pathname(e, m->path);
        archive_entry_set_filetype(e, folder ? AE_IFDIR : AE_IFREG);
        archive_entry_set_perm(e, folder ? 0755 : 0644);
        archive_entry_set_size(e, folder         ? 0
                                  : m->zeros > 0 ? (la_int64_t)m->zeros
                                                 : (la_int64_t)strlen(m->content));
        archive_write_header(a, e);
        tar_content(a, m);
        archive_entry_free(e);
    }
    archive_write_close(a);
    archive_write_free(a);
}

/* A good sdist of name and version. */
__attribute__((unused)) static void make_sdist(struct buf *out, const char *name,
                                               const char *version, const char *headers)
{
    autobuf info = {0}, path = {0}, file = {0};

    buf_printf(&info, "Metadata-Version: 2.1\nName: %s\nVersion: %s\n%s\n", name, version, headers);
    buf_printf(&path, "%s-%s/PKG-INFO", name, version);
    buf_printf(&file, "%s-%s/setup.py", name, version);
    make_tar(out, (struct tar_member[]){{path.data, info.data, 0}, {file.data, "pass\n", 0}}, 2,
             true);
}

static ssize_t memory_read(void *ctx, uint64_t offset, void *buf, size_t n)
{
    const struct buf *b = ctx;

    if (offset >= b->len)
        return 0;
    if (n > b->len - offset)
        n = b->len - (size_t)offset;
    memcpy(buf, b->data + offset, n);
    return (ssize_t)n;
}

__attribute__((unused)) static struct zip_source memory_source(struct buf *b)
{
    return (struct zip_source){memory_read, b, b->len};
}

#endif
