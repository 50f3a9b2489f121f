/* Both exposition formats, chosen by the first byte; every slice handed out must lie in the body. */
#include "metrics/scrape/exposition.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int nobody;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct exposition *x = malloc(sizeof *x);
    struct op op;
    int r;

    if (x == NULL || size == 0) {
        free(x);
        return 0;
    }
    op_init(&op, DOOR_INTERNAL, (const struct identity *)(void *)&nobody);
    exposition_init(x, data[0] == 'o' ? EXPOSITION_OPENMETRICS : EXPOSITION_TEXT,
                    slice_of(data + 1, size - 1));
    while ((r = exposition_next(x)) > 0) {
        struct labels l;

        if (r == EXPOSITION_HELP)
            exposition_help(x, &op);
        if (r == EXPOSITION_SAMPLE && exposition_labels(x, &op, &l) < 0)
            break;
    }
    if (r < 0 && x->why.len == 0)
        abort();
    exposition_done(x);
    op_done(&op);
    free(x);
    return 0;
}
