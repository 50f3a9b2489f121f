/* Relabeling, prometheus.yml and the labels of targets. */
#include "metrics/query.h"
#include "metrics/scrape/ingest.h"
#include "store/store.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static struct jobs *parse(const char *text)
{
    struct jobs *jobs = NULL;
    autobuf why = {0};

    if (jobs_parse(slice_str(text), NULL, &jobs, &why) < 0)
        fail_msg("%s\n%s", why.data, text);
    return jobs;
}

/* rules: the entries of relabel_configs; labels in and out as "a=1,b=2"; out NULL: dropped. */
static const struct {
    const char *name, *rules, *in, *out;
} CASES[] = {
    {"replace", "[{source_labels: [a], target_label: b}]", "a=1", "a=1,b=1"},
    {"replace with a regex", "[{source_labels: [a], regex: 'x(.*)', target_label: b, replacement: 'y$1'}]",
     "a=xz", "a=xz,b=yz"},
    {"no match, no change", "[{source_labels: [a], regex: 'x(.*)', target_label: b}]", "a=z", "a=z"},
    {"anchored", "[{source_labels: [a], regex: 'x', target_label: b}]", "a=xx", "a=xx"},
    {"empty result deletes", "[{source_labels: [none], target_label: a}]", "a=1,b=2", "b=2"},
    {"join", "[{source_labels: [a, b], separator: '-', target_label: c}]", "a=1,b=2", "a=1,b=2,c=1-2"},
    {"default separator", "[{source_labels: [a, b], target_label: c}]", "a=1,b=2", "a=1,b=2,c=1;2"},
    {"target from the regex", "[{source_labels: [a], regex: '(.*)-(.*)', target_label: '$1', replacement: '$2'}]",
     "a=k-v", "a=k-v,k=v"},
    {"named group", "[{source_labels: [a], regex: '(?P<x>.).*', target_label: b, replacement: '${x}'}]",
     "a=qr", "a=qr,b=q"},
    {"keep", "[{source_labels: [a], regex: '1|2', action: keep}]", "a=2", "a=2"},
    {"keep refuses", "[{source_labels: [a], regex: '1|2', action: keep}]", "a=12", NULL},
    {"drop", "[{source_labels: [a], regex: '1|2', action: drop}]", "a=2", NULL},
    {"drop spares", "[{source_labels: [a], regex: '1|2', action: drop}]", "a=3", "a=3"},
    {"keepequal", "[{source_labels: [a], target_label: b, action: keepequal}]", "a=1,b=1", "a=1,b=1"},
    {"keepequal refuses", "[{source_labels: [a], target_label: b, action: keepequal}]", "a=1,b=2", NULL},
    {"dropequal", "[{source_labels: [a], target_label: b, action: dropequal}]", "a=1,b=1", NULL},
    {"hashmod", "[{source_labels: [c], target_label: d, action: hashmod, modulus: 1000}]", "c=baz",
     "c=baz,d=976"},
    {"lowercase", "[{source_labels: [a], target_label: b, action: lowercase}]", "a=FoO", "a=FoO,b=foo"},
    {"uppercase", "[{source_labels: [a], target_label: a, action: uppercase}]", "a=FoO", "a=FOO"},
    {"labelmap", "[{regex: 'x_(.*)', action: labelmap}]", "x_a=1,y=2", "a=1,x_a=1,y=2"},
    {"labelmap to", "[{regex: '(.)(.*)', replacement: '${2}_${1}', action: labelmap}]", "ab=1",
     "ab=1,b_a=1"},
    {"labeldrop", "[{regex: 'x.*', action: labeldrop}]", "x1=1,x2=2,y=3", "y=3"},
    {"labelkeep", "[{regex: 'x.*', action: labelkeep}]", "x1=1,x2=2,y=3", "x1=1,x2=2"},
    {"one after the other",
     "[{source_labels: [a], target_label: b}, {source_labels: [b], regex: '1', action: drop}]", "a=1",
     NULL},
};

