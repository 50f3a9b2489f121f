#include "base/simple_index.h"

#include "base/clock.h"
#include "base/codec.h"
#include "base/json.h"
#include "base/scope.h"

#include <errno.h>
#include <strings.h>

DEFINE_SCOPE(json, json_t, json_decref)
#define autojson scope_cleanup(scope_json) json_t

#define ATTRIBUTES_MAX 16

static bool is_json(const char *type)
{
    size_t n = type != NULL ? strcspn(type, "; ") : 0;

    return (n >= 5 && strncasecmp(type + n - 5, "+json", 5) == 0) ||
           (n == 16 && strncasecmp(type, "application/json", 16) == 0);
}

static bool read_sha256(struct slice hex, struct digest *ret)
{
    *ret = (struct digest){.algorithm = DIGEST_SHA256};
    return hex.len == 64 && hex_decode(hex, ret->bytes, 32) == 32;
}

/* JSON. */

static struct slice text_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    return json_is_string(value) ? slice_of(json_string_value(value), json_string_length(value))
                                 : (struct slice){0};
}

static struct slice without_fragment(struct slice url)
{
    const char *hash = url.len > 0 ? memchr(url.data, '#', url.len) : NULL;

    return hash != NULL ? slice_of(url.data, (size_t)(hash - (const char *)url.data)) : url;
}

static void read_json_file(const json_t *item, struct simple_file *f)
{
    const json_t *yanked = json_object_get(item, "yanked");
    const json_t *metadata = json_object_get(item, "core-metadata");
    const json_t *size = json_object_get(item, "size");

    if (metadata == NULL)
        metadata = json_object_get(item, "dist-info-metadata"); /* PEP 714: older servers */
    *f = (struct simple_file){
        .name = text_of(item, "filename"),
        .url = without_fragment(text_of(item, "url")),
        .requires_python = text_of(item, "requires-python"),
        .yanked = text_of(item, "yanked"),
        .is_yanked = json_is_true(yanked) || json_is_string(yanked),
    };
    f->has_sha256 = read_sha256(text_of(json_object_get(item, "hashes"), "sha256"), &f->sha256);
    f->has_metadata = read_sha256(text_of(metadata, "sha256"), &f->metadata);
    if (json_is_integer(size) && json_integer_value(size) > 0)
        f->size_bytes = (uint64_t)json_integer_value(size);
    if (clock_parse(text_of(item, "upload-time"), &f->uploaded_unix_ns) < 0)
        f->uploaded_unix_ns = 0;
}

static json_t *load(struct slice page, const char *list, struct buf *why)
{
    json_error_t error;
    json_t *root = json_loadb(page.data != NULL ? page.data : "", page.len, 0, &error);

    if (json_is_array(json_object_get(root, list)))
        return root;
    buf_printf(why, "the page has no list '%s'", list);
    json_decref(root);
    return NULL;
}

static int json_files(struct slice page, int (*f)(void *ctx, const struct simple_file *file),
                      void *ctx, struct buf *why)
{
    autojson *root = load(page, "files", why);
    const json_t *files = json_object_get(root, "files");
    int r = root != NULL ? 0 : -EINVAL;

    for (size_t i = 0; r == 0 && i < json_array_size(files); i++) {
        struct simple_file file;

        read_json_file(json_array_get(files, i), &file);
        if (file.name.len > 0 && file.url.len > 0)
            r = f(ctx, &file);
    }
    return r;
}

static int json_projects(struct slice page, int (*f)(void *ctx, struct slice name), void *ctx,
                         struct buf *why)
{
    autojson *root = load(page, "projects", why);
    const json_t *projects = json_object_get(root, "projects");
    int r = root != NULL ? 0 : -EINVAL;

    for (size_t i = 0; r == 0 && i < json_array_size(projects); i++) {
        struct slice name = text_of(json_array_get(projects, i), "name");

        if (name.len > 0)
            r = f(ctx, name);
    }
    return r;
}

/* HTML: the anchors, wherever they stand. */

struct anchor {
    struct {
        struct slice name;
        struct buf value; /* decoded */
    } attributes[ATTRIBUTES_MAX];
    size_t n;
};

static void anchor_clear(struct anchor *a)
{
    for (size_t i = 0; i < a->n; i++)
        buf_done(&a->attributes[i].value);
    a->n = 0;
}

static const struct buf *anchor_get(const struct anchor *a, const char *name)
{
    for (size_t i = 0; i < a->n; i++)
        if (a->attributes[i].name.len == strlen(name) &&
            strncasecmp(a->attributes[i].name.data, name, strlen(name)) == 0)
            return &a->attributes[i].value;
    return NULL;
}

static struct slice anchor_text(const struct anchor *a, const char *name)
{
    const struct buf *value = anchor_get(a, name);

    return value != NULL ? buf_slice(value) : (struct slice){0};
}

/* "&gt;", "&#39;", "&#x27;": the length taken, 0 if it is none that stands for an ASCII character.
 */
static size_t read_entity(struct slice s, char *ret)
{
    static const struct {
        const char *text;
        char c;
    } named[] = {{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''}};
    const char *p = s.data;
    unsigned code = 0;
    size_t i = 2;

    for (size_t k = 0; k < array_size(named); k++)
        if (slice_starts(s, slice_str(named[k].text))) {
            *ret = named[k].c;
            return strlen(named[k].text);
        }
    if (s.len < 4 || p[1] != '#')
        return 0;
    i += p[2] == 'x' || p[2] == 'X';
    for (; i < s.len && i < 9 && p[i] != ';'; i++) {
        uint8_t digit;
        char hex[2] = {'0', p[i]};

        if (hex_decode(slice_of(hex, 2), &digit, 1) < 0 ||
            (p[2] != 'x' && p[2] != 'X' && digit > 9))
            return 0;
        code = code * (p[2] == 'x' || p[2] == 'X' ? 16 : 10) + digit;
    }
    if (i >= s.len || p[i] != ';' || code == 0 || code > 0x7e)
        return 0;
    *ret = (char)code;
    return i + 1;
}

