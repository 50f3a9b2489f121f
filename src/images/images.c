#include "images/images.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "base/scope.h"
#include "base/wait.h"
#include "feed.h"
#include "identity/identity.h"
#include "images/cache.h"
#include "images/hooks.h"
#include "images/mirror.h"
#include "images/retention.h"
#include "images/rootfs/rootfs.h"
#include "images/state.h"
#include "images/upload.h"
#include "images/used.h"

#include <errno.h>
#include <sys/random.h>

#define SWEEP_MS  (10 * 60 * INT64_C(1000))
#define RETIRE_MS (60 * 60 * INT64_C(1000))

#define PART_LIFE SLICE("images-life")
#define KEY_CLEAN SLICE("clean")

int images_check_name(struct op *op, const char *repo)
{
    if (repository_name_valid(slice_str(repo)))
        return 0;
    return op_fail(op, EDOM, "'%.255s' is not a valid repository name", repo);
}

int images_parse_reference(struct op *op, const char *text, struct reference *ret)
{
    int r = reference_parse(slice_str(text), ret);

    if (r == -EILSEQ)
        return op_fail(op, EILSEQ, "'%.200s' is not a digest of sha256 or sha512", text);
    if (r < 0)
        return op_fail(op, EDOM, "'%.200s' is not a valid tag", text);
    return 0;
}

int images_parse_digest(struct op *op, const char *text, struct digest *ret)
{
    if (digest_parse(slice_str(text), ret) < 0)
        return op_fail(op, EILSEQ, "'%.200s' is not a digest of sha256 or sha512", text);
    return 0;
}

int images_damaged(struct op *op, const char *repo, const char *what)
{
    log_event(LOG_ERROR, op, "images.damaged", "repo=%s row=%s", repo, what);
    return op_fail(op, EIO, "a row of '%s' is damaged (%s); run infrafs scrub", repo, what);
}

uint64_t images_nonce(struct images *im)
{
    return im->life << 32 | __atomic_add_fetch(&im->nonces, 1, __ATOMIC_RELAXED);
}

int images_row(struct op *op, struct images *im, struct slice part, struct slice key,
               struct slice *ret)
{
    struct store_value v = {0};
    int r;

    r = store_get(im->store, part, key, &v);
    if (r == 0)
        *ret = op_slice(op, v.data);
    store_value_release(&v);
    return r;
}

int images_check_repo(struct op *op, struct images *im, const char *repo)
{
    struct store_value v = {0};
    int r;

    r = store_get(im->store, PART_CATALOG, slice_str(repo), &v);
    store_value_release(&v);
    return r == -ENOENT ? op_fail(op, ENXIO, "repository '%s' is not known", repo) : r;
}

/* Changes of the tree. Every folder above a repository may have come with it. */

void repo_changed(struct op *op, const char *repo)
{
    size_t n = strlen(repo);

    for (size_t i = 1; i <= n; i++)
        if (repo[i] == '/' || repo[i] == 0)
            op_changed(op, CHANGE_ENTRY, "/images/%.*s", (int)i, repo);
}

void tag_changed(struct op *op, const char *repo, const char *tag)
{
    op_changed(op, CHANGE_ENTRY | CHANGE_CONTENT, "/images/%s/%s", repo, tag);
    op_changed(op, CHANGE_ENTRY | CHANGE_CONTENT, "/images/%s/@tags/%s", repo, tag);
    op_changed(op, CHANGE_ENTRY | CHANGE_CONTENT, "/images/%s:%s", repo, tag);
    op_changed(op, CHANGE_CONTENT, "/images/%s/@oci/index.json", repo);
}

void manifest_changed(struct op *op, const char *repo, const struct digest *d)
{
    char text[DIGEST_TEXT_MAX];

    op_changed(op, CHANGE_ENTRY | CHANGE_SUBTREE, "/images/%s/@manifests/%s", repo,
               digest_file_name(d, text));
}

void referrer_changed(struct op *op, const char *repo, const struct digest *subject,
                      const struct digest *d)
{
    char of[DIGEST_TEXT_MAX], name[DIGEST_TEXT_MAX];

    op_changed(op, CHANGE_ENTRY, "/images/%s/@manifests/%s/referrers/%s", repo,
               digest_file_name(subject, of), digest_file_name(d, name));
}

