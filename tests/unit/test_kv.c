/* The KV engine on a store in memory: versions, guards, folders, faults; nothing in clear. */
#include "base/clock.h"
#include "identity/identity.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "kv_world.h"

static int put_cas(struct world *w, const char *path, const char *text, int64_t cas)
{
    struct kv_content content = {.text = slice_str(text)};
    struct store_batch *batch = NULL;
    int r;

    op_forgive(&w->op);
    r = kv_put(&w->op, w->kv, path, &content, cas, &batch, NULL);
    return r == 0 ? kv_commit(batch) : r;
}

static int put(struct world *w, const char *path, const char *text)
{
    return put_cas(w, path, text, -1);
}

static int doom(struct world *w, const char *path, enum kv_fate fate, uint32_t version)
{
    struct store_batch *batch = NULL;
    int r = kv_doom(&w->op, w->kv, path, fate, &version, version > 0 ? 1 : 0, &batch);

    return r == 0 ? kv_commit(batch) : r;
}

/* The text of a version, or why there is none. */
static const char *get(struct world *w, const char *path, uint32_t number)
{
    struct kv_content content;
    struct kv_version v;
    struct kv_entry e;

    op_forgive(&w->op);
    if (kv_find(&w->op, w->kv, path, &e) < 0)
        return "no secret";
    if (kv_version_find(&e, number, &v) < 0)
        return "no version";
    if (v.destroyed)
        return "destroyed";
    if (!kv_version_is_live(&v))
        return "deleted";
    if (kv_read(&w->op, w->kv, &e, &v, &content) < 0)
        return "damaged";
    return op_strndup(&w->op, content.text.data, content.text.len);
}

/* The rows of names alone are those of the entries. */
static void assert_names_agree(struct world *w, const char *path, const struct kv_entry *list,
                               size_t n)
{
    struct kv_name *alone = NULL;
    size_t n_alone = 0;

    assert_int_equal(kv_names(&w->op, w->kv, path, &alone, &n_alone), 0);
    assert_int_equal(n_alone, n);
    for (size_t i = 0; i < n; i++) {
        assert_true(slice_eq(alone[i].name, list[i].name));
        assert_int_equal(alone[i].kind, list[i].kind);
    }
}

/* "a/,b" of a folder. */
static const char *names(struct world *w, const char *path)
{
    struct kv_entry *list = NULL;
    const char *ret = "";
    size_t n = 0;

    if (kv_list(&w->op, w->kv, path, &list, &n) < 0)
        return "no folder";
    assert_names_agree(w, path, list, n);
    for (size_t i = 0; i < n; i++)
        ret = op_printf(&w->op, "%s%s%.*s%s", ret, i > 0 ? "," : "", (int)list[i].name.len,
                        (const char *)list[i].name.data, list[i].kind == KV_FOLDER ? "/" : "");
    return ret;
}

static void versions(void **state)
{
    struct world *w = *state;
    struct kv_entry e;

    assert_string_equal(get(w, "app/db", 0), "no secret");
    assert_int_equal(put(w, "app/db", "{\"a\": 12345678901234567890}"), 0);
    assert_int_equal(put(w, "app/db", "{\"b\":1e400}"), 0);
    assert_string_equal(get(w, "app/db", 0), "{\"b\":1e400}");
    assert_string_equal(get(w, "app/db", 1), "{\"a\": 12345678901234567890}");
    assert_string_equal(get(w, "app/db", 3), "no version");
    for (int i = 0; i < 10; i++)
        assert_int_equal(put(w, "app/db", "{}"), 0);
    assert_string_equal(get(w, "app/db", 2), "no version"); /* ten are kept */
    assert_string_equal(get(w, "app/db", 3), "{}");
    assert_int_equal(kv_find(&w->op, w->kv, "app/db", &e), 0);
    assert_int_equal(e.current, 12);
    assert_int_equal(e.oldest, 3);
    assert_int_equal(e.n_versions, 10);
}