static void fill(struct op *op, struct label_builder *b, const char *text)
{
    while (*text != 0) {
        size_t name = strcspn(text, "=");
        size_t value = strcspn(text + name + 1, ",");

        label_builder_set(b, op_slice(op, slice_of(text, name)),
                          op_slice(op, slice_of(text + name + 1, value)));
        text += name + 1 + value;
        text += *text == ',';
    }
}

static void print(struct buf *out, const struct labels *l)
{
    for (size_t i = 0; i < l->n; i++) {
        if (i > 0)
            buf_add_char(out, ',');
        buf_add_slice(out, l->items[i].name);
        buf_add_char(out, '=');
        buf_add_slice(out, l->items[i].value);
    }
}

static void test_actions(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        autobuf text = {0};
        autobuf got = {0};
        struct label_builder b;
        struct labels l;
        struct jobs *jobs;
        struct op op;

        buf_printf(&text, "scrape_configs: [{job_name: j, relabel_configs: %s}]", CASES[i].rules);
        jobs = parse(text.data);
        op_init(&op, DOOR_INTERNAL, NULL);
        label_builder_init(&b, &op);
        fill(&op, &b, CASES[i].in);
        if (!relabel_apply(&jobs->items[0]->relabel, &b)) {
            if (CASES[i].out != NULL)
                fail_msg("%s: dropped", CASES[i].name);
        } else {
            l = label_builder_finish(&b);
            print(&got, &l);
            if (CASES[i].out == NULL || strcmp(got.data, CASES[i].out) != 0)
                fail_msg("%s: '%s'", CASES[i].name, got.data);
        }
        op_done(&op);
        jobs_unref(jobs);
    }
}

static const struct {
    const char *text, *why;
} REFUSED[] = {
    {"scrape_config: []", "line 1, column 1: unknown key 'scrape_config'; did you mean 'scrape_configs'?"},
    {"scrape_configs:\n- job_name: a\n  scrape_intervall: 5s\n",
     "line 3, column 3: unknown key 'scrape_intervall'; did you mean 'scrape_interval'?"},
    {"scrape_configs:\n- job_name: a\n  kubernetes_sd_configs: []\n",
     "line 3, column 3: 'kubernetes_sd_configs' is not supported here; static_configs, "
     "file_sd_configs and http_sd_configs are"},
    {"scrape_configs:\n- job_name: a\n  scrape_interval: soon\n",
     "line 3, column 20: 'soon' is not a duration, such as 15s or 1h30m"},
    {"scrape_configs:\n- job_name: a\n  scrape_interval: 5s\n  scrape_timeout: 6s\n",
     "line 2, column 3: scrape timeout greater than scrape interval for job 'a'"},
    {"scrape_configs:\n- static_configs: []\n", "line 2, column 3: the job has no job_name"},
    {"scrape_configs:\n- job_name: a\n- job_name: a\n",
     "line 3, column 3: found multiple scrape configs with job name 'a'"},
    {"scrape_configs:\n- job_name: a\n  scheme: ftp\n",
     "line 3, column 11: scheme 'ftp' is neither http nor https"},
    {"scrape_configs:\n- job_name: a\n  honor_labels: perhaps\n",
     "line 3, column 17: expected true or false"},
    {"scrape_configs:\n- job_name: a\n  static_configs:\n  - targets: ['http://x/']\n",
     "line 4, column 15: 'http://x/' is not a host and port; the path is metrics_path"},
    {"scrape_configs:\n- job_name: a\n  relabel_configs:\n  - {regex: '(', target_label: x}\n",
     "line 4, column 13: regex '(': missing ): ("},
    {"scrape_configs:\n- job_name: a\n  relabel_configs:\n  - {action: replaec, target_label: x}\n",
     "line 4, column 14: unknown relabel action 'replaec'; did you mean 'replace'?"},
    {"scrape_configs:\n- job_name: a\n  relabel_configs:\n  - {action: hashmod, target_label: x}\n",
     "line 4, column 5: relabel configuration for hashmod requires non-zero modulus"},
    {"scrape_configs:\n- job_name: a\n  relabel_configs:\n  - {action: labeldrop, source_labels: [x]}\n",
     "line 4, column 5: labeldrop action requires only 'regex', and no other fields"},
    {"scrape_configs:\n- job_name: a\n  basic_auth: {username: x, password: y, password_file: z}\n",
     "line 3, column 15: at most one of password and password_file may be given"},
    {"scrape_configs:\n- job_name: a\n  sample_limit: -1\n", "line 3, column 17: expected a whole number"},
    {"scrape_configs: {a: b}", "line 1, column 17: expected a list of jobs"},
    {"remote_write: [{url: 'http://x'}]", "line 1, column 1: 'remote_write' is not supported here"},
    {"rule_files: ['a*/b.yml']", "line 1, column 13: \"a*/b.yml\" is not a valid path pattern for rule_files: a file, or a "
     "pattern in its last part"},
    {"rule_files: a.yml", "line 1, column 13: expected a list"},
    {"alerting: {alertmanager: []}", "line 1, column 12: unknown key 'alertmanager'; did you mean 'alertmanagers'?"},
    {"alerting: {alertmanagers: [{api_version: v1}]}",
     "line 1, column 42: expected Alertmanager api version to be v2 but got v1"},
    {"alerting: {alertmanagers: [{dns_sd_configs: []}]}", "line 1, column 29: 'dns_sd_configs' is not supported here; static_configs and "
     "file_sd_configs are"},
    {"alerting: {alertmanagers: [{scheme: ftp}]}", "line 1, column 37: scheme 'ftp' is neither http nor https"},
    {"global: {external_labels: {'a-b': c}}", "line 1, column 28: 'a-b' is not a name for a label"},
};

