/* info(): labels of series such as target_info, which say what an instance is, on other series. */
#include "metrics/promql/calls.h"
#include "metrics/promql/labelset.h"
#include "metrics/promql/select.h"

#include "base/alloc.h"

#include <errno.h>
#include <stdlib.h>

#define INFO_SERIES_MAX 64 /* of one instance */

/* The moment of the selectors that a vector comes from, if it is the same for all. */
struct reference {
    bool found, uniform;
    bool fixed;
    int64_t at_ms, offset_ms;
};

static bool is_same(const struct reference *r, bool fixed, int64_t at_ms, int64_t offset_ms)
{
    if (!r->fixed || !fixed)
        return r->fixed == fixed && r->offset_ms == offset_ms;
    return r->at_ms - r->offset_ms == at_ms - offset_ms;
}

static bool look_into(const struct expr *e, const struct moment *outer, struct reference *r);

/* `outer`: what the subqueries around it shift the moment by; at != AT_NONE settles it. */
static bool look_at_selector(const struct moment *own, const struct moment *outer,
                             struct reference *r)
{
    bool fixed = own->at != AT_NONE;
    int64_t at_ms = own->at_ms;
    int64_t offset_ms = own->offset_ms;

    if (!fixed) {
        offset_ms += outer->offset_ms;
        fixed = outer->at != AT_NONE;
        at_ms = outer->at_ms;
    }
    if (!r->found)
        *r = (struct reference){true, r->uniform, fixed, at_ms, offset_ms};
    else if (!is_same(r, fixed, at_ms, offset_ms))
        r->uniform = false;
    return true;
}

static bool look_into_subquery(const struct expr *e, const struct moment *outer,
                               struct reference *r)
{
    struct moment shifted = e->subquery.moment;

    if (shifted.at == AT_NONE) {
        shifted.offset_ms += outer->offset_ms;
        shifted.at = outer->at;
        shifted.at_ms = outer->at_ms;
    }
    return look_into(e->subquery.e, &shifted, r);
}

static bool look_into_call(const struct expr *e, const struct moment *outer, struct reference *r)
{
    bool any = false;

    if (e->call.f->id == FN_INFO)
        return look_into(e->call.args[0], outer, r);
    for (size_t i = 0; i < e->call.n_args; i++)
        any |= look_into(e->call.args[i], outer, r);
    return any;
}

static bool look_into(const struct expr *e, const struct moment *outer, struct reference *r)
{
    bool any = false;

    if (e == NULL || (e->type != VALUE_VECTOR && e->type != VALUE_MATRIX))
        return false;
    switch (e->kind) {
    case EXPR_SELECTOR:
        return look_at_selector(&e->selector->moment, outer, r);
    case EXPR_MATRIX:
        return look_into(e->matrix.e, outer, r);
    case EXPR_SUBQUERY:
        any = look_into_subquery(e, outer, r);
        break;
    case EXPR_PAREN:
    case EXPR_UNARY:
        any = look_into(e->inner.e, outer, r);
        break;
    case EXPR_BINARY:
        any = look_into(e->binary.l, outer, r);
        any |= look_into(e->binary.r, outer, r);
        break;
    case EXPR_AGGREGATE:
        any = look_into(e->aggregate.e, outer, r);
        any |= look_into(e->aggregate.param, outer, r);
        break;
    case EXPR_CALL:
        any = look_into_call(e, outer, r);
        break;
    default:
        break;
    }
    if (!any)
        r->uniform = false; /* of the moment of evaluation */
    return any;
}

struct info {
    struct evaluator *ev;
    struct mem *m;
    const struct frame *f;
    const struct selector *data; /* NULL: all labels of target_info */
    struct matcher made[2];      /* own matchers of the name */
    size_t n_made;
    struct vector base, series;
    struct label_index keys;
    uint32_t *base_key, *series_key;
    uint8_t *ignored; /* rows of base that are info series themselves */
};

static const char *const identifying[] = {"instance", "job"};

static bool is_name(const struct matcher *x)
{
    return strcmp(x->name, "__name__") == 0;
}

static int make_matcher(struct info *x, enum match_op op, struct slice value)
{
    int r = matcher_init(&x->made[x->n_made], op, LABEL_NAME, value, NULL);

    if (r == 0)
        x->n_made++;
    return r;
}

