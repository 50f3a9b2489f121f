/* The HTTP API against the shapes and texts of Prometheus 3.16, without a socket; and the tree. */
#include "base/clock.h"
#include "base/file.h"
#include "identity/identity.h"
#include "metrics/metrics.h"
#include "metrics/promql/print.h"
#include "web_test.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

extern const struct domain metrics_domain;

#define T 1700000000000ll

static struct {
    char dir[64];
    struct config *config;
    struct store *store;
    struct metrics *m;
} w;
static struct identity root = {.kind = IDENTITY_USER, .name = "root"};
static struct identity reader = {.kind = IDENTITY_ANONYMOUS, .name = "anonymous"};
static struct web_test t;

static void sample(const char *metric, const char *job, const char *instance, int64_t ts, double v)
{
    struct label room[] = {{LABEL_NAME, slice_str(metric)},
                           {SLICE("instance"), slice_str(instance)},
                           {SLICE("job"), slice_str(job)}};
    struct db_result r;
    uint32_t ref = db_series(w.m->db, &(struct labels){room, 3});

    assert_int_equal(db_append(w.m->db, &(struct db_sample){ref, ts, double_bits(v)}, 1, &r), 0);
}

static int setup(void **state)
{
    struct domain_env env = {0};
    struct policy *may_read = NULL;
    autobuf why = {0};

    (void)state;
    snprintf(w.dir, sizeof w.dir, "/tmp/test_metrics_web.XXXXXX");
    assert_non_null(mkdtemp(w.dir));
    /* the samples are of 2023: none may go by its age */
    assert_int_equal(config_parse(SLICE("metrics: {retention: 0}"), &w.config, &why), 0);
    free(w.config->prometheus);
    assert_true(asprintf(&w.config->prometheus, "%s/prometheus.yml", w.dir) > 0);
    free(w.config->rules);
    assert_true(asprintf(&w.config->rules, "%s/rules", w.dir) > 0);
    assert_int_equal(store_open("mem:", &(struct store_options){0}, &w.store, &why), 0);
    env.config = w.config;
    env.store = w.store;
    if (metrics_domain.open(&env, (void **)&w.m, &why) < 0)
        fail_msg("%s", why.data);
    root.policies = policy_set_root();
    assert_int_equal(policy_parse(SLICE("path \"metrics/*\" { capabilities = [\"read\", \"list\"] }"),
                                  &may_read, &why),
                     0);
    reader.policies = policy_set_new(&may_read, 1);
    policy_free(may_read);
    t = (struct web_test){.domain = &metrics_domain, .self = w.m, .who = &reader};
    for (int i = 0; i < 20; i++) {
        sample("up", "self", "a:1", T - 60000 + i * 3000, 1);
        sample("up", "down", "b:2", T - 60000 + i * 3000, 0);
    }
    sample("x", "self", "a:1", T - 300000, 5);
    sample("y", "self", "a:1", T - 299999, 0.00001);
    sample("z", "self", "a:1", T - 1000, bits_double(VALUE_STALE_BITS));
    sample("inf", "self", "a:1", T, bits_double(0x7ff0000000000000ull));
    sample("big", "self", "a:1", T, 1e21);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    web_test_done(&t);
    metrics_domain.close(w.m);
    store_close(w.store);
    unlink(w.config->prometheus);
    rmdir(w.config->rules);
    rmdir(w.dir);
    config_free(w.config);
    policy_set_unref(root.policies);
    policy_set_unref(reader.policies);
    return 0;
}

#define OK(data) "{\"status\":\"success\",\"data\":" data "}"
#define BAD(text) "{\"status\":\"error\",\"errorType\":\"bad_data\",\"error\":\"" text "\"}"
#define UP_A "{\"__name__\":\"up\",\"instance\":\"a:1\",\"job\":\"self\"}"
#define UP_B "{\"__name__\":\"up\",\"instance\":\"b:2\",\"job\":\"down\"}"
#define VECTOR(items) OK("{\"resultType\":\"vector\",\"result\":[" items "]}")
#define MATRIX(items) OK("{\"resultType\":\"matrix\",\"result\":[" items "]}")
#define AT "&time=1700000000"

