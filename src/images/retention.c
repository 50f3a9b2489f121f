#include "images/retention.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/glob.h"
#include "base/scope.h"
#include "images/state.h"
#include "images/used.h"

#include <errno.h>
#include <uthash.h>

/* A manifest of the repository that is looked at. */
struct node {
    UT_hash_handle hh;
    struct digest digest; /* the key */
    int64_t pushed_unix_ms;
    uint64_t size_bytes;
    struct touch mark; /* row in the op */
    bool is_index;
    bool reached;
    bool doomed;
    struct node *next; /* of those reached and not yet followed */
};

struct run {
    struct op *op;
    struct images *im;
    const char *repo;
    bool dry_run;
    struct buf *out;
    int64_t now_unix_ms;
    int64_t untagged_ms; /* -1: untagged ones stay */
    struct node *nodes;
    struct node *waiting;
    struct retention_count count;
};

static int load_node(void *ctx, const struct manifest_view *view)
{
    struct run *run = ctx;
    struct node *n = xcalloc(1, sizeof *n);

    n->digest = view->digest;
    n->pushed_unix_ms = view->pushed_unix_ms;
    n->size_bytes = view->size_bytes;
    n->is_index = view->is_index;
    HASH_ADD(hh, run->nodes, digest, sizeof n->digest, n);
    return 0;
}

static void reach(struct run *run, const struct digest *d)
{
    struct node *n;

    HASH_FIND(hh, run->nodes, d, sizeof *d, n);
    if (n == NULL || n->reached)
        return;
    n->reached = true;
    n->next = run->waiting;
    run->waiting = n;
}

static int reach_items(struct run *run, const struct node *n)
{
    struct reference ref = {.is_digest = true, .digest = n->digest};
    struct manifest_view view = {0};
    struct manifest *m = NULL;
    struct slice bytes;
    autobuf why = {0};
    int r;

    r = manifest_get(run->op, run->im, run->repo, &ref, &view);
    if (r == -ENOENT) { /* deleted meanwhile */
        op_forgive(run->op);
        return 0;
    }
    if (r == 0)
        r = manifest_bytes(run->op, &view, &bytes);
    if (r == 0 && manifest_parse(bytes, view.media_type, &m, &why) < 0)
        r = images_damaged(run->op, run->repo, "manifest");
    for (size_t i = 0; r == 0 && i < m->n_items; i++)
        reach(run, &m->items[i].digest);
    manifest_free(m);
    blob_close(view.blob);
    return r;
}

/* What refers to it, by its row; and the index of a client that knows no referrers. */
static int reach_referrers(struct run *run, const struct node *n)
{
    struct row_key from = key_referrer(&n->digest, NULL), to = key_after(from);
    char name[DIGEST_TEXT_MAX];
    struct store_scan *scan;
    struct slice key, value;
    struct digest d;
    struct part p;
    int r;

    r = store_scan(run->im->store, part_of(run->repo, &p), key_slice(&from), key_slice(&to),
                   STORE_KEYS_ONLY, &scan);
    if (r < 0)
        return r;
    while ((r = store_scan_next(scan, &key, &value)) == 1)
        if (key_last_digest(key, &d) == 0)
            reach(run, &d);
    store_scan_free(scan);
    if (r == 0 &&
        tag_get(run->op, run->im, run->repo, slice_str(digest_file_name(&n->digest, name)), &d,
                NULL) == 0)
        reach(run, &d);
    op_forgive(run->op);
    return r;
}

static int follow(struct run *run)
{
    int r = 0;

    while (r == 0 && run->waiting != NULL) {
        struct node *n = run->waiting;

        run->waiting = n->next;
        if (n->is_index)
            r = reach_items(run, n);
        if (r == 0)
            r = reach_referrers(run, n);
    }
    return r;
}

/* The latest of: it came, was pulled, lost a tag. */
static int64_t last_use(struct run *run, const struct node *n)
{
    int64_t pulled = retention_last_pull(run->im, run->repo, &n->digest, n->pushed_unix_ms);

    return pulled > n->mark.unix_ms ? pulled : n->mark.unix_ms;
}

static int doom(struct run *run, struct node *n)
{
    char text[DIGEST_TEXT_MAX];
    int r = run->dry_run
                ? 0
                : manifest_delete_unused(run->op, run->im, run->repo, &n->digest, &n->mark);

    if (r == -EAGAIN || r == -EBUSY || r == -ENOENT) { /* it came into use, or is gone */
        op_forgive(run->op);
        return 0;
    }
    if (r < 0)
        return r;
    n->doomed = true;
    run->count.manifests++;
    digest_print(&n->digest, text);
    if (run->out != NULL)
        buf_printf(run->out, "%s manifest %s@%s\n", run->dry_run ? "would remove" : "removed",
                   run->repo, text);
    if (!run->dry_run)
        log_event(LOG_INFO, run->op, "images.retired", "repo=%s manifest=%s", run->repo, text);
    return 0;
}

/* Marks are read first of all: a tag or an index that comes after that changes its mark. */
static int load_nodes(struct run *run)
{
    struct part p;
    int r = manifest_each(run->op, run->im, run->repo, load_node, run);

    for (struct node *n = run->nodes; r == 0 && n != NULL; n = n->hh.next)
        r = touch_get(run->op, run->im, part_of(run->repo, &p), &n->digest, &n->mark);
    return r;
}

