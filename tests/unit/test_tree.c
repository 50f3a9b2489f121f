#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/scope.h"
#include "domain.h"
#include "tree.h"

#include <errno.h>

/* Each domain answers with the call it heard, in its own `self`. */
struct heard {
    char call[300];
};

static int hear_stat(struct op *op, void *self, const char *path, struct node_stat *ret)
{
    snprintf(((struct heard *)self)->call, sizeof ((struct heard *)self)->call, "stat %s", path);
    if (strstr(path, "missing") != NULL)
        return op_fail(op, ENOENT, "no '%s'", path);
    ret->type = strchr(path_base(path), '.') != NULL ? NODE_FILE : NODE_DIR;
    ret->size_bytes = 7;
    return 0;
}

static int hear_list(struct op *op, void *self, const char *path, node_emit_fn *emit, void *ctx)
{
    static const char *const names[] = {"api", "packages", "web"};

    (void)op;
    snprintf(((struct heard *)self)->call, sizeof ((struct heard *)self)->call, "list %s", path);
    for (size_t i = 0; i < array_size(names); i++)
        if (emit(ctx, names[i], NULL) != 0)
            break;
    return 0;
}

static int hear_rename(struct op *op, void *self, const char *from, const char *to, unsigned flags)
{
    (void)op;
    (void)flags;
    snprintf(((struct heard *)self)->call, sizeof ((struct heard *)self)->call, "rename %s %s",
             from, to);
    return 0;
}

static int hear_mkdir(struct op *op, void *self, const char *path, mode_t mode)
{
    (void)op;
    (void)mode;
    snprintf(((struct heard *)self)->call, sizeof ((struct heard *)self)->call, "mkdir %s", path);
    return 0;
}

static const struct node_ops full_tree = {
    .stat = hear_stat, .list = hear_list, .rename = hear_rename, .mkdir = hear_mkdir};
static const struct node_ops bare_tree = {.stat = hear_stat};
static const char *const secret_roots[] = {"", ".infra/secrets", NULL};
static const char *const own_roots[] = {".infra", ".status", NULL};
static const struct domain secrets = {.name = "secrets", .tree = &full_tree, .roots = secret_roots};
static const struct domain own = {.name = "infrafs", .tree = &bare_tree, .roots = own_roots};
static const struct domain packages = {.name = "packages", .tree = &bare_tree};
static const struct domain no_tree = {.name = "hidden"};

struct fixture {
    struct heard heard[3];
    struct domain_instance domains[4];
    struct tree *tree;
    struct op op;
};

static int setup(void **state)
{
    struct fixture *x = calloc(1, sizeof *x);

    x->domains[0] = (struct domain_instance){&own, &x->heard[0]};
    x->domains[1] = (struct domain_instance){&secrets, &x->heard[1]};
    x->domains[2] = (struct domain_instance){&packages, &x->heard[2]};
    x->domains[3] = (struct domain_instance){&no_tree, NULL};
    x->tree = tree_new(x->domains, 4);
    op_init(&x->op, DOOR_INTERNAL, NULL);
    *state = x;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *x = *state;

    op_done(&x->op);
    tree_free(x->tree);
    free(x);
    return 0;
}

static void the_longest_root_answers(void **state)
{
    static const struct {
        const char *path;
        unsigned domain;
    } cases[] = {
        {"", 1},           {"api", 1},          {"packagesx", 1},       {"packages", 2},
        {"packages/a", 2}, {".infra", 0},       {".infra/secretsx", 0}, {".infra/secrets", 1},
        {".status", 0},    {".infra/secrets/packages/x", 1},
    };
    struct fixture *x = *state;
    char want[100];

    for (size_t i = 0; i < array_size(cases); i++) {
        struct node_stat st;

        memset(x->heard, 0, sizeof x->heard);
        assert_int_equal(tree_stat(x->tree, &x->op, cases[i].path, &st), 0);
        snprintf(want, sizeof want, "stat %s", cases[i].path);
        assert_string_equal(x->heard[cases[i].domain].call, want);
    }
}

struct names {
    char text[300];
    int stop_after;
};

static int collect(void *ctx, const char *name, const struct node_stat *st)
{
    struct names *n = ctx;
    size_t len = strlen(n->text);

    snprintf(n->text + len, sizeof n->text - len, "%s%s ", name, st != NULL ? "+" : "");
    return --n->stop_after == 0;
}

static void the_root_lists_areas_and_services(void **state)
{
    struct fixture *x = *state;
    struct names all = {.stop_after = -1}, one = {.stop_after = 1}, infra = {.stop_after = -1};

    assert_int_equal(tree_list(x->tree, &x->op, "", collect, &all), 0);
    assert_string_equal(all.text, "packages+ api web ");
    assert_int_equal(tree_list(x->tree, &x->op, "", collect, &one), 0);
    assert_string_equal(one.text, "packages+ ");
    assert_int_equal(tree_list(x->tree, &x->op, ".infra", collect, &infra), 0);
    assert_string_equal(infra.text, "secrets+ ");
}

