/* scrub.c: reads every stored blob and compares its digest, at a limited rate, every so often and
 * when asked. Where it is stands in the store, so that it goes on behind a restart. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "base/json.h"
#include "base/scope.h"
#include "base/wait.h"
#include "infrafs/infrafs.h"

#include <ctype.h>
#include <errno.h>

#define PART        SLICE("infrafs")
#define ROW         SLICE("scrub")
#define AT_ONCE     256u         /* digests that are looked up together */
#define PIECE       (256u << 10)
#define SAVE_MS     30000
#define DAMAGED_MAX 100u         /* named; all are counted */

struct scrub {
    struct infrafs *home;
    pthread_t thread;
    bool started;

    /* Guarded by lock: */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop, wanted, aborted;
    bool running;
    int64_t started_unix_ms;  /* of the last run; 0: none yet */
    int64_t finished_unix_ms; /* 0: it is not over */
    uint64_t blobs, bytes, damaged;
    struct digest named[DAMAGED_MAX];

    /* The thread's own: */
    bool has_position;
    struct digest position; /* the last that was looked at */
    int64_t saved_ms;
};

/* The state as a row. */

static void put_digest(struct json *j, const struct digest *d)
{
    char text[DIGEST_TEXT_MAX];

    json_str(j, digest_print(d, text));
}

static int save(struct scrub *s)
{
    struct store_batch *batch;
    autobuf text = {0};
    struct json j;

    json_init(&j, &text);
    pthread_mutex_lock(&s->lock);
    json_object(&j);
    json_ki64(&j, "started", s->started_unix_ms);
    json_ki64(&j, "finished", s->finished_unix_ms);
    json_ku64(&j, "blobs", s->blobs);
    json_ku64(&j, "bytes", s->bytes);
    json_ku64(&j, "damaged", s->damaged);
    if (s->has_position) {
        json_key(&j, "position");
        put_digest(&j, &s->position);
    }
    json_key(&j, "named");
    json_array(&j);
    for (size_t i = 0; i < s->damaged && i < DAMAGED_MAX; i++)
        put_digest(&j, &s->named[i]);
    json_array_end(&j);
    json_object_end(&j);
    pthread_mutex_unlock(&s->lock);
    s->saved_ms = clock_monotonic_ms();
    batch = store_batch_new(s->home->env.store, PART);
    store_batch_put(batch, ROW, buf_slice(&text));
    return store_commit(batch, 0);
}

static int64_t number_of(const json_t *row, const char *key)
{
    return (int64_t)json_integer_value(json_object_get(row, key));
}

static bool take_digest(const json_t *text, struct digest *ret)
{
    const char *s = json_string_value(text);

    return s != NULL && digest_parse(slice_str(s), ret) == 0;
}

static void load(struct scrub *s)
{
    struct store_value v = {0};
    json_t *row = NULL, *item;
    size_t i, n = 0;

    if (store_get(s->home->env.store, PART, ROW, &v) == 0)
        row = json_loadb(v.data.data, v.data.len, 0, NULL);
    store_value_release(&v);
    if (row == NULL)
        return;
    s->started_unix_ms = number_of(row, "started");
    s->finished_unix_ms = number_of(row, "finished");
    s->blobs = (uint64_t)number_of(row, "blobs");
    s->bytes = (uint64_t)number_of(row, "bytes");
    s->has_position = take_digest(json_object_get(row, "position"), &s->position);
    json_array_foreach(json_object_get(row, "named"), i, item) {
        if (n < DAMAGED_MAX && take_digest(item, &s->named[n]))
            n++;
    }
    s->damaged = n == 0 ? 0 : (uint64_t)number_of(row, "damaged");
    json_decref(row);
}

/* Reading. */

/* Waits; false: it shall not go on. */
static bool pause_for(struct scrub *s, int64_t ms)
{
    struct timespec until = wait_until(ms);
    int r = 0;

    guard(&s->lock);
    while (!s->stop && !s->aborted && r != ETIMEDOUT)
        r = pthread_cond_timedwait(&s->wake, &s->lock, &until);
    return !s->stop && !s->aborted;
}

/* How long the bytes should have taken, less what they took. */
static bool keep_rate(struct scrub *s, uint64_t bytes, int64_t since_ms)
{
    uint64_t rate = s->home->env.config->scrub_rate_bytes;
    int64_t due_ms = rate > 0 ? (int64_t)(bytes * 1000 / rate) : 0;
    int64_t left_ms = due_ms - (clock_monotonic_ms() - since_ms);

    return pause_for(s, left_ms > 0 ? left_ms : 0);
}