static bool is_doomed(struct run *run, const struct digest *d)
{
    struct node *n;

    HASH_FIND(hh, run->nodes, d, sizeof *d, n);
    return n != NULL && n->doomed;
}

static int count_owner(void *ctx, struct slice owner)
{
    (void)owner;
    ++*(unsigned *)ctx;
    return 0;
}

static void add_bytes(struct run *run, const struct digest *blob)
{
    unsigned owners = 0;
    uint64_t size_bytes;

    if (link_get(run->op, run->im, run->repo, blob, &size_bytes) == 0 &&
        blob_owners(run->im->store, blob, count_owner, &owners) == 0 && owners <= 1)
        run->count.bytes += size_bytes;
    op_forgive(run->op);
}

/* For a dry run: blobs that only doomed manifests need. Needs stand in the order of blobs. */
static int count_bytes(struct run *run)
{
    struct store_scan *scan;
    struct slice key, value;
    struct digest blob = {0}, manifest, current = {0};
    bool only_doomed = false;
    struct part p;
    int r;

    r = store_scan(run->im->store, part_of(run->repo, &p), SLICE("k"), SLICE("l"), STORE_KEYS_ONLY,
                   &scan);
    if (r < 0)
        return r;
    while ((r = store_scan_next(scan, &key, &value)) == 1) {
        if (key_digests(key, &blob, &manifest) < 0)
            continue;
        if (!digest_eq(&blob, &current)) {
            if (only_doomed)
                add_bytes(run, &current);
            current = blob;
            only_doomed = true;
        }
        only_doomed = only_doomed && is_doomed(run, &manifest);
    }
    if (only_doomed)
        add_bytes(run, &current);
    store_scan_free(scan);
    return r;
}

static bool is_gone(void *ctx, const struct digest *d)
{
    struct run *run = ctx;
    struct node *n;

    HASH_FIND(hh, run->nodes, d, sizeof *d, n);
    return n == NULL || n->doomed;
}

static void nothing(void *ctx, const struct digest *d, bool stays)
{
    (void)ctx;
    (void)d;
    (void)stays;
}

static void look_at(void *ctx, const struct digest *d, bool stays)
{
    struct run *run = ctx;
    struct node *n;

    if (stays) {
        reach(run, d);
        return;
    }
    HASH_FIND(hh, run->nodes, d, sizeof *d, n);
    if (n != NULL)
        n->mark.unix_ms = run->now_unix_ms; /* what a real run would leave */
}

static int run_tags(struct run *run, void (*each)(void *ctx, const struct digest *d, bool stays))
{
    struct retention_tags what = {.repo = run->repo,
                                  .dry_run = run->dry_run,
                                  .out = run->out,
                                  .deleted = &run->count.tags,
                                  .each = each,
                                  .ctx = run};

    return retention_tags(run->op, run->im, &what);
}

static int run_manifests(struct run *run)
{
    int r = run_tags(run, look_at);

    if (r == 0)
        r = follow(run);
    for (struct node *n = run->nodes; r == 0 && n != NULL; n = n->hh.next)
        if (!n->reached && last_use(run, n) <= run->now_unix_ms - run->untagged_ms)
            r = doom(run, n);
    if (r == 0 && run->dry_run)
        r = count_bytes(run);
    if (r == 0 && !run->dry_run)
        r = used_sweep(run->im->used, run->repo, is_gone, run);
    return r;
}

/* Tags go first, so that the marks are as they leave them. */
static int run_rules(struct run *run)
{
    struct node *n, *next;
    int r = run->dry_run && run->untagged_ms >= 0 ? 0 : run_tags(run, nothing);

    if (r < 0 || run->untagged_ms < 0)
        return r;
    r = load_nodes(run);
    run->now_unix_ms = clock_unix_ms();
    if (r == 0)
        r = run_manifests(run);
    HASH_ITER(hh, run->nodes, n, next) {
        HASH_DEL(run->nodes, n);
        free(n);
    }
    run->waiting = NULL;
    return r;
}

static int run_repo(void *ctx, const char *repo, const char **seek)
{
    struct run *run = ctx;
    bool any = false;

    (void)seek;
    run->repo = repo;
    run->untagged_ms = -1;
    for (size_t i = run->im->config->n_retention; i-- > 0;) {
        const struct config_retention *rule = &run->im->config->retention[i];

        if (!glob_match(slice_str(rule->repositories), slice_str(repo)))
            continue;
        any = true;
        if (rule->untagged_ms >= 0)
            run->untagged_ms = rule->untagged_ms;
    }
    return any ? run_rules(run) : 0;
}

int retention_run(struct op *op, struct images *im, bool dry_run, struct buf *out,
                  struct retention_count *ret)
{
    struct run run = {.op = op,
                      .im = im,
                      .dry_run = dry_run,
                      .out = out,
                      .now_unix_ms = clock_unix_ms()};
    int r = im->config->n_retention > 0 ? repo_each(op, im, "", run_repo, &run) : 0;

    *ret = run.count;
    return r;
}
