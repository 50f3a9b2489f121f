/* Operators between vectors: which rows meet, and what the results are called. */
#include "metrics/promql/binop.h"

#include "base/alloc.h"
#include "metrics/promql/calls.h"

#include <stdlib.h>

/* The rows of both sides by the signature of their labels. The "one" side is the right one, or the
 * left one of group_right. */
struct sides {
    struct evaluator *ev;
    struct mem *m;
    const struct expr *e;
    const struct matching *how;
    const struct frame *f;
    struct vector *many, *one;
    uint32_t *many_sig, *one_sig;
    size_t n_sigs;
    uint32_t *first_one; /* of a signature: row + 1 */
    uint32_t *next_one;  /* of a row: the next of its signature + 1 */
    bool has_fill_many, has_fill_one;
    double fill_many, fill_one;
    struct mixed_op mixed;
};

uint32_t *match_signatures(struct label_index *x, const struct matching *how,
                           const struct vector *v)
{
    uint32_t *sigs = xmalloc((v->n + 1) * sizeof *sigs);
    struct label room[EDIT_MAX];

    for (size_t k = 0; k < v->n; k++) {
        struct labels part = {room, 0};

        if (v->rows[k].labels.n <= EDIT_MAX)
            part = labels_part(&v->rows[k].labels, how->on, &how->labels, room);
        sigs[k] = (uint32_t)label_index_put(x, &part);
    }
    return sigs;
}

static void sides_init(struct sides *s, struct vector *l, struct vector *r)
{
    const struct matching *how = s->how;
    bool swap = how->card == CARD_ONE_TO_MANY;
    struct label_index x;

    s->many = swap ? r : l;
    s->one = swap ? l : r;
    s->has_fill_many = swap ? how->has_fill_right : how->has_fill_left;
    s->fill_many = swap ? how->fill_right : how->fill_left;
    s->has_fill_one = swap ? how->has_fill_left : how->has_fill_right;
    s->fill_one = swap ? how->fill_left : how->fill_right;
    label_index_init(&x, s->m);
    s->many_sig = match_signatures(&x, how, s->many);
    s->one_sig = match_signatures(&x, how, s->one);
    s->n_sigs = x.n;
    label_index_done(&x);
    s->first_one = xcalloc(s->n_sigs + 1, sizeof *s->first_one);
    s->next_one = xcalloc(s->one->n + 1, sizeof *s->next_one);
    for (size_t k = s->one->n; k-- > 0;) {
        s->next_one[k] = s->first_one[s->one_sig[k]];
        s->first_one[s->one_sig[k]] = (uint32_t)k + 1;
    }
}

static void sides_done(struct sides *s)
{
    free(s->many_sig);
    free(s->one_sig);
    free(s->first_one);
    free(s->next_one);
}

static int fail_duplicate(struct sides *s, const struct labels *a, const struct labels *b)
{
    struct label room[EDIT_MAX];
    struct labels group = {room, 0};
    autobuf group_text = {0};
    autobuf first = {0};
    autobuf second = {0};
    bool in_order;

    if (a->n <= EDIT_MAX)
        group = labels_part(a, s->how->on, &s->how->labels, room);
    labels_text(&group_text, &group);
    labels_text(&first, a);
    labels_text(&second, b);
    in_order = strcmp(first.data, second.data) <= 0;
    return eval_fail(s->ev,
                     "found duplicate series for the match group %s on the %s hand-side of the "
                     "operation: [%s, %s];many-to-many matching not allowed: matching labels must "
                     "be unique on one side",
                     group_text.data, s->how->card == CARD_ONE_TO_MANY ? "left" : "right",
                     in_order ? first.data : second.data, in_order ? second.data : first.data);
}

static bool any_at(const struct vector *v, size_t i)
{
    for (size_t k = 0; k < v->n; k++)
        if (row_has(&v->rows[k], i))
            return true;
    return false;
}