static void a_tree_without_a_root_domain_still_has_a_root(void **state)
{
    struct fixture *x = *state;
    struct tree *t = tree_new(&x->domains[2], 1);
    struct names all = {.stop_after = -1};
    struct node_stat st;

    assert_int_equal(tree_stat(t, &x->op, "", &st), 0);
    assert_int_equal(st.type, NODE_DIR);
    assert_int_equal(tree_stat(t, &x->op, "api", &st), -ENOENT);
    assert_int_equal(tree_list(t, &x->op, "", collect, &all), 0);
    assert_string_equal(all.text, "packages+ ");
    tree_free(t);
}

static void reserved_names_stay(void **state)
{
    struct fixture *x = *state;

    assert_int_equal(tree_mkdir(x->tree, &x->op, "packages", 0755), -EEXIST);
    assert_string_equal(x->op.why, "'packages' is a reserved name of the tree");
    assert_int_equal(tree_mkdir(x->tree, &x->op, ".infra/secrets", 0755), -EEXIST);
    assert_int_equal(tree_symlink(x->tree, &x->op, "packages", "x"), -EEXIST);
    assert_int_equal(tree_rmdir(x->tree, &x->op, "packages"), -EBUSY);
    assert_int_equal(tree_rename(x->tree, &x->op, "packages", "api", 0), -EBUSY);
    assert_int_equal(tree_mkdir(x->tree, &x->op, "packages2", 0755), 0);
    assert_string_equal(x->heard[1].call, "mkdir packages2");
}

static void renames_stay_in_a_domain(void **state)
{
    struct fixture *x = *state;

    assert_int_equal(tree_rename(x->tree, &x->op, "api/a", ".infra/secrets/b", 0), 0);
    assert_string_equal(x->heard[1].call, "rename api/a .infra/secrets/b");
    assert_int_equal(tree_rename(x->tree, &x->op, "api/a", "packages/a", 0), -EXDEV);
    op_forgive(&x->op);
    assert_int_equal(tree_rename(x->tree, &x->op, "packages/a", "packages/b", 0), -EROFS);
}

static void missing_members_have_an_answer(void **state)
{
    struct fixture *x = *state;
    struct tree *t = x->tree;
    struct node_file *f = NULL;
    const char *text = NULL;
    struct slice value;
    mode_t mode = 0644;

    assert_int_equal(tree_open(t, &x->op, "packages/a", NODE_READ, &f), -ENOENT);
    assert_int_equal(tree_open(t, &x->op, "packages/a", NODE_WRITE | NODE_CREATE, &f), -EROFS);
    assert_string_equal(x->op.why, "'packages/a' cannot be changed through the tree");
    assert_int_equal(tree_readlink(t, &x->op, "packages/a", &text), -ENOENT);
    assert_int_equal(tree_list(t, &x->op, "packages/a", collect, NULL), -ENOENT);
    assert_int_equal(tree_unlink(t, &x->op, "packages/a"), -EROFS);
    assert_int_equal(tree_mkdir(t, &x->op, "packages/a", 0755), -EROFS);
    assert_int_equal(tree_rmdir(t, &x->op, "packages/a"), -EROFS);
    assert_int_equal(tree_symlink(t, &x->op, "packages/a", "b"), -EROFS);
    assert_int_equal(tree_setattr(t, &x->op, "packages/a", &mode, NULL, NULL, NULL), -EROFS);
    assert_int_equal(tree_getxattr(t, &x->op, "packages/a", "user.a", &value), -ENOTSUP);
    assert_int_equal(tree_setxattr(t, &x->op, "packages/a", "user.a", SLICE("v")), -ENOTSUP);
    assert_int_equal(tree_listxattr(t, &x->op, "packages/a", collect, NULL), -ENOTSUP);
}

static void paths_are_checked(void **state)
{
    char name[300], deep[5000];
    static const struct {
        struct slice path;
        int result;
    } cases[] = {
        {SLICE(""), 0},           {SLICE("a"), 0},          {SLICE("a/b.c/..d"), 0},
        {SLICE("/a"), -EINVAL},   {SLICE("a/"), -EINVAL},   {SLICE("a//b"), -EINVAL},
        {SLICE("."), -EINVAL},    {SLICE("a/.."), -EINVAL}, {SLICE("../a"), -EINVAL},
        {SLICE("a\0b"), -EINVAL}, {SLICE("/"), -EINVAL},    {SLICE("..."), 0},
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++)
        assert_int_equal(tree_path_check(cases[i].path), cases[i].result);
    memset(name, 'a', sizeof name);
    assert_int_equal(tree_path_check(slice_of(name, 255)), 0);
    assert_int_equal(tree_path_check(slice_of(name, 256)), -ENAMETOOLONG);
    for (size_t i = 0; i < sizeof deep; i++)
        deep[i] = i % 2 == 0 ? 'a' : '/';
    assert_int_equal(tree_path_check(slice_of(deep, 4095)), 0);
    assert_int_equal(tree_path_check(slice_of(deep, 4097)), -ENAMETOOLONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_longest_root_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(the_root_lists_areas_and_services, setup, teardown),
        cmocka_unit_test_setup_teardown(a_tree_without_a_root_domain_still_has_a_root, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(reserved_names_stay, setup, teardown),
        cmocka_unit_test_setup_teardown(renames_stay_in_a_domain, setup, teardown),
        cmocka_unit_test_setup_teardown(missing_members_have_an_answer, setup, teardown),
        cmocka_unit_test(paths_are_checked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
