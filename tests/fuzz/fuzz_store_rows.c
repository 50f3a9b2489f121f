/* The values of the store's own rows: a damaged disk must be an error, never a crash. */
#include "store/blob_catalog.h"
#include "store/rocks_stage.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_layout(struct slice layout)
{
    enum layout_kind kind;
    struct part *parts = NULL;
    size_t n = 0;

    if (layout_decode(layout, &kind, &parts, &n) < 0)
        return;
    for (size_t i = 0; i < n; i++)
        if (!part_fits(parts[i].chunks, parts[i].bytes))
            abort();
    free(parts);
}

static void read_state(struct slice state)
{
    struct staging g = {.raw_fd = -1, .read_fd = -1};

    (void)stage_state_decode(state, &g);
    buf_done(&g.mem);
    free(g.parts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice all = {data, size};
    struct catalog_row row;
    struct stage_row stage;
    struct digest d;

    if (catalog_decode(all, &row) == 0)
        read_layout(row.layout);
    if (stage_row_decode(all, &stage) == 0)
        read_state(stage.engine);
    (void)catalog_key_digest(all, &d);
    read_layout(all);
    read_state(all);
    return 0;
}
