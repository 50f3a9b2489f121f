/* The OCI distribution API, without a socket. */
#include "images_test.h"

static void ping_and_login(void **state)
{
    struct images_test *t = *state;

    assert_int_equal(get(t, "/v2/"), 200);
    assert_string_equal(text(t), "{}");
    assert_string_equal(header(t, "Docker-Distribution-Api-Version"), "registry/2.0");
    t->web.who = &t->reader;
    assert_int_equal(get(t, "/v2/"), 200);
    t->web.who = &t->nobody;
    assert_int_equal(get(t, "/v2/"), 401);
    assert_string_equal(header(t, "WWW-Authenticate"), "Basic realm=\"infrafs\"");
    assert_non_null(strstr(text(t), "\"code\":\"UNAUTHORIZED\""));
}

/* Every path is closed to who is not known, and to who may not; nothing tells what is there. */
static void rights(void **state)
{
    static const struct {
        const char *method, *target;
    } cases[] = {
        {"GET", "/v2/_catalog"},
        {"GET", "/v2/team/app/tags/list"},
        {"GET", "/v2/team/app/manifests/1.0"},
        {"PUT", "/v2/team/app/manifests/1.0"},
        {"DELETE", "/v2/team/app/manifests/1.0"},
        {"GET", "/v2/team/app/referrers/sha256:00"},
        {"GET", "/v2/team/app/blobs/sha256:00"},
        {"DELETE", "/v2/team/app/blobs/sha256:00"},
        {"POST", "/v2/team/app/blobs/uploads/"},
        {"PATCH", "/v2/team/app/blobs/uploads/00"},
        {"PUT", "/v2/team/app/blobs/uploads/00"},
        {"GET", "/v2/team/app/blobs/uploads/00"},
        {"DELETE", "/v2/team/app/blobs/uploads/00"},
    };
    struct images_test *t = *state;
    char digest[DIGEST_TEXT_MAX];

    push_image(t, "team/app", "1.0", "a", digest);
    push_image(t, "other/app", "1.0", "b", digest);
    for (size_t i = 0; i < array_size(cases); i++) {
        t->web.who = &t->nobody;
        if (call(t, cases[i].method, cases[i].target, NULL, NULL, SLICE("x")) != 401)
            fail_msg("%s %s: %d", cases[i].method, cases[i].target, t->web.resp.status);
        t->web.who = &t->reader;
        if (strcmp(cases[i].method, "GET") != 0 || strstr(cases[i].target, "uploads") != NULL) {
            if (call(t, cases[i].method, cases[i].target, NULL, NULL, SLICE("x")) != 403)
                fail_msg("%s %s: %d", cases[i].method, cases[i].target, t->web.resp.status);
            assert_non_null(strstr(text(t), "\"code\":\"DENIED\""));
        }
    }
    assert_int_equal(get(t, "/v2/team/app/manifests/1.0"), 200);
    assert_int_equal(get(t, "/v2/other/app/manifests/1.0"), 403);
    assert_int_equal(get(t, "/v2/_catalog"), 200);
    assert_string_equal(text(t), "{\"repositories\":[\"team/app\"]}");
}

/* Whoever may create but not update sets new tags and moves none. */
static void retag_needs_update(void **state)
{
    struct images_test *t = *state;
    struct identity who = images_test_identity(
        IDENTITY_USER, "ci", "path \"images/*\" { capabilities = [\"read\", \"create\"] }");
    char one[DIGEST_TEXT_MAX], manifest[4096];

    push_image(t, "team/app", "1.0", "a", one);
    t->web.who = &who;
    push_image(t, "team/app", "1.1", "b", one);
    image_text("{\"n\":\"b\"}", "b", "", manifest);
    assert_int_equal(put_manifest(t, "team/app", "1.1", manifest), 201);
    assert_int_equal(put_manifest(t, "team/app", "1.0", manifest), 403);
    assert_int_equal(get(t, "/v2/team/app/manifests/1.0"), 200);
    assert_string_not_equal(header(t, "Docker-Content-Digest"), one);
    web_test_done(&t->web);
    policy_set_unref(who.policies);
}

