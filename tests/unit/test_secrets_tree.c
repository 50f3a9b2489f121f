/* Secrets as files, through the node operations; and against Vault's dialect over the same store.
 */
#include "secrets_world.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct fixture {
    struct world *w;
    struct web_test web;
    struct op op;
    const struct identity *who;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->w = world_new();
    f->web = (struct web_test){.domain = &secrets_domain, .self = f->w->s, .who = &f->w->root};
    f->who = &f->w->team;
    op_init(&f->op, DOOR_MOUNT, f->who);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    op_done(&f->op);
    web_test_done(&f->web);
    world_free(f->w);
    free(f);
    return 0;
}

static struct op *op(struct fixture *f)
{
    op_done(&f->op);
    op_init(&f->op, DOOR_MOUNT, f->who);
    return &f->op;
}

static int write_flags(struct fixture *f, const char *path, struct slice bytes, unsigned flags)
{
    struct node_file *file;
    int r = secrets_tree.open(op(f), f->w->s, path, NODE_WRITE | flags, &file);

    if (r < 0)
        return r;
    if (bytes.len > 0) {
        ssize_t n = file->ops->write(&f->op, file, 0, bytes.data, bytes.len);

        r = n < 0 ? (int)n : 0;
    }
    if (r == 0)
        r = file->ops->commit(&f->op, file);
    file->ops->close(file);
    return r;
}

static int put(struct fixture *f, const char *path, const char *text)
{
    return write_flags(f, path, slice_str(text), NODE_CREATE | NODE_TRUNC);
}

/* The content, or the name of the error. Checks that stat says its size. */
static const char *get(struct fixture *f, const char *path)
{
    struct node_file *file;
    struct node_stat st;
    char *text;
    ssize_t n;
    int r = secrets_tree.open(op(f), f->w->s, path, NODE_READ, &file);

    if (r < 0)
        return strerrorname_np(-r);
    text = op_alloc(&f->op, (size_t)file->size_bytes + 1);
    n = file->ops->read(&f->op, file, 0, text, (size_t)file->size_bytes + 1);
    assert_int_equal(n, file->size_bytes);
    assert_int_equal(file->flags & NODE_SECRET, NODE_SECRET);
    file->ops->close(file);
    assert_int_equal(secrets_tree.stat(&f->op, f->w->s, path, &st), 0);
    assert_int_equal(st.size_bytes, n);
    assert_int_equal(st.type, NODE_FILE);
    return text;
}

/* Reads, and writes the same. */
static int put_back(struct fixture *f, const char *path)
{
    char *text = strdup(get(f, path));
    int r = put(f, path, text);

    free(text);
    return r;
}

static int add_name(void *ctx, const char *name, const struct node_stat *st)
{
    struct fixture *f = ((void **)ctx)[0];
    const char **list = ((void **)ctx)[1];

    *list = op_printf(&f->op, "%s%s%s%s", *list, (*list)[0] != 0 ? " " : "", name,
                      st->type == NODE_DIR ? "/" : "");
    return 0;
}

static const char *names(struct fixture *f, const char *path)
{
    const char *list = "";
    void *ctx[] = {f, &list};
    int r = secrets_tree.list(op(f), f->w->s, path, add_name, ctx);

    return r < 0 ? strerrorname_np(-r) : list;
}

static int mkdir_(struct fixture *f, const char *path)
{
    return secrets_tree.mkdir(op(f), f->w->s, path, 0755);
}

static int rmdir_(struct fixture *f, const char *path)
{
    return secrets_tree.rmdir(op(f), f->w->s, path);
}

static int unlink_(struct fixture *f, const char *path)
{
    return secrets_tree.unlink(op(f), f->w->s, path);
}

static int rename_(struct fixture *f, const char *from, const char *to)
{
    return secrets_tree.rename(op(f), f->w->s, from, to, 0);
}

static void http(struct fixture *f, const char *method, const char *target, const char *body,
                 int status, const char *part)
{
    int got = web_test_call(&f->web, method, target, NULL, slice_str(body));
    const char *text = web_test_text(&f->web);

    if (got != status || (part != NULL && strstr(text, part) == NULL))
        fail_msg("%s %s: %d, want %d with %s; body: %s", method, target, got, status, part, text);
}

