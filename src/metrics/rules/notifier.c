#include "metrics/rules/notifier.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/scope.h"
#include "base/wait.h"
#include "metrics/scrape/fetch.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define QUEUE_MAX   10000
#define BATCH_MAX   256
#define ANSWER_MAX  (64u << 10)
#define PAUSE_MS    1000 /* after a failure; doubled each time */
#define PAUSE_MAX   (30 * 1000)
#define ATTEMPTS    8 /* firing alerts are queued again each minute anyhow */
#define WEBHOOK_S   10l

/* One way that alerts go: each fails and waits for itself. */
struct outlet {
    struct notifier *notifier;
    struct notice *first, **last; /* under the notifier's lock, as the next four */
    size_t queued;
    uint64_t sent, dropped, errors;
    pthread_cond_t filled;
    pthread_t thread;
    bool running;
};

struct notifier {
    pthread_mutex_t lock; /* guards: outlets' queues, config, found, stopping */
    bool stopping;
    struct jobs *config; /* a reference, or NULL */
    struct jobs *found_for; /* a reference, or NULL: whose files named those below, last */
    struct target_groups *found;
    char *webhook; /* NULL: none */
    struct outlet managers, hook;
};

void notices_free(struct notice *list)
{
    while (list != NULL) {
        struct notice *next = list->next;

        pairs_done(&list->labels);
        pairs_done(&list->annotations);
        free(list->generator_url);
        free(list);
        list = next;
    }
}

static void found_drop(struct notifier *n)
{
    for (size_t i = 0; n->found_for != NULL && i < n->found_for->alertmanagers->n; i++)
        target_groups_done(&n->found[i]);
    free(n->found);
    jobs_unref(n->found_for);
    n->found = NULL;
    n->found_for = NULL;
}

static void put_pairs(struct json *j, const char *key, const struct pairs *p)
{
    json_key(j, key);
    json_object(j);
    for (size_t i = 0; i < p->n; i++)
        json_kstr(j, p->items[i].name, p->items[i].value);
    json_object_end(j);
}

static void put_notice(struct json *j, const struct notice *n, bool hook)
{
    char text[CLOCK_TEXT_MAX];

    json_object(j);
    if (hook)
        json_kstr(j, "status", n->resolved ? "resolved" : "firing");
    put_pairs(j, "labels", &n->labels);
    put_pairs(j, "annotations", &n->annotations);
    json_kstr(j, "startsAt", clock_print_ns(n->starts_ms * 1000000, 3, text));
    json_kstr(j, "endsAt", clock_print_ns(n->ends_ms * 1000000, 3, text));
    json_kstr(j, "generatorURL", n->generator_url);
    json_object_end(j);
}

/* Alertmanager's OpenAPI v2, postAlerts; the webhook gets its "webhook" payload, version 4. */
static void print_body(const struct notice *list, bool hook, struct buf *out)
{
    struct json j;
    bool firing = false;

    for (const struct notice *n = list; n != NULL; n = n->next)
        firing = firing || !n->resolved;
    json_init(&j, out);
    if (hook) {
        json_object(&j);
        json_kstr(&j, "version", "4");
        json_kstr(&j, "groupKey", "{}");
        json_kstr(&j, "status", firing ? "firing" : "resolved");
        json_kstr(&j, "receiver", "webhook");
        json_kraw(&j, "groupLabels", SLICE("{}"));
        json_kraw(&j, "commonLabels", SLICE("{}"));
        json_kraw(&j, "commonAnnotations", SLICE("{}"));
        json_key(&j, "alerts");
    }
    json_array(&j);
    for (const struct notice *n = list; n != NULL; n = n->next)
        put_notice(&j, n, hook);
    json_array_end(&j);
    if (hook)
        json_object_end(&j);
}

static size_t drop_answer(char *data, size_t size, size_t n, void *ctx)
{
    size_t *seen = ctx;

    (void)data;
    *seen += size * n;
    return *seen > ANSWER_MAX ? 0 : size * n;
}

/* While the daemon ends, no peer is waited for. */
static int stop_asked(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    struct notifier *n = ctx;
    guard(&n->lock);

    (void)a;
    (void)b;
    (void)c;
    (void)d;
    return n->stopping;
}

/* The handle is ready but for what a POST needs. True: delivered. */
static bool post(struct notifier *n, CURL *curl, struct curl_slist *headers, const struct buf *body,
                 const char *url)
{
    struct curl_slist *all =
        curl_slist_append(headers, "Content-Type: application/json"); /* frees with it */
    char error[CURL_ERROR_SIZE] = "";
    size_t seen = 0;
    long status = 0;
    CURLcode code;

    curl_easy_setopt(curl, CURLOPT_POST, 1l);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->len);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body->data);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, all);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, drop_answer);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &seen);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0l);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, stop_asked);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, n);
    code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    if (code == CURLE_OK && status / 100 == 2)
        return true;
    log_line(LOG_WARN, NULL, "metrics.alerts.not_sent", "url=%s status=%ld error=\"%s\"", url,
             status, code != CURLE_OK ? (error[0] != 0 ? error : curl_easy_strerror(code)) : "");
    return false;
}

