#include "packages/filename.h"

#include <errno.h>

#define WHEEL_FIELDS_MAX 6

static const struct {
    const char *suffix;
    enum package_kind kind;
} suffixes[] = {
    {".whl", PACKAGE_WHEEL},
    {".tar.gz", PACKAGE_SDIST_TAR},
    {".zip", PACKAGE_SDIST_ZIP},
};

static bool ends_with(struct slice s, const char *suffix)
{
    size_t n = strlen(suffix);

    return s.len > n && memcmp((const char *)s.data + s.len - n, suffix, n) == 0;
}

/* The kind by its suffix, and the text before it; 0 if it has none of them. */
static enum package_kind kind_of(struct slice text, struct slice *ret_stem)
{
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        if (!ends_with(text, suffixes[i].suffix))
            continue;
        *ret_stem = slice_of(text.data, text.len - strlen(suffixes[i].suffix));
        return suffixes[i].kind;
    }
    return 0;
}

bool package_filename_looks(struct slice text)
{
    struct slice stem;

    return kind_of(text, &stem) != 0;
}

__attribute__((format(printf, 2, 3))) static int refuse(struct buf *why, const char *format, ...)
{
    va_list args;

    if (why == NULL)
        return -EINVAL;
    va_start(args, format);
    buf_vprintf(why, format, args);
    va_end(args);
    return -EINVAL;
}

static bool is_plain(struct slice text)
{
    const char *s = text.data;

    for (size_t i = 0; i < text.len; i++) {
        char c = s[i];

        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
              (c != 0 && strchr("_.!+-", c) != NULL)))
            return false;
    }
    return text.len > 0 && s[0] != '.';
}

/* Splits at dashes; the number of fields, or one more than the maximum. */
static size_t split(struct slice text, struct slice fields[WHEEL_FIELDS_MAX])
{
    size_t n = 0;

    for (;;) {
        const char *dash = text.len > 0 ? memchr(text.data, '-', text.len) : NULL;
        size_t len = dash != NULL ? (size_t)(dash - (const char *)text.data) : text.len;

        if (n == WHEEL_FIELDS_MAX)
            return n + 1;
        fields[n++] = slice_of(text.data, len);
        if (dash == NULL)
            return n;
        text = slice_skip(text, len + 1);
    }
}

static bool is_tag(struct slice s)
{
    const char *c = s.data;

    for (size_t i = 0; i < s.len; i++)
        if (c[i] == '!' || c[i] == '+')
            return false;
    return s.len > 0;
}

static int parse_wheel(struct slice stem, struct package_filename *f, struct buf *why)
{
    struct slice fields[WHEEL_FIELDS_MAX];
    size_t n = split(stem, fields);
    struct version v;

    if (n != 5 && n != 6)
        return refuse(why,
                      "file name '%.*s' is not that of a wheel: it has %s than the 5 or 6 "
                      "parts name-version[-build]-python-abi-platform.whl",
                      (int)f->text.len, (const char *)f->text.data, n < 5 ? "less" : "more");
    f->project = fields[0];
    f->version = fields[1];
    if (n == 6)
        f->build = fields[2];
    f->python = fields[n - 3];
    f->abi = fields[n - 2];
    f->platform = fields[n - 1];
    if (n == 6 && (f->build.len == 0 ||
                   !(*(const char *)f->build.data >= '0' && *(const char *)f->build.data <= '9')))
        return refuse(why, "build tag '%.*s' of the wheel's name does not begin with a digit",
                      (int)f->build.len, (const char *)f->build.data);
    if (!is_tag(f->python) || !is_tag(f->abi) || !is_tag(f->platform))
        return refuse(why, "file name '%.*s' has an empty or bad tag", (int)f->text.len,
                      (const char *)f->text.data);
    if (version_parse(f->version, &v) < 0)
        return refuse(why, "version '%.*s' in the file name is not a PEP 440 version",
                      (int)f->version.len, (const char *)f->version.data);
    return 0;
}

/* Divides the stem at the last dash before `end` that leaves a project and a version. */
static bool divide(struct slice stem, size_t end, struct package_filename *f)
{
    const char *s = stem.data;
    struct version v;

    for (size_t i = end; i-- > 1;) {
        struct slice name = slice_of(s, i);
        struct slice rest = slice_skip(stem, s[i] == '-' ? i + 1 : i);

        if (s[i] != '-' || !project_name_valid(name) || version_parse(rest, &v) < 0)
            continue;
        f->project = name;
        f->version = rest;
        project_name_normalise(name, f->normal);
        return true;
    }
    return false;
}

bool package_filename_next(struct package_filename *f)
{
    struct slice stem;

    if (f->kind == PACKAGE_WHEEL || kind_of(f->text, &stem) == 0)
        return false;
    return divide(stem, f->project.len, f);
}

int package_filename_parse(struct slice text, struct package_filename *ret, struct buf *why)
{
    struct package_filename f = {.text = text};
    struct slice stem;
    int r;

    if (text.len > PACKAGE_FILENAME_MAX)
        return refuse(why, "file name is longer than %d bytes", PACKAGE_FILENAME_MAX);
    if (!is_plain(text))
        return refuse(why, "file name has bytes other than letters, digits and _.!+- or begins "
                           "with a dot");
    f.kind = kind_of(text, &stem);
    if (f.kind == 0)
        return refuse(why, "file name '%.*s' does not end in .whl, .tar.gz or .zip", (int)text.len,
                      (const char *)text.data);
    if (f.kind == PACKAGE_WHEEL) {
        r = parse_wheel(stem, &f, why);
        if (r < 0)
            return r;
    } else if (!divide(stem, stem.len, &f)) {
        return refuse(why, "file name '%.*s' is not name-version with a PEP 440 version",
                      (int)text.len, (const char *)text.data);
    }
    if (!project_name_valid(f.project))
        return refuse(why, "project name '%.*s' in the file name is not valid", (int)f.project.len,
                      (const char *)f.project.data);
    project_name_normalise(f.project, f.normal);
    *ret = f;
    return 0;
}