static void fields(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(names(f, ""), "");
    assert_int_equal(put(f, "file", "x"), -EPERM); /* no folder, no secret */
    assert_int_equal(mkdir_(f, "service-1"), 0);
    assert_int_equal(mkdir_(f, "service-1"), -EEXIST);
    assert_int_equal(mkdir_(f, "service-1/env-1"), 0);
    assert_string_equal(names(f, "service-1"), "env-1/");
    assert_int_equal(put(f, "service-1/env-1/db_url", "postgres://\n"), 0);
    assert_string_equal(get(f, "service-1/env-1/db_url"), "postgres://\n"); /* byte exact */
    http(f, "GET", "/v1/secret/data/service-1/env-1", "", 200, "{\"db_url\":\"postgres://\\n\"}");
    assert_int_equal(put(f, "service-1/env-1/db_url", "postgres://\n"), 0);
    http(f, "GET", "/v1/secret/data/service-1/env-1", "", 200, "\"version\":1}"); /* unchanged */
    assert_int_equal(put(f, "service-1/env-1/empty", ""), 0);
    assert_string_equal(get(f, "service-1/env-1/empty"), "");
    assert_string_equal(names(f, "service-1/env-1"), "db_url empty");
    assert_string_equal(get(f, ".infra/secrets/service-1/env-1/db_url"), "postgres://\n");
    assert_string_equal(get(f, "service-1/env-1"), "EISDIR");
    assert_string_equal(get(f, "service-1/env-1/none"), "ENOENT");
    assert_int_equal(mkdir_(f, "service-1/env-1/db_url"), -EEXIST);
    assert_int_equal(write_flags(f, "service-1/env-1/db_url", SLICE("x"), NODE_CREATE | NODE_EXCL),
                     -EEXIST);
    assert_int_equal(write_flags(f, "service-1/env-1/new", SLICE("x"), 0), -ENOENT);
    assert_int_equal(write_flags(f, "service-1/env-1/db_url", SLICE("P"), 0), 0);
    assert_string_equal(get(f, "service-1/env-1/db_url"), "Postgres://\n");
    assert_int_equal(unlink_(f, "service-1/env-1/db_url"), 0);
    assert_string_equal(get(f, "service-1/env-1/db_url"), "ENOENT");
    assert_string_equal(get(f, "service-1/env-1/@versions/1/db_url"), "postgres://\n");
    assert_int_equal(unlink_(f, "service-1/env-1/db_url"), -ENOENT);
    assert_int_equal(unlink_(f, "service-1/env-1"), -EISDIR);
}

static void values_keep_their_type(void **state)
{
    struct fixture *f = *state;

    http(f, "PUT", "/v1/secret/data/s",
         "{\"data\":{\"port\":5432,\"big\":12345678901234567890,\"on\":true,\"o\":{\"x\": [1]},"
         "\"nil\":null,\"half\":\"\\ud800\",\"text\":\"7\"}}",
         200, NULL);
    assert_string_equal(get(f, "s/port"), "5432");
    assert_string_equal(get(f, "s/big"), "12345678901234567890");
    assert_string_equal(get(f, "s/o"), "{\"x\": [1]}");
    assert_string_equal(get(f, "s/nil"), "null");
    assert_string_equal(get(f, "s/half"), "\"\\ud800\"");
    assert_int_equal(put(f, "s/port", "5433\n"), 0); /* as an editor writes it */
    assert_int_equal(put(f, "s/on", "false"), 0);
    assert_int_equal(put(f, "s/text", "8"), 0);
    http(f, "GET", "/v1/secret/data/s", "", 200,
         "{\"port\":5433,\"big\":12345678901234567890,\"on\":false,\"o\":{\"x\": [1]},\"nil\":null,"
         "\"half\":\"\\ud800\",\"text\":\"8\"}");
    assert_int_equal(put(f, "s/port", "none"), 0); /* no number any more: a string */
    assert_int_equal(put(f, "s/half", "\"\\ud800\""), 0);
    http(f, "GET", "/v1/secret/data/s", "", 200, "{\"port\":\"none\",");
    http(f, "GET", "/v1/secret/data/s", "", 200, "\"version\":5}");
}

static void bytes_that_are_no_text(void **state)
{
    static const char raw[] = "\xff\xfe\0\x01\n";
    struct slice bytes = {raw, sizeof raw - 1};
    struct fixture *f = *state;

    mkdir_(f, "b");
    assert_int_equal(write_flags(f, "b/key", bytes, NODE_CREATE), 0);
    assert_int_equal(write_flags(f, "b/nul", SLICE("a\0b"), NODE_CREATE), 0);
    assert_memory_equal(get(f, "b/key"), raw, sizeof raw - 1);
    assert_memory_equal(get(f, "b/nul"), "a\0b", 3);
    http(f, "GET", "/v1/secret/data/b", "", 200, "{\"key\":\"//4AAQo=\",\"nul\":\"a\\u0000b\"}");
    /* A client that writes back what it read, and adds to it. */
    http(f, "PUT", "/v1/secret/data/b", "{\"data\":{\"key\":\"//4AAQo=\",\"more\":\"x\"}}", 200,
         NULL);
    assert_memory_equal(get(f, "b/key"), raw, sizeof raw - 1);
    http(f, "PUT", "/v1/secret/data/b", "{\"data\":{\"key\":\"AAAA\"}}", 200, NULL);
    assert_string_equal(get(f, "b/key"), "AAAA");
    assert_memory_equal(get(f, "b/@versions/1/key"), raw, sizeof raw - 1);
}

