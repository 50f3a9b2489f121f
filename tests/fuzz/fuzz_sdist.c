/* gunzip and the check of an sdist; the first byte chooses between .tar.gz and .zip. */
#include "base/scope.h"
#include "packages/inside.h"
#include "packages/sdist.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct bytes {
    const uint8_t *data;
    size_t size;
};

static ssize_t read_bytes(void *ctx, uint64_t offset, void *buf, size_t n)
{
    const struct bytes *b = ctx;

    if (offset >= b->size)
        return 0;
    if (n > b->size - offset)
        n = b->size - (size_t)offset;
    memcpy(buf, b->data + offset, n);
    return (ssize_t)n;
}

/* Every entry, from the top down; each folder that is listed must be found. */
static int visit(void *ctx, const char *name, const struct inside_entry *e)
{
    struct inside *in = ctx;
    autobuf out = {0}, why = {0};

    if (name[0] == 0 || inside_find(in, e->path) == NULL)
        abort();
    if (e->is_folder)
        return inside_list(in, e->path, visit, in);
    inside_read(in, e, &out, &why);
    return 0;
}

static void look_inside(const struct zip_source *source, enum package_kind kind)
{
    struct inside *in = NULL;
    autobuf why = {0};

    if (inside_open(source, kind, &in, &why) == 0)
        inside_list(in, "", visit, in);
    inside_close(in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes bytes = {data, size};
    struct zip_source source = {read_bytes, &bytes, size};
    struct package_filename name;
    struct metadata metadata;
    autobuf why = {0}, text = {0};
    struct slice file = size > 0 && data[0] == 'P' ? SLICE("foo-1.0.zip") : SLICE("foo-1.0.tar.gz");

    if (package_filename_parse(file, &name, NULL) == 0)
        sdist_check(&source, &name, &text, &metadata, &why);
    look_inside(&source,
                data != NULL && size > 0 && data[0] == 'P' ? PACKAGE_SDIST_ZIP : PACKAGE_SDIST_TAR);
    return 0;
}
