/* result_rows.h: the rows of a range query as JSON text, printed by all cores at once. */
#ifndef METRICS_API_RESULT_ROWS_H
#define METRICS_API_RESULT_ROWS_H

#include "metrics/promql/eval.h"

/* Text in pieces. */
struct rows_text {
    struct slice *pieces;
    size_t n, cap;
    size_t bytes; /* of all */
};
void rows_text_done(struct rows_text *t);

struct row_times;
/* The times of all steps as text: made once, for all rows. */
struct row_times *row_times_new(const struct result *r);
void row_times_free(struct row_times *t);

/* Can the series be printed so? All have to be in cells. */
bool rows_printable(const struct result *r);
/* How much text they will be, about. */
size_t rows_bytes(const struct result *r, size_t from, size_t to);
/* Appends the series from..to, with a comma before each but the first of all; frees their cells. */
void rows_print(struct result *r, const struct row_times *times, size_t from, size_t to,
                struct rows_text *out);
/* {"metric":{…} of a series, not closed. */
void print_metric(struct buf *out, const struct labels *labels);

#endif
