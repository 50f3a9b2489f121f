/* sort(), sort_desc(), sort_by_label(), sort_by_label_desc(): of an instant; the result of a range
 * has its own order. */
#include "metrics/promql/calls.h"
#include "metrics/promql/notes.h"

#include "base/alloc.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

struct sorted {
    const struct expr *e;
    struct row row;
};

static int by_value(const struct sorted *a, const struct sorted *b, bool descending)
{
    double x = a->row.v[0];
    double y = b->row.v[0];

    if (isnan(x) || isnan(y))
        return isnan(x) ? (isnan(y) ? 0 : 1) : -1;
    if (x == y)
        return 0;
    return (x < y) != descending ? -1 : 1;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Splits off the digits, or the rest up to the next digit. */
static struct slice next_chunk(struct slice *s)
{
    const char *p = s->data;
    size_t n = 1;

    while (n < s->len && is_digit(p[n]) == is_digit(p[0]))
        n++;
    *s = slice_skip(*s, n);
    return slice_of(p, n);
}

static bool chunk_number(struct slice chunk, long *ret)
{
    char text[24];
    char *end;

    if (chunk.len >= sizeof text || !is_digit(*(const char *)chunk.data))
        return false;
    memcpy(text, chunk.data, chunk.len);
    text[chunk.len] = '\0';
    errno = 0;
    *ret = strtol(text, &end, 10);
    return errno == 0 && *end == '\0';
}

/* The order of names that end in numbers: a2 is before a10. */
static bool natural_before(struct slice a, struct slice b)
{
    while (a.len > 0) {
        struct slice x = next_chunk(&a);
        struct slice y;
        long i;
        long j;

        if (b.len == 0)
            return false;
        y = next_chunk(&b);
        if (chunk_number(x, &i) && chunk_number(y, &j)) {
            if (i != j)
                return i < j;
        } else if (!slice_eq(x, y)) {
            return slice_cmp(x, y) < 0;
        }
        if (a.len == 0)
            return true;
        if (b.len == 0)
            return false;
    }
    return false;
}

static int by_label(const struct sorted *a, const struct sorted *b)
{
    const struct expr *e = a->e;

    for (size_t i = 1; i < e->call.n_args; i++) {
        struct slice name = expr_bare(e->call.args[i])->string;
        struct slice x = labels_get(&a->row.labels, name);
        struct slice y = labels_get(&b->row.labels, name);

        if (!slice_eq(x, y))
            return natural_before(x, y) ? -1 : 1;
    }
    return labels_cmp(&a->row.labels, &b->row.labels);
}

static int compare(const void *a, const void *b)
{
    const struct sorted *x = a;

    switch (x->e->call.f->id) {
    case FN_SORT:
        return by_value(a, b, false);
    case FN_SORT_DESC:
        return by_value(a, b, true);
    case FN_SORT_BY_LABEL:
        return by_label(a, b);
    default:
        return -by_label(a, b);
    }
}

int call_sort(struct evaluator *ev, struct mem *m, const struct expr *e, const struct frame *f,
              struct vector *ret)
{
    bool by_values = e->call.f->id == FN_SORT || e->call.f->id == FN_SORT_DESC;
    struct sorted *list;
    int r = eval_node(ev, m, e->call.args[0], f, ret);

    if (f->n > 1 || f->spans)
        note_add(
            ev, NOTE_WARNING, e->at,
            "sort is ineffective for range queries since results are always ordered by labels");
    for (size_t k = 0; k < ret->n && by_values && r == 0; k++)
        for (size_t i = 0; i < f->n && ret->rows[k].h != NULL; i++)
            ret->rows[k].h[i] = NULL;
    if (r < 0 || f->n > 1)
        return r;
    vector_compact(ev, ret, 1);
    list = xmalloc((ret->n + 1) * sizeof *list);
    for (size_t k = 0; k < ret->n; k++)
        list[k] = (struct sorted){e, ret->rows[k]};
    qsort(list, ret->n, sizeof *list, compare);
    for (size_t k = 0; k < ret->n; k++)
        ret->rows[k] = list[k].row;
    free(list);
    return 0;
}
