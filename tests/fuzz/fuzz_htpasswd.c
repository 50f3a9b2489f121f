#include "base/buf.h"
#include "identity/identity.h"
#include "identity/userfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int count(void *ctx, unsigned line, struct slice name, struct slice hash)
{
    (void)line;
    *(size_t *)ctx += name.len + hash.len;
    return 0;
}

/* What is taken line by line is never more than the file holds. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    autobuf why = {0};
    size_t total = 0;

    users_check(slice_of(data, size), &why);
    userfile_each(slice_of(data, size), count, NULL, &total);
    if (total > size)
        __builtin_trap();
    return 0;
}
