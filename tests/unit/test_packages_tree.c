/* The tree of packages, without a mount. */
#include "packages_world.h"

#include "packages/packages_tree.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define WHEEL "foo-1.0-py3-none-any.whl"

static struct world w;
static struct op op;

static int setup(void **state)
{
    (void)state;
    world_open(&w);
    op_init(&op, DOOR_MOUNT, &w.team);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    op_done(&op);
    world_close(&w);
    return 0;
}

static int node_stat_of(const char *path, struct node_stat *ret)
{
    op_forgive(&op);
    return packages_tree.stat(&op, w.pk, path, ret);
}

static int open_node(const char *path, unsigned flags, struct node_file **ret)
{
    op_forgive(&op);
    return packages_tree.open(&op, w.pk, path, flags, ret);
}

static int collect(void *ctx, const char *name, const struct node_stat *st)
{
    (void)st;
    buf_printf(ctx, "%s ", name);
    return 0;
}

static void assert_list(const char *path, const char *names)
{
    autobuf out = {0};

    assert_int_equal(packages_tree.list(&op, w.pk, path, collect, &out), 0);
    assert_string_equal(out.len > 0 ? out.data : "", names);
}

static void read_node(const char *path, struct buf *out)
{
    struct node_file *f;
    struct node_stat st;
    ssize_t n;

    if (open_node(path, NODE_READ, &f) != 0)
        fail_msg("%s: %s", path, op_why(&op, -ENOENT));
    buf_reserve(out, f->size_bytes + 1);
    n = f->ops->read(&op, f, 0, out->data, f->size_bytes);
    assert_int_equal(n, f->size_bytes);
    out->len = (size_t)n;
    out->data[n] = 0;
    assert_int_equal(node_stat_of(path, &st), 0);
    assert_int_equal(st.size_bytes, n);
    f->ops->close(f);
}

/* Writes as cp does, in pieces; the result of the write that failed, or of the commit. */
static int copy(const char *path, struct slice bytes, size_t piece)
{
    struct node_file *f;
    int r = open_node(path, NODE_WRITE | NODE_CREATE | NODE_TRUNC, &f);

    if (r < 0)
        return r;
    for (size_t at = 0; r == 0 && at < bytes.len; at += piece) {
        size_t n = bytes.len - at < piece ? bytes.len - at : piece;
        ssize_t done = f->ops->write(&op, f, at, (const char *)bytes.data + at, n);

        r = done < 0 ? (int)done : 0;
        assert_true(done < 0 || done == (ssize_t)n);
        assert_true(done < 0 || f->size_bytes == at + n);
    }
    if (r == 0)
        r = f->ops->commit(&op, f);
    if (r == 0)
        assert_int_equal(f->ops->commit(&op, f), 0); /* dup'ed descriptors flush again */
    f->ops->close(f);
    return r;
}

static void test_copy(void **state)
{
    static const char *const aliases[] = {"packages/" WHEEL, "packages/foo/" WHEEL,
                                          "packages/FOO/" WHEEL, "packages/@all/" WHEEL};
    autobuf wheel = {0}, sdist = {0};

    (void)state;
    make_wheel(&wheel, "foo", "1.0", "", "hello");
    assert_int_equal(copy("packages/" WHEEL, buf_slice(&wheel), 100), 0);
    for (size_t i = 0; i < array_size(aliases); i++) {
        autobuf out = {0};

        read_node(aliases[i], &out);
        assert_true(slice_eq(buf_slice(&out), buf_slice(&wheel)));
    }
    make_sdist(&sdist, "foo", "1.0", "");
    assert_int_equal(copy("packages/foo/foo-1.0.tar.gz", buf_slice(&sdist), 1 << 20), 0);
    assert_list("packages", "foo ");
    assert_list("packages/foo", WHEEL " foo-1.0.tar.gz ");
    assert_list("packages/@all", WHEEL " foo-1.0.tar.gz ");
    assert_list("packages/foo/@metadata", WHEEL " ");
}

