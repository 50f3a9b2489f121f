#include "http/target.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *uri = strndup((const char *)data, size);
    struct target t;
    struct op op;

    op_init(&op, DOOR_HTTP, NULL);
    if (uri != NULL && target_parse(&op, uri, &t) == 0)
        if (t.path[0] != '/' || strstr(t.path, "//") != NULL || strstr(t.path, "/../") != NULL)
            abort();
    op_done(&op);
    free(uri);
    return 0;
}
