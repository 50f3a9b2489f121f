/* What is written to @env and @yaml, and unseal keys: never out of bounds, and what comes out is an
 * object. */
#include "secrets/object.h"
#include "secrets/tree_file.h"
#include "secrets/unseal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_of(data, size);
    struct place p = {.kind = PLACE_ENV};
    struct kv_content content;
    struct object o;
    struct slice object;
    uint8_t key[KEYRING_KEY_BYTES];
    struct buf out = {0}, why = {0};
    struct op op;

    op_init(&op, DOOR_INTERNAL, NULL);
    if (env_parse(&op, &p, text, &content) == 0) {
        if (object_parse(&op, content.text, &o) < 0)
            abort();
        env_print(&op, &content, &o, &out);
    }
    op_forgive(&op);
    if (yaml_read(&op, text, &object) == 0) {
        if (!value_is_valid(object))
            abort();
        buf_clear(&out);
        if (object_parse(&op, object, &o) == 0)
            yaml_print(&o, &out);
    }
    unseal_parse(text, key, &why);
    buf_done(&out);
    buf_done(&why);
    op_done(&op);
    return 0;
}