static void fates(void **state)
{
    struct world *w = *state;

    assert_int_equal(doom(w, "s", KV_DELETE, 0), -ENOENT);
    put(w, "s", "{\"v\":1}");
    put(w, "s", "{\"v\":2}");
    assert_int_equal(doom(w, "s", KV_DELETE, 0), 0);
    assert_string_equal(get(w, "s", 0), "deleted");
    assert_string_equal(get(w, "s", 1), "{\"v\":1}");
    assert_int_equal(doom(w, "s", KV_UNDELETE, 2), 0);
    assert_string_equal(get(w, "s", 0), "{\"v\":2}");
    assert_int_equal(doom(w, "s", KV_DESTROY, 1), 0);
    assert_string_equal(get(w, "s", 1), "destroyed");
    assert_int_equal(doom(w, "s", KV_UNDELETE, 1), 0);
    assert_string_equal(get(w, "s", 1), "destroyed");
    assert_int_equal(doom(w, "s", KV_DELETE, 9), 0);
    assert_int_equal(kv_remove(&w->op, w->kv, "s"), 0);
    assert_string_equal(get(w, "s", 0), "no secret");
    assert_int_equal(kv_remove(&w->op, w->kv, "s"), -ENOENT);
    put(w, "s", "{\"v\":\"new\"}");
    assert_string_equal(get(w, "s", 1), "{\"v\":\"new\"}"); /* numbers begin again */
}

static void check_and_set(void **state)
{
    struct world *w = *state;
    struct kv_config config = {.cas_required = true};

    assert_int_equal(put_cas(w, "s", "{}", 1), -EINVAL);
    assert_string_equal(w->op.why, "check-and-set parameter did not match the current version");
    assert_int_equal(put_cas(w, "s", "{}", 0), 0);
    assert_int_equal(put_cas(w, "s", "{}", 0), -EINVAL);
    assert_int_equal(put_cas(w, "s", "{}", 1), 0);
    kv_set_config(w->kv, &config);
    assert_int_equal(put(w, "s", "{}"), -EINVAL);
    assert_string_equal(w->op.why, "check-and-set parameter required for this call");
    assert_int_equal(put_cas(w, "s", "{}", 2), 0);
}

/* Two writers that read the same state: the second one's batch does not apply. */
static void writers_race(void **state)
{
    struct kv_content content = {.text = SLICE("{\"v\":1}")};
    struct world *w = *state;
    struct store_batch *a = NULL;
    struct store_batch *b = NULL;

    assert_int_equal(kv_put(&w->op, w->kv, "x/y/s", &content, -1, &a, NULL), 0);
    assert_int_equal(kv_put(&w->op, w->kv, "x/y/t", &content, -1, &b, NULL), 0);
    assert_int_equal(kv_commit(a), 0);
    assert_int_equal(kv_commit(b), -EAGAIN); /* both would have made the folder x */
    assert_int_equal(put(w, "x/y/t", "{\"v\":1}"), 0);
    a = b = NULL;
    assert_int_equal(kv_put(&w->op, w->kv, "x/y/s", &content, -1, &a, NULL), 0);
    assert_int_equal(kv_put(&w->op, w->kv, "x/y/s", &content, -1, &b, NULL), 0);
    assert_int_equal(kv_commit(b), 0);
    assert_int_equal(kv_commit(a), -EAGAIN);
    /* A new secret in a folder that is removed meanwhile. */
    a = NULL;
    assert_int_equal(kv_mkdir(&w->op, w->kv, "dir"), 0);
    assert_int_equal(kv_put(&w->op, w->kv, "dir/s", &content, -1, &a, NULL), 0);
    assert_int_equal(kv_rmdir(&w->op, w->kv, "dir"), 0);
    assert_int_equal(kv_commit(a), -EAGAIN);
    assert_int_equal(put(w, "dir/s", "{}"), 0);
    assert_string_equal(names(w, "dir"), "s");
}

static void folders(void **state)
{
    struct world *w = *state;

    assert_string_equal(names(w, ""), "");
    put(w, "b/two/deep", "{}");
    put(w, "a", "{}");
    put(w, "b", "{}");
    put(w, "b/one", "{}");
    assert_string_equal(names(w, ""), "a,b,b/");
    assert_string_equal(names(w, "b"), "one,two/");
    assert_string_equal(names(w, "c"), "no folder");
    assert_int_equal(kv_rmdir(&w->op, w->kv, "b"), -ENOTEMPTY);
    assert_int_equal(kv_remove(&w->op, w->kv, "b/two/deep"), 0);
    assert_string_equal(names(w, "b"), "one"); /* two/ was kept by nothing else */
    assert_int_equal(kv_remove(&w->op, w->kv, "b/one"), 0);
    assert_string_equal(names(w, ""), "a,b");
    assert_int_equal(kv_mkdir(&w->op, w->kv, "k/l"), 0);
    assert_int_equal(kv_mkdir(&w->op, w->kv, "k/l"), -EEXIST);
    assert_string_equal(names(w, "k"), "l/");
    put(w, "k/l/s", "{}");
    assert_int_equal(kv_remove(&w->op, w->kv, "k/l/s"), 0);
    assert_string_equal(names(w, "k"), "l/"); /* made by mkdir: it stays */
    assert_int_equal(kv_rmdir(&w->op, w->kv, "k/l"), 0);
    assert_int_equal(kv_rmdir(&w->op, w->kv, "k/l"), -ENOENT);
}