/* Two rows of the one side with the same signature may not both have a value. */
static int check_one_side(struct sides *s)
{
    for (size_t sig = 0; sig < s->n_sigs; sig++) {
        uint32_t a = s->first_one[sig];

        if (a == 0 || s->next_one[a - 1] == 0)
            continue;
        for (size_t i = 0; i < s->f->n; i++) {
            const struct row *found = NULL;

            for (uint32_t k = a; k != 0; k = s->next_one[k - 1]) {
                const struct row *row = &s->one->rows[k - 1];

                if (!row_has(row, i))
                    continue;
                if (found != NULL && (s->has_fill_many || s->has_fill_one || any_at(s->many, i)))
                    return fail_duplicate(s, &row->labels, &found->labels);
                found = row;
            }
        }
    }
    return 0;
}

static const struct row *one_at(const struct sides *s, uint32_t sig, size_t i)
{
    for (uint32_t k = s->first_one[sig]; k != 0; k = s->next_one[k - 1])
        if (row_has(&s->one->rows[k - 1], i))
            return &s->one->rows[k - 1];
    return NULL;
}

/* Does the operator know what to do with the two kinds? */
static bool kinds_fit(enum binary_op op, bool l_histogram, bool r_histogram)
{
    bool trims = op == OP_TRIM_UPPER || op == OP_TRIM_LOWER;

    if (l_histogram && r_histogram)
        return op == OP_ADD || op == OP_SUB || op == OP_EQL || op == OP_NEQ;
    if (l_histogram)
        return op == OP_MUL || op == OP_DIV || trims;
    return r_histogram ? op == OP_MUL : !trims;
}

/* Has the row, at the step, a partner that it has a result with? */
static bool meets(const struct sides *s, const struct row *many, uint32_t sig, size_t i)
{
    bool swap = s->how->card == CARD_ONE_TO_MANY;
    bool many_h = many->h != NULL && many->h[i] != NULL;
    const struct row *one = one_at(s, sig, i);
    bool one_h;

    if (!row_has(many, i) || (one == NULL && !s->has_fill_one))
        return false;
    one_h = one != NULL && one->h != NULL && one->h[i] != NULL;
    return kinds_fit(s->e->binary.op, swap ? one_h : many_h, swap ? many_h : one_h);
}

/* One to one: two rows of the other side may not find the same partner. */
static int check_many_side(struct sides *s)
{
    uint32_t *first = xcalloc(s->n_sigs + 1, sizeof *first);
    uint8_t **taken = xcalloc(s->n_sigs + 1, sizeof *taken);
    int r = 0;

    for (size_t k = 0; k < s->many->n && r == 0; k++) {
        uint32_t sig = s->many_sig[k];
        const struct row *row = &s->many->rows[k];

        if (first[sig] == 0) {
            first[sig] = (uint32_t)k + 1;
            continue;
        }
        if (taken[sig] == NULL) {
            taken[sig] = xcalloc(s->f->n, 1);
            for (size_t i = 0; i < s->f->n; i++)
                taken[sig][i] = meets(s, &s->many->rows[first[sig] - 1], sig, i);
        }
        for (size_t i = 0; i < s->f->n && r == 0; i++) {
            if (!meets(s, row, sig, i))
                continue;
            if (taken[sig][i])
                r = eval_fail(s->ev, "multiple matches for labels: many-to-one matching must be "
                                     "explicit (group_left/group_right)");
            taken[sig][i] = 1;
        }
    }
    for (size_t sig = 0; sig < s->n_sigs; sig++)
        free(taken[sig]);
    free(taken);
    free(first);
    return r;
}

static int result_labels(struct sides *s, const struct labels *many, const struct labels *one,
                         struct labels *ret)
{
    const struct matching *how = s->how;
    bool drops =
        op_drops_name(s->e->binary.op) || (s->ev->ev->eager_names && s->e->binary.return_bool);
    struct label_edit edit;

