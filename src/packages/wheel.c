#include "packages/wheel.h"

#include "base/scope.h"

#include <errno.h>

DEFINE_SCOPE(zip, struct zip, zip_close)

static bool same_release(const struct metadata *m, const struct package_filename *name)
{
    return project_name_same(m->name, slice_str(name->normal)) &&
           version_same(m->version, name->version);
}

int metadata_agrees(const struct metadata *m, struct package_filename *name, struct buf *why)
{
    struct package_filename reading = *name;

    do {
        if (same_release(m, &reading)) {
            *name = reading;
            return 0;
        }
    } while (package_filename_next(&reading));
    buf_printf(why, "the metadata inside is of '%.*s' %.*s, the file name says '%.*s' %.*s",
               (int)m->name.len, (const char *)m->name.data, (int)m->version.len,
               (const char *)m->version.data, (int)name->project.len,
               (const char *)name->project.data, (int)name->version.len,
               (const char *)name->version.data);
    return -EINVAL;
}

/* The folder of a path's first component, if that is a .dist-info. */
static bool dist_info_of(struct slice path, struct slice *ret)
{
    static const char suffix[] = ".dist-info";
    const char *s = path.data;
    const char *slash = memchr(s, '/', path.len);
    size_t len = slash != NULL ? (size_t)(slash - s) : 0;
    size_t n = sizeof suffix - 1;

    if (len <= n || memcmp(s + len - n, suffix, n) != 0)
        return false;
    *ret = slice_of(s, len);
    return true;
}

/* The one .dist-info folder. */
static int find_dist_info(const struct zip *z, struct slice *ret, struct buf *why)
{
    struct slice found = {0};

    for (size_t i = 0; i < zip_count(z); i++) {
        struct slice folder;

        if (!dist_info_of(zip_entry(z, i)->name, &folder))
            continue;
        if (found.len > 0 && !slice_eq(found, folder)) {
            buf_add_str(why, "the wheel has more than one .dist-info folder");
            return -EINVAL;
        }
        found = folder;
    }
    if (found.len == 0) {
        buf_add_str(why, "the wheel has no .dist-info folder");
        return -EINVAL;
    }
    *ret = found;
    return 0;
}

/* "{project}-{version}.dist-info", each compared as names and versions are. */
static int check_folder_name(struct slice folder, const struct package_filename *name,
                             struct buf *why)
{
    const char *s = folder.data;
    const char *dash = memchr(s, '-', folder.len);
    size_t end = folder.len - strlen(".dist-info");
    size_t len = dash != NULL ? (size_t)(dash - s) : 0;

    if (len > 0 && len < end && project_name_same(slice_of(s, len), slice_str(name->normal)) &&
        version_same(slice_of(dash + 1, end - len - 1), name->version))
        return 0;
    buf_printf(why, "the folder '%.*s' in the wheel is not that of its file name", (int)folder.len,
               s);
    return -EINVAL;
}

static int find_file(const struct zip *z, struct slice folder, const char *file,
                     const struct zip_entry **ret, struct buf *why)
{
    autobuf path = {0};

    buf_printf(&path, "%.*s/%s", (int)folder.len, (const char *)folder.data, file);
    *ret = zip_find(z, buf_slice(&path));
    if (*ret != NULL)
        return 0;
    buf_printf(why, "the wheel has no '%.*s/%s'", (int)folder.len, (const char *)folder.data, file);
    return -EINVAL;
}

/* WHEEL names the major version of the format; installers refuse one they do not know. */
static int check_wheel_file(const struct zip *z, const struct zip_entry *e, struct buf *why)
{
    autobuf text = {0};
    struct slice rest, field, value;
    unsigned line = 0;
    int r = zip_read(z, e, 1 << 20, &text, why);

    if (r < 0)
        return r == -EFBIG ? -EINVAL : r;
    rest = buf_slice(&text);
    while ((r = metadata_next(&rest, &field, &value, &line)) == 1) {
        if (!slice_eq(field, SLICE("Wheel-Version")))
            continue;
        if (slice_starts(value, SLICE("1.")))
            return 0;
        buf_add_str(why, "the wheel is of an unknown Wheel-Version");
        return -EINVAL;
    }
    buf_add_str(why, "the file WHEEL in the wheel has no Wheel-Version");
    return -EINVAL;
}

static int check_files(const struct zip *z, struct slice folder, const struct zip_entry **ret,
                       struct buf *why)
{
    const struct zip_entry *wheel, *record;
    int r;

    r = find_file(z, folder, "METADATA", ret, why);
    if (r == 0)
        r = find_file(z, folder, "WHEEL", &wheel, why);
    if (r == 0)
        r = find_file(z, folder, "RECORD", &record, why);
    if (r == 0)
        r = check_wheel_file(z, wheel, why);
    return r;
}

int wheel_check(const struct zip_source *source, const struct package_filename *name,
                struct buf *text, struct metadata *ret, struct buf *why)
{
    scope_cleanup(scope_zip) struct zip *z = NULL;
    struct package_filename as = *name;
    const struct zip_entry *metadata = NULL;
    struct slice folder = {0};
    size_t start = text->len;
    int r;

    r = zip_open(source, &z, why);
    if (r == 0)
        r = find_dist_info(z, &folder, why);
    if (r == 0)
        r = check_folder_name(folder, name, why);
    if (r == 0)
        r = check_files(z, folder, &metadata, why);
    if (r == 0)
        r = zip_read(z, metadata, METADATA_BYTES_MAX, text, why);
    if (r == 0)
        r = metadata_parse(slice_skip(buf_slice(text), start), ret, why);
    if (r == 0)
        r = metadata_agrees(ret, &as, why);
    return r == -EFBIG ? -EINVAL : r;
}