static void test_again(void **state)
{
    autobuf wheel = {0}, other = {0}, out = {0};
    struct node_file *f;

    (void)state;
    make_wheel(&wheel, "foo", "1.0", "", "hello");
    make_wheel(&other, "foo", "1.0", "", "world");
    assert_int_equal(copy("packages/" WHEEL, buf_slice(&wheel), 4096), 0);
    assert_int_equal(copy("packages/" WHEEL, buf_slice(&wheel), 4096), 0);
    assert_int_equal(copy("packages/foo/" WHEEL, buf_slice(&other), 4096), -EEXIST);
    assert_int_equal(open_node("packages/" WHEEL, NODE_WRITE | NODE_CREATE | NODE_EXCL, &f),
                     -EEXIST);
    /* Appending, and writing into it. */
    assert_int_equal(open_node("packages/" WHEEL, NODE_WRITE, &f), 0);
    assert_int_equal(f->size_bytes, wheel.len);
    assert_int_equal(f->ops->write(&op, f, wheel.len, "x", 1), -EPERM);
    assert_int_equal(f->ops->truncate(&op, f, 10), -EPERM);
    assert_int_equal(f->ops->commit(&op, f), 0);
    f->ops->close(f);
    read_node("packages/" WHEEL, &out);
    assert_true(slice_eq(buf_slice(&out), buf_slice(&wheel)));
}

/* After the commit the handle is as immutable as the file. */
static void test_write_after_commit(void **state)
{
    autobuf wheel = {0};
    struct node_file *f;
    char back[4];

    (void)state;
    make_wheel(&wheel, "foo", "1.0", "", "hello");
    assert_int_equal(open_node("packages/" WHEEL, NODE_WRITE | NODE_CREATE, &f), 0);
    assert_int_equal(f->ops->write(&op, f, 0, wheel.data, wheel.len), wheel.len);
    assert_int_equal(f->ops->read(&op, f, 0, back, 4), 4);
    assert_memory_equal(back, "PK\x03\x04", 4);
    assert_int_equal(f->ops->commit(&op, f), 0);
    assert_int_equal(f->ops->write(&op, f, 0, "x", 1), -EPERM);
    assert_int_equal(f->ops->truncate(&op, f, 0), -EPERM);
    assert_int_equal(f->ops->read(&op, f, 0, back, 4), 4);
    f->ops->close(f);
}

/* As zipfile writes: placeholders first, then back to fill them in. */
static void test_out_of_order(void **state)
{
    autobuf wheel = {0}, out = {0};
    struct node_file *f;
    char back[4];

    (void)state;
    make_wheel(&wheel, "foo", "1.0", "", "hello");
    assert_int_equal(open_node("packages/" WHEEL, NODE_WRITE | NODE_CREATE, &f), 0);
    assert_int_equal(f->ops->write(&op, f, 0, "PK\x03\x04zzzz", 8), 8);
    assert_int_equal(f->ops->write(&op, f, 8, wheel.data + 8, wheel.len - 8), wheel.len - 8);
    assert_int_equal(f->ops->write(&op, f, 4, wheel.data + 4, 4), 4);
    assert_int_equal(f->ops->write(&op, f, wheel.len, "junk", 4), 4);
    assert_int_equal(f->ops->truncate(&op, f, wheel.len), 0);
    assert_int_equal(f->size_bytes, wheel.len);
    assert_int_equal(f->ops->read(&op, f, 0, back, 4), 4);
    assert_int_equal(f->ops->commit(&op, f), 0);
    f->ops->close(f);
    read_node("packages/" WHEEL, &out);
    assert_true(slice_eq(buf_slice(&out), buf_slice(&wheel)));
}

