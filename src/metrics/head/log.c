/* Records of the log:
 *   1, then for each new series its id and labels.
 *   2, the number of samples, the time of all, then for each: a byte (value bytes << 4 | id delta,
 * 15: the delta follows as a varint), the leading bytes of the value up to its last that is not 0.
 *   3, the same with a varint before each byte: the time as a delta to the one before.
 *   4, payloads of samples in the next records: for each the id, time, length, bytes.
 *   5, start times, behind their length, and then as 3: for each that is known which sample it is
 * of, behind the one before, and the start as a delta to the one before.
 *   16: the clock was set back; what follows is behind nothing before it. */
#include "base/alloc.h"
#include "base/codec.h"
#include "metrics/head/db_internal.h"
#include "metrics/head/decimal.h"

#include <errno.h>
#include <stdlib.h>

enum {
    RECORD_SERIES = 1,
    RECORD_SAMPLES = 2,
    RECORD_TIMED = 3,
    RECORD_PAYLOADS = 4,
    RECORD_STARTED = 5,
    RECORD_ANEW = 16
};

#define RECORD_BYTES 900000u /* a record may have 1 MiB */
#define SAMPLE_BYTES 32u     /* the most that one takes */
#define START_BYTES  16u     /* and its start */

/* The series that are not logged, as many as a record holds; moves db->n_logged on. */
void log_put_series(struct db *db, struct buf *record)
{
    size_t n = index_count(db->index);

    buf_add_char(record, RECORD_SERIES);
    while (db->n_logged < n && record->len < RECORD_BYTES) {
        const struct series *s = index_series(db->index, db->n_logged++);
        struct label room[LABELS_MAX + 1];
        struct labels l = index_labels(db->index, s, room);

        if (s->gone)
            continue;
        varint_put(record, s->id);
        labels_encode(record, &l);
    }
}

static void put_value(uint8_t **p, uint64_t id_delta, uint64_t bits)
{
    uint8_t *head = (*p)++;
    unsigned n = 0;
    uint64_t rest = bits;

    while (rest != 0) {
        rest <<= 8;
        n++;
    }
    *head = (uint8_t)(n << 4 | (id_delta < 15 ? id_delta : 15));
    if (id_delta >= 15) {
        for (; id_delta >= 0x80; id_delta >>= 7)
            *(*p)++ = (uint8_t)(id_delta | 0x80);
        *(*p)++ = (uint8_t)id_delta;
    }
    for (unsigned i = 0; i < n; i++)
        *(*p)++ = (uint8_t)(bits >> (56 - 8 * i));
}

static bool same_time(const struct db_sample *s, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (s[i].ts_ms != s[0].ts_ms)
            return false;
    return true;
}

/* The starts of the samples before `end`. */
static void put_starts(const struct start_cursor *starts, size_t done, size_t end,
                       struct buf *record)
{
    autobuf list = {0};
    int64_t before = 0;

    for (size_t i = 0; i < starts->left && starts->next[i].sample < end; i++) {
        const struct db_start *s = &starts->next[i];

        varint_put(&list, s->sample - done);
        varint_put(&list, zigzag((int64_t)((uint64_t)s->start_ms - (uint64_t)before)));
        done = s->sample;
        before = s->start_ms;
    }
    varint_put(record, list.len);
    buf_add_slice(record, buf_slice(&list));
}