static void odd_names(void **state)
{
    struct fixture *f = *state;

    http(f, "PUT", "/v1/secret/data/s",
         "{\"data\":{\"a/"
         "b\":\"1\",\"@x\":\"2\",\"..\":\"3\",\"%2F\":\"4\",\"100%\":\"5\",\"child\":\"6\","
         "\"\":\"7\",\"n\\u0000l\":\"8\"}}",
         200, NULL);
    http(f, "PUT", "/v1/secret/data/s/child", "{\"data\":{\"f\":\"c\"}}", 200, NULL);
    assert_string_equal(names(f, "s"), "child/ a%2Fb @@x %2E%2E %252F 100% @key:child @key: n%00l");
    assert_string_equal(get(f, "s/a%2Fb"), "1");
    assert_string_equal(get(f, "s/@@x"), "2");
    assert_string_equal(get(f, "s/%2E%2E"), "3");
    assert_string_equal(get(f, "s/%252F"), "4");
    assert_string_equal(get(f, "s/100%"), "5");
    assert_string_equal(get(f, "s/@key:child"), "6");
    assert_string_equal(get(f, "s/@key:"), "7");
    assert_string_equal(get(f, "s/n%00l"), "8");
    assert_string_equal(get(f, "s/child/f"), "c");
    assert_string_equal(get(f, "s/@nothing"), "ENOENT");
    assert_int_equal(put(f, "s/@@y", "new"), 0);
    assert_int_equal(put(f, "s/@key:child", "6b"), 0);
    assert_int_equal(put(f, "s/\xff", "latin"), -EINVAL);
    assert_int_equal(rename_(f, "s/@@y", "s/\xff"), -EINVAL);
    assert_int_equal(mkdir_(f, "\xff"), -EINVAL);
    assert_int_equal(put(f, "s/@env", "a\xff=1\n"), -EINVAL);
    http(f, "GET", "/v1/secret/data/s", "", 200, "\"@y\":\"new\"");
    http(f, "GET", "/v1/secret/data/s", "", 200, "\"child\":\"6b\"");
    http(f, "PUT", "/v1/secret/data/@at/x", "{\"data\":{\"f\":\"at\"}}", 200, NULL);
    assert_string_equal(get(f, "@@at/x/f"), "at");
    assert_string_equal(names(f, ""), "@@at/ s/");
}

static void folders_go(void **state)
{
    struct fixture *f = *state;

    mkdir_(f, "a");
    mkdir_(f, "a/b");
    put(f, "a/b/k", "v");
    assert_int_equal(rmdir_(f, "a"), -ENOTEMPTY);
    assert_int_equal(rmdir_(f, "a/b"), -ENOTEMPTY);
    assert_int_equal(rmdir_(f, "a/b/k"), -ENOTDIR);
    assert_int_equal(unlink_(f, "a/b/k"), 0);
    assert_string_equal(names(f, "a"), "b/");
    assert_int_equal(rmdir_(f, "a/b"), 0);
    assert_string_equal(names(f, "a"), "");
    assert_int_equal(rmdir_(f, "a/b"), -ENOENT);
    assert_int_equal(rmdir_(f, "a"), 0);
    assert_string_equal(names(f, ""), "");
    http(f, "GET", "/v1/secret/data/a/b?version=1", "", 200, "{\"k\":\"v\"}"); /* nothing is lost */
    assert_int_equal(mkdir_(f, "a"), 0);
    assert_int_equal(mkdir_(f, "a/b"), 0);
    put(f, "a/b/k", "w");
    assert_string_equal(names(f, "a/b"), "k");
    http(f, "GET", "/v1/secret/metadata/a/b", "", 200, "\"current_version\":3");
    /* Deleted over HTTP: gone here; undeleted: back. */
    http(f, "PUT", "/v1/secret/data/x/y", "{\"data\":{\"k\":\"v\"}}", 200, NULL);
    assert_string_equal(names(f, "x"), "y/");
    http(f, "DELETE", "/v1/secret/data/x/y", "", 204, NULL);
    assert_string_equal(names(f, "x"), "");
    assert_string_equal(get(f, "x/y/k"), "ENOENT");
    assert_int_equal(rmdir_(f, "x"), 0);
    assert_string_equal(names(f, ""), "a/");
    http(f, "POST", "/v1/secret/undelete/x/y", "{\"versions\":[1]}", 204, NULL);
    assert_string_equal(get(f, "x/y/k"), "v");
    assert_string_equal(names(f, ""), "a/ x/");
}

