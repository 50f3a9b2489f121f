#include "packages/zip_internal.h"

#include "base/alloc.h"
#include "base/scope.h"
#include "base/utf8.h"

#include <errno.h>

#define LOCAL_BYTES   30u
#define CENTRAL_BYTES 46u
#define END_BYTES     22u
#define END64_BYTES   56u
#define LOCATOR_BYTES 20u
#define COMMENT_MAX   65535u

#define LOCAL_SIGN   0x04034b50u
#define CENTRAL_SIGN 0x02014b50u
#define END_SIGN     0x06054b50u
#define END64_SIGN   0x06064b50u
#define LOCATOR_SIGN 0x07064b50u
#define AFTER_SIGN   0x08074b50u /* data descriptor */

#define FLAG_ENCRYPTED 0x0001u
#define FLAG_AFTER     0x0008u /* sizes and sum follow the data */
#define FLAG_PATCH     0x0020u
#define FLAG_STRONG    0x0040u
#define FLAG_UTF8      0x0800u
#define FLAG_MASKED    0x2000u
#define FLAGS_REFUSED  (FLAG_ENCRYPTED | FLAG_PATCH | FLAG_STRONG | FLAG_MASKED)

#define EXTRA_ZIP64        0x0001u
#define EXTRA_UNICODE_PATH 0x7075u

DEFINE_SCOPE(zip, struct zip, zip_close)

static uint16_t le16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t le32(const uint8_t *p)
{
    return (uint32_t)le16(p) | (uint32_t)le16(p + 2) << 16;
}

static uint64_t le64(const uint8_t *p)
{
    return (uint64_t)le32(p) | (uint64_t)le32(p + 4) << 32;
}

int zip_refuse(struct buf *why, const char *format, ...)
{
    va_list args;

    buf_add_str(why, "zip: ");
    va_start(args, format);
    buf_vprintf(why, format, args);
    va_end(args);
    return -EINVAL;
}

int zip_refuse_entry(struct buf *why, const struct zip_entry *e, const char *what)
{
    buf_add_str(why, "zip: entry '");
    for (size_t i = 0; i < e->name.len && i < 200; i++) {
        unsigned char c = ((const unsigned char *)e->name.data)[i];

        buf_add_char(why, c < 0x20 || c == 0x7f ? '?' : (char)c);
    }
    buf_printf(why, "' %s", what);
    return -EINVAL;
}

int zip_read_at(const struct zip_source *s, uint64_t offset, void *buf, size_t n, struct buf *why)
{
    ssize_t got;

    if (offset > s->size_bytes || n > s->size_bytes - offset)
        return zip_refuse(why, "a record lies outside the file");
    got = s->read(s->ctx, offset, buf, n);
    if (got < 0)
        return (int)got;
    return (size_t)got == n ? 0 : zip_refuse(why, "the file is cut short");
}

/* Where the central directory is, as the records at the end say. */
struct end {
    uint64_t offset; /* of the first record after the central directory */
    uint64_t entries, directory_bytes, directory_offset;
};

/* The last end record; its comment must reach to the end of the file exactly (no trailing data). */
static int find_end(const struct zip_source *s, uint8_t record[END_BYTES], uint64_t *ret_offset,
                    struct buf *why)
{
    size_t n =
        s->size_bytes < END_BYTES + COMMENT_MAX ? (size_t)s->size_bytes : END_BYTES + COMMENT_MAX;
    autofree uint8_t *tail = NULL;
    int r;

    if (s->size_bytes < END_BYTES)
        return zip_refuse(why, "the file is too short");
    r = zip_read_at(s, s->size_bytes - END_BYTES, record, END_BYTES, why);
    if (r < 0)
        return r;
    if (le32(record) == END_SIGN && le16(record + 20) == 0) {
        *ret_offset = s->size_bytes - END_BYTES;
        return 0;
    }
    tail = xmalloc(n);
    r = zip_read_at(s, s->size_bytes - n, tail, n, why);
    if (r < 0)
        return r;
    for (size_t at = n - END_BYTES + 1; at-- > 0;) {
        if (le32(tail + at) != END_SIGN)
            continue;
        if (le16(tail + at + 20) != n - at - END_BYTES)
            return zip_refuse(why, "data follows the end record");
        memcpy(record, tail + at, END_BYTES);
        *ret_offset = s->size_bytes - n + at;
        return 0;
    }
    return zip_refuse(why, "there is no end record: the file is cut short or is no zip archive");
}