static const struct {
    const char *target;
    int status;
    const char *body;
} CASES[] = {
    /* what the golden samples show */
    {"/api/v1/query?query=up" AT, 200,
     VECTOR("{\"metric\":" UP_A ",\"value\":[1700000000,\"1\"]},{\"metric\":" UP_B
            ",\"value\":[1700000000,\"0\"]}")},
    {"/api/v1/query?query=up%7Bjob%3D%22self%22%7D%5B6s%5D" AT, 200,
     MATRIX("{\"metric\":" UP_A ",\"values\":[[1699999997,\"1\"]]}")},
    {"/api/v1/query?query=up&limit=1" AT, 200,
     "{\"status\":\"success\",\"data\":{\"resultType\":\"vector\",\"result\":[{\"metric\":" UP_A
     ",\"value\":[1700000000,\"1\"]}]},\"warnings\":[\"results truncated due to limit\"]}"},
    {"/api/v1/query?query=1%2B1" AT, 200, OK("{\"resultType\":\"scalar\",\"result\":[1700000000,\"2\"]}")},
    {"/api/v1/query?query=%22abc%22" AT, 200,
     OK("{\"resultType\":\"string\",\"result\":[1700000000,\"abc\"]}")},
    {"/api/v1/query?query=vector(NaN)&time=2023-11-14T22:13:20.123Z", 200,
     VECTOR("{\"metric\":{},\"value\":[1700000000.123,\"NaN\"]}")},
    {"/api/v1/query", 400,
     BAD("invalid parameter \\\"query\\\": unknown position: parse error: no expression found in input")},
    {"/api/v1/query?query=sum(", 400,
     BAD("invalid parameter \\\"query\\\": 1:5: parse error: unclosed left parenthesis")},
    {"/api/v1/query?query=(", 400,
     BAD("invalid parameter \\\"query\\\": 1:2: parse error: unclosed left parenthesis")},
    {"/api/v1/query?query=up&time=foo", 400,
     BAD("invalid parameter \\\"time\\\": invalid time value for 'time': cannot parse \\\"foo\\\" to a valid "
         "timestamp")},
    {"/api/v1/query_range?query=up%7Bjob%3D%22self%22%7D&start=1699999940&end=1699999946&step=2", 200,
     MATRIX("{\"metric\":" UP_A
            ",\"values\":[[1699999940,\"1\"],[1699999942,\"1\"],[1699999944,\"1\"],[1699999946,\"1\"]]}")},
    {"/api/v1/query_range?query=up&start=100&end=50&step=1", 400,
     BAD("invalid parameter \\\"end\\\": end timestamp must not be before start time")},
    {"/api/v1/query_range?query=up&start=100&end=150&step=0", 400,
     BAD("invalid parameter \\\"step\\\": zero or negative query resolution step widths are not accepted. Try "
         "a positive integer")},
    {"/api/v1/query_range?query=up&start=0&end=1795536732&step=1", 400,
     BAD("exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution "
         "(?step=XX)")},
    {"/api/v1/query_range?query=up%5B5m%5D&start=0&end=1&step=1", 400,
     BAD("invalid parameter \\\"query\\\": invalid expression type \\\"range vector\\\" for range query, must be "
         "Scalar or instant Vector")},
    {"/api/v1/series?match[]=up&match[]=x&match[]=up", 200,
     OK("[" UP_A "," UP_B ",{\"__name__\":\"x\",\"instance\":\"a:1\",\"job\":\"self\"}]")},
    {"/api/v1/series", 400, BAD("no match[] parameter provided")},
    {"/api/v1/labels?match[]=up", 200, OK("[\"__name__\",\"instance\",\"job\"]")},
    {"/api/v1/labels", 200, OK("[\"__name__\",\"instance\",\"job\"]")},
    {"/api/v1/label/job/values", 200, OK("[\"down\",\"self\"]")},
    {"/api/v1/label/job/values?match[]=x", 200, OK("[\"self\"]")},
    {"/api/v1/label/a-b/values", 200, OK("[]")},
    {"/api/v1/label/__name__/values?limit=2", 200,
     "{\"status\":\"success\",\"data\":[\"big\",\"inf\"],\"warnings\":[\"results truncated due to limit\"]}"},
    {"/api/v1/scrape_pools", 200, OK("{\"scrapePools\":[]}")},
    {"/api/v1/targets", 200, OK("{\"activeTargets\":[],\"droppedTargets\":[],\"droppedTargetCounts\":{}}")},
    {"/api/v1/rules", 200, OK("{\"groups\":[]}")},
    {"/api/v1/alerts", 200, OK("{\"alerts\":[]}")},
    {"/api/v1/metadata", 200, OK("{}")},
    {"/api/v1/nope", 404, "404 page not found\n"},
    {"/-/healthy", 200, "Prometheus Server is Healthy.\n"},
    {"/-/ready", 200, "Prometheus Server is Ready.\n"},
    /* lookback is open on the left; what is stale is gone */
    {"/api/v1/query?query=x" AT, 200, VECTOR("")},
    {"/api/v1/query?query=x&time=1699999999.999", 200,
     VECTOR("{\"metric\":{\"__name__\":\"x\",\"instance\":\"a:1\",\"job\":\"self\"},\"value\":[1699999999.999,"
            "\"5\"]}")},
    {"/api/v1/query?query=y" AT, 200,
     VECTOR("{\"metric\":{\"__name__\":\"y\",\"instance\":\"a:1\",\"job\":\"self\"},\"value\":[1700000000,"
            "\"0.00001\"]}")},
    {"/api/v1/query?query=z" AT, 200, VECTOR("")},
    {"/api/v1/query?query=x%20offset%205m" AT, 200,
     VECTOR("{\"metric\":{\"__name__\":\"x\",\"instance\":\"a:1\",\"job\":\"self\"},\"value\":[1700000000,"
            "\"5\"]}")},
    {"/api/v1/query?query=x%20%40%201699999700", 200, NULL},
    {"/api/v1/query?query=inf" AT, 200, OK("{\"resultType\":\"scalar\",\"result\":[1700000000,\"+Inf\"]}")},
    {"/api/v1/query?query=%7B%22inf%22%7D" AT, 200,
     VECTOR("{\"metric\":{\"__name__\":\"inf\",\"instance\":\"a:1\",\"job\":\"self\"},\"value\":[1700000000,"
            "\"+Inf\"]}")},
    {"/api/v1/query?query=big" AT, 200,
     VECTOR("{\"metric\":{\"__name__\":\"big\",\"instance\":\"a:1\",\"job\":\"self\"},\"value\":[1700000000,"
            "\"1e+21\"]}")},
    {"/api/v1/query?query=up%7Bjob%3D~%22se.*%22,instance!%3D%22b:2%22%7D" AT, 200,
     VECTOR("{\"metric\":" UP_A ",\"value\":[1700000000,\"1\"]}")},
    {"/api/v1/query?query=-(2%5E3%5E2)%2B10%252" AT, 200,
     OK("{\"resultType\":\"scalar\",\"result\":[1700000000,\"-512\"]}")},
    {"/api/v1/query?query=rate(up)", 400,
     BAD("invalid parameter \\\"query\\\": 1:6: parse error: expected type range vector in call to function "
         "\\\"rate\\\", got instant vector")},
    {"/api/v1/query?query=up%2B%22x%22", 400,
     BAD("invalid parameter \\\"query\\\": 1:4: parse error: binary expression must contain only scalar and "
         "instant vector types")},
    {"/api/v1/query?query=up%7Bjob%3D~%22(%22%7D", 400,
     BAD("invalid parameter \\\"query\\\": 1:4: parse error: error parsing regexp: missing closing ): `(`")},
    {"/api/v1/query?query=%7Bjob%3D%22%22%7D", 400,
     BAD("invalid parameter \\\"query\\\": 1:1: parse error: vector selector must contain at least one "
         "non-empty matcher")},
    {"/federate", 400, NULL},
};