static void moves(void **state)
{
    struct fixture *f = *state;

    mkdir_(f, "a");
    mkdir_(f, "b");
    put(f, "a/one", "1");
    put(f, "a/two", "2");
    assert_int_equal(rename_(f, "a/one", "a/uno"), 0);
    assert_string_equal(names(f, "a"), "two uno");
    http(f, "GET", "/v1/secret/metadata/a", "", 200, "\"current_version\":3"); /* one version */
    assert_int_equal(rename_(f, "a/uno", "b/one"), 0);
    assert_string_equal(get(f, "b/one"), "1");
    assert_string_equal(get(f, "a/uno"), "ENOENT");
    assert_int_equal(rename_(f, "a/two", "b/one"), 0); /* over it */
    assert_string_equal(get(f, "b/one"), "2");
    assert_int_equal(secrets_tree.rename(op(f), f->w->s, "b/one", "b/one2", NODE_NOREPLACE), 0);
    put(f, "b/x", "x");
    assert_int_equal(secrets_tree.rename(op(f), f->w->s, "b/x", "b/one2", NODE_NOREPLACE), -EEXIST);
    mkdir_(f, "b/sub");
    put(f, "b/sub/k", "deep");
    assert_int_equal(rename_(f, "b", "c"), 0);
    assert_string_equal(get(f, "c/sub/k"), "deep");
    assert_string_equal(get(f, "c/one2"), "2");
    assert_string_equal(get(f, "b/one2"), "ENOENT");
    assert_string_equal(get(f, "c/@versions/1/one"), "1"); /* versions are kept */
    assert_int_equal(rename_(f, "c", "c/sub/in"), -EINVAL);
    assert_int_equal(rename_(f, "c", "a"), 0); /* a has no field left: it gives way */
    assert_string_equal(names(f, ""), "a/");
    assert_string_equal(get(f, "a/sub/k"), "deep");
    mkdir_(f, "full");
    put(f, "full/k", "v");
    assert_int_equal(rename_(f, "a", "full"), -ENOTEMPTY);
    assert_string_equal(get(f, "a/sub/k"), "deep");
    assert_int_equal(rename_(f, "a/@json", "a/x"), -EROFS);
    assert_int_equal(rename_(f, "a/sub", "full/k"), -ENOTDIR);
    assert_int_equal(rename_(f, "full/k", "a/sub"), -EISDIR);
    assert_int_equal(rename_(f, "full/none", "a/x"), -ENOENT);
}

static void whole_secret(void **state)
{
    struct fixture *f = *state;

    mkdir_(f, "s");
    assert_int_equal(put(f, "s/@json", " {\"a\": \"x y\", \"n\": 1e400}\n"), 0);
    assert_string_equal(get(f, "s/@json"), "{\"a\": \"x y\", \"n\": 1e400}\n");
    assert_string_equal(get(f, "s/@env"), "a='x y'\nn=1e400\n");
    assert_string_equal(get(f, "s/@yaml"), "\"a\": \"x y\"\n\"n\": 1e400\n");
    assert_int_equal(put(f, "s/@json", "{\"a\": \"x y\", \"n\": 1e400}\n"), 0);
    http(f, "GET", "/v1/secret/metadata/s", "", 200, "\"current_version\":1");
    assert_int_equal(
        put(f, "s/@env",
            "# comment\nexport a=it\\'s\nb=\"two\nlines $\" # tail\nn=1e500\n\nc=''\n"),
        0);
    http(f, "GET", "/v1/secret/data/s", "", 200,
         "{\"a\":\"it's\",\"b\":\"two\\nlines $\",\"n\":1e500,\"c\":\"\"}");
    assert_string_equal(get(f, "s/@env"), "a='it'\\''s'\nb='two\nlines $'\nn=1e500\nc=\n");
    assert_int_equal(put_back(f, "s/@env"), 0);
    http(f, "GET", "/v1/secret/metadata/s", "", 200, "\"current_version\":2"); /* the same */
    assert_int_equal(put(f, "s/@yaml", "a: text\nb: [1, two]\nc: \"5\"\nd: 5\ne: true\nf:\n"), 0);
    http(f, "GET", "/v1/secret/data/s", "", 200,
         "{\"a\":\"text\",\"b\":[1,\"two\"],\"c\":\"5\",\"d\":5,\"e\":true,\"f\":null}");
    assert_int_equal(put_back(f, "s/@yaml"), 0);
    http(f, "GET", "/v1/secret/metadata/s", "", 200, "\"current_version\":3");
    assert_int_equal(put(f, "s/@json", "{\"a\""), -EINVAL);
    assert_int_equal(put(f, "s/@json", "{\"a\":1,\"a\":2}"), -EINVAL);
    assert_int_equal(put(f, "s/@env", "a='open"), -EINVAL);
    assert_int_equal(put(f, "s/@env", "no value"), -EINVAL);
    assert_int_equal(put(f, "s/@yaml", "- list"), -EINVAL);
    http(f, "GET", "/v1/secret/metadata/s", "", 200, "\"current_version\":3");
    assert_int_equal(unlink_(f, "s/@json"), -EROFS);
    assert_int_equal(
        put(f, "s/@meta", "{\"max_versions\":2,\"custom_metadata\":{\"owner\":\"me\"}}"), 0);
    http(f, "GET", "/v1/secret/metadata/s", "", 200, "\"custom_metadata\":{\"owner\":\"me\"}");
    assert_non_null(strstr(get(f, "s/@meta"), "\"max_versions\":2"));
    assert_int_equal(put(f, "s/@meta", "{\"max_versions\":-1}"), -EINVAL);
    assert_int_equal(put_back(f, "s/@meta"), 0); /* as an editor writes it back */
}