int repo_note(struct op *op, struct images *im, const char *repo)
{
    struct store_batch *batch;
    struct store_value v = {0};
    uint8_t now[8];
    int r;

    r = store_get(im->store, PART_CATALOG, slice_str(repo), &v);
    store_value_release(&v);
    if (r != -ENOENT)
        return r;
    be64_put(now, (uint64_t)clock_unix_ms());
    batch = store_batch_new(im->store, PART_CATALOG);
    store_batch_put(batch, slice_str(repo), slice_of(now, sizeof now));
    r = store_commit(batch, STORE_DURABLE);
    if (r == 0)
        repo_changed(op, repo);
    return r;
}

/* Generations: a commit in a repository's partition moves its number on, whoever made it. */

static size_t slot_of(struct slice part)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

    for (size_t i = 0; i < part.len; i++)
        h = (h ^ ((const uint8_t *)part.data)[i]) * UINT64_C(0x100000001b3);
    return (size_t)(h ^ h >> 32) % GENERATIONS;
}

void retry_in_turn(struct images *im, struct slice part, unsigned tries, struct turn **turn)
{
    struct turn *t = &im->turns[slot_of(part) % TURNS];

    if (tries != 2 || *turn != NULL)
        return;
    guard(&t->lock);
    while (t->taken)
        pthread_cond_wait(&t->given_back, &t->lock);
    t->taken = true;
    *turn = t;
}

void retry_turn_end(struct turn **turn)
{
    if (*turn == NULL)
        return;
    guard(&(*turn)->lock);
    (*turn)->taken = false;
    pthread_cond_signal(&(*turn)->given_back);
}

uint64_t images_generation(struct images *im, const char *repo)
{
    struct part p;

    return __atomic_load_n(&im->generations[slot_of(part_of(repo, &p))], __ATOMIC_ACQUIRE);
}

static void on_commit(void *ctx, struct slice part)
{
    struct images *im = ctx;

    __atomic_add_fetch(&im->generations[slot_of(part)], 1, __ATOMIC_ACQ_REL);
}

/* The domain's own thread: mends once, then sweeps links and uploads now and then. */

static bool janitor_waits(struct images *im, int64_t ms)
{
    struct timespec until = wait_until(ms);

    guard(&im->lock);
    while (!im->stopping)
        if (pthread_cond_timedwait(&im->wake, &im->lock, &until) == ETIMEDOUT)
            break;
    return !im->stopping;
}

static void sweep(struct images *im)
{
    uint64_t dropped = 0;
    int r = used_flush(im->used);

    if (r < 0)
        log_line(LOG_WARN, NULL, "images.pulls_forgotten", "error=%s", strerror(-r));
    links_sweep(im, clock_unix_ms(), &dropped);
    uploads_sweep(im->uploads, clock_unix_ms());
    rootfs_sweep(im->rootfs);
    if (dropped > 0)
        log_line(LOG_INFO, NULL, "images.swept", "links=%" PRIu64, dropped);
}

static void retire(struct images *im)
{
    struct retention_count count;
    struct op op;
    int r;

    if (im->config->n_retention == 0)
        return;
    op_init(&op, DOOR_INTERNAL, identity_internal(im->identities));
    r = retention_run(&op, im, false, NULL, &count);
    if (r < 0)
        log_event(LOG_ERROR, &op, "images.not_retired", "error=%s", op_why(&op, r));
    feed_publish(im->feed, &op, false);
    op_done(&op);
}

static void *janitor(void *arg)
{
    struct images *im = arg;
    int64_t period_ms = im->config->gc_grace_ms / 2, next_sweep_ms, next_retire_ms;

    period_ms = period_ms > SWEEP_MS ? SWEEP_MS : period_ms < 5000 ? 5000 : period_ms;
    next_sweep_ms = next_retire_ms = clock_monotonic_ms() + period_ms;
    if (!im->clean && links_mend(im) != 0)
        __atomic_store_n(&im->held, true, __ATOMIC_RELAXED);
    while (janitor_waits(im, 5000)) {
        int64_t now = clock_monotonic_ms();

        uploads_rest(im->uploads, now);
        rootfs_rest(im->rootfs, now);
        if (now >= next_retire_ms) {
            retire(im);
            next_retire_ms = now + RETIRE_MS;
        }
        if (now < next_sweep_ms)
            continue;
        next_sweep_ms = now + period_ms;
        sweep(im);
    }
    return NULL;
}

