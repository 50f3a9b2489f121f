/* A row of payloads as a damaged disk might give it. */
#include "metrics/head/payload.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct payload_list list = {0};

    payload_row_decode(slice_of(data, size), 1700000000000, INT64_MIN, INT64_MAX, &list);
    payload_list_done(&list);
    return 0;
}