/* One writer between the read and the write of another: it is done again, on what is there now. */
static void guards_of_what_was_read(void **state)
{
    struct kv_content content = {.text = SLICE("{\"b\":\"2\"}")};
    struct fixture *f = *state;
    struct store_batch *batch = NULL;
    struct mount *mount = secrets_tree_mount(f->w->s);

    mkdir_(f, "s");
    put(f, "s/a", "1");
    assert_int_equal(kv_replace(op(f), mount->kv, "s", &content, 0, &batch), -EAGAIN);
    assert_int_equal(kv_replace(&f->op, mount->kv, "s", &content, 2, &batch), -EAGAIN);
    assert_int_equal(kv_replace(&f->op, mount->kv, "s", &content, 1, &batch), 0);
    http(f, "PUT", "/v1/secret/data/s", "{\"data\":{\"c\":\"3\"}}", 200, NULL);
    assert_int_equal(kv_commit(batch), -EAGAIN);
    mount_unref(mount);
    /* A mount that asks for cas: a file's write has it by itself. */
    http(f, "POST", "/v1/secret/config", "{\"cas_required\":true}", 204, NULL);
    assert_int_equal(put(f, "s/d", "4"), 0);
    mkdir_(f, "t");
    assert_int_equal(put(f, "t/d", "4"), 0);
    http(f, "DELETE", "/v1/secret/data/t", "", 204, NULL);
    assert_int_equal(put(f, "t/e", "5"), 0);
    assert_string_equal(names(f, "t"), "e");
}

static void protected_secrets(void **state)
{
    struct fixture *f = *state;

    mkdir_(f, "s");
    mkdir_(f, "o");
    put(f, "s/k", "v");
    put(f, "o/k", "v");
    assert_int_equal(put(f, "s/@meta", "{\"protect\":true}"), 0);
    assert_non_null(strstr(get(f, "s/@meta"), "\"protect\":true"));
    assert_int_equal(put(f, "s/k", "w"), -EPERM);
    assert_non_null(strstr(f->op.why, "@meta"));
    assert_int_equal(put(f, "s/new", "w"), -EPERM);
    assert_int_equal(unlink_(f, "s/k"), -EPERM);
    assert_int_equal(rmdir_(f, "s"), -ENOTEMPTY);
    assert_int_equal(rename_(f, "s/k", "s/l"), -EPERM);
    assert_int_equal(rename_(f, "s/k", "o/l"), -EPERM);
    assert_int_equal(rename_(f, "o/k", "s/l"), -EPERM);
    assert_int_equal(rename_(f, "s", "t"), -EPERM);
    http(f, "PUT", "/v1/secret/data/s", "{\"data\":{}}", 403, NULL);
    http(f, "DELETE", "/v1/secret/data/s", "", 403, NULL);
    http(f, "POST", "/v1/secret/destroy/s", "{\"versions\":[1]}", 403, NULL);
    http(f, "DELETE", "/v1/secret/metadata/s", "", 403, NULL);
    world_restart(f->w);
    f->web.self = f->w->s;
    assert_string_equal(get(f, "s/k"), "v");
    assert_string_equal(names(f, "o"), "k");
    assert_int_equal(put(f, "s/k", "w"), -EPERM);
    assert_int_equal(put(f, "s/@meta", "{\"protect\":false}"), 0);
    assert_int_equal(unlink_(f, "s/k"), 0);
}

