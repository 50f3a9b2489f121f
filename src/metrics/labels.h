/* labels.h: the labels of a series, sorted by name, without empty values. `__name__` is the metric.
 */
#ifndef METRICS_LABELS_H
#define METRICS_LABELS_H

#include "base/hash.h"
#include "base/buf.h"
#include "op/op.h"

struct label {
    struct slice name, value;
};

/* Borrows the strings; who made it says how long they live. */
struct labels {
    struct label *items;
    size_t n;
};

#define LABEL_NAME       SLICE("__name__")
#define LABELS_MAX       128         /* of one series */
#define LABELS_BYTES_MAX (32u << 10) /* all names and values of one: it must fit a row */

void labels_sort(struct labels *l);
int labels_cmp(const struct labels *a, const struct labels *b); /* order of the API's results */
bool labels_eq(const struct labels *a, const struct labels *b);
struct slice labels_get(const struct labels *l, struct slice name); /* empty if absent */
size_t labels_bytes(const struct labels *l);
/* After sorting: the first name that stands twice; NULL if none. */
const struct label *labels_duplicate(const struct labels *l);
uint64_t labels_hash(const struct labels *l);

/* A set under construction: names are unique, strings are copied into the op. */
struct label_builder {
    struct op *op;
    struct labels labels;
    size_t cap;
};
void label_builder_init(struct label_builder *b, struct op *op);
struct slice label_builder_get(const struct label_builder *b, struct slice name);
bool label_builder_has(const struct label_builder *b, struct slice name);
/* Copies neither name nor value: they must live as long as the op. An empty value deletes. */
void label_builder_set(struct label_builder *b, struct slice name, struct slice value);
/* Sorted, without empty values; borrowed from the builder. */
struct labels label_builder_finish(struct label_builder *b);

/* n pairs of varint-prefixed strings: as rows and log records hold labels. */
void labels_encode(struct buf *out, const struct labels *l);
/* Moves `in` on. The strings point into it, the array is the op's. -EINVAL if damaged. */
int labels_decode(struct op *op, struct slice *in, struct labels *ret);

/* `name{a="b",c="d"}` as PromQL prints it, with Go's escapes. */
void labels_print(struct buf *out, const struct labels *l);
/* Go's strconv.Quote. */
void quote_go(struct buf *out, struct slice s);

bool label_name_legacy(struct slice name);  /* [a-zA-Z_][a-zA-Z0-9_]* */
bool metric_name_legacy(struct slice name); /* the same with ':' */

#define VALUE_STALE_BITS 0x7ff0000000000002ull
#define VALUE_NAN_BITS   0x7ff8000000000001ull

static inline uint64_t double_bits(double v)
{
    uint64_t bits;

    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static inline double bits_double(uint64_t bits)
{
    double v;

    memcpy(&v, &bits, sizeof v);
    return v;
}

#endif
