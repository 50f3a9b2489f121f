/* Whichever write fails while rules are carried out, a mirror fetches, or a webhook is told: what is
 * there stays whole, and it goes on when the disk does. */
#include "images/hooks.h"
#include "images/retention.h"
#include "images_test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#define WRITES_MAX 80u

/* The other side: a registry of one image, and an endpoint of a webhook. One request a connection. */
struct peer {
    int fd;
    unsigned short port;
    pthread_t thread;
    char manifest[4096];
    unsigned events; /* atomic */
};

static void answer(int fd, const char *type, const char *body, bool head)
{
    struct buf out = {0};

    buf_printf(&out,
               "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
               body != NULL ? "200 OK" : "404 Not Found", type, body != NULL ? strlen(body) : 0,
               body != NULL && !head ? body : "");
    assert_int_equal(write(fd, out.data, out.len), out.len);
    buf_done(&out);
}

/* All of a request that a client sends at once, or in two pieces. */
static void read_request(int fd, struct buf *in)
{
    const char *length, *end;
    char piece[4096];
    ssize_t n;

    while ((n = read(fd, piece, sizeof piece)) > 0) {
        buf_add(in, piece, (size_t)n);
        buf_add_char(in, 0);
        in->len--;
        end = strstr(in->data, "\r\n\r\n");
        length = strcasestr(in->data, "Content-Length:");
        if (end != NULL &&
            (length == NULL || strlen(end + 4) >= (size_t)strtoul(length + 15, NULL, 10)))
            return;
    }
}

static void *serve(void *arg)
{
    struct peer *p = arg;
    int fd;

    while ((fd = accept(p->fd, NULL, NULL)) >= 0) {
        struct buf in = {0};
        bool head;

        read_request(fd, &in);
        head = in.len > 4 && strncmp(in.data, "HEAD", 4) == 0;
        if (in.len == 0) {
        } else if (strncmp(in.data, "POST", 4) == 0) {
            __atomic_add_fetch(&p->events, 1, __ATOMIC_RELAXED);
            answer(fd, "text/plain", "", false);
        } else if (strstr(in.data, "/manifests/") != NULL) {
            answer(fd, MEDIA_OCI_MANIFEST, p->manifest, head);
        } else if (strstr(in.data, "/blobs/") != NULL) {
            answer(fd, "application/octet-stream", "layer", head);
        } else {
            answer(fd, "text/plain", NULL, head);
        }
        buf_done(&in);
        close(fd);
    }
    return NULL;
}

static void peer_start(struct peer *p)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof address;

    image_text("{}", "layer", "", p->manifest);
    p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(p->fd, (struct sockaddr *)&address, n), 0);
    assert_int_equal(listen(p->fd, 20), 0);
    assert_int_equal(getsockname(p->fd, (struct sockaddr *)&address, &n), 0);
    p->port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&p->thread, NULL, serve, p), 0);
}

static void peer_stop(struct peer *p)
{
    shutdown(p->fd, SHUT_RDWR);
    pthread_join(p->thread, NULL);
    close(p->fd);
}

static void configure(struct images_test *t, const char *text)
{
    struct config *old = t->config;
    struct buf why = {0};

    assert_int_equal(config_parse(slice_str(text), &t->config, &why), 0);
    images_test_reopen(t);
    config_free(old);
    buf_done(&why);
}

static int tidy(struct images_test *t)
{
    struct retention_count count;
    struct op op;
    int r;

    op_init(&op, DOOR_INTERNAL, &t->root);
    r = retention_run(&op, t->im, false, NULL, &count);
    op_done(&op);
    return r;
}

static void retention(void **state)
{
    struct images_test *t = *state;
    bool done = false;

    configure(t, "images: {auth: basic, retention: [{tags: \"v*\", keep_last: 1, untagged: 0}]}");
    for (unsigned n = 0; !done && n < WRITES_MAX; n++) {
        char target[300], digest[3][DIGEST_TEXT_MAX];

        for (int i = 0; i < 3; i++)
            push_image(t, "r", (const char *[]){"v1", "v2", "v3"}[i],
                       (const char *[]){"one", "two", "three"}[i], digest[i]);
        store_fault(t->store, n, EIO);
        done = tidy(t) == 0;
        store_fault(t->store, 0, 0);
        for (int i = 0; i < 3; i++) { /* what a tag leads to is there */
            char body[4096];

            snprintf(target, sizeof target, "/v2/r/manifests/v%d", i + 1);
            if (get(t, target) != 200)
                continue;
            snprintf(body, sizeof body, "%s", text(t));
            snprintf(target, sizeof target, "/v2/r/manifests/%s", digest[i]);
            assert_int_equal(get(t, target), 200);
            assert_string_equal(text(t), body);
        }
        assert_int_equal(tidy(t), 0);
        assert_int_equal(get(t, "/v2/r/tags/list"), 200);
        assert_non_null(strstr(text(t), "\"tags\":[\"v3\"]"));
        for (int i = 0; i < 3; i++) {
            snprintf(target, sizeof target, "/v2/r/manifests/%s", digest[i]);
            assert_int_equal(get(t, target), i == 2 ? 200 : 404);
        }
    }
    assert_true(done);
}

