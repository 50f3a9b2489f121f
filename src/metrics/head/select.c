/* Which series meet a set of matchers: the list of the narrowest one, filtered by the others. A
 * value of a label is asked at most once per matcher. */
#include "base/alloc.h"
#include "metrics/head/index_internal.h"

#include <stdlib.h>

void refs_done(struct refs *r)
{
    free(r->items);
    *r = (struct refs){0};
}

void refs_add(struct refs *r, uint32_t ref)
{
    if (r->n == r->cap) {
        r->cap = r->cap == 0 ? 64 : 2 * r->cap;
        r->items = xrealloc(r->items, r->cap * sizeof *r->items);
    }
    r->items[r->n++] = ref;
}

struct check {
    const struct matcher *m;
    uint32_t name;  /* symbol; UINT32_MAX: no series has it */
    uint32_t value; /* of = and != with one value: its symbol */
    uint8_t *known; /* by symbol of value: 0 not asked, 1 holds, 2 does not */
};

static bool is_exact(const struct matcher *m)
{
    return m->kind == MATCH_SET && m->n_set == 1;
}

static bool holds(const struct index *ix, struct check *c, const struct series *s)
{
    uint32_t value = c->name != UINT32_MAX ? series_value(s, c->name) : 0;

    if (value == 0)
        return c->m->matches_empty;
    if (is_exact(c->m))
        return (value == c->value) == matcher_is_positive(c->m);
    if (c->known == NULL)
        c->known = xcalloc(ix->symbols.n, 1);
    if (c->known[value] == 0)
        c->known[value] = matcher_holds(c->m, symbols_get(&ix->symbols, value)) ? 1 : 2;
    return c->known[value] == 1;
}

/* The lists of the values for which a matcher that refuses the empty value holds. */
static void lists_of(const struct index *ix, const struct check *c, struct refs *ret_postings)
{
    const struct label_name *name;

    if (c->name == UINT32_MAX)
        return;
    if (c->m->kind == MATCH_SET && matcher_is_positive(c->m)) {
        for (size_t i = 0; i < c->m->n_set; i++) {
            uint32_t value = symbols_find(&ix->symbols, c->m->set[i]);
            const struct posting *p = NULL;

            if (i > 0 && slice_eq(c->m->set[i], c->m->set[i - 1]))
                continue;
            if (value != UINT32_MAX)
                p = index_posting(ix, c->name, value);
            if (p != NULL)
                refs_add(ret_postings, (uint32_t)(p - ix->postings));
        }
        return;
    }
    name = index_name(ix, c->name);
    for (uint32_t i = 0; name != NULL && i < name->n; i++) {
        const struct posting *p = &ix->postings[name->postings[i]];

        if (matcher_holds(c->m, symbols_get(&ix->symbols, p->value)))
            refs_add(ret_postings, name->postings[i]);
    }
}

static size_t total_of(const struct index *ix, const struct refs *postings)
{
    size_t n = 0;

    for (size_t i = 0; i < postings->n; i++)
        n += ix->postings[postings->items[i]].n;
    return n;
}

/* The union of lists that have nothing in common (one label has one value), in order. */
static void unite(const struct index *ix, const struct refs *postings, struct refs *ret)
{
    uint64_t *bits;

    if (postings->n == 1) {
        const struct posting *p = &ix->postings[postings->items[0]];

        for (uint32_t i = 0; i < p->n; i++)
            refs_add(ret, p->refs[i]);
        return;
    }
    bits = xcalloc(ix->n_series / 64 + 1, sizeof *bits);
    for (size_t i = 0; i < postings->n; i++) {
        const struct posting *p = &ix->postings[postings->items[i]];

        for (uint32_t k = 0; k < p->n; k++)
            bits[p->refs[k] / 64] |= 1ull << p->refs[k] % 64;
    }
    for (uint32_t w = 0; w <= ix->n_series / 64; w++)
        for (uint64_t left = bits[w]; left != 0; left &= left - 1)
            refs_add(ret, w * 64 + (uint32_t)__builtin_ctzll(left));
    free(bits);
}

/* Is it cheap to say how many series it leaves? */
static bool is_listed(const struct matcher *m)
{
    return !m->matches_empty && m->kind == MATCH_SET && matcher_is_positive(m);
}

/* Fills ret with the list of the narrowest matcher, whose number is returned; -1: all series. */
static int narrowest(const struct index *ix, const struct check *checks, size_t n,
                     struct refs *ret_postings)
{
    int best = -1;
    size_t least = SIZE_MAX;

    for (int pass = 0; pass < 2 && best < 0; pass++)
        for (size_t i = 0; i < n; i++) {
            struct refs postings = {0};

            if (checks[i].m->matches_empty || is_listed(checks[i].m) != (pass == 0))
                continue;
            lists_of(ix, &checks[i], &postings);
            if (total_of(ix, &postings) < least) {
                least = total_of(ix, &postings);
                best = (int)i;
                refs_done(ret_postings);
                *ret_postings = postings;
            } else {
                refs_done(&postings);
            }
        }
    return best;
}

void index_select(const struct index *ix, const struct matcher *matchers, size_t n,
                  struct refs *ret)
{
    struct check *checks = xcalloc(n + 1, sizeof *checks);
    struct refs postings = {0};
    size_t kept = 0;
    int base;

    *ret = (struct refs){0};
    for (size_t i = 0; i < n; i++) {
        checks[i].m = &matchers[i];
        checks[i].name =
            symbols_find(&ix->symbols, slice_of(matchers[i].name, matchers[i].name_len));
        if (is_exact(&matchers[i]))
            checks[i].value = symbols_find(&ix->symbols, matchers[i].set[0]);
    }
    base = narrowest(ix, checks, n, &postings);
    if (base >= 0)
        unite(ix, &postings, ret);
    else
        for (uint32_t i = 0; i < ix->n_series; i++)
            if (!index_series(ix, i)->gone)
                refs_add(ret, i);
    for (size_t i = 0; i < ret->n; i++) {
        const struct series *s = index_series(ix, ret->items[i]);
        bool good = true;

        for (size_t k = 0; k < n && good; k++)
            good = (int)k == base || holds(ix, &checks[k], s);
        if (good)
            ret->items[kept++] = ret->items[i];
    }
    ret->n = kept;
    for (size_t i = 0; i < n; i++)
        free(checks[i].known);
    free(checks);
    refs_done(&postings);
}