static void test_answers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        int status = web_test_call(&t, "GET", CASES[i].target, NULL, SLICE(""));

        if (status != CASES[i].status ||
            (CASES[i].body != NULL && strcmp(web_test_text(&t), CASES[i].body) != 0))
            fail_msg("%s: %d %s\nexpected %d %s", CASES[i].target, status, web_test_text(&t),
                     CASES[i].status, CASES[i].body);
    }
}

static void test_posted_forms(void **state)
{
    static const struct web_param headers[] = {{"Content-Type", "application/x-www-form-urlencoded"},
                                               {0}};

    (void)state;
    assert_int_equal(web_test_call(&t, "POST", "/api/v1/query", headers,
                                   SLICE("query=up%7Bjob%3D%22self%22%7D&time=1700000000")),
                     200);
    assert_string_equal(web_test_text(&t),
                        VECTOR("{\"metric\":" UP_A ",\"value\":[1700000000,\"1\"]}"));
    assert_string_equal(web_test_header(&t, "Content-Type"), "application/json");
}

/* Above a mebibyte it is made while it is sent; the bytes are the same. */
static void test_a_large_result(void **state)
{
    enum { N = 60000 };
    struct label room[] = {{LABEL_NAME, SLICE("large")}};
    uint32_t ref = db_series(w.m->db, &(struct labels){room, 1});
    struct db_sample *all = malloc(N * sizeof *all);
    struct db_result ignored;
    json_error_t error;
    json_t *answer;
    json_t *values;

    (void)state;
    for (int i = 0; i < N; i++)
        all[i] = (struct db_sample){ref, T + i * 1001, double_bits(i * 0.5)};
    assert_int_equal(db_append(w.m->db, all, N, &ignored), 0);
    free(all);
    assert_int_equal(
        web_test_call(&t, "GET", "/api/v1/query?query=large%5B1d%5D&time=1700070000", NULL, SLICE("")),
        200);
    assert_int_equal(t.resp.body, WEB_STREAM);
    answer = json_loads(web_test_text(&t), 0, &error);
    assert_non_null(answer);
    values = json_object_get(
        json_array_get(json_object_get(json_object_get(answer, "data"), "result"), 0), "values");
    assert_int_equal(json_array_size(values), N);
    assert_string_equal(json_string_value(json_array_get(json_array_get(values, N - 1), 1)), "29999.5");
    json_decref(answer);
}

