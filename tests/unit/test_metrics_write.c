/* Remote write 1.0 and 2.0: what is kept, what is answered; exemplars and histograms among it. */
#include "base/clock.h"
#include "base/proto.h"
#include "identity/identity.h"
#include "metrics/histogram_proto.h"
#include "metrics/metrics.h"
#include "metrics/query.h"
#include "web_test.h"

#include <setjmp.h>
#include <snappy-c.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

extern const struct domain metrics_domain;

#define T 1700000000000ll

static struct {
    char dir[64];
    struct config *config;
    struct store *store;
    struct metrics *m;
} w;
static struct identity root = {.kind = IDENTITY_USER, .name = "root"};
static struct web_test t;

static void metrics_up(void)
{
    struct domain_env env = {.config = w.config, .store = w.store};
    autobuf why = {0};

    if (metrics_domain.open(&env, (void **)&w.m, &why) < 0)
        fail_msg("%s", why.data);
    t = (struct web_test){.domain = &metrics_domain, .self = w.m, .who = &root};
}

static int setup(void **state)
{
    autobuf why = {0};

    (void)state;
    snprintf(w.dir, sizeof w.dir, "/tmp/test_metrics_write.XXXXXX");
    assert_non_null(mkdtemp(w.dir));
    /* the samples are of 2023: none may go by its age */
    assert_int_equal(config_parse(SLICE("metrics: {retention: 0}"), &w.config, &why), 0);
    free(w.config->prometheus);
    assert_true(asprintf(&w.config->prometheus, "%s/prometheus.yml", w.dir) > 0);
    free(w.config->rules);
    assert_true(asprintf(&w.config->rules, "%s/rules", w.dir) > 0);
    assert_int_equal(store_open("mem:", &(struct store_options){0}, &w.store, &why), 0);
    root.policies = policy_set_root();
    metrics_up();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    web_test_done(&t);
    metrics_domain.close(w.m);
    store_close(w.store);
    rmdir(w.config->rules);
    rmdir(w.dir);
    config_free(w.config);
    policy_set_unref(root.policies);
    return 0;
}

/* Builds messages of both versions. In 2.0 the symbols are known only at the end. */
struct message {
    int version;
    struct buf series, symbols, body;
    unsigned n_symbols;
};

static uint64_t symbol(struct message *m, const char *text)
{
    if (m->n_symbols == 0) {
        proto_put_bytes(&m->symbols, 4, SLICE(""));
        m->n_symbols = 1;
    }
    proto_put_bytes(&m->symbols, 4, slice_str(text));
    return m->n_symbols++;
}

static void put_labels(struct message *m, struct buf *out, const char *const *pairs)
{
    autobuf packed = {0};

    for (; *pairs != NULL; pairs += 2) {
        autobuf label = {0};

        if (m->version == 2) {
            varint_put(&packed, symbol(m, pairs[0]));
            varint_put(&packed, symbol(m, pairs[1]));
            continue;
        }
        proto_put_bytes(&label, 1, slice_str(pairs[0]));
        proto_put_bytes(&label, 2, slice_str(pairs[1]));
        proto_put_bytes(out, 1, buf_slice(&label));
    }
    if (m->version == 2)
        proto_put_bytes(out, 1, buf_slice(&packed));
}

#define LABELS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void put_sample(struct message *m, int64_t ts, double v)
{
    autobuf sample = {0};

    proto_put_fixed64(&sample, 1, double_bits(v));
    proto_put_varint(&sample, 2, (uint64_t)ts);
    proto_put_bytes(&m->series, 2, buf_slice(&sample));
}

static struct histogram *some_histogram(double count)
{
    struct histogram *h = histogram_new(&(struct histogram_shape){1, 2, 0, 0, 0});

    h->schema = 1;
    h->integer = true;
    h->zero_threshold = 0.001;
    h->zero_count = 1;
    h->count = count;
    h->sum = 5.5;
    h->positive.spans[0] = (struct histogram_span){0, 2};
    h->positive.counts[0] = 2;
    h->positive.counts[1] = count - 3;
    return h;
}

static void put_histogram(struct message *m, int64_t ts, const struct histogram *h)
{
    autobuf bytes = {0};

    histogram_to_proto(&bytes, h, ts);
    proto_put_bytes(&m->series, m->version == 2 ? 3 : 4, buf_slice(&bytes));
}

