/* The first byte tells which header it is. */
#include "http/credentials.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *value = size > 0 ? strndup((const char *)data + 1, size - 1) : NULL;
    bool vault = size > 0 && data[0] == 'v';
    struct credentials c;

    if (credentials_parse(vault ? NULL : value, vault ? value : NULL, &c) == 0 &&
        c.kind == CREDENTIALS_BASIC && memchr(c.user.data, ':', c.user.len) != NULL)
        abort();
    credentials_wipe(&c);
    free(value);
    return 0;
}
