/* A scrape's body of protobuf messages: what it becomes is read as any other body. */
#include "metrics/scrape/exposition.h"
#include "metrics/scrape/protobuf.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct exposition *x = calloc(1, sizeof *x);
    struct protobuf_text t;
    struct op op;
    autobuf why = {0};

    op_init(&op, DOOR_INTERNAL, NULL);
    if (x != NULL && protobuf_read(slice_of(data, size), PROTOBUF_NATIVE | PROTOBUF_CLASSIC | PROTOBUF_STARTS, &t,
                                   &why) == 0) {
        struct labels l;
        int r;

        exposition_init(x, EXPOSITION_OPENMETRICS, buf_slice(&t.text));
        while ((r = exposition_next(x)) > 0)
            if (r == EXPOSITION_SAMPLE && exposition_labels(x, &op, &l) == 0 && x->has_exemplar)
                exposition_exemplar(x, &op);
        exposition_done(x);
    }
    if (x != NULL)
        protobuf_done(&t);
    op_done(&op);
    free(x);
    return 0;
}