static int parse_end(const uint8_t *p, struct end *end, struct buf *why)
{
    if (le16(p + 4) != 0 || le16(p + 6) != 0 || le16(p + 8) != le16(p + 10))
        return zip_refuse(why, "the archive is one of several volumes");
    end->entries = le16(p + 10);
    end->directory_bytes = le32(p + 12);
    end->directory_offset = le32(p + 16);
    return 0;
}

static bool either(uint64_t small, uint64_t small_max, uint64_t large)
{
    return small == small_max || small == large;
}

/* ZIP64: the locator stands directly before the end record, its record directly before it. */
static int parse_end64(const struct zip_source *s, const uint8_t *locator, struct end *end,
                       struct buf *why)
{
    uint64_t offset = le64(locator + 8);
    uint8_t p[END64_BYTES];
    int r;

    if (le32(locator + 4) != 0 || le32(locator + 16) > 1)
        return zip_refuse(why, "the archive is one of several volumes");
    if (end->offset < LOCATOR_BYTES + END64_BYTES ||
        offset != end->offset - LOCATOR_BYTES - END64_BYTES)
        return zip_refuse(why, "the zip64 locator points elsewhere");
    r = zip_read_at(s, offset, p, sizeof p, why);
    if (r < 0)
        return r;
    if (le32(p) != END64_SIGN || le64(p + 4) != END64_BYTES - 12 || le32(p + 16) != 0 ||
        le32(p + 20) != 0 || le64(p + 24) != le64(p + 32))
        return zip_refuse(why, "the zip64 end record is malformed");
    if (!either(end->entries, 0xffff, le64(p + 32)) ||
        !either(end->directory_bytes, 0xffffffff, le64(p + 40)) ||
        !either(end->directory_offset, 0xffffffff, le64(p + 48)))
        return zip_refuse(why, "the two end records disagree");
    *end = (struct end){offset, le64(p + 32), le64(p + 40), le64(p + 48)};
    return 0;
}

static int read_end(const struct zip_source *s, struct end *ret, struct buf *why)
{
    uint8_t record[END_BYTES], locator[LOCATOR_BYTES];
    struct end end = {0};
    int r;

    r = find_end(s, record, &end.offset, why);
    if (r < 0)
        return r;
    r = parse_end(record, &end, why);
    if (r < 0)
        return r;
    if (end.offset >= LOCATOR_BYTES) {
        r = zip_read_at(s, end.offset - LOCATOR_BYTES, locator, sizeof locator, why);
        if (r == 0 && le32(locator) == LOCATOR_SIGN)
            r = parse_end64(s, locator, &end, why);
        if (r < 0)
            return r;
    }
    if (end.directory_bytes > end.offset ||
        end.directory_offset != end.offset - end.directory_bytes)
        return zip_refuse(why, "the central directory is not where the end record says");
    if (end.entries > ZIP_ENTRIES_MAX || end.directory_bytes > ZIP_DIRECTORY_MAX)
        return zip_refuse(why, "more than %d entries", ZIP_ENTRIES_MAX);
    if (end.entries > end.directory_bytes / CENTRAL_BYTES)
        return zip_refuse(why, "the central directory is too short for its entries");
    *ret = end;
    return 0;
}

/* What an extra field may override, and what it must then hold. */
struct wide {
    uint64_t *size, *packed, *offset; /* offset NULL: a local header has none */
};

static int parse_zip64(const uint8_t *p, size_t n, const struct wide *w)
{
    uint64_t *const slots[] = {w->size, w->packed, w->offset};
    size_t at = 0;

    for (size_t i = 0; i < array_size(slots); i++) {
        if (slots[i] == NULL || *slots[i] != 0xffffffff)
            continue;
        if (n - at < 8)
            return -EINVAL;
        *slots[i] = le64(p + at);
        at += 8;
    }
    return 0;
}