/* When the daemon collects garbage: what rules let go, links and uploads whose time is over. */
int images_tidy(void *self, struct op *op, bool dry_run, struct buf *out)
{
    struct images *im = self;
    struct retention_count count = {0};
    int r = retention_run(op, im, dry_run, out, &count);

    if (r < 0)
        return r;
    if (im->config->n_retention > 0)
        buf_printf(out, "images: %s %" PRIu64 " tags and %" PRIu64 " manifests by rule",
                   dry_run ? "would remove" : "removed", count.tags, count.manifests);
    if (im->config->n_retention > 0 && dry_run)
        buf_printf(out, ", and so let go of %" PRIu64 " bytes of blobs", count.bytes);
    if (im->config->n_retention > 0)
        buf_add_char(out, '\n');
    if (!dry_run)
        sweep(im);
    return 0;
}

/* The last life ended in order, and left no hold behind: nothing need be looked for, which takes a
 * walk over all blobs. Takes the mark: this life may end otherwise. */
static bool take_clean_mark(struct images *im)
{
    struct store_value v = {0};
    struct store_batch *batch;
    int r = store_get(im->store, PART_LIFE, KEY_CLEAN, &v);

    store_value_release(&v);
    if (r < 0)
        return false;
    batch = store_batch_new(im->store, PART_LIFE);
    store_batch_delete(batch, KEY_CLEAN);
    return store_commit(batch, STORE_DURABLE) == 0;
}

static void put_clean_mark(struct images *im)
{
    struct store_batch *batch;

    if (__atomic_load_n(&im->held, __ATOMIC_RELAXED))
        return;
    batch = store_batch_new(im->store, PART_LIFE);
    store_batch_put(batch, KEY_CLEAN, SLICE("1"));
    store_commit(batch, STORE_DURABLE); /* else the next life looks for itself */
}

static int start_janitor(struct images *im)
{
    int r;

    pthread_mutex_init(&im->lock, NULL);
    wait_init(&im->wake);
    r = pthread_create(&im->janitor, NULL, janitor, im);
    if (r == 0)
        pthread_setname_np(im->janitor, "images");
    return -r;
}

static void free_parts(struct images *im)
{
    hooks_stop(im->hooks);
    rootfs_free(im->rootfs);
    mirrors_free(im->mirrors);
    uploads_free(im->uploads);
    used_free(im->used);
    page_cache_free(im->pages);
    store_unwatch(im->watch);
}

static void init_turns(struct images *im)
{
    for (size_t i = 0; i < TURNS; i++) {
        pthread_mutex_init(&im->turns[i].lock, NULL);
        pthread_cond_init(&im->turns[i].given_back, NULL);
    }
}

static void done_turns(struct images *im)
{
    for (size_t i = 0; i < TURNS; i++) {
        pthread_cond_destroy(&im->turns[i].given_back);
        pthread_mutex_destroy(&im->turns[i].lock);
    }
}

int images_open(const struct domain_env *env, void **ret_self, struct buf *why)
{
    struct images *im = xcalloc(1, sizeof *im);
    uint32_t life;
    int r;

    im->store = env->store;
    im->config = env->config;
    im->feed = env->feed;
    im->identities = env->identities;
    if (getrandom(&life, sizeof life, 0) != sizeof life)
        life = (uint32_t)clock_unix_ms();
    im->life = life;
    init_turns(im);
    r = store_watch(im->store, PART_REPOSITORIES, on_commit, im, &im->watch);
    if (r < 0) {
        buf_printf(why, "images: %s", strerror(-r));
        done_turns(im);
        free(im);
        return r;
    }
    im->clean = take_clean_mark(im);
    im->pages = page_cache_new();
    im->uploads = uploads_new(im);
    im->rootfs = rootfs_new(im->store);
    im->used = used_new(im->store);
    im->mirrors = mirrors_new(im);
    r = hooks_start(im, &im->hooks);
    if (r == 0)
        r = start_janitor(im);
    if (r < 0) {
        buf_printf(why, "images: cannot start a thread: %s", strerror(-r));
        free_parts(im);
        done_turns(im);
        free(im);
        return r;
    }
    *ret_self = im;
    return 0;
}

void images_stopping(void *self)
{
    struct images *im = self;

    rootfs_stop(im->rootfs);
    mirrors_stop(im->mirrors);
}

void images_close(void *self)
{
    struct images *im = self;

    pthread_mutex_lock(&im->lock);
    im->stopping = true;
    pthread_cond_broadcast(&im->wake);
    pthread_mutex_unlock(&im->lock);
    pthread_join(im->janitor, NULL);
    free_parts(im);
    put_clean_mark(im);
    pthread_cond_destroy(&im->wake);
    pthread_mutex_destroy(&im->lock);
    done_turns(im);
    free(im);
}
