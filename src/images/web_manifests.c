#include "base/clock.h"
#include "base/codec.h"
#include "identity/identity.h"
#include "images/cache.h"
#include "images/hooks.h"
#include "images/images_web.h"
#include "images/mirror.h"
#include "images/used.h"

#include <errno.h>
#include <stdlib.h>
#include <uthash.h>

static void reply_page(struct web_request *req, struct web_response *resp, struct web_page *page)
{
    size_t n = strlen(page->etag);

    /* The etag is the digest in quotes. */
    web_set_header(req, resp, "Docker-Content-Digest", op_strndup(req->op, page->etag + 1, n - 2));
    web_reply_page(resp, page);
}

static void reply_view(struct web_request *req, struct web_response *resp, const char *repo,
                       uint64_t generation, const struct manifest_view *view)
{
    struct images *im = req->self;
    char text[DIGEST_TEXT_MAX];
    struct web_page *page;

    if (view->blob != NULL) {
        web_set_digest(req, resp, &view->digest);
        web_reply_blob(resp, view->blob, view->media_type, req);
        return;
    }
    page = web_page_new(view->bytes, view->media_type,
                        op_printf(req->op, "\"%s\"", digest_print(&view->digest, text)), false);
    page_cache_put(im->pages, repo, web_param(req, "reference"), generation, page);
    reply_page(req, resp, page);
}

static void emit_pull(struct web_request *req, const char *repo, const struct digest *d)
{
    const char *text = web_param(req, "reference");

    if (strcmp(req->method, "GET") == 0)
        hooks_emit(req->self, req->op, WEBHOOK_PULL, repo,
                   strchr(text, ':') == NULL ? text : NULL, d, req);
}

/* A manifest that is in memory was pulled. */
static void note_page(struct web_request *req, const char *repo, const struct web_page *page,
                      bool note)
{
    struct images *im = req->self;
    struct digest d;

    if ((!note && im->config->n_webhooks == 0) ||
        digest_parse(slice_of(page->etag + 1, strlen(page->etag) - 2), &d) < 0)
        return;
    if (note)
        used_note(im->used, repo, &d, clock_unix_ms());
    emit_pull(req, repo, &d);
}

/* Makes a mirror's manifest be here, as it is there. */
static int get_mirrored(struct web_request *req, struct mirror *m, const char *repo,
                        const char *text)
{
    struct manifest_view view;
    struct reference ref;
    int r;

    r = images_parse_reference(req->op, text, &ref);
    if (r < 0)
        return r == -EDOM ? -ENOENT : r;
    if (!ref.is_digest && mirror_is_fresh(m, repo, text))
        return 0;
    if (ref.is_digest && manifest_stat(req->op, req->self, repo, &ref.digest, &view) == 0)
        return 0;
    op_forgive(req->op);
    if (!req->may_wait)
        return -EINPROGRESS;
    return mirror_manifest(req->op, req->self, m, repo, &ref);
}

/* Of a name that may be new it is said that nobody has it: a client asks before it pushes, and must
 * not depend on another registry's being up. */
static int not_known(struct web_request *req, int r)
{
    const char *why = op_strdup(req->op, op_why(req->op, r));

    op_forgive(req->op);
    return op_fail(req->op, ENOENT, "'%s' is not known here; %s", web_param(req, "name"), why);
}

static int get_of_mirror(struct web_request *req, struct mirror *m, const char *repo,
                         const char *text)
{
    int r;

    /* Of a digest that is there, oras takes all below it to be there too, and does not push it. */
    if (strcmp(req->method, "HEAD") == 0 && strchr(text, ':') != NULL && web_may_be_new(req, repo))
        return op_fail(req->op, ENOENT, "'%s' is not known here", web_param(req, "name"));
    r = get_mirrored(req, m, repo, text);
    if (r < 0 && r != -EINPROGRESS && r != -ENOENT && web_may_be_new(req, repo))
        r = not_known(req, r);
    return r;
}

/* OCI distribution-spec 1.1, "Pulling manifests". What is stored is served, whatever Accept says:
 * there is nothing it could be converted to. */
int manifests_get(struct web_request *req, struct web_response *resp)
{
    struct images *im = req->self;
    const char *text = web_param(req, "reference"), *repo;
    struct manifest_view view = {0};
    struct reference ref;
    struct web_page *page;
    uint64_t generation;
    struct mirror *m;
    bool note;
    int r;

    r = web_repo(req, POLICY_READ, &repo);
    if (r < 0)
        return r;
    m = mirror_of(im, repo);
    if (m != NULL) {
        r = get_of_mirror(req, m, repo, text);
        if (r < 0)
            return r;
    }
    generation = images_generation(im, repo);
    page = page_cache_get(im->pages, repo, text, generation, &note);
    if (page != NULL) {
        note_page(req, repo, page, note);
        reply_page(req, resp, page);
        return 0;
    }
    r = images_parse_reference(req->op, text, &ref);
    if (r == -EDOM)
        return -ENOENT; /* what can be no tag is no tag here */
    if (r == 0)
        r = manifest_get(req->op, im, repo, &ref, &view);
    if (r < 0)
        return r;
    used_note(im->used, repo, &view.digest, clock_unix_ms());
    emit_pull(req, repo, &view.digest);
    reply_view(req, resp, repo, generation, &view);
    return 0;
}

