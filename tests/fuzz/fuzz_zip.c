/* The strict zip reader, and the check of a wheel on top of it. */
#include "inside.h"
#include "packages/wheel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes bytes = {data, size};
    struct zip_source source = {bytes_read, &bytes, size};
    struct package_filename name;
    struct metadata metadata;
    autobuf why = {0}, text = {0};
    struct zip *z = NULL;

    if (zip_open(&source, &z, &why) == 0)
        for (size_t i = 0; i < zip_count(z); i++) {
            autobuf out = {0};

            zip_read(z, zip_entry(z, i), 1 << 20, &out, &why);
        }
    zip_close(z);
    if (package_filename_parse(SLICE("foo-1.0-py3-none-any.whl"), &name, NULL) == 0)
        wheel_check(&source, &name, &text, &metadata, &why);
    look_inside(&source, PACKAGE_WHEEL);
    return 0;
}
