#include "images/hooks.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "base/file.h"
#include "base/glob.h"
#include "base/json.h"
#include "base/scope.h"
#include "base/wait.h"
#include "images/hook_event.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>

#define PART_EVENTS   SLICE("images-events")
#define ID_BYTES      8
#define KEY_BYTES     (ID_BYTES + 8)
#define MEDIA_EVENTS  "application/vnd.docker.distribution.events.v1+json"
#define SEND_MS       10000L
#define RETRY_MS      1000
#define RETRY_MAX_MS  (5 * 60 * 1000)
#define ANSWER_MAX    (64u << 10)
#define SECRET_MAX    (64u << 10)

/* An endpoint and its queue: rows "<id><sequence>", the id being made from its address, so that a
 * queue outlives a change of the configuration beside it. */
struct hook {
    struct hooks *home;
    const struct config_webhook *config;
    uint8_t id[ID_BYTES];
    pthread_t thread;
    bool started;
    uint64_t waiting;        /* atomic */
    uint64_t sent, refused;  /* atomic */
    bool awake;              /* guarded by home->lock: something may have come */
};

struct hooks {
    struct images *im;
    pthread_mutex_t lock; /* guards: awake */
    pthread_cond_t wake;
    bool stop;            /* atomic */
    uint64_t sequence;    /* atomic */
    struct hook *list;
    size_t n;
};

static struct slice key_of(const struct hook *k, uint64_t sequence, uint8_t key[KEY_BYTES])
{
    memcpy(key, k->id, ID_BYTES);
    be64_put(key + ID_BYTES, sequence);
    return slice_of(key, KEY_BYTES);
}

/* The oldest that waits, copied. -ENOENT: none. */
static int first_event(struct hook *k, uint8_t key[KEY_BYTES], struct buf *ret)
{
    uint8_t from[KEY_BYTES], to[KEY_BYTES];
    struct store_scan *scan;
    struct slice found, value;
    int r;

    r = store_scan(k->home->im->store, PART_EVENTS, key_of(k, 0, from), key_of(k, UINT64_MAX, to),
                   0, &scan);
    if (r < 0)
        return r;
    r = store_scan_next(scan, &found, &value);
    if (r == 1 && found.len == KEY_BYTES) {
        memcpy(key, found.data, KEY_BYTES);
        buf_clear(ret);
        buf_add_slice(ret, value);
    }
    store_scan_free(scan);
    return r == 1 ? 0 : r == 0 ? -ENOENT : r;
}

/* False: it is still kept, and will be sent again. */
static bool forget_event(struct hook *k, const uint8_t key[KEY_BYTES])
{
    struct store_batch *batch = store_batch_new(k->home->im->store, PART_EVENTS);
    int r;

    store_batch_delete(batch, slice_of(key, KEY_BYTES));
    r = store_commit(batch, 0); /* lost in a crash: it is sent again */
    if (r < 0)
        log_line(LOG_WARN, NULL, "webhook.kept", "url=%s error=%s", k->config->url, strerror(-r));
    else
        __atomic_sub_fetch(&k->waiting, 1, __ATOMIC_RELAXED);
    return r == 0;
}

/* Sending. */

static size_t drop_body(char *bytes, size_t size, size_t n, void *ctx)
{
    size_t *seen = ctx;

    (void)bytes;
    *seen += size * n;
    return *seen <= ANSWER_MAX ? size * n : 0;
}

static int watch_stop(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    struct hook *k = ctx;

    (void)a;
    (void)b;
    (void)c;
    (void)d;
    return __atomic_load_n(&k->home->stop, __ATOMIC_RELAXED);
}

static struct curl_slist *headers_of(const struct hook *k)
{
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: " MEDIA_EVENTS);
    struct buf secret = {0};
    autobuf line = {0};

    headers = curl_slist_append(headers, "Expect:");
    if (k->config->authorization_file == NULL)
        return headers;
    if (file_read(k->config->authorization_file, SECRET_MAX, &secret) < 0) {
        log_line(LOG_WARN, NULL, "webhook.secret", "unreadable=%s", k->config->authorization_file);
    } else {
        buf_printf(&line, "Authorization: %.*s", (int)strcspn(secret.data, "\r\n"), secret.data);
        headers = curl_slist_append(headers, line.data);
        explicit_bzero(line.data, line.len);
    }
    buf_wipe(&secret);
    return headers;
}

static void free_headers(struct curl_slist *headers)
{
    for (struct curl_slist *h = headers; h != NULL; h = h->next)
        explicit_bzero(h->data, strlen(h->data));
    curl_slist_free_all(headers);
}