static void manifest_round_trip(void **state)
{
    struct images_test *t = *state;
    char digest[DIGEST_TEXT_MAX], target[300], manifest[4096], etag[200];

    push_image(t, "team/app", "1.0", "hello", digest);
    snprintf(target, sizeof target, "/v2/team/app/manifests/%s", digest);
    assert_string_equal(header(t, "Location"), target);
    image_text("{\"n\":\"hello\"}", "hello", "", manifest);
    for (int i = 0; i < 4; i++) { /* twice each: the second time from the cache */
        assert_int_equal(get(t, i & 1 ? target : "/v2/team/app/manifests/1.0"), 200);
        assert_string_equal(text(t), manifest);
        assert_string_equal(header(t, "Content-Type"), MEDIA_OCI_MANIFEST);
        assert_string_equal(header(t, "Docker-Content-Digest"), digest);
        snprintf(etag, sizeof etag, "\"%s\"", digest);
        assert_string_equal(header(t, "ETag"), etag);
    }
    assert_int_equal(call(t, "HEAD", "/v2/team/app/manifests/1.0", NULL, NULL, SLICE("")), 200);
    assert_int_equal(get(t, "/v2/team/app/manifests/2.0"), 404);
    assert_non_null(strstr(text(t), "MANIFEST_UNKNOWN"));
    assert_int_equal(get(t, "/v2/team/none/manifests/1.0"), 404);
    assert_non_null(strstr(text(t), "NAME_UNKNOWN"));
    assert_int_equal(get(t, "/v2/team/app/manifests/sha256:bad"), 400);
    assert_non_null(strstr(text(t), "DIGEST_INVALID"));
    assert_int_equal(get(t, "/v2/team/app/manifests/.bad"), 404);
    assert_int_equal(get(t, "/v2/Team/app/manifests/1.0"), 400);
    assert_non_null(strstr(text(t), "NAME_INVALID"));
}

static void a_moved_tag_is_seen_at_once(void **state)
{
    struct images_test *t = *state;
    char one[DIGEST_TEXT_MAX], two[DIGEST_TEXT_MAX], target[300];

    push_image(t, "a", "latest", "one", one);
    assert_int_equal(get(t, "/v2/a/manifests/latest"), 200);
    push_image(t, "a", "latest", "two", two);
    assert_int_equal(get(t, "/v2/a/manifests/latest"), 200);
    assert_string_equal(header(t, "Docker-Content-Digest"), two);
    snprintf(target, sizeof target, "/v2/a/manifests/%s", one);
    assert_int_equal(get(t, target), 200); /* what was tagged before stays */
    assert_int_equal(call(t, "DELETE", "/v2/a/manifests/latest", NULL, NULL, SLICE("")), 202);
    assert_int_equal(get(t, "/v2/a/manifests/latest"), 404);
    assert_int_equal(call(t, "DELETE", "/v2/a/manifests/latest", NULL, NULL, SLICE("")), 404);
    snprintf(target, sizeof target, "/v2/a/manifests/%s", two);
    assert_int_equal(get(t, target), 200);
    assert_int_equal(call(t, "DELETE", target, NULL, NULL, SLICE("")), 202);
    assert_int_equal(get(t, target), 404);
    assert_int_equal(call(t, "DELETE", target, NULL, NULL, SLICE("")), 404);
}

static void manifest_delete_takes_its_tags(void **state)
{
    struct images_test *t = *state;
    char digest[DIGEST_TEXT_MAX], target[300], manifest[4096];

    push_image(t, "a", "1", "x", digest);
    image_text("{\"n\":\"x\"}", "x", "", manifest);
    assert_int_equal(put_manifest(t, "a", "2", manifest), 201);
    push_image(t, "a", "3", "y", target);
    snprintf(target, sizeof target, "/v2/a/manifests/%s", digest);
    assert_int_equal(call(t, "DELETE", target, NULL, NULL, SLICE("")), 202);
    assert_int_equal(get(t, "/v2/a/tags/list"), 200);
    assert_string_equal(text(t), "{\"name\":\"a\",\"tags\":[\"3\"]}");
}