size_t log_put_samples(struct db *db, const struct db_batch *batch, size_t done,
                       const struct start_cursor *starts, struct buf *record)
{
    const struct db_sample *s = batch->samples + done;
    bool started = starts->left > 0;
    size_t room = RECORD_BYTES / (SAMPLE_BYTES + (started ? START_BYTES : 0));
    size_t n = batch->n - done < room ? batch->n - done : room;
    bool timed = started || !same_time(s, n);
    uint64_t id = 0;
    int64_t ts = s[0].ts_ms;
    uint8_t *p;

    buf_add_char(record, started ? RECORD_STARTED : timed ? RECORD_TIMED : RECORD_SAMPLES);
    if (started)
        put_starts(starts, done, done + n, record);
    varint_put(record, n);
    varint_put(record, zigzag(ts));
    buf_reserve(record, n * SAMPLE_BYTES);
    p = (uint8_t *)record->data + record->len;
    for (size_t i = 0; i < n; i++) {
        uint64_t next = index_series(db->index, s[i].ref)->id;

        if (timed) {
            uint64_t step = zigzag(s[i].ts_ms - ts);

            for (; step >= 0x80; step >>= 7)
                *p++ = (uint8_t)(step | 0x80);
            *p++ = (uint8_t)step;
            ts = s[i].ts_ms;
        }
        put_value(&p, zigzag((int64_t)(next - id)), s[i].bits);
        id = next;
    }
    record->len = (size_t)(p - (uint8_t *)record->data);
    record->data[record->len] = 0;
    return n;
}

bool log_put_payload(struct db *db, const struct db_sample *s, struct slice payload,
                     struct buf *record)
{
    if (record->len == 0)
        buf_add_char(record, RECORD_PAYLOADS);
    varint_put(record, index_series(db->index, s->ref)->id);
    varint_put(record, zigzag(s->ts_ms));
    varint_put(record, payload.len);
    buf_add_slice(record, payload);
    return record->len >= RECORD_BYTES;
}

void log_put_anew(struct buf *record)
{
    buf_add_char(record, RECORD_ANEW);
}

static int replay_payloads(struct db *db, struct slice in)
{
    while (in.len > 0) {
        uint64_t id = 0;
        uint64_t ts = 0;
        uint64_t n = 0;
        struct slice stored;
        const struct payload_list *l;
        uint32_t ref;

        if (varint_get(&in, &id) < 0 || varint_get(&in, &ts) < 0 || varint_get(&in, &n) < 0 ||
            n > in.len)
            return -EIO;
        ref = index_find_id(db->index, id);
        l = ref != SERIES_NONE ? payloads_of(db->payloads, ref) : NULL;
        /* the first of two at one time was taken, the second refused */
        if (ref != SERIES_NONE &&
            (l == NULL || !payload_list_get(l, unzigzag(ts), &stored)))
            payloads_put(db->payloads, ref, unzigzag(ts), slice_of(in.data, (size_t)n));
        in = slice_skip(in, (size_t)n);
    }
    return 0;
}

static int replay_series(struct db *db, struct slice in)
{
    struct op op;
    int r = 0;

    op_init(&op, DOOR_INTERNAL, NULL);
    while (in.len > 0 && r == 0) {
        struct labels l;
        uint64_t id = 0;

        if (varint_get(&in, &id) < 0 || labels_decode(&op, &in, &l) < 0 || l.n > LABELS_MAX + 1)
            r = -EIO;
        else if (index_find_id(db->index, id) == SERIES_NONE)
            index_put(db->index, &l, id);
    }
    op_done(&op);
    return r;
}

static int get_value(struct slice *in, uint64_t *id, uint64_t *ret_bits)
{
    const uint8_t *p = in->data;
    uint64_t delta;
    uint64_t bits = 0;
    unsigned n;

    if (in->len == 0)
        return -EIO;
    delta = *p & 15;
    n = *p >> 4;
    *in = slice_skip(*in, 1);
    if (delta == 15 && varint_get(in, &delta) < 0)
        return -EIO;
    if (n > 8 || in->len < n)
        return -EIO;
    p = in->data;
    for (unsigned i = 0; i < n; i++)
        bits |= (uint64_t)p[i] << (56 - 8 * i);
    *in = slice_skip(*in, n);
    *id += (uint64_t)unzigzag(delta);
    *ret_bits = bits;
    return 0;
}

#define REPLAY_BATCH 256

/* The starts of a record. */
struct replay_starts {
    struct slice rest;
    uint64_t at;   /* samples that were passed */
    uint64_t next; /* that has one; UINT64_MAX: none has */
    int64_t start_ms;
};