static void test_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof REFUSED / sizeof REFUSED[0]; i++) {
        struct jobs *jobs = NULL;
        autobuf why = {0};

        if (jobs_parse(slice_str(REFUSED[i].text), NULL, &jobs, &why) != -EINVAL)
            fail_msg("accepted:\n%s", REFUSED[i].text);
        if (strcmp(why.data, REFUSED[i].why) != 0)
            fail_msg("'%s', expected '%s'", why.data, REFUSED[i].why);
    }
}

static const char EXAMPLE[] =
    "global:\n  scrape_interval: 15s\n  external_labels: {cluster: c1}\n"
    "alerting:\n  alertmanagers:\n  - static_configs:\n    - targets:\n"
    "rule_files:\n"
    "scrape_configs:\n"
    "- job_name: api\n  metrics_path: /m\n  scheme: https\n  scrape_interval: 1m\n"
    "  params: {a: [one, two], 'b c': ['d&e']}\n"
    "  basic_auth: {username: u, password: hidden-word}\n"
    "  static_configs:\n"
    "  - targets: ['h1:1', 'h2:2', 'h3:3']\n    labels: {env: prod, empty: ''}\n"
    "  relabel_configs:\n"
    "  - {source_labels: [__address__], regex: 'h2.*', action: drop}\n"
    "  - {source_labels: [__address__], regex: 'h3.*', target_label: __param_a, replacement: three}\n"
    "  - {source_labels: [__address__], regex: 'h3.*', target_label: instance, replacement: third}\n";

