#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/scope.h"
#include "node.h"

#include <errno.h>

struct published {
    char bytes[64];
    size_t len;
    unsigned n, freed;
    int result;
};

static int publish(struct op *op, void *ctx, struct slice content)
{
    struct published *p = ctx;

    if (p->result < 0)
        return op_fail(op, -p->result, "refused");
    assert_true(content.len <= sizeof p->bytes);
    if (content.len > 0)
        memcpy(p->bytes, content.data, content.len);
    p->len = content.len;
    p->n++;
    return 0;
}

static void free_published(void *ctx)
{
    ((struct published *)ctx)->freed++;
}

static void bytes_are_read_at_any_offset(void **state)
{
    struct node_file *f = NULL;
    char buf[16];

    (void)state;
    assert_int_equal(node_bytes_open(SLICE("hello"), NODE_SECRET, &f), 0);
    assert_int_equal(f->size_bytes, 5);
    assert_int_equal(f->flags, NODE_SECRET);
    assert_int_equal(f->ops->read(NULL, f, 0, buf, sizeof buf), 5);
    assert_memory_equal(buf, "hello", 5);
    assert_int_equal(f->ops->read(NULL, f, 3, buf, 1), 1);
    assert_memory_equal(buf, "l", 1);
    assert_int_equal(f->ops->read(NULL, f, 5, buf, sizeof buf), 0);
    assert_int_equal(f->ops->read(NULL, f, UINT64_MAX, buf, sizeof buf), 0);
    assert_null(f->ops->write);
    f->ops->close(f);
    assert_int_equal(node_bytes_open((struct slice){0}, 0, &f), 0);
    assert_int_equal(f->ops->read(NULL, f, 0, buf, sizeof buf), 0);
    f->ops->close(f);
}

static void buffer_publishes_only_changes(void **state)
{
    struct published p = {0};
    struct node_buffer b = {.publish = publish, .ctx = &p, .free_ctx = free_published,
                            .initial = SLICE("old text"), .limit_bytes = 32};
    struct node_file *f = NULL;
    struct op op;

    (void)state;
    op_init(&op, DOOR_INTERNAL, NULL);
    assert_int_equal(node_buffer_open(&b, &f), 0);
    assert_int_equal(f->ops->commit(&op, f), 0);
    assert_int_equal(p.n, 0);
    assert_int_equal(f->ops->write(&op, f, 0, "new", 3), 3);
    assert_int_equal(f->ops->commit(&op, f), 0);
    assert_int_equal(f->ops->commit(&op, f), 0);
    assert_int_equal(p.n, 1);
    assert_memory_equal(p.bytes, "new text", 8);
    assert_int_equal(f->ops->truncate(&op, f, 3), 0);
    assert_int_equal(f->ops->write(&op, f, 5, "x", 1), 1);
    assert_int_equal(f->size_bytes, 6);
    assert_int_equal(f->ops->commit(&op, f), 0);
    assert_memory_equal(p.bytes, "new\0\0x", 6);
    assert_int_equal(p.freed, 0);
    f->ops->close(f);
    assert_int_equal(p.freed, 1);
    op_done(&op);
}

static void buffer_of_a_new_file_publishes_nothing_written(void **state)
{
    struct published p = {0};
    struct node_buffer b = {.publish = publish, .ctx = &p, .limit_bytes = 8, .dirty = true};
    struct node_file *f = NULL;
    struct op op;

    (void)state;
    op_init(&op, DOOR_INTERNAL, NULL);
    assert_int_equal(node_buffer_open(&b, &f), 0);
    assert_int_equal(f->ops->commit(&op, f), 0);
    assert_int_equal(p.n, 1);
    assert_int_equal(p.len, 0);
    f->ops->close(f);
    op_done(&op);
}

static void buffer_has_a_limit(void **state)
{
    struct published p = {0};
    struct node_buffer b = {.publish = publish, .ctx = &p, .limit_bytes = 8, .flags = NODE_SECRET};
    struct node_file *f = NULL;
    struct op op;

    (void)state;
    op_init(&op, DOOR_INTERNAL, NULL);
    assert_int_equal(node_buffer_open(&b, &f), 0);
    assert_int_equal(f->ops->write(&op, f, 0, "12345678", 8), 8);
    assert_int_equal(f->ops->write(&op, f, 8, "9", 1), -EFBIG);
    assert_string_equal(op.why, "the content is over the limit of 8 bytes");
    assert_int_equal(f->ops->write(&op, f, UINT64_MAX, "9", 1), -EFBIG);
    assert_int_equal(f->ops->truncate(&op, f, 9), -EFBIG);
    assert_int_equal(f->size_bytes, 8);
    f->ops->close(f);
    op_done(&op);
}

static void a_refused_commit_drops_the_content(void **state)
{
    struct published p = {.result = -EINVAL};
    struct node_buffer b = {.publish = publish, .ctx = &p, .limit_bytes = 100000};
    struct node_file *f = NULL;
    char big[9000] = {0};
    struct op op;

    (void)state;
    op_init(&op, DOOR_INTERNAL, NULL);
    assert_int_equal(node_buffer_open(&b, &f), 0);
    assert_int_equal(f->ops->write(&op, f, 0, big, sizeof big), sizeof big);
    assert_int_equal(f->ops->commit(&op, f), -EINVAL);
    assert_int_equal(f->size_bytes, 0);
    p.result = 0;
    assert_int_equal(f->ops->commit(&op, f), 0);
    assert_int_equal(p.n, 0);
    f->ops->close(f);
    op_done(&op);
}

static void paths_are_split(void **state)
{
    static const struct {
        const char *path, *head, *rest, *base, *folder;
    } cases[] = {
        {"", "", "", "", ""},
        {"a", "a", "", "a", ""},
        {"a/b", "a", "b", "b", "a"},
        {"a/bc/d", "a", "bc/d", "d", "a/bc"},
    };
    struct op op;

    (void)state;
    op_init(&op, DOOR_INTERNAL, NULL);
    for (size_t i = 0; i < array_size(cases); i++) {
        const char *head = NULL;

        assert_string_equal(path_head(&op, cases[i].path, &head), cases[i].rest);
        assert_string_equal(head, cases[i].head);
        assert_string_equal(path_base(cases[i].path), cases[i].base);
        assert_string_equal(path_folder(&op, cases[i].path), cases[i].folder);
    }
    op_done(&op);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_read_at_any_offset),
        cmocka_unit_test(buffer_publishes_only_changes),
        cmocka_unit_test(buffer_of_a_new_file_publishes_nothing_written),
        cmocka_unit_test(buffer_has_a_limit),
        cmocka_unit_test(a_refused_commit_drops_the_content),
        cmocka_unit_test(paths_are_split),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
