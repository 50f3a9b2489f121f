/* The index of a layer, as the disk gives it back. */
#include "layer_walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes bytes = {data, size};
    struct layer_index x = {.read = bytes_read_all, .ctx = &bytes, .size_bytes = size};

    if (layer_index_open(&x) == 0)
        layer_walk_index(&x);
    return 0;
}