static void old_versions(void **state)
{
    struct fixture *f = *state;
    struct slice value;

    mkdir_(f, "s");
    put(f, "s/k", "1");
    put(f, "s/k", "2");
    put(f, "s/k", "3");
    assert_string_equal(names(f, "s/@versions"), "1/ 2/ 3/");
    assert_string_equal(names(f, "s/@versions/2"), "k");
    assert_string_equal(get(f, "s/@versions/2/k"), "2");
    assert_int_equal(put(f, "s/@versions/2/k", "x"), -EROFS);
    http(f, "POST", "/v1/secret/delete/s", "{\"versions\":[1]}", 204, NULL);
    http(f, "POST", "/v1/secret/destroy/s", "{\"versions\":[2]}", 204, NULL);
    assert_string_equal(get(f, "s/@versions/1/k"), "ENOENT");
    assert_string_equal(get(f, "s/@versions/2/k"), "ENODATA");
    assert_string_equal(names(f, "s/@versions"), "2/ 3/");
    assert_string_equal(get(f, "s/@versions/9/k"), "ENOENT");
    assert_int_equal(secrets_tree.getxattr(op(f), f->w->s, "s/k", "user.vault.version", &value), 0);
    assert_true(slice_eq(value, SLICE("3")));
    assert_int_equal(secrets_tree.getxattr(op(f), f->w->s, "s/k", "user.other", &value), -ENODATA);
}

/* What one may not see is not there; what one may see but not change says so. */
static void rights(void **state)
{
    struct fixture *f = *state;
    struct node_stat st;

    http(f, "PUT", "/v1/secret/data/app/db", "{\"data\":{\"k\":\"1\"}}", 200, NULL);
    http(f, "PUT", "/v1/secret/data/shared", "{\"data\":{\"k\":\"2\"}}", 200, NULL);
    http(f, "PUT", "/v1/secret/data/other/x", "{\"data\":{\"k\":\"3\"}}", 200, NULL);
    f->who = &f->w->app;
    assert_string_equal(names(f, ""), "app/ shared/");
    assert_string_equal(get(f, "app/db/k"), "1");
    assert_string_equal(get(f, "shared/k"), "2");
    assert_string_equal(get(f, "other/x/k"), "ENOENT");
    assert_string_equal(names(f, "other"), "ENOENT");
    assert_int_equal(secrets_tree.stat(op(f), f->w->s, "other", &st), -ENOENT);
    assert_int_equal(put(f, "app/db/k", "1b"), 0);
    assert_int_equal(put(f, "app/new/k", "n"), 0);
    assert_int_equal(put(f, "shared/k", "x"), -EACCES);
    assert_non_null(f->op.why);
    assert_int_equal(put(f, "shared/new", "x"), -EACCES);
    assert_int_equal(unlink_(f, "shared/k"), -EACCES);
    assert_int_equal(mkdir_(f, "elsewhere"), -EACCES);
    assert_int_equal(mkdir_(f, "app/dir"), 0);
    assert_int_equal(rename_(f, "app/db", "other/db"), -EACCES);
    assert_int_equal(rename_(f, "shared/k", "app/db/stolen"), -EACCES);
    assert_int_equal(rename_(f, "other", "app/other"), -ENOENT);
    f->who = f->w->anonymous;
    assert_string_equal(names(f, ""), "");
    assert_string_equal(get(f, "app/db/k"), "ENOENT");
}

static void sealed(void **state)
{
    struct fixture *f = *state;
    struct node_stat st;

    mkdir_(f, "s");
    put(f, "s/k", "v");
    http(f, "PUT", "/v1/sys/seal", "", 204, NULL);
    assert_int_equal(secrets_tree.stat(op(f), f->w->s, "", &st), 0); /* the other areas are there */
    assert_string_equal(names(f, ""), "");
    assert_string_equal(get(f, "s/k"), "EACCES");
    assert_non_null(strstr(f->op.why, "sealed"));
    assert_int_equal(put(f, "s/k", "w"), -EACCES);
    assert_string_equal(names(f, ".infra/secrets"), "EACCES");
    world_restart(f->w);
    assert_string_equal(get(f, "s/k"), "v");
}

static void limits(void **state)
{
    struct fixture *f = *state;
    struct buf big = {0};

    for (size_t i = 0; i < f->w->config->limits.secret_value_bytes + 1; i++)
        buf_add_char(&big, 'x');
    mkdir_(f, "s");
    assert_int_equal(write_flags(f, "s/k", buf_slice(&big), NODE_CREATE), -EFBIG);
    assert_string_equal(get(f, "s/k"), "ENOENT");
    buf_done(&big);
}

