#include "images/rootfs/tar_pax.h"

#include "base/codec.h"
#include "images/rootfs/tar.h"
#include "images/rootfs/tar_sparse.h"

#include <errno.h>

#define XATTR_PREFIX SLICE("SCHILY.xattr.")
#define XATTRS_MAX   (256u << 10) /* of one entry */
#define XATTR_NAME   255u

void tar_xattr_put(struct buf *out, struct slice name, struct slice value)
{
    uint8_t len[4];

    be32_put(len, (uint32_t)value.len);
    buf_add_char(out, (char)name.len);
    buf_add_slice(out, name);
    buf_add(out, len, sizeof len);
    buf_add_slice(out, value);
}

int tar_xattr_next(struct slice *in, struct slice *ret_name, struct slice *ret_value)
{
    size_t name_len, value_len;

    if (in->len == 0)
        return 0;
    name_len = *(const uint8_t *)in->data;
    if (in->len < 1 + name_len + 4)
        return -EBADMSG;
    *ret_name = slice_of((const char *)in->data + 1, name_len);
    *in = slice_skip(*in, 1 + name_len);
    value_len = be32_get(in->data);
    if (in->len - 4 < value_len)
        return -EBADMSG;
    *ret_value = slice_of((const char *)in->data + 4, value_len);
    *in = slice_skip(*in, 4 + value_len);
    return 1;
}

/* Seconds as a decimal number with or without a fraction (POSIX.1-2001 pax, "mtime"). */
static int parse_time(struct slice s, int64_t *ret_ns)
{
    const char *text = s.data;
    bool negative = s.len > 0 && text[0] == '-';
    size_t dot;
    uint64_t seconds = 0;
    int64_t ns = 0, unit = 100000000;

    if (negative)
        s = slice_skip(s, 1), text++;
    for (dot = 0; dot < s.len && text[dot] != '.'; dot++)
        ;
    if (dot > 0 && parse_u64(slice_of(text, dot), INT64_MAX / 1000000000 - 1, &seconds) < 0)
        return -EBADMSG;
    for (size_t i = dot + 1; i < s.len; i++, unit /= 10) {
        if (text[i] < '0' || text[i] > '9')
            return -EBADMSG;
        ns += unit * (text[i] - '0');
    }
    ns += (int64_t)seconds * 1000000000;
    *ret_ns = negative ? -ns : ns;
    return s.len > 0 ? 0 : -EBADMSG;
}

static int set_number(struct slice value, uint64_t max, bool *ret_has, uint64_t *ret)
{
    if (parse_u64(value, max, ret) < 0)
        return -EBADMSG;
    *ret_has = true;
    return 0;
}

static int set_text(struct slice value, struct buf *out, bool *ret_has)
{
    if (value.len > 0 && memchr(value.data, 0, value.len) != NULL)
        return -EBADMSG;
    buf_clear(out);
    buf_add_slice(out, value);
    *ret_has = true;
    return 0;
}

static int set_xattr(struct slice name, struct slice value, struct buf *out)
{
    if (name.len == 0 || name.len > XATTR_NAME || memchr(name.data, 0, name.len) != NULL ||
        value.len > XATTRS_MAX - 300 || out->len > XATTRS_MAX - 300 - value.len)
        return -EBADMSG;
    tar_xattr_put(out, name, value);
    return 0;
}

/* GNU's sparse files in pax form, versions 0.0, 0.1 and 1.0 (GNU tar manual, "Storing Sparse
 * Files"). */
