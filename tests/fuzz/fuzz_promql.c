/* PromQL: what is refused is refused with a reason; what is accepted is printed so that it reads the
 * same again, prepared, and written as JSON. */
#include "metrics/promql/print.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_good(struct op *op, struct promql *q)
{
    struct promql again;
    struct json j;
    autobuf line = {0};
    autobuf same = {0};
    autobuf tree = {0};
    autobuf why = {0};

    promql_print(&line, q->root);
    json_init(&j, &tree);
    promql_json(&j, q->root);
    if (promql_parse(op, buf_slice(&line), &again, &why) == 0) {
        promql_print(&same, again.root);
        if (!slice_eq(buf_slice(&line), buf_slice(&same)))
            abort();
        promql_done(&again);
    }
    buf_clear(&same);
    promql_pretty(&same, q->root);
    buf_clear(&why);
    if (promql_prepare(q, 0, 3600000, 15000, &why) < 0 && why.len == 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct op op;
    struct promql q;
    autobuf why = {0};
    autobuf more = {0};

    op_init(&op, DOOR_INTERNAL, NULL);
    if (promql_parse(&op, slice_of(data, size), &q, &why) == 0)
        check_good(&op, &q);
    else if (why.len == 0)
        abort();
    promql_done(&q);
    if (promql_parse_selector(&op, slice_of(data, size), &q, &more) < 0 && more.len == 0)
        abort();
    promql_done(&q);
    op_done(&op);
    return 0;
}
