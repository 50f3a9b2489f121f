/* Pages of another package index: HTML and JSON. */
#include "base/scope.h"
#include "base/simple_index.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int check(void *ctx, const struct simple_file *f)
{
    (void)ctx;
    if (memchr(f->url.data, '#', f->url.len) != NULL)
        abort();
    return 0;
}

static int count(void *ctx, struct slice name)
{
    *(size_t *)ctx += name.len;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const types[] = {"text/html", "application/vnd.pypi.simple.v1+json"};

    for (size_t i = 0; i < array_size(types); i++) {
        autobuf why = {0};
        size_t n = 0;

        simple_index_files(slice_of(data, size), types[i], check, NULL, &why);
        simple_index_projects(slice_of(data, size), types[i], count, &n, &why);
    }
    return 0;
}