    edit_init(&edit, many);
    if (drops)
        edit_drop_metadata(&edit);
    if (how->card == CARD_ONE_TO_ONE) {
        if (how->on)
            edit_keep(&edit, &how->labels);
        else
            edit_drop(&edit, &how->labels);
    }
    for (size_t i = 0; i < how->include.n; i++)
        edit_set(&edit, how->include.items[i], labels_get(one, how->include.items[i]));
    if (edit.overflown)
        return eval_fail(s->ev, "too many labels");
    *ret = mem_labels(s->m, &edit.labels);
    return 0;
}

static void mixed_cells(struct sides *s, const struct row *l, const struct row *r,
                        struct row *out)
{
    struct mixed_op *op = &s->mixed;
    bool trims = s->e->binary.op == OP_TRIM_UPPER || s->e->binary.op == OP_TRIM_LOWER;

    if (op->notes == NULL)
        op->notes = xcalloc(s->f->n, 1);
    for (size_t i = 0; i < s->f->n; i++) {
        struct cell a = {l->v[i], l->h != NULL ? l->h[i] : NULL};
        struct cell b = {r->v[i], r->h != NULL ? r->h[i] : NULL};
        struct cell result;

        if (eval_stops(s->ev, i))
            return;
        if ((a.h == NULL && !present(a.v)) || (b.h == NULL && !present(b.v)) ||
            (a.h == NULL && b.h == NULL && !trims))
            continue;
        op->step = i;
        if (!binop_mixed(op, &a, &b, &result))
            continue;
        out->v[i] = result.v;
        if (result.h == NULL)
            continue;
        if (out->h == NULL)
            out->h = cells_histograms(s->ev, s->f->n);
        out->h[i] = result.h;
    }
}

static bool is_mixed(const struct sides *s, const struct row *many, const struct row *one)
{
    return many->h != NULL || one->h != NULL || s->e->binary.op == OP_TRIM_UPPER ||
           s->e->binary.op == OP_TRIM_LOWER;
}

static int name_pair(struct sides *s, const struct row *many, const struct row *one,
                     struct row *out)
{
    out->drop_name = s->e->binary.return_bool || many->drop_name;
    return result_labels(s, &many->labels, &one->labels, &out->labels);
}

static void pair_floats(const struct sides *s, const double *many, const double *one, double *out)
{
    bool swap = s->how->card == CARD_ONE_TO_MANY;
    struct float_op op = {s->e->binary.op, s->e->binary.return_bool, false};

    binop_floats(s->ev, &op, swap ? one : many, swap ? many : one, out, s->f->n);
}

/* One row of each side. */
static int put_pair(struct sides *s, const struct row *many, const struct row *one,
                    struct vector *ret)
{
    bool swap = s->how->card == CARD_ONE_TO_MANY;
    struct row *out = vector_add(s->ev, ret, s->f->n);
    int r;

    if (out == NULL)
        return eval_check(s->ev);
    r = name_pair(s, many, one, out);
    if (r < 0)
        return r;
    pair_floats(s, many->v, one->v, out->v);
    if (is_mixed(s, many, one))
        mixed_cells(s, swap ? one : many, swap ? many : one, out);
    return 0;
}

/* Pairs whose labels are there, and whose cells all cores are to fill. */
struct pair {
    uint32_t many, one, out;
};
struct pairs {
    struct sides *s;
    struct vector *ret;
    struct pair items[1024];
    size_t n;
};
#define PAIRS_MAX (sizeof((struct pairs *)0)->items / sizeof(struct pair))

/* Does nobody look again at the cells of the many side? */
static bool pairs_once(const struct sides *s, const struct pair *p)
{
    return s->how->card == CARD_ONE_TO_ONE && !s->has_fill_many && !s->has_fill_one &&
           s->first_one[s->many_sig[p->many]] == p->one + 1 && s->next_one[p->one] == 0;
}

