/* query/<promql> and range/<duration>[:<step>]/<promql>: results as text and as CSV. */
#include "base/alloc.h"
#include "base/clock.h"
#include "metrics/api/histogram_json.h"
#include "metrics/api/query_run.h"
#include "metrics/metrics_tree.h"
#include "metrics/promql/print.h"

#include <errno.h>
#include <stdlib.h>

#define STEPS 250 /* of a range whose step is not said */

/* A name of a file is the text of a query: %2F stands for '/', %25 for '%'. Other percent signs
 * stay: `a %2` is the rest of a division. */
static struct slice text_of(struct op *op, const char *name)
{
    char *text = op_alloc(op, strlen(name) + 1);
    size_t n = 0;

    for (const char *p = name; *p != 0; p++) {
        bool slash = p[0] == '%' && p[1] == '2' && (p[2] == 'F' || p[2] == 'f');
        bool percent = p[0] == '%' && p[1] == '2' && p[2] == '5';

        text[n++] = slash ? '/' : *p;
        p += slash || percent ? 2 : 0;
    }
    return slice_of(text, n);
}

static void print_point(struct buf *out, const struct point *p)
{
    if (p->h != NULL)
        histogram_text(out, p->h);
    else
        print_value(out, p->v);
}

/* `up{job="a"} 1`, and a time behind each sample of a range. */
static void print_text(struct buf *out, const struct result *r)
{
    if (r->type == VALUE_STRING) {
        buf_add_slice(out, r->string);
        buf_add_char(out, '\n');
    }
    for (size_t i = 0; i < r->n; i++) {
        const struct result_series *s = &r->series[i];

        for (size_t k = 0; k < s->n_points; k++) {
            if (r->type != VALUE_SCALAR) {
                labels_print(out, &s->labels);
                buf_add_char(out, ' ');
            }
            print_point(out, &s->points[k]);
            if (r->type == VALUE_MATRIX) {
                buf_add_char(out, ' ');
                print_time(out, s->points[k].ts_ms);
            }
            buf_add_char(out, '\n');
        }
    }
}

/* RFC 4180: always in quotes, which are doubled inside. */
static void csv_quote(struct buf *out, struct slice s)
{
    const char *p = s.data;

    buf_add_char(out, '"');
    for (size_t i = 0; i < s.len; i++) {
        if (p[i] == '"')
            buf_add_char(out, '"');
        buf_add_char(out, p[i]);
    }
    buf_add_char(out, '"');
}

/* A line for each step: its time, and a column for each series; no value, no text. */
static void print_csv(struct buf *out, const struct result *r, const struct query_spec *spec)
{
    size_t *at = xcalloc(r->n + 1, sizeof *at);

    buf_add_str(out, "time");
    for (size_t i = 0; i < r->n; i++) {
        autobuf name = {0};

        labels_print(&name, &r->series[i].labels);
        buf_add_char(out, ',');
        csv_quote(out, buf_slice(&name));
    }
    buf_add_char(out, '\n');
    for (int64_t ts = spec->start_ms; ts <= spec->end_ms; ts += spec->step_ms) {
        print_time(out, ts);
        for (size_t i = 0; i < r->n; i++) {
            const struct result_series *s = &r->series[i];
            autobuf value = {0};

            buf_add_char(out, ',');
            if (at[i] == s->n_points || s->points[at[i]].ts_ms != ts)
                continue;
            print_point(&value, &s->points[at[i]]);
            if (s->points[at[i]].h != NULL)
                csv_quote(out, buf_slice(&value));
            else
                buf_add_slice(out, buf_slice(&value));
            at[i]++;
        }
        buf_add_char(out, '\n');
    }
    free(at);
}

static int run(struct op *op, struct metrics *m, const struct query_spec *spec, struct buf *ret)
{
    struct query_run run;
    int r = query_run(op, m, spec, &run);

    if (r == -E2BIG)
        return -EFBIG;
    if (r == -EBADMSG)
        return -EINVAL;
    if (r < 0)
        return r;
    if (spec->range)
        print_csv(ret, &run.result, spec);
    else
        print_text(ret, &run.result);
    query_run_done(&run);
    return 0;
}