static int query_tags(struct web_request *req, struct manifest_push *push)
{
    const char **tags = op_alloc(req->op, IMAGES_TAGS_PER_PUSH_MAX * sizeof *tags);
    const char *tag;
    size_t n = 0;

    while ((tag = web_query_nth(req, "tag", n)) != NULL) {
        if (n == IMAGES_TAGS_PER_PUSH_MAX)
            return op_fail(req->op, EFBIG, "more than %u tags at once", IMAGES_TAGS_PER_PUSH_MAX);
        if (!tag_valid(slice_str(tag)))
            return op_fail(req->op, EDOM, "'%.200s' is not a valid tag", tag);
        tags[n++] = tag;
    }
    push->tags = tags;
    push->n_tags = n;
    return 0;
}

static void emit_push(struct web_request *req, const char *repo, const char *reference,
                      const struct manifest_push *push)
{
    if (!push->ref->is_digest)
        hooks_emit(req->self, req->op, WEBHOOK_PUSH, repo, reference, &push->digest, req);
    for (size_t i = 0; i < push->n_tags; i++)
        hooks_emit(req->self, req->op, WEBHOOK_PUSH, repo, push->tags[i], &push->digest, req);
    if (push->ref->is_digest && push->n_tags == 0)
        hooks_emit(req->self, req->op, WEBHOOK_PUSH, repo, NULL, &push->digest, req);
}

/* OCI distribution-spec 1.1, "Pushing Manifests"; ?tag= is of the version after it. */
int manifests_put(struct web_request *req, struct web_response *resp)
{
    const char *text = web_param(req, "reference"), *repo;
    struct manifest_push push = {.content_type = web_header(req, "Content-Type"),
                                 .bytes = req->body};
    char digest[DIGEST_TEXT_MAX];
    struct reference ref;
    int r;

    r = web_repo_to_push(req, &repo);
    if (r == 0)
        r = images_parse_reference(req->op, text, &ref);
    if (r == 0)
        r = query_tags(req, &push);
    push.ref = &ref;
    if (r < 0)
        return r;
    push.may_move = identity_may(req->op, POLICY_UPDATE, "images/%s", repo);
    r = manifest_put(req->op, req->self, repo, &push);
    if (r == -EEXIST) /* moving a tag needs more than setting a new one: as a refusal of that right */
        r = identity_check(req->op, POLICY_UPDATE, "images/%s", repo);
    if (r < 0)
        return r;
    emit_push(req, repo, text, &push);
    web_add_header(req, resp, "Location", "/v2/%s/manifests/%s", repo,
                   digest_print(&push.digest, digest));
    web_set_digest(req, resp, &push.digest);
    if (push.has_subject)
        web_set_header(req, resp, "OCI-Subject", digest_print(&push.subject, digest));
    for (size_t i = 0; i < push.n_tags; i++)
        web_add_header(req, resp, "OCI-Tag", "%s", push.tags[i]);
    resp->status = 201;
    return 0;
}

int manifests_delete(struct web_request *req, struct web_response *resp)
{
    const char *text = web_param(req, "reference"), *repo;
    struct reference ref;
    int r;

    r = web_repo(req, POLICY_DELETE, &repo);
    if (r == 0)
        r = images_parse_reference(req->op, text, &ref);
    if (r == -EDOM)
        return -ENOENT;
    if (r < 0)
        return r;
    if (ref.is_digest)
        r = manifest_delete(req->op, req->self, repo, &ref.digest, 0);
    else
        r = tag_delete(req->op, req->self, repo, text);
    if (r < 0)
        return r;
    hooks_emit(req->self, req->op, WEBHOOK_DELETE, repo, ref.is_digest ? NULL : text,
               ref.is_digest ? &ref.digest : NULL, req);
    resp->status = 202;
    return 0;
}

/* Referrers. */

struct seen {
    UT_hash_handle hh;
    struct digest digest;
};

struct referrers {
    struct web_request *req;
    const char *repo;
    const char *artifact_type; /* NULL: all */
    struct buf out;
    struct seen *seen; /* in the op */
    size_t n;
    struct digest last;
    bool more;
};

static void add_descriptor(struct referrers *l, const struct digest *d, struct slice json)
{
    struct seen *s;

    HASH_FIND(hh, l->seen, d, sizeof *d, s);
    if (s != NULL)
        return;
    s = op_alloc(l->req->op, sizeof *s);
    s->digest = *d;
    HASH_ADD(hh, l->seen, digest, sizeof *d, s);
    if (l->n++ > 0)
        buf_add_char(&l->out, ',');
    buf_add_slice(&l->out, json);
}

