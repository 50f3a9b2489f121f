/* nhcb.h: the buckets, sum and count of a classic histogram become one native histogram with custom
 * buckets (convert_classic_histograms_to_nhcb). The body is written anew: what is no part of such
 * a histogram stays as it is; in the place of the others there is a line whose value stands beside
 * it, as protobuf.h has it. */
#ifndef METRICS_SCRAPE_NHCB_H
#define METRICS_SCRAPE_NHCB_H

#include "metrics/scrape/exposition.h"
#include "metrics/scrape/protobuf.h"

/* `body`: text, with what stands beside it, of which the histograms move to ret. keep_classic: the
 * classic series too. -EINVAL with a reason in why: the body is not valid. protobuf_done of both in
 * any case. */
int nhcb_convert(enum exposition_format format, struct slice body, struct protobuf_text *marks,
                 bool keep_classic, struct protobuf_text *ret, struct buf *why);

#endif
