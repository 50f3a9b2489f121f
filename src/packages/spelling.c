/* spelling.c: of file names that differ only by case, dots, dashes and how a version is written
 * there is one. Installers take them for the same file, and would choose one.
 *
 * The normal spelling of a name is the name itself, most often; a file of another spelling has a
 * row `.as/<normal spelling>` that names it. */
#include "base/scope.h"
#include "packages/state.h"

#include <errno.h>

#define SPELLING_KEY ".as/"

static void add_lower(struct buf *b, struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = ((const char *)text.data)[i];

        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        buf_add(b, &c, 1);
    }
}

/* SPELLING_KEY and the normal spelling. */
static void spell(const struct package_file *f, struct buf *ret)
{
    struct package_filename p;

    buf_add_str(ret, SPELLING_KEY);
    for (const char *c = f->project; *c != 0; c++)
        buf_add(ret, *c == '-' ? "_" : c, 1);
    buf_printf(ret, "-%s", f->version);
    if (f->kind != PACKAGE_WHEEL || package_filename_parse(slice_str(f->name), &p, NULL) < 0) {
        buf_add_str(ret, f->kind == PACKAGE_SDIST_ZIP ? ".zip" : ".tar.gz");
        return;
    }
    if (p.build.len > 0) {
        buf_add_str(ret, "-");
        add_lower(ret, p.build);
    }
    buf_add_str(ret, "-");
    add_lower(ret, p.python);
    buf_add_str(ret, "-");
    add_lower(ret, p.abi);
    buf_add_str(ret, "-");
    add_lower(ret, p.platform);
    buf_add_str(ret, ".whl");
}

static struct slice normal_of(const struct buf *key)
{
    return slice_skip(buf_slice(key), strlen(SPELLING_KEY));
}

void spelling_take(struct store_batch *batch, const struct package_file *f)
{
    autobuf key = {0};

    spell(f, &key);
    store_batch_expect_absent(batch, buf_slice(&key));
    if (slice_eq(normal_of(&key), slice_str(f->name)))
        return;
    store_batch_expect_absent(batch, normal_of(&key));
    store_batch_put(batch, buf_slice(&key), slice_str(f->name));
}

void spelling_leave(struct store_batch *batch, const struct package_file *f)
{
    autobuf key = {0};

    spell(f, &key);
    if (!slice_eq(normal_of(&key), slice_str(f->name)))
        store_batch_delete(batch, buf_slice(&key));
}

static int refuse(struct op *op, const char *name, struct slice other)
{
    return op_fail(op, EEXIST,
                   "File already exists ('%s'), as '%.*s': names that differ only by case, dots, "
                   "dashes or how the version is written are one",
                   name, (int)other.len, (const char *)other.data);
}

int spelling_check(struct op *op, struct packages *pk, const struct package_file *f)
{
    char text[PARTITION_MAX];
    struct slice partition = project_partition(f->project, text);
    struct store_value value = {0};
    autobuf key = {0};
    int r;

    spell(f, &key);
    r = store_get(pk->store, partition, buf_slice(&key), &value);
    if (r == 0 && !slice_eq(value.data, slice_str(f->name)))
        r = refuse(op, f->name, value.data);
    store_value_release(&value);
    if (r != -ENOENT || slice_eq(normal_of(&key), slice_str(f->name)))
        return r == -ENOENT ? 0 : r;
    value = (struct store_value){0};
    r = store_get(pk->store, partition, normal_of(&key), &value);
    store_value_release(&value);
    if (r == 0)
        return refuse(op, f->name, normal_of(&key));
    return r == -ENOENT ? 0 : r;
}