static void decode(struct slice s, struct buf *out)
{
    while (s.len > 0) {
        char c = *(const char *)s.data;
        size_t n = c == '&' ? read_entity(s, &c) : 0;

        buf_add_char(out, c);
        s = slice_skip(s, n > 0 ? n : 1);
    }
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f';
}

/* From the start of an attribute to behind it; *ret_value is raw, without its quotes. */
static const char *read_attribute(const char *p, const char *end, struct slice *ret_name,
                                  struct slice *ret_value)
{
    const char *start = p;
    char quote = 0;

    while (p < end && !is_space(*p) && *p != '=' && *p != '>')
        p++;
    *ret_name = slice_of(start, (size_t)(p - start));
    *ret_value = (struct slice){0};
    while (p < end && is_space(*p))
        p++;
    if (p == end || *p != '=')
        return p;
    p++;
    while (p < end && is_space(*p))
        p++;
    if (p < end && (*p == '"' || *p == '\''))
        quote = *p++;
    start = p;
    while (p < end && (quote != 0 ? *p != quote : !is_space(*p) && *p != '>'))
        p++;
    *ret_value = slice_of(start, (size_t)(p - start));
    return p < end && quote != 0 ? p + 1 : p;
}

/* The next anchor's attributes. False: there is no more. */
static bool next_anchor(const char **at, const char *end, struct anchor *a)
{
    const char *p = *at;

    anchor_clear(a);
    while (p + 2 < end && !(p[0] == '<' && (p[1] == 'a' || p[1] == 'A') && is_space(p[2])))
        p++;
    if (p + 2 >= end)
        return false;
    p += 2;
    for (;;) {
        struct slice name, value;

        while (p < end && (is_space(*p) || *p == '/'))
            p++;
        if (p == end || *p == '>')
            break;
        if (*p == '=') { /* the value of no name */
            p++;
            continue;
        }
        p = read_attribute(p, end, &name, &value);
        if (a->n == ATTRIBUTES_MAX)
            continue;
        a->attributes[a->n].name = name;
        a->attributes[a->n].value = (struct buf){0};
        decode(value, &a->attributes[a->n++].value);
    }
    *at = p;
    return true;
}

/* The last part of a URL's path that is not empty, decoded. */
static int last_part(struct slice url, struct buf *out)
{
    const char *s = url.data;
    size_t end = url.len, start;

    for (size_t i = 0; i < end; i++)
        if (s[i] == '?' || s[i] == '#')
            end = i;
    while (end > 0 && s[end - 1] == '/')
        end--;
    for (start = end; start > 0 && s[start - 1] != '/';)
        start--;
    if (start == end)
        return -EINVAL;
    return percent_decode(out, slice_of(s + start, end - start), false);
}

/* "sha256=…" in the value of an attribute or in a URL's fragment. */
static bool read_hash(struct slice text, struct digest *ret)
{
    return slice_starts(text, SLICE("sha256=")) && text.len >= 7 + 64 &&
           read_sha256(slice_of((const char *)text.data + 7, 64), ret);
}

static void read_html_file(const struct anchor *a, struct slice href, struct simple_file *f)
{
    const struct buf *yanked = anchor_get(a, "data-yanked");

    f->url = without_fragment(href);
    if (f->url.len < href.len)
        f->has_sha256 = read_hash(slice_skip(href, f->url.len + 1), &f->sha256);
    f->has_metadata = read_hash(anchor_text(a, "data-core-metadata"), &f->metadata) ||
                      read_hash(anchor_text(a, "data-dist-info-metadata"), &f->metadata);
    f->requires_python = anchor_text(a, "data-requires-python");
    f->is_yanked = yanked != NULL;
    if (yanked != NULL)
        f->yanked = buf_slice(yanked);
}

static int html_files(struct slice page, int (*f)(void *ctx, const struct simple_file *file),
                      void *ctx)
{
    const char *at = page.data, *end = at + page.len;
    struct anchor a = {0};
    int r = 0;

    while (r == 0 && page.len > 0 && next_anchor(&at, end, &a)) {
        struct slice href = anchor_text(&a, "href");
        struct simple_file file = {0};
        autobuf name = {0};

        if (href.len == 0 || last_part(without_fragment(href), &name) < 0)
            continue;
        file.name = buf_slice(&name);
        read_html_file(&a, href, &file);
        r = f(ctx, &file);
    }
    anchor_clear(&a);
    return r;
}

static int html_projects(struct slice page, int (*f)(void *ctx, struct slice name), void *ctx)
{
    const char *at = page.data, *end = at + page.len;
    struct anchor a = {0};
    int r = 0;

    while (r == 0 && page.len > 0 && next_anchor(&at, end, &a)) {
        autobuf name = {0};

        if (last_part(anchor_text(&a, "href"), &name) == 0)
            r = f(ctx, buf_slice(&name));
    }
    anchor_clear(&a);
    return r;
}

int simple_index_files(struct slice page, const char *content_type,
                       int (*f)(void *ctx, const struct simple_file *file), void *ctx,
                       struct buf *why)
{
    return is_json(content_type) ? json_files(page, f, ctx, why) : html_files(page, f, ctx);
}

int simple_index_projects(struct slice page, const char *content_type,
                          int (*f)(void *ctx, struct slice name), void *ctx, struct buf *why)
{
    return is_json(content_type) ? json_projects(page, f, ctx, why) : html_projects(page, f, ctx);
}
