/* Core metadata: METADATA and PKG-INFO. */
#include "base/scope.h"
#include "packages/metadata.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct metadata metadata;
    autobuf why = {0};

    metadata_parse(slice_of(data, size), &metadata, &why);
    return 0;
}
