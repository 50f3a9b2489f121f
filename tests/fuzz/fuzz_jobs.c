/* prometheus.yml: what is accepted prints as what is accepted; and the files of file_sd_configs. */
#include "metrics/scrape/target.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct jobs *jobs = NULL;
    struct jobs *again = NULL;
    struct target_groups groups = {0};
    struct targets targets;
    autobuf why = {0};
    autobuf more = {0};

    if (target_groups_parse(slice_of(data, size), &groups, &more) < 0 && more.len == 0)
        abort();
    target_groups_done(&groups);
    if (jobs_parse(slice_of(data, size), NULL, &jobs, &why) < 0) {
        if (why.len == 0)
            abort();
        return 0;
    }
    targets_build(jobs, NULL, &targets);
    targets_done(&targets);
    buf_clear(&why);
    if (jobs_parse(slice_str(jobs->yaml), NULL, &again, &why) < 0)
        abort();
    jobs_unref(again);
    jobs_unref(jobs);
    return 0;
}
