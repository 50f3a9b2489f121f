/* images/ in the tree, without FUSE. */
#include "images_test.h"

#include "images/images_web.h"

static void ask(struct images_test *t, struct op *op)
{
    op_init(op, DOOR_MOUNT, t->web.who);
}

static int stat_of(struct images_test *t, const char *path, struct node_stat *st)
{
    struct op op;
    int r;

    ask(t, &op);
    r = images_tree.stat(&op, t->self, path, st);
    op_done(&op);
    return r;
}

static int add_name(void *ctx, const char *name, const struct node_stat *st)
{
    (void)st;
    buf_printf(ctx, "%s ", name);
    return 0;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names in a folder, sorted, each with a blank behind it; "!<errno>". */
static const char *list(struct images_test *t, const char *path, struct buf *out)
{
    struct buf names = {0};
    char *name[64], *save = NULL;
    size_t n = 0;
    struct op op;
    int r;

    buf_clear(out);
    ask(t, &op);
    r = images_tree.list(&op, t->self, path, add_name, &names);
    op_done(&op);
    buf_add_str(&names, "");
    for (char *p = strtok_r(names.data, " ", &save); p != NULL && n < 64;
         p = strtok_r(NULL, " ", &save))
        name[n++] = p;
    qsort(name, n, sizeof *name, by_text);
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "%s ", name[i]);
    if (r < 0)
        buf_printf(out, "!%d", -r);
    buf_done(&names);
    return out->data != NULL ? out->data : "";
}

static const char *readlink_of(struct images_test *t, const char *path, char out[300])
{
    const char *target;
    struct op op;
    int r;

    ask(t, &op);
    r = images_tree.readlink(&op, t->self, path, &target);
    snprintf(out, 300, "%s", r == 0 ? target : strerror(-r));
    op_done(&op);
    return out;
}

/* The content of a file, as long as stat says; "!<errno>". */
static const char *read_file(struct images_test *t, const char *path, char out[5000])
{
    struct node_file *f;
    struct node_stat st;
    ssize_t n;
    struct op op;
    int r;

    ask(t, &op);
    r = images_tree.open(&op, t->self, path, NODE_READ, &f);
    if (r < 0) {
        snprintf(out, 5000, "!%d", -r);
    } else {
        n = f->ops->read(&op, f, 0, out, 4999);
        assert_true(n >= 0);
        out[n] = 0;
        assert_int_equal(f->size_bytes, n);
        assert_true(f->flags & NODE_IMMUTABLE);
        assert_int_equal(images_tree.stat(&op, t->self, path, &st), 0);
        assert_int_equal(st.size_bytes, n);
        assert_int_equal(st.type, NODE_FILE);
        f->ops->close(f);
    }
    op_done(&op);
    return out;
}

static int symlink_to(struct images_test *t, const char *path, const char *target)
{
    struct op op;
    int r;

    ask(t, &op);
    r = images_tree.symlink(&op, t->self, path, target);
    op_done(&op);
    return r;
}

static int remove_at(struct images_test *t, const char *path, bool folder)
{
    struct op op;
    int r;

    ask(t, &op);
    r = folder ? images_tree.rmdir(&op, t->self, path) : images_tree.unlink(&op, t->self, path);
    op_done(&op);
    return r;
}

static int rename_to(struct images_test *t, const char *from, const char *to, unsigned flags)
{
    struct op op;
    int r;

    ask(t, &op);
    r = images_tree.rename(&op, t->self, from, to, flags);
    op_done(&op);
    return r;
}

/* "<repo>/@manifests/sha256-<hex>" below images/. */
static const char *folder_of(const char *repo, const char *digest, char out[400])
{
    snprintf(out, 400, "images/%s/@manifests/sha256-%s", repo, digest + 7);
    return out;
}