/* Without a condition on the name it is target_info; with negative ones only, any …_info. */
static int make_matchers(struct info *x)
{
    bool positive = false;
    bool negative = false;

    for (size_t i = 0; x->data != NULL && i < x->data->n_matchers; i++) {
        const struct matcher *y = &x->data->matchers[i];

        positive |= is_name(y) && matcher_is_positive(y);
        negative |= is_name(y) && !matcher_is_positive(y);
    }
    if (positive)
        return 0;
    return negative ? make_matcher(x, MATCH_RE, SLICE(".+_info"))
                    : make_matcher(x, MATCH_EQ, SLICE("target_info"));
}

static bool name_matches(const struct info *x, struct slice name)
{
    for (size_t i = 0; i < x->n_made; i++)
        if (!matcher_holds(&x->made[i], name))
            return false;
    for (size_t i = 0; x->data != NULL && i < x->data->n_matchers; i++)
        if (is_name(&x->data->matchers[i]) && !matcher_holds(&x->data->matchers[i], name))
            return false;
    return true;
}

static int select_series(struct info *x, const struct expr *arg)
{
    struct reference r = {.uniform = true};
    struct moment none = {.at = AT_NONE};
    size_t n_data = x->data != NULL ? x->data->n_matchers : 0;
    struct matcher *all = xmalloc((n_data + 2) * sizeof *all);
    struct look look = {0};
    int result;

    look_into(arg, &none, &r);
    if (r.found && r.uniform)
        look = (struct look){r.fixed, r.at_ms, r.offset_ms};
    memcpy(all, x->made, x->n_made * sizeof *all);
    if (n_data > 0)
        memcpy(all + x->n_made, x->data->matchers, n_data * sizeof *all);
    result = select_rows(x->ev, all, x->n_made + n_data, &look, SELECT_FLOAT_TIMES, x->f,
                         &x->series);
    free(all);
    return result;
}

static uint32_t *keys_of(struct info *x, const struct vector *v)
{
    uint32_t *keys = xmalloc((v->n + 1) * sizeof *keys);
    struct label room[2];

    for (size_t k = 0; k < v->n; k++) {
        struct labels part = {room, 0};

        for (size_t i = 0; i < 2; i++) {
            struct slice name = slice_str(identifying[i]);
            struct slice value = labels_get(&v->rows[k].labels, name);

            if (value.len > 0)
                room[part.n++] = (struct label){name, value};
        }
        keys[k] = part.n > 0 ? (uint32_t)label_index_put(&x->keys, &part) : UINT32_MAX;
    }
    return keys;
}

/* The info series that go with a base row at a step: the newest of each name. */
struct chosen {
    uint32_t rows[INFO_SERIES_MAX];
    size_t n;
};

static int choose(struct info *x, uint32_t key, size_t i, struct chosen *ret)
{
    ret->n = 0;
    for (size_t k = 0; k < x->series.n && key != UINT32_MAX; k++) {
        const struct row *row = &x->series.rows[k];
        struct slice name = labels_get(&row->labels, LABEL_NAME);
        size_t j = 0;

        if (x->series_key[k] != key || !row_has(row, i))
            continue;
        if (!present(row->v[i]))
            return eval_fail(x->ev, "info sample should be float");
        while (j < ret->n &&
               !slice_eq(labels_get(&x->series.rows[ret->rows[j]].labels, LABEL_NAME), name))
            j++;
        if (j < ret->n) {
            const struct row *other = &x->series.rows[ret->rows[j]];
            autobuf first = {0};
            autobuf second = {0};

            if (other->v[i] > row->v[i])
                continue;
            if (other->v[i] == row->v[i]) {
                labels_text(&first, &other->labels);
                labels_text(&second, &row->labels);
                return eval_fail(x->ev,
                                 "found duplicate series for info metric: existing %s @ %lld, new "
                                 "%s @ %lld",
                                 first.data, (long long)other->v[i], second.data,
                                 (long long)row->v[i]);
            }
        } else if (ret->n == INFO_SERIES_MAX) {
            return eval_fail(x->ev, "more than %d info series of one instance", INFO_SERIES_MAX);
        } else {
            ret->n++;
        }
        ret->rows[j] = (uint32_t)k;
    }
    return 0;
}

static bool is_wanted(const struct info *x, struct slice name)
{
    bool any = false;

    for (size_t i = 0; x->data != NULL && i < x->data->n_matchers; i++) {
        const struct matcher *y = &x->data->matchers[i];

        if (is_name(y))
            continue;
        any = true;
        if (slice_eq(slice_of(y->name, y->name_len), name))
            return true;
    }
    return !any;
}