static void test_targets(void **state)
{
    struct jobs *jobs = parse(EXAMPLE);
    struct targets t;

    (void)state;
    targets_build(jobs, NULL, &t);
    assert_int_equal(t.n, 2);
    assert_int_equal(t.n_dropped, 1);
    assert_string_equal(t.items[0]->url, "https://h1:1/m?a=one&b%20c=d%26e&a=two");
    assert_string_equal(t.items[1]->url, "https://h3:3/m?a=three&b%20c=d%26e&a=two");
    assert_string_equal(pairs_get(&t.items[0]->labels, "instance"), "h1:1");
    assert_string_equal(pairs_get(&t.items[1]->labels, "instance"), "third");
    assert_string_equal(pairs_get(&t.items[0]->labels, "job"), "api");
    assert_string_equal(pairs_get(&t.items[0]->labels, "env"), "prod");
    assert_null(pairs_get(&t.items[0]->labels, "empty"));
    assert_null(pairs_get(&t.items[0]->labels, "__scheme__"));
    assert_string_equal(pairs_get(&t.items[0]->discovered, "__scrape_interval__"), "1m");
    assert_int_equal(t.items[0]->interval_ms, 60000);
    assert_int_equal(t.items[0]->timeout_ms, 10000);
    assert_true(t.items[0]->offset_ms >= 0 && t.items[0]->offset_ms < 60000);
    assert_string_equal(pairs_get(&t.dropped[0].discovered, "__address__"), "h2:2");
    targets_done(&t);
    jobs_unref(jobs);
}

static void test_printed_again(void **state)
{
    struct jobs *jobs = parse(EXAMPLE);
    struct jobs *again;
    autobuf shown = {0};

    (void)state;
    assert_null(strstr(jobs->yaml, "hidden-word"));
    assert_non_null(strstr(jobs->yaml, "password: <secret>"));
    assert_non_null(strstr(jobs->yaml, "scrape_interval: 15s"));
    assert_true(jobs->has_secrets);
    again = parse(jobs->yaml);
    assert_string_equal(again->yaml, jobs->yaml);
    jobs_unref(again);
    jobs_unref(jobs);
}

/* A scrape of a body into a database, by a job with the given keys. */
struct world {
    struct store *store;
    struct db *db;
    struct metadata *metadata;
    struct jobs *jobs;
    struct targets targets;
    int64_t ts_ms;
    bool starts;
    const char *type; /* NULL: text/plain */
};

static void world_up(struct world *w, const char *keys)
{
    autobuf why = {0};
    autobuf text = {0};

    *w = (struct world){.ts_ms = 1700000000000};
    assert_int_equal(store_open("mem:", &(struct store_options){0}, &w->store, &why), 0);
    assert_int_equal(db_open(w->store, &(struct db_options){.no_thread = true}, &w->db, &why), 0);
    w->metadata = metadata_new();
    buf_printf(&text,
               "scrape_configs:\n- job_name: j\n  scrape_interval: 10s\n  static_configs: [{targets: "
               "['i']}]\n%s",
               keys);
    w->jobs = parse(text.data);
    targets_build(w->jobs, NULL, &w->targets);
}

static void world_down(struct world *w)
{
    targets_done(&w->targets);
    jobs_unref(w->jobs);
    metadata_free(w->metadata);
    db_close(w->db);
    store_close(w->store);
}

static void scrape(struct world *w, const char *body)
{
    struct scrape s = {.ts_ms = w->ts_ms += 10000, .now_ms = w->ts_ms, .duration_s = 0.25};
    struct ingest_into into = {w->db, w->metadata, NULL, w->starts};

    s.content_type = w->type != NULL ? w->type : "text/plain";
    s.body = slice_str(body != NULL ? body : "");
    s.error = body == NULL ? "the target did not answer" : NULL;
    assert_int_equal(ingest(w->targets.items[0], &into, &s), 0);
}

/* The newest samples (or stale marks) of the last scrape, "labels value" a line, sorted by id. */
static void newest(struct world *w, const char *metric, struct buf *out)
{
    struct query *q;
    struct query_item item;
    struct matcher m;

    matcher_init(&m, MATCH_EQ, LABEL_NAME, slice_str(metric), NULL);
    query_open(w->db, &m, 1, w->ts_ms, w->ts_ms, QUERY_LAST, &q);
    while (query_next(q, &item) > 0) {
        labels_print(out, &item.labels);
        if (item.bits[0] == VALUE_STALE_BITS)
            buf_add_str(out, " stale;");
        else
            buf_printf(out, " %g;", bits_double(item.bits[0]));
    }
    query_close(q);
    matcher_done(&m);
    if (out->data == NULL)
        buf_add_str(out, "");
}

