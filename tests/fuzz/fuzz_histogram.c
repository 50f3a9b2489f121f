/* Any bytes as a stored histogram: what is read comes back from its own bytes. */
#include "metrics/histogram.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_of(data, size);
    struct histogram *h = NULL;
    struct histogram *back = NULL;
    autobuf bytes = {0};
    autobuf why = {0};

    if (histogram_decode(&in, &h) < 0)
        return 0;
    histogram_check(h, &why);
    histogram_encode(&bytes, h);
    in = buf_slice(&bytes);
    if (histogram_decode(&in, &back) < 0 || !histogram_eq(h, back))
        abort();
    histogram_coarsen(h, -4);
    histogram_free(h);
    histogram_free(back);
    return 0;
}