static void manifest_refusals(void **state)
{
    static const char none[] =
        "sha256:00000000000000000000000000000000000000000000000000000000000000aa";
    struct images_test *t = *state;
    char digest[DIGEST_TEXT_MAX], manifest[4096], target[300];
    struct web_param types[] = {{"Content-Type", MEDIA_OCI_INDEX}, {0}};
    char *large;

    push_image(t, "a", "1", "x", digest);
    image_text("{\"n\":\"x\"}", "absent", "", manifest);
    assert_int_equal(put_manifest(t, "a", "2", manifest), 400);
    assert_non_null(strstr(text(t), "MANIFEST_BLOB_UNKNOWN"));
    image_text("{\"n\":\"x\"}", "x", "", manifest);
    assert_int_equal(put_manifest(t, "b", "1", manifest), 400); /* blobs of another repository */
    assert_non_null(strstr(text(t), "MANIFEST_BLOB_UNKNOWN"));
    assert_int_equal(get(t, "/v2/b/tags/list"), 404); /* and nothing came into being */
    assert_int_equal(put_manifest(t, "a", "2", "{\"schemaVersion\":2"), 400);
    assert_non_null(strstr(text(t), "MANIFEST_INVALID"));
    assert_int_equal(put_manifest(t, "a", none, manifest), 400);
    assert_non_null(strstr(text(t), "DIGEST_INVALID"));
    assert_int_equal(put_manifest(t, "a", "sha256:baddigeststring", manifest), 400);
    assert_int_equal(put_manifest(t, "a", "-bad", manifest), 400);
    assert_int_equal(web_test_call(&t->web, "PUT", "/v2/a/manifests/2", types, slice_str(manifest)),
                     400);
    memcpy(strstr(manifest, "\"size\":1}]"), "\"size\":2}]", 9);
    assert_int_equal(put_manifest(t, "a", "2", manifest), 400);
    assert_non_null(strstr(text(t), "the manifest says 2"));
    large = calloc(1, MANIFEST_BYTES_MAX + 2);
    assert_non_null(large);
    memset(large, ' ', MANIFEST_BYTES_MAX + 1);
    assert_int_equal(put_manifest(t, "a", "2", large), 413);
    free(large);
    snprintf(target, sizeof target, "/v2/a/manifests/%s", none);
    assert_int_equal(get(t, target), 404);
    assert_int_equal(get(t, "/v2/a/manifests/2"), 404);
}

/* Larger than a row: a blob under the same rules. */
static void large_manifest(void **state)
{
    struct images_test *t = *state;
    char digest[DIGEST_TEXT_MAX], target[300];
    struct buf m = {0};
    struct digest d;
    struct blob_stat st;

    buf_add_str(&m, "{\"schemaVersion\":2,\"manifests\":[],\"annotations\":{\"a\":\"");
    while (m.len < 300000)
        buf_add_str(&m, "0123456789abcdef");
    buf_add_str(&m, "\"}}");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(
            call(t, "PUT", "/v2/a/manifests/big", "Content-Type", MEDIA_OCI_INDEX, buf_slice(&m)),
            201);
        assert_int_equal(get(t, "/v2/a/manifests/big"), 200);
        assert_true(slice_eq(web_test_body(&t->web), buf_slice(&m)));
        assert_string_equal(header(t, "Content-Type"), MEDIA_OCI_INDEX);
    }
    digest_text(buf_slice(&m), digest);
    digest_parse(slice_str(digest), &d);
    assert_int_equal(blob_stat(t->store, &d, &st), 0);
    assert_true(st.held);
    snprintf(target, sizeof target, "/v2/a/manifests/%s", digest);
    assert_int_equal(call(t, "DELETE", target, NULL, NULL, SLICE("")), 202);
    assert_int_equal(blob_stat(t->store, &d, &st), 0);
    assert_false(st.held);
    buf_done(&m);
}

