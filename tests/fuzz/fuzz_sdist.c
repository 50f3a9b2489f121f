/* gunzip and the check of an sdist; the first byte chooses between .tar.gz and .zip. */
#include "inside.h"
#include "packages/sdist.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes bytes = {data, size};
    struct zip_source source = {bytes_read, &bytes, size};
    struct package_filename name;
    struct metadata metadata;
    autobuf why = {0}, text = {0};
    struct slice file = size > 0 && data[0] == 'P' ? SLICE("foo-1.0.zip") : SLICE("foo-1.0.tar.gz");

    if (package_filename_parse(file, &name, NULL) == 0)
        sdist_check(&source, &name, &text, &metadata, &why);
    look_inside(&source,
                data != NULL && size > 0 && data[0] == 'P' ? PACKAGE_SDIST_ZIP : PACKAGE_SDIST_TAR);
    return 0;
}