static void test_refused(void **state)
{
    static const struct {
        const char *path;
        int want;
    } names[] = {
        {"packages/foo-1.0.whl", -EINVAL},         {"packages/foo-x-py3-none-any.whl", -EINVAL},
        {"packages/bar/" WHEEL, -EINVAL},          {"packages/@all/" WHEEL, -EROFS},
        {"packages/foo/@metadata/" WHEEL, -EROFS}, {"packages/foo/@simple.html", -EROFS},
        {"packages/foo/a.txt", -EINVAL},           {"packages/a.txt", -EROFS},
        {"packages/foo/@unknown", -ENOENT},        {"packages/foo/x/y", -ENOENT},
    };
    autobuf wheel = {0}, cut = {0};
    struct node_file *f;

    (void)state;
    for (size_t i = 0; i < array_size(names); i++) {
        int r = open_node(names[i].path, NODE_WRITE | NODE_CREATE, &f);

        if (r != names[i].want)
            fail_msg("%s: %d", names[i].path, r);
    }
    /* The shell hears of a failed write only. */
    assert_int_equal(copy("packages/" WHEEL, SLICE("hello"), 10), -EINVAL);
    assert_int_equal(copy("packages/foo-1.0.tar.gz", SLICE("\x1f\x8bz"), 1), -EINVAL);
    make_wheel(&wheel, "foo", "1.0", "", "hello");
    buf_add(&cut, wheel.data, wheel.len / 2);
    assert_int_equal(copy("packages/" WHEEL, buf_slice(&cut), 100), -EINVAL);
    assert_int_equal(copy("packages/" WHEEL, SLICE(""), 100), -EINVAL);
    assert_int_equal(copy("packages/foo-2.0-py3-none-any.whl", buf_slice(&wheel), 100), -EINVAL);
    assert_list("packages", "");
    /* A writer that never committed. */
    assert_int_equal(open_node("packages/" WHEEL, NODE_WRITE | NODE_CREATE, &f), 0);
    f->ops->write(&op, f, 0, wheel.data, wheel.len);
    f->ops->close(f);
    assert_list("packages", "");
}

static void test_limit(void **state)
{
    autobuf wheel = {0};
    struct node_file *f;

    (void)state;
    make_wheel(&wheel, "foo", "1.0", "", "hello");
    w.config->limits.package_bytes = wheel.len - 1;
    assert_int_equal(copy("packages/" WHEEL, buf_slice(&wheel), 100), -EFBIG);
    assert_int_equal(open_node("packages/" WHEEL, NODE_WRITE | NODE_CREATE, &f), 0);
    assert_int_equal(f->ops->write(&op, f, wheel.len, "x", 1), -EFBIG);
    assert_int_equal(f->ops->truncate(&op, f, wheel.len), -EFBIG);
    f->ops->close(f);
    w.config->limits.package_bytes = wheel.len;
    assert_int_equal(copy("packages/" WHEEL, buf_slice(&wheel), 100), 0);
}

static void test_computed(void **state)
{
    autobuf html = {0}, json = {0}, sums = {0}, metadata = {0};

    (void)state;
    assert_int_equal(world_wheel(&w, "foo", "1.0", "x"), 0);
    read_node("packages/foo/@simple.html", &html);
    assert_non_null(strstr(html.data, ">" WHEEL "</a>"));
    read_node("packages/foo/@simple.json", &json);
    assert_non_null(strstr(json.data, "\"api-version\":\"1.4\""));
    read_node("packages/foo/@sha256sums", &sums);
    assert_string_equal(sums.data + 64, "  " WHEEL "\n");
    read_node("packages/foo/@metadata/" WHEEL, &metadata);
    assert_non_null(strstr(metadata.data, "Name: foo\n"));
}

static void test_absent(void **state)
{
    static const char *const paths[] = {
        "packages/none",
        "packages/none/x",
        "packages/foo/none-1.0.tar.gz",
        "packages/none-1.0.tar.gz",
        "packages/@all/none-1.0.tar.gz",
        "packages/foo/@metadata/none-1.0.tar.gz",
        "packages/@none",
        "packages/none/@simple.html",
        "packages/-x-",
        "packages/@all/a/b",
        "packages/foo/" WHEEL "/x",
        "packages/bar/" WHEEL,
        "packages/none/@sha256sums",
        "packages/foo/@metadata/a/b",
    };

    (void)state;
    assert_int_equal(world_wheel(&w, "foo", "1.0", "x"), 0);
    for (size_t i = 0; i < array_size(paths); i++) {
        struct node_stat st;
        struct node_file *f;

        if (node_stat_of(paths[i], &st) != -ENOENT)
            fail_msg("%s is there", paths[i]);
        if (open_node(paths[i], NODE_READ, &f) != -ENOENT)
            fail_msg("%s opens", paths[i]);
    }
}

