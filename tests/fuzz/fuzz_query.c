#include "web.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct web_param *params;
    size_t n = 0, total = 0;
    struct op op;

    op_init(&op, DOOR_HTTP, NULL);
    if (web_parse_query(&op, slice_of(data, size), &params, &n) == 0)
        for (size_t i = 0; i < n; i++)
            total += strlen(params[i].name) + strlen(params[i].value);
    if (total > size)
        abort();
    op_done(&op);
    return 0;
}
