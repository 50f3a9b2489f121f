/* Uploads: chunks in and out of order, resumed, refused; and what is left when the store fails. */
#include "folder.h"
#include "images_test.h"

#include <pthread.h>
#include <sys/stat.h>

static const char *begin(struct images_test *t, char location[300])
{
    assert_int_equal(call(t, "POST", "/v2/team/app/blobs/uploads/", NULL, NULL, SLICE("")), 202);
    assert_string_equal(header(t, "Range"), "0-0");
    snprintf(location, 300, "%s", header(t, "Location"));
    return location;
}

static int chunk(struct images_test *t, const char *method, const char *location,
                 const char *digest, const char *range, const char *content)
{
    char target[600];

    snprintf(target, sizeof target, "%s%s%s", location, digest != NULL ? "?digest=" : "",
             digest != NULL ? digest : "");
    return call(t, method, target, range != NULL ? "Content-Range" : NULL, range,
                slice_str(content));
}

static void assert_stored(struct images_test *t, const char *content)
{
    char digest[DIGEST_TEXT_MAX], target[400];

    snprintf(target, sizeof target, "/v2/team/app/blobs/%s",
             digest_text(slice_str(content), digest));
    assert_int_equal(get(t, target), 200);
    assert_string_equal(text(t), content);
}

static void chunks_in_order(void **state)
{
    struct images_test *t = *state;
    char location[300], digest[DIGEST_TEXT_MAX];

    begin(t, location);
    digest_text(SLICE("hello, world"), digest);
    t->web.piece_bytes = 2;
    assert_int_equal(chunk(t, "PATCH", location, NULL, "0-4", "hello"), 202);
    assert_string_equal(header(t, "Range"), "0-4");
    assert_string_equal(header(t, "Location"), location);
    assert_int_equal(chunk(t, "PATCH", location, NULL, NULL, ", "), 202); /* appends */
    assert_string_equal(header(t, "Range"), "0-6");
    assert_int_equal(get(t, location), 204);
    assert_string_equal(header(t, "Range"), "0-6");
    assert_int_equal(chunk(t, "PUT", location, digest, "7-11", "world"), 201);
    assert_string_equal(header(t, "Docker-Content-Digest"), digest);
    assert_stored(t, "hello, world");
    assert_int_equal(get(t, location), 404);
    assert_non_null(strstr(text(t), "BLOB_UPLOAD_UNKNOWN"));
    assert_int_equal(uploads_open(t->im->uploads), 0);
}

/* A gap, an overlap, a range that does not fit its body: refused, and the session is as it was. */
static void chunks_out_of_order(void **state)
{
    static const struct {
        const char *range, *content;
        int status;
    } cases[] = {
        {"5-9", "56789", 416},
        {"3-6", "3456", 416},
        {"0-3", "0123", 416},
        {"4-9", "4567", 400},
        {"x", "4567", 400},
        {"9-4", "4567", 400},
        {"4-99999999999999999999", "4", 400},
    };
    struct images_test *t = *state;
    char location[300], digest[DIGEST_TEXT_MAX];

    begin(t, location);
    digest_text(SLICE("01234567"), digest);
    assert_int_equal(chunk(t, "PATCH", location, NULL, "1-4", "1234"), 416);
    assert_string_equal(header(t, "Range"), "0-0");
    assert_int_equal(chunk(t, "PATCH", location, NULL, "0-3", "0123"), 202);
    for (size_t i = 0; i < array_size(cases); i++) {
        if (chunk(t, "PATCH", location, NULL, cases[i].range, cases[i].content) != cases[i].status)
            fail_msg("%s: %d", cases[i].range, t->web.resp.status);
        if (cases[i].status == 416)
            assert_string_equal(header(t, "Range"), "0-3");
        if (cases[i].status == 416)
            assert_string_equal(header(t, "Location"), location);
        assert_int_equal(get(t, location), 204);
        assert_string_equal(header(t, "Range"), "0-3");
    }
    assert_int_equal(chunk(t, "PUT", location, digest, "5-8", "4567"), 416);
    assert_int_equal(chunk(t, "PUT", location, digest, "4-7", "4567"), 201);
    assert_stored(t, "01234567");
}