/* `rm -r packages/foo`: the files, then the folder. */
static void test_remove(void **state)
{
    struct node_stat st;

    (void)state;
    assert_int_equal(world_wheel(&w, "foo", "1.0", "x"), 0);
    assert_int_equal(world_wheel(&w, "foo", "2.0", "x"), 0);
    assert_int_equal(packages_tree.rmdir(&op, w.pk, "packages/foo"), -ENOTEMPTY);
    assert_int_equal(packages_tree.unlink(&op, w.pk, "packages/@all/" WHEEL), -EROFS);
    assert_int_equal(packages_tree.unlink(&op, w.pk, "packages/foo/@simple.html"), -EROFS);
    assert_int_equal(packages_tree.unlink(&op, w.pk, "packages/foo"), -EISDIR);
    assert_int_equal(packages_tree.unlink(&op, w.pk, "packages/foo/" WHEEL), 0);
    assert_int_equal(packages_tree.unlink(&op, w.pk, "packages/foo/" WHEEL), -ENOENT);
    assert_int_equal(packages_tree.unlink(&op, w.pk, "packages/foo-2.0-py3-none-any.whl"), 0);
    assert_list("packages", "foo ");
    assert_list("packages/foo", "");
    assert_int_equal(node_stat_of("packages/foo/@simple.html", &st), -ENOENT);
    assert_int_equal(packages_tree.rmdir(&op, w.pk, "packages/foo"), 0);
    assert_int_equal(packages_tree.rmdir(&op, w.pk, "packages/foo"), -ENOENT);
    assert_list("packages", "");
}

static void test_mkdir(void **state)
{
    (void)state;
    assert_int_equal(packages_tree.mkdir(&op, w.pk, "packages/New_One", 0755), 0);
    assert_int_equal(packages_tree.mkdir(&op, w.pk, "packages/new.one", 0755), -EEXIST);
    assert_int_equal(packages_tree.mkdir(&op, w.pk, "packages/-bad", 0755), -EINVAL);
    assert_int_equal(packages_tree.mkdir(&op, w.pk, "packages/new-one/sub", 0755), -EPERM);
    assert_list("packages", "new-one ");
    assert_int_equal(packages_tree.rmdir(&op, w.pk, "packages/new-one"), 0);
}

static void test_rights(void **state)
{
    struct node_stat st;
    struct node_file *f;

    (void)state;
    assert_int_equal(world_wheel(&w, "foo", "1.0", "x"), 0);
    assert_int_equal(world_wheel(&w, "bar", "1.0", "x"), 0);
    op.who = &w.one; /* sees foo only */
    assert_list("packages", "foo ");
    assert_list("packages/@all", WHEEL " ");
    assert_int_equal(node_stat_of("packages/bar", &st), -ENOENT);
    assert_int_equal(node_stat_of("packages/bar-1.0-py3-none-any.whl", &st), -ENOENT);
    assert_int_equal(open_node("packages/@all/bar-1.0-py3-none-any.whl", NODE_READ, &f), -ENOENT);
    assert_int_equal(open_node("packages/bar-2.0-py3-none-any.whl", NODE_WRITE | NODE_CREATE, &f),
                     -EACCES);
    assert_int_equal(packages_tree.unlink(&op, w.pk, "packages/" WHEEL), -EACCES);
    op.who = &w.reader;
    assert_int_equal(open_node("packages/foo-2.0-py3-none-any.whl", NODE_WRITE | NODE_CREATE, &f),
                     -EACCES);
    assert_int_equal(node_stat_of("packages", &st), 0);
    assert_int_equal(st.flags & NODE_WRITABLE, 0);
    assert_int_equal(packages_tree.mkdir(&op, w.pk, "packages/new", 0755), -EACCES);
    op.who = w.anonymous;
    assert_list("packages", "");
    op.who = &w.team;
    assert_int_equal(node_stat_of("packages", &st), 0);
    assert_int_equal(st.flags & NODE_WRITABLE, NODE_WRITABLE);
}

