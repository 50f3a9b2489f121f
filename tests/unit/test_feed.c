#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdint.h>
#include <cmocka.h>

#include "feed.h"

struct heard {
    unsigned n;
    char paths[200];
    bool wait;
    enum door door;
};

static void hear(void *ctx, const struct op_change *changes, bool wait, enum door door)
{
    struct heard *h = ctx;
    size_t len = 0;

    h->n++;
    h->wait = wait;
    h->door = door;
    for (const struct op_change *c = changes; c != NULL; c = c->next)
        len += (size_t)snprintf(h->paths + len, sizeof h->paths - len, "%s:%u ", c->path, c->what);
}

static void changes_are_told_once(void **state)
{
    struct feed *feed = feed_new();
    struct heard a = {0}, b = {0};
    struct op op;

    (void)state;
    feed_subscribe(feed, hear, &a);
    feed_subscribe(feed, hear, &b);
    op_init(&op, DOOR_HTTP, NULL);
    feed_publish(feed, &op, true);
    assert_int_equal(a.n, 0);
    op_changed(&op, CHANGE_CONTENT, "/a/%d", 1);
    op_changed(&op, CHANGE_ENTRY | CHANGE_SUBTREE, "/b");
    feed_publish(feed, &op, true);
    feed_publish(feed, &op, true);
    assert_int_equal(a.n, 1);
    assert_int_equal(b.n, 1);
    assert_string_equal(a.paths, "/b:6 /a/1:1 ");
    assert_true(a.wait);
    assert_int_equal(a.door, DOOR_HTTP);
    feed_unsubscribe(feed, hear, &a);
    feed_unsubscribe(feed, hear, &a);
    op_changed(&op, CHANGE_CONTENT, "/c");
    feed_publish(feed, &op, false);
    assert_int_equal(a.n, 1);
    assert_int_equal(b.n, 2);
    assert_false(b.wait);
    op_done(&op);
    feed_free(feed);
    feed_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(changes_are_told_once)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
