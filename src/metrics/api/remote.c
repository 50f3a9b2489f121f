#include "metrics/api/remote.h"

#include "base/proto.h"
#include "base/utf8.h"
#include "metrics/histogram_proto.h"

#include <errno.h>
#include <stdlib.h>

static int read_label(struct slice in, struct label *ret)
{
    struct proto_field f;
    int r;

    *ret = (struct label){SLICE(""), SLICE("")};
    while ((r = proto_next(&in, &f)) > 0) {
        if (f.wire != PROTO_BYTES)
            continue;
        if (f.number == 1)
            ret->name = f.bytes;
        else if (f.number == 2)
            ret->value = f.bytes;
    }
    return r;
}

static void say_labels(struct buf *why, const char *what, const struct labels *l)
{
    buf_add_str(why, what);
    labels_print(why, l);
}

static bool labels_good(struct labels *l, struct buf *why)
{
    const struct label *twice;
    bool legible = true;

    for (size_t i = 0; i < l->n; i++)
        legible = legible && l->items[i].name.len > 0 && utf8_valid(l->items[i].name) &&
                  utf8_valid(l->items[i].value);
    if (!legible) {
        buf_add_str(why, "invalid metric name or labels: a name is empty or not UTF-8");
        return false;
    }
    labels_sort(l);
    twice = labels_duplicate(l);
    if (labels_get(l, LABEL_NAME).len == 0) {
        say_labels(why, "invalid metric name or labels, got ", l);
    } else if (twice != NULL) {
        say_labels(why, "invalid labels for series, labels ", l);
        buf_printf(why, ", duplicated label %.*s", (int)twice->name.len,
                   (const char *)twice->name.data);
    } else if (labels_bytes(l) > LABELS_BYTES_MAX) {
        buf_printf(why, "labels of %zu bytes on one series; the limit is %u", labels_bytes(l),
                   LABELS_BYTES_MAX);
    } else {
        return true;
    }
    return false;
}

/* Labels by the numbers of their symbols, in pairs. */
struct references {
    const struct remote *r;
    struct label *room;
    struct labels *labels;
    uint64_t name;
    size_t n;
    bool bad, many;
};

static void take_reference(void *ctx, uint64_t v)
{
    struct references *refs = ctx;
    const struct remote *r = refs->r;

    if (v >= r->n_symbols) {
        refs->bad = true;
    } else if (refs->n++ % 2 == 0) {
        refs->name = v;
    } else if (r->symbols[v].len > 0) {
        if (refs->labels->n < LABELS_MAX)
            refs->room[refs->labels->n++] = (struct label){r->symbols[refs->name], r->symbols[v]};
        else
            refs->many = true;
    }
}

/* The labels in a message of 2.0: 1; 0 with a reason; -EINVAL. */
static int read_references(struct remote *r, struct slice in, struct label *room,
                           struct labels *ret)
{
    struct references refs = {.r = r, .room = room, .labels = ret};
    struct proto_field f;
    int e;

    *ret = (struct labels){.items = room};
    while ((e = proto_next(&in, &f)) > 0) {
        if (f.number != 1)
            continue;
        if (proto_count(&f, PROTO_VARINT) < 0)
            return -EINVAL;
        proto_numbers(&f, PROTO_VARINT, take_reference, &refs);
    }
    if (e < 0)
        return e;
    if (refs.bad || refs.n % 2 != 0)
        buf_printf(&r->why, "parsing labels for series: %s (size %zu)",
                   refs.bad ? "a label reference is outside of the symbols table"
                            : "an odd number of label references",
                   r->n_symbols);
    else if (refs.many)
        buf_printf(&r->why, "a series has more than %d labels", LABELS_MAX);
    else
        return 1;
    return 0;
}

static struct slice symbol_of(const struct remote *r, uint64_t ref)
{
    return ref < r->n_symbols ? r->symbols[ref] : SLICE("");
}