/* Is the descriptor of the type that was asked for? Its text was written by us: the member can be
 * found without parsing it. */
static bool is_of_type(const struct referrers *l, struct slice json)
{
    const char *key = "\"artifactType\":\"", *behind = ",\"annotations\":{", *at;
    size_t n;

    if (l->artifact_type == NULL)
        return true;
    n = strlen(l->artifact_type);
    at = memmem(json.data, json.len, behind, strlen(behind));
    if (at != NULL)
        json.len = (size_t)(at - (const char *)json.data);
    at = memmem(json.data, json.len, key, strlen(key));
    if (at == NULL)
        return false;
    at += strlen(key);
    return (size_t)((const char *)json.data + json.len - at) > n &&
           memcmp(at, l->artifact_type, n) == 0 && at[n] == '"';
}

static int add_referrer(void *ctx, const struct digest *d, struct slice json)
{
    struct referrers *l = ctx;

    if (l->out.len + json.len > IMAGES_REFERRERS_BYTES_MAX && l->n > 0) {
        l->more = true;
        return 1;
    }
    if (is_of_type(l, json))
        add_descriptor(l, d, json);
    l->last = *d;
    return 0;
}

/* Clients of registries without this API keep an index under the tag "sha256-<hex>"; what such an
 * index lists is listed here too (OCI distribution-spec 1.1, "Enabling the Referrers API"). */
static int add_fallback(struct referrers *l, const struct digest *subject)
{
    struct images *im = l->req->self;
    struct manifest_view view = {0};
    struct manifest *m = NULL;
    char tag[DIGEST_TEXT_MAX];
    struct reference ref = {0};
    autobuf why = {0};
    struct slice bytes;
    int r;

    ref.tag = slice_str(digest_file_name(subject, tag));
    if (!tag_valid(ref.tag)) /* that of a sha512 is too long */
        return 0;
    r = manifest_get(l->req->op, im, l->repo, &ref, &view);
    op_forgive(l->req->op);
    if (r < 0)
        return r == -ENOENT || r == -ENXIO ? 0 : r;
    r = manifest_bytes(l->req->op, &view, &bytes);
    if (r == 0 && manifest_parse(bytes, view.media_type, &m, &why) == 0 &&
        m->kind == MANIFEST_INDEX)
        for (size_t i = 0; i < m->n_items; i++) {
            const struct descriptor *d = &m->items[i];
            struct manifest_view item;
            autobuf json = {0};

            if (manifest_stat(l->req->op, im, l->repo, &d->digest, &item) < 0 ||
                (l->artifact_type != NULL &&
                 (d->artifact_type == NULL || strcmp(d->artifact_type, l->artifact_type) != 0)))
                continue;
            descriptor_print(d, &json);
            add_descriptor(l, &d->digest, buf_slice(&json));
        }
    op_forgive(l->req->op);
    manifest_free(m);
    blob_close(view.blob);
    return r;
}

static const char *type_query(struct op *op, const char *artifact_type)
{
    autobuf out = {0};

    if (artifact_type == NULL)
        return NULL;
    buf_add_str(&out, "&artifactType=");
    percent_encode(&out, slice_str(artifact_type), "");
    return op_strndup(op, out.data, out.len);
}

static int list_referrers(struct referrers *l, const struct digest *subject,
                          const struct digest *last)
{
    int r;

    buf_add_str(&l->out,
                "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_OCI_INDEX "\",\"manifests\":[");
    r = referrer_each(l->req->op, l->req->self, l->repo, subject, last, add_referrer, l);
    if (r >= 0)
        r = l->more ? 0 : add_fallback(l, subject);
    buf_add_str(&l->out, "]}");
    return r;
}

/* OCI distribution-spec 1.1, "Listing Referrers": an empty list is an answer, never 404. */
int referrers_get(struct web_request *req, struct web_response *resp)
{
    struct referrers l = {.req = req, .artifact_type = web_query(req, "artifactType")};
    const char *last_text = web_query(req, "last");
    struct digest subject, last;
    char text[DIGEST_TEXT_MAX];
    int r;

    if (l.artifact_type != NULL && l.artifact_type[0] == 0)
        l.artifact_type = NULL;
    r = web_repo(req, POLICY_READ, &l.repo);
    if (r == 0)
        r = images_parse_digest(req->op, web_param(req, "digest"), &subject);
    if (r == 0 && last_text != NULL)
        r = images_parse_digest(req->op, last_text, &last);
    if (r < 0)
        return r;
    r = list_referrers(&l, &subject, last_text != NULL ? &last : NULL);
    HASH_CLEAR(hh, l.seen);
    if (r == 0) {
        if (l.more)
            web_next_link(req, resp, 0, digest_print(&l.last, text),
                          type_query(req->op, l.artifact_type));
        if (l.artifact_type != NULL)
            web_set_header(req, resp, "OCI-Filters-Applied", "artifactType");
        web_reply_buf(req, resp, 200, MEDIA_OCI_INDEX, &l.out);
    }
    buf_done(&l.out);
    return r;
}