static void a_folder_of_deleted_secrets_is_hidden(void **state)
{
    struct world *w = *state;
    struct kv_entry e;

    put(w, "f/g/s", "{\"v\":1}");
    assert_int_equal(kv_rmdir(&w->op, w->kv, "f/g"), -ENOTEMPTY);
    doom(w, "f/g/s", KV_DELETE, 0);
    assert_int_equal(kv_rmdir(&w->op, w->kv, "f/g"), 0);
    assert_int_equal(kv_rmdir(&w->op, w->kv, "f"), 0);
    assert_int_equal(kv_find_folder(&w->op, w->kv, "f/g", &e), 0);
    assert_int_equal(e.folder_flags & KV_HIDDEN, KV_HIDDEN);
    assert_string_equal(names(w, "f"), "g/"); /* Vault's clients still see it */
    assert_int_equal(doom(w, "f/g/s", KV_UNDELETE, 1), 0);
    assert_int_equal(kv_find_folder(&w->op, w->kv, "f/g", &e), 0);
    assert_int_equal(e.folder_flags & KV_HIDDEN, 0);
    assert_int_equal(kv_find_folder(&w->op, w->kv, "f", &e), 0);
    assert_int_equal(e.folder_flags & KV_HIDDEN, 0);
}

static void renames(void **state)
{
    struct world *w = *state;

    for (int i = 0; i < 50; i++)
        put(w, op_printf(&w->op, "old/dir%d/s", i % 5), "{\"v\":1}");
    put(w, "old", "{\"self\":1}");
    put(w, "old", "{\"self\":2}");
    assert_int_equal(kv_rename(&w->op, w->kv, "old", "old/in"), -EINVAL);
    op_forgive(&w->op);
    assert_int_equal(kv_rename(&w->op, w->kv, "none", "x"), -ENOENT);
    assert_int_equal(kv_rename(&w->op, w->kv, "old", "new/place"), 0);
    assert_string_equal(get(w, "old", 0), "no secret");
    assert_string_equal(names(w, ""), "new/");
    assert_string_equal(get(w, "new/place", 0), "{\"self\":2}");
    assert_string_equal(get(w, "new/place", 1), "{\"self\":1}"); /* versions stay */
    assert_string_equal(names(w, "new/place"), "dir0/,dir1/,dir2/,dir3/,dir4/");
    assert_string_equal(get(w, "new/place/dir3/s", 10), "{\"v\":1}");
    /* Over something that is there. */
    put(w, "t", "{}");
    assert_int_equal(kv_rename(&w->op, w->kv, "new/place", "t"), -ENOTEMPTY);
    op_forgive(&w->op);
    doom(w, "t", KV_DELETE, 0);
    assert_int_equal(kv_rename(&w->op, w->kv, "new/place", "t"), 0);
    assert_string_equal(get(w, "t", 0), "{\"self\":2}");
    assert_non_null(strstr(names(w, ""), "t.deleted-")); /* what was deleted there is kept */
    assert_int_equal(kv_mkdir(&w->op, w->kv, "empty"), 0);
    assert_int_equal(kv_rename(&w->op, w->kv, "t", "empty"), 0);
    assert_string_equal(get(w, "empty/dir0/s", 1), "{\"v\":1}");
}

static void big_contents(void **state)
{
    struct kv_content content = {0}, got;
    struct world *w = *state;
    struct store_batch *batch = NULL;
    struct kv_version v;
    struct kv_entry e;
    struct buf text = {0};

    buf_add_char(&text, '{');
    for (int i = 0; i < 40; i++) {
        buf_printf(&text, "%s\"k%d\":\"", i > 0 ? "," : "", i);
        for (int k = 0; k < 10000; k++)
            buf_add_char(&text, (char)('a' + (i + k) % 26));
        buf_add_char(&text, '"');
    }
    buf_add_char(&text, '}');
    content.text = buf_slice(&text);
    assert_int_equal(kv_put(&w->op, w->kv, "big", &content, -1, &batch, &v), 0);
    assert_int_equal(kv_commit(batch), 0);
    assert_int_equal(v.chunks, 7);
    assert_int_equal(kv_find(&w->op, w->kv, "big", &e), 0);
    assert_int_equal(kv_version_find(&e, 0, &v), 0);
    assert_int_equal(kv_read(&w->op, w->kv, &e, &v, &got), 0);
    assert_true(slice_eq(got.text, content.text));
    buf_done(&text);
    /* One over the limit of a field. */
    buf_add_str(&text, "{\"k\":\"");
    for (int k = 0; k < (1 << 20) + 1; k++)
        buf_add_char(&text, 'x');
    buf_add_str(&text, "\"}");
    content.text = buf_slice(&text);
    batch = NULL;
    assert_int_equal(kv_put(&w->op, w->kv, "big", &content, -1, &batch, NULL), -EFBIG);
    assert_null(batch);
    buf_done(&text);
}

