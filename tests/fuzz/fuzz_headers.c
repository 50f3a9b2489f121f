/* Lines of "name:value". */
#include "http/headers.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = strndup((const char *)data, size), *rest = text;
    struct headers h = {0};
    const char *why;
    uint64_t length;
    char *line;

    while ((line = strsep(&rest, "\n")) != NULL) {
        char *name = strsep(&line, ":");

        headers_add(&h, name, line);
    }
    if (headers_check(&h, &length, &why) == 0 &&
        (h.n_host != 1 || h.n_content_length + h.n_transfer_encoding > 1))
        abort();
    free(text);
    return 0;
}