static void expect(struct world *w, const char *metric, const char *expected)
{
    autobuf got = {0};

    newest(w, metric, &got);
    if (strcmp(got.data != NULL ? got.data : "", expected) != 0)
        fail_msg("%s: '%s', expected '%s'; last error: %s", metric, got.data, expected,
                 w->targets.items[0]->last_error);
}

#define OPENMETRICS "application/openmetrics-text; version=1.0.0"

/* All samples of a metric: labels but for the target's own, times after the world's beginning in s. */
static void expect_history(struct world *w, const char *metric, const char *expected)
{
    autobuf got = {0};
    struct query *q;
    struct query_item item;
    struct matcher m;

    matcher_init(&m, MATCH_EQ, LABEL_NAME, slice_str(metric), NULL);
    query_open(w->db, &m, 1, 0, w->ts_ms, 0, &q);
    while (query_next(q, &item) > 0) {
        for (size_t i = 0; i < item.labels.n; i++)
            if (item.labels.items[i].name.len <= 2)
                buf_add_slice(&got, item.labels.items[i].value);
        for (size_t i = 0; i < item.n; i++)
            buf_printf(&got, " %g=%g", (double)(item.ts[i] - 1700000000000) / 1000,
                       bits_double(item.bits[i]));
        buf_add_char(&got, ';');
    }
    query_close(q);
    matcher_done(&m);
    if (strcmp(got.data != NULL ? got.data : "", expected) != 0)
        fail_msg("%s: '%s', expected '%s'; last error: %s", metric, got.data, expected,
                 w->targets.items[0]->last_error);
}

/* What Prometheus 3.16 makes of the same bodies with created-timestamp-zero-ingestion. */
static const struct {
    const char *body, *metric, *expected;
} starts[] = {
    {"# TYPE c counter\nc_total 5\nc_created 1700000005.5\n", "c_total", " 5.5=0 10=5;"},
    {"# TYPE c counter\nc_total 5\nc_created 1700000005.5\n", "c_created", ""},
    {"# TYPE c counter\nc_total 5\n", "c_total", " 10=5;"},
    {"# TYPE c counter\nc_total{a=\"1\"} 5\nc_created{a=\"1\"} 1700000005\nc_total{a=\"2\"} 6\n"
     "c_created{a=\"2\"} 1700000006\n",
     "c_total", "1 5=0 10=5;2 6=0 10=6;"},
    /* the first such line ends the search */
    {"# TYPE c counter\nc_total{a=\"1\"} 5\nc_total{a=\"2\"} 6\nc_created{a=\"1\"} 1700000005\n"
     "c_created{a=\"2\"} 1700000006\n",
     "c_total", "1 5=0 10=5;2 10=6;"},
    {"# TYPE c counter\nc_total 5\n# HELP c C\nc_created 1700000005\n", "c_total", " 10=5;"},
    {"# TYPE c counter\nc_total 5\nc_created 1700000010\n", "c_total", " 10=5;"},
    {"# TYPE c counter\nc_total 5\nc_created 1699996409\n", "c_total", " 10=5;"},
    {"# TYPE c counter\nc_total 5\nc_created 1699996410\n", "c_total", " -3590=0 10=5;"},
    {"# TYPE c counter\nc_total 5\nc_created NaN\n", "c_total", " 10=5;"},
    {"# TYPE h histogram\nh_bucket{le=\"1.0\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_count 2\nh_sum 3\n"
     "h_created 1700000005\n",
     "h_bucket", "1.0 5=0 10=1;+Inf 5=0 10=2;"},
    {"# TYPE h histogram\nh_bucket{le=\"+Inf\"} 2\nh_count 2\nh_created 1700000005\nh_sum 3\n",
     "h_sum", " 5=0 10=3;"}, /* that is known by now */
    {"# TYPE s summary\ns{quantile=\"0.5\"} 1\ns_count 2\ns_sum 3\ns_created 1700000005\n",
     "s_count", " 5=0 10=2;"},
    {"# TYPE g gauge\ng 5\ng_created 1700000005\n", "g", " 10=5;"},
    {"# TYPE g gauge\ng 5\ng_created 1700000005\n", "g_created", " 10=1.7e+09;"},
};

