/* Remote write messages: the first byte says whether they are under snappy. */
#include "metrics/api/remote.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint64_t sink;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct remote *r = malloc(sizeof *r);
    struct slice message = slice_of(data + 1, size > 0 ? size - 1 : 0);
    autobuf plain = {0};
    int e;

    if (r == NULL || size == 0 ||
        (data[0] == 's' && snappy_decode(message, 1 << 20, &plain) < 0)) {
        free(r);
        return 0;
    }
    remote_init(r, data[0] == 's' ? buf_slice(&plain) : message);
    while ((e = remote_next(r)) > 0) {
        struct remote_sample s;

        if (e != REMOTE_SERIES) {
            sink += hash_bytes(r->metadata.help.data, r->metadata.help.len, 0);
            continue;
        }
        sink += hash_bytes(r->series.raw.data, r->series.raw.len, 0);
        if (remote_labels(r) > 0)
            sink += labels_hash(&r->series.labels);
        while (remote_sample_next(&r->series.samples, &s) > 0)
            sink += s.bits;
    }
    free(r);
    return 0;
}
