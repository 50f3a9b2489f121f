/* /api/v1/series, /labels, /label/<name>/values, /federate: what is in the index. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/quote.h"
#include "metrics/api/api.h"
#include "metrics/query.h"

#include <errno.h>
#include <stdlib.h>

/* Slices of the index, which live as long as the database. */
struct words {
    struct slice *items;
    size_t n, cap;
};

static void words_add(void *ctx, struct slice text, size_t n_series)
{
    struct words *w = ctx;

    (void)n_series;
    if (w->n == w->cap) {
        w->cap = w->cap == 0 ? 64 : 2 * w->cap;
        w->items = xrealloc(w->items, w->cap * sizeof *w->items);
    }
    w->items[w->n++] = text;
}

static int by_text(const void *a, const void *b)
{
    return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

/* Sorted, each once; true if the limit cut it. */
static bool json_words(struct json *j, struct words *w, uint64_t limit)
{
    uint64_t n = 0;
    bool cut = false;

    if (w->n > 1)
        qsort(w->items, w->n, sizeof *w->items, by_text);
    json_array(j);
    for (size_t i = 0; i < w->n && !cut; i++) {
        if (i > 0 && slice_eq(w->items[i - 1], w->items[i]))
            continue;
        cut = limit > 0 && n == limit;
        if (!cut)
            json_slice(j, w->items[i]);
        n++;
    }
    json_array_end(j);
    return cut;
}

struct look {
    const struct exprs *match;
    struct slice name; /* values of this label; or names, if it is empty */
    struct words words;
    struct labels *series; /* for /series */
    size_t n_series;
    struct op *op;
};

static void look_words(void *ctx, const struct index *ix)
{
    struct look *l = ctx;
    struct refs refs;
    uint32_t name = UINT32_MAX;
    uint8_t *seen;

    if (l->match->n == 0) {
        if (l->name.len > 0)
            index_values(ix, l->name, words_add, &l->words);
        else
            index_names(ix, words_add, &l->words);
        return;
    }
    select_any(ix, l->match, &refs);
    seen = xcalloc(index_symbols(ix), 1);
    for (size_t i = 0; i < refs.n; i++) {
        const struct series *s = index_series(ix, refs.items[i]);

        for (unsigned k = 0; k < s->n_labels; k++) {
            uint32_t word = s->pairs[2 * k + (l->name.len > 0)];

            if (l->name.len > 0 && s->pairs[2 * k] != name) {
                if (name != UINT32_MAX || !slice_eq(index_symbol(ix, s->pairs[2 * k]), l->name))
                    continue;
                name = s->pairs[2 * k];
            }
            if (seen[word] == 0)
                words_add(&l->words, index_symbol(ix, word), 1);
            seen[word] = 1;
        }
    }
    free(seen);
    refs_done(&refs);
}

/* What these calls have in common. The times are checked, and do not narrow the answer. */
static int read_params(struct web_request *req, bool must_match, uint64_t *ret_limit,
                       struct exprs *ret_match)
{
    int64_t ignored = 0;
    int r = param_time(req, "start", &ignored);

    if (r == 0)
        r = param_time(req, "end", &ignored);
    if (r == 0)
        r = param_limit(req, ret_limit);
    if (r == 0)
        r = param_match(req, must_match, ret_match);
    return r;
}

static int answer_words(struct web_request *req, struct web_response *resp, struct slice name)
{
    struct answer a;
    struct exprs match = {0};
    struct look look = {.match = &match, .name = name};
    uint64_t limit = 0;
    bool cut;
    int r = prom_begin(&a, req, resp);

    if (r < 0)
        return r;
    r = read_params(req, false, &limit, &match);
    if (r < 0)
        return prom_fail(&a, r);
    db_look(a.m->db, look_words, &look);
    cut = json_words(&a.json, &look.words, limit);
    free(look.words.items);
    exprs_done(&match);
    return prom_end(&a, cut);
}

int api_labels(struct web_request *req, struct web_response *resp)
{
    return answer_words(req, resp, SLICE(""));
}

int api_label_values(struct web_request *req, struct web_response *resp)
{
    struct slice name = slice_str(web_param(req, "name"));

    return answer_words(req, resp, name);
}

static int by_labels(const void *a, const void *b)
{
    return labels_cmp(a, b);
}

static void look_series(void *ctx, const struct index *ix)
{
    struct look *l = ctx;
    struct refs refs;

    select_any(ix, l->match, &refs);
    l->series = xmalloc((refs.n + 1) * sizeof *l->series);
    for (size_t i = 0; i < refs.n; i++) {
        const struct series *s = index_series(ix, refs.items[i]);
        struct label *room = op_alloc(l->op, (s->n_labels + 1) * sizeof *room);

        l->series[l->n_series++] = index_labels(ix, s, room);
    }
    refs_done(&refs);
}

int api_series(struct web_request *req, struct web_response *resp)
{
    struct answer a;
    struct exprs match = {0};
    struct look look = {.match = &match, .op = req->op};
    uint64_t limit = 0;
    size_t n;
    int r = prom_begin(&a, req, resp);

    if (r < 0)
        return r;
    r = read_params(req, true, &limit, &match);
    if (r < 0)
        return prom_fail(&a, r);
    db_look(a.m->db, look_series, &look);
    if (look.n_series > 1)
        qsort(look.series, look.n_series, sizeof *look.series, by_labels);
    n = limit > 0 && limit < look.n_series ? (size_t)limit : look.n_series;
    json_array(&a.json);
    for (size_t i = 0; i < n; i++)
        json_labels(&a.json, look.series[i].items, look.series[i].n);
    json_array_end(&a.json);
    free(look.series);
    exprs_done(&match);
    return prom_end(&a, n < look.n_series);
}

static void put_label(struct buf *out, bool *first, struct slice name, struct slice value)
{
    buf_add_char(out, *first ? '{' : ',');
    *first = false;
    buf_add_slice(out, name);
    buf_add_str(out, "=\"");
    quote_escape(out, value);
    buf_add_char(out, '"');
}

/* The newest sample of a series. */
struct newest {
    struct labels labels; /* items on the heap; the strings live as long as the database */
    int64_t ts_ms;
    uint64_t bits;
};

struct newest_list {
    struct newest *items;
    size_t n, cap;
};

static void newest_done(struct newest_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->items[i].labels.items);
    free(l->items);
}

