#include "images/mirror.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/scope.h"
#include "images/mirror_internal.h"

#include <errno.h>
#include <stdio.h>
#include <strings.h>

#define FRESH_MS     60000  /* a tag, unless the configuration says otherwise */
#define TRY_AGAIN_MS 10000  /* what is kept is served so long before who did not answer is asked */
#define FRESH_MAX    65536u /* tags that are remembered */

#define ACCEPT                                                                                     \
    MEDIA_OCI_INDEX "," MEDIA_OCI_MANIFEST "," MEDIA_DOCKER_LIST "," MEDIA_DOCKER_MANIFEST         \
                    "," MEDIA_OCI_ARTIFACT ",*/*;q=0.1"

struct fresh {
    UT_hash_handle hh;
    int64_t until_ms; /* monotonic */
    char key[];       /* "<repo>:<tag>" */
};

struct mirrors *mirrors_new(struct images *im)
{
    struct mirrors *ms = xcalloc(1, sizeof *ms);

    ms->im = im;
    ms->n = im->config->n_mirrors;
    ms->list = xcalloc(ms->n + 1, sizeof *ms->list);
    for (size_t i = 0; i < ms->n; i++) {
        struct mirror *m = &ms->list[i];

        m->home = ms;
        m->config = &im->config->mirrors[i];
        m->upstream = upstream_new(m->config);
        pthread_mutex_init(&m->lock, NULL);
    }
    pthread_mutex_init(&ms->lock, NULL);
    ms->pool = pool_new(FETCHES_MAX, "mirror");
    return ms;
}

static void forget_fresh(struct mirror *m)
{
    struct fresh *f, *next;

    HASH_ITER(hh, m->fresh, f, next) {
        HASH_DEL(m->fresh, f);
        free(f);
    }
}

void mirrors_stop(struct mirrors *ms)
{
    for (size_t i = 0; i < ms->n; i++)
        upstream_stop(ms->list[i].upstream);
}

void mirrors_free(struct mirrors *ms)
{
    if (ms == NULL)
        return;
    mirrors_stop(ms);
    pool_free(ms->pool);
    for (size_t i = 0; i < ms->n; i++) {
        forget_fresh(&ms->list[i]);
        mirror_tags_forget(&ms->list[i]);
        upstream_free(ms->list[i].upstream);
        pthread_mutex_destroy(&ms->list[i].lock);
    }
    pthread_mutex_destroy(&ms->lock);
    free(ms->list);
    free(ms);
}

struct mirror *mirror_of(struct images *im, const char *repo)
{
    struct mirrors *ms = im->mirrors;

    for (size_t i = 0; i < ms->n; i++) {
        size_t n = strlen(ms->list[i].config->prefix);

        if (strncmp(repo, ms->list[i].config->prefix, n) == 0 && repo[n] == '/')
            return &ms->list[i];
    }
    return NULL;
}

static const struct config_mirror *find_meant(struct op *op, struct images *im, const char *repo,
                                              const char *ns)
{
    struct mirrors *ms = im->mirrors;

    for (size_t i = 0; ns != NULL && i < ms->n; i++)
        if (strcmp(ms->list[i].config->prefix, ns) == 0)
            return ms->list[i].config;
    for (size_t i = 0; i < ms->n; i++)
        if (ms->list[i].config->is_default && images_check_repo(op, im, repo) < 0) {
            op_forgive(op);
            return ms->list[i].config;
        }
    return NULL;
}

const char *mirror_meant(struct op *op, struct images *im, const char *repo, const char *ns)
{
    const struct config_mirror *m;

    if (im->mirrors->n == 0 || mirror_of(im, repo) != NULL)
        return repo;
    m = find_meant(op, im, repo, ns);
    if (m == NULL || strlen(m->prefix) + 1 + strlen(repo) > IMAGES_NAME_MAX)
        return repo;
    return op_printf(op, "%s/%s", m->prefix, repo);
}

/* Docker's own registry keeps "alpine" as "library/alpine". */
const char *mirror_repo_there(struct op *op, const struct mirror *m, const char *repo)
{
    const char *rest = repo + strlen(m->config->prefix) + 1;
    const char *url = m->config->upstream;
    size_t n = strlen(url), hub = strlen(".docker.io");

    if (n > hub && strcasecmp(url + n - hub, ".docker.io") == 0 && strchr(rest, '/') == NULL)
        return op_printf(op, "library/%s", rest);
    return rest;
}

int mirror_failed(struct op *op, const struct mirror *m, const char *repo, const char *why,
                  long status)
{
    autobuf text = {0};

    if (why != NULL && why[0] != 0)
        buf_add_str(&text, why);
    else
        buf_printf(&text, "%s answered %ld", m->config->upstream, status);
    log_event(LOG_WARN, op, "mirror.failed", "repo=%s why=%s", repo, text.data);
    return op_fail(op, EHOSTUNREACH, "'%s' is a mirror, and nothing is kept of this: %s", repo,
                   text.data);
}

/* Fresh tags. */

bool mirror_is_fresh(struct mirror *m, const char *repo, const char *tag)
{
    char key[IMAGES_NAME_MAX + 1 + IMAGES_TAG_MAX + 1];
    struct fresh *f;

    snprintf(key, sizeof key, "%s:%s", repo, tag);
    guard(&m->lock);
    HASH_FIND_STR(m->fresh, key, f);
    return f != NULL && f->until_ms > clock_monotonic_ms();
}

