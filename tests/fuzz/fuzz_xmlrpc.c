/* The call of an XML-RPC client. */
#include "packages/xmlrpc.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct xmlrpc_call call;
    const char *why = NULL;
    char *text = malloc(size + 1);
    int r;

    if (text == NULL)
        abort();
    if (size > 0)
        memcpy(text, data, size);
    r = xmlrpc_parse(text, size, &call, &why);
    if ((r < 0) != (why != NULL))
        abort();
    for (size_t i = 0; i < call.n; i++)
        if (call.strings[i].member.len + call.strings[i].text.len > size)
            abort();
    free(text);
    return 0;
}