/* What a series of 2.0 says of its metric. */
static int read_own_metadata(struct remote *r)
{
    struct slice rest = r->series_bytes;
    struct proto_field f;
    int e;

    r->metadata = (struct remote_metadata){0, SLICE(""), SLICE(""), SLICE("")};
    while ((e = proto_next(&rest, &f)) > 0) {
        struct slice in = f.bytes;

        if (f.number != 5 || f.wire != PROTO_BYTES)
            continue;
        r->metadata.metric = labels_get(&r->series.labels, LABEL_NAME);
        while ((e = proto_next(&in, &f)) > 0) {
            if (f.number == 1 && f.wire == PROTO_VARINT)
                r->metadata.type = f.value;
            else if (f.number == 3 && f.wire == PROTO_VARINT)
                r->metadata.help = symbol_of(r, f.value);
            else if (f.number == 4 && f.wire == PROTO_VARINT)
                r->metadata.unit = symbol_of(r, f.value);
        }
        if (e < 0)
            return e;
    }
    if (!utf8_valid(r->metadata.help) || !utf8_valid(r->metadata.unit))
        r->metadata.metric = SLICE("");
    return e;
}

static int remote_references(struct remote *r)
{
    int e = read_references(r, r->series_bytes, r->room, &r->series.labels);

    if (e <= 0)
        return e;
    if (!labels_good(&r->series.labels, &r->why))
        return 0;
    e = read_own_metadata(r);
    return e < 0 ? e : 1;
}

/* The labels in a message of 1.0, in field 1: 1; 0: too many; -EINVAL. */
static int read_labels(struct slice in, struct label *room, struct labels *ret)
{
    struct proto_field f;
    bool good = true;
    int e;

    *ret = (struct labels){.items = room};
    while ((e = proto_next(&in, &f)) > 0) {
        if (f.number != 1 || f.wire != PROTO_BYTES)
            continue;
        if (ret->n == LABELS_MAX) {
            good = false;
            continue;
        }
        if (read_label(f.bytes, &room[ret->n]) < 0)
            return -EINVAL;
        ret->n += room[ret->n].value.len > 0;
    }
    return e < 0 ? e : good;
}

int remote_labels(struct remote *r)
{
    int e;

    buf_clear(&r->why);
    if (r->version == REMOTE_2)
        return remote_references(r);
    e = read_labels(r->series_bytes, r->room, &r->series.labels);
    return e <= 0 ? e : labels_good(&r->series.labels, &r->why);
}

/* Where the labels end and the samples begin, as every sender orders them. */
static int read_series(struct remote *r, struct slice in)
{
    struct slice rest = in;
    struct slice before = in;
    struct proto_field f;
    int e;

    r->series_bytes = in;
    r->series = (struct remote_series){.raw = SLICE(""), .rest = in};
    if (r->version == REMOTE_2)
        return 1;
    while ((e = proto_next(&rest, &f)) > 0 && f.number == 1)
        before = rest;
    if (e < 0)
        return e;
    r->series.rest = before;
    r->series.raw = slice_of(in.data, in.len - before.len);
    while (e > 0 && f.number != 1)
        e = proto_next(&rest, &f);
    if (e > 0) { /* a label behind a sample */
        r->series.raw = SLICE("");
        r->series.rest = in;
    }
    return e < 0 ? e : 1;
}

static int read_metadata(struct remote *r, struct slice in)
{
    struct proto_field f;
    int e;

    r->metadata =
        (struct remote_metadata){.metric = SLICE(""), .help = SLICE(""), .unit = SLICE("")};
    while ((e = proto_next(&in, &f)) > 0) {
        if (f.number == 1 && f.wire == PROTO_VARINT)
            r->metadata.type = f.value;
        else if (f.number == 2 && f.wire == PROTO_BYTES)
            r->metadata.metric = f.bytes;
        else if (f.number == 4 && f.wire == PROTO_BYTES)
            r->metadata.help = f.bytes;
        else if (f.number == 5 && f.wire == PROTO_BYTES)
            r->metadata.unit = f.bytes;
    }
    return e < 0 ? e
                 : r->metadata.metric.len > 0 && utf8_valid(r->metadata.metric) &&
                       utf8_valid(r->metadata.help) && utf8_valid(r->metadata.unit);
}

