/* The JSON reader: never out of bounds, and what it cuts stays JSON after each edit. */
#include "secrets/object.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct object o = {0};
    struct buf out = {0};
    struct op op;

    op_init(&op, DOOR_INTERNAL, NULL);
    if (object_parse(&op, slice_of(data, size), &o) == 0) {
        struct slice decoded, *list;
        size_t n;

        if (!value_is_valid(o.text))
            abort();
        for (size_t i = 0; i < o.n && i < 64; i++) {
            value_string(&op, o.members[i].value, &decoded);
            value_elements(&op, o.members[i].value, &list, &n);
            buf_clear(&out);
            object_edit(&o, o.members[i].key, slice_of(NULL, 0), &out);
            if (!value_is_valid(buf_slice(&out)))
                abort();
        }
        buf_clear(&out);
        if (value_merge(&op, o.text, o.text, &out) == 0 && !value_is_valid(buf_slice(&out)))
            abort();
    }
    buf_done(&out);
    op_done(&op);
    return 0;
}
