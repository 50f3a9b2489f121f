#include "metrics/scrape/ingest.h"

#include "base/alloc.h"
#include "metrics/scrape/nhcb.h"
#include "metrics/scrape/protobuf.h"
#include "metrics/scrape/starts.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define FUTURE_MS      (10 * 60 * 1000)
#define SCRATCH_SERIES 256

struct staged_exemplar {
    uint32_t entry; /* of the cache */
    struct exemplar exemplar;
};

struct run {
    struct target *t;
    const struct ingest_into *into;
    const struct scrape *scrape;
    struct op op;
    struct op scratch; /* for a while: of the series at hand */
    struct exposition x;
    struct db_sample *samples; /* ref: the entry of the cache */
    size_t n, cap;
    struct buf fresh; /* labels of the entries from first_fresh on, encoded: a body may have a million */
    size_t n_fresh;
    uint32_t first_fresh;
    struct protobuf_text decoded; /* of a body of protobuf messages */
    size_t at_mark;
    struct buf payloads; /* of the histograms among the samples, one behind the other */
    struct slice *payload_slices;
    size_t *payload_ends;
    size_t n_payloads, cap_payloads;
    struct staged_exemplar *exemplars;
    size_t n_exemplars, cap_exemplars;
    struct starts starts;
    struct db_start *told; /* of the samples, as the database wants them */
    bool reads_created; /* the body tells starts by lines */
    uint64_t scraped, kept, added;
    bool ok;
    struct slice unit, help, family; /* what was said of the metric at hand */
    enum metric_type type;
};

static void stage(struct run *r, uint32_t entry, int64_t ts_ms, uint64_t bits)
{
    if (r->n == r->cap) {
        r->cap = r->cap == 0 ? r->t->cache.n + 64 : 2 * r->cap;
        r->samples = xrealloc(r->samples, r->cap * sizeof *r->samples);
    }
    r->samples[r->n++] = (struct db_sample){entry, ts_ms, bits};
}

/* The target's labels beside the exposed ones (conflicts: exported_ before the exposed name). */
static void add_target_labels(struct label_builder *b, const struct target *t)
{
    for (size_t i = 0; i < t->labels.n; i++) {
        struct slice name = slice_str(t->labels.items[i].name);
        struct slice value = slice_str(t->labels.items[i].value);
        struct slice exposed = label_builder_get(b, name);

        if (exposed.len == 0) {
            /* An exposed empty label says no, where exposed ones are honoured. */
            if (!t->job->honor_labels || !label_builder_has(b, name))
                label_builder_set(b, name, value);
            continue;
        }
        if (t->job->honor_labels)
            continue;
        label_builder_set(b, name, value);
        do
            name = slice_str(
                op_printf(b->op, "exported_%.*s", (int)name.len, (const char *)name.data));
        while (label_builder_get(b, name).len > 0 || pairs_get(&t->labels, name.data) != NULL);
        label_builder_set(b, name, exposed);
    }
}

