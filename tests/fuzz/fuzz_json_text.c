/* Values cut out of JSON by key, unparsed. */
#include "command/json_text.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_of(data, size), value = json_text_member(text, "data");

    if (value.len > size)
        __builtin_trap();
    json_text_member(value, "data");
    return 0;
}