/* True: it was taken. */
static bool send_event(struct hook *k, CURL *curl, struct slice event)
{
    struct curl_slist *headers = headers_of(k);
    autobuf body = {0};
    size_t seen = 0;
    long status = 0;
    CURLcode code;

    buf_add_str(&body, "{\"events\":[");
    buf_add_slice(&body, event);
    buf_add_str(&body, "]}");
    curl_easy_reset(curl);
    curl_easy_setopt(curl, CURLOPT_URL, k->config->url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "infrafs/" INFRAFS_VERSION);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.data);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, drop_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &seen);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, watch_stop);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, k);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, SEND_MS);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    free_headers(headers);
    if (status >= 200 && status < 300)
        return true;
    if (!__atomic_load_n(&k->home->stop, __ATOMIC_RELAXED))
        log_line(LOG_WARN, NULL, "webhook.refused", "url=%s status=%ld error=%s", k->config->url,
                 status, code == CURLE_OK ? "none" : curl_easy_strerror(code));
    __atomic_add_fetch(&k->refused, 1, __ATOMIC_RELAXED);
    return false;
}

/* For `ms`, or with ms 0 until something comes. False: it stops. */
static bool wait_for(struct hook *k, int64_t ms)
{
    struct hooks *h = k->home;
    struct timespec until = wait_until(ms);
    int r = 0;

    guard(&h->lock);
    while (!h->stop && r != ETIMEDOUT && (ms > 0 || !k->awake))
        r = ms > 0 ? pthread_cond_timedwait(&h->wake, &h->lock, &until)
                   : pthread_cond_wait(&h->wake, &h->lock);
    k->awake = false;
    return !h->stop;
}

static void *deliver(void *arg)
{
    struct hook *k = arg;
    CURL *curl = curl_easy_init();
    int64_t retry_ms = RETRY_MS;
    uint8_t key[KEY_BYTES];
    autobuf event = {0};
    bool goes_on = curl != NULL;

    pthread_setname_np(pthread_self(), "webhook");
    while (goes_on) {
        int r = first_event(k, key, &event);

        if (r == -ENOENT) {
            goes_on = wait_for(k, 0);
        } else if (r == 0 && send_event(k, curl, buf_slice(&event)) && forget_event(k, key)) {
            __atomic_add_fetch(&k->sent, 1, __ATOMIC_RELAXED);
            retry_ms = RETRY_MS;
            goes_on = !__atomic_load_n(&k->home->stop, __ATOMIC_RELAXED);
        } else {
            goes_on = wait_for(k, retry_ms);
            retry_ms = 2 * retry_ms < RETRY_MAX_MS ? 2 * retry_ms : RETRY_MAX_MS;
        }
    }
    curl_easy_cleanup(curl);
    return NULL;
}

/* Life. */

static int count_waiting(struct hook *k)
{
    uint8_t from[KEY_BYTES], to[KEY_BYTES];
    struct store_scan *scan;
    struct slice key;
    int r;

    r = store_scan(k->home->im->store, PART_EVENTS, key_of(k, 0, from), key_of(k, UINT64_MAX, to),
                   STORE_KEYS_ONLY, &scan);
    if (r < 0)
        return r;
    while ((r = store_scan_next(scan, &key, NULL)) == 1)
        k->waiting++;
    store_scan_free(scan);
    return r;
}

static int start_hook(struct hook *k)
{
    struct digest d;
    int r;

    digest_of(DIGEST_SHA256, k->config->url, strlen(k->config->url), &d);
    memcpy(k->id, d.bytes, ID_BYTES);
    k->awake = true;
    r = count_waiting(k);
    if (r == 0)
        r = -pthread_create(&k->thread, NULL, deliver, k);
    k->started = r == 0;
    return r;
}

int hooks_start(struct images *im, struct hooks **ret)
{
    struct hooks *h = xcalloc(1, sizeof *h);
    int r = 0;

    h->im = im;
    h->sequence = (uint64_t)clock_unix_ns();
    pthread_mutex_init(&h->lock, NULL);
    wait_init(&h->wake);
    h->n = im->config->n_webhooks;
    h->list = xcalloc(h->n + 1, sizeof *h->list);
    for (size_t i = 0; i < h->n; i++) {
        h->list[i].home = h;
        h->list[i].config = &im->config->webhooks[i];
    }
    for (size_t i = 0; r == 0 && i < h->n; i++)
        r = start_hook(&h->list[i]);
    if (r < 0)
        hooks_stop(h);
    else
        *ret = h;
    return r;
}

void hooks_stop(struct hooks *h)
{
    if (h == NULL)
        return;
    pthread_mutex_lock(&h->lock);
    __atomic_store_n(&h->stop, true, __ATOMIC_RELAXED);
    pthread_cond_broadcast(&h->wake);
    pthread_mutex_unlock(&h->lock);
    for (size_t i = 0; i < h->n; i++)
        if (h->list[i].started)
            pthread_join(h->list[i].thread, NULL);
    pthread_cond_destroy(&h->wake);
    pthread_mutex_destroy(&h->lock);
    free(h->list);
    free(h);
}