/* Info-ZIP's second name: a reader that honours it would see another file. */
static bool same_path(const uint8_t *p, size_t n, struct slice name)
{
    return n >= 5 && slice_eq(slice_of(p + 5, n - 5), name);
}

static int parse_extra(const uint8_t *p, size_t n, struct zip_entry *e, const struct wide *w,
                       struct buf *why)
{
    bool seen = false;
    size_t len;

    for (; n >= 4; p += 4 + len, n -= 4 + len) {
        len = le16(p + 2);
        if (len > n - 4)
            return zip_refuse_entry(why, e, "has a malformed extra field");
        if (le16(p) == EXTRA_UNICODE_PATH && !same_path(p + 4, len, e->name))
            return zip_refuse_entry(why, e, "has a second name");
        if (le16(p) != EXTRA_ZIP64)
            continue;
        if (seen || parse_zip64(p + 4, len, w) < 0)
            return zip_refuse_entry(why, e, "has a malformed zip64 field");
        seen = true;
    }
    /* Fewer than 4 bytes at the end are padding that some tools leave; they must be zero. */
    for (; n > 0; p++, n--)
        if (*p != 0)
            return zip_refuse_entry(why, e, "has a malformed extra field");
    return 0;
}

/* Relative, no `.` or `..`, no empty component, no byte another system reads as a separator. */
static bool path_is_safe(struct slice name)
{
    const char *s = name.data;
    size_t start = 0;

    if (name.len == 0 || s[0] == '/' || !utf8_valid(name))
        return false;
    for (size_t i = 0; i < name.len; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f || s[i] == '\\' || (s[i] == ':' && i == 1))
            return false;
    for (size_t i = 0; i <= name.len; i++) {
        size_t len = i - start;

        if (i < name.len && s[i] != '/')
            continue;
        if ((len == 0 && i < name.len) || (len == 1 && s[start] == '.') ||
            (len == 2 && s[start] == '.' && s[start + 1] == '.'))
            return false;
        start = i + 1;
    }
    return true;
}

static int check_entry(const struct zip_entry *e, struct buf *why)
{
    if (!path_is_safe(e->name))
        return zip_refuse_entry(why, e, "has an unsafe name");
    if (e->flags & FLAGS_REFUSED)
        return zip_refuse_entry(why, e, "is encrypted");
    if (e->method != 0 && e->method != 8)
        return zip_refuse_entry(why, e, "is packed by a method other than store and deflate");
    if (e->method == 0 && e->packed_bytes != e->size_bytes)
        return zip_refuse_entry(why, e, "is stored with two different sizes");
    if (e->is_folder && e->size_bytes != 0)
        return zip_refuse_entry(why, e, "is a folder with content");
    return 0;
}

/* One entry of the central directory at p, of which n bytes are left; its length, or an errno. */
static ssize_t parse_central(const uint8_t *p, size_t n, struct zip_entry *e, struct buf *why)
{
    struct wide wide = {&e->size_bytes, &e->packed_bytes, &e->header_offset};
    size_t name_len, extra_len;
    int r;

    if (n < CENTRAL_BYTES || le32(p) != CENTRAL_SIGN)
        return zip_refuse(why, "the central directory is malformed");
    name_len = le16(p + 28);
    extra_len = le16(p + 30);
    if (CENTRAL_BYTES + name_len + extra_len > n)
        return zip_refuse(why, "the central directory is malformed");
    *e = (struct zip_entry){
        .name = slice_of(p + CENTRAL_BYTES, name_len),
        .packed_bytes = le32(p + 20),
        .size_bytes = le32(p + 24),
        .header_offset = le32(p + 42),
        .crc = le32(p + 16),
        .method = le16(p + 10),
        .flags = le16(p + 8),
        .is_folder = name_len > 0 && p[CENTRAL_BYTES + name_len - 1] == '/',
    };
    if (le16(p + 32) != 0)
        return zip_refuse_entry(why, e, "has a comment");
    if (le16(p + 34) != 0)
        return zip_refuse_entry(why, e, "lies on another volume");
    r = parse_extra(p + CENTRAL_BYTES + name_len, extra_len, e, &wide, why);
    if (r == 0)
        r = check_entry(e, why);
    return r < 0 ? r : (ssize_t)(CENTRAL_BYTES + name_len + extra_len);
}

