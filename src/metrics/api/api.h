/* api.h: Prometheus' HTTP API v1, for the files that answer it. */
#ifndef METRICS_API_API_H
#define METRICS_API_API_H

#include "metrics/metrics.h"
#include "metrics/promql/ast.h"
#include "metrics/promql/print.h"

/* An answer under construction: {"status":"success","data": … }. */
struct answer {
    struct web_request *req;
    struct web_response *resp;
    struct metrics *m;
    struct buf body;
    struct json json;
};

/* Checks the right to read, reads a POSTed form, and opens the envelope at "data". */
int prom_begin(struct answer *a, struct web_request *req, struct web_response *resp);
/* Closes it and sends. `truncated`: with the warning that a limit cut the result. */
int prom_end(struct answer *a, bool truncated);
int prom_fail(struct answer *a, int r); /* drops it; r */

/* Parameters; absent: *ret stays. Errors are worded as Prometheus words them. */
int param_time(struct web_request *req, const char *name, int64_t *ret_ms);
int param_limit(struct web_request *req, uint64_t *ret);
bool text_bool(const char *text, bool *ret); /* as strconv.ParseBool; false: it is none */
int param_duration(struct web_request *req, const char *name, int64_t *ret_ms);
bool parse_time(struct slice text, int64_t *ret_ms);
bool parse_duration(struct slice text, int64_t *ret_ms); /* 5m, 1h30m, or seconds */

/* The selectors of match[]. Freed with exprs_done. */
struct exprs {
    struct promql *items; /* root is an EXPR_SELECTOR */
    size_t n;
};
int param_match(struct web_request *req, bool needed, struct exprs *ret);
void exprs_done(struct exprs *e);
/* The series that any of them selects, or all without any; ascending, each once. Under the index.
 */
void select_any(const struct index *ix, const struct exprs *e, struct refs *ret);

void json_labels(struct json *j, const struct label *labels, size_t n);
void json_pairs(struct json *j, const struct pairs *pairs);

int api_query(struct web_request *req, struct web_response *resp);
int api_query_range(struct web_request *req, struct web_response *resp);
int api_format_query(struct web_request *req, struct web_response *resp);
int api_parse_query(struct web_request *req, struct web_response *resp);
int api_series(struct web_request *req, struct web_response *resp);
int api_labels(struct web_request *req, struct web_response *resp);
int api_label_values(struct web_request *req, struct web_response *resp);
int api_targets(struct web_request *req, struct web_response *resp);
int api_scrape_pools(struct web_request *req, struct web_response *resp);
int api_metadata(struct web_request *req, struct web_response *resp);
int api_status_config(struct web_request *req, struct web_response *resp);
int api_status_flags(struct web_request *req, struct web_response *resp);
int api_status_buildinfo(struct web_request *req, struct web_response *resp);
int api_status_runtimeinfo(struct web_request *req, struct web_response *resp);
int api_status_tsdb(struct web_request *req, struct web_response *resp);
int api_rules(struct web_request *req, struct web_response *resp);
int api_alerts(struct web_request *req, struct web_response *resp);
int api_alertmanagers(struct web_request *req, struct web_response *resp);
int api_federate(struct web_request *req, struct web_response *resp);
int api_delete_series(struct web_request *req, struct web_response *resp);
int api_clean_tombstones(struct web_request *req, struct web_response *resp);
int api_snapshot(struct web_request *req, struct web_response *resp);
int api_exemplars(struct web_request *req, struct web_response *resp);
int api_features(struct web_request *req, struct web_response *resp);
int api_targets_metadata(struct web_request *req, struct web_response *resp);
int api_read(struct web_request *req, struct web_response *resp);
int api_write(struct web_request *req, struct web_response *resp);

#endif
