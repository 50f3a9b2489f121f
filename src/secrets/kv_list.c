#include "base/alloc.h"
#include "base/codec.h"
#include "base/scope.h"
#include "secrets/kv_internal.h"

#include <errno.h>
#include <stdlib.h>

DEFINE_SCOPE(scan, struct store_scan, store_scan_free)

/* The rows of one folder: all keys of that kind that begin with its id. */
static int scan_folder(struct kv *kv, uint8_t row, const uint8_t id[KV_ID_BYTES],
                       struct store_scan **ret)
{
    uint8_t from[1 + KV_ID_BYTES], to[1 + KV_ID_BYTES];

    from[0] = row;
    memcpy(from + 1, id, KV_ID_BYTES);
    memcpy(to, from, sizeof to);
    for (size_t i = sizeof to; i-- > 0 && ++to[i] == 0;)
        ;
    return store_scan(kv->store, kv->part, slice_of(from, sizeof from), slice_of(to, sizeof to), 0,
                      ret);
}

/* What a list is sorted by: nearly always the first bytes decide, without a look at the name. */
struct order {
    uint64_t head; /* of the name, zeros behind it */
    uint32_t index;
    struct slice name;
    enum kv_kind kind;
};

static int compare_order(const void *a, const void *b)
{
    const struct order *x = a, *y = b;
    int r;

    if (x->head != y->head)
        return x->head < y->head ? -1 : 1;
    r = slice_cmp(x->name, y->name);
    return r != 0 ? r : (int)y->kind - (int)x->kind; /* "foo" stands before "foo/" */
}

static struct order order_of(struct slice name, enum kv_kind kind, size_t index)
{
    uint8_t head[8] = {0};

    memcpy(head, name.data, name.len < sizeof head ? name.len : sizeof head);
    return (struct order){be64_get(head), (uint32_t)index, name, kind};
}

static void sort_entries(struct op *op, struct kv_entry **list, size_t n)
{
    struct order *order = op_alloc(op, (n + 1) * sizeof *order);
    struct kv_entry *sorted = op_alloc(op, (n + 1) * sizeof *sorted);

    for (size_t i = 0; i < n; i++)
        order[i] = order_of((*list)[i].name, (*list)[i].kind, i);
    if (n > 1)
        qsort(order, n, sizeof *order, compare_order);
    for (size_t i = 0; i < n; i++)
        sorted[i] = (*list)[order[i].index];
    *list = sorted;
}

static int grow(struct op *op, struct kv_entry **list, size_t n, size_t *cap)
{
    struct kv_entry *more;

    if (n < *cap)
        return 0;
    *cap = *cap > 0 ? *cap * 2 : 16;
    more = op_alloc(op, *cap * sizeof *more);
    if (n > 0)
        memcpy(more, *list, n * sizeof *more);
    *list = more;
    return 0;
}

int kv_list(struct op *op, struct kv *kv, const char *path, struct kv_entry **ret, size_t *ret_n)
{
    scope_cleanup(scope_scan) struct store_scan *scan = NULL;
    struct kv_entry *list = NULL;
    uint8_t id[KV_ID_BYTES];
    struct slice key, raw;
    size_t n = 0, cap = 0;
    int r = kv_path_check(op, path);

    if (r == 0)
        r = kv_folder_id(op, kv, path, id);
    if (r == 0)
        r = scan_folder(kv, ROW_ENTRY, id, &scan);
    if (r < 0)
        return r;
    while ((r = store_scan_next(scan, &key, &raw)) == 1) {
        grow(op, &list, n, &cap);
        r = kv_row_parse(op, kv, key, raw, &list[n]);
        if (r < 0)
            return r;
        n++;
    }
    if (r < 0)
        return r;
    sort_entries(op, &list, n);
    *ret = list;
    *ret_n = n;
    return 0;
}

struct names {
    struct kv_name *list; /* of its own, in no order; the names are in the op */
    size_t n, cap;
};

