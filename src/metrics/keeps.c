#include "metrics/keeps.h"

#include "base/alloc.h"
#include "base/scope.h"

#include <errno.h>
#include <stdlib.h>

static int read_rule(struct keeps *k, const struct config_keep *rule, struct buf *why)
{
    struct promql *q = &k->selectors[k->n];
    autobuf reason = {0};
    const struct selector *s;
    int r = promql_parse_selector(&k->op, slice_str(rule->match), q, &reason);

    if (r < 0) {
        buf_printf(why, "metrics.retention_rules: '%s': %s", rule->match, reason.data);
        return -EINVAL;
    }
    s = q->root->selector;
    k->items[k->n++] = (struct db_keep){
        .matchers = s->matchers, .n = s->n_matchers, .keep_ms = rule->keep_ms, .text = rule->match};
    return 0;
}

int keeps_read(const struct config *c, struct keeps **ret, struct buf *why)
{
    struct keeps *k;
    int r = 0;

    if (c->n_keeps > DB_KEEPS_MAX) {
        buf_printf(why, "metrics.retention_rules: %zu rules; the limit is %d", c->n_keeps,
                   DB_KEEPS_MAX);
        return -EINVAL;
    }
    k = xcalloc(1, sizeof *k);
    op_init(&k->op, DOOR_INTERNAL, NULL);
    k->selectors = xcalloc(c->n_keeps + 1, sizeof *k->selectors);
    k->items = xcalloc(c->n_keeps + 1, sizeof *k->items);
    for (size_t i = 0; i < c->n_keeps && r == 0; i++)
        r = read_rule(k, &c->keeps[i], why);
    if (r < 0) {
        keeps_free(k);
        return r;
    }
    *ret = k;
    return 0;
}

void keeps_free(struct keeps *k)
{
    if (k == NULL)
        return;
    for (size_t i = 0; i < k->n; i++)
        promql_done(&k->selectors[i]);
    free(k->selectors);
    free(k->items);
    op_done(&k->op);
    free(k);
}