static void test_xattr(void **state)
{
    struct slice value;
    autobuf names = {0};

    (void)state;
    assert_int_equal(world_wheel(&w, "foo", "1.0", "x"), 0);
    assert_int_equal(
        packages_tree.getxattr(&op, w.pk, "packages/" WHEEL, "user.pypi.yanked", &value), -ENODATA);
    assert_int_equal(
        packages_tree.setxattr(&op, w.pk, "packages/" WHEEL, "user.pypi.yanked", SLICE("broken")),
        0);
    assert_int_equal(
        packages_tree.getxattr(&op, w.pk, "packages/foo/" WHEEL, "user.pypi.yanked", &value), 0);
    assert_true(slice_eq(value, SLICE("broken")));
    assert_int_equal(
        packages_tree.getxattr(&op, w.pk, "packages/foo/" WHEEL, "user.pypi.sha256", &value), 0);
    assert_int_equal(value.len, 64);
    assert_int_equal(packages_tree.listxattr(&op, w.pk, "packages/" WHEEL, collect, &names), 0);
    assert_string_equal(names.data, "user.pypi.sha256 user.pypi.yanked ");
    assert_int_equal(packages_tree.setxattr(&op, w.pk, "packages/" WHEEL, "user.other", SLICE("x")),
                     -ENOTSUP);
    assert_int_equal(
        packages_tree.setxattr(&op, w.pk, "packages/" WHEEL, "user.pypi.yanked", (struct slice){0}),
        0);
    assert_int_equal(
        packages_tree.setxattr(&op, w.pk, "packages/" WHEEL, "user.pypi.yanked", (struct slice){0}),
        -ENODATA);
}

static void test_rename(void **state)
{
    (void)state;
    assert_int_equal(world_wheel(&w, "foo", "1.0", "x"), 0);
    assert_int_equal(packages_tree.rename(&op, w.pk, "packages/" WHEEL, "packages/foo/" WHEEL, 0),
                     0);
    assert_int_equal(
        packages_tree.rename(&op, w.pk, "packages/" WHEEL, "packages/foo-2.0-py3-none-any.whl", 0),
        -EPERM);
    assert_int_equal(packages_tree.rename(&op, w.pk, "packages/foo", "packages/bar", 0), -EPERM);
    assert_int_equal(packages_tree.rename(&op, w.pk, "packages/none", "packages/bar", 0), -ENOENT);
}

static const char *first_in_trash(void)
{
    static char id[64];
    autobuf names = {0};

    id[0] = 0;
    assert_int_equal(packages_tree.list(&op, w.pk, ".infra/trash", collect, &names), 0);
    if (names.len > 0)
        snprintf(id, sizeof id, "%.*s", (int)strcspn(names.data, " "), names.data);
    return id;
}

/* What was deleted can be read, and moved out. */
static void test_trash(void **state)
{
    char path[200], file[300];
    autobuf before = {0}, after = {0}, again = {0};
    struct node_stat st;

    (void)state;
    assert_string_equal(first_in_trash(), "");
    assert_int_equal(world_wheel(&w, "foo", "1.0", "x"), 0);
    read_node("packages/" WHEEL, &before);
    assert_int_equal(packages_tree.unlink(&op, w.pk, "packages/foo/" WHEEL), 0);
    snprintf(path, sizeof path, ".infra/trash/%s", first_in_trash());
    snprintf(file, sizeof file, "%s/" WHEEL, path);
    assert_list(path, WHEEL " ");
    read_node(file, &after);
    assert_true(slice_eq(buf_slice(&before), buf_slice(&after)));
    assert_int_equal(packages_tree.unlink(&op, w.pk, file), -EROFS);
    assert_int_equal(packages_tree.rename(&op, w.pk, file, "packages/bar-1.0-py3-none-any.whl", 0),
                     -EPERM);
    op.who = &w.reader;
    assert_int_equal(packages_tree.rename(&op, w.pk, file, "packages/" WHEEL, 0), -EACCES);
    op.who = w.anonymous;
    assert_int_equal(node_stat_of(file, &st), -ENOENT);
    assert_string_equal(first_in_trash(), "");
    op.who = &w.team;
    assert_int_equal(packages_tree.rename(&op, w.pk, file, "packages/" WHEEL, 0), 0);
    assert_int_equal(packages_tree.rename(&op, w.pk, file, "packages/" WHEEL, 0), -ENOENT);
    assert_string_equal(first_in_trash(), "");
    read_node("packages/foo/" WHEEL, &again);
    assert_true(slice_eq(buf_slice(&before), buf_slice(&again)));
    /* It is held as before: neither the grace nor a second deletion takes it away. */
    assert_int_equal(packages_reclaim(w.pk, INT64_MAX - 1, NULL), 0);
    assert_int_equal(blob_reap(w.store, 0, false, &(struct blob_reaped){0}), 0);
    buf_clear(&again);
    read_node("packages/foo/" WHEEL, &again);
}