#define ROWS      36
#define ROW_STEPS 2200

/* Of row r at step i; NAN: none. */
static double row_value(int r, int i)
{
    if (r % 3 == 1 && i % 7 == 0)
        return NAN;
    return r % 4 == 0 ? r : r % 4 == 1 ? i / 100.0 : r % 4 == 2 ? -i / 7.0 : 1e15 * i;
}

static void expect_rows(struct buf *out)
{
    char name[32];

    buf_add_str(out, "{\"status\":\"success\",\"data\":{\"resultType\":\"matrix\",\"result\":[");
    for (int r = 0; r < ROWS; r++) {
        const char *before = "[";

        snprintf(name, sizeof name, "r%02d\\\"x", r);
        buf_printf(out, "%s{\"metric\":{\"__name__\":\"rows\",\"instance\":\"%s\",\"job\":\"j\"},\"values\":",
                   r > 0 ? "," : "", name);
        for (int i = 0; i < ROW_STEPS; i++) {
            if (isnan(row_value(r, i)))
                continue;
            buf_printf(out, "%s[", before);
            print_time(out, T + i * 1500);
            buf_add_str(out, ",\"");
            print_value(out, row_value(r, i));
            buf_add_str(out, "\"]");
            before = ",";
        }
        buf_add_str(out, "]}");
    }
    buf_add_str(out, "]}}");
}

static void load_rows(void)
{
    struct db_sample *all = malloc(ROW_STEPS * sizeof *all);
    struct db_result ignored;
    char name[32];

    for (int r = ROWS; r-- > 0;) {
        struct label room[] = {{LABEL_NAME, SLICE("rows")}, {SLICE("instance"), {0}}, {SLICE("job"), SLICE("j")}};
        size_t n = 0;
        uint32_t ref;

        snprintf(name, sizeof name, "r%02d\"x", r);
        room[1].value = slice_str(name);
        ref = db_series(w.m->db, &(struct labels){room, 3});
        for (int i = 0; i < ROW_STEPS; i++)
            if (!isnan(row_value(r, i)))
                all[n++] = (struct db_sample){ref, T + i * 1500, double_bits(row_value(r, i))};
        assert_int_equal(db_append(w.m->db, all, n, &ignored), 0);
    }
    free(all);
}

/* Rows are printed by several threads, into pieces that are sent as they are; or some at a time, if
 * many answers wait already. The bytes are the same. */