static void wrong_digest(void **state)
{
    struct images_test *t = *state;
    char location[300], right[DIGEST_TEXT_MAX], wrong[DIGEST_TEXT_MAX], target[500];

    begin(t, location);
    digest_text(SLICE("content"), right);
    digest_text(SLICE("other"), wrong);
    assert_int_equal(chunk(t, "PUT", location, wrong, NULL, "content"), 400);
    assert_non_null(strstr(text(t), "DIGEST_INVALID"));
    assert_int_equal(chunk(t, "PUT", location, "sha256:xyz", NULL, ""), 400);
    assert_non_null(strstr(text(t), "DIGEST_INVALID"));
    assert_int_equal(chunk(t, "PUT", location, NULL, NULL, ""), 400);
    assert_int_equal(chunk(t, "PUT", location, right, NULL, ""), 201); /* it is all still there */
    assert_stored(t, "content");
    snprintf(target, sizeof target, "/v2/team/app/blobs/uploads/?digest=%s", wrong);
    assert_int_equal(call(t, "POST", target, NULL, NULL, SLICE("content")), 400);
    assert_int_equal(
        call(t, "POST", "/v2/team/app/blobs/uploads/?digest=md5:1", NULL, NULL, SLICE("content")),
        400);
    assert_int_equal(uploads_open(t->im->uploads), 0);
}

static void cancelled(void **state)
{
    struct images_test *t = *state;
    char location[300];

    begin(t, location);
    assert_int_equal(chunk(t, "PATCH", location, NULL, NULL, "content"), 202);
    assert_int_equal(call(t, "DELETE", location, NULL, NULL, SLICE("")), 204);
    assert_int_equal(get(t, location), 404);
    assert_int_equal(call(t, "DELETE", location, NULL, NULL, SLICE("")), 404);
    assert_int_equal(chunk(t, "PATCH", location, NULL, NULL, "x"), 404);
    assert_int_equal(get(t, "/v2/team/app/blobs/uploads/nonsense"), 404);
    assert_int_equal(get(t, "/v2/team/app/blobs/uploads/00112233445566778899aabbccddeeff"), 404);
}

/* A session is of one repository and one user. */
static void of_somebody_else(void **state)
{
    struct images_test *t = *state;
    struct identity other = images_test_identity(IDENTITY_USER, "mallory", NULL);
    char location[300], target[300];

    begin(t, location);
    snprintf(target, sizeof target, "/v2/other%s", strstr(location, "/blobs/"));
    assert_int_equal(get(t, target), 404);
    t->web.who = &other;
    assert_int_equal(get(t, location), 404);
    assert_int_equal(chunk(t, "PATCH", location, NULL, NULL, "x"), 404);
    t->web.who = &t->root;
    assert_int_equal(get(t, location), 204);
    web_test_done(&t->web);
    policy_set_unref(other.policies);
}

/* The client goes away in the middle: what arrived counts. */
static void vanished(void **state)
{
    struct images_test *t = *state;
    char location[300], digest[DIGEST_TEXT_MAX], target[500];

    begin(t, location);
    digest_text(SLICE("0123456789"), digest);
    t->web.vanish = true;
    chunk(t, "PATCH", location, NULL, NULL, "01234");
    web_test_done(&t->web);
    t->web.vanish = false;
    assert_int_equal(get(t, location), 204);
    assert_string_equal(header(t, "Range"), "0-4");
    assert_int_equal(chunk(t, "PUT", location, digest, "5-9", "56789"), 201);
    assert_stored(t, "0123456789");
    t->web.vanish = true;
    snprintf(target, sizeof target, "/v2/team/app/blobs/uploads/?digest=%s", digest);
    call(t, "POST", target, NULL, NULL, SLICE("0123"));
    web_test_done(&t->web);
    assert_int_equal(uploads_open(t->im->uploads), 0);
}