/* The name was taken meanwhile. */
static void test_trash_taken(void **state)
{
    char file[300];

    (void)state;
    assert_int_equal(world_wheel(&w, "foo", "1.0", "x"), 0);
    assert_int_equal(packages_tree.unlink(&op, w.pk, "packages/foo/" WHEEL), 0);
    snprintf(file, sizeof file, ".infra/trash/%s/" WHEEL, first_in_trash());
    assert_int_equal(world_wheel(&w, "foo", "1.0", "other"), 0);
    assert_int_equal(packages_tree.rename(&op, w.pk, file, "packages/" WHEEL, 0), -EEXIST);
    assert_int_equal(packages_reclaim(w.pk, INT64_MAX - 1, NULL), 0);
    assert_string_equal(first_in_trash(), "");
}

/* The inside of a wheel, with folders that the archive does not name. */
static void test_contents(void **state)
{
    static const char *const folders[] = {"packages/foo/@contents", "packages/foo/@contents/" WHEEL,
                                          "packages/foo/@contents/" WHEEL "/foo"};
    static const char *const none[] = {
        "packages/foo/@contents/none", "packages/foo/@contents/" WHEEL "/none",
        "packages/foo/@contents/" WHEEL "/foo/__init__.py/x", "packages/none/@contents",
        "packages/foo/@contents/bar-1.0.tar.gz"};
    autobuf text = {0};
    struct node_stat st;
    struct node_file *f;

    (void)state;
    assert_int_equal(world_wheel(&w, "foo", "1.0", "hello"), 0);
    for (size_t i = 0; i < array_size(folders); i++) {
        assert_int_equal(node_stat_of(folders[i], &st), 0);
        assert_int_equal(st.type, NODE_DIR);
        assert_int_equal(open_node(folders[i], NODE_READ, &f), -EISDIR);
    }
    assert_list("packages/foo/@contents", WHEEL " ");
    assert_list("packages/foo/@contents/" WHEEL, "foo foo-1.0.dist-info ");
    assert_list("packages/foo/@contents/" WHEEL "/foo", "__init__.py ");
    assert_list("packages/foo/@contents/" WHEEL "/foo-1.0.dist-info", "METADATA RECORD WHEEL ");
    read_node("packages/foo/@contents/" WHEEL "/foo/__init__.py", &text);
    assert_string_equal(text.data, "hello");
    for (size_t i = 0; i < array_size(none); i++)
        if (node_stat_of(none[i], &st) != -ENOENT)
            fail_msg("%s is there", none[i]);
    assert_int_equal(open_node("packages/foo/@contents/" WHEEL "/x", NODE_WRITE | NODE_CREATE, &f),
                     -EROFS);
    assert_int_equal(
        packages_tree.unlink(&op, w.pk, "packages/foo/@contents/" WHEEL "/foo/__init__.py"),
        -EROFS);
    op.who = w.anonymous;
    assert_int_equal(node_stat_of("packages/foo/@contents/" WHEEL "/foo/__init__.py", &st),
                     -ENOENT);
}