static void test_large_rows(void **state)
{
    static const char query[] = "/api/v1/query_range?query=rows&start=1700000000&end=1700003298.5&step=1.5"
                                "&lookback_delta=1s";
    autobuf expected = {0};
    struct slice body;

    (void)state;
    load_rows();
    expect_rows(&expected);
    for (int many = 0; many < 2; many++) {
        uint64_t taken = many ? 1ull << 40 : 0;

        w.m->answer_bytes += taken;
        assert_int_equal(web_test_call(&t, "GET", query, NULL, SLICE("")), 200);
        assert_int_equal(t.resp.body, many ? WEB_STREAM : WEB_PIECES);
        body = web_test_body(&t);
        assert_int_equal(body.len, expected.len);
        assert_memory_equal(body.data, expected.data, expected.len);
        web_test_done(&t);
        w.m->answer_bytes -= taken;
        assert_int_equal(w.m->answer_bytes, 0);
    }
    assert_int_equal(
        web_test_call(&t, "GET",
                      "/api/v1/query_range?query=rows&start=1700000000&end=1700000003&step=1.5&limit=1&lookback_delta=1s",
                      NULL, SLICE("")),
        200);
    assert_string_equal(web_test_text(&t),
                        "{\"status\":\"success\",\"data\":{\"resultType\":\"matrix\",\"result\":[{\"metric\":{\"__name__\":"
                        "\"rows\",\"instance\":\"r00\\\"x\",\"job\":\"j\"},\"values\":[[1700000000,\"0\"],[1700000001.500,"
                        "\"0\"],[1700000003,\"0\"]]}]},\"warnings\":[\"results truncated due to limit\"]}");
}

/* A label that is longer than a block of text. */
static void test_a_long_label(void **state)
{
    enum { LEN = 10000, TIMES = 16 * 16 };
#define SIXTEEN "$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1$1"
    static const char query[] =
        "/api/v1/query_range?query=label_replace(label_replace(wide,%22l%22,%22" SIXTEEN "%22,%22l%22,%22(.*)%22),"
        "%22l%22,%22" SIXTEEN "%22,%22l%22,%22(.*)%22)&start=1700000000&end=1700000001&step=1";
    static const char end[] = "v\"},\"values\":[[1700000000,\"1\"],[1700000001,\"1\"]]}]}}";
    char *value = malloc(LEN);
    struct label room[] = {{LABEL_NAME, SLICE("wide")}, {SLICE("l"), slice_of(value, LEN)}};
    struct db_result ignored;
    struct slice body;
    uint32_t ref;

    (void)state;
    memset(value, 'v', LEN);
    ref = db_series(w.m->db, &(struct labels){room, 2});
    assert_int_equal(db_append(w.m->db, &(struct db_sample){ref, T, double_bits(1)}, 1, &ignored), 0);
    assert_int_equal(web_test_call(&t, "GET", query, NULL, SLICE("")), 200);
    body = web_test_body(&t);
    assert_true(body.len > LEN * TIMES);
    assert_string_equal((const char *)body.data + body.len - sizeof end + 1, end);
    web_test_done(&t);
    free(value);
}

static void test_federate(void **state)
{
    autobuf expected = {0};
    int64_t now = clock_unix_ms() / 1000 * 1000;

    (void)state;
    sample("fed", "self", "a:\"1\"", now, 1.5);
    assert_int_equal(web_test_call(&t, "GET", "/federate?match[]=fed", NULL, SLICE("")), 200);
    buf_printf(&expected,
               "# TYPE fed untyped\nfed{instance=\"a:\\\"1\\\"\",job=\"self\"} 1.5 %" PRId64 "\n", now);
    assert_string_equal(web_test_text(&t), expected.data);
}

static void test_status(void **state)
{
    static const char *const targets[] = {"config", "flags", "buildinfo", "runtimeinfo",
                                          "tsdb",   "walreplay"};

    (void)state;
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        char target[64];
        json_error_t error;
        json_t *all;

        snprintf(target, sizeof target, "/api/v1/status/%s", targets[i]);
        assert_int_equal(web_test_call(&t, "GET", target, NULL, SLICE("")), 200);
        all = json_loads(web_test_text(&t), 0, &error);
        if (all == NULL || !json_is_object(json_object_get(all, "data")))
            fail_msg("%s: %s", target, web_test_text(&t));
        json_decref(all);
    }
}