static void one_request_at_a_time(void **state)
{
    struct images_test *t = *state;
    char location[300];
    struct upload *u;
    struct op op;

    begin(t, location);
    op_init(&op, DOOR_HTTP, &t->root);
    assert_int_equal(image_upload_take(&op, t->im, "team/app", strrchr(location, '/') + 1, &u), 0);
    assert_int_equal(image_upload_write(&op, u, "12345", 5), 0);
    assert_int_equal(chunk(t, "PATCH", location, NULL, NULL, "x"), 409);
    assert_int_equal(chunk(t, "PUT", location, "sha256:00", NULL, "x"), 409);
    assert_int_equal(call(t, "DELETE", location, NULL, NULL, SLICE("")), 409);
    assert_int_equal(get(t, location), 204); /* but it can be asked how far it is */
    assert_string_equal(header(t, "Range"), "0-4");
    image_upload_give(u);
    op_done(&op);
    assert_int_equal(chunk(t, "PATCH", location, NULL, NULL, "x"), 202);
    assert_string_equal(header(t, "Range"), "0-5");
}

/* The daemon stops and starts: the session goes on where the store kept it. */
static void over_a_restart(void **state)
{
    struct images_test *t = *state;
    char location[300], digest[DIGEST_TEXT_MAX], range[64];
    const char *content = "0123456789";
    unsigned long kept = 0;

    begin(t, location);
    assert_int_equal(chunk(t, "PATCH", location, NULL, NULL, "01234"), 202);
    web_test_done(&t->web);
    images_test_reopen(t);
    assert_int_equal(uploads_open(t->im->uploads), 0);
    assert_int_equal(get(t, location), 204);
    kept = strtoul(header(t, "Range") + 2, NULL, 10);
    kept = kept > 0 ? kept + 1 : 0;
    assert_true(kept <= 5);
    snprintf(range, sizeof range, "%lu-9", kept);
    assert_int_equal(
        chunk(t, "PUT", location, digest_text(slice_str(content), digest), range, content + kept),
        201);
    assert_stored(t, content);
}

static void rests_and_is_swept(void **state)
{
    struct images_test *t = *state;
    char location[300];

    begin(t, location);
    assert_int_equal(chunk(t, "PATCH", location, NULL, NULL, "01234"), 202);
    uploads_rest(t->im->uploads, clock_monotonic_ms());
    assert_int_equal(uploads_open(t->im->uploads), 1);
    uploads_rest(t->im->uploads, clock_monotonic_ms() + 3600 * 1000);
    assert_int_equal(uploads_open(t->im->uploads), 0);
    uploads_sweep(t->im->uploads, clock_unix_ms());
    assert_int_equal(get(t, location), 204);
    uploads_rest(t->im->uploads, clock_monotonic_ms() + 3600 * 1000);
    uploads_sweep(t->im->uploads, clock_unix_ms() + LINK_IDLE_MS + 1000);
    assert_int_equal(get(t, location), 404);
}

/* More at once than are kept open: the one that rests longest makes room, and can be taken up. */
static void many_sessions(void **state)
{
    struct images_test *t = *state;
    char first[300], location[300];

    begin(t, first);
    for (unsigned i = 0; i < UPLOADS_OPEN_MAX + 10; i++)
        begin(t, location);
    assert_int_equal(uploads_open(t->im->uploads), UPLOADS_OPEN_MAX);
    assert_int_equal(get(t, first), 204);
}

static void too_large(void **state)
{
    struct images_test *t = *state;
    char location[300];

    t->config->limits.blob_bytes = 8;
    begin(t, location);
    assert_int_equal(chunk(t, "PATCH", location, NULL, NULL, "01234567"), 202);
    assert_int_equal(chunk(t, "PATCH", location, NULL, NULL, "8"), 413);
    assert_non_null(strstr(text(t), "SIZE_INVALID"));
    assert_int_equal(get(t, location), 204);
    assert_string_equal(header(t, "Range"), "0-7");
}

