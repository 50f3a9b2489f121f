#include "metrics/scrape/push.h"

#include "base/alloc.h"
#include "base/codec.h"
#include "store/store.h"

#include <errno.h>
#include <stdlib.h>

#define PART        SLICE("metrics/push")
#define CHUNK_BYTES 60000u /* of a row */

void pushes_init(struct pushes *p)
{
    autobuf why = {0};

    *p = (struct pushes){0};
    if (jobs_parse(SLICE("global: {scrape_interval: 1m}\n"
                         "scrape_configs: [{job_name: push, honor_labels: true}]"),
                   NULL, &p->jobs, &why) < 0)
        abort();
    p->jobs->items[0]->pushed = true;
}

static void push_free(struct push *push)
{
    free(push->name);
    buf_done(&push->text);
    target_free(push->target);
    free(push);
}

void pushes_done(struct pushes *p)
{
    for (size_t i = 0; i < p->n; i++)
        push_free(p->items[i]);
    free(p->items);
    jobs_unref(p->jobs);
    *p = (struct pushes){0};
}

static size_t place_of(const struct pushes *p, const char *name)
{
    size_t low = 0;
    size_t high = p->n;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (strcmp(p->items[middle]->name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct push *pushes_find(const struct pushes *p, const char *name)
{
    size_t at = place_of(p, name);

    return at < p->n && strcmp(p->items[at]->name, name) == 0 ? p->items[at] : NULL;
}

static struct target *target_of(struct jobs *jobs, const char *name)
{
    struct target *t = xcalloc(1, sizeof *t);

    t->jobs = jobs_ref(jobs);
    t->job = jobs->items[0];
    pairs_add(&t->labels, "instance", name);
    pairs_add(&t->labels, "job", t->job->name);
    t->url = xstrdup("");
    t->interval_ms = t->timeout_ms = PUSH_STEP_MS;
    for (unsigned i = 0; i < REPORTS; i++)
        t->report_refs[i] = SERIES_NONE;
    t->note_metadata = true;
    return t;
}

struct push *pushes_set(struct pushes *p, const char *name, struct slice text, int64_t pushed_ms)
{
    struct push *push = pushes_find(p, name);

    if (push == NULL) {
        size_t at = place_of(p, name);

        push = xcalloc(1, sizeof *push);
        push->name = xstrdup(name);
        push->target = target_of(p->jobs, name);
        p->items = xrealloc(p->items, (p->n + 1) * sizeof(struct push *));
        memmove(p->items + at + 1, p->items + at, (p->n++ - at) * sizeof(struct push *));
        p->items[at] = push;
    }
    buf_clear(&push->text);
    buf_add_slice(&push->text, text);
    push->pushed_ms = pushed_ms;
    push->target->due_ms = pushed_ms;
    return push;
}

void pushes_drop(struct pushes *p, struct push *push)
{
    size_t at = place_of(p, push->name);

    memmove(p->items + at, p->items + at + 1, (--p->n - at) * sizeof(struct push *));
    push_free(push);
}

const char *push_content_type(struct slice text)
{
    static const char end[] = "# EOF";
    size_t n = text.len;

    while (n > 0 && ((const char *)text.data)[n - 1] == '\n')
        n--;
    return n >= sizeof end - 1 &&
                   memcmp((const char *)text.data + n - (sizeof end - 1), end, sizeof end - 1) == 0
               ? "application/openmetrics-text; version=1.0.0"
               : "text/plain; version=0.0.4";
}

int push_check(struct slice text, struct buf *why)
{
    struct exposition *x = xcalloc(1, sizeof *x);
    enum exposition_format format = EXPOSITION_TEXT;
    struct op op;
    int r = exposition_format_of(push_content_type(text), &format, why);

    op_init(&op, DOOR_INTERNAL, NULL);
    exposition_init(x, format, text);
    while (r == 0 && (r = exposition_next(x)) > 0) {
        struct labels l;

        r = r == EXPOSITION_SAMPLE ? exposition_labels(x, &op, &l) : 0;
    }
    if (r < 0) {
        unsigned line = 1;

        for (const char *p = text.data; p < x->start; p++)
            line += *p == '\n';
        buf_printf(why, "line %u: %s", line, x->why.len > 0 ? x->why.data : "not an exposition");
    }
    exposition_done(x);
    op_done(&op);
    free(x);
    return r < 0 ? -EINVAL : 0;
}

/* Rows: key name, NUL, number (4); the first begins with the time (8), the rest is text. */

static void row_key(struct buf *key, const char *name, uint32_t number)
{
    uint8_t raw[4];

    be32_put(raw, number);
    buf_clear(key);
    buf_add_str(key, name);
    buf_add_char(key, 0);
    buf_add(key, raw, sizeof raw);
}

static int put_rows(struct store *s, const char *name, const struct slice *text, int64_t pushed_ms)
{
    struct store_batch *batch = store_batch_new(s, PART);
    size_t at = 0;

    for (uint32_t i = 0; i <= PUSH_BYTES_MAX / CHUNK_BYTES; i++) {
        autobuf key = {0};
        autobuf value = {0};
        uint8_t raw[8];
        size_t n = 0;

        row_key(&key, name, i);
        if (text != NULL)
            n = text->len - at < CHUNK_BYTES ? text->len - at : CHUNK_BYTES;
        if (text == NULL || (i > 0 && n == 0)) {
            store_batch_delete(batch, buf_slice(&key));
            continue;
        }
        be64_put(raw, (uint64_t)pushed_ms);
        if (i == 0)
            buf_add(&value, raw, sizeof raw);
        buf_add(&value, (const char *)text->data + at, n);
        store_batch_put(batch, buf_slice(&key), buf_slice(&value));
        at += n;
    }
    return store_commit(batch, STORE_DURABLE);
}

int push_store(struct store *s, const char *name, struct slice text, int64_t pushed_ms)
{
    return text.len > PUSH_BYTES_MAX ? -EFBIG : put_rows(s, name, &text, pushed_ms);
}

int push_forget(struct store *s, const char *name)
{
    return put_rows(s, name, NULL, 0);
}

int pushes_load(struct pushes *p, struct store *s)
{
    struct store_scan *scan = NULL;
    struct slice key;
    struct slice value;
    int r = store_scan(s, PART, SLICE(""), SLICE(""), 0, &scan);

    while (r == 0 && (r = store_scan_next(scan, &key, &value)) > 0) {
        const char *name = key.data;
        const char *end = memchr(name, 0, key.len);
        struct push *push;

        r = 0;
        if (end == NULL || key.len != (size_t)(end - name) + 5)
            continue; /* damaged: it is written anew or stays unseen */
        if (be32_get((const uint8_t *)end + 1) > 0) {
            push = pushes_find(p, name);
            if (push != NULL)
                buf_add_slice(&push->text, value);
        } else if (value.len >= 8) {
            pushes_set(p, name, slice_skip(value, 8), (int64_t)be64_get(value.data));
        }
    }
    store_scan_free(scan);
    return r;
}
