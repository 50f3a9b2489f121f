/* packed.h: a row's bytes as they are stored beside samples: varint raw length; varint 1 if zstd
 * follows, else 0; the bytes. Pure. */
#ifndef METRICS_HEAD_PACKED_H
#define METRICS_HEAD_PACKED_H

#include "base/buf.h"

#define PACKED_MAX (1u << 20) /* raw, of a sound one */

void packed_put(struct buf *out, struct slice raw);      /* under zstd if that is shorter */
int packed_get(struct slice value, struct buf *ret_raw); /* in place of what it has; -EIO: damaged */

#endif
