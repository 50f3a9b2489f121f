/* Functions on the labels of rows; what the values are does not matter to them. */
#include "metrics/promql/calls.h"
#include "metrics/promql/labelset.h"

#include "base/shim.h"
#include "base/utf8.h"

static struct slice string_arg(const struct expr *e, size_t i)
{
    return expr_bare(e->call.args[i])->string;
}

static bool label_name_valid(struct slice name)
{
    return name.len > 0 && utf8_valid(name);
}

/* Gives a row the label, and its name back if that is the label. */
static int set_label(struct evaluator *ev, struct mem *m, struct row *row, struct slice name,
                     struct slice value)
{
    struct label_edit edit;

    edit_init(&edit, &row->labels);
    edit_set(&edit, name, value);
    if (edit.overflown)
        return eval_fail(ev, "too many labels");
    row->labels = mem_labels(m, &edit.labels);
    if (slice_eq(name, LABEL_NAME))
        row->drop_name = false;
    return 0;
}

static int replace_rows(struct evaluator *ev, struct mem *m, const struct expr *e,
                        const struct regex *regex, struct vector *v)
{
    struct slice to = string_arg(e, 1);
    struct slice replacement = string_arg(e, 2);
    struct slice from = string_arg(e, 3);

    for (size_t k = 0; k < v->n; k++) {
        autobuf text = {0};
        int r;

        if (!regex_replace(regex, labels_get(&v->rows[k].labels, from), replacement, &text))
            continue;
        r = set_label(ev, m, &v->rows[k], to, mem_slice(m, buf_slice(&text)));
        if (r < 0)
            return r;
    }
    return 0;
}

int call_label_replace(struct evaluator *ev, struct mem *m, const struct expr *e,
                       const struct frame *f, struct vector *ret)
{
    struct slice to = string_arg(e, 1);
    struct slice pattern = string_arg(e, 4);
    struct regex *regex = NULL;
    autobuf why = {0};
    int r;

    if (regex_new(pattern, &regex, &why) < 0)
        return eval_fail(ev, "invalid regular expression in label_replace(): %.*s",
                         (int)pattern.len, (const char *)pattern.data);
    if (label_name_valid(to)) {
        r = eval_node(ev, m, e->call.args[0], f, ret);
        if (r == 0)
            r = replace_rows(ev, m, e, regex, ret);
    } else {
        r = eval_fail(ev, "invalid destination label name in label_replace(): %.*s", (int)to.len,
                      (const char *)to.data);
    }
    regex_free(regex);
    return r == 0 ? vector_merge(ev, ret, f->n) : r;
}

int call_label_join(struct evaluator *ev, struct mem *m, const struct expr *e,
                    const struct frame *f, struct vector *ret)
{
    struct slice to = string_arg(e, 1);
    int r;

    for (size_t i = 3; i < e->call.n_args; i++) {
        struct slice from = string_arg(e, i);

        if (!label_name_valid(from))
            return eval_fail(ev, "invalid source label name in label_join(): %.*s", (int)from.len,
                             (const char *)from.data);
    }
    if (!label_name_valid(to))
        return eval_fail(ev, "invalid destination label name in label_join(): %.*s", (int)to.len,
                         (const char *)to.data);
    r = eval_node(ev, m, e->call.args[0], f, ret);
    for (size_t k = 0; k < ret->n && r == 0; k++) {
        struct row *row = &ret->rows[k];
        autobuf text = {0};

        for (size_t i = 3; i < e->call.n_args; i++) {
            if (i > 3)
                buf_add_slice(&text, string_arg(e, 2));
            buf_add_slice(&text, labels_get(&row->labels, string_arg(e, i)));
        }
        r = set_label(ev, m, row, to, mem_slice(m, buf_slice(&text)));
    }
    return r == 0 ? vector_merge(ev, ret, f->n) : r;
}

static bool named_before(const struct selector *s, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (s->matchers[k].op == MATCH_EQ && s->matchers[k].name_len == s->matchers[i].name_len &&
            memcmp(s->matchers[k].name, s->matchers[i].name, s->matchers[i].name_len) == 0)
            return true;
    return false;
}

struct labels absent_labels(struct mem *m, const struct expr *e)
{
    const struct selector *s = NULL;
    struct labels none = {0};
    struct label_edit edit;

    if (e->kind == EXPR_MATRIX)
        e = e->matrix.e;
    if (e->kind == EXPR_SELECTOR)
        s = e->selector;
    edit_init(&edit, &none);
    for (size_t i = 0; s != NULL && i < s->n_matchers; i++) {
        const struct matcher *x = &s->matchers[i];
        struct slice name = slice_of(x->name, x->name_len);

        if (label_is_metadata(name))
            continue;
        if (x->op == MATCH_EQ && !named_before(s, i))
            edit_set(&edit, mem_slice(m, name), mem_slice(m, slice_of(x->value, x->value_len)));
        else
            edit_set(&edit, name, SLICE(""));
    }
    return mem_labels(m, &edit.labels);
}

int call_absent(struct evaluator *ev, struct mem *m, const struct expr *e, const struct frame *f,
                struct vector *ret)
{
    const struct expr *arg = expr_bare(e->call.args[0]);
    struct vector v = {0};
    int r = eval_node(ev, m, arg, f, &v);
    struct row *row = r == 0 ? vector_add(ev, ret, f->n) : NULL;

    for (size_t i = 0; i < f->n && row != NULL; i++) {
        bool any = false;

        for (size_t k = 0; k < v.n && !any; k++)
            any = row_has(&v.rows[k], i);
        if (!any)
            row->v[i] = 1;
    }
    if (row != NULL)
        row->labels = absent_labels(m, arg);
    vector_done(ev, &v, f->n);
    vector_compact(ev, ret, f->n);
    return r < 0 ? r : eval_check(ev);
}
