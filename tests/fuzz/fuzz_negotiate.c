#include "base/negotiate.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const offers[] = {"text/html", "text/plain; version=0.0.4", "a/b", NULL};
    const char *got = negotiate_type(slice_of(data, size), offers);

    if (got != NULL && got != offers[0] && got != offers[1] && got != offers[2])
        abort();
    negotiate_coding(slice_of(data, size), SLICE("gzip"));
    return 0;
}