static void sha512(void **state)
{
    struct images_test *t = *state;
    char digest[DIGEST_TEXT_MAX], target[400], manifest[4096], again[DIGEST_TEXT_MAX];
    struct digest d;

    digest_of(DIGEST_SHA512, "layer", 5, &d);
    digest_print(&d, digest);
    snprintf(target, sizeof target, "/v2/a/blobs/uploads/?digest=%s", digest);
    assert_int_equal(call(t, "POST", target, NULL, NULL, SLICE("layer")), 201);
    assert_string_equal(header(t, "Docker-Content-Digest"), digest);
    assert_int_equal(
        call(t, "POST", "/v2/a/blobs/uploads/?digest-algorithm=sha512", NULL, NULL, SLICE("")),
        202);
    snprintf(target, sizeof target, "%s?digest=%s", header(t, "Location"), digest);
    assert_int_equal(call(t, "PUT", target, NULL, NULL, SLICE("layer")), 201);
    /* a session of sha256 that ends with the other: the content is read again */
    assert_int_equal(call(t, "POST", "/v2/a/blobs/uploads/", NULL, NULL, SLICE("")), 202);
    snprintf(target, sizeof target, "%s?digest=%s", header(t, "Location"), digest);
    assert_int_equal(call(t, "PUT", target, NULL, NULL, SLICE("layer")), 201);
    snprintf(target, sizeof target, "/v2/a/blobs/%s", digest);
    assert_int_equal(get(t, target), 200);
    assert_string_equal(text(t), "layer");
    push_blob(t, "a", "{}");
    push_blob(t, "a", "layer");
    image_text("{}", "layer", "", manifest);
    digest_of(DIGEST_SHA512, manifest, strlen(manifest), &d);
    assert_int_equal(put_manifest(t, "a", digest_print(&d, again), manifest), 201);
    assert_string_equal(header(t, "Docker-Content-Digest"), again);
    snprintf(target, sizeof target, "/v2/a/manifests/%s", again);
    assert_int_equal(get(t, target), 200);
    assert_string_equal(header(t, "Docker-Content-Digest"), again);
}

static void tag_parameters(void **state)
{
    struct images_test *t = *state;
    char manifest[4096], digest[DIGEST_TEXT_MAX], target[600];
    size_t n = 0;

    push_blob(t, "a", "{}");
    push_blob(t, "a", "x");
    image_text("{}", "x", "", manifest);
    snprintf(target, sizeof target, "/v2/a/manifests/%s?tag=v1&tag=v1.0&tag=latest",
             digest_text(slice_str(manifest), digest));
    assert_int_equal(
        call(t, "PUT", target, "Content-Type", MEDIA_OCI_MANIFEST, slice_str(manifest)), 201);
    for (const struct web_response_header *h = t->web.resp.headers; h != NULL; h = h->next)
        n += strcmp(h->name, "OCI-Tag") == 0;
    assert_int_equal(n, 3);
    assert_int_equal(get(t, "/v2/a/tags/list"), 200);
    assert_string_equal(text(t), "{\"name\":\"a\",\"tags\":[\"latest\",\"v1\",\"v1.0\"]}");
    snprintf(target, sizeof target, "/v2/a/manifests/%s?tag=v2&tag=-bad", digest);
    assert_int_equal(
        call(t, "PUT", target, "Content-Type", MEDIA_OCI_MANIFEST, slice_str(manifest)), 400);
    assert_int_equal(get(t, "/v2/a/manifests/v2"), 404);
}

static void tag_pages(void **state)
{
    struct images_test *t = *state;
    char manifest[4096], tag[16];

    push_blob(t, "a", "{}");
    push_blob(t, "a", "x");
    image_text("{}", "x", "", manifest);
    for (int i = 0; i < 5; i++) {
        snprintf(tag, sizeof tag, "t%d", i);
        assert_int_equal(put_manifest(t, "a", tag, manifest), 201);
    }
    assert_int_equal(get(t, "/v2/a/tags/list?n=2"), 200);
    assert_string_equal(text(t), "{\"name\":\"a\",\"tags\":[\"t0\",\"t1\"]}");
    assert_string_equal(header(t, "Link"), "</v2/a/tags/list?n=2&last=t1>; rel=\"next\"");
    assert_int_equal(get(t, "/v2/a/tags/list?n=2&last=t1"), 200);
    assert_string_equal(text(t), "{\"name\":\"a\",\"tags\":[\"t2\",\"t3\"]}");
    assert_int_equal(get(t, "/v2/a/tags/list?n=2&last=t3"), 200);
    assert_string_equal(text(t), "{\"name\":\"a\",\"tags\":[\"t4\"]}");
    assert_string_equal(header(t, "Link"), "");
    assert_int_equal(get(t, "/v2/a/tags/list?n=5"), 200);
    assert_string_equal(header(t, "Link"), "");
    assert_int_equal(get(t, "/v2/a/tags/list?n=0"), 200);
    assert_string_equal(text(t), "{\"name\":\"a\",\"tags\":[]}");
    assert_string_equal(header(t, "Link"), "");
    assert_int_equal(get(t, "/v2/a/tags/list?last=t2x"), 200);
    assert_string_equal(text(t), "{\"name\":\"a\",\"tags\":[\"t3\",\"t4\"]}");
    assert_int_equal(get(t, "/v2/a/tags/list?n=-1"), 400);
    assert_int_equal(get(t, "/v2/a/tags/list?n=x"), 400);
    assert_int_equal(get(t, "/v2/none/tags/list"), 404);
    assert_non_null(strstr(text(t), "NAME_UNKNOWN"));
}