static void scrape_openmetrics(struct world *w, const char *body)
{
    autobuf text = {0};

    buf_printf(&text, "%s# EOF\n", body);
    scrape(w, text.data);
}

static void test_starts(void **state)
{
    struct world w;

    (void)state;
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++) {
        world_up(&w, "");
        w.starts = true;
        w.type = OPENMETRICS;
        scrape_openmetrics(&w, starts[i].body);
        expect_history(&w, starts[i].metric, starts[i].expected);
        world_down(&w);
    }
    world_up(&w, "");
    w.type = OPENMETRICS;
    scrape_openmetrics(&w, starts[0].body);
    expect_history(&w, "c_created", " 10=1.7e+09;");
    expect_history(&w, "c_total", " 10=5;");
    w.starts = true;
    scrape_openmetrics(&w, starts[0].body); /* it is not behind what is there */
    expect_history(&w, "c_total", " 10=5 20=5;");
    scrape_openmetrics(&w, "# TYPE c counter\nc_total 1\nc_created 1700000025\n");
    scrape_openmetrics(&w, "# TYPE c counter\nc_total 2\nc_created 1700000025\n");
    expect_history(&w, "c_total", " 10=5 20=5 25=0 30=1 40=2;");
    world_down(&w);
}

static void test_scrapes(void **state)
{
    struct world w;

    (void)state;
    world_up(&w, "");
    scrape(&w, "# HELP a All of it\n# TYPE a counter\na{x=\"1\"} 1\na{x=\"2\"} 2\nb 3\n");
    expect(&w, "a", "a{instance=\"i\", job=\"j\", x=\"1\"} 1;a{instance=\"i\", job=\"j\", x=\"2\"} 2;");
    expect(&w, "up", "up{instance=\"i\", job=\"j\"} 1;");
    expect(&w, "scrape_samples_scraped", "scrape_samples_scraped{instance=\"i\", job=\"j\"} 3;");
    expect(&w, "scrape_series_added", "scrape_series_added{instance=\"i\", job=\"j\"} 3;");
    expect(&w, "scrape_duration_seconds", "scrape_duration_seconds{instance=\"i\", job=\"j\"} 0.25;");
    /* another order, a new one in the middle, one gone, one twice */
    scrape(&w, "b 4\na{x=\"3\"} 7\na{x=\"2\"} 5\na{x=\"2\"} 6\n");
    expect(&w, "a",
           "a{instance=\"i\", job=\"j\", x=\"1\"} stale;a{instance=\"i\", job=\"j\", x=\"2\"} 5;"
           "a{instance=\"i\", job=\"j\", x=\"3\"} 7;");
    expect(&w, "scrape_series_added", "scrape_series_added{instance=\"i\", job=\"j\"} 1;");
    expect(&w, "scrape_samples_scraped", "scrape_samples_scraped{instance=\"i\", job=\"j\"} 4;");
    /* an error anywhere: nothing counts, all is stale, the target is down */
    scrape(&w, "b 5\nnew 1\na{x=\"2\"} zzz\n");
    expect(&w, "b", "b{instance=\"i\", job=\"j\"} stale;");
    expect(&w, "new", "");
    expect(&w, "up", "up{instance=\"i\", job=\"j\"} 0;");
    assert_string_equal(w.targets.items[0]->last_error, "strconv.ParseFloat: parsing \"zzz\": invalid syntax while parsing: \"a{x=\\\"2\\\"} zzz\"");
    scrape(&w, NULL); /* no second mark */
    expect(&w, "b", "");
    expect(&w, "up", "up{instance=\"i\", job=\"j\"} 0;");
    scrape(&w, "b 6\nnew 2\n");
    expect(&w, "b", "b{instance=\"i\", job=\"j\"} 6;");
    expect(&w, "new", "new{instance=\"i\", job=\"j\"} 2;");
    ingest_end(w.targets.items[0], w.db, w.ts_ms += 5);
    expect(&w, "new", "new{instance=\"i\", job=\"j\"} stale;");
    expect(&w, "up", "up{instance=\"i\", job=\"j\"} stale;");
    world_down(&w);
}