static void folders_and_tags(void **state)
{
    struct images_test *t = *state;
    char digest[DIGEST_TEXT_MAX], link[300], want[300];
    struct buf out = {0};
    struct node_stat st;

    assert_string_equal(list(t, "images", &out), "");
    push_image(t, "team/app", "1.0", "x", digest);
    push_image(t, "team/app", "web", "x", digest);
    push_image(t, "team/app/web", "2.0", "x", digest);
    push_image(t, "team-x", "1", "x", digest);
    push_image(t, "solo", "1", "x", digest);
    assert_string_equal(list(t, "images", &out), "solo team team-x ");
    assert_string_equal(list(t, "images/team", &out), "app ");
    assert_string_equal(list(t, "images/team/app", &out), "1.0 web ");
    assert_int_equal(stat_of(t, "images/team/app/web", &st), 0);
    assert_int_equal(st.type, NODE_DIR); /* the folder hides the tag, which is still in @tags */
    assert_string_equal(list(t, "images/team/app/@tags", &out), "1.0 web ");
    assert_int_equal(stat_of(t, "images/team/app/@tags/web", &st), 0);
    assert_int_equal(st.type, NODE_SYMLINK);
    snprintf(want, sizeof want, "../@manifests/sha256-%s", digest + 7);
    assert_string_equal(readlink_of(t, "images/team/app/@tags/web", link), want);
    assert_int_equal(st.size_bytes, strlen(want));
    assert_string_equal(readlink_of(t, "images/team/app/1.0", link), want + 3);
    assert_int_equal(stat_of(t, "images/team/app/1.0", &st), 0);
    assert_int_equal(st.size_bytes, strlen(want) - 3);
    assert_string_equal(list(t, "images/none", &out), "!2");
    assert_int_equal(stat_of(t, "images/team/app/none", &st), -ENOENT);
    assert_int_equal(stat_of(t, "images/te", &st), -ENOENT);
    assert_int_equal(stat_of(t, "images/team/app/@what", &st), -ENOENT);
    assert_int_equal(stat_of(t, "images/team/@tags", &st), -ENOENT); /* a folder, no repository */
    assert_string_equal(readlink_of(t, "images/team", link), strerror(EINVAL));
    buf_done(&out);
}

static void inside_an_image(void **state)
{
    struct images_test *t = *state;
    char digest[DIGEST_TEXT_MAX], folder[400], path[600], content[5000], manifest[4096];
    char layer[DIGEST_TEXT_MAX], want[200];
    struct buf out = {0};

    push_image(t, "a", "1", "layer-bytes", digest);
    folder_of("a", digest, folder);
    image_text("{\"n\":\"layer-bytes\"}", "layer-bytes", "", manifest);
    assert_string_equal(list(t, folder, &out), "config.json layers manifest.json referrers rootfs size ");
    snprintf(path, sizeof path, "%s/manifest.json", folder);
    assert_string_equal(read_file(t, path, content), manifest);
    snprintf(path, sizeof path, "%s/config.json", folder);
    assert_string_equal(read_file(t, path, content), "{\"n\":\"layer-bytes\"}");
    snprintf(path, sizeof path, "%s/layers", folder);
    digest_text(SLICE("layer-bytes"), layer);
    snprintf(want, sizeof want, "0-%.12s.tar.gz ", layer + 7);
    assert_string_equal(list(t, path, &out), want);
    snprintf(path, sizeof path, "%s/layers/0-%.12s.tar.gz", folder, layer + 7);
    assert_string_equal(read_file(t, path, content), "layer-bytes");
    snprintf(path, sizeof path, "%s/size", folder);
    snprintf(want, sizeof want, "%zu\n", strlen(manifest) + 19 + 11);
    assert_string_equal(read_file(t, path, content), want);
    snprintf(path, sizeof path, "%s/referrers", folder);
    assert_string_equal(list(t, path, &out), "");
    snprintf(path, sizeof path, "%s/rubbish", folder);
    assert_string_equal(read_file(t, path, content), "!2");
    snprintf(path, sizeof path, "images/@blobs/sha256/%s", layer + 7);
    assert_string_equal(read_file(t, path, content), "layer-bytes");
    assert_string_equal(list(t, "images/@blobs", &out), "sha256 sha512 ");
    assert_non_null(strstr(list(t, "images/@blobs/sha256", &out), layer + 7));
    assert_string_equal(list(t, "images/@blobs/sha512", &out), "");
    assert_string_equal(list(t, "images/a/@manifests", &out),
                        (snprintf(want, sizeof want, "sha256-%s ", digest + 7), want));
    buf_done(&out);
}