static void add_name(struct op *op, struct names *names, const struct kv_name *name)
{
    if (names->n == names->cap) {
        names->cap = names->cap > 0 ? names->cap * 2 : 64;
        names->list = xrealloc(names->list, names->cap * sizeof *names->list);
    }
    names->list[names->n++] = (struct kv_name){op_slice(op, name->name), name->kind};
}

static int collect_names(struct op *op, struct kv *kv, const uint8_t id[KV_ID_BYTES],
                         struct names *names)
{
    scope_cleanup(scope_scan) struct store_scan *scan = NULL;
    uint8_t *plain = op_alloc(op, KV_NAME_BYTES + 1); /* one row after another */
    struct slice key, raw;
    struct kv_name name;
    int r = scan_folder(kv, ROW_NAME, id, &scan);

    if (r < 0)
        return r;
    while ((r = store_scan_next(scan, &key, &raw)) == 1) {
        if (raw.len > KV_NAME_BYTES + 1 + KEYRING_OVERHEAD_BYTES)
            return op_fail(op, EIO, "a name in the mount is damaged");
        r = kv_name_parse(op, kv, key, raw, plain, &name);
        if (r < 0)
            return r;
        add_name(op, names, &name);
    }
    return r;
}

static int read_names(struct op *op, struct kv *kv, const uint8_t id[KV_ID_BYTES],
                      struct kv_name **ret, size_t *ret_n)
{
    struct names names = {0};
    int r = collect_names(op, kv, id, &names);

    if (r == 0) {
        *ret = op_alloc(op, (names.n + 1) * sizeof **ret);
        if (names.n > 0)
            memcpy(*ret, names.list, names.n * sizeof **ret);
        *ret_n = names.n;
    }
    free(names.list);
    return r;
}

static void sort_names(struct kv_name *list, size_t n)
{
    struct order *order;

    if (n < 2)
        return;
    order = xmalloc(n * sizeof *order);
    for (size_t i = 0; i < n; i++)
        order[i] = order_of(list[i].name, list[i].kind, i);
    qsort(order, n, sizeof *order, compare_order);
    for (size_t i = 0; i < n; i++)
        list[i] = (struct kv_name){order[i].name, order[i].kind};
    explicit_bzero(order, n * sizeof *order); /* heads of names */
    free(order);
}

int kv_names(struct op *op, struct kv *kv, const char *path, struct kv_name **ret, size_t *ret_n)
{
    uint8_t id[KV_ID_BYTES];
    enum kv_listing kept;
    uint64_t moment;
    int r = kv_path_check(op, path);

    if (r == 0)
        r = kv_folder_id(op, kv, path, id);
    if (r < 0)
        return r;
    kept = kv_listings_get(op, kv, id, ret, ret_n, &moment);
    if (kept == KV_LISTING_SORTED)
        return 0;
    if (kept == KV_LISTING_NONE)
        r = read_names(op, kv, id, ret, ret_n);
    if (r < 0)
        return r;
    sort_names(*ret, *ret_n);
    kv_listings_keep(kv, id, *ret, *ret_n, moment);
    return 0;
}

int kv_folder_has(struct op *op, struct kv *kv, const uint8_t id[KV_ID_BYTES], bool visible)
{
    scope_cleanup(scope_scan) struct store_scan *scan = NULL;
    struct slice key, raw;
    int r = scan_folder(kv, ROW_ENTRY, id, &scan);

    if (r < 0)
        return r;
    while ((r = store_scan_next(scan, &key, &raw)) == 1) {
        struct kv_entry e;

        if (!visible)
            return 1;
        r = kv_row_parse(op, kv, key, raw, &e);
        if (r < 0)
            return r;
        if (e.kind == KV_FOLDER ? (e.folder_flags & KV_HIDDEN) == 0 : kv_is_live(&e))
            return 1;
    }
    return r;
}