/* Whichever write fails: a clean refusal, nothing half there, and it works when the disk does. */
static void every_write_may_fail(void **state)
{
    struct images_test *t = *state;
    bool done = false;

    for (unsigned n = 0; !done && n < 60; n++) {
        char repo[32], target[400], manifest[4096], digest[DIGEST_TEXT_MAX], blob[DIGEST_TEXT_MAX];
        bool pushed = true;

        snprintf(repo, sizeof repo, "fault/r%u", n);
        image_text("{}", "layer", "", manifest);
        digest_text(slice_str(manifest), digest);
        store_fault(t->store, n, ENOSPC);
        for (int i = 0; pushed && i < 2; i++) {
            const char *content = i == 0 ? "{}" : "layer";

            snprintf(target, sizeof target, "/v2/%s/blobs/uploads/?digest=%s", repo,
                     digest_text(slice_str(content), blob));
            pushed = call(t, "POST", target, NULL, NULL, slice_str(content)) == 201;
        }
        pushed = pushed && put_manifest(t, repo, "1", manifest) == 201;
        if (!pushed)
            assert_int_equal(t->web.resp.status, 507);
        done = pushed;
        store_fault(t->store, 0, 0);
        snprintf(target, sizeof target, "/v2/%s/manifests/1", repo);
        if (get(t, target) == 200) {
            assert_string_equal(text(t), manifest);
            snprintf(target, sizeof target, "/v2/%s/blobs/%s", repo, blob);
            assert_int_equal(get(t, target), 200);
        }
        push_blob(t, repo, "{}");
        push_blob(t, repo, "layer");
        assert_int_equal(put_manifest(t, repo, "1", manifest), 201);
        snprintf(target, sizeof target, "/v2/%s/manifests/%s", repo, digest);
        assert_int_equal(get(t, target), 200);
        snprintf(target, sizeof target, "/v2/%s/tags/list", repo);
        assert_int_equal(get(t, target), 200);
    }
    assert_true(done);
    assert_int_equal(uploads_open(t->im->uploads), 0);
}

static void deletes_may_fail(void **state)
{
    struct images_test *t = *state;

    for (unsigned n = 0; n < 8; n++) {
        char digest[DIGEST_TEXT_MAX], target[400];
        int status;

        push_image(t, "a", "1", "x", digest);
        snprintf(target, sizeof target, "/v2/a/manifests/%s", digest);
        store_fault(t->store, n, EIO);
        status = call(t, "DELETE", target, NULL, NULL, SLICE(""));
        store_fault(t->store, 0, 0);
        assert_true(status == 202 || status == 500);
        assert_int_equal(get(t, target), status == 202 ? 404 : 200);
        assert_int_equal(get(t, "/v2/a/manifests/1"), status == 202 ? 404 : 200);
        if (status == 202)
            return;
    }
    fail();
}

/* A resume point that cannot be made: the chunk is refused, and the session says what is left. */
static void resume_point_fails(void **state)
{
    struct images_test *t = *state;
    size_t n = 65u << 20;
    char *bytes = calloc(1, n);
    char location[300];

    assert_non_null(bytes);
    begin(t, location);
    t->web.piece_bytes = 1u << 20;
    assert_int_equal(call(t, "PATCH", location, NULL, NULL, slice_of(bytes, n)), 202);
    store_fault(t->store, 65, ENOSPC);
    assert_int_equal(call(t, "PATCH", location, NULL, NULL, slice_of(bytes, n)), 507);
    store_fault(t->store, 0, 0);
    assert_int_equal(get(t, location), 204);
    assert_string_equal(header(t, "Range"), "0-68157439"); /* where the first chunk ended */
    begin(t, location);
    store_fault(t->store, 65, ENOSPC);
    assert_int_equal(call(t, "PATCH", location, NULL, NULL, slice_of(bytes, n)), 507);
    store_fault(t->store, 0, 0);
    assert_int_equal(get(t, location), 404);
    free(bytes);
}

static int try_push(struct images_test *t, const char *content)
{
    char target[300], digest[DIGEST_TEXT_MAX];

    snprintf(target, sizeof target, "/v2/a/blobs/uploads/?digest=%s",
             digest_text(slice_str(content), digest));
    return call(t, "POST", target, NULL, NULL, slice_str(content)) == 201 ? 0 : 1;
}

static bool is_held(struct images_test *t, const char *content)
{
    struct blob_stat st = {0};
    struct digest d;

    digest_of(DIGEST_SHA256, content, strlen(content), &d);
    return blob_stat(t->store, &d, &st) == 0 && st.held;
}

/* Cut at any write, as by a crash, and started again: the same push goes through, and nothing holds
 * a blob for ever. */