/* A query that is none is refused when its name is looked up. */
static int check(struct op *op, struct slice text, bool range)
{
    struct promql q;
    autobuf why = {0};
    int r = promql_parse(op, text, &q, &why);

    if (r < 0)
        return op_fail(op, EINVAL, "%s", why.data);
    if (range && q.root->type != VALUE_SCALAR && q.root->type != VALUE_VECTOR)
        r = op_fail(op, EINVAL,
                    "invalid expression type \"%s\" for range query, must be Scalar or instant "
                    "Vector",
                    value_type_documented(q.root->type));
    promql_done(&q);
    return r;
}

static void stat_folder(struct metrics *m, struct node_stat *ret)
{
    *ret = (struct node_stat){.type = NODE_DIR, .mtime_ns = m->started_unix_ms * 1000000};
}

static int stat_query(struct op *op, const char *name, bool range, struct node_stat *ret)
{
    int r;

    if (strchr(name, '/') != NULL)
        return op_fail(op, ENOTDIR, "write '/' in a query as %%2F");
    r = check(op, text_of(op, name), range);
    if (r == 0)
        *ret = (struct node_stat){.type = NODE_FILE,
                                  .flags = NODE_COMPUTED | NODE_VOLATILE,
                                  .mtime_ns = clock_unix_ms() * 1000000};
    return r;
}

int tree_query_stat(struct op *op, struct metrics *m, const char *path, struct node_stat *ret)
{
    if (path[0] != 0)
        return stat_query(op, path, false, ret);
    stat_folder(m, ret);
    return 0;
}

int tree_query_read(struct op *op, struct metrics *m, const char *path, struct buf *ret)
{
    struct query_spec spec = {.text = text_of(op, path)};

    if (path[0] == 0)
        return op_fail(op, EISDIR, "'metrics/query' is a folder");
    spec.start_ms = spec.end_ms = clock_unix_ms();
    return run(op, m, &spec, ret);
}

/* 1h or 1h:30s, up to now. */
static int read_window(struct op *op, const char *text, struct query_spec *spec)
{
    const char *colon = strchr(text, ':');
    size_t n = colon != NULL ? (size_t)(colon - text) : strlen(text);
    int64_t range_ms = 0;

    if (duration_parse_ms(slice_of(text, n), &range_ms) < 0 || range_ms <= 0)
        return op_fail(op, EINVAL, "'%s' is not a duration and a step, such as 1h or 1h:30s", text);
    spec->step_ms = range_ms / STEPS < 1000 ? 1000 : range_ms / STEPS / 1000 * 1000;
    if (colon != NULL &&
        (duration_parse_ms(slice_str(colon + 1), &spec->step_ms) < 0 || spec->step_ms <= 0))
        return op_fail(op, EINVAL, "'%s' is not a step, such as 30s", colon + 1);
    if (range_ms / spec->step_ms > QUERY_POINTS_MAX)
        return op_fail(op, EINVAL, "more than %d steps: take a longer one, as in 30d:1h",
                       QUERY_POINTS_MAX);
    spec->range = true;
    spec->end_ms = clock_unix_ms();
    spec->start_ms = spec->end_ms - range_ms;
    return 0;
}

int tree_range_stat(struct op *op, struct metrics *m, const char *path, struct node_stat *ret)
{
    const char *window;
    const char *name = path_head(op, path, &window);
    struct query_spec spec;

    stat_folder(m, ret);
    if (path[0] == 0)
        return 0;
    if (read_window(op, window, &spec) < 0)
        return -EINVAL;
    return name[0] == 0 ? 0 : stat_query(op, name, true, ret);
}

int tree_range_read(struct op *op, struct metrics *m, const char *path, struct buf *ret)
{
    const char *window;
    const char *name = path_head(op, path, &window);
    struct query_spec spec = {.text = text_of(op, name)};

    if (name[0] == 0)
        return op_fail(op, EISDIR, "'metrics/range/%s' is a folder", path);
    if (read_window(op, window, &spec) < 0)
        return -EINVAL;
    return run(op, m, &spec, ret);
}