static void catalog(void **state)
{
    static const char *const repos[] = {"b", "a-b", "a/b", "a", "team/app"};
    struct images_test *t = *state;
    char digest[DIGEST_TEXT_MAX];

    assert_int_equal(get(t, "/v2/_catalog"), 200);
    assert_string_equal(text(t), "{\"repositories\":[]}");
    for (size_t i = 0; i < array_size(repos); i++)
        push_image(t, repos[i], "1", "x", digest);
    assert_int_equal(get(t, "/v2/_catalog"), 200);
    assert_string_equal(text(t), "{\"repositories\":[\"a\",\"a-b\",\"a/b\",\"b\",\"team/app\"]}");
    assert_int_equal(get(t, "/v2/_catalog?n=2"), 200);
    assert_string_equal(text(t), "{\"repositories\":[\"a\",\"a-b\"]}");
    assert_string_equal(header(t, "Link"), "</v2/_catalog?n=2&last=a-b>; rel=\"next\"");
    assert_int_equal(get(t, "/v2/_catalog?n=2&last=a-b"), 200);
    assert_string_equal(text(t), "{\"repositories\":[\"a/b\",\"b\"]}");
    assert_int_equal(get(t, "/v2/_catalog?n=2&last=b"), 200);
    assert_string_equal(text(t), "{\"repositories\":[\"team/app\"]}");
    assert_string_equal(header(t, "Link"), "");
}

static void put_referrer(struct images_test *t, const char *subject, const char *type,
                         const char *note, char digest[DIGEST_TEXT_MAX])
{
    char extra[1000], manifest[4096];

    snprintf(extra, sizeof extra,
             ",\"artifactType\":\"%s\",\"subject\":{\"mediaType\":\"" MEDIA_OCI_MANIFEST
             "\",\"digest\":\"%s\",\"size\":1},\"annotations\":{\"note\":\"%s\",\"artifactType\":"
             "\"fake/type\"}",
             type, subject, note);
    push_blob(t, "a", "{}");
    push_blob(t, "a", "x");
    image_text("{}", "x", extra, manifest);
    assert_int_equal(put_manifest(t, "a", digest_text(slice_str(manifest), digest), manifest), 201);
    assert_string_equal(header(t, "OCI-Subject"), subject);
}

static void referrers(void **state)
{
    struct images_test *t = *state;
    char subject[DIGEST_TEXT_MAX], one[DIGEST_TEXT_MAX], two[DIGEST_TEXT_MAX], target[600];

    push_image(t, "a", "1", "img", subject);
    snprintf(target, sizeof target, "/v2/a/referrers/%s", subject);
    assert_int_equal(get(t, target), 200);
    assert_string_equal(text(t), "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_OCI_INDEX
                                 "\",\"manifests\":[]}");
    assert_string_equal(header(t, "Content-Type"), MEDIA_OCI_INDEX);
    put_referrer(t, subject, "a/sbom", "n1", one);
    put_referrer(t, subject, "a/sig", "n2", two);
    assert_int_equal(get(t, target), 200);
    assert_non_null(strstr(text(t), one));
    assert_non_null(strstr(text(t), two));
    assert_non_null(strstr(text(t), "\"note\":\"n1\""));
    assert_string_equal(header(t, "OCI-Filters-Applied"), "");
    snprintf(target, sizeof target, "/v2/a/referrers/%s?artifactType=a/sbom", subject);
    assert_int_equal(get(t, target), 200);
    assert_string_equal(header(t, "OCI-Filters-Applied"), "artifactType");
    assert_non_null(strstr(text(t), one));
    assert_null(strstr(text(t), two));
    snprintf(target, sizeof target, "/v2/a/referrers/%s?artifactType=fake/type", subject);
    assert_int_equal(get(t, target), 200);
    assert_null(strstr(text(t), one));
    snprintf(target, sizeof target, "/v2/a/manifests/%s", one);
    assert_int_equal(call(t, "DELETE", target, NULL, NULL, SLICE("")), 202);
    snprintf(target, sizeof target, "/v2/a/referrers/%s", subject);
    assert_int_equal(get(t, target), 200);
    assert_null(strstr(text(t), one));
    assert_non_null(strstr(text(t), two));
    assert_int_equal(get(t, "/v2/none/referrers/sha256:00"), 400);
    snprintf(target, sizeof target, "/v2/none/referrers/%s", subject);
    assert_int_equal(get(t, target), 200);
}

