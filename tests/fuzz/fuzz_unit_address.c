/* The address that systemd gives its sockets. */
#include "secrets/units.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice unit, credential;

    if (unit_parse(slice_of(data, size), &unit, &credential) == 0 &&
        (unit.len + credential.len + 8 > size || unit.len == 0 || credential.len == 0))
        __builtin_trap();
    return 0;
}
