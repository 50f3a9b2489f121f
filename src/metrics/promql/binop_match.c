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

static uint32_t *signatures(struct label_index *x, const struct matching *how,
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
    s->many_sig = signatures(&x, how, s->many);
    s->one_sig = signatures(&x, how, s->one);
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

/* One row of each side. */
static int put_pair(struct sides *s, const struct row *many, const struct row *one,
                    struct vector *ret)
{
    bool swap = s->how->card == CARD_ONE_TO_MANY;
    const struct row *l = swap ? one : many;
    const struct row *r = swap ? many : one;
    struct float_op op = {s->e->binary.op, s->e->binary.return_bool, false};
    struct row *out = vector_add(s->ev, ret, s->f->n);
    int result;

    if (out == NULL)
        return eval_check(s->ev);
    result = result_labels(s, &many->labels, &one->labels, &out->labels);
    if (result < 0)
        return result;
    out->drop_name = s->e->binary.return_bool || many->drop_name;
    binop_floats(&op, l->v, r->v, out->v, s->f->n);
    if (l->h != NULL || r->h != NULL || op.op == OP_TRIM_UPPER || op.op == OP_TRIM_LOWER)
        mixed_cells(s, l, r, out);
    return 0;
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
    uint32_t *many_of = NULL; /* of a pair: the row of the many side */
    size_t n = 0;
    size_t cap = 0;
    int r = 0;

    for (size_t k = 0; k < s->many->n && r == 0; k++) {
        const struct row *many = &s->many->rows[k];

        for (uint32_t j = s->first_one[s->many_sig[k]]; j != 0 && r == 0; j = s->next_one[j - 1])
            r = put_pair(s, many, &s->one->rows[j - 1], ret);
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

/* 1 for each signature and step at which a row of the vector has a value. */
static uint8_t *presence(const struct vector *v, const uint32_t *sigs, size_t n_sigs, size_t n)
{
    uint8_t *there = xcalloc(n_sigs * n + 1, 1);

    for (size_t k = 0; k < v->n; k++)
        for (size_t i = 0; i < n; i++)
            there[sigs[k] * n + i] |= row_has(&v->rows[k], i);
    return there;
}

/* Keeps of a row the steps at which its signature is there, or is not. */
static void mask_row(struct row *row, const uint8_t *there, bool keep, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if ((there[i] != 0) == keep)
            continue;
        row->v[i] = ABSENT;
        if (row->h != NULL)
            row->h[i] = NULL;
    }
}

static void move_rows(struct vector *from, struct vector *to)
{
    for (size_t k = 0; k < from->n; k++) {
        vector_push(to, from->rows[k]);
        from->rows[k].v = NULL;
        from->rows[k].h = NULL;
    }
}

int binop_sets(struct evaluator *ev, struct mem *m, const struct expr *e, const struct frame *f,
               struct vector *l, struct vector *r, struct vector *ret)
{
    bool is_or = e->binary.op == OP_OR;
    struct vector *masked = is_or ? r : l;
    struct vector *mask = is_or ? l : r;
    struct label_index x;
    uint32_t *masked_sigs;
    uint32_t *mask_sigs;
    uint8_t *there;

    vector_compact(ev, l, f->n);
    vector_compact(ev, r, f->n);
    label_index_init(&x, m);
    masked_sigs = signatures(&x, e->binary.matching, masked);
    mask_sigs = signatures(&x, e->binary.matching, mask);
    there = presence(mask, mask_sigs, x.n, f->n);
    for (size_t k = 0; k < masked->n; k++)
        mask_row(&masked->rows[k], there + masked_sigs[k] * f->n, e->binary.op == OP_AND, f->n);
    if (is_or)
        move_rows(l, ret);
    move_rows(masked, ret);
    label_index_done(&x);
    free(masked_sigs);
    free(mask_sigs);
    free(there);
    vector_compact(ev, ret, f->n);
    return f->n > 1 ? vector_merge(ev, ret, f->n) : 0;
}