static int set_sparse(struct slice key, struct slice value, struct pax *p)
{
    uint64_t length;

    p->sparse = true;
    if (slice_eq(key, SLICE("GNU.sparse.name")))
        return set_text(value, &p->path, &p->has_path);
    if (slice_eq(key, SLICE("GNU.sparse.realsize")) || slice_eq(key, SLICE("GNU.sparse.size")))
        return set_number(value, INT64_MAX, &p->has_real_size, &p->real_size_bytes);
    if (slice_eq(key, SLICE("GNU.sparse.major")))
        return parse_u64(value, UINT32_MAX, &p->sparse_major);
    if (slice_eq(key, SLICE("GNU.sparse.offset")))
        return parse_u64(value, INT64_MAX, &p->sparse_offset);
    if (slice_eq(key, SLICE("GNU.sparse.map"))) {
        buf_clear(&p->map);
        return sparse_add_list(&p->map, value);
    }
    if (!slice_eq(key, SLICE("GNU.sparse.numbytes")))
        return 0;
    if (parse_u64(value, INT64_MAX, &length) < 0)
        return -EBADMSG;
    return sparse_add(&p->map, p->sparse_offset, length);
}

static int set_mtime(struct slice value, struct pax *p)
{
    p->has_mtime = true;
    return parse_time(value, &p->mtime_ns);
}

static int set(struct slice key, struct slice value, struct pax *p)
{
    if (value.len == 0) /* "as if the record had not been there" */
        return 0;
    if (slice_eq(key, SLICE("path")))
        return p->sparse && p->has_path ? 0 : set_text(value, &p->path, &p->has_path);
    if (slice_eq(key, SLICE("linkpath")))
        return set_text(value, &p->link, &p->has_link);
    if (slice_eq(key, SLICE("size")))
        return set_number(value, INT64_MAX, &p->has_size, &p->size_bytes);
    if (slice_eq(key, SLICE("uid")))
        return set_number(value, UINT32_MAX, &p->has_uid, &p->uid);
    if (slice_eq(key, SLICE("gid")))
        return set_number(value, UINT32_MAX, &p->has_gid, &p->gid);
    if (slice_eq(key, SLICE("mtime")))
        return set_mtime(value, p);
    if (slice_starts(key, XATTR_PREFIX))
        return set_xattr(slice_skip(key, XATTR_PREFIX.len), value, &p->xattrs);
    if (slice_starts(key, SLICE("GNU.sparse.")))
        return set_sparse(key, value, p);
    return 0;
}

/* "<length> <key>=<value>\n", the length of all of it. */
static int take_record(struct slice *in, struct slice *ret_key, struct slice *ret_value)
{
    const char *text = in->data, *equal;
    const char *blank = memchr(text, ' ', in->len < 20 ? in->len : 20);
    size_t head = blank != NULL ? (size_t)(blank - text) + 1 : 0;
    uint64_t len;

    if (blank == NULL || parse_u64(slice_of(text, head - 1), in->len, &len) < 0 || len < head + 3 ||
        text[len - 1] != '\n')
        return -EBADMSG;
    equal = memchr(text + head, '=', (size_t)len - head - 1);
    if (equal == NULL || equal == text + head)
        return -EBADMSG;
    *ret_key = slice_of(text + head, (size_t)(equal - text) - head);
    *ret_value = slice_of(equal + 1, (size_t)len - 2 - (size_t)(equal - text));
    *in = slice_skip(*in, (size_t)len);
    return 0;
}

int pax_parse(struct slice records, struct pax *p, struct buf *why)
{
    struct slice key, value;

    while (records.len > 0) {
        if (take_record(&records, &key, &value) < 0) {
            buf_add_str(why, "a pax header is damaged");
            return -EBADMSG;
        }
        if (set(key, value, p) < 0) {
            buf_printf(why, "a pax header has a bad '%.*s'", key.len < 60 ? (int)key.len : 60,
                       (const char *)key.data);
            return -EBADMSG;
        }
    }
    return 0;
}

void pax_clear(struct pax *p)
{
    struct pax kept = {.path = p->path, .link = p->link, .xattrs = p->xattrs, .map = p->map};

    buf_clear(&kept.path);
    buf_clear(&kept.link);
    buf_clear(&kept.xattrs);
    buf_clear(&kept.map);
    *p = kept;
}

void pax_done(struct pax *p)
{
    buf_done(&p->path);
    buf_done(&p->link);
    buf_done(&p->xattrs);
    buf_done(&p->map);
}