static int by_offset(const void *a, const void *b)
{
    const struct zip_entry *x = a, *y = b;

    return x->header_offset < y->header_offset ? -1 : x->header_offset > y->header_offset;
}

static struct slice without_slash(struct slice name)
{
    return slice_of(name.data, name.len - (((const char *)name.data)[name.len - 1] == '/'));
}

static int by_name(const void *a, const void *b)
{
    const struct zip_entry *const *x = a, *const *y = b;

    return slice_cmp(without_slash((*x)->name), without_slash((*y)->name));
}

static int read_directory(struct zip *z, const struct end *end, struct buf *why)
{
    size_t at = 0;
    int r;

    z->directory_bytes = (size_t)end->directory_bytes;
    z->directory_offset = end->directory_offset;
    z->directory = malloc(z->directory_bytes + 1);
    z->entries = calloc((size_t)end->entries + 1, sizeof *z->entries);
    z->by_name = calloc((size_t)end->entries + 1, sizeof *z->by_name);
    if (z->directory == NULL || z->entries == NULL || z->by_name == NULL)
        return -ENOMEM;
    r = zip_read_at(&z->source, end->directory_offset, z->directory, z->directory_bytes, why);
    if (r < 0)
        return r;
    for (; z->n < end->entries; z->n++) {
        ssize_t len =
            parse_central(z->directory + at, z->directory_bytes - at, &z->entries[z->n], why);

        if (len < 0)
            return (int)len;
        at += (size_t)len;
    }
    if (at != z->directory_bytes)
        return zip_refuse(why, "the central directory has more than its entries");
    qsort(z->entries, z->n, sizeof *z->entries, by_offset);
    for (size_t i = 0; i < z->n; i++)
        z->by_name[i] = &z->entries[i];
    qsort(z->by_name, z->n, sizeof(struct zip_entry *), by_name);
    for (size_t i = 1; i < z->n; i++)
        if (by_name(&z->by_name[i - 1], &z->by_name[i]) == 0)
            return zip_refuse_entry(why, z->by_name[i], "is there twice");
    return 0;
}

/* With FLAG_AFTER a local header may leave sum and sizes zero; what it does say must be right. */
static bool agrees(uint64_t local, uint64_t central, bool after)
{
    return local == central || (after && local == 0);
}

static int compare_local(const uint8_t *p, struct zip_entry *e, struct buf *why)
{
    size_t name_len = le16(p + 26), extra_len = le16(p + 28);
    uint64_t packed = le32(p + 18), size = le32(p + 22);
    struct wide wide = {&size, &packed, NULL};
    bool after = e->flags & FLAG_AFTER;
    unsigned mask = FLAGS_REFUSED | FLAG_AFTER | FLAG_UTF8;
    int r;

    if (!slice_eq(slice_of(p + LOCAL_BYTES, name_len), e->name))
        return zip_refuse_entry(why, e, "has another name in its local header");
    r = parse_extra(p + LOCAL_BYTES + name_len, extra_len, e, &wide, why);
    if (r < 0)
        return r;
    if ((le16(p + 6) & mask) != (e->flags & mask) || le16(p + 8) != e->method ||
        !agrees(le32(p + 14), e->crc, after) || !agrees(packed, e->packed_bytes, after) ||
        !agrees(size, e->size_bytes, after))
        return zip_refuse_entry(why, e, "differs between local header and central directory");
    return 0;
}

static int read_local(const struct zip *z, struct zip_entry *e, struct buf *why)
{
    uint8_t fixed[1024];
    autofree uint8_t *large = NULL;
    uint8_t *p = fixed;
    uint64_t room = z->directory_offset - e->header_offset;
    size_t first = room < sizeof fixed ? (size_t)room : sizeof fixed;
    size_t len;
    int r;

    if (first < LOCAL_BYTES)
        return zip_refuse_entry(why, e, "has no local header");
    r = zip_read_at(&z->source, e->header_offset, p, first, why);
    if (r < 0)
        return r;
    if (le32(p) != LOCAL_SIGN)
        return zip_refuse_entry(why, e, "has no local header");
    len = LOCAL_BYTES + le16(p + 26) + le16(p + 28);
    if (len > room)
        return zip_refuse_entry(why, e, "has a local header that is cut");
    if (len > first) {
        p = large = xmalloc(len); /* at most 128 KiB */
        r = zip_read_at(&z->source, e->header_offset, p, len, why);
        if (r < 0)
            return r;
    }
    e->data_offset = e->header_offset + len;
    return compare_local(p, e, why);
}