static void expiry(void **state)
{
    struct world *w = *state;
    struct kv_change change = {.set_delete_after = true, .delete_after_ns = 1};
    struct store_batch *batch = NULL;

    assert_int_equal(kv_configure(&w->op, w->kv, "s", &change, &batch), 0);
    assert_int_equal(kv_commit(batch), 0);
    put(w, "s", "{}");
    assert_string_equal(get(w, "s", 0), "deleted");
    change.delete_after_ns = INT64_C(3600000000000);
    assert_int_equal(kv_configure(&w->op, w->kv, "s", &change, &batch), 0);
    assert_int_equal(kv_commit(batch), 0);
    put(w, "s", "{}");
    assert_string_equal(get(w, "s", 0), "{}");
}

static void paths(void **state)
{
    static const char *const bad[] = {"a//b", "/a", "a/", ".", "a/../b", "a/."};
    struct world *w = *state;
    char *longest = malloc(KV_NAME_BYTES + 2);

    for (size_t i = 0; i < array_size(bad); i++) {
        assert_int_equal(put(w, bad[i], "{}"), -EINVAL);
        op_forgive(&w->op);
    }
    memset(longest, 'n', KV_NAME_BYTES + 1);
    longest[KV_NAME_BYTES + 1] = 0;
    assert_int_equal(put(w, longest, "{}"), -EINVAL);
    assert_int_equal(put(w, longest + 1, "{}"), 0);
    assert_string_equal(get(w, longest + 1, 1), "{}");
    free(longest);
}

/* Neither names nor values stand in a row, whatever it is. */
static int no_marker(void *ctx, struct slice partition)
{
    struct world *w = ctx;
    struct store_scan *scan = NULL;
    struct slice key, value;

    assert_int_equal(
        store_scan(w->store, partition, slice_of(NULL, 0), slice_of(NULL, 0), 0, &scan), 0);
    while (store_scan_next(scan, &key, &value) == 1) {
        assert_null(memmem(key.data, key.len, "canary", 6));
        assert_null(memmem(value.data, value.len, "canary", 6));
    }
    store_scan_free(scan);
    return 0;
}

static void nothing_in_clear(void **state)
{
    struct world *w = *state;
    struct kv_change change = {.set_custom = true, .custom = SLICE("{\"canary\":\"canary\"}")};
    struct store_batch *batch = NULL;

    put(w, "canary-folder/canary-name", "{\"canary-key\":\"canary-value\"}");
    assert_int_equal(kv_configure(&w->op, w->kv, "canary-folder/canary-name", &change, &batch), 0);
    assert_int_equal(kv_commit(batch), 0);
    assert_int_equal(store_partitions(w->store, SLICE(""), no_marker, w), 0);
}

static size_t count_names(struct world *w, const char *path)
{
    struct kv_name *list = NULL;
    size_t n = 0;

    op_forgive(&w->op);
    assert_int_equal(kv_names(&w->op, w->kv, path, &list, &n), 0);
    return n;
}

/* Lists of large folders are kept in memory, and yet are those of the rows. */
static void large_lists(void **state)
{
    struct world *w = *state;
    struct kv_content content = {.text = SLICE("{}")};
    struct store_batch *batch = NULL, *unused = NULL;

    for (int i = 0; i < 100; i++)
        put(w, op_printf(&w->op, "f/k%d", i), "{}");
    names(w, "f");
    put(w, "f/k5", "{\"v\":2}"); /* no name is changed */
    put(w, "f/new", "{}");
    put(w, "f/sub/s", "{}");
    names(w, "f");
    assert_int_equal(count_names(w, "f"), 102);
    assert_int_equal(kv_remove(&w->op, w->kv, "f/sub/s"), 0);
    names(w, "f");
    assert_int_equal(kv_rename(&w->op, w->kv, "f", "g"), 0);
    assert_int_equal(count_names(w, "g"), 101);
    assert_int_equal(count_names(w, "g"), 101);
    assert_int_equal(kv_put(&w->op, w->kv, "g/late", &content, -1, &batch, NULL), 0);
    assert_int_equal(kv_put(&w->op, w->kv, "g/never", &content, -1, &unused, NULL), 0);
    assert_int_equal(count_names(w, "g"), 101);
    store_batch_free(unused);
    assert_int_equal(count_names(w, "g"), 101);
    assert_int_equal(kv_commit(batch), 0);
    assert_int_equal(count_names(w, "g"), 102);
    kv_listings_forget(w->listings);
    names(w, "g");
}

