/* import_registry_url.c: a registry that runs, read for import_registry.c: the repositories of its
 * catalog, their tags, what indexes list, and what refers to each manifest. */
#include "base/alloc.h"
#include "base/codec.h"
#include "base/scope.h"
#include "command/import_registry.h"
#include "command/registry.h"

#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <uthash.h>

#define DEPTH_MAX 8u /* of indexes in indexes, and referrers of referrers */
#define ACCEPT                                                                                     \
    "application/vnd.oci.image.index.v1+json,application/vnd.oci.image.manifest.v1+json,"          \
    "application/vnd.docker.distribution.manifest.list.v2+json,"                                   \
    "application/vnd.docker.distribution.manifest.v2+json,"                                        \
    "application/vnd.oci.artifact.manifest.v1+json,*/*;q=0.1"

/* A manifest of the repository that was looked at. */
struct seen {
    UT_hash_handle hh;
    struct digest digest;
};

struct walk {
    struct import *im;
    struct registry registry;
    struct seen *seen;
};

static FILE *open_there(struct import *im, const struct digest *d)
{
    struct walk *w = im->source;

    return registry_blob(&w->registry, im->repo, d);
}

static void forget(struct walk *w)
{
    struct seen *s, *next;

    HASH_ITER(hh, w->seen, s, next) {
        HASH_DEL(w->seen, s);
        free(s);
    }
}

/* False: it was seen before. */
static bool note(struct walk *w, const struct digest *d)
{
    struct seen *s;

    HASH_FIND(hh, w->seen, d, sizeof *d, s);
    if (s != NULL)
        return false;
    s = xcalloc(1, sizeof *s);
    s->digest = *d;
    HASH_ADD(hh, w->seen, digest, sizeof s->digest, s);
    return true;
}

/* GET of a manifest: takes over its bytes. NULL: it is not there, or none. */
static json_t *read_manifest(struct walk *w, const char *reference, struct buf *ret)
{
    autobuf target = {0};
    json_t *json = NULL;
    int code;

    buf_printf(&target, "/v2/%s/manifests/%s", w->im->repo, reference);
    code = registry_get(&w->registry, target.data, ACCEPT);
    if (code == EX_OK && w->registry.status == 200)
        json = json_loadb(w->registry.body.data != NULL ? w->registry.body.data : "",
                          w->registry.body.len, 0, NULL);
    if (json == NULL) {
        if (code == EX_OK)
            command_fail(EX_UNAVAILABLE, "%s%s: status %ld", w->registry.base, target.data,
                         w->registry.status);
        return NULL;
    }
    *ret = w->registry.body;
    w->registry.body = (struct buf){0};
    return json;
}

static void walk_digest(struct walk *w, const char *reference, unsigned depth);

static void walk_list(struct walk *w, const json_t *list, unsigned depth)
{
    const json_t *item;
    struct digest d;
    size_t i;

    json_array_foreach(list, i, item) {
        const char *text = json_string_value(json_object_get(item, "digest"));

        if (text != NULL && digest_parse(slice_str(text), &d) == 0)
            walk_digest(w, text, depth + 1);
    }
}

/* What refers to it, where the registry has that list (distribution-spec 1.1); else the fallback tag
 * comes by itself. */
static void walk_referrers(struct walk *w, const char *digest, unsigned depth)
{
    autobuf target = {0};
    bool more = true;

    buf_printf(&target, "/v2/%s/referrers/%s", w->im->repo, digest);
    while (more && registry_get(&w->registry, target.data, NULL) == EX_OK &&
           w->registry.status == 200) {
        json_t *json = json_loadb(w->registry.body.data != NULL ? w->registry.body.data : "",
                                  w->registry.body.len, 0, NULL);

        more = registry_next(&w->registry, &target);
        walk_list(w, json_object_get(json, "manifests"), depth);
        json_decref(json);
    }
}