static void put_exemplar(struct message *m, const char *trace, int64_t ts, double v)
{
    autobuf e = {0};

    put_labels(m, &e, LABELS("trace_id", trace));
    proto_put_fixed64(&e, 2, double_bits(v));
    proto_put_varint(&e, 3, (uint64_t)ts);
    proto_put_bytes(&m->series, m->version == 2 ? 4 : 3, buf_slice(&e));
}

static void end_series(struct message *m)
{
    proto_put_bytes(&m->body, m->version == 2 ? 5 : 1, buf_slice(&m->series));
    buf_clear(&m->series);
}

static int post(struct message *m)
{
    autobuf all = {0};
    char packed[4096];
    size_t n = sizeof packed;
    struct web_param headers[] = {
        {"Content-Type", m->version == 2
                             ? "application/x-protobuf;proto=io.prometheus.write.v2.Request"
                             : "application/x-protobuf"},
        {"Content-Encoding", "snappy"},
        {0}};

    buf_add_slice(&all, buf_slice(&m->symbols));
    buf_add_slice(&all, buf_slice(&m->body));
    assert_int_equal(snappy_compress(all.data, all.len, packed, &n), SNAPPY_OK);
    buf_done(&m->series);
    buf_done(&m->symbols);
    buf_done(&m->body);
    m->n_symbols = 0;
    return web_test_call(&t, "POST", "/api/v1/write", headers, slice_of(packed, n));
}

/* How many samples of the metric there are, floats and histograms. */
static void count(const char *metric, size_t *floats, size_t *histograms)
{
    struct query *q;
    struct query_item item;
    struct matcher m;

    *floats = *histograms = 0;
    matcher_init(&m, MATCH_EQ, LABEL_NAME, slice_str(metric), NULL);
    query_open(w.m->db, &m, 1, 0, INT64_MAX, 0, &q);
    while (query_next(q, &item) > 0)
        for (size_t i = 0; i < item.n; i++)
            *(item.histograms != NULL && item.histograms[i] != NULL ? histograms : floats) += 1;
    query_close(q);
    matcher_done(&m);
}

static void expect(const char *metric, size_t want_floats, size_t want_histograms)
{
    size_t floats;
    size_t histograms;

    count(metric, &floats, &histograms);
    if (floats != want_floats || histograms != want_histograms)
        fail_msg("%s: %zu floats, %zu histograms", metric, floats, histograms);
}

static const char *written(const char *what)
{
    char name[64];

    snprintf(name, sizeof name, "X-Prometheus-Remote-Write-%s-Written", what);
    return web_test_header(&t, name);
}

static void both_versions(void **state)
{
    (void)state;
    for (int version = 1; version <= 2; version++) {
        struct message m = {.version = version};
        struct histogram *h = some_histogram(10);
        char name[16];

        snprintf(name, sizeof name, "v%d", version);
        put_labels(&m, &m.series, LABELS("__name__", name, "b", "2", "a", "1"));
        put_sample(&m, T, 1);
        put_sample(&m, T + 1000, bits_double(HISTOGRAM_BITS));
        put_exemplar(&m, "abc", T, 0.5);
        end_series(&m);
        put_labels(&m, &m.series, LABELS("__name__", name, "kind", "h"));
        put_histogram(&m, T, h);
        h->integer = false;
        put_histogram(&m, T + 1000, h);
        end_series(&m);
        assert_int_equal(post(&m), 204);
        expect(name, 2, 2);
        if (version == 2) {
            assert_string_equal(written("Samples"), "2");
            assert_string_equal(written("Histograms"), "2");
            assert_string_equal(written("Exemplars"), "1");
        } else {
            assert_null(written("Samples"));
        }
        histogram_free(h);
    }
    assert_int_equal(exemplars_count(w.m->exemplars), 2);
}

