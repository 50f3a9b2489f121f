/* PromQL: what is refused is refused with a reason. */
#include "metrics/promql/promql.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct op op;
    struct expr e;
    autobuf why = {0};
    autobuf more = {0};

    op_init(&op, DOOR_INTERNAL, NULL);
    if (promql_parse(&op, slice_of(data, size), &e, &why) < 0 && why.len == 0)
        abort();
    promql_done(&e);
    if (promql_parse_selector(&op, slice_of(data, size), &e, &more) < 0 && more.len == 0)
        abort();
    promql_done(&e);
    op_done(&op);
    return 0;
}