static void inside_an_index(void **state)
{
    static const char *const platforms[] = {
        "\"os\":\"linux\",\"architecture\":\"amd64\"",
        "\"os\":\"linux\",\"architecture\":\"arm\",\"variant\":\"v7\"",
        "\"os\":\"../x\",\"architecture\":\"y/z\"",
        "\"os\":\"linux\",\"architecture\":\"amd64\"",
    };
    struct images_test *t = *state;
    char digests[4][DIGEST_TEXT_MAX], own[DIGEST_TEXT_MAX], folder[400], path[600], link[300];
    char want[600];
    struct buf index = {0}, out = {0};

    buf_add_str(&index, "{\"schemaVersion\":2,\"manifests\":[");
    for (int i = 0; i < 4; i++) {
        char name[8], tag[8];

        snprintf(name, sizeof name, "img%d", i);
        snprintf(tag, sizeof tag, "p%d", i);
        push_image(t, "a", tag, name, digests[i]);
        buf_printf(&index,
                   "%s{\"mediaType\":\"" MEDIA_OCI_MANIFEST
                   "\",\"digest\":\"%s\",\"size\":1,\"platform\":{%s}}",
                   i > 0 ? "," : "", digests[i], platforms[i]);
    }
    buf_add_str(&index, "]}");
    assert_int_equal(
        call(t, "PUT", "/v2/a/manifests/all", "Content-Type", MEDIA_OCI_INDEX, buf_slice(&index)),
        201);
    digest_text(buf_slice(&index), own);
    folder_of("a", own, folder);
    snprintf(want, sizeof want,
             ".._x-y_z index.json linux-amd64 linux-amd64-%.12s linux-arm-v7 referrers size ",
             digests[3] + 7);
    assert_string_equal(list(t, folder, &out), want);
    snprintf(path, sizeof path, "%s/linux-amd64", folder);
    snprintf(want, sizeof want, "../sha256-%s", digests[0] + 7);
    assert_string_equal(readlink_of(t, path, link), want);
    buf_done(&index);
    buf_done(&out);
}

static void as_a_layout(void **state)
{
    struct images_test *t = *state;
    char digest[DIGEST_TEXT_MAX], layer[DIGEST_TEXT_MAX], content[5000], manifest[4096], path[600];
    struct buf out = {0};
    struct node_stat st;

    push_image(t, "a", "1", "layer-bytes", digest);
    push_blob(t, "b", "elsewhere");
    image_text("{\"n\":\"layer-bytes\"}", "layer-bytes", "", manifest);
    assert_string_equal(list(t, "images/a/@oci", &out), "blobs index.json oci-layout ");
    assert_string_equal(list(t, "images/a/@oci/blobs", &out), "sha256 sha512 ");
    assert_string_equal(read_file(t, "images/a/@oci/oci-layout", content),
                        "{\"imageLayoutVersion\":\"1.0.0\"}");
    assert_int_equal(stat_of(t, "images/a/@oci/index.json", &st), 0);
    assert_true(st.size_bytes > 100 && !(st.flags & NODE_IMMUTABLE));
    digest_text(SLICE("layer-bytes"), layer);
    assert_non_null(strstr(list(t, "images/a/@oci/blobs/sha256", &out), layer + 7));
    assert_non_null(strstr(out.data, digest + 7));
    snprintf(path, sizeof path, "images/a/@oci/blobs/sha256/%s", layer + 7);
    assert_string_equal(read_file(t, path, content), "layer-bytes");
    snprintf(path, sizeof path, "images/a/@oci/blobs/sha256/%s", digest + 7);
    assert_string_equal(read_file(t, path, content), manifest);
    digest_text(SLICE("elsewhere"), layer);
    snprintf(path, sizeof path, "images/a/@oci/blobs/sha256/%s", layer + 7);
    assert_string_equal(read_file(t, path, content), "!2");
    assert_string_equal(read_file(t, "images/a/@oci/blobs/sha256/xyz", content), "!2");
    assert_string_equal(read_file(t, "images/a/@oci/rubbish", content), "!2");
    buf_done(&out);
}