/* Every change tells which node is to be looked at again. */
static void changes_are_told(void **state)
{
    struct fixture *f = *state;

    mkdir_(f, "s");
    assert_non_null(f->op.changes);
    put(f, "s/k", "v");
    assert_non_null(f->op.changes);
    put(f, "s/k", "v");
    assert_null(f->op.changes);
    http(f, "PUT", "/v1/secret/data/s", "{\"data\":{}}", 200, NULL);
    assert_non_null(f->web.op.changes);
    assert_string_equal(f->web.op.changes->next->path, "/s");
    http(f, "PUT", "/v1/cubbyhole/s", "{\"a\":1}", 204, NULL);
    assert_null(f->web.op.changes);
}

static int act(struct fixture *f, int which)
{
    switch (which) {
    case 0:
        return put(f, "s/k", "new");
    case 1:
        return put(f, "s/@env", "k=new\n");
    case 2:
        return unlink_(f, "s/k");
    case 3:
        return rename_(f, "s/k", "e/k");
    case 4:
        return rename_(f, "s", "t");
    case 5:
        return mkdir_(f, "m");
    case 6:
        return put(f, "s/@meta", "{\"max_versions\":1}");
    default:
        return rmdir_(f, "e");
    }
}

static void faults(void **state)
{
    struct fixture *f = *state;

    mkdir_(f, "s");
    mkdir_(f, "e");
    put(f, "s/k", "old");
    for (int which = 0; which < 8; which++) {
        for (unsigned n = 0; n < 1; n++) {
            store_fault(f->w->store, n, ENOSPC);
            assert_int_equal(act(f, which), -ENOSPC);
            store_fault(f->w->store, 0, 0);
            assert_string_equal(get(f, "s/k"), "old");
            assert_string_equal(names(f, ""), "e/ s/");
            assert_string_equal(names(f, "e"), "");
            http(f, "GET", "/v1/secret/metadata/s", "", 200, "\"current_version\":1");
        }
    }
}

static void count_wake(void *ctx)
{
    ++*(unsigned *)ctx;
}

static ssize_t next_line(struct fixture *f, struct node_file *file, char *line, size_t step)
{
    ssize_t n, len = 0;

    do {
        n = file->ops->read(op(f), file, 0, line + len, step);
        len += n > 0 ? n : 0;
    } while (n > 0 && line[len - 1] != '\n');
    line[len] = 0;
    return n < 0 ? n : len;
}

static void published(struct fixture *f, int r)
{
    assert_int_equal(r, 0);
    feed_publish(f->w->feed, &f->op, false);
}

static void watch_tells_of_each_change(void **state)
{
    struct fixture *f = *state;
    struct node_file *file, *later;
    unsigned woken = 0;
    char line[100];

    mkdir_(f, "app");
    mkdir_(f, "other");
    assert_int_equal(secrets_tree.open(op(f), f->w->s, "app/@watch", NODE_READ, &file), 0);
    file->ops->on_ready(file, count_wake, &woken);
    assert_int_equal(next_line(f, file, line, 64), -EAGAIN);
    published(f, put(f, "other/key", "1"));
    assert_int_equal(woken, 0); /* of another secret */
    published(f, put(f, "app/key", "1"));
    assert_int_not_equal(woken, 0);
    assert_int_equal(file->ops->read(op(f), file, 0, NULL, 0), 0); /* there is something */
    assert_true(next_line(f, file, line, 64) > 0);
    assert_int_equal(strncmp(line, "1 live 20", 9), 0);
    assert_int_equal(next_line(f, file, line, 64), -EAGAIN);
    published(f, put(f, "app/key", "2"));
    published(f, put(f, "app/key", "3"));
    assert_true(next_line(f, file, line, 1) > 0); /* as a shell reads; the last of two */
    assert_int_equal(strncmp(line, "3 live 20", 9), 0);
    assert_int_equal(line[strlen(line) - 1], '\n');
    published(f, unlink_(f, "app/key"));
    published(f, rmdir_(f, "app"));
    assert_true(next_line(f, file, line, 64) > 0);
    assert_non_null(strstr(line, " deleted "));
    assert_int_equal(secrets_tree.open(op(f), f->w->s, "other/@watch", NODE_READ, &later), 0);
    woken = 0;
    secrets_seal(f->w->s);
    assert_int_equal(woken, 1);
    assert_int_equal(next_line(f, file, line, 64), -EACCES);
    file->ops->close(file);
    later->ops->close(later);
    assert_int_equal(secrets_tree.open(op(f), f->w->s, "other/@watch", NODE_READ, &file), -EACCES);
}

