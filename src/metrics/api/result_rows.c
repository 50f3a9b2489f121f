#include "metrics/api/result_rows.h"

#include "base/alloc.h"
#include "base/cores.h"
#include "base/json.h"
#include "metrics/promql/print.h"

#include <stdlib.h>
#include <sys/mman.h>

/* [time," of a step, behind a comma; how long it is stands in the last byte. */
#define SLOT_BYTES  32
#define POINT_MAX   (SLOT_BYTES + VALUE_TEXT_MAX + 2)
#define POINTS_RUN  64 /* for which room is asked for at once */
#define BLOCK_BYTES (2u << 20)
#define POINT_LIKE  24 /* bytes of a point, about */
/* What one thread prints at a time; less is not worth a thread. */
#define PART_MIN_BYTES (96u << 10)
#define PART_MAX_BYTES (8u << 20)

struct slot {
    char text[SLOT_BYTES];
};

struct row_times {
    size_t n;
    struct slot slots[];
};

/* What one part of the rows becomes. */
struct part {
    size_t from, to;
    size_t bytes; /* about */
    struct rows_text text;
};

struct printing {
    struct result *r;
    const struct row_times *times;
    struct part *parts;
};

/* The block that is filled. */
struct room {
    char *block;
    size_t len, cap;
    struct rows_text *to;
};

static void add_piece(struct rows_text *t, struct slice piece)
{
    if (t->n == t->cap) {
        t->cap = t->cap == 0 ? 8 : 2 * t->cap;
        t->pieces = xrealloc(t->pieces, t->cap * sizeof *t->pieces);
    }
    t->pieces[t->n++] = piece;
    t->bytes += piece.len;
}

void rows_text_done(struct rows_text *t)
{
    for (size_t i = 0; i < t->n; i++)
        free((void *)(uintptr_t)t->pieces[i].data);
    free(t->pieces);
    *t = (struct rows_text){0};
}

static void flush(struct room *room)
{
    if (room->len > 0)
        add_piece(room->to, slice_of(room->block, room->len));
    else
        free(room->block);
    room->block = NULL;
    room->len = room->cap = 0;
}