/* What clients of older registries keep under the tag sha256-<hex>. */
static void fallback_referrers(void **state)
{
    struct images_test *t = *state;
    char subject[DIGEST_TEXT_MAX], item[DIGEST_TEXT_MAX], tag[DIGEST_TEXT_MAX];
    char target[600], index[2000];
    struct digest d;

    push_image(t, "a", "1", "img", subject);
    push_image(t, "a", "sig", "signature", item);
    digest_parse(slice_str(subject), &d);
    snprintf(
        index, sizeof index,
        "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"" MEDIA_OCI_MANIFEST
        "\",\"digest\":\"%s\",\"size\":5,\"artifactType\":\"old/type\"},{\"mediaType\":\"x/y\","
        "\"digest\":\"sha256:00000000000000000000000000000000000000000000000000000000000000aa\","
        "\"size\":1}]}",
        item);
    snprintf(target, sizeof target, "/v2/a/manifests/%s", digest_file_name(&d, tag));
    assert_int_equal(call(t, "PUT", target, "Content-Type", MEDIA_OCI_INDEX, slice_str(index)),
                     201);
    snprintf(target, sizeof target, "/v2/a/referrers/%s", subject);
    assert_int_equal(get(t, target), 200);
    assert_non_null(strstr(text(t), item));
    assert_null(strstr(text(t), "00aa")); /* it is not here */
    snprintf(target, sizeof target, "/v2/a/referrers/%s?artifactType=other/type", subject);
    assert_int_equal(get(t, target), 200);
    assert_null(strstr(text(t), item));
}

static void blobs(void **state)
{
    struct images_test *t = *state;
    char digest[DIGEST_TEXT_MAX], target[400];

    push_blob(t, "a", "content");
    snprintf(target, sizeof target, "/v2/a/blobs/%s", digest_text(SLICE("content"), digest));
    assert_string_equal(header(t, "Location"), target);
    assert_int_equal(get(t, target), 200);
    assert_string_equal(text(t), "content");
    assert_string_equal(header(t, "Docker-Content-Digest"), digest);
    assert_int_equal(call(t, "HEAD", target, NULL, NULL, SLICE("")), 200);
    snprintf(target, sizeof target, "/v2/b/blobs/%s", digest); /* not by guessing a digest */
    assert_int_equal(get(t, target), 404);
    assert_non_null(strstr(text(t), "BLOB_UNKNOWN"));
    assert_int_equal(get(t, "/v2/a/blobs/sha256:xyz"), 400);
    push_blob(t, "b", "content");
    assert_int_equal(call(t, "DELETE", target, NULL, NULL, SLICE("")), 202);
    assert_int_equal(get(t, target), 404);
    assert_int_equal(call(t, "DELETE", target, NULL, NULL, SLICE("")), 404);
    snprintf(target, sizeof target, "/v2/a/blobs/%s", digest);
    assert_int_equal(get(t, target), 200); /* the other repository keeps its own */
    push_blob(t, "a", "");
    snprintf(target, sizeof target, "/v2/a/blobs/%s", digest_text(SLICE(""), digest));
    assert_int_equal(get(t, target), 200);
    assert_int_equal(web_test_body(&t->web).len, 0);
}