/* The message of tests/fuzz/corpus/remote: a{x="1"} 1.5 and 2, metadata, a series without a name. */
static void test_remote_write(void **state)
{
    static const char hex[] =
        "6dec0a3b0a0d0a085f5f6e616d655f5f1201610a060a0178120131121009000000000000f83f1080d095ffbc311210"
        "09000000000000004010e8d795ffbcc0311a120801120161220468656c702a0562797465730a1a0a0b0a017812066e"
        "6f6e616d65120b09000000000000f03f1001";
    uint8_t body[sizeof hex / 2];
    ssize_t n = hex_decode(SLICE(hex), body, sizeof body);

    (void)state;
    t.who = &reader;
    assert_int_equal(web_test_call(&t, "POST", "/api/v1/write", NULL, slice_of(body, (size_t)n)), 401);
    t.who = &root;
    assert_int_equal(web_test_call(&t, "POST", "/api/v1/write", NULL, slice_of(body, (size_t)n)), 204);
    assert_int_equal(web_test_call(&t, "POST", "/api/v1/write", NULL, SLICE("xyz")), 400);
    assert_string_equal(web_test_text(&t), "s2: corrupt input\n");
    assert_int_equal(web_test_call(&t, "POST", "/api/v1/write", NULL,
                                   slice_of("\xff\xff\xff\xff\x0fx", 6)),
                     413);
    assert_int_equal(web_test_call(&t, "POST", "/api/v1/write", NULL, slice_of("\x02\x04\x0a\x7f", 4)),
                     400);
    t.who = &reader;
    assert_int_equal(web_test_call(&t, "GET", "/api/v1/query?query=a%5B5s%5D&time=1700000001", NULL,
                                   SLICE("")),
                     200);
    assert_string_equal(web_test_text(&t),
                        MATRIX("{\"metric\":{\"__name__\":\"a\",\"x\":\"1\"},\"values\":[[1700000000,"
                               "\"1.5\"],[1700000001,\"2\"]]}"));
    assert_int_equal(web_test_call(&t, "GET", "/api/v1/metadata?metric=a", NULL, SLICE("")), 200);
    assert_string_equal(
        web_test_text(&t),
        OK("{\"a\":[{\"type\":\"counter\",\"unit\":\"bytes\",\"help\":\"help\"}]}"));
}

static int write_config(struct op *op, const char *text)
{
    struct node_file *f;
    int r = metrics_tree.open(op, w.m, "metrics/prometheus.yml", NODE_WRITE | NODE_TRUNC, &f);

    if (r < 0)
        return r;
    f->ops->write(op, f, 0, text, strlen(text));
    r = f->ops->commit(op, f);
    f->ops->close(f);
    return r;
}

static void test_configuration_through_the_tree(void **state)
{
    autobuf host = {0};
    struct op op;

    (void)state;
    op_init(&op, DOOR_MOUNT, &root);
    assert_int_equal(write_config(&op, "scrape_configs:\n- job_nam: a\n"), -EINVAL);
    assert_non_null(strstr(op_why(&op, -EINVAL), "line 2, column 3: unknown key 'job_nam'; did you mean 'job_name'?"));
    op_done(&op);
    assert_int_equal(access(w.config->prometheus, F_OK), -1);
    op_init(&op, DOOR_MOUNT, &reader);
    assert_int_equal(write_config(&op, "scrape_configs: []"), -EACCES);
    op_done(&op);
    op_init(&op, DOOR_MOUNT, &root);
    assert_int_equal(write_config(&op, "scrape_configs:\n- job_name: a\n  scrape_interval: 1000d\n"
                                       "  basic_auth: {username: u, password: hidden}\n"
                                       "  static_configs: [{targets: ['h:1', 'h:2']}]\n"),
                     0);
    assert_int_equal(file_read(w.config->prometheus, 1000, &host), 0);
    assert_non_null(strstr(host.data, "'h:1', 'h:2'"));
    op_done(&op);
    assert_int_equal(web_test_call(&t, "GET", "/api/v1/scrape_pools", NULL, SLICE("")), 200);
    assert_string_equal(web_test_text(&t), OK("{\"scrapePools\":[\"a\"]}"));
    assert_int_equal(web_test_call(&t, "GET", "/api/v1/status/config", NULL, SLICE("")), 200);
    assert_null(strstr(web_test_text(&t), "hidden"));
    op_init(&op, DOOR_MOUNT, &reader); /* it holds a password now */
    {
        struct node_file *f;

        assert_int_equal(metrics_tree.open(&op, w.m, "metrics/prometheus.yml", NODE_READ, &f), -EACCES);
    }
    op_done(&op);
}

static int add_name(void *ctx, const char *name, const struct node_stat *st)
{
    buf_printf(ctx, "%s%s;", name, st != NULL && st->type == NODE_DIR ? "/" : "");
    return 0;
}

static void expect_list(const char *path, const char *expected)
{
    autobuf got = {0};
    struct op op;
    int r;

    op_init(&op, DOOR_MOUNT, &reader);
    r = metrics_tree.list(&op, w.m, path, add_name, &got);
    if (r < 0 || strcmp(got.data != NULL ? got.data : "", expected) != 0)
        fail_msg("%s: %d %s", path, r, got.data);
    op_done(&op);
}

