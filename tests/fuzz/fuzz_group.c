/* A group of samples as a damaged disk might give it. */
#include "metrics/head/chunk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct group *g = NULL;
    struct samples s = {0};
    const uint64_t *ids;
    size_t n;

    if (group_open(slice_of(data, size), &g) < 0)
        return 0;
    ids = group_ids(g, &n);
    for (size_t i = 0; i < n; i++) {
        s.n = 0;
        group_read(g, ids[i], INT64_MIN, INT64_MAX, &s);
    }
    samples_done(&s);
    group_free(g);
    return 0;
}