/* Rows that somebody exchanged in the store are refused, not served. */
static void swapped_rows_are_damage(void **state)
{
    struct world *w = *state;
    struct kv_entry a, b;
    struct store_batch *batch;

    put(w, "a", "{\"v\":1}");
    put(w, "b", "{\"v\":2}");
    assert_int_equal(kv_find(&w->op, w->kv, "a", &a), 0);
    assert_int_equal(kv_find(&w->op, w->kv, "b", &b), 0);
    batch = store_batch_new(w->store, w->kv->part);
    store_batch_put(batch, slice_of(a.key, sizeof a.key), b.raw);
    store_batch_put(batch, slice_of(b.key, sizeof b.key), a.raw);
    assert_int_equal(store_commit(batch, 0), 0);
    assert_int_equal(kv_find(&w->op, w->kv, "a", &a), -EIO);
}

static void sealed(void **state)
{
    struct world *w = *state;
    struct kv_entry e;

    put(w, "a/b", "{}");
    keyring_seal(w->keyring);
    kv_forget(w->kv);
    assert_int_equal(kv_find(&w->op, w->kv, "a/b", &e), -ESHUTDOWN);
    assert_int_equal(put(w, "a/b", "{}"), -ESHUTDOWN);
    assert_int_equal(keyring_unseal(w->keyring, unseal_key), 0);
    assert_int_equal(kv_find(&w->op, w->kv, "a/b", &e), 0);
}

static int act(struct world *w, int which)
{
    switch (which) {
    case 0:
        return put(w, "f/s", "{\"v\":2}");
    case 1:
        return put(w, "n/e/w", "{}");
    case 2:
        return doom(w, "f/s", KV_DELETE, 0);
    case 3:
        return doom(w, "f/s", KV_DESTROY, 1);
    case 4:
        return kv_mkdir(&w->op, w->kv, "m");
    case 5:
        return kv_rename(&w->op, w->kv, "f", "g");
    case 6:
        return kv_remove(&w->op, w->kv, "f/s");
    default:
        return kv_rmdir(&w->op, w->kv, "e");
    }
}

/* A store that fails after n writes: either it was done, or everything is as before. */
static void faults(void **state)
{
    struct world *w = *state;

    for (int which = 0; which < 8; which++) {
        for (unsigned n = 0; n < 4; n++) {
            int r;

            put(w, "f/s", "{\"v\":1}");
            kv_mkdir(&w->op, w->kv, "e");
            store_fault(w->store, n, EIO);
            op_forgive(&w->op);
            r = act(w, which);
            store_fault(w->store, 0, 0);
            op_forgive(&w->op);
            if (r == 0 && n > 0) { /* back to the start */
                kv_rmdir(&w->op, w->kv, "m");
                kv_remove(&w->op, w->kv, "f/s");
                kv_remove(&w->op, w->kv, "g/s");
                kv_rmdir(&w->op, w->kv, "g");
                kv_remove(&w->op, w->kv, "n/e/w");
                op_forgive(&w->op);
                continue;
            }
            assert_int_equal(r, -EIO);
            assert_string_equal(get(w, "f/s", 0), "{\"v\":1}");
            assert_non_null(strstr(names(w, ""), "e/"));
            assert_non_null(strstr(names(w, ""), "f/"));
            assert_string_equal(get(w, "n/e/w", 0), "no secret");
            assert_null(strstr(names(w, ""), "m/"));
        }
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(versions),         TEST(fates),
        TEST(check_and_set),    TEST(writers_race),
        TEST(folders),          TEST(a_folder_of_deleted_secrets_is_hidden),
        TEST(renames),          TEST(big_contents),
        TEST(expiry),           TEST(paths),
        TEST(nothing_in_clear), TEST(swapped_rows_are_damage),
        TEST(sealed),           TEST(faults),
        TEST(large_lists),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