static void watch_needs_the_right_to_read(void **state)
{
    struct fixture *f = *state;
    struct node_file *file;
    char line[100];

    mkdir_(f, "shared");
    put(f, "shared/key", "1");
    mkdir_(f, "private");
    put(f, "private/key", "1");
    f->who = &f->w->app;
    assert_int_equal(secrets_tree.open(op(f), f->w->s, "private/@watch", NODE_READ, &file),
                     -ENOENT);
    assert_int_equal(secrets_tree.open(op(f), f->w->s, "shared/@watch", NODE_WRITE, &file), -EROFS);
    assert_int_equal(secrets_tree.open(op(f), f->w->s, "shared/@watch", NODE_READ, &file), 0);
    f->who = f->w->anonymous; /* a descriptor that was passed on */
    assert_int_equal(next_line(f, file, line, 64), -EACCES);
    file->ops->close(file);
}

static void meta_tells_and_sets(void **state)
{
    struct fixture *f = *state;

    mkdir_(f, "s");
    put(f, "s/k", "1");
    assert_non_null(strstr(get(f, "s/@meta"), "\"last_read_time\":\"\""));
    get(f, "s/k");
    assert_non_null(strstr(get(f, "s/@meta"), "\"last_read_time\":\"20"));
    world_restart(f->w); /* it was written when the mount was closed */
    f->web.self = f->w->s;
    assert_non_null(strstr(get(f, "s/@meta"), "\"last_read_time\":\"20"));
    assert_int_equal(put(f, "s/@meta", "{\"delete_version_after\":\"soon\"}"), -EINVAL);
    assert_int_equal(put(f, "s/@meta", "{\"delete_version_after\":\"90m\"}"), 0);
    assert_non_null(strstr(get(f, "s/@meta"), "\"delete_version_after\":\"1h30m0s\""));
    put(f, "s/k", "2");
    assert_null(strstr(get(f, "s/@meta"), "\"2\":{\"created_time\":\"\",\"deletion_time\":\"\""));
    assert_string_equal(get(f, "s/k"), "2"); /* its time has not come */
    assert_int_equal(put_back(f, "s/@meta"), 0);
}

static int spoil(void *ctx, struct slice part)
{
    struct store *store = ctx;
    struct store_batch *batch = store_batch_new(store, part);
    struct store_scan *scan;
    struct slice key;

    assert_int_equal(
        store_scan(store, part, slice_of(NULL, 0), slice_of(NULL, 0), STORE_KEYS_ONLY, &scan), 0);
    while (store_scan_next(scan, &key, NULL) == 1)
        store_batch_put(batch, key, SLICE("damaged"));
    store_scan_free(scan);
    return store_commit(batch, 0);
}

/* Where somebody has no right nobody looks, so that the time tells nothing: rows that cannot be read
 * are an error to those who may, and to others as if they were not there. */
static void nobody_looks_for_the_denied(void **state)
{
    static const char *const paths[] = {"private",          "private/key",
                                        "private/@json",    "private/@meta",
                                        "private/@versions", "private/@versions/1/key",
                                        "private/@key:key", "private/sub/key"};
    struct fixture *f = *state;
    struct node_stat st;

    mkdir_(f, "private");
    put(f, "private/key", "1");
    world_restart(f->w); /* no folder is remembered */
    f->web.self = f->w->s;
    assert_int_equal(store_partitions(f->w->store, SLICE("secrets/kv/"), spoil, f->w->store), 0);
    assert_string_equal(get(f, "private/key"), "EIO");
    f->who = &f->w->app;
    for (size_t i = 0; i < array_size(paths); i++) {
        assert_int_equal(secrets_tree.stat(op(f), f->w->s, paths[i], &st), -ENOENT);
        assert_string_equal(get(f, paths[i]), "ENOENT");
    }
    assert_int_equal(secrets_tree.mkdir(op(f), f->w->s, "private", 0700), -EACCES);
    assert_int_equal(secrets_tree.mkdir(op(f), f->w->s, "absent", 0700), -EACCES);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(fields),
        TEST(values_keep_their_type),
        TEST(bytes_that_are_no_text),
        TEST(odd_names),
        TEST(folders_go),
        TEST(moves),
        TEST(whole_secret),
        TEST(guards_of_what_was_read),
        TEST(protected_secrets),
        TEST(old_versions),
        TEST(rights),
        TEST(nobody_looks_for_the_denied),
        TEST(sealed),
        TEST(limits),
        TEST(changes_are_told),
        TEST(faults),
        TEST(meta_tells_and_sets),
        TEST(watch_tells_of_each_change),
        TEST(watch_needs_the_right_to_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
