#include "http/range.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint64_t sizes[] = {0, 1, 1000, UINT64_MAX};
    char *header = strndup((const char *)data, size);

    for (size_t i = 0; header != NULL && i < sizeof sizes / sizeof sizes[0]; i++) {
        struct range r = {0};

        if (range_parse(header, sizes[i], &r) == RANGE_PART &&
            (r.length == 0 || r.offset >= sizes[i] || r.length > sizes[i] - r.offset))
            abort();
    }
    free(header);
    return 0;
}