/* 1.0: one bad sample and nothing is kept. */
static void whole_or_nothing(void **state)
{
    struct message m = {.version = 1};
    struct histogram *h = some_histogram(10);

    (void)state;
    put_labels(&m, &m.series, LABELS("__name__", "whole"));
    put_sample(&m, T, 1);
    end_series(&m);
    assert_int_equal(post(&m), 204);
    put_labels(&m, &m.series, LABELS("__name__", "whole", "x", "1"));
    put_sample(&m, T, 1);
    end_series(&m);
    put_labels(&m, &m.series, LABELS("__name__", "whole"));
    put_sample(&m, T, 2);
    end_series(&m);
    assert_int_equal(post(&m), 400);
    assert_string_equal(web_test_text(&t), "duplicate sample for timestamp\n");
    put_labels(&m, &m.series, LABELS("__name__", "whole", "x", "1"));
    put_sample(&m, T, 1);
    end_series(&m);
    put_labels(&m, &m.series, LABELS("__name__", "whole", "x", "2"));
    put_sample(&m, clock_unix_ms() + 3600000, 2);
    end_series(&m);
    assert_int_equal(post(&m), 400);
    assert_string_equal(web_test_text(&t), "out of bounds\n");
    h->count = 3;
    put_labels(&m, &m.series, LABELS("__name__", "whole", "x", "1"));
    put_histogram(&m, T, h);
    end_series(&m);
    assert_int_equal(post(&m), 400);
    assert_string_equal(web_test_text(&t),
                        "10 observations found in buckets, but the Count field is 3: histogram's "
                        "observation count should equal the number of observations found in the "
                        "buckets (in absence of NaN)\n");
    expect("whole", 1, 0);
    /* a series without a name is passed over */
    put_labels(&m, &m.series, LABELS("x", "1"));
    put_sample(&m, T, 1);
    end_series(&m);
    assert_int_equal(post(&m), 204);
    histogram_free(h);
}

/* 2.0: what is good is kept, and all that is bad is told. */
static void parts(void **state)
{
    struct message m = {.version = 2};
    struct histogram *h = some_histogram(10);

    (void)state;
    put_labels(&m, &m.series, LABELS("__name__", "part"));
    put_sample(&m, T, 1);
    end_series(&m);
    assert_int_equal(post(&m), 204);
    put_labels(&m, &m.series, LABELS("__name__", "part"));
    put_sample(&m, T, 2);
    put_sample(&m, T + 1000, 3);
    end_series(&m);
    put_labels(&m, &m.series, LABELS("__name__", "part", "x", "1", "x", "2"));
    put_sample(&m, T, 2);
    end_series(&m);
    put_labels(&m, &m.series, LABELS("x", "1"));
    put_sample(&m, T, 2);
    end_series(&m);
    put_labels(&m, &m.series, LABELS("__name__", "part", "x", "empty"));
    end_series(&m);
    put_labels(&m, &m.series, LABELS("__name__", "part", "x", "h"));
    put_histogram(&m, T, h);
    h->schema = 9; /* it is made coarser */
    put_histogram(&m, T + 1000, h);
    h->schema = 60;
    put_histogram(&m, T + 2000, h);
    end_series(&m);
    assert_int_equal(post(&m), 400);
    assert_string_equal(written("Samples"), "1");
    assert_string_equal(written("Histograms"), "2");
    assert_string_equal(written("Exemplars"), "0");
    assert_string_equal(
        web_test_text(&t),
        "invalid labels for series, labels part{x=\"1\", x=\"2\"}, duplicated label x\n"
        "invalid metric name or labels, got {x=\"1\"}\n"
        "TimeSeries must contain at least one sample or histogram for series part{x=\"empty\"}\n"
        "histogram has an invalid schema, which must be between -4 and 8 for exponential buckets, "
        "or -53 for custom buckets, got schema 60 for series part{x=\"h\"}\n"
        "duplicate sample for timestamp for series part\n");
    expect("part", 2, 2);
    histogram_free(h);
}

static void bad_messages(void **state)
{
    static const struct {
        const char *type, *encoding;
        int status;
    } cases[] = {
        {"text/plain", "snappy", 415},
        {"application/x-protobuf", "gzip", 415},
        {"application/x-protobuf;proto=other", "snappy", 415},
        {"application/x-protobuf;proto=prometheus.WriteRequest", "snappy", 204},
        {"application/x-protobuf;proto=io.prometheus.write.v2.Request", "snappy", 204},
    };
    char none[64];
    size_t n = sizeof none;

    (void)state;
    assert_int_equal(snappy_compress("", 0, none, &n), SNAPPY_OK);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct web_param headers[] = {
            {"Content-Type", cases[i].type}, {"Content-Encoding", cases[i].encoding}, {0}};

        if (web_test_call(&t, "POST", "/api/v1/write", headers, slice_of(none, n)) !=
            cases[i].status)
            fail_msg("%s, %s: %d", cases[i].type, cases[i].encoding, t.resp.status);
    }
}

struct found {
    size_t n;
    double sum;
};

static int add_exemplar(void *ctx, uint32_t ref, const struct exemplar *e)
{
    struct found *f = ctx;

    (void)ref;
    assert_true(slice_eq(labels_get(&e->labels, SLICE("trace_id")), SLICE("abc")));
    f->n++;
    f->sum += bits_double(e->bits);
    return 0;
}