static bool post_to_target(struct notifier *n, struct target *t, const struct buf *body)
{
    autobuf why = {0};
    struct fetch *f = fetch_new(t, ANSWER_MAX, &why);
    bool sent;

    if (f == NULL) {
        log_line(LOG_WARN, NULL, "metrics.alerts.not_sent", "url=%s error=\"%s\"", t->url,
                 why.data != NULL ? why.data : "");
        return false;
    }
    if (f->headers == NULL)
        f->headers = curl_slist_append(NULL, "Accept: application/json");
    sent = post(n, f->curl, f->headers, body, t->url);
    fetch_free(f);
    return sent;
}

/* Those that are configured, and those that files name now. A file that does not parse takes away
 * nobody: then those count that were found before. */
static void find_targets(struct notifier *n, struct jobs *config, struct targets *ret)
{
    struct jobs *managers = config->alertmanagers;
    struct target_groups *found = xcalloc(managers->n + 1, sizeof *found);
    bool whole = true;

    for (size_t i = 0; i < managers->n; i++)
        whole = sd_files_read(managers->items[i], &found[i]) == 0 && whole;
    pthread_mutex_lock(&n->lock);
    if (whole || n->found_for != config) {
        found_drop(n);
        n->found_for = jobs_ref(config);
        n->found = found;
        found = NULL;
    }
    targets_build(managers, n->found, ret);
    pthread_mutex_unlock(&n->lock);
    for (size_t i = 0; found != NULL && i < managers->n; i++)
        target_groups_done(&found[i]);
    free(found);
}

/* One that takes them is enough. Without any there is nobody to fail. */
static bool to_managers(struct notifier *n, struct jobs *config, const struct notice *list)
{
    struct targets targets;
    autobuf body = {0};
    size_t sent = 0, n_targets;

    if (config == NULL || config->alertmanagers == NULL)
        return true;
    find_targets(n, config, &targets);
    print_body(list, false, &body);
    n_targets = targets.n;
    for (size_t i = 0; i < targets.n; i++)
        sent += post_to_target(n, targets.items[i], &body);
    targets_done(&targets);
    return sent > 0 || n_targets == 0;
}

static bool to_webhook(struct notifier *n, const struct notice *list)
{
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, "Accept: */*");
    autobuf body = {0};
    bool sent;

    print_body(list, true, &body);
    curl_easy_setopt(curl, CURLOPT_URL, n->webhook);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1l);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, WEBHOOK_S);
    sent = post(n, curl, headers, &body, n->webhook);
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    return sent;
}

/* Under the lock. */
static struct notice *take_batch(struct outlet *o, size_t *ret_n)
{
    struct notice *list = o->first, **end = &list;
    size_t n = 0;

    for (; *end != NULL && n < BATCH_MAX; n++)
        end = &(*end)->next;
    o->first = *end;
    if (o->first == NULL)
        o->last = &o->first;
    *end = NULL;
    o->queued -= n;
    *ret_n = n;
    return list;
}

/* Under the lock: until it is time to try again. False: the notifier ends. */
static bool wait_ms(struct outlet *o, int64_t ms)
{
    struct notifier *n = o->notifier;
    struct timespec until = wait_until(ms);

    while (!n->stopping && pthread_cond_timedwait(&o->filled, &n->lock, &until) != ETIMEDOUT)
        ;
    return !n->stopping;
}

/* Under the lock, which is let go meanwhile. */
static void deliver(struct outlet *o, struct notice *list, size_t count)
{
    struct notifier *n = o->notifier;
    int64_t pause = PAUSE_MS;

    for (unsigned attempt = 1;; attempt++) {
        struct jobs *config = n->config != NULL ? jobs_ref(n->config) : NULL;
        bool sent;

        pthread_mutex_unlock(&n->lock);
        sent = o == &n->hook ? to_webhook(n, list) : to_managers(n, config, list);
        jobs_unref(config);
        pthread_mutex_lock(&n->lock);
        if (sent) {
            o->sent += count;
            return;
        }
        o->errors++;
        if (attempt == ATTEMPTS || !wait_ms(o, pause)) {
            o->dropped += count;
            return;
        }
        pause = 2 * pause < PAUSE_MAX ? 2 * pause : PAUSE_MAX;
    }
}

static void *outlet_loop(void *arg)
{
    struct outlet *o = arg;
    struct notifier *n = o->notifier;

    pthread_mutex_lock(&n->lock);
    while (!n->stopping) {
        struct notice *list;
        size_t count;

        if (o->first == NULL) {
            pthread_cond_wait(&o->filled, &n->lock);
            continue;
        }
        list = take_batch(o, &count);
        deliver(o, list, count);
        notices_free(list);
    }
    pthread_mutex_unlock(&n->lock);
    return NULL;
}

static void start(struct notifier *n, struct outlet *o)
{
    o->notifier = n;
    o->last = &o->first;
    wait_init(&o->filled);
    o->running = pthread_create(&o->thread, NULL, outlet_loop, o) == 0;
}

