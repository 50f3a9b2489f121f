#include "base/scope.h"
#include "secrets/kv_internal.h"

#include <errno.h>
#include <stdlib.h>

#define ROW_ENTRY 'e'

DEFINE_SCOPE(scan, struct store_scan, store_scan_free)

/* The rows of one folder: all keys that begin with its id. */
static int scan_folder(struct kv *kv, const uint8_t id[KV_ID_BYTES], struct store_scan **ret)
{
    uint8_t from[1 + KV_ID_BYTES], to[1 + KV_ID_BYTES];

    from[0] = ROW_ENTRY;
    memcpy(from + 1, id, KV_ID_BYTES);
    memcpy(to, from, sizeof to);
    for (size_t i = sizeof to; i-- > 0 && ++to[i] == 0;)
        ;
    return store_scan(kv->store, kv->part, slice_of(from, sizeof from), slice_of(to, sizeof to), 0,
                      ret);
}

static int compare_names(const void *a, const void *b)
{
    const struct kv_entry *x = a, *y = b;
    int r = slice_cmp(x->name, y->name);

    return r != 0 ? r : (int)y->kind - (int)x->kind; /* "foo" stands before "foo/" */
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
        r = scan_folder(kv, id, &scan);
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
    if (n > 1)
        qsort(list, n, sizeof *list, compare_names);
    *ret = list;
    *ret_n = n;
    return 0;
}

int kv_folder_has(struct op *op, struct kv *kv, const uint8_t id[KV_ID_BYTES], bool visible)
{
    scope_cleanup(scope_scan) struct store_scan *scan = NULL;
    struct slice key, raw;
    int r = scan_folder(kv, id, &scan);

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