/* Kept over a restart, the newest of them; the same again counts once. */
static void exemplars_last(void **state)
{
    struct label label = {SLICE("trace_id"), SLICE("abc")};
    struct exemplars *x;
    uint32_t ref;
    struct refs refs = {0};
    struct found found = {0};
    struct label name = {LABEL_NAME, SLICE("e")};
    struct db_result ignored;

    (void)state;
    ref = db_series(w.m->db, &(struct labels){&name, 1});
    db_append(w.m->db, &(struct db_sample){ref, T, 0}, 1, &ignored);
    refs_add(&refs, ref);
    exemplars_close(w.m->exemplars);
    assert_int_equal(exemplars_open(w.store, w.m->db, 8, &x), 0);
    for (int i = 0; i < 3000; i++) {
        struct exemplar e = {{&label, 1}, T + i, double_bits(i)};

        assert_int_equal(exemplars_add(x, ref, &e), 0);
        assert_int_equal(exemplars_add(x, ref, &e), 0);
        e.ts_ms--;
        assert_int_equal(exemplars_add(x, ref, &e), -ERANGE);
        if (i % 3 == 0)
            assert_int_equal(exemplars_write(x), 0);
    }
    for (int round = 0; round < 2; round++) {
        found = (struct found){0};
        exemplars_each(x, &refs, 0, INT64_MAX, add_exemplar, &found);
        assert_int_equal(found.n, 8);
        assert_true(found.sum == 8 * 2996 - 4 + 0.0);
        assert_int_equal(exemplars_write(x), 0);
        exemplars_close(x);
        assert_int_equal(exemplars_open(w.store, w.m->db, 8, &x), 0);
    }
    w.m->exemplars = x;
    refs_done(&refs);
}

/* As samples; the chunks are read by a Prometheus in the end-to-end tests. */
static void remote_read(void **state)
{
    struct message m = {.version = 1};
    autobuf matcher = {0};
    autobuf query = {0};
    autobuf request = {0};
    autobuf plain = {0};
    char packed[256];
    size_t n = sizeof packed;
    struct slice in;
    struct proto_field f;

    (void)state;
    put_labels(&m, &m.series, LABELS("__name__", "r", "b", "1"));
    put_sample(&m, T, 1);
    put_sample(&m, T + 1000, 2);
    put_sample(&m, T + 2000, bits_double(VALUE_STALE_BITS));
    end_series(&m);
    put_labels(&m, &m.series, LABELS("__name__", "r", "a", "1"));
    put_sample(&m, T, 3);
    end_series(&m);
    assert_int_equal(post(&m), 204);
    proto_put_bytes(&matcher, 2, LABEL_NAME);
    proto_put_bytes(&matcher, 3, SLICE("r"));
    proto_put_varint(&query, 1, T);
    proto_put_varint(&query, 2, T + 5000);
    proto_put_bytes(&query, 3, buf_slice(&matcher));
    proto_put_bytes(&request, 1, buf_slice(&query));
    assert_int_equal(snappy_compress(request.data, request.len, packed, &n), SNAPPY_OK);
    assert_int_equal(web_test_call(&t, "POST", "/api/v1/read", NULL, slice_of(packed, n)), 200);
    assert_string_equal(web_test_header(&t, "Content-Encoding"), "snappy");
    in = web_test_body(&t);
    n = 4096;
    buf_reserve(&plain, n);
    assert_int_equal(snappy_uncompress(in.data, in.len, plain.data, &n), SNAPPY_OK);
    in = slice_of(plain.data, n);
    assert_int_equal(proto_next(&in, &f), 1); /* results */
    assert_int_equal(in.len, 0);
    in = f.bytes;
    for (int series = 0; series < 2; series++) {
        struct slice one;
        int labels = 0;
        int samples = 0;

        assert_int_equal(proto_next(&in, &f), 1);
        one = f.bytes;
        while (proto_next(&one, &f) > 0) {
            labels += f.number == 1;
            samples += f.number == 2;
        }
        assert_int_equal(labels, 2);
        assert_int_equal(samples, series == 0 ? 1 : 3); /* sorted by labels */
    }
    assert_int_equal(proto_next(&in, &f), 0);
    assert_int_equal(web_test_call(&t, "POST", "/api/v1/read", NULL, SLICE("xyz")), 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_versions), cmocka_unit_test(whole_or_nothing),
        cmocka_unit_test(parts),         cmocka_unit_test(bad_messages),
        cmocka_unit_test(remote_read),   cmocka_unit_test(exemplars_last),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