static void mounts(void **state)
{
    struct images_test *t = *state;
    char digest[DIGEST_TEXT_MAX], target[600];
    struct identity who = images_test_identity(
        IDENTITY_USER, "dev", "path \"images/dev/*\" { capabilities = [\"read\", \"create\"] }");

    push_blob(t, "team/a", "content");
    digest_text(SLICE("content"), digest);
    snprintf(target, sizeof target, "/v2/dev/b/blobs/uploads/?mount=%s&from=team/a", digest);
    t->web.who = &who; /* may not read where it is: an upload begins, and nothing is told */
    assert_int_equal(call(t, "POST", target, NULL, NULL, SLICE("")), 202);
    assert_string_not_equal(header(t, "Docker-Upload-UUID"), "");
    snprintf(target, sizeof target, "/v2/dev/b/blobs/uploads/?mount=%s", digest);
    assert_int_equal(call(t, "POST", target, NULL, NULL, SLICE("")), 202);
    t->web.who = &t->root;
    assert_int_equal(call(t, "POST", target, NULL, NULL, SLICE("")), 201); /* anonymous mount */
    assert_string_equal(header(t, "Docker-Content-Digest"), digest);
    snprintf(target, sizeof target, "/v2/dev/c/blobs/uploads/?mount=%s&from=team%%2Fa&origin=x",
             digest);
    assert_int_equal(call(t, "POST", target, NULL, NULL, SLICE("")), 201);
    snprintf(target, sizeof target, "/v2/dev/c/blobs/%s", digest);
    assert_string_equal(header(t, "Location"), target);
    assert_int_equal(get(t, target), 200);
    snprintf(target, sizeof target, "/v2/dev/d/blobs/uploads/?mount=%s&from=none", digest);
    assert_int_equal(call(t, "POST", target, NULL, NULL, SLICE("")), 202);
    assert_int_equal(call(t, "POST", "/v2/dev/d/blobs/uploads/?mount=sha256:bad&from=team/a", NULL,
                          NULL, SLICE("")),
                     202);
    web_test_done(&t->web);
    policy_set_unref(who.policies);
}

/* Its manifests may be missing (a sparse index). */
static void index_of_images(void **state)
{
    struct images_test *t = *state;
    char one[DIGEST_TEXT_MAX], index[2000];

    push_image(t, "a", "amd64", "x", one);
    snprintf(index, sizeof index,
             "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_OCI_INDEX
             "\",\"manifests\":[{\"mediaType\":\"" MEDIA_OCI_MANIFEST
             "\",\"digest\":\"%s\",\"size\":10},{\"mediaType\":\"" MEDIA_OCI_MANIFEST
             "\",\"digest\":\"sha256:"
             "00000000000000000000000000000000000000000000000000000000000000aa\",\"size\":1}]}",
             one);
    assert_int_equal(
        call(t, "PUT", "/v2/a/manifests/1", "Content-Type", MEDIA_OCI_INDEX, slice_str(index)),
        201);
    assert_int_equal(get(t, "/v2/a/manifests/1"), 200);
    assert_string_equal(text(t), index);
    assert_string_equal(header(t, "Content-Type"), MEDIA_OCI_INDEX);
}

static void foreign_layers_may_be_missing(void **state)
{
    struct images_test *t = *state;
    char manifest[4096], *type;

    push_blob(t, "a", "{}");
    image_text("{}", "elsewhere", "", manifest);
    type = strstr(manifest, "image.layer.v1.tar+gzip");
    memmove(type + 40, type + 23, strlen(type + 23) + 1);
    memcpy(type, "image.layer.nondistributable.v1.tar+gzip", 40);
    assert_int_equal(put_manifest(t, "a", "1", manifest), 201);
}

static void unknown_paths(void **state)
{
    struct images_test *t = *state;

    assert_int_equal(get(t, "/v2/nothing"), 404);
    assert_non_null(strstr(text(t), "\"errors\""));
    assert_int_equal(call(t, "DELETE", "/v2/_catalog", NULL, NULL, SLICE("")), 405);
    assert_non_null(strstr(text(t), "UNSUPPORTED"));
}

#define test(f) cmocka_unit_test_setup_teardown(f, images_test_setup, images_test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(ping_and_login),
        test(rights),
        test(retag_needs_update),
        test(manifest_round_trip),
        test(a_moved_tag_is_seen_at_once),
        test(manifest_delete_takes_its_tags),
        test(manifest_refusals),
        test(large_manifest),
        test(sha512),
        test(tag_parameters),
        test(tag_pages),
        test(catalog),
        test(referrers),
        test(fallback_referrers),
        test(blobs),
        test(mounts),
        test(index_of_images),
        test(foreign_layers_may_be_missing),
        test(unknown_paths),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