static void test_contents_of_sdist(void **state)
{
    static const struct tar_member members[] = {
        {"foo-1.0/", NULL, 0},
        {"foo-1.0/PKG-INFO", "Metadata-Version: 2.1\nName: foo\nVersion: 1.0\n", 0},
        {"foo-1.0/a/b/c.txt", "deep", 0},
        {"foo-1.0/a.txt", "first", 0},
        {"foo-1.0/a.txt", "second", 0}, /* tar: the last one counts */
        {"foo-1.0/zeros", NULL, 33 << 20},
    };
    autobuf sdist = {0}, deep = {0}, twice = {0}, why = {0};
    struct node_file *f;

    (void)state;
    make_tar(&sdist, members, array_size(members), true);
    assert_int_equal(world_publish(&w, &w.team, "foo-1.0.tar.gz", buf_slice(&sdist), &why), 0);
    assert_list("packages/foo/@contents/foo-1.0.tar.gz", "foo-1.0 ");
    assert_list("packages/foo/@contents/foo-1.0.tar.gz/foo-1.0", "PKG-INFO a a.txt zeros ");
    assert_list("packages/foo/@contents/foo-1.0.tar.gz/foo-1.0/a", "b ");
    read_node("packages/foo/@contents/foo-1.0.tar.gz/foo-1.0/a/b/c.txt", &deep);
    assert_string_equal(deep.data, "deep");
    read_node("packages/foo/@contents/foo-1.0.tar.gz/foo-1.0/a.txt", &twice);
    assert_string_equal(twice.data, "second");
    assert_int_equal(
        open_node("packages/foo/@contents/foo-1.0.tar.gz/foo-1.0/zeros", NODE_READ, &f), -EFBIG);
}

/* More archives than are kept open, and from several threads. */
static void *browse(void *arg)
{
    (void)arg;
    for (int i = 0; i < 60; i++) {
        struct op mine;
        struct node_stat st;
        char path[200];

        snprintf(path, sizeof path,
                 "packages/foo/@contents/foo-1.%d-py3-none-any.whl/foo/__init__.py", i % 12);
        op_init(&mine, DOOR_MOUNT, &w.team);
        if (packages_tree.stat(&mine, w.pk, path, &st) != 0 || st.size_bytes != 5)
            abort();
        op_done(&mine);
    }
    return NULL;
}

static void test_contents_cache(void **state)
{
    pthread_t threads[4];

    (void)state;
    for (int i = 0; i < 12; i++) {
        char version[8];

        snprintf(version, sizeof version, "1.%d", i);
        assert_int_equal(world_wheel(&w, "foo", version, "hello"), 0);
    }
    for (size_t i = 0; i < array_size(threads); i++)
        pthread_create(&threads[i], NULL, browse, NULL);
    for (size_t i = 0; i < array_size(threads); i++)
        pthread_join(threads[i], NULL);
}

static bool has_change(const char *path, unsigned what)
{
    for (struct op_change *c = op.changes; c != NULL; c = c->next)
        if (strcmp(c->path, path) == 0 && (c->what & what) == what)
            return true;
    return false;
}

/* Every alias is told of. */
static void test_changes(void **state)
{
    autobuf wheel = {0};

    (void)state;
    make_wheel(&wheel, "foo", "1.0", "", "x");
    assert_int_equal(copy("packages/" WHEEL, buf_slice(&wheel), 4096), 0);
    assert_true(has_change("/packages/" WHEEL, CHANGE_ENTRY));
    assert_true(has_change("/packages/foo/" WHEEL, CHANGE_ENTRY));
    assert_true(has_change("/packages/@all/" WHEEL, CHANGE_ENTRY));
    assert_true(has_change("/packages/foo/@metadata/" WHEEL, CHANGE_ENTRY));
    assert_true(has_change("/packages/foo/@simple.json", CHANGE_CONTENT));
    assert_true(has_change("/packages/foo", CHANGE_ENTRY));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_copy),
        T(test_again),
        T(test_write_after_commit),
        T(test_out_of_order),
        T(test_refused),
        T(test_limit),
        T(test_computed),
        T(test_absent),
        T(test_remove),
        T(test_mkdir),
        T(test_rights),
        T(test_xattr),
        T(test_contents),
        T(test_contents_of_sdist),
        T(test_contents_cache),
        T(test_trash),
        T(test_trash_taken),
        T(test_rename),
        T(test_changes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