static int newest_cmp(const void *a, const void *b)
{
    const struct newest *x = a;
    const struct newest *y = b;

    return labels_cmp(&x->labels, &y->labels);
}

static void newest_add(struct newest_list *l, const struct query_item *item)
{
    struct newest *to;
    uint64_t bits = item->bits[item->n - 1];

    if (bits == VALUE_STALE_BITS)
        return;
    if (l->n == l->cap) {
        l->cap = 2 * l->cap + 64;
        l->items = xrealloc(l->items, l->cap * sizeof *l->items);
    }
    to = &l->items[l->n++];
    *to = (struct newest){.ts_ms = item->ts[item->n - 1], .bits = bits};
    to->labels.items = xmemdup(item->labels.items, item->labels.n * sizeof *item->labels.items);
    to->labels.n = item->labels.n;
}

/* What the selectors find, each series as often as they do. */
static int read_newest(struct metrics *m, const struct exprs *match, struct newest_list *ret)
{
    int64_t now_ms = clock_unix_ms();
    int r = 0;

    for (size_t i = 0; i < match->n && r >= 0; i++) {
        const struct selector *s = match->items[i].root->selector;
        struct query *q = NULL;
        struct query_item item;

        r = query_open(m->db, s->matchers, s->n_matchers, now_ms - QUERY_LOOKBACK_MS + 1, now_ms,
                       QUERY_LAST, &q);
        while (r >= 0 && (r = query_next(q, &item)) > 0)
            newest_add(ret, &item);
        query_close(q);
    }
    if (ret->n > 1)
        qsort(ret->items, ret->n, sizeof *ret->items, newest_cmp);
    return r < 0 ? r : 0;
}

static void put_federated(struct buf *out, const struct newest *s, const struct jobs *jobs)
{
    bool first = true;

    buf_add_slice(out, labels_get(&s->labels, LABEL_NAME));
    for (size_t i = 0; i < s->labels.n; i++)
        if (!slice_eq(s->labels.items[i].name, LABEL_NAME))
            put_label(out, &first, s->labels.items[i].name, s->labels.items[i].value);
    for (size_t i = 0; i < jobs->external_labels.n; i++) {
        struct slice name = slice_str(jobs->external_labels.items[i].name);

        if (labels_get(&s->labels, name).len == 0)
            put_label(out, &first, name, slice_str(jobs->external_labels.items[i].value));
    }
    if (!first)
        buf_add_char(out, '}');
    buf_add_char(out, ' ');
    print_value(out, bits_double(s->bits));
    buf_printf(out, " %" PRId64 "\n", s->ts_ms);
}

/* The newest samples as text 0.0.4, with their times. */
int api_federate(struct web_request *req, struct web_response *resp)
{
    struct answer a;
    struct exprs match = {0};
    struct scraper_state state;
    struct newest_list newest = {0};
    autobuf text = {0};
    struct slice metric = SLICE("");
    int r = prom_begin(&a, req, resp);

    if (r < 0)
        return r;
    buf_done(&a.body);
    r = param_match(req, true, &match);
    if (r < 0)
        return r;
    r = read_newest(a.m, &match, &newest);
    exprs_done(&match);
    scraper_state(a.m->scraper, &state);
    for (size_t i = 0; i < newest.n && r == 0; i++) {
        struct slice name = labels_get(&newest.items[i].labels, LABEL_NAME);

        if (i > 0 && newest_cmp(&newest.items[i - 1], &newest.items[i]) == 0)
            continue;
        if (!slice_eq(metric, name))
            buf_printf(&text, "# TYPE %.*s untyped\n", (int)name.len, (const char *)name.data);
        metric = name;
        put_federated(&text, &newest.items[i], state.jobs);
    }
    jobs_unref(state.jobs);
    newest_done(&newest);
    if (r < 0)
        return op_fail(req->op, -r, "reading samples: %s", strerror(-r));
    resp->compress = true;
    web_reply_buf(req, resp, 200, "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
                  &text);
    return 0;
}