static void note_fresh(struct mirror *m, const char *repo, const char *tag, int64_t ms)
{
    char key[IMAGES_NAME_MAX + 1 + IMAGES_TAG_MAX + 1];
    struct fresh *f;
    size_t n;

    snprintf(key, sizeof key, "%s:%s", repo, tag);
    n = strlen(key);
    guard(&m->lock);
    HASH_FIND_STR(m->fresh, key, f);
    if (f == NULL) {
        if (HASH_COUNT(m->fresh) >= FRESH_MAX)
            forget_fresh(m);
        f = xcalloc(1, sizeof *f + n + 1);
        memcpy(f->key, key, n + 1);
        HASH_ADD_KEYPTR(hh, m->fresh, f->key, n, f);
    }
    f->until_ms = clock_monotonic_ms() + ms;
}

int64_t mirror_fresh_ms(const struct mirror *m)
{
    return m->config->fresh_ms >= 0 ? m->config->fresh_ms : FRESH_MS;
}

/* Manifests. */

struct look {
    struct op *op;
    struct images *im;
    struct mirror *m;
    const char *repo, *there;
    const struct reference *ref;
    const char *text; /* the reference */
    bool here;        /* something is kept for it, under this digest: */
    struct digest digest;
};

static int ask(struct look *l, bool head, struct upstream_request *rq, struct buf *why)
{
    *rq = (struct upstream_request){
        .repo = l->there,
        .path = op_printf(l->op, "manifests/%s", l->text),
        .head = head,
        .accept = ACCEPT,
        .body_max = l->im->config->limits.manifest_bytes,
    };
    return upstream_ask(l->m->upstream, rq, why);
}

static void find_here(struct look *l)
{
    struct manifest_view view;

    l->digest = l->ref->digest;
    l->here = (l->ref->is_digest ||
               tag_get(l->op, l->im, l->repo, l->ref->tag, &l->digest, NULL) == 0) &&
              manifest_stat(l->op, l->im, l->repo, &l->digest, &view) == 0;
    op_forgive(l->op);
}

static int keep(struct look *l, const struct upstream_request *rq)
{
    struct manifest_push push = {
        .ref = l->ref,
        .content_type = rq->content_type,
        .bytes = buf_slice(&rq->body),
        .may_move = true,
        .mirrored = true,
    };
    struct digest said;
    int r;

    r = manifest_put(l->op, l->im, l->repo, &push);
    if (r == -EAGAIN || r == -ENOSPC || r == -EIO)
        return r;
    if (r < 0)
        return mirror_failed(l->op, l->m, l->repo, op_why(l->op, r), 0);
    if (digest_parse(slice_str(rq->digest), &said) == 0 && !l->ref->is_digest &&
        said.algorithm == push.digest.algorithm && !digest_eq(&said, &push.digest))
        log_event(LOG_WARN, l->op, "mirror.digest", "repo=%s said=%s", l->repo, rq->digest);
    return 0;
}

/* There was no good answer: what is kept is good for a while more. */
static int fall_back(struct look *l, const char *why, long status)
{
    int r = mirror_failed(l->op, l->m, l->repo, why, status);

    if (!l->here)
        return r;
    op_forgive(l->op);
    if (!l->ref->is_digest)
        note_fresh(l->m, l->repo, l->text, TRY_AGAIN_MS);
    return 0;
}

static int not_there(struct look *l)
{
    return op_fail(l->op, ENOENT, "'%s' has no manifest '%s' at %s", l->repo, l->text,
                   l->m->config->upstream);
}

/* Is what is kept still what is there? 1: yes; 0: no. */
static int revalidate(struct look *l)
{
    struct upstream_request rq;
    struct digest d;
    autobuf why = {0};
    int r = ask(l, true, &rq, &why);

    buf_done(&rq.body);
    if (r < 0 || (rq.status != 200 && rq.status != 404 && rq.status != 405)) {
        r = fall_back(l, why.data, rq.status);
        return r < 0 ? r : 1;
    }
    if (rq.status == 404)
        return not_there(l);
    return rq.status == 200 && digest_parse(slice_str(rq.digest), &d) == 0 &&
           digest_eq(&d, &l->digest);
}

static int fetch_manifest(struct look *l)
{
    struct upstream_request rq;
    autobuf why = {0};
    int r = ask(l, false, &rq, &why);

    if (r == 0 && rq.status == 200)
        r = keep(l, &rq);
    else if (r == 0 && rq.status == 404)
        r = not_there(l);
    else
        r = fall_back(l, why.data, rq.status);
    buf_done(&rq.body);
    return r;
}

int mirror_manifest(struct op *op, struct images *im, struct mirror *m, const char *repo,
                    const struct reference *ref)
{
    struct look l = {.op = op, .im = im, .m = m, .repo = repo, .ref = ref};
    char text[DIGEST_TEXT_MAX];
    int r = 0;

    l.there = mirror_repo_there(op, m, repo);
    l.text = ref->is_digest ? digest_print(&ref->digest, text)
                            : op_strndup(op, ref->tag.data, ref->tag.len);
    find_here(&l);
    if (l.here && (ref->is_digest || mirror_is_fresh(m, repo, l.text)))
        return 0;
    if (l.here)
        r = revalidate(&l);
    if (r < 0)
        return r;
    if (r == 0)
        r = fetch_manifest(&l);
    if (r < 0)
        return r;
    if (!ref->is_digest && !mirror_is_fresh(m, repo, l.text))
        note_fresh(m, repo, l.text, mirror_fresh_ms(m));
    return 0;
}