/* Then they become those of the result. */
static void fill_pair(void *ctx, size_t worker, size_t k)
{
    struct pairs *p = ctx;
    struct sides *s = p->s;
    struct row *many = &s->many->rows[p->items[k].many];
    struct row *out = &p->ret->rows[p->items[k].out];

    (void)worker;
    if (pairs_once(s, &p->items[k])) {
        out->v = many->v;
        many->v = NULL;
        pair_floats(s, out->v, s->one->rows[p->items[k].one].v, out->v);
        return;
    }
    out->v = cells_new(s->ev, s->f->n);
    if (out->v != NULL)
        pair_floats(s, many->v, s->one->rows[p->items[k].one].v, out->v);
}

static int pairs_fill(struct pairs *p)
{
    cores_run(eval_threads(p->n, p->s->f->n), p->n, fill_pair, p);
    p->n = 0;
    return eval_check(p->s->ev);
}

static int pairs_put(struct pairs *p, uint32_t many, uint32_t one)
{
    struct sides *s = p->s;
    struct row out = {0};
    int r;

    if (is_mixed(s, &s->many->rows[many], &s->one->rows[one]))
        return put_pair(s, &s->many->rows[many], &s->one->rows[one], p->ret);
    r = name_pair(s, &s->many->rows[many], &s->one->rows[one], &out);
    if (r < 0)
        return r;
    p->items[p->n++] = (struct pair){many, one, (uint32_t)p->ret->n};
    vector_push(p->ret, out);
    return p->n == PAIRS_MAX ? pairs_fill(p) : 0;
}

/* A row that stands for a side without one: `fill` wherever `other` has a value that no row of
 * `there` meets. False: nowhere. */
static bool fill_row(struct sides *s, const struct row *other, double fill, struct row *ret)
{
    *ret = (struct row){.v = cells_new(s->ev, s->f->n)};
    if (ret->v == NULL)
        return false;
    for (size_t i = 0; i < s->f->n; i++)
        if (row_has(other, i))
            ret->v[i] = fill;
    ret->labels = (struct labels){mem_get(s->m, (other->labels.n + 1) * sizeof(struct label)), 0};
    ret->labels = labels_part(&other->labels, s->how->on, &s->how->labels, ret->labels.items);
    return true;
}

static int put_filled_one(struct sides *s, const struct row *many, uint32_t sig, struct vector *ret)
{
    struct row one;
    int r = 0;

    if (!fill_row(s, many, s->fill_one, &one))
        return eval_check(s->ev);
    for (size_t i = 0; i < s->f->n; i++)
        if (one_at(s, sig, i) != NULL)
            one.v[i] = ABSENT;
    if (!row_is_empty(&one, s->f->n))
        r = put_pair(s, many, &one, ret);
    row_done(s->ev, &one, s->f->n);
    return r;
}

/* `first` and `next` list the rows of the other side by signature, as those of `one`. */
static int put_filled_row(struct sides *s, size_t k, const uint32_t *first, const uint32_t *next,
                          struct vector *ret)
{
    uint32_t sig = s->one_sig[k];
    struct row many;
    int r = 0;

    if (!fill_row(s, &s->one->rows[k], s->fill_many, &many))
        return eval_check(s->ev);
    for (uint32_t j = first[sig]; j != 0; j = next[j - 1])
        for (size_t i = 0; i < s->f->n; i++)
            if (meets(s, &s->many->rows[j - 1], sig, i))
                many.v[i] = ABSENT;
    if (!row_is_empty(&many, s->f->n))
        r = put_pair(s, &many, &s->one->rows[k], ret);
    row_done(s->ev, &many, s->f->n);
    return r < 0 ? r : eval_check(s->ev);
}

static int put_filled_many(struct sides *s, struct vector *ret)
{
    uint32_t *first = xcalloc(s->n_sigs + 1, sizeof *first);
    uint32_t *next = xcalloc(s->many->n + 1, sizeof *next);
    int r = 0;

    for (size_t j = s->many->n; j-- > 0;) {
        next[j] = first[s->many_sig[j]];
        first[s->many_sig[j]] = (uint32_t)j + 1;
    }
    for (size_t k = 0; k < s->one->n && r == 0; k++)
        r = put_filled_row(s, k, first, next, ret);
    free(first);
    free(next);
    return r;
}