static void expect_text(const char *path, const char *expected)
{
    struct node_file *f;
    struct node_stat st;
    char text[1000];
    struct op op;
    ssize_t n;

    op_init(&op, DOOR_MOUNT, &reader);
    assert_int_equal(metrics_tree.stat(&op, w.m, path, &st), 0);
    assert_int_equal(metrics_tree.open(&op, w.m, path, NODE_READ, &f), 0);
    n = f->ops->read(&op, f, 0, text, sizeof text - 1);
    text[n] = 0;
    f->ops->close(f);
    if (strncmp(text, expected, strlen(expected)) != 0 || st.size_bytes != (uint64_t)n)
        fail_msg("%s (%d bytes): '%s'", path, (int)st.size_bytes, text);
    op_done(&op);
}

static void test_tree(void **state)
{
    struct node_stat st;
    struct op op;

    (void)state;
    sample("slash", "a/b", "%x", T, 2.5);
    expect_list("metrics", "prometheus.yml;targets/;series/;push/;query/;range/;rules/;");
    expect_list("metrics/targets", "a/;");
    expect_list("metrics/targets/a", "h:1;h:2;");
    expect_list("metrics/series/up",
                "instance=\"a:1\",job=\"self\";instance=\"b:2\",job=\"down\";");
    expect_text("metrics/series/up/instance=\"a:1\",job=\"self\"", "1 1699999997\n");
    expect_list("metrics/series/slash", "instance=\"%25x\",job=\"a%2Fb\";");
    expect_text("metrics/series/slash/instance=\"%25x\",job=\"a%2Fb\"", "2.5 1700000000\n");
    expect_text("metrics/series/z/instance=\"a:1\",job=\"self\"", "stale 1699999999\n");
    expect_text("metrics/targets/a/h:1", "health=unknown\nurl=http://h:1/metrics\n");
    assert_int_equal(db_flush(w.m->db), 0); /* from a run now */
    expect_text("metrics/series/slash/instance=\"%25x\",job=\"a%2Fb\"", "2.5 1700000000\n");
    op_init(&op, DOOR_MOUNT, &root);
    assert_int_equal(metrics_tree.stat(&op, w.m, "metrics/series/nope", &st), -ENOENT);
    op_forgive(&op);
    assert_int_equal(metrics_tree.stat(&op, w.m, "metrics/series/up/x=\"1\"", &st), -ENOENT);
    op_forgive(&op);
    assert_int_equal(metrics_tree.stat(&op, w.m, "metrics/targets/a/h:3", &st), -ENOENT);
    op_forgive(&op);
    assert_int_equal(metrics_tree.unlink(&op, w.m, "metrics/prometheus.yml"), -EPERM);
    op_done(&op);
}

static int make_target(struct op *op, const char *path, unsigned flags, const char *text)
{
    struct node_file *f;
    int r = metrics_tree.open(op, w.m, path, NODE_WRITE | flags, &f);

    if (r < 0)
        return r;
    if (text != NULL)
        f->ops->write(op, f, 0, text, strlen(text));
    r = f->ops->commit(op, f);
    f->ops->close(f);
    return r;
}