/* The content of the last answer, also one that is read while it comes. */
static bool is_layer(struct images_test *t)
{
    char bytes[16];
    size_t have = 0;
    ssize_t n = 1;

    if (t->web.resp.body != WEB_FILE)
        return slice_eq(web_test_body(&t->web), SLICE("layer"));
    while (n > 0 && have < sizeof bytes) {
        struct node_file *f = t->web.resp.file;

        n = f->ops->read(&t->web.op, f, have, bytes + have, sizeof bytes - have);
        have += n > 0 ? (size_t)n : 0;
    }
    return slice_eq(slice_of(bytes, have), SLICE("layer"));
}

static void mirror(void **state)
{
    struct images_test *t = *state;
    struct peer p = {0};
    char text_of[300], digest[DIGEST_TEXT_MAX];
    bool done = false;

    peer_start(&p);
    snprintf(text_of, sizeof text_of,
             "images: {auth: basic, mirrors: [{prefix: up, upstream: \"http://127.0.0.1:%u\"}]}",
             p.port);
    configure(t, text_of);
    digest_text(SLICE("layer"), digest);
    for (unsigned n = 0; !done && n < WRITES_MAX; n++) {
        char manifest[100], blob[300];
        bool whole;

        snprintf(manifest, sizeof manifest, "/v2/up/r%u/manifests/1", n);
        snprintf(blob, sizeof blob, "/v2/up/r%u/blobs/%s", n, digest);
        store_fault(t->store, n, n % 2 ? EIO : ENOSPC);
        done = get(t, manifest) == 200;
        whole = get(t, blob) == 200 && is_layer(t);
        done = done && whole;
        web_test_done(&t->web);
        store_fault(t->store, 0, 0);
        assert_int_equal(get(t, manifest), 200);
        assert_string_equal(text(t), p.manifest);
        assert_int_equal(get(t, blob), 200);
        assert_true(is_layer(t));
        web_test_done(&t->web);
    }
    peer_stop(&p);
    assert_true(done);
}

static bool has_waiting(struct images_test *t)
{
    autobuf metrics = {0};

    hooks_metrics(t->im->hooks, &metrics);
    return strstr(metrics.data, "\ninfrafs_images_events_waiting 0\n") == NULL;
}

/* An event that cannot be kept is logged, and refuses nobody; one that cannot be forgotten comes
 * again, and is counted until it is gone. */
static void webhooks(void **state)
{
    struct images_test *t = *state;
    struct peer p = {0};
    char text_of[300], digest[DIGEST_TEXT_MAX];
    unsigned seen;

    peer_start(&p);
    snprintf(text_of, sizeof text_of,
             "images: {auth: basic, webhooks: [{url: \"http://127.0.0.1:%u/h\", actions: [push]}]}",
             p.port);
    configure(t, text_of);
    push_image(t, "a", "1", "layer", digest);
    for (unsigned n = 0; n < 8; n++) {
        char manifest[4096];
        int status;

        image_text("{\"n\":\"layer\"}", "layer", n % 2 ? ",\"a\":1" : "", manifest);
        store_fault(t->store, n, EIO);
        status = put_manifest(t, "a", "1", manifest);
        store_fault(t->store, 0, 0);
        assert_true(status == 201 || status == 500);
        assert_int_equal(get(t, "/v2/a/manifests/1"), 200);
        assert_int_equal(put_manifest(t, "a", "1", manifest), 201);
    }
    do {
        usleep(2000);
        seen = __atomic_load_n(&p.events, __ATOMIC_RELAXED);
    } while (seen < 8 + 3 || has_waiting(t)); /* of each push that went through, and the blobs */
    images_test_reopen(t);
    push_image(t, "a", "2", "more", digest);
    while (__atomic_load_n(&p.events, __ATOMIC_RELAXED) < seen + 3)
        usleep(2000);
    peer_stop(&p);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, images_test_setup, images_test_teardown)
    const struct CMUnitTest tests[] = {TEST(retention), TEST(mirror), TEST(webhooks)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
