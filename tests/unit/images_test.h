/* images_test.h: a registry in memory, with who asks, and small images to push. */
#ifndef IMAGES_TEST_H
#define IMAGES_TEST_H

#include "base/clock.h"
#include "base/scope.h"
#include "config.h"
#include "identity/identity.h"
#include "images/images.h"
#include "images/state.h"
#include "images/upload.h"
#include "store/store.h"
#include "web_test.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

extern const struct domain images_domain;

struct images_test {
    struct config *config;
    struct store *store;
    void *self;
    struct images *im;
    struct identity root, reader, nobody;
    struct web_test web;
    char *folder; /* the test's own */
};

static inline struct identity images_test_identity(enum identity_kind kind, const char *name,
                                                   const char *hcl)
{
    struct identity who = {.kind = kind, .name = name, .accessor = "", .token_id = "", .refs = 1};
    static const char *const none[] = {NULL};
    struct policy *policy = NULL;
    struct buf why = {0};

    who.policy_names = none;
    if (hcl == NULL) {
        who.policies = policy_set_root();
    } else {
        assert_int_equal(policy_parse(slice_str(hcl), &policy, &why), 0);
        who.policies = policy_set_new(&policy, 1);
        policy_free(policy);
    }
    buf_done(&why);
    return who;
}

static inline void images_test_reopen(struct images_test *t)
{
    struct domain_env env = {.config = t->config, .store = t->store};
    struct buf why = {0};

    if (t->self != NULL)
        images_domain.close(t->self);
    assert_int_equal(images_domain.open(&env, &t->self, &why), 0);
    t->im = t->self;
    t->web.self = t->self;
    buf_done(&why);
}

static inline int images_test_setup_at(void **state, const char *url)
{
    struct images_test *t = calloc(1, sizeof *t);
    struct buf why = {0};

    assert_non_null(t);
    assert_int_equal(config_parse(SLICE("images: {auth: basic}"), &t->config, &why), 0);
    assert_int_equal(store_open(url, NULL, &t->store, &why), 0);
    t->root = images_test_identity(IDENTITY_USER, "root", NULL);
    t->reader = images_test_identity(IDENTITY_USER, "bob",
                                     "path \"images/team/*\" { capabilities = [\"read\"] }");
    t->nobody = images_test_identity(IDENTITY_ANONYMOUS, "anonymous",
                                     "path \"metrics/*\" { capabilities = [\"read\"] }");
    images_test_reopen(t);
    t->web.domain = &images_domain;
    t->web.who = &t->root;
    buf_done(&why);
    *state = t;
    return 0;
}

static inline int images_test_setup(void **state)
{
    return images_test_setup_at(state, "mem:");
}

static inline int images_test_teardown(void **state)
{
    struct images_test *t = *state;

    web_test_done(&t->web);
    images_domain.close(t->self);
    store_close(t->store);
    policy_set_unref(t->root.policies);
    policy_set_unref(t->reader.policies);
    policy_set_unref(t->nobody.policies);
    config_free(t->config);
    free(t);
    return 0;
}

/* A request with at most one header. Returns the status. */
static inline int call(struct images_test *t, const char *method, const char *target,
                       const char *header, const char *value, struct slice body)
{
    struct web_param headers[] = {{header, value}, {NULL, NULL}};

    return web_test_call(&t->web, method, target, headers, body);
}

static inline int get(struct images_test *t, const char *target)
{
    return call(t, "GET", target, NULL, NULL, slice_of("", 0));
}

static inline const char *text(struct images_test *t)
{
    return web_test_text(&t->web);
}

static inline const char *header(struct images_test *t, const char *name)
{
    const char *value = web_test_header(&t->web, name);

    return value != NULL ? value : "";
}

static inline const char *digest_text(struct slice bytes, char out[DIGEST_TEXT_MAX])
{
    struct digest d;

    digest_of(DIGEST_SHA256, bytes.data, bytes.len, &d);
    return digest_print(&d, out);
}

static inline void push_blob(struct images_test *t, const char *repo, const char *content)
{
    char target[512], digest[DIGEST_TEXT_MAX];

    snprintf(target, sizeof target, "/v2/%s/blobs/uploads/?digest=%s", repo,
             digest_text(slice_str(content), digest));
    assert_int_equal(call(t, "POST", target, NULL, NULL, slice_str(content)), 201);
}

/* An image manifest of a config and one layer; `extra` is more JSON, ",\"x\":1" or "". */
static inline const char *image_text(const char *config, const char *layer, const char *extra,
                                     char out[4096])
{
    char c[DIGEST_TEXT_MAX], l[DIGEST_TEXT_MAX];

    snprintf(out, 4096,
             "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_OCI_MANIFEST
             "\",\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\","
             "\"digest\":\"%s\",\"size\":%zu},\"layers\":[{\"mediaType\":"
             "\"application/vnd.oci.image.layer.v1.tar+gzip\",\"digest\":\"%s\",\"size\":%zu}]%s}",
             digest_text(slice_str(config), c), strlen(config), digest_text(slice_str(layer), l),
             strlen(layer), extra);
    return out;
}

static inline int put_manifest(struct images_test *t, const char *repo, const char *ref,
                               const char *manifest)
{
    char target[600];

    snprintf(target, sizeof target, "/v2/%s/manifests/%s", repo, ref);
    return call(t, "PUT", target, "Content-Type", MEDIA_OCI_MANIFEST, slice_str(manifest));
}

/* Pushes an image whose config is {"n":"<name>"} and whose layer is its name. */
static inline void push_image(struct images_test *t, const char *repo, const char *tag,
                              const char *name, char digest[DIGEST_TEXT_MAX])
{
    char config[300], manifest[4096];

    snprintf(config, sizeof config, "{\"n\":\"%s\"}", name);
    push_blob(t, repo, config);
    push_blob(t, repo, name);
    image_text(config, name, "", manifest);
    assert_int_equal(put_manifest(t, repo, tag, manifest), 201);
    digest_text(slice_str(manifest), digest);
    assert_string_equal(header(t, "Docker-Content-Digest"), digest);
}

#endif
