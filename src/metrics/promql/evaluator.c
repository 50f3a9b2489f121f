/* The memory and the limits of one evaluation, and its rows. */
#include "metrics/promql/evaluator.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/hot.h"
#include "base/scope.h"
#include "metrics/promql/labelset.h"

#include <errno.h>
#include <stdlib.h>

#define CHUNK_BYTES (64u << 10)
#define BYTES_MAX   (2ull << 30)

struct mem_chunk {
    struct mem_chunk *next;
    char bytes[];
};

static void set_failure(struct evaluator *ev, int r)
{
    int none = 0;

    __atomic_compare_exchange_n(&ev->failure, &none, r, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

static void add_bytes(struct evaluator *ev, uint64_t n)
{
    uint64_t max = ev->ev->bytes_max > 0 ? ev->ev->bytes_max : BYTES_MAX;
    uint64_t now = __atomic_add_fetch(&ev->bytes, n, __ATOMIC_RELAXED);
    uint64_t peak = __atomic_load_n(&ev->bytes_peak, __ATOMIC_RELAXED);

    while (now > peak && !__atomic_compare_exchange_n(&ev->bytes_peak, &peak, now, true,
                                                      __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
    if (now > max)
        set_failure(ev, -E2BIG);
}

static void sub_bytes(struct evaluator *ev, uint64_t n)
{
    __atomic_sub_fetch(&ev->bytes, n, __ATOMIC_RELAXED);
}

void *mem_get(struct mem *m, size_t n)
{
    void *p;

    n = (n + 15) & ~(size_t)15;
    if (n > m->left) {
        size_t size = n > CHUNK_BYTES / 4 ? n : CHUNK_BYTES;
        struct mem_chunk *c = xcalloc(1, sizeof *c + size + 16);
        char *bytes = (char *)(((uintptr_t)c->bytes + 15) & ~(uintptr_t)15);

        add_bytes(m->ev, size);
        pthread_mutex_lock(&m->ev->lock);
        c->next = m->ev->chunks;
        m->ev->chunks = c;
        pthread_mutex_unlock(&m->ev->lock);
        if (size == n)
            return bytes;
        m->at = bytes;
        m->left = size;
    }
    p = m->at;
    m->at += n;
    m->left -= n;
    return p;
}

struct slice mem_slice(struct mem *m, struct slice s)
{
    char *copy = mem_get(m, s.len + 1);

    if (s.len > 0)
        memcpy(copy, s.data, s.len);
    return slice_of(copy, s.len);
}

struct labels mem_labels(struct mem *m, const struct labels *l)
{
    struct labels copy = {mem_get(m, (l->n + 1) * sizeof *copy.items), l->n};

    if (l->n > 0)
        memcpy(copy.items, l->items, l->n * sizeof *copy.items);
    return copy;
}

int eval_fail(struct evaluator *ev, const char *format, ...)
{
    va_list args;

    guard(&ev->lock);
    if (ev->why->len == 0) {
        va_start(args, format);
        buf_vprintf(ev->why, format, args);
        va_end(args);
    }
    set_failure(ev, -EBADMSG);
    return -EBADMSG;
}

#define ASK_MS 3 /* asking for the client costs a system call */

int eval_check(struct evaluator *ev)
{
    const struct eval *e = ev->ev;
    int r = __atomic_load_n(&ev->failure, __ATOMIC_RELAXED);
    int64_t now_ms;

    if (r != 0 || (e->deadline_ms <= 0 && e->cancelled == NULL))
        return r;
    now_ms = clock_monotonic_ms();
    if (e->deadline_ms > 0 && now_ms > e->deadline_ms) {
        set_failure(ev, -ETIMEDOUT);
    } else if (e->cancelled != NULL && now_ms >= __atomic_load_n(&ev->ask_ms, __ATOMIC_RELAXED)) {
        __atomic_store_n(&ev->ask_ms, now_ms + ASK_MS, __ATOMIC_RELAXED);
        if (e->cancelled(e->ctx))
            set_failure(ev, -ECANCELED);
    }
    return __atomic_load_n(&ev->failure, __ATOMIC_RELAXED);
}

size_t eval_threads(size_t rows, size_t cells)
{
    return rows * cells < EVAL_RUN ? 1 : cores_count();
}

void eval_count(struct evaluator *ev, size_t series, size_t samples)
{
    __atomic_add_fetch(&ev->samples_read, samples, __ATOMIC_RELAXED);
    __atomic_add_fetch(&ev->series_touched, series, __ATOMIC_RELAXED);
}

void eval_looked(struct evaluator *ev, size_t samples)
{
    __atomic_add_fetch(&ev->samples_total, samples, __ATOMIC_RELAXED);
}

/* Samples held: the cells of rows; one without a value takes its place all the same. */
static void hold(struct evaluator *ev, size_t n)
{
    uint64_t now = __atomic_add_fetch(&ev->samples_now, n, __ATOMIC_RELAXED);
    uint64_t peak = __atomic_load_n(&ev->samples_peak, __ATOMIC_RELAXED);

    while (now > peak && !__atomic_compare_exchange_n(&ev->samples_peak, &peak, now, true,
                                                      __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        ;
    if (ev->ev->samples_max > 0 && now > ev->ev->samples_max)
        set_failure(ev, -E2BIG);
    add_bytes(ev, n * sizeof(double));
}

bool cells_fit(struct evaluator *ev, size_t n)
{
    uint64_t bytes = ev->ev->bytes_max > 0 ? ev->ev->bytes_max : BYTES_MAX;

    if (n <= bytes / sizeof(double) && (ev->ev->samples_max == 0 || n <= ev->ev->samples_max))
        return true;
    set_failure(ev, -E2BIG);
    return false;
}

HOT void cells_fill(double *cells, size_t n)
{
    for (size_t i = 0; i < n; i++)
        cells[i] = ABSENT;
}

double *cells_new(struct evaluator *ev, size_t n)
{
    double *v;

    hold(ev, n);
    if (__atomic_load_n(&ev->failure, __ATOMIC_RELAXED) != 0) {
        cells_free(ev, NULL, n);
        return NULL;
    }
    v = malloc((n + 1) * sizeof *v);
    if (v == NULL) {
        set_failure(ev, -E2BIG);
        cells_free(ev, NULL, n);
        return NULL;
    }
    cells_fill(v, n);
    return v;
}

void cells_free(struct evaluator *ev, double *cells, size_t n)
{
    free(cells);
    __atomic_sub_fetch(&ev->samples_now, n, __ATOMIC_RELAXED);
    sub_bytes(ev, n * sizeof(double));
}

struct point *points_new(struct evaluator *ev, size_t n)
{
    struct point *p = NULL;

    hold(ev, n);
    add_bytes(ev, n * (sizeof *p - sizeof(double)));
    if (__atomic_load_n(&ev->failure, __ATOMIC_RELAXED) == 0)
        p = malloc((n + 1) * sizeof *p);
    if (p == NULL)
        set_failure(ev, -E2BIG);
    return p;
}

const struct histogram **cells_histograms(struct evaluator *ev, size_t n)
{
    add_bytes(ev, n * sizeof(void *));
    return xcalloc(n + 1, sizeof(struct histogram *));
}

void row_done(struct evaluator *ev, struct row *r, size_t n)
{
    if (r->v != NULL)
        cells_free(ev, r->v, n);
    r->v = NULL;
    row_drop_histograms(ev, r, n);
}

bool row_is_empty(const struct row *r, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (row_has(r, i))
            return false;
    return true;
}

bool row_has_histograms(const struct row *r, size_t n)
{
    for (size_t i = 0; i < n && r->h != NULL; i++)
        if (r->h[i] != NULL)
            return true;
    return false;
}

void row_drop_histograms(struct evaluator *ev, struct row *r, size_t n)
{
    if (r->h == NULL)
        return;
    free(r->h);
    r->h = NULL;
    sub_bytes(ev, n * sizeof(void *));
}

void vector_push(struct vector *v, struct row r)
{
    if (v->n == v->cap) {
        v->cap = v->cap == 0 ? 16 : 2 * v->cap;
        v->rows = xrealloc(v->rows, v->cap * sizeof *v->rows);
    }
    v->rows[v->n++] = r;
}

struct row *vector_add(struct evaluator *ev, struct vector *v, size_t n_cells)
{
    struct row r = {.v = cells_new(ev, n_cells)};

    if (r.v == NULL)
        return NULL;
    vector_push(v, r);
    return &v->rows[v->n - 1];
}

void vector_done(struct evaluator *ev, struct vector *v, size_t n_cells)
{
    for (size_t i = 0; i < v->n; i++)
        row_done(ev, &v->rows[i], n_cells);
    free(v->rows);
    *v = (struct vector){0};
}

void vector_compact(struct evaluator *ev, struct vector *v, size_t n_cells)
{
    size_t kept = 0;

    for (size_t i = 0; i < v->n; i++) {
        if (v->rows[i].v == NULL || row_is_empty(&v->rows[i], n_cells))
            row_done(ev, &v->rows[i], n_cells);
        else
            v->rows[kept++] = v->rows[i];
    }
    v->n = kept;
}

static int merge_row(struct evaluator *ev, struct row *into, struct row *from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!row_has(from, i))
            continue;
        if (row_has(into, i))
            return eval_fail(ev, DUPLICATE_TEXT);
        into->v[i] = from->v[i];
        if (from->h == NULL || from->h[i] == NULL)
            continue;
        if (into->h == NULL)
            into->h = cells_histograms(ev, n);
        into->h[i] = from->h[i];
    }
    row_done(ev, from, n);
    return 0;
}

int vector_merge(struct evaluator *ev, struct vector *v, size_t n_cells)
{
    struct mem m = {.ev = ev};
    struct label_index x;
    size_t kept = 0;
    int r = 0;

    if (v->n < 2)
        return 0;
    vector_compact(ev, v, n_cells);
    label_index_init(&x, &m);
    for (size_t i = 0; i < v->n && r == 0; i++) {
        size_t at = label_index_put(&x, &v->rows[i].labels);

        if (at < kept) {
            r = merge_row(ev, &v->rows[at], &v->rows[i], n_cells);
        } else {
            struct row row = v->rows[i];

            v->rows[i].v = NULL;
            v->rows[i].h = NULL;
            v->rows[kept++] = row;
        }
    }
    label_index_done(&x);
    if (r == 0)
        v->n = kept;
    return r;
}

void mem_chunks_free(struct mem_chunk *c)
{
    while (c != NULL) {
        struct mem_chunk *next = c->next;

        free(c);
        c = next;
    }
}