static void retagging(void **state)
{
    struct images_test *t = *state;
    char one[DIGEST_TEXT_MAX], two[DIGEST_TEXT_MAX], target[500], folder[400];
    struct buf out = {0};

    push_image(t, "team/app", "1.0", "one", one);
    push_image(t, "team/app", "1.1", "two", two);
    assert_int_equal(symlink_to(t, "images/team/app/stable", "1.0"), 0);
    assert_int_equal(get(t, "/v2/team/app/manifests/stable"), 200);
    assert_string_equal(header(t, "Docker-Content-Digest"), one);
    assert_int_equal(symlink_to(t, "images/team/app/stable", "1.1"), 0);
    assert_int_equal(get(t, "/v2/team/app/manifests/stable"), 200);
    assert_string_equal(header(t, "Docker-Content-Digest"), two);
    snprintf(target, sizeof target, "@manifests/sha256-%s", one + 7);
    assert_int_equal(symlink_to(t, "images/team/app/by-digest", target), 0);
    snprintf(target, sizeof target, "../@manifests/sha256-%s", one + 7);
    assert_int_equal(symlink_to(t, "images/team/app/@tags/within", target), 0);
    assert_int_equal(symlink_to(t, "images/team/app/x", "none"), -ENOENT);
    assert_int_equal(symlink_to(t, "images/team/app/x", "/etc/passwd"), -EINVAL);
    assert_int_equal(symlink_to(t, "images/team/app/x", "@manifests/sha256-00"), -ENOENT);
    assert_int_equal(symlink_to(t, "images/team/app", "1.0"), -EEXIST);
    assert_int_equal(symlink_to(t, "images/none/x", "1.0"), -ENOENT);
    assert_int_equal(symlink_to(t, "images/@blobs/x", "1.0"), -EROFS);
    assert_string_equal(list(t, "images/team/app", &out), "1.0 1.1 by-digest stable within ");
    assert_int_equal(rename_to(t, "images/team/app/stable", "images/team/app/old", 0), 0);
    assert_int_equal(rename_to(t, "images/team/app/old", "images/team/app/1.0", NODE_NOREPLACE),
                     -EEXIST);
    assert_int_equal(rename_to(t, "images/team/app/old", "images/other/x", 0), -ENOENT);
    assert_int_equal(rename_to(t, "images/team", "images/x", 0), -EROFS);
    assert_int_equal(remove_at(t, "images/team/app/old", false), 0);
    assert_int_equal(remove_at(t, "images/team/app/old", false), -ENOENT);
    assert_int_equal(get(t, "/v2/team/app/manifests/old"), 404);
    folder_of("team/app", one, folder);
    assert_int_equal(remove_at(t, folder, true), -EBUSY);
    assert_int_equal(remove_at(t, "images/team/app/1.0", false), 0);
    assert_int_equal(remove_at(t, "images/team/app/by-digest", false), 0);
    assert_int_equal(remove_at(t, folder, true), -EBUSY); /* "within" is left */
    assert_int_equal(remove_at(t, "images/team/app/@tags/within", false), 0);
    snprintf(target, sizeof target, "%s/manifest.json", folder);
    assert_int_equal(remove_at(t, target, false), 0); /* as rm -r does, before its rmdir */
    assert_int_equal(remove_at(t, folder, true), 0);
    assert_int_equal(remove_at(t, folder, true), -ENOENT);
    buf_done(&out);
}

static void emptied_repository(void **state)
{
    struct images_test *t = *state;
    char digest[DIGEST_TEXT_MAX], folder[400];
    struct buf out = {0};

    push_image(t, "team/app", "1", "x", digest);
    assert_int_equal(remove_at(t, "images/team", true), -ENOTEMPTY);
    assert_int_equal(remove_at(t, "images/team/app", true), -ENOTEMPTY);
    assert_int_equal(remove_at(t, "images/team/app/1", false), 0);
    assert_int_equal(remove_at(t, "images/team/app", true), -ENOTEMPTY);
    assert_int_equal(remove_at(t, folder_of("team/app", digest, folder), true), 0);
    assert_int_equal(remove_at(t, "images/team/app", true), 0);
    assert_string_equal(list(t, "images", &out), "");
    buf_done(&out);
}

