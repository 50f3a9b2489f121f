#include "metrics/head/matcher.h"

#include "base/alloc.h"
#include "base/shim.h"

#include <errno.h>
#include <stdlib.h>

static int slice_order(const void *a, const void *b)
{
    return slice_cmp(*(const struct slice *)a, *(const struct slice *)b);
}

static void set_one(struct matcher *m, enum match_kind kind, size_t len)
{
    m->kind = kind;
    m->set = xmalloc(sizeof *m->set);
    m->set[0] = slice_of(m->text, len);
    m->n_set = 1;
}

/* Splits `a|b|c` of plain text, perhaps in one pair of parentheses, into m->set; `lit.*` and
 * `lit.+` into a prefix. False: it needs a regular expression. */
static bool simplify(struct matcher *m)
{
    const char *p = m->value;
    const char *end = p + m->value_len;
    char *out = m->text = xmalloc(m->value_len + 1);
    char *start = out;
    size_t cap = 1;

    if (end - p >= 2 && *p == '(' && end[-1] == ')') {
        p += end - p >= 4 && p[1] == '?' && p[2] == ':' ? 3 : 1;
        end--;
    }
    for (const char *q = p; q < end; q++)
        cap += *q == '|';
    m->set = xmalloc(cap * sizeof *m->set);
    for (; p < end; p++) {
        if (*p == '|') {
            m->set[m->n_set++] = slice_of(start, (size_t)(out - start));
            start = out;
        } else if (*p == '\\' && p + 1 < end && strchr("\\.+*?()[]{}^$|-/", p[1]) != NULL) {
            *out++ = *++p;
        } else if (strchr("\\.+*?()[]{}^$", *p) != NULL) {
            break;
        } else {
            *out++ = *p;
        }
    }
    if (p == end) {
        m->set[m->n_set++] = slice_of(start, (size_t)(out - start));
        m->kind = MATCH_SET;
        qsort(m->set, m->n_set, sizeof *m->set, slice_order);
        return true;
    }
    free(m->set);
    m->set = NULL;
    if (m->n_set == 0 && end - p == 2 && p[0] == '.' && (p[1] == '*' || p[1] == '+')) {
        set_one(m, MATCH_PREFIX, (size_t)(out - m->text));
        m->longer = p[1] == '+';
        return true;
    }
    m->n_set = 0;
    return false;
}

int matcher_init(struct matcher *m, enum match_op op, struct slice name, struct slice value,
                 struct buf *why)
{
    int r = 0;

    *m = (struct matcher){.op = op, .name_len = name.len, .value_len = value.len};
    m->name = xstrndup(name.data, name.len);
    m->value = xmemdup(value.data, value.len);
    if (op == MATCH_EQ || op == MATCH_NE) {
        m->text = xmemdup(value.data, value.len);
        set_one(m, MATCH_SET, value.len);
    } else if (memchr(value.data, 0, value.len) != NULL || !simplify(m)) {
        m->kind = MATCH_REGEX;
        r = regex_new(value, &m->regex, why);
    }
    if (r < 0) {
        matcher_done(m);
        return r;
    }
    m->matches_empty = matcher_holds(m, SLICE(""));
    return 0;
}

void matcher_done(struct matcher *m)
{
    free(m->name);
    free(m->value);
    free(m->set);
    free(m->text);
    if (m->regex != NULL)
        regex_free(m->regex);
    *m = (struct matcher){0};
}

bool matcher_is_positive(const struct matcher *m)
{
    return m->op == MATCH_EQ || m->op == MATCH_RE;
}

static bool pattern_matches(const struct matcher *m, struct slice value)
{
    switch (m->kind) {
    case MATCH_SET:
        if (m->n_set == 1)
            return slice_eq(m->set[0], value);
        return bsearch(&value, m->set, m->n_set, sizeof *m->set, slice_order) != NULL;
    case MATCH_PREFIX:
        return slice_starts(value, m->set[0]) && value.len >= m->set[0].len + m->longer;
    case MATCH_REGEX:
        break;
    }
    return regex_match(m->regex, value);
}

bool matcher_holds(const struct matcher *m, struct slice value)
{
    return pattern_matches(m, value) == matcher_is_positive(m);
}