static void starts_step(struct replay_starts *s)
{
    uint64_t step = 0;
    uint64_t delta = 0;
    bool any = s->rest.len > 0 && varint_get(&s->rest, &step) == 0 &&
               varint_get(&s->rest, &delta) == 0;

    s->next = any ? s->next + step : UINT64_MAX;
    s->start_ms = (int64_t)((uint64_t)s->start_ms + (uint64_t)unzigzag(delta));
}

static int64_t starts_take(struct replay_starts *s)
{
    int64_t start_ms = s->start_ms;

    if (s->at++ != s->next)
        return 0;
    starts_step(s);
    return start_ms;
}

static void replay_batch(struct db *db, struct db_sample *s, size_t n,
                         struct replay_starts *starts)
{
    for (size_t i = 0; i < n; i++) {
        int64_t start_ms = starts_take(starts);

        db_apply_ahead(db, s, n, i);
        if (s[i].ref != SERIES_NONE)
            db_apply(db, &s[i], NULL, start_ms);
    }
}

static int replay_samples(struct db *db, struct slice in, bool timed, struct slice started)
{
    struct replay_starts starts = {.rest = started};
    struct db_sample batch[REPLAY_BATCH];
    size_t at = 0;
    uint64_t n = 0;
    uint64_t v = 0;
    uint64_t id = 0;
    int64_t ts_ms;
    int r = 0;

    if (varint_get(&in, &n) < 0 || varint_get(&in, &v) < 0)
        return -EIO;
    ts_ms = unzigzag(v);
    starts_step(&starts);
    for (; n > 0 && r == 0; n--) {
        if (timed && (r = varint_get(&in, &v)) == 0)
            ts_ms += unzigzag(v);
        if (r == 0)
            r = get_value(&in, &id, &batch[at].bits);
        if (r < 0)
            break;
        batch[at].ts_ms = ts_ms;
        batch[at++].ref = index_find_id(db->index, id);
        if (at == REPLAY_BATCH) {
            replay_batch(db, batch, at, &starts);
            at = 0;
        }
    }
    replay_batch(db, batch, at, &starts);
    return r < 0 ? -EIO : 0;
}

static int replay_started(struct db *db, struct slice in)
{
    uint64_t n = 0;

    if (varint_get(&in, &n) < 0 || n > in.len)
        return -EIO;
    return replay_samples(db, slice_skip(in, (size_t)n), true, slice_of(in.data, (size_t)n));
}

static int replay_record(void *ctx, uint64_t seq, struct slice record)
{
    struct db *db = ctx;
    int64_t before = db->bucket;
    int r = -EIO;

    if (record.len == 0)
        return -EIO;
    switch (*(const uint8_t *)record.data) {
    case RECORD_SERIES:
        db->series_bytes += record.len;
        r = replay_series(db, slice_skip(record, 1));
        break;
    case RECORD_SAMPLES:
        r = replay_samples(db, slice_skip(record, 1), false, SLICE(""));
        break;
    case RECORD_TIMED:
        r = replay_samples(db, slice_skip(record, 1), true, SLICE(""));
        break;
    case RECORD_PAYLOADS:
        r = replay_payloads(db, slice_skip(record, 1));
        break;
    case RECORD_STARTED:
        r = replay_started(db, slice_skip(record, 1));
        break;
    case RECORD_ANEW:
        streams_begin_anew(db);
        r = 0;
        break;
        break;
    default:
        break;
    }
    if (db->bucket > before) {
        db->bucket_seq = seq;
        db->bucket_bytes = db->log_bytes;
    }
    db->next_seq = seq + 1;
    db->log_bytes += record.len;
    if (r < 0)
        log_line(LOG_ERROR, NULL, "metrics.log.damaged", "seq=%" PRIu64, seq);
    return 0; /* one damaged record must not hide the rest */
}

int log_replay(struct db *db)
{
    int r = store_log_replay(db->log, 0, replay_record, db);

    db->n_logged = (uint32_t)index_count(db->index);
    return r;
}