/* 0; -EIO damaged; -ECANCELED. */
static int read_through(struct scrub *s, struct blob *b, struct hash *h, uint8_t *piece)
{
    uint64_t done = 0;

    while (done < blob_size(b)) {
        int64_t since_ms = clock_monotonic_ms();
        ssize_t n = blob_read(b, done, piece, PIECE);

        if (n <= 0)
            return n == 0 || n == -EIO ? -EIO : (int)n;
        hash_update(h, piece, (size_t)n);
        done += (uint64_t)n;
        pthread_mutex_lock(&s->lock);
        s->bytes += (uint64_t)n;
        pthread_mutex_unlock(&s->lock);
        if (!keep_rate(s, (uint64_t)n, since_ms))
            return -ECANCELED;
    }
    return 0;
}

static int verify(struct scrub *s, const struct digest *d)
{
    autofree uint8_t *piece = xmalloc(PIECE);
    struct hash *h = hash_new(hash_kind_of((enum digest_algorithm)d->algorithm));
    struct digest real = {.algorithm = d->algorithm};
    struct blob *b = NULL;
    int r;

    r = blob_open(s->home->env.store, d, &b);
    if (r == 0)
        r = read_through(s, b, h, piece);
    hash_final(h, real.bytes);
    hash_free(h);
    blob_close(b);
    if (r == 0 && !digest_eq(&real, d))
        r = -EIO;
    return r;
}

/* "images/team/app" of "images/team/app#nonce": who has it. */
static int add_owner(void *ctx, struct slice owner)
{
    struct buf *out = ctx;
    const char *hash = memrchr(owner.data, '#', owner.len);

    buf_printf(out, "%s%.*s", out->len > 0 ? "," : "",
               (int)(hash != NULL ? hash - (const char *)owner.data : (ssize_t)owner.len),
               (const char *)owner.data);
    return out->len > 1000;
}

static void note_damage(struct scrub *s, const struct digest *d)
{
    char text[DIGEST_TEXT_MAX];
    autobuf owners = {0};

    blob_owners(s->home->env.store, d, add_owner, &owners);
    log_line(LOG_ERROR, NULL, "scrub.damaged", "digest=%s owners=%s", digest_print(d, text),
             owners.len > 0 ? owners.data : "none");
    guard(&s->lock);
    if (s->damaged < DAMAGED_MAX)
        s->named[s->damaged] = *d;
    s->damaged++;
}

struct batch {
    struct digest list[AT_ONCE];
    size_t n;
};

static int collect(void *ctx, const struct digest *d, const struct blob_stat *st)
{
    struct batch *b = ctx;

    (void)st;
    b->list[b->n++] = *d;
    return b->n == AT_ONCE;
}

/* 0; -ECANCELED. */
static int verify_batch(struct scrub *s, const struct batch *b)
{
    for (size_t i = 0; i < b->n; i++) {
        int r = verify(s, &b->list[i]);

        if (r == -ECANCELED)
            return r;
        if (r == -EIO)
            note_damage(s, &b->list[i]);
        else if (r < 0 && r != -ENOENT) /* reaped meanwhile */
            log_line(LOG_WARN, NULL, "scrub.unread", "error=%s", strerror(-r));
        pthread_mutex_lock(&s->lock);
        s->blobs += r != -ENOENT;
        pthread_mutex_unlock(&s->lock);
        s->position = b->list[i];
        s->has_position = true;
        if (r == -EIO || clock_monotonic_ms() - s->saved_ms >= SAVE_MS)
            save(s);
    }
    return pause_for(s, 0) ? 0 : -ECANCELED;
}

static int scrub_all(struct scrub *s)
{
    autofree struct batch *b = xcalloc(1, sizeof *b);
    int r;

    do {
        b->n = 0;
        r = blob_each_after(s->home->env.store, s->has_position ? &s->position : NULL, collect, b);
        if (r >= 0)
            r = verify_batch(s, b);
    } while (r == 0 && b->n == AT_ONCE);
    return r;
}

static void begin(struct scrub *s)
{
    guard(&s->lock);
    s->running = true;
    s->wanted = s->aborted = false;
    if (s->started_unix_ms != 0 && s->finished_unix_ms == 0)
        return; /* it goes on */
    s->started_unix_ms = clock_unix_ms();
    s->finished_unix_ms = 0;
    s->blobs = s->bytes = s->damaged = 0;
    s->has_position = false;
}

static void end(struct scrub *s, int r)
{
    bool stopped;

    pthread_mutex_lock(&s->lock);
    stopped = s->stop;
    s->running = false;
    if (!stopped) {
        s->finished_unix_ms = clock_unix_ms();
        s->has_position = false;
    }
    pthread_mutex_unlock(&s->lock);
    save(s);
    if (stopped)
        return;
    if (r == 0)
        log_line(s->damaged > 0 ? LOG_ERROR : LOG_INFO, NULL, "scrub.finished",
                 "blobs=%llu bytes=%llu damaged=%llu", (unsigned long long)s->blobs,
                 (unsigned long long)s->bytes, (unsigned long long)s->damaged);
    else
        log_line(LOG_WARN, NULL, "scrub.ended", "error=%s", strerror(-r));
}