/* With all that it needs, and all that refers to it. False: it could not be taken over whole. */
static bool take_over(struct walk *w, const struct digest *d, const json_t *json,
                      struct slice bytes, unsigned depth)
{
    struct import *im = w->im;
    char text[DIGEST_TEXT_MAX];
    unsigned failed = im->failed;

    digest_print(d, text);
    if (!note(w, d))
        return true;
    if (import_is_index(json))
        walk_list(w, json_object_get(json, "manifests"), depth);
    if (!import_is_there(im, d)) {
        if (!import_is_index(json))
            import_blobs(im, json);
        if (im->failed == failed)
            import_manifest(im, text, json, bytes);
        im->manifests += im->failed == failed;
    }
    walk_referrers(w, text, depth);
    return im->failed == failed;
}

static void walk_digest(struct walk *w, const char *reference, unsigned depth)
{
    autobuf bytes = {0};
    struct digest want, got;
    json_t *json;

    if (depth > DEPTH_MAX || digest_parse(slice_str(reference), &want) < 0)
        return;
    json = read_manifest(w, reference, &bytes);
    if (json == NULL)
        return; /* an index may list what is not there; it was printed */
    digest_of((enum digest_algorithm)want.algorithm, bytes.data, bytes.len, &got);
    if (digest_eq(&got, &want)) {
        take_over(w, &want, json, buf_slice(&bytes), depth);
    } else {
        command_fail(EX_DATAERR, "%s: the manifest is not what its digest says", reference);
        w->im->failed++;
    }
    json_decref(json);
}

static void walk_tag(struct walk *w, const char *tag)
{
    autobuf bytes = {0};
    unsigned failed = w->im->failed;
    struct digest d;
    json_t *json = read_manifest(w, tag, &bytes);

    if (json == NULL) {
        w->im->failed++;
        return;
    }
    digest_of(DIGEST_SHA256, bytes.data, bytes.len, &d);
    if (take_over(w, &d, json, buf_slice(&bytes), 0))
        import_manifest(w->im, tag, json, buf_slice(&bytes));
    w->im->tags += w->im->failed == failed;
    json_decref(json);
}

/* Calls f with each name of a list in pages. */
static int each_name(struct walk *w, const char *target, const char *key,
                     void (*f)(struct walk *w, const char *name))
{
    autobuf next = {0};
    bool more = true;

    buf_add_str(&next, target);
    while (more) {
        json_t *json, *name;
        size_t i;
        int code = registry_get(&w->registry, next.data, "application/json");

        if (code == EX_OK && w->registry.status != 200)
            code = command_fail(EX_UNAVAILABLE, "%s%s: status %ld", w->registry.base, next.data,
                                w->registry.status);
        if (code != EX_OK)
            return code;
        json = json_loadb(w->registry.body.data != NULL ? w->registry.body.data : "",
                          w->registry.body.len, 0, NULL);
        more = registry_next(&w->registry, &next);
        json_array_foreach(json_object_get(json, key), i, name) {
            if (json_is_string(name) && strpbrk(json_string_value(name), "?#% \r\n") == NULL)
                f(w, json_string_value(name));
        }
        json_decref(json);
    }
    return EX_OK;
}

static void walk_repo(struct walk *w, const char *repo)
{
    autobuf target = {0};

    w->im->repo = repo;
    w->im->repos++;
    buf_printf(&target, "/v2/%s/tags/list?n=1000", repo);
    if (each_name(w, target.data, "tags", walk_tag) != EX_OK && w->registry.status != 404)
        w->im->failed++; /* a repository without a tag may be unknown */
    forget(w);
}

int import_registry_url(struct import *im, const char *url)
{
    struct walk w = {.im = im};
    int code = registry_open(&w.registry, url);

    im->source = &w;
    im->open_blob = open_there;
    if (code == EX_OK)
        code = each_name(&w, "/v2/_catalog?n=1000", "repositories", walk_repo);
    registry_close(&w.registry);
    return code;
}
