#include "packages/metadata.h"

#include "base/utf8.h"
#include "packages/name.h"
#include "packages/version.h"

#include <errno.h>
#include <strings.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static struct slice trim(struct slice s)
{
    const char *c = s.data;

    while (s.len > 0 && is_blank(*c)) {
        c++;
        s.len--;
    }
    while (s.len > 0 && is_blank(c[s.len - 1]))
        s.len--;
    return slice_of(c, s.len);
}

/* Takes a line off text, without its end. */
static struct slice next_line(struct slice *text)
{
    const char *s = text->data;
    const char *newline = memchr(s, '\n', text->len);
    size_t len = newline != NULL ? (size_t)(newline - s) : text->len;

    *text = slice_skip(*text, newline != NULL ? len + 1 : len);
    if (len > 0 && s[len - 1] == '\r')
        len--;
    return slice_of(s, len);
}

int metadata_next(struct slice *text, struct slice *ret_name, struct slice *ret_value,
                  unsigned *line)
{
    const char *start = text->data;
    struct slice rest = *text;
    struct slice head;
    const char *colon;
    const char *end;

    if (text->len == 0)
        return 0;
    ++*line;
    head = next_line(&rest);
    if (head.len == 0) {
        *text = rest;
        return 0;
    }
    colon = memchr(head.data, ':', head.len);
    if (colon == NULL || colon == start || is_blank(*start))
        return -EINVAL;
    for (const char *c = start; c < colon; c++)
        if (*c <= ' ' || *c >= 127)
            return -EINVAL;
    end = start + head.len;
    while (rest.len > 0 && (*(const char *)rest.data == ' ' || *(const char *)rest.data == '\t')) {
        head = next_line(&rest);
        end = (const char *)head.data + head.len;
        ++*line;
    }
    *ret_name = slice_of(start, (size_t)(colon - start));
    *ret_value = trim(slice_of(colon + 1, (size_t)(end - colon - 1)));
    *text = rest;
    return 1;
}

static bool is_field(struct slice name, const char *field)
{
    return name.len == strlen(field) && strncasecmp(name.data, field, name.len) == 0;
}

/* The fields that are kept; each may be there once. */
static struct slice *slot_of(struct metadata *m, struct slice name)
{
    if (is_field(name, "Name"))
        return &m->name;
    if (is_field(name, "Version"))
        return &m->version;
    if (is_field(name, "Metadata-Version"))
        return &m->metadata_version;
    if (is_field(name, "Requires-Python"))
        return &m->requires_python;
    if (is_field(name, "Summary"))
        return &m->summary;
    return NULL;
}

bool metadata_version_valid(struct slice s)
{
    const char *c = s.data;

    return s.len == 3 && (c[0] == '1' || c[0] == '2') && c[1] == '.' && c[2] >= '0' && c[2] <= '9';
}

static int refuse(struct buf *why, const char *what, struct slice value)
{
    buf_printf(why, "metadata: %s", what);
    if (value.len > 0 && value.len <= VERSION_TEXT_MAX)
        buf_printf(why, " '%.*s'", (int)value.len, (const char *)value.data);
    return -EINVAL;
}

static int check(const struct metadata *m, struct buf *why)
{
    struct version v;

    if (m->metadata_version.len == 0)
        return refuse(why, "field Metadata-Version is missing", (struct slice){0});
    if (!metadata_version_valid(m->metadata_version))
        return refuse(why, "unknown Metadata-Version", m->metadata_version);
    if (m->name.len == 0)
        return refuse(why, "field Name is missing", (struct slice){0});
    if (!project_name_valid(m->name))
        return refuse(why, "not a valid project name:", m->name);
    if (m->version.len == 0)
        return refuse(why, "field Version is missing", (struct slice){0});
    if (version_parse(m->version, &v) < 0)
        return refuse(why, "not a PEP 440 version:", m->version);
    if (m->requires_python.len > 2000 || !specifiers_valid(m->requires_python))
        return refuse(why, "Requires-Python is not a PEP 440 specifier set:", m->requires_python);
    return 0;
}

int metadata_parse(struct slice text, struct metadata *ret, struct buf *why)
{
    struct metadata m = {0};
    struct slice name, value;
    unsigned line = 0;
    int r;

    if (!utf8_valid(text))
        return refuse(why, "the text is not UTF-8", (struct slice){0});
    if (slice_starts(text, SLICE("\xef\xbb\xbf"))) /* byte order mark: some editors leave one */
        text = slice_skip(text, 3);
    while ((r = metadata_next(&text, &name, &value, &line)) == 1) {
        struct slice *slot = slot_of(&m, name);

        if (slot == NULL)
            continue;
        if (slot->data != NULL)
            return refuse(why, "a field is there twice:", name);
        *slot = value;
    }
    if (r < 0) {
        buf_printf(why, "metadata: line %u is no header and no continuation of one", line);
        return r;
    }
    r = check(&m, why);
    if (r == 0)
        *ret = m;
    return r;
}