/* Until it is asked for or its time has come; false: the daemon stops. */
static bool wait_for_work(struct scrub *s)
{
    int64_t every_ms = s->home->env.config->scrub_every_ms;

    guard(&s->lock);
    for (;;) {
        struct timespec until;
        int64_t due_ms = s->finished_unix_ms + every_ms - clock_unix_ms();

        if (s->stop)
            return false;
        if (s->started_unix_ms == 0 && every_ms > 0) { /* the first is a period from now */
            s->started_unix_ms = s->finished_unix_ms = clock_unix_ms();
            due_ms = every_ms;
        }
        if (s->wanted || (s->started_unix_ms != 0 && s->finished_unix_ms == 0) ||
            (every_ms > 0 && due_ms <= 0))
            return true;
        if (due_ms > 3600000 || every_ms == 0)
            due_ms = 3600000;
        until = wait_until(due_ms + 1000);
        pthread_cond_timedwait(&s->wake, &s->lock, &until);
    }
}

static void *work(void *arg)
{
    struct scrub *s = arg;

    pthread_setname_np(pthread_self(), "scrub");
    while (wait_for_work(s)) {
        begin(s);
        save(s);
        end(s, scrub_all(s));
    }
    return NULL;
}

int scrub_start(struct infrafs *self)
{
    struct scrub *s = xcalloc(1, sizeof *s);
    int r;

    self->scrub = s;
    s->home = self;
    pthread_mutex_init(&s->lock, NULL);
    wait_init(&s->wake);
    load(s);
    r = pthread_create(&s->thread, NULL, work, s);
    s->started = r == 0;
    return -r;
}

void scrub_stop(struct infrafs *self)
{
    struct scrub *s = self->scrub;

    if (s == NULL)
        return;
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_broadcast(&s->wake);
    pthread_mutex_unlock(&s->lock);
    if (s->started)
        pthread_join(s->thread, NULL);
    pthread_cond_destroy(&s->wake);
    pthread_mutex_destroy(&s->lock);
    free(s);
    self->scrub = NULL;
}

int scrub_command(struct infrafs *self, struct op *op, struct slice word)
{
    struct scrub *s = self->scrub;
    const char *text = word.data;
    bool run;

    while (word.len > 0 && isspace((unsigned char)text[word.len - 1]))
        word.len--;
    run = slice_eq(word, SLICE("run"));
    if (!run && !slice_eq(word, SLICE("stop")))
        return op_fail(op, EINVAL, "write 'run' or 'stop'");
    guard(&s->lock);
    if (run)
        s->wanted = !s->running;
    else
        s->aborted = s->running;
    pthread_cond_broadcast(&s->wake);
    return 0;
}

static void print_damaged(const struct scrub *s, struct buf *out)
{
    char text[DIGEST_TEXT_MAX];

    for (size_t i = 0; i < s->damaged && i < DAMAGED_MAX; i++)
        buf_printf(out, "damaged %s\n", digest_print(&s->named[i], text));
}

void scrub_print(struct infrafs *self, struct buf *out)
{
    struct scrub *s = self->scrub;
    char since[CLOCK_TEXT_MAX], until[CLOCK_TEXT_MAX];

    guard(&s->lock);
    clock_print_ns(s->started_unix_ms * 1000000, 0, since);
    clock_print_ns(s->finished_unix_ms * 1000000, 0, until);
    if (s->wanted || s->running)
        buf_printf(out, "running since %s: ", s->wanted ? "now" : since);
    else if (s->started_unix_ms == 0 || s->started_unix_ms == s->finished_unix_ms)
        buf_add_str(out, "no run yet: ");
    else
        buf_printf(out, "%s to %s: ", since, until);
    buf_printf(out, "%llu blobs of %llu bytes read, %llu damaged\n", (unsigned long long)s->blobs,
               (unsigned long long)s->bytes, (unsigned long long)s->damaged);
    print_damaged(s, out);
}

void scrub_metrics(struct infrafs *self, struct buf *out)
{
    struct scrub *s = self->scrub;

    guard(&s->lock);
    buf_printf(out,
               "# HELP infrafs_scrub_damaged Blobs that the last scrub found damaged.\n"
               "# TYPE infrafs_scrub_damaged gauge\ninfrafs_scrub_damaged %llu\n"
               "# HELP infrafs_scrub_bytes What the last scrub has read.\n"
               "# TYPE infrafs_scrub_bytes gauge\ninfrafs_scrub_bytes %llu\n"
               "# HELP infrafs_scrub_finished_seconds When the last scrub was over; 0: it runs.\n"
               "# TYPE infrafs_scrub_finished_seconds gauge\n"
               "infrafs_scrub_finished_seconds %lld\n",
               (unsigned long long)s->damaged, (unsigned long long)s->bytes,
               (long long)s->finished_unix_ms / 1000);
}