/* Events. */

static bool is_ignored(const struct config_ignore *ignore, const struct hook_event *e)
{
    if ((ignore->actions & e->action) != 0)
        return true;
    for (size_t i = 0; e->media_type != NULL && i < ignore->n_media_types; i++)
        if (strcmp(ignore->media_types[i], e->media_type) == 0)
            return true;
    return false;
}

static void put_event(struct hook *k, struct slice event, unsigned flags)
{
    struct store_batch *batch;
    uint8_t key[KEY_BYTES];
    int r;

    if (__atomic_add_fetch(&k->waiting, 1, __ATOMIC_RELAXED) > HOOK_QUEUE_MAX) {
        __atomic_sub_fetch(&k->waiting, 1, __ATOMIC_RELAXED);
        log_line(LOG_ERROR, NULL, "webhook.dropped", "url=%s why=%u events wait", k->config->url,
                 HOOK_QUEUE_MAX);
        return;
    }
    batch = store_batch_new(k->home->im->store, PART_EVENTS);
    store_batch_put(batch,
                    key_of(k, __atomic_add_fetch(&k->home->sequence, 1, __ATOMIC_RELAXED), key),
                    event);
    r = store_commit(batch, flags);
    if (r < 0) {
        __atomic_sub_fetch(&k->waiting, 1, __ATOMIC_RELAXED);
        log_line(LOG_ERROR, NULL, "webhook.dropped", "url=%s error=%s", k->config->url,
                 strerror(-r));
        return;
    }
    guard(&k->home->lock);
    k->awake = true;
    pthread_cond_broadcast(&k->home->wake);
}

static bool is_for(const struct hook *k, const struct hook_event *e)
{
    return (k->config->actions & e->action) != 0 && !is_ignored(&k->config->ignore, e) &&
           glob_match(slice_str(k->config->repositories), slice_str(e->repo));
}

static bool is_wanted(const struct hooks *h, const struct hook_event *e)
{
    size_t i = 0;

    while (i < h->n && !is_for(&h->list[i], e))
        i++;
    return i < h->n;
}

static void emit(struct hooks *h, struct op *op, const struct hook_event *e,
                 struct web_request *req)
{
    autobuf text = {0};

    for (size_t i = 0; i < h->n; i++) {
        if (!is_for(&h->list[i], e))
            continue;
        if (text.len == 0)
            hook_event_print(op, e, req, &text);
        put_event(&h->list[i], buf_slice(&text), e->action == WEBHOOK_PULL ? 0 : STORE_DURABLE);
    }
}

void hooks_emit(struct images *im, struct op *op, enum config_webhook_actions action,
                const char *repo, const char *tag, const struct digest *digest,
                struct web_request *req)
{
    struct hook_event e = {.action = action, .repo = repo, .tag = tag, .digest = digest};
    struct manifest_view view;

    if (!is_wanted(im->hooks, &e))
        return;
    if (digest != NULL && manifest_stat(op, im, repo, digest, &view) == 0) {
        e.media_type = view.media_type;
        e.size_bytes = view.size_bytes;
    }
    op_forgive(op);
    emit(im->hooks, op, &e, req);
}

void hooks_emit_blob(struct images *im, struct op *op, enum config_webhook_actions action,
                     const char *repo, const struct digest *digest, uint64_t size_bytes,
                     const char *from, struct web_request *req)
{
    struct hook_event e = {.action = action,
                           .repo = repo,
                           .digest = digest,
                           .is_blob = true,
                           .media_type = HOOK_MEDIA_BLOB,
                           .size_bytes = size_bytes,
                           .from = from};

    emit(im->hooks, op, &e, req);
}

void hooks_metrics(struct hooks *h, struct buf *out)
{
    uint64_t waiting = 0, sent = 0, refused = 0;

    for (size_t i = 0; i < h->n; i++) {
        waiting += __atomic_load_n(&h->list[i].waiting, __ATOMIC_RELAXED);
        sent += __atomic_load_n(&h->list[i].sent, __ATOMIC_RELAXED);
        refused += __atomic_load_n(&h->list[i].refused, __ATOMIC_RELAXED);
    }
    buf_printf(out,
               "# HELP infrafs_images_events_waiting Events that no webhook has taken yet.\n"
               "# TYPE infrafs_images_events_waiting gauge\ninfrafs_images_events_waiting %" PRIu64
               "\n# HELP infrafs_images_events_sent_total Events that webhooks took.\n"
               "# TYPE infrafs_images_events_sent_total counter\n"
               "infrafs_images_events_sent_total %" PRIu64
               "\n# HELP infrafs_images_events_refused_total Attempts that failed.\n"
               "# TYPE infrafs_images_events_refused_total counter\n"
               "infrafs_images_events_refused_total %" PRIu64 "\n",
               waiting, sent, refused);
}