static void cut_anywhere(void **state)
{
    struct images_test *t = *state;
    bool done = false;

    for (unsigned n = 0; !done && n < 60; n++) {
        char config[32], layer[32], manifest[4096], digest[DIGEST_TEXT_MAX], target[300];
        uint64_t dropped;

        snprintf(config, sizeof config, "{\"cut\":%u}", n);
        snprintf(layer, sizeof layer, "layer%u", n);
        image_text(config, layer, "", manifest);
        store_fault(t->store, n, EIO);
        done = try_push(t, config) == 0 && try_push(t, layer) == 0 &&
               put_manifest(t, "a", "1", manifest) == 201;
        web_test_done(&t->web);
        store_fault(t->store, 0, 0);
        images_test_reopen(t);
        links_mend(t->im);
        push_blob(t, "a", config);
        push_blob(t, "a", layer);
        assert_int_equal(put_manifest(t, "a", "1", manifest), 201);
        assert_true(is_held(t, config) && is_held(t, layer));
        snprintf(target, sizeof target, "/v2/a/manifests/%s",
                 digest_text(slice_str(manifest), digest));
        assert_int_equal(call(t, "DELETE", target, NULL, NULL, SLICE("")), 202);
        links_sweep(t->im, clock_unix_ms() + 2 * LINK_IDLE_MS, &dropped);
        if (is_held(t, config) || is_held(t, layer))
            fail_msg("held after a cut at write %u", n);
    }
    assert_true(done);
}

/* images.gc_grace: 0 lets go at once. */
static void no_grace(void **state)
{
    struct images_test *t = *state;
    char one[DIGEST_TEXT_MAX], two[DIGEST_TEXT_MAX], target[300];

    images_domain.close(t->self); /* its janitor reads the configuration */
    t->self = NULL;
    t->config->gc_grace_ms = 0;
    images_test_reopen(t);
    push_image(t, "a", "1", "x", one);
    push_image(t, "a", "2", "y", two);
    snprintf(target, sizeof target, "/v2/a/manifests/%s", one);
    assert_int_equal(call(t, "DELETE", target, NULL, NULL, SLICE("")), 202);
    assert_false(is_held(t, "x"));
    assert_true(is_held(t, "y"));
}

/* Sixteen at a time into one repository, the same blobs and one tag: all that was acknowledged is
 * there. */
struct pusher {
    struct images_test t;
    pthread_t thread;
    unsigned n;
    int failures;
};

static void *push_many(void *arg)
{
    struct pusher *p = arg;

    for (unsigned i = 0; i < 20; i++) {
        char layer[32], manifest[4096], tag[32], digest[DIGEST_TEXT_MAX], target[300];

        snprintf(layer, sizeof layer, "layer%u", i % 4);
        snprintf(tag, sizeof tag, i % 2 ? "t%u-%u" : "same", p->n, i);
        p->failures += try_push(&p->t, "{}");
        p->failures += try_push(&p->t, layer);
        image_text("{}", layer, "", manifest);
        p->failures += put_manifest(&p->t, "a", tag, manifest) != 201;
        snprintf(target, sizeof target, "/v2/a/manifests/%s",
                 digest_text(slice_str(manifest), digest));
        if (i % 5 == 4) /* 202, or somebody else was faster */
            call(&p->t, "DELETE", target, NULL, NULL, SLICE(""));
    }
    web_test_done(&p->t.web);
    return NULL;
}

static int check_tag(void *ctx, const struct tag_view *tag)
{
    struct images_test *t = ctx;
    char target[300];

    snprintf(target, sizeof target, "/v2/a/manifests/%.*s", (int)tag->name.len,
             (const char *)tag->name.data);
    return get(t, target) == 200 ? 0 : 1;
}

static void many_at_once(void **state)
{
    struct images_test *t = *state;
    struct pusher *p = calloc(16, sizeof *p);
    struct op op;

    assert_non_null(p);
    for (unsigned i = 0; i < 16; i++) {
        p[i].t = *t;
        p[i].t.web.used = false;
        p[i].n = i;
        assert_int_equal(pthread_create(&p[i].thread, NULL, push_many, &p[i]), 0);
    }
    for (unsigned i = 0; i < 16; i++) {
        pthread_join(p[i].thread, NULL);
        assert_int_equal(p[i].failures, 0);
    }
    op_init(&op, DOOR_INTERNAL, &t->root);
    assert_int_equal(tag_each(&op, t->im, "a", "", check_tag, t), 0); /* no tag points nowhere */
    op_done(&op);
    free(p);
}

