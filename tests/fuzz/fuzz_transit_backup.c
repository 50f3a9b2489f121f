/* A backup of a key of transit, as it comes from anywhere: read or refused, never half. */
#include "secrets/transit.h"

#include <errno.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct transit_key k = {0};
    struct transit_version *versions = NULL;
    struct op op;
    size_t n = 0;

    op_init(&op, DOOR_INTERNAL, NULL);
    if (transit_backup_parse(&op, slice_of(data, size), &k, &versions, &n) == 0) {
        if (n == 0 || k.type == NULL || k.name == NULL || n > (size_t)k.latest)
            abort();
        for (size_t i = 0; i < n; i++) {
            bool pairs = k.type->family == TRANSIT_RSA || k.type->family == TRANSIT_ECDSA;

            if (pairs && transit_version_open(&k, &versions[i]) < 0)
                abort();
            transit_version_done(&versions[i]);
        }
    }
    op_done(&op);
    return 0;
}