static void test_a_name_before_braces(void **state)
{
    struct world w;

    (void)state;
    world_up(&w, "");
    scrape(&w, "a 1\n");
    scrape(&w, "a {x=\"1\"} 2\na 3\n");
    expect(&w, "a", "a{instance=\"i\", job=\"j\"} 3;a{instance=\"i\", job=\"j\", x=\"1\"} 2;");
    world_down(&w);
}

static void test_conflicts(void **state)
{
    struct world w;

    (void)state;
    world_up(&w, "");
    scrape(&w, "a{instance=\"x\",exported_instance=\"z\"} 1\n");
    expect(&w, "a",
           "a{exported_exported_instance=\"x\", exported_instance=\"z\", instance=\"i\", job=\"j\"} 1;");
    world_down(&w);
    world_up(&w, "  honor_labels: true\n");
    scrape(&w, "a{instance=\"x\"} 1\nb{job=\"\"} 2\n");
    expect(&w, "a", "a{instance=\"x\", job=\"j\"} 1;");
    expect(&w, "b", "b{instance=\"i\"} 2;");
    world_down(&w);
}

static void test_times(void **state)
{
    struct world w;

    (void)state;
    world_up(&w, "");
    scrape(&w, "a 1 1700000010000\nb 1 1700009910000\n"); /* b: 2 h ahead */
    expect(&w, "a", "a{instance=\"i\", job=\"j\"} 1;");
    expect(&w, "up", "up{instance=\"i\", job=\"j\"} 1;");
    expect(&w, "b", "");
    scrape(&w, ""); /* what came with a time gets no mark */
    expect(&w, "a", "");
    world_down(&w);
    world_up(&w, "  honor_timestamps: false\n");
    scrape(&w, "a 1 17\n");
    expect(&w, "a", "a{instance=\"i\", job=\"j\"} 1;");
    world_down(&w);
}

