/* What stands beside a run of samples, in a run of its own: it is written before that one and
 * dropped after it; cut in between, it is found at the next start and goes. And the payloads of a
 * bucket as such a run. */
#include "base/alloc.h"
#include "metrics/head/db_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const char *prefix_of(enum run_beside what)
{
    return what == BESIDE_PAYLOADS ? PAYLOAD_PREFIX : SINCE_PREFIX;
}

void beside_name(char name[RUN_NAME_MAX], enum run_beside what, const char *run_part)
{
    snprintf(name, RUN_NAME_MAX, "%s%s", prefix_of(what), run_part + sizeof RUN_PREFIX - 1);
}

struct marked {
    uint64_t id;
    uint32_t ref;
};

struct marks {
    struct db *db;
    struct marked *items;
    size_t n, cap;
};

static void mark(void *ctx, uint32_t ref, const struct payload_list *list)
{
    struct marks *m = ctx;

    (void)list;
    if (m->n == m->cap) {
        m->cap = m->cap == 0 ? 64 : 2 * m->cap;
        m->items = xrealloc(m->items, m->cap * sizeof *m->items);
    }
    m->items[m->n++] = (struct marked){index_series(m->db->index, ref)->id, ref};
}

static int marked_cmp(const void *a, const void *b)
{
    const struct marked *x = a;
    const struct marked *y = b;

    return x->id < y->id ? -1 : x->id > y->id;
}

static int write_marked(struct db *db, const struct marks *m, int64_t bucket, const char *name)
{
    struct payload_list list = {0};
    struct store_bulk *bulk;
    int r = store_bulk_begin(db->store, STORE_SAMPLES, slice_str(name), &bulk);

    if (r < 0)
        return r;
    for (size_t i = 0; i < m->n && r == 0; i++) {
        payload_list_clear(&list);
        pthread_rwlock_rdlock(&db->lock);
        payloads_read(db->payloads, m->items[i].ref, bucket * BUCKET_MS,
                      (bucket + 1) * BUCKET_MS - 1, &list);
        pthread_rwlock_unlock(&db->lock);
        r = payload_rows_put(bulk, m->items[i].id, &list);
    }
    payload_list_done(&list);
    if (r < 0) {
        store_bulk_free(bulk);
        return r;
    }
    return store_bulk_commit(bulk);
}

int payload_run_write(struct db *db, int64_t bucket, const char *run_part, bool *ret_any)
{
    struct marks m = {.db = db};
    char name[RUN_NAME_MAX];
    int r = 0;

    beside_name(name, BESIDE_PAYLOADS, run_part);
    pthread_rwlock_wrlock(&db->lock);
    payloads_mark(db->payloads, bucket * BUCKET_MS, (bucket + 1) * BUCKET_MS, mark, &m);
    pthread_rwlock_unlock(&db->lock);
    if (m.n > 0) {
        qsort(m.items, m.n, sizeof *m.items, marked_cmp);
        r = write_marked(db, &m, bucket, name);
    }
    *ret_any = m.n > 0 && r == 0;
    free(m.items);
    return r;
}

struct orphans {
    struct db *db;
    enum run_beside what;
    struct buf names; /* each with its NUL */
};

static int load_beside(void *ctx, struct slice part)
{
    struct orphans *o = ctx;
    char name[RUN_NAME_MAX];

    for (size_t i = 0; i < o->db->n_runs; i++) {
        beside_name(name, o->what, o->db->runs[i].part);
        if (slice_eq(slice_str(name), part)) {
            o->db->runs[i].beside |= o->what;
            return 0;
        }
    }
    buf_add_slice(&o->names, part);
    buf_add_char(&o->names, 0);
    return 0;
}

int beside_load(struct db *db, enum run_beside what)
{
    struct orphans o = {.db = db, .what = what};
    int r = store_bulk_partitions(db->store, STORE_SAMPLES, slice_str(prefix_of(what)),
                                  load_beside, &o);

    for (size_t at = 0; r == 0 && at < o.names.len; at += strlen(o.names.data + at) + 1)
        r = store_bulk_drop(db->store, STORE_SAMPLES, slice_str(o.names.data + at));
    buf_done(&o.names);
    return r;
}