/* What one may not read is not there; what one may not do is refused. */
static void rights(void **state)
{
    struct images_test *t = *state;
    char digest[DIGEST_TEXT_MAX], folder[400], content[5000], path[600], secret[DIGEST_TEXT_MAX];
    struct buf out = {0};
    struct node_stat st;

    push_image(t, "team/app", "1", "x", digest);
    push_image(t, "secret/app", "1", "y", secret);
    t->web.who = &t->reader;
    assert_string_equal(list(t, "images", &out), "team ");
    assert_string_equal(list(t, "images/secret", &out), "!2");
    assert_int_equal(stat_of(t, "images/secret/app/1", &st), -ENOENT);
    snprintf(path, sizeof path, "%s/manifest.json", folder_of("secret/app", secret, folder));
    assert_string_equal(read_file(t, path, content), "!2");
    digest_text(SLICE("y"), secret);
    snprintf(path, sizeof path, "images/@blobs/sha256/%s", secret + 7);
    assert_string_equal(read_file(t, path, content), "!2");
    assert_int_equal(stat_of(t, path, &st), -ENOENT);
    assert_null(strstr(list(t, "images/@blobs/sha256", &out), secret + 7));
    assert_int_equal(stat_of(t, "images/team/app", &st), 0);
    assert_false(st.flags & NODE_WRITABLE);
    assert_int_equal(symlink_to(t, "images/team/app/x", "1"), -EACCES);
    assert_int_equal(symlink_to(t, "images/team/app/1", "1"), -EACCES);
    assert_int_equal(remove_at(t, "images/team/app/1", false), -EACCES);
    assert_int_equal(rename_to(t, "images/team/app/1", "images/team/app/2", 0), -EACCES);
    assert_int_equal(remove_at(t, "images/secret/app/1", false), -ENOENT);
    t->web.who = &t->nobody;
    assert_string_equal(list(t, "images", &out), "");
    assert_int_equal(stat_of(t, "images/team", &st), -ENOENT);
    buf_done(&out);
}

static void nothing_is_written(void **state)
{
    struct images_test *t = *state;
    char digest[DIGEST_TEXT_MAX];
    struct node_file *f;
    struct op op;

    push_image(t, "a", "1", "x", digest);
    ask(t, &op);
    assert_int_equal(images_tree.open(&op, t->self, "images/a/new", NODE_WRITE | NODE_CREATE, &f),
                     -EROFS);
    assert_int_equal(images_tree.open(&op, t->self, "images/a", NODE_READ, &f), -ENOENT);
    op_done(&op);
}

static bool has_change(const struct op *op, const char *path)
{
    for (const struct op_change *c = op->changes; c != NULL; c = c->next)
        if (strcmp(c->path, path) == 0)
            return true;
    return false;
}

static void changes_are_told(void **state)
{
    struct images_test *t = *state;
    char digest[DIGEST_TEXT_MAX], manifest[4096], folder[400], path[500];

    push_blob(t, "team/app", "{}");
    push_blob(t, "team/app", "x");
    assert_true(has_change(&t->web.op,
                           "/images/@blobs/sha256/"
                           "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"));
    image_text("{}", "x", "", manifest);
    assert_int_equal(put_manifest(t, "team/app", "1", manifest), 201);
    assert_true(has_change(&t->web.op, "/images/team"));
    assert_true(has_change(&t->web.op, "/images/team/app"));
    assert_true(has_change(&t->web.op, "/images/team/app/1"));
    assert_true(has_change(&t->web.op, "/images/team/app/@tags/1"));
    folder_of("team/app", digest_text(slice_str(manifest), digest), folder);
    snprintf(path, sizeof path, "/%s", folder);
    assert_true(has_change(&t->web.op, path));
    assert_int_equal(call(t, "DELETE", "/v2/team/app/manifests/1", NULL, NULL, SLICE("")), 202);
    assert_true(has_change(&t->web.op, "/images/team/app/1"));
}

#define test(f) cmocka_unit_test_setup_teardown(f, images_test_setup, images_test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        test(folders_and_tags), test(inside_an_image),    test(inside_an_index),
        test(as_a_layout),      test(retagging),          test(emptied_repository),
        test(rights),           test(nothing_is_written), test(changes_are_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
