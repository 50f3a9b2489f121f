/* Marks of manifests: see state.h. */
#include "base/clock.h"
#include "base/codec.h"
#include "images/state.h"

#include <errno.h>

#define TOUCH_BYTES 16 /* when, and a nonce */

int touch_get(struct op *op, struct images *im, struct slice part, const struct digest *d,
              struct touch *ret)
{
    struct row_key key = key_touch(d);
    int r;

    *ret = (struct touch){0};
    r = images_row(op, im, part, key_slice(&key), &ret->row);
    if (r == 0 && ret->row.len == TOUCH_BYTES)
        ret->unix_ms = (int64_t)be64_get(ret->row.data);
    return r == -ENOENT ? 0 : r;
}

void touch_put(struct images *im, struct store_batch *batch, const struct digest *d)
{
    struct row_key key = key_touch(d);
    uint8_t value[TOUCH_BYTES];

    be64_put(value, (uint64_t)clock_unix_ms());
    be64_put(value + 8, images_nonce(im));
    store_batch_put(batch, key_slice(&key), slice_of(value, sizeof value));
}

int touch_left(struct op *op, struct images *im, struct slice part, const char *tag,
               const struct digest *to, struct store_batch *batch)
{
    struct row_key key = key_tag(slice_str(tag));
    struct tag_row there;
    struct slice old;
    int r;

    r = images_row(op, im, part, key_slice(&key), &old);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    if (tag_row_parse(old, &there) == 0 && (to == NULL || !digest_eq(&there.manifest, to)))
        touch_put(im, batch, &there.manifest);
    return 0;
}
