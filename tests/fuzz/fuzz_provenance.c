/* Attestations that are uploaded beside a file. */
#include "base/scope.h"
#include "packages/sidecar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct digest digest = {.algorithm = DIGEST_SHA256};
    static const struct attested of = {"foo-1.0-py3-none-any.whl", &digest, "alice"};
    autobuf out = {0}, why = {0}, again = {0};

    signature_check(slice_of(data, size), &again);
    provenance_make(slice_of(data, size), &of, &out, &why);
    return 0;
}
