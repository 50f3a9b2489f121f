#include "base/yaml.h"
#include "config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The parser, and the configuration that is read through it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    autobuf why = {0};
    struct yaml *y = NULL;
    struct config *c = NULL;

    if (yaml_parse(slice_of(data, size), &y, &why) == 0)
        yaml_free(y);
    buf_clear(&why);
    if (config_parse(slice_of(data, size), &c, &why) == 0)
        config_free(c);
    return 0;
}