static int read_symbols(struct remote *r, struct slice message)
{
    struct slice in = message;
    struct proto_field f;
    size_t n = 0;
    int e;

    while ((e = proto_next(&in, &f)) > 0)
        n += f.number == 4 && f.wire == PROTO_BYTES;
    if (e < 0)
        return e;
    if (n > REMOTE_SYMBOLS_MAX)
        return -EFBIG;
    r->symbols = malloc((n + 1) * sizeof *r->symbols);
    if (r->symbols == NULL)
        return -ENOMEM;
    in = message;
    while (proto_next(&in, &f) > 0)
        if (f.number == 4 && f.wire == PROTO_BYTES)
            r->symbols[r->n_symbols++] = f.bytes;
    return 0;
}

int remote_init(struct remote *r, enum remote_version version, struct slice message)
{
    r->version = version;
    r->in = message;
    r->symbols = NULL;
    r->n_symbols = 0;
    r->why = (struct buf){0};
    return version == REMOTE_2 ? read_symbols(r, message) : 0;
}

void remote_done(struct remote *r)
{
    free(r->symbols);
    buf_done(&r->why);
}

int remote_next(struct remote *r)
{
    uint64_t series = r->version == REMOTE_2 ? 5 : 1;
    struct proto_field f;
    int e;

    while ((e = proto_next(&r->in, &f)) > 0) {
        if (f.wire != PROTO_BYTES ||
            (f.number != series && (f.number != 3 || r->version == REMOTE_2)))
            continue;
        e = f.number == series ? read_series(r, f.bytes) : read_metadata(r, f.bytes);
        if (e != 0)
            return e < 0 ? e : f.number == series ? REMOTE_SERIES : REMOTE_METADATA;
    }
    return e < 0 ? e : REMOTE_END;
}

int remote_sample_next(struct slice *rest, struct remote_sample *ret)
{
    struct proto_field f;
    int e;

    while ((e = proto_next(rest, &f)) > 0) {
        struct slice in = f.bytes;

        if (f.number != 2 || f.wire != PROTO_BYTES)
            continue;
        *ret = (struct remote_sample){0};
        while ((e = proto_next(&in, &f)) > 0) {
            if (f.number == 1 && f.wire == PROTO_FIXED64)
                ret->bits = f.value;
            else if (f.number == 2 && f.wire == PROTO_VARINT)
                ret->ts_ms = (int64_t)f.value;
            else if (f.number == 3 && f.wire == PROTO_VARINT)
                ret->start_ms = (int64_t)f.value;
        }
        return e < 0 ? e : 1;
    }
    return e;
}

int remote_histogram_next(const struct remote *r, struct slice *rest, struct histogram **ret,
                          struct histogram_times *ret_times)
{
    uint64_t number = r->version == REMOTE_2 ? 3 : 4;
    struct proto_field f;
    int e;

    while ((e = proto_next(rest, &f)) > 0) {
        if (f.number != number || f.wire != PROTO_BYTES)
            continue;
        e = histogram_from_proto(f.bytes, &histogram_remote, ret, ret_times);
        return e < 0 ? e : 1;
    }
    return e;
}

int remote_exemplar_next(struct remote *r, struct slice *rest, struct remote_exemplar *ret)
{
    uint64_t number = r->version == REMOTE_2 ? 4 : 3;
    struct proto_field f;
    int e;

    while ((e = proto_next(rest, &f)) > 0) {
        struct slice in = f.bytes;
        struct slice message = f.bytes;

        if (f.number != number || f.wire != PROTO_BYTES)
            continue;
        *ret = (struct remote_exemplar){0};
        while ((e = proto_next(&in, &f)) > 0) {
            if (f.number == 2 && f.wire == PROTO_FIXED64)
                ret->bits = f.value;
            else if (f.number == 3 && f.wire == PROTO_VARINT)
                ret->ts_ms = (int64_t)f.value;
        }
        if (e == 0)
            e = r->version == REMOTE_2
                    ? read_references(r, message, r->exemplar_room, &ret->labels)
                    : read_labels(message, r->exemplar_room, &ret->labels);
        if (e == 0)
            ret->labels.n = 0;
        labels_sort(&ret->labels);
        return e < 0 ? e : 1;
    }
    return e;
}
