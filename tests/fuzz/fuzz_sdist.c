/* gunzip and the check of an sdist; the first byte chooses between .tar.gz and .zip. */
#include "base/scope.h"
#include "packages/sdist.h"

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
    return 0;
}
