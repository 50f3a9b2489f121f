/* Remote write messages: the first byte says whether they are under snappy, or 2.0. */
#include "base/codec.h"
#include "metrics/api/remote.h"
#include "metrics/histogram_proto.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint64_t sink;

static void read_series(struct remote *r)
{
    struct slice rest = r->series.rest;
    struct remote_sample s;
    struct remote_exemplar e;
    struct histogram *h;
    struct histogram_times times;

    sink += hash_bytes(r->series.raw.data, r->series.raw.len, 0);
    if (remote_labels(r) > 0)
        sink += labels_hash(&r->series.labels);
    while (remote_sample_next(&rest, &s) > 0)
        sink += s.bits;
    rest = r->series.rest;
    while (remote_exemplar_next(r, &rest, &e) > 0)
        sink += labels_hash(&e.labels);
    rest = r->series.rest;
    while (remote_histogram_next(r, &rest, &h, &times) > 0) {
        autobuf why = {0};
        autobuf bytes = {0};

        if (histogram_admit(h, &why) == 0)
            histogram_to_proto(&bytes, h, times.ts_ms);
        histogram_free(h);
    }
}

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
    if (remote_init(r, data[0] == '2' ? REMOTE_2 : REMOTE_1,
                    data[0] == 's' ? buf_slice(&plain) : message) == 0)
        while ((e = remote_next(r)) > 0) {
            if (e == REMOTE_SERIES)
                read_series(r);
            else
                sink += hash_bytes(r->metadata.help.data, r->metadata.help.len, 0);
        }
    remote_done(r);
    free(r);
    return 0;
}
