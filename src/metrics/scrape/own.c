#include "metrics/scrape/own.h"

#include "base/alloc.h"
#include "base/scope.h"
#include "base/utf8.h"
#include "store/store.h"

#include <errno.h>
#include <stdlib.h>

#define PART SLICE("metrics/targets")

/* One line at a time: 1, 0 at the end, -EINVAL. Empty ones are passed over; `label.` before a name
 * is how the state of a target shows it. */
static int next_line(struct slice *text, unsigned *line, struct slice *ret_name,
                     struct slice *ret_value)
{
    while (text->len > 0) {
        const char *p = text->data;
        const char *end = memchr(p, '\n', text->len);
        size_t n = end != NULL ? (size_t)(end - p) : text->len;
        const char *equal = memchr(p, '=', n);

        *text = slice_skip(*text, end != NULL ? n + 1 : n);
        ++*line;
        if (n == 0)
            continue;
        if (equal == NULL)
            return -EINVAL;
        *ret_name = slice_of(p, (size_t)(equal - p));
        *ret_value = slice_of(equal + 1, n - (size_t)(equal - p) - 1);
        if (slice_starts(*ret_name, SLICE("label.")))
            *ret_name = slice_skip(*ret_name, 6);
        return 1;
    }
    return 0;
}

int own_check(struct slice text, struct buf *why)
{
    struct slice name;
    struct slice value;
    unsigned line = 0;
    int r;

    while ((r = next_line(&text, &line, &name, &value)) > 0) {
        if (!label_name_legacy(name)) {
            buf_printf(why, "line %u: '%.*s' is not a name for a label", line, (int)name.len,
                       (const char *)name.data);
            return -EINVAL;
        }
        if (!utf8_valid(value) || memchr(value.data, 0, value.len) != NULL) {
            buf_printf(why, "line %u: the value is no text", line);
            return -EINVAL;
        }
    }
    if (r < 0)
        buf_printf(why, "line %u: expected name=value", line);
    return r;
}

static void make_key(struct buf *out, const char *job, const char *address)
{
    buf_add_str(out, job);
    buf_add_char(out, '\n');
    buf_add_str(out, address);
}

static void add_group(struct target_groups *ret, struct slice address, struct slice text)
{
    struct target_group *g;
    struct slice name;
    struct slice value;
    unsigned line = 0;

    ret->items = xrealloc(ret->items, (ret->n + 1) * sizeof *ret->items);
    g = &ret->items[ret->n++];
    *g = (struct target_group){.addresses = xcalloc(2, sizeof(char *))};
    g->addresses[0] = xstrndup(address.data, address.len);
    while (next_line(&text, &line, &name, &value) > 0) {
        autofree char *n = xstrndup(name.data, name.len);
        autofree char *v = xstrndup(value.data, value.len);

        pairs_add(&g->labels, n, v);
    }
    pairs_add(&g->labels, OWN_LABEL, "true");
}

int own_groups(struct store *store, const char *job, struct target_groups *ret)
{
    struct store_scan *scan = NULL;
    autobuf from = {0};
    autobuf to = {0};
    struct slice key;
    struct slice value;
    int r;

    make_key(&from, job, "");
    make_key(&to, job, "");
    to.data[to.len - 1]++; /* behind all that begin with it */
    r = store_scan(store, PART, buf_slice(&from), buf_slice(&to), 0, &scan);
    if (r < 0)
        return r;
    while ((r = store_scan_next(scan, &key, &value)) > 0)
        add_group(ret, slice_skip(key, from.len), value);
    store_scan_free(scan);
    return r;
}

int own_put(struct store *store, const char *job, const char *address, struct slice text)
{
    struct store_batch *batch = store_batch_new(store, PART);
    autobuf key = {0};

    make_key(&key, job, address);
    store_batch_put(batch, buf_slice(&key), text);
    return store_commit(batch, STORE_DURABLE);
}

int own_delete(struct store *store, const char *job, const char *address)
{
    struct store_value value = {0};
    struct store_batch *batch;
    autobuf key = {0};
    int r;

    make_key(&key, job, address);
    r = store_get(store, PART, buf_slice(&key), &value);
    store_value_release(&value);
    if (r < 0)
        return r;
    batch = store_batch_new(store, PART);
    store_batch_delete(batch, buf_slice(&key));
    return store_commit(batch, STORE_DURABLE);
}