static void test_targets_made_in_the_tree(void **state)
{
    static const struct {
        const char *path, *text;
        unsigned flags;
        int result;
    } refused[] = {
        {"metrics/targets/a/h:5", "a-b=c\n", NODE_CREATE, -EINVAL},
        {"metrics/targets/a/h:5", "nothing\n", NODE_CREATE, -EINVAL},
        {"metrics/targets/a/h 5", NULL, NODE_CREATE, -EINVAL},
        {"metrics/targets/nojob/h:5", NULL, NODE_CREATE, -ENOENT},
        {"metrics/targets/a/h:5", NULL, 0, -ENOENT},
        {"metrics/targets/a/h:1", "x=y\n", 0, -EPERM},
    };
    struct op op;

    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        int r;

        op_init(&op, DOOR_MOUNT, &root);
        r = make_target(&op, refused[i].path, refused[i].flags, refused[i].text);
        if (r != refused[i].result)
            fail_msg("%zu: %d %s", i, r, op_why(&op, r));
        op_done(&op);
    }
    expect_list("metrics/targets/a", "h:1;h:2;");
    op_init(&op, DOOR_MOUNT, &reader);
    assert_int_equal(make_target(&op, "metrics/targets/a/h:4", NODE_CREATE, NULL), -EACCES);
    op_done(&op);
    op_init(&op, DOOR_MOUNT, &root);
    assert_int_equal(make_target(&op, "metrics/targets/a/h:4", NODE_CREATE | NODE_EXCL, NULL), 0);
    assert_int_equal(make_target(&op, "metrics/targets/a/h:3", NODE_CREATE, "env=prod\nlabel.zone=x=y\n"),
                     0);
    op_done(&op);
    expect_list("metrics/targets/a", "h:1;h:2;h:3;h:4;");
    assert_int_equal(web_test_call(&t, "GET", "/api/v1/targets?state=active", NULL, SLICE("")), 200);
    assert_non_null(strstr(web_test_text(&t),
                           "\"labels\":{\"env\":\"prod\",\"instance\":\"h:3\",\"job\":\"a\",\"zone\":\"x=y\"}"));
    op_init(&op, DOOR_MOUNT, &root);
    assert_int_equal(make_target(&op, "metrics/targets/a/h:3", NODE_TRUNC, "env=test\n"), 0);
    assert_int_equal(metrics_tree.unlink(&op, w.m, "metrics/targets/a/h:4"), 0);
    assert_int_equal(metrics_tree.unlink(&op, w.m, "metrics/targets/a/h:1"), -EPERM);
    op_done(&op);
    expect_list("metrics/targets/a", "h:1;h:2;h:3;");
    assert_int_equal(web_test_call(&t, "GET", "/api/v1/targets?state=active", NULL, SLICE("")), 200);
    assert_non_null(strstr(web_test_text(&t), "\"env\":\"test\""));
    assert_null(strstr(web_test_text(&t), "\"zone\""));
    op_init(&op, DOOR_MOUNT, &root);
    assert_int_equal(metrics_tree.unlink(&op, w.m, "metrics/targets/a/h:3"), 0);
    op_done(&op);
}

/* Two targets of one job that differ by their path only. */
static void test_targets_of_one_instance(void **state)
{
    autobuf list = {0};
    autobuf path = {0};
    struct op op;

    (void)state;
    op_init(&op, DOOR_MOUNT, &root);
    assert_int_equal(write_config(&op, "scrape_configs:\n- job_name: a\n  scrape_interval: 1000d\n"
                                       "  static_configs:\n"
                                       "  - {targets: ['h:1'], labels: {__metrics_path__: /x}}\n"
                                       "  - {targets: ['h:1'], labels: {__metrics_path__: /y}}\n"
                                       "  - {targets: ['h:2']}\n"
                                       "- job_name: empty\n"),
                     0);
    op_done(&op);
    op_init(&op, DOOR_MOUNT, &reader);
    assert_int_equal(metrics_tree.list(&op, w.m, "metrics/targets/a", add_name, &list), 0);
    assert_int_equal(list.len, strlen("h:1~12345678;h:1~12345678;h:2;"));
    op_done(&op);
    buf_printf(&path, "metrics/targets/a/%.12s", list.data);
    expect_text(path.data, "health=unknown\nurl=http://h:1/x\n");
    expect_list("metrics/targets", "a/;empty/;");
    expect_list("metrics/targets/empty", "");
}

static void test_long_names(void **state)
{
    char instance[400];
    autobuf list = {0};
    autobuf path = {0};
    struct op op;

    (void)state;
    memset(instance, 'i', sizeof instance - 1);
    instance[sizeof instance - 1] = 0;
    sample("long", "j", instance, T, 7);
    op_init(&op, DOOR_MOUNT, &reader);
    assert_int_equal(metrics_tree.list(&op, w.m, "metrics/series/long", add_name, &list), 0);
    assert_true(list.len < 255);
    op_done(&op);
    buf_printf(&path, "metrics/series/long/%.*s", (int)list.len - 1, list.data);
    expect_text(path.data, "7 1700000000\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_posted_forms),
        cmocka_unit_test(test_a_large_result),
        cmocka_unit_test(test_large_rows),
        cmocka_unit_test(test_a_long_label),
        cmocka_unit_test(test_federate),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_remote_write),
        cmocka_unit_test(test_configuration_through_the_tree),
        cmocka_unit_test(test_tree),
        cmocka_unit_test(test_targets_made_in_the_tree),
        cmocka_unit_test(test_targets_of_one_instance),
        cmocka_unit_test(test_long_names),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