/* Large pages: a block is written once, and half the time would go into finding small ones. */
static char *block_new(size_t bytes)
{
    void *block;

    if (bytes < BLOCK_BYTES)
        return xmalloc(bytes);
    bytes = (bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES; /* more only for long labels */
    if (posix_memalign(&block, BLOCK_BYTES, bytes) != 0)
        abort(); /* as base/alloc.h does */
    madvise(block, bytes, MADV_HUGEPAGE);
    return block;
}

/* Where so many bytes may be written. `more`: what may follow them. */
static char *need(struct room *room, size_t bytes, size_t more)
{
    if (room->cap - room->len < bytes) {
        size_t cap = bytes + more < BLOCK_BYTES ? bytes + more : BLOCK_BYTES;

        flush(room);
        room->cap = cap > bytes ? cap : bytes;
        room->block = block_new(room->cap);
    }
    return room->block + room->len;
}

static void put_bytes(struct room *room, struct slice s, size_t more)
{
    char *at = need(room, s.len, more);

    if (s.len > 0)
        memcpy(at, s.data, s.len);
    room->len += s.len;
}

struct row_times *row_times_new(const struct result *r)
{
    struct row_times *t = xmalloc(sizeof *t + r->n_steps * sizeof *t->slots);

    t->n = r->n_steps;
    for (size_t i = 0; i < t->n; i++) {
        char *text = t->slots[i].text;
        char *at = text;

        *at++ = ',';
        *at++ = '[';
        at = time_put(at, r->start_ms + (int64_t)i * r->step_ms);
        *at++ = ',';
        *at++ = '"';
        text[SLOT_BYTES - 1] = (char)(at - text);
    }
    return t;
}

void row_times_free(struct row_times *t)
{
    free(t);
}

bool rows_printable(const struct result *r)
{
    for (size_t i = 0; i < r->n; i++)
        if (r->series[i].cells == NULL)
            return false;
    return r->type == VALUE_MATRIX;
}

/* The value printed last, where it stands: many rows repeat it. */
struct last {
    uint64_t bits;
    const char *text;
    size_t len;
};
#define REPEAT_MAX 32 /* no value is longer */

static char *put_point(char *at, const struct slot *slot, double v, struct last *last)
{
    memcpy(at, slot, sizeof *slot);
    at += slot->text[SLOT_BYTES - 1];
    if (double_bits(v) == last->bits) {
        char text[REPEAT_MAX];

        memcpy(text, last->text, sizeof text); /* the two may overlap */
        memcpy(at, text, sizeof text);
        at += last->len;
    } else {
        char *end = value_put(at, v);

        *last = (struct last){double_bits(v), at, (size_t)(end - at)};
        at = end;
    }
    *at++ = '"';
    *at++ = ']';
    return at;
}

static void print_cells(struct room *room, const struct row_times *times, const double *cells,
                        size_t left)
{
    bool first = true;

    for (size_t i = 0; i < times->n; i += POINTS_RUN) {
        size_t end = i + POINTS_RUN < times->n ? i + POINTS_RUN : times->n;
        char *at = need(room, POINTS_RUN * POINT_MAX, left);
        char *begin = at;
        struct last last = {.bits = CELL_EMPTY};

        for (size_t k = i; k < end; k++) {
            if (double_bits(cells[k]) == CELL_EMPTY)
                continue;
            at = put_point(at, &times->slots[k], cells[k], &last);
            if (first) {
                begin[0] = '['; /* for its comma */
                first = false;
            }
        }
        room->len += (size_t)(at - begin);
    }
}

void print_metric(struct buf *out, const struct labels *labels)
{
    buf_add_str(out, "{\"metric\":{");
    for (size_t i = 0; i < labels->n; i++) {
        buf_add_str(out, i > 0 ? ",\"" : "\"");
        json_escape(out, labels->items[i].name);
        buf_add_str(out, "\":\"");
        json_escape(out, labels->items[i].value);
        buf_add_char(out, '"');
    }
    buf_add_char(out, '}');
}

static size_t row_bytes(const struct result_series *s)
{
    size_t n = 32 + s->n_points * POINT_LIKE;

    for (size_t i = 0; i < s->labels.n; i++)
        n += s->labels.items[i].name.len + s->labels.items[i].value.len + 6;
    return n;
}

size_t rows_bytes(const struct result *r, size_t from, size_t to)
{
    size_t n = 0;

    for (size_t i = from; i < to; i++)
        n += row_bytes(&r->series[i]);
    return n;
}

static void print_part(void *ctx, size_t worker, size_t k)
{
    struct printing *p = ctx;
    struct part *part = &p->parts[k];
    struct room room = {.to = &part->text};
    size_t left = part->bytes;
    autobuf head = {0};

    (void)worker;
    for (size_t i = part->from; i < part->to; i++) {
        struct result_series *s = &p->r->series[i];

        buf_clear(&head);
        if (i > 0)
            buf_add_char(&head, ',');
        print_metric(&head, &s->labels);
        buf_add_str(&head, ",\"values\":");
        put_bytes(&room, buf_slice(&head), left);
        print_cells(&room, p->times, s->cells, left);
        put_bytes(&room, SLICE("]}"), left);
        left -= row_bytes(s);
        free(s->cells);
        s->cells = NULL;
    }
    flush(&room);
}

/* Parts of about the same size, in order. */
static size_t divide(const struct result *r, size_t from, size_t to, size_t threads,
                     struct part **ret)
{
    size_t total = rows_bytes(r, from, to);
    size_t each = total / (2 * threads) + 1;
    size_t n = 0;
    struct part *parts;

    each = each < PART_MIN_BYTES ? PART_MIN_BYTES : each > PART_MAX_BYTES ? PART_MAX_BYTES : each;
    parts = xcalloc(total / each + 2, sizeof *parts);
    for (size_t i = from; i < to; i++) {
        struct part *part = &parts[n];

        if (part->bytes == 0)
            part->from = i;
        part->bytes += row_bytes(&r->series[i]);
        part->to = i + 1;
        if (part->bytes >= each)
            n++;
    }
    *ret = parts;
    return n + (parts[n].bytes > 0);
}

void rows_print(struct result *r, const struct row_times *times, size_t from, size_t to,
                struct rows_text *out)
{
    size_t threads = cores_count();
    struct printing p = {.r = r, .times = times};
    size_t n = divide(r, from, to, threads, &p.parts);

    cores_run(threads, n, print_part, &p);
    for (size_t k = 0; k < n; k++) {
        for (size_t i = 0; i < p.parts[k].text.n; i++)
            add_piece(out, p.parts[k].text.pieces[i]);
        free(p.parts[k].text.pieces);
    }
    free(p.parts);
}