static int fail(struct run *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int fail(struct run *r, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    buf_vprintf(&r->x.why, format, args);
    va_end(args);
    return -EINVAL;
}

static int check_limits(struct run *r, const struct labels *l)
{
    const struct job *j = r->t->job;
    struct slice metric = labels_get(l, LABEL_NAME);

    if (metric.len == 0)
        return fail(r, "metric name missing after relabeling");
    if (l->n > LABELS_MAX || (j->label_limit > 0 && l->n > j->label_limit))
        return fail(
            r, "label_limit exceeded (metric: \"%.*s\", number of labels: %zu, limit: %" PRIu64 ")",
            metric.len < 50 ? (int)metric.len : 50, (const char *)metric.data, l->n,
            j->label_limit > 0 ? j->label_limit : LABELS_MAX);
    if (labels_bytes(l) > LABELS_BYTES_MAX)
        return fail(r, "labels of %zu bytes on one series (metric: \"%.*s\"); the limit is %u",
                    labels_bytes(l), metric.len < 50 ? (int)metric.len : 50,
                    (const char *)metric.data, LABELS_BYTES_MAX);
    for (size_t i = 0; i < l->n; i++) {
        if (j->label_name_length_limit > 0 && l->items[i].name.len > j->label_name_length_limit)
            return fail(r, "label_name_length_limit exceeded (metric: \"%.*s\")",
                        metric.len < 50 ? (int)metric.len : 50, (const char *)metric.data);
        if (j->label_value_length_limit > 0 && l->items[i].value.len > j->label_value_length_limit)
            return fail(r, "label_value_length_limit exceeded (metric: \"%.*s\")",
                        metric.len < 50 ? (int)metric.len : 50, (const char *)metric.data);
    }
    return 0;
}

static void scratch_renew(struct run *r, size_t n)
{
    if (n % SCRATCH_SERIES != 0)
        return;
    op_done(&r->scratch);
    op_init(&r->scratch, DOOR_INTERNAL, NULL);
}

/* An entry of the cache for a text that was not seen before. */
static int meet(struct run *r, uint32_t *ret_entry)
{
    struct label_builder b;
    struct labels l;
    int e;

    scratch_renew(r, r->n_fresh);
    e = exposition_labels(&r->x, &r->scratch, &l);
    if (e < 0)
        return e;
    label_builder_init(&b, &r->scratch);
    for (size_t i = 0; i < l.n; i++)
        label_builder_set(&b, l.items[i].name, l.items[i].value);
    /* exposition_labels leaves empty ones out; honor_labels wants to know of them. */
    for (size_t i = 0; r->t->job->honor_labels && i < r->x.n_labels; i++)
        if (r->x.labels[i].value.len == 0)
            label_builder_set(&b, r->x.labels[i].name, SLICE(""));
    add_target_labels(&b, r->t);
    *ret_entry = cache_add(&r->t->cache, r->x.series);
    r->n_fresh++;
    if (!relabel_apply(&r->t->job->metric_relabel, &b)) {
        r->t->cache.entries[*ret_entry].ref = CACHE_DROPPED;
        labels_encode(&r->fresh, &(struct labels){0});
        return 0;
    }
    l = label_builder_finish(&b);
    labels_encode(&r->fresh, &l);
    r->added++;
    return check_limits(r, &l);
}

static void stage_exemplar(struct run *r, uint32_t entry, int64_t ts_ms)
{
    if (r->n_exemplars == r->cap_exemplars) {
        r->cap_exemplars = r->cap_exemplars == 0 ? 16 : 2 * r->cap_exemplars;
        r->exemplars = xrealloc(r->exemplars, r->cap_exemplars * sizeof *r->exemplars);
    }
    r->exemplars[r->n_exemplars++] = (struct staged_exemplar){
        entry,
        {.labels = exposition_exemplar(&r->x, &r->op),
         .ts_ms = r->x.exemplar_timed ? r->x.exemplar_ms : ts_ms,
         .bits = double_bits(r->x.exemplar_value)}};
}

/* What stands beside the line just read; NULL: nothing. */
static const struct protobuf_mark *mark_of(struct run *r)
{
    size_t offset = (size_t)(r->x.start - r->decoded.text.data);

    if (r->at_mark == r->decoded.n || r->decoded.marks[r->at_mark].offset != offset)
        return NULL;
    return &r->decoded.marks[r->at_mark++];
}

static void stage_histogram(struct run *r, uint32_t entry, int64_t ts_ms, const struct histogram *h)
{
    histogram_encode(&r->payloads, h);
    if (r->n_payloads == r->cap_payloads) {
        r->cap_payloads = r->cap_payloads == 0 ? 64 : 2 * r->cap_payloads;
        r->payload_ends = xrealloc(r->payload_ends, r->cap_payloads * sizeof *r->payload_ends);
    }
    r->payload_ends[r->n_payloads++] = r->payloads.len;
    stage(r, entry, ts_ms, HISTOGRAM_BITS);
}

/* The sample staged last, with its start. */
static void stage_start(struct run *r, uint32_t entry, int64_t ts_ms, int64_t start_ms)
{
    if (start_ms > 0)
        starts_add(&r->starts, &(struct start){entry, r->n - 1, start_ms, ts_ms, 0});
}

static void stage_float(struct run *r, uint32_t entry, int64_t ts_ms,
                        const struct protobuf_mark *mark)
{
    stage(r, entry, ts_ms, double_bits(r->x.value));
    if (r->reads_created)
        starts_sample(&r->starts, &r->x, entry, ts_ms, r->n - 1);
    else if (mark != NULL)
        stage_start(r, entry, ts_ms, mark->start_ms);
}

static int take_sample(struct run *r)
{
    struct cache *c = &r->t->cache;
    const struct job *j = r->t->job;
    const struct protobuf_mark *mark = r->decoded.n > 0 ? mark_of(r) : NULL;
    bool timed = (r->x.has_timestamp || (mark != NULL && mark->timed)) && j->honor_timestamps;
    int64_t ts_ms = !timed                         ? r->scrape->ts_ms
                    : mark != NULL && mark->timed ? mark->ts_ms
                                                  : r->x.timestamp_ms;
    uint32_t entry = r->x.is_known ? c->hit : cache_find(c, r->x.series);
    struct cache_entry *e;

    if (r->reads_created && starts_created(&r->starts, &r->x))
        return 0;
    r->scraped++;
    if (entry == CACHE_NONE) {
        int f = meet(r, &entry);

        if (f < 0)
            return f;
        r->t->note_metadata = true;
    }
    e = &c->entries[entry];
    if (e->ref == CACHE_DROPPED) {
        e->round = c->round;
        return 0;
    }
    r->kept++;
    if (e->round == c->round && !timed)
        return 0; /* the first of two wins */
    e->round = c->round;
    e->live = !timed || j->track_timestamps_staleness;
    if (ts_ms > r->scrape->now_ms + FUTURE_MS ||
        (j->sample_limit > 0 && r->kept > j->sample_limit))
        return 0;
    if (mark != NULL && mark->histogram != NULL) {
        stage_histogram(r, entry, ts_ms, mark->histogram);
        stage_start(r, entry, ts_ms, mark->start_ms);
    } else {
        stage_float(r, entry, ts_ms, mark);
    }
    if (r->x.has_exemplar && r->into->exemplars != NULL)
        stage_exemplar(r, entry, ts_ms);
    return 0;
}

static void say_metadata(struct run *r)
{
    if (r->family.len > 0)
        metadata_note(r->into->metadata, r->family, r->type, r->unit,
                      r->help.len > 0 ? r->help : SLICE(""));
    r->family = r->unit = r->help = SLICE("");
    r->type = METRIC_UNKNOWN;
}

static void take_metadata(struct run *r, enum exposition_entry kind)
{
    if (!slice_eq(r->family, r->x.name)) {
        say_metadata(r);
        r->family = r->x.name;
    }
    if (kind == EXPOSITION_TYPE)
        r->type = r->x.type;
    else if (kind == EXPOSITION_UNIT)
        r->unit = r->x.text;
    else
        r->help = exposition_help(&r->x, &r->op);
}

/* The body is read anew, with histograms in the place of their buckets. */
static int convert_histograms(struct run *r, enum exposition_format format, struct slice body)
{
    struct protobuf_text fresh;
    int e = nhcb_convert(format, body, &r->decoded, r->t->job->classic_histograms, &fresh,
                         &r->x.why);

    protobuf_done(&r->decoded);
    r->decoded = fresh;
    if (e < 0)
        return e;
    exposition_done(&r->x);
    exposition_init(&r->x, format, buf_slice(&r->decoded.text));
    return 0;
}

/* The reader for the body, whatever format it has. */
static int open_body(struct run *r)
{
    const struct job *j = r->t->job;
    enum exposition_format format;
    int e;

    if (protobuf_is(r->scrape->content_type)) {
        e = protobuf_read(r->scrape->body,
                          (j->native_histograms ? PROTOBUF_NATIVE : 0) |
                              (j->classic_histograms ? PROTOBUF_CLASSIC : 0) |
                              (r->into->starts ? PROTOBUF_STARTS : 0),
                          &r->decoded, &r->x.why);
        if (e < 0)
            return e;
        exposition_init(&r->x, EXPOSITION_OPENMETRICS, buf_slice(&r->decoded.text));
        return j->convert_histograms ? convert_histograms(r, EXPOSITION_OPENMETRICS,
                                                          buf_slice(&r->decoded.text))
                                     : 0;
    }
    e = exposition_format_of(r->scrape->content_type, &format, &r->x.why);
    if (e < 0 && !j->has_fallback)
        return e;
    buf_clear(&r->x.why);
    exposition_done(&r->x);
    format = e < 0 ? j->fallback : format;
    r->reads_created = r->into->starts && format == EXPOSITION_OPENMETRICS;
    if (j->convert_histograms)
        return convert_histograms(r, format, r->scrape->body);
    exposition_init(&r->x, format, r->scrape->body);
    return 0;
}

static int parse(struct run *r)
{
    bool note = r->t->note_metadata || r->t->scrapes % 100 == 0;
    int e = open_body(r);

    if (e < 0)
        return e;
    r->x.known = r->reads_created ? NULL : cache_known; /* the labels say whose start a line is */
    r->x.known_ctx = &r->t->cache;
    r->t->note_metadata = false;
    while ((e = exposition_next(&r->x)) > 0) {
        if (e != EXPOSITION_SAMPLE)
            starts_end_family(&r->starts);
        if (e == EXPOSITION_SAMPLE)
            e = take_sample(r);
        else if (note)
            take_metadata(r, (enum exposition_entry)e);
        if (e < 0)
            return e;
    }
    if (e == 0 && note)
        say_metadata(r);
    if (e == 0 && r->t->job->sample_limit > 0 && r->kept > r->t->job->sample_limit)
        return fail(r, "sample limit exceeded");
    return e;
}

/* Makes the new series, and turns entries into refs. */
static void resolve(struct run *r)
{
    struct cache *c = &r->t->cache;
    struct slice in = buf_slice(&r->fresh);

    for (size_t i = 0; i < r->n_fresh; i++) {
        struct cache_entry *e = &c->entries[r->first_fresh + i];
        struct labels l;
        int decoded;

        scratch_renew(r, i);
        decoded = labels_decode(&r->scratch, &in, &l);
        assert(decoded == 0);
        (void)decoded;
        if (e->ref == CACHE_NONE)
            e->ref = db_series(r->into->db, &l);
    }
    buf_done(&r->fresh);
    for (size_t i = 0; i < r->n; i++)
        r->samples[i].ref = c->entries[r->samples[i].ref].ref;
}

/* A zero at the start of each counter whose start is news, in front of all. The samples keep their
 * starts. */
static void add_starts(struct run *r)
{
    size_t n = 0;

    starts_end_family(&r->starts);
    if (r->starts.n == 0)
        return;
    r->samples = xrealloc(r->samples, (r->n + r->starts.n) * sizeof *r->samples);
    memmove(r->samples + r->starts.n, r->samples, r->n * sizeof *r->samples);
    for (size_t i = 0; i < r->starts.n; i++) {
        const struct start *s = &r->starts.items[i];
        uint32_t ref = r->t->cache.entries[s->entry].ref;

        if (r->samples[r->starts.n + s->sample].bits != HISTOGRAM_BITS &&
            db_may_start(r->into->db, ref, s->start_ms, s->ts_ms))
            r->samples[n++] = (struct db_sample){ref, s->start_ms, 0};
    }
    memmove(r->samples + n, r->samples + r->starts.n, r->n * sizeof *r->samples);
    r->cap = r->n + r->starts.n;
    r->n += n;
    r->told = xmalloc(r->starts.n * sizeof *r->told);
    for (size_t i = 0; i < r->starts.n; i++)
        r->told[i] =
            (struct db_start){n + r->starts.items[i].sample, r->starts.items[i].start_ms};
}

/* What was in the last good scrape and is not in this one. */
static void add_stale(struct run *r)
{
    struct cache *c = &r->t->cache;

    for (uint32_t i = 0; i < c->n; i++) {
        struct cache_entry *e = &c->entries[i];

        if (e->live && (e->round != c->round || !r->ok)) {
            stage(r, e->ref, r->scrape->ts_ms, VALUE_STALE_BITS);
            e->live = false;
        }
    }
}

static uint32_t report_ref(struct run *r, enum target_report which)
{
    static const char *const names[REPORTS] = {"up",
                                               "scrape_duration_seconds",
                                               "scrape_samples_scraped",
                                               "scrape_samples_post_metric_relabeling",
                                               "scrape_series_added",
                                               "scrape_timeout_seconds",
                                               "scrape_sample_limit",
                                               "scrape_body_size_bytes"};
    struct label_builder b;
    struct labels l;

    if (r->t->report_refs[which] != SERIES_NONE)
        return r->t->report_refs[which];
    label_builder_init(&b, &r->op);
    for (size_t i = 0; i < r->t->labels.n; i++)
        label_builder_set(&b, slice_str(r->t->labels.items[i].name),
                          slice_str(r->t->labels.items[i].value));
    label_builder_set(&b, LABEL_NAME, slice_str(names[which]));
    l = label_builder_finish(&b);
    return r->t->report_refs[which] = db_series(r->into->db, &l);
}

static void add_report(struct run *r)
{
    const double values[REPORTS] = {
        r->ok ? 1 : 0,
        r->scrape->duration_s,
        (double)r->scraped,
        (double)r->kept,
        (double)r->added,
        (double)r->t->timeout_ms / 1000,
        (double)r->t->job->sample_limit,
        (double)r->scrape->body_bytes,
    };
    unsigned n = r->t->job->pushed                 ? 0
                 : r->t->job->extra_scrape_metrics ? REPORTS
                                                   : REPORTS_ALWAYS;

    for (unsigned i = 0; i < n; i++)
        stage(r, report_ref(r, (enum target_report)i), r->scrape->ts_ms, double_bits(values[i]));
}

static void note_outcome(struct run *r)
{
    struct target *t = r->t;

    free(t->last_error);
    t->last_error = NULL;
    t->health = r->ok ? TARGET_UP : TARGET_DOWN;
    if (!r->ok)
        t->last_error = xstrdup(r->x.why.data != NULL ? r->x.why.data : "scrape failed");
    t->last_duration_s = r->scrape->duration_s;
    t->last_scrape_ns = r->scrape->ts_ms * 1000000;
    t->last_samples = r->scraped;
    t->scrapes++;
}

/* Behind the samples, which make the series known to the log. */
static void keep_exemplars(struct run *r)
{
    for (size_t i = 0; i < r->n_exemplars; i++)
        exemplars_add(r->into->exemplars, r->t->cache.entries[r->exemplars[i].entry].ref,
                      &r->exemplars[i].exemplar);
    if (r->n_exemplars > 0)
        exemplars_write(r->into->exemplars);
}

static int append(struct run *r, struct db_result *result)
{
    size_t start = 0;

    r->payload_slices = xmalloc((r->n_payloads + 1) * sizeof *r->payload_slices);
    for (size_t i = 0; i < r->n_payloads; i++) {
        r->payload_slices[i] = slice_of(r->payloads.data + start, r->payload_ends[i] - start);
        start = r->payload_ends[i];
    }
    return db_append_batch(r->into->db,
                           &(struct db_batch){.samples = r->samples,
                                              .n = r->n,
                                              .payloads = r->n_payloads > 0 ? r->payload_slices
                                                                            : NULL,
                                              .starts = r->told,
                                              .n_starts = r->told != NULL ? r->starts.n : 0},
                           result);
}

static void run_free(struct run *r)
{
    exposition_done(&r->x);
    protobuf_done(&r->decoded);
    starts_done(&r->starts);
    buf_done(&r->payloads);
    op_done(&r->op);
    op_done(&r->scratch);
    free(r->payload_slices);
    free(r->payload_ends);
    free(r->samples);
    free(r->told);
    free(r->exemplars);
    buf_done(&r->fresh);
    free(r);
}

int ingest(struct target *t, const struct ingest_into *into, const struct scrape *scrape)
{
    struct run *r = xcalloc(1, sizeof *r);
    struct db *db = into->db;
    struct db_result result;
    int e;

    *r = (struct run){.t = t, .into = into, .scrape = scrape};
    op_init(&r->op, DOOR_INTERNAL, NULL);
    op_init(&r->scratch, DOOR_INTERNAL, NULL);
    if (t->cache.forgotten != db_forgotten(db)) { /* some refs may be of series that are no more */
        cache_done(&t->cache);
        t->cache.forgotten = db_forgotten(db);
        for (unsigned i = 0; i < REPORTS; i++)
            t->report_refs[i] = SERIES_NONE;
    }
    cache_begin(&t->cache);
    r->first_fresh = t->cache.n;
    if (scrape->error != NULL)
        buf_add_str(&r->x.why, scrape->error);
    else
        r->ok = parse(r) == 0;
    if (r->ok) {
        resolve(r);
        add_starts(r);
    } else {
        cache_truncate(&t->cache, r->first_fresh);
        r->n = r->n_payloads = 0;
        r->added = 0;
    }
    add_stale(r);
    add_report(r);
    e = append(r, &result);
    if (e == 0 && r->ok)
        keep_exemplars(r);
    note_outcome(r);
    if (r->ok)
        cache_sweep(&t->cache);
    run_free(r);
    return e;
}

void ingest_end(struct target *t, struct db *db, int64_t ts_ms)
{
    struct db_sample *samples = xmalloc((t->cache.n + REPORTS) * sizeof *samples);
    struct db_result ignored;
    size_t n = 0;

    for (uint32_t i = 0; i < t->cache.n; i++)
        if (t->cache.entries[i].live)
            samples[n++] = (struct db_sample){t->cache.entries[i].ref, ts_ms, VALUE_STALE_BITS};
    for (unsigned i = 0; i < REPORTS; i++)
        if (t->report_refs[i] != SERIES_NONE)
            samples[n++] = (struct db_sample){t->report_refs[i], ts_ms, VALUE_STALE_BITS};
    db_append(db, samples, n, &ignored);
    free(samples);
}