struct notifier *notifier_new(const char *webhook)
{
    struct notifier *n = xcalloc(1, sizeof *n);

    pthread_mutex_init(&n->lock, NULL);
    if (webhook != NULL && webhook[0] != 0)
        n->webhook = xstrdup(webhook);
    start(n, &n->managers);
    start(n, &n->hook);
    return n;
}

static void stop(struct outlet *o)
{
    if (o->running)
        pthread_join(o->thread, NULL);
    notices_free(o->first);
    pthread_cond_destroy(&o->filled);
}

void notifier_free(struct notifier *n)
{
    if (n == NULL)
        return;
    pthread_mutex_lock(&n->lock);
    n->stopping = true;
    pthread_cond_broadcast(&n->managers.filled);
    pthread_cond_broadcast(&n->hook.filled);
    pthread_mutex_unlock(&n->lock);
    stop(&n->managers);
    stop(&n->hook);
    found_drop(n);
    jobs_unref(n->config);
    pthread_mutex_destroy(&n->lock);
    free(n->webhook);
    free(n);
}

void notifier_configure(struct notifier *n, struct jobs *config)
{
    struct jobs *old;

    pthread_mutex_lock(&n->lock);
    old = n->config;
    n->config = jobs_ref(config);
    pthread_mutex_unlock(&n->lock);
    jobs_unref(old);
}

/* External labels, then alert_relabel_configs. False: it is not to be sent. */
static bool relabel(const struct jobs *config, struct notice *notice)
{
    struct label_builder b;
    struct labels labels;
    struct pairs fresh = {0};
    struct op op;
    bool kept;

    op_init(&op, DOOR_INTERNAL, NULL);
    label_builder_init(&b, &op);
    for (size_t i = 0; i < config->external_labels.n; i++)
        label_builder_set(&b, slice_str(config->external_labels.items[i].name),
                          slice_str(config->external_labels.items[i].value));
    for (size_t i = 0; i < notice->labels.n; i++)
        label_builder_set(&b, slice_str(notice->labels.items[i].name),
                          slice_str(notice->labels.items[i].value));
    kept = relabel_apply(&config->alert_relabel, &b);
    labels = label_builder_finish(&b);
    for (size_t i = 0; i < labels.n && kept; i++)
        pairs_add(&fresh, op_strndup(&op, labels.items[i].name.data, labels.items[i].name.len),
                  op_strndup(&op, labels.items[i].value.data, labels.items[i].value.len));
    op_done(&op);
    if (!kept)
        return false;
    pairs_done(&notice->labels);
    notice->labels = fresh;
    return true;
}

static struct notice *copy_of(const struct notice *from)
{
    struct notice *n = xcalloc(1, sizeof *n);

    *n = *from;
    n->next = NULL;
    n->labels = n->annotations = (struct pairs){0};
    for (size_t i = 0; i < from->labels.n; i++)
        pairs_add(&n->labels, from->labels.items[i].name, from->labels.items[i].value);
    for (size_t i = 0; i < from->annotations.n; i++)
        pairs_add(&n->annotations, from->annotations.items[i].name,
                  from->annotations.items[i].value);
    n->generator_url = xstrdup(from->generator_url);
    return n;
}

/* Under the lock. The oldest give way. */
static void enqueue(struct outlet *o, struct notice *notice)
{
    if (o->queued == QUEUE_MAX) {
        struct notice *oldest = o->first;

        o->first = oldest->next;
        oldest->next = NULL;
        notices_free(oldest);
        o->queued--;
        o->dropped++;
    }
    *o->last = notice;
    o->last = &notice->next;
    o->queued++;
    pthread_cond_signal(&o->filled);
}

void notifier_send(struct notifier *n, struct notice *list)
{
    guard(&n->lock);

    while (list != NULL) {
        struct notice *next = list->next;

        list->next = NULL;
        if (n->config != NULL && !relabel(n->config, list)) {
            notices_free(list);
        } else {
            if (n->webhook != NULL)
                enqueue(&n->hook, copy_of(list));
            if (n->config != NULL && n->config->alertmanagers != NULL)
                enqueue(&n->managers, list);
            else
                notices_free(list);
        }
        list = next;
    }
}

void notifier_state(struct notifier *n, struct notifier_state *ret)
{
    guard(&n->lock);

    *ret = (struct notifier_state){
        .sent = n->managers.sent + n->hook.sent,
        .dropped = n->managers.dropped + n->hook.dropped,
        .errors = n->managers.errors + n->hook.errors,
        .queued = n->managers.queued + n->hook.queued,
    };
}

void notifier_each(struct notifier *n, void (*f)(void *ctx, const char *url), void *ctx)
{
    struct jobs *config;
    struct targets targets;

    pthread_mutex_lock(&n->lock);
    config = n->config != NULL ? jobs_ref(n->config) : NULL;
    pthread_mutex_unlock(&n->lock);
    if (config != NULL && config->alertmanagers != NULL) {
        find_targets(n, config, &targets);
        for (size_t i = 0; i < targets.n; i++)
            f(ctx, targets.items[i]->url);
        targets_done(&targets);
    }
    jobs_unref(config);
}