/* Sum and sizes behind the data: with or without a signature, in 32 or 64 bits. Its length is what
 * lies before the next header. */
static int check_after(const struct zip *z, const struct zip_entry *e, uint64_t offset,
                       uint64_t len, struct buf *why)
{
    uint8_t record[24];
    const uint8_t *p = record;
    bool wide = len >= 20, sign = len == 16 || len == 24;
    int r;

    if (len != 12 && len != 16 && len != 20 && len != 24)
        return zip_refuse_entry(why, e, "is followed by bytes that belong to no entry");
    r = zip_read_at(&z->source, offset, record, (size_t)len, why);
    if (r < 0)
        return r;
    if (sign && le32(p) != AFTER_SIGN)
        return zip_refuse_entry(why, e, "has a malformed data descriptor");
    p += sign ? 4 : 0;
    if (le32(p) != e->crc || (wide ? le64(p + 4) : le32(p + 4)) != e->packed_bytes ||
        (wide ? le64(p + 12) : le32(p + 8)) != e->size_bytes)
        return zip_refuse_entry(why, e, "has a data descriptor that differs from the directory");
    return 0;
}

/* Every byte before the central directory belongs to exactly one entry. */
static int check_layout(struct zip *z, struct buf *why)
{
    uint64_t expected = 0;

    for (size_t i = 0; i < z->n; i++) {
        struct zip_entry *e = &z->entries[i];
        uint64_t next = i + 1 < z->n ? z->entries[i + 1].header_offset : z->directory_offset;
        int r;

        if (e->header_offset != expected || next > z->directory_offset)
            return zip_refuse_entry(why, e, "does not follow the entry before it");
        r = read_local(z, e, why);
        if (r < 0)
            return r;
        if (e->data_offset > next || e->packed_bytes > next - e->data_offset)
            return zip_refuse_entry(why, e, "reaches into the next one");
        if (e->flags & FLAG_AFTER) {
            uint64_t end = e->data_offset + e->packed_bytes;

            r = check_after(z, e, end, next - end, why);
            if (r < 0)
                return r;
        } else if (e->data_offset + e->packed_bytes != next) {
            return zip_refuse_entry(why, e, "is followed by bytes that belong to no entry");
        }
        expected = next;
    }
    return expected == z->directory_offset ? 0 : zip_refuse(why, "data precedes the first entry");
}

int zip_open(const struct zip_source *source, struct zip **ret, struct buf *why)
{
    scope_cleanup(scope_zip) struct zip *z = xcalloc(1, sizeof *z);
    struct end end;
    int r;

    z->source = *source;
    r = read_end(source, &end, why);
    if (r == 0)
        r = read_directory(z, &end, why);
    if (r == 0)
        r = check_layout(z, why);
    if (r < 0)
        return r;
    *ret = take(z);
    return 0;
}

void zip_close(struct zip *z)
{
    if (z == NULL)
        return;
    free(z->directory);
    free(z->entries);
    free(z->by_name);
    free(z);
}

size_t zip_count(const struct zip *z)
{
    return z->n;
}

const struct zip_entry *zip_entry(const struct zip *z, size_t i)
{
    return &z->entries[i];
}

const struct zip_entry *zip_find(const struct zip *z, struct slice name)
{
    struct zip_entry key = {.name = name};
    const struct zip_entry *const pointer = &key;
    struct zip_entry **found;

    if (name.len == 0)
        return NULL;
    found = bsearch(&pointer, z->by_name, z->n, sizeof(struct zip_entry *), by_name);
    return found != NULL && slice_eq((*found)->name, name) ? *found : NULL;
}