static int add_labels(struct info *x, const struct labels *base, const struct chosen *c,
                      struct label_edit *edit)
{
    edit_init(edit, base);
    for (size_t k = 0; k < c->n; k++) {
        const struct labels *l = &x->series.rows[c->rows[k]].labels;

        for (size_t i = 0; i < l->n; i++) {
            struct slice name = l->items[i].name;
            struct slice there = labels_get(&edit->labels, name);
            bool on_base = labels_get(base, name).len > 0;

            if (label_is_metadata(name) || !is_wanted(x, name))
                continue;
            if (!on_base && there.len > 0 && !slice_eq(there, l->items[i].value))
                return eval_fail(x->ev, "conflicting label: %.*s", (int)name.len,
                                 (const char *)name.data);
            if (!on_base)
                edit_set(edit, name, l->items[i].value);
        }
    }
    return edit->overflown ? eval_fail(x->ev, "too many labels") : 0;
}

/* A base row without any info series stays unless a condition asks for a label. */
static bool stays_alone(const struct info *x)
{
    for (size_t i = 0; x->data != NULL && i < x->data->n_matchers; i++)
        if (!is_name(&x->data->matchers[i]) && !x->data->matchers[i].matches_empty)
            return false;
    return true;
}

static bool same_chosen(const struct chosen *a, const struct chosen *b)
{
    return a->n == b->n && memcmp(a->rows, b->rows, a->n * sizeof a->rows[0]) == 0;
}

static int put_cell(struct info *x, const struct row *from, size_t i, struct row *to)
{
    if (row_has(to, i))
        return eval_fail(x->ev, DUPLICATE_TEXT);
    to->v[i] = from->v[i];
    if (from->h == NULL || from->h[i] == NULL)
        return 0;
    if (to->h == NULL)
        to->h = cells_histograms(x->ev, x->f->n);
    to->h[i] = from->h[i];
    return 0;
}

static int enrich(struct info *x, size_t k, struct label_index *outputs, struct vector *ret)
{
    const struct row *base = &x->base.rows[k];
    struct chosen before = {.n = SIZE_MAX};
    struct chosen now = {.n = 0};
    size_t at = 0;
    int r = 0;

    for (size_t i = 0; i < x->f->n && r == 0; i++) {
        if (!row_has(base, i))
            continue;
        if (!x->ignored[k])
            r = choose(x, x->base_key[k], i, &now);
        if (r < 0 || (now.n == 0 && !x->ignored[k] && !stays_alone(x)))
            continue;
        if (!same_chosen(&before, &now)) {
            struct label_edit edit;

            r = add_labels(x, &base->labels, &now, &edit);
            if (r < 0)
                return r;
            at = label_index_put(outputs, &edit.labels);
            before = now;
        }
        if (at == ret->n) {
            struct row *row = vector_add(x->ev, ret, x->f->n);

            if (row == NULL)
                return eval_check(x->ev);
            row->labels = outputs->sets[at];
            row->drop_name = base->drop_name;
        }
        r = put_cell(x, base, i, &ret->rows[at]);
    }
    return r;
}

static int combine(struct info *x, struct vector *ret)
{
    struct label_index outputs;
    int r = 0;

    label_index_init(&x->keys, x->m);
    label_index_init(&outputs, x->m);
    x->ignored = xcalloc(x->base.n + 1, 1);
    for (size_t k = 0; k < x->base.n; k++)
        x->ignored[k] = name_matches(x, labels_get(&x->base.rows[k].labels, LABEL_NAME));
    x->base_key = keys_of(x, &x->base);
    x->series_key = keys_of(x, &x->series);
    for (size_t k = 0; k < x->base.n && r == 0; k++) {
        r = enrich(x, k, &outputs, ret);
        if (r == 0)
            r = eval_check(x->ev);
    }
    free(x->ignored);
    free(x->base_key);
    free(x->series_key);
    label_index_done(&outputs);
    label_index_done(&x->keys);
    return r;
}

int call_info(struct evaluator *ev, struct mem *m, const struct expr *e, const struct frame *f,
              struct vector *ret)
{
    struct info x = {.ev = ev, .m = m, .f = f};
    int r = eval_node(ev, m, e->call.args[0], f, &x.base);

    if (e->call.n_args > 1)
        x.data = expr_bare(e->call.args[1])->selector;
    if (r == 0)
        r = make_matchers(&x);
    if (r == 0)
        r = select_series(&x, e->call.args[0]);
    if (r == 0) {
        vector_compact(ev, &x.base, f->n);
        r = combine(&x, ret);
    }
    for (size_t i = 0; i < x.n_made; i++)
        matcher_done(&x.made[i]);
    vector_done(ev, &x.base, f->n);
    vector_done(ev, &x.series, f->n);
    return r;
}
