/* labelset.h: sets of labels as the query language needs them: parts of them, changes, and finding
 * equal ones again. */
#ifndef METRICS_PROMQL_LABELSET_H
#define METRICS_PROMQL_LABELSET_H

#include "metrics/promql/evaluator.h"

bool label_is_metadata(struct slice name); /* __name__, __type__, __unit__ */

/* A set under change: sorted; strings borrowed. */
#define EDIT_MAX 256
struct label_edit {
    struct label items[EDIT_MAX];
    struct labels labels; /* of items */
    bool overflown;
};
void edit_init(struct label_edit *e, const struct labels *from);
void edit_set(struct label_edit *e, struct slice name, struct slice value); /* empty: deletes */
void edit_drop_metadata(struct label_edit *e);
void edit_keep(struct label_edit *e, const struct names *names);
void edit_drop(struct label_edit *e, const struct names *names);

/* A copy without the metric's name, type and unit. */
struct labels labels_bare(struct mem *m, const struct labels *l);

/* The part that a grouping or a matching looks at: `on` those named, else all but those named and
 * the metadata. `room` has space for l->n. */
struct labels labels_part(const struct labels *l, bool on, const struct names *names,
                          struct label *room);

/* Numbers sets of labels from 0 on. */
struct label_index {
    struct mem *m;
    uint32_t *slots;
    size_t n_slots;
    struct labels *sets; /* copies in m */
    uint64_t *hashes;
    size_t n, cap;
};
void label_index_init(struct label_index *x, struct mem *m);
void label_index_done(struct label_index *x);
size_t label_index_put(struct label_index *x, const struct labels *l);

/* `{a="b", c="d"}`, as Go's Labels print. */
void labels_text(struct buf *out, const struct labels *l);
/* Prometheus' hash of a set: XXH64 of its encoding. */
uint64_t labels_xxhash(const struct labels *l);

#endif