/* What no manifest needs goes after its time; what one needs stays, also if it came late. */
static void sweeping(void **state)
{
    struct images_test *t = *state;
    char digest[DIGEST_TEXT_MAX], target[300], blob[DIGEST_TEXT_MAX];
    int64_t now = clock_unix_ms();
    struct blob_stat st;
    struct digest d;
    uint64_t dropped;

    push_blob(t, "a", "lonely");
    push_image(t, "a", "1", "x", digest);
    push_blob(t, "b", "x");
    assert_int_equal(links_sweep(t->im, now, &dropped), 0);
    assert_int_equal(dropped, 0);
    assert_int_equal(links_sweep(t->im, now + 2 * LINK_IDLE_MS, &dropped), 0);
    assert_int_equal(dropped, 2); /* "lonely", and that of b */
    digest_of(DIGEST_SHA256, "lonely", 6, &d);
    assert_int_equal(blob_stat(t->store, &d, &st), 0);
    assert_false(st.held);
    digest_of(DIGEST_SHA256, "x", 1, &d);
    assert_int_equal(blob_stat(t->store, &d, &st), 0);
    assert_true(st.held);
    snprintf(target, sizeof target, "/v2/a/manifests/%s", digest);
    assert_int_equal(call(t, "DELETE", target, NULL, NULL, SLICE("")), 202);
    snprintf(target, sizeof target, "/v2/a/blobs/%s", digest_print(&d, blob));
    assert_int_equal(links_sweep(t->im, clock_unix_ms(), &dropped), 0);
    assert_int_equal(get(t, target), 200); /* within the grace */
    assert_int_equal(call(t, "HEAD", target, NULL, NULL, SLICE("")), 200);
    assert_int_equal(links_sweep(t->im, now + 2 * 3600 * 1000, &dropped), 0);
    assert_int_equal(get(t, target), 200); /* a pusher was told that it is here */
    assert_int_equal(links_sweep(t->im, now + 2 * LINK_IDLE_MS, &dropped), 0);
    assert_int_equal(get(t, target), 404);
    assert_int_equal(blob_stat(t->store, &d, &st), 0);
    assert_false(st.held);
}

/* A hold that a crash left behind is released in the next life, one that is in use is not. */
static void mending(void **state)
{
    struct images_test *t = *state;
    char digest[DIGEST_TEXT_MAX], owner[HOLDER_MAX];
    struct blob_stat st;
    struct digest d, kept;

    push_image(t, "a", "1", "x", digest);
    assert_int_equal(blob_put(t->store, DIGEST_SHA256, "left", 4, &d), 0);
    assert_int_equal(blob_hold(t->store, &d, holder_print("a", 1, owner)), 0);
    web_test_done(&t->web);
    images_test_reopen(t);
    links_mend(t->im);
    assert_int_equal(blob_stat(t->store, &d, &st), 0);
    assert_false(st.held);
    digest_of(DIGEST_SHA256, "x", 1, &kept);
    assert_int_equal(blob_stat(t->store, &kept, &st), 0);
    assert_true(st.held);
}

/* On disk: what a failure leaves of an upload is the engine's business. */
static int setup_on_disk(void **state)
{
    char folder[] = "/tmp/images-test-XXXXXX", url[64];
    struct images_test *t;

    assert_non_null(mkdtemp(folder));
    snprintf(url, sizeof url, "rocks:%s", folder);
    images_test_setup_at(state, url);
    t = *state;
    t->folder = strdup(folder);
    return 0;
}

static int teardown_on_disk(void **state)
{
    struct images_test *t = *state;
    char *folder = t->folder;

    images_test_teardown(state);
    folder_remove(folder);
    free(folder);
    return 0;
}

#define test(f) cmocka_unit_test_setup_teardown(f, images_test_setup, images_test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(chunks_in_order),
        test(chunks_out_of_order),
        test(wrong_digest),
        test(cancelled),
        test(of_somebody_else),
        test(vanished),
        test(one_request_at_a_time),
        test(over_a_restart),
        test(rests_and_is_swept),
        test(many_sessions),
        test(too_large),
        test(every_write_may_fail),
        test(deletes_may_fail),
        cmocka_unit_test_setup_teardown(resume_point_fails, setup_on_disk, teardown_on_disk),
        test(cut_anywhere),
        test(no_grace),
        test(many_at_once),
        test(sweeping),
        test(mending),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