static void test_limits(void **state)
{
    static const struct {
        const char *keys, *body, *error;
    } cases[] = {
        {"  sample_limit: 2\n", "a 1\nb 2\nc 3\n", "sample limit exceeded"},
        {"  label_limit: 3\n", "a{x=\"1\"} 1\n", "label_limit exceeded"},
        {"  label_name_length_limit: 9\n", "a{long_label_name=\"1\"} 1\n", "label_name_length_limit"},
        {"  label_value_length_limit: 5\n", "a{x=\"123456\"} 1\n", "label_value_length_limit"},
        {"  metric_relabel_configs: [{target_label: __name__, replacement: ''}]\n", "a 1\n",
         "metric name missing"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct world w;

        world_up(&w, cases[i].keys);
        scrape(&w, cases[i].body);
        expect(&w, "up", "up{instance=\"i\", job=\"j\"} 0;");
        if (strstr(w.targets.items[0]->last_error, cases[i].error) == NULL)
            fail_msg("'%s'", w.targets.items[0]->last_error);
        expect(&w, "a", "");
        world_down(&w);
    }
}

static void test_huge_labels(void **state)
{
    struct world w;
    autobuf body = {0};

    (void)state;
    world_up(&w, "");
    buf_add_str(&body, "a{x=\"");
    for (unsigned i = 0; i < LABELS_BYTES_MAX; i++)
        buf_add_char(&body, 'x');
    buf_add_str(&body, "\"} 1\n");
    scrape(&w, body.data);
    expect(&w, "up", "up{instance=\"i\", job=\"j\"} 0;");
    assert_non_null(strstr(w.targets.items[0]->last_error, "the limit is 32768"));
    scrape(&w, "a 1\n"); /* nothing is left of it */
    expect(&w, "up", "up{instance=\"i\", job=\"j\"} 1;");
    buf_clear(&body);
    buf_add_str(&body, "a{");
    for (int i = 0; i < LABELS_MAX; i++)
        buf_printf(&body, "l%d=\"v\",", i);
    buf_add_str(&body, "} 1\n");
    scrape(&w, body.data); /* as many as the parser takes, and the target's beside them */
    expect(&w, "up", "up{instance=\"i\", job=\"j\"} 0;");
    world_down(&w);
}

static void test_large_targets_are_dropped(void **state)
{
    autobuf text = {0};
    struct targets t;
    struct jobs *jobs;

    (void)state;
    buf_add_str(&text, "scrape_configs:\n- job_name: a\n  target_limit: 2\n  static_configs:\n"
                       "  - targets: ['h:1', 'h:2', 'h:3']\n"
                       "- job_name: b\n  static_configs:\n  - targets: ['h:1']\n    labels:\n");
    for (int i = 0; i < 200; i++)
        buf_printf(&text, "      l%d: v\n", i);
    jobs = parse(text.data);
    targets_build(jobs, NULL, &t);
    assert_int_equal(t.n, 3);
    assert_int_equal(t.n_dropped, 1);
    for (size_t i = 0; i < t.n; i++)
        assert_true(t.items[i]->over_limit);
    targets_done(&t);
    jobs_unref(jobs);
}

static void test_metric_relabel(void **state)
{
    struct world w;

    (void)state;
    world_up(&w, "  sample_limit: 1\n  metric_relabel_configs:\n"
                 "  - {source_labels: [__name__], regex: 'go_.*', action: drop}\n"
                 "  - {source_labels: [__name__], target_label: __name__, replacement: 'my_$1'}\n");
    for (int i = 0; i < 2; i++) {
        scrape(&w, "go_a 1\ngo_b 2\nx 3\n");
        expect(&w, "my_x", "my_x{instance=\"i\", job=\"j\"} 3;");
        expect(&w, "go_a", "");
        expect(&w, "scrape_samples_scraped", "scrape_samples_scraped{instance=\"i\", job=\"j\"} 3;");
        expect(&w, "scrape_samples_post_metric_relabeling",
               "scrape_samples_post_metric_relabeling{instance=\"i\", job=\"j\"} 1;");
    }
    world_down(&w);
}

/* A target that exposes ever new series: what it no longer does is forgotten. */
static void test_churn(void **state)
{
    struct world w;

    (void)state;
    world_up(&w, "");
    for (int round = 0; round < 30; round++) {
        autobuf body = {0};

        for (int i = 0; i < 200; i++)
            buf_printf(&body, "a{x=\"%d\"} 1\n", round * 100 + i);
        scrape(&w, body.data);
        assert_true(w.targets.items[0]->cache.n <= 1500);
    }
    world_down(&w);
}

static int note_help(void *ctx, const char *metric, const struct metadata_item *items, size_t n)
{
    buf_printf(ctx, "%s:%s:%s:%zu;", metric, metric_type_name(items[n - 1].type), items[n - 1].help, n);
    return 0;
}

static void test_metadata_of_targets(void **state)
{
    struct world w;
    autobuf got = {0};

    (void)state;
    world_up(&w, "");
    scrape(&w, "# HELP b Bytes\n# TYPE b gauge\nb 1\n# TYPE a histogram\na_sum 1\n");
    metadata_each(w.metadata, note_help, &got);
    assert_string_equal(got.data, "a:histogram::1;b:gauge:Bytes:1;");
    world_down(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_actions),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_printed_again),
        cmocka_unit_test(test_starts),
        cmocka_unit_test(test_scrapes),
        cmocka_unit_test(test_a_name_before_braces),
        cmocka_unit_test(test_conflicts),
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_huge_labels),
        cmocka_unit_test(test_large_targets_are_dropped),
        cmocka_unit_test(test_metric_relabel),
        cmocka_unit_test(test_churn),
        cmocka_unit_test(test_metadata_of_targets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
