#include "http/conditional.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *list = strndup((const char *)data, size);

    etag_is_listed(list, "\"a\"");
    etag_is_listed("\"a\", W/\"b\"", list);
    not_modified_since(list, "Tue, 14 Nov 2023 22:13:20 GMT");
    if_range_holds(list, "\"a\"", list);
    free(list);
    return 0;
}