/* Many to one: rows of one signature that would be called the same, at a step where both meet. */
static int check_unique(struct sides *s, const struct vector *ret, const uint32_t *many_of)
{
    struct label_index x;
    uint32_t *last; /* of a set of labels: the pair before + 1 */
    uint32_t *before;
    int r = 0;

    label_index_init(&x, s->m);
    last = xcalloc(ret->n + 1, sizeof *last);
    before = xcalloc(ret->n + 1, sizeof *before);
    for (size_t k = 0; k < ret->n && r == 0; k++) {
        size_t at = label_index_put(&x, &ret->rows[k].labels);

        before[k] = last[at];
        last[at] = (uint32_t)k + 1;
        for (uint32_t j = before[k]; j != 0 && r == 0; j = before[j - 1]) {
            uint32_t a = many_of[k];
            uint32_t b = many_of[j - 1];

            if (a == b || s->many_sig[a] != s->many_sig[b])
                continue;
            for (size_t i = 0; i < s->f->n && r == 0; i++)
                if (meets(s, &s->many->rows[a], s->many_sig[a], i) &&
                    meets(s, &s->many->rows[b], s->many_sig[b], i))
                    r = eval_fail(s->ev, "multiple matches for labels: grouping labels must ensure "
                                         "unique matches");
        }
    }
    free(last);
    free(before);
    label_index_done(&x);
    return r;
}

static int put_pairs(struct sides *s, struct vector *ret)
{
    struct pairs pairs = {.s = s, .ret = ret};
    uint32_t *many_of = NULL; /* of a pair: the row of the many side */
    size_t n = 0;
    size_t cap = 0;
    int r = 0;

    for (size_t k = 0; k < s->many->n && r == 0; k++) {
        const struct row *many = &s->many->rows[k];

        for (uint32_t j = s->first_one[s->many_sig[k]]; j != 0 && r == 0; j = s->next_one[j - 1])
            r = pairs_put(&pairs, (uint32_t)k, j - 1);
        if (r == 0 && s->has_fill_one)
            r = put_filled_one(s, many, s->many_sig[k], ret);
        if (ret->n > cap) {
            cap = 2 * ret->n;
            many_of = xrealloc(many_of, cap * sizeof *many_of);
        }
        while (n < ret->n)
            many_of[n++] = (uint32_t)k;
        if (r == 0)
            r = eval_check(s->ev);
    }
    if (r == 0)
        r = pairs_fill(&pairs);
    if (r == 0 && s->how->card != CARD_ONE_TO_ONE)
        r = check_unique(s, ret, many_of);
    free(many_of);
    return r;
}

int binop_vectors(struct evaluator *ev, struct mem *m, const struct expr *e, const struct frame *f,
                  struct vector *l, struct vector *r, struct vector *ret)
{
    struct sides s = {.ev = ev,
                      .m = m,
                      .e = e,
                      .how = e->binary.matching,
                      .f = f,
                      .mixed = {ev, m, e, e->binary.return_bool, NULL, 0}};
    int result;

    vector_compact(ev, l, f->n);
    vector_compact(ev, r, f->n);
    sides_init(&s, l, r);
    result = check_one_side(&s);
    if (result == 0 && s.how->card == CARD_ONE_TO_ONE)
        result = check_many_side(&s);
    if (result == 0)
        result = put_pairs(&s, ret);
    if (result == 0 && s.has_fill_many)
        result = put_filled_many(&s, ret);
    sides_done(&s);
    if (result == 0 && s.mixed.notes != NULL)
        binop_notes(&s.mixed, f->n);
    free(s.mixed.notes);
    if (result == 0)
        vector_compact(ev, ret, f->n);
    return result == 0 && f->n > 1 ? vector_merge(ev, ret, f->n) : result;
}
