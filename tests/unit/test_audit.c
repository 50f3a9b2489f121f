#include "identity/audit.h"

#include "test_identity.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>

static struct audit *audit;

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    autobuf why = {0};

    world_start(w, "audit: {rotate: 64KiB, keep: 2}\n", NULL);
    assert_int_equal(audit_open(w->config, &audit, &why), 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    audit_close(audit);
    world_end(*state);
    free(*state);
    return 0;
}

static void path_of(const struct world *w, const char *name, char path[128])
{
    snprintf(path, 128, "%s/%s", w->folder, name);
}

static void test_line(void **state)
{
    struct world *w = *state;
    struct op op;
    char path[128];
    autobuf text = {0};
    json_t *line;
    struct stat st;

    op_init(&op, DOOR_HTTP, identity_anonymous(w->ids));
    op.remote = "10.0.0.9";
    op_fail(&op, EACCES, "no \"rights\"\n");
    assert_int_equal(audit_write(audit, &op, "read", "secret/data/a\"b\xff", -EACCES), 0);
    path_of(w, "audit.log", path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(file_read(path, 1 << 20, &text), 0);
    assert_int_equal(text.data[text.len - 1], '\n');
    assert_ptr_equal(strchr(text.data, '\n'), text.data + text.len - 1);
    line = json_loads(text.data, 0, NULL);
    assert_non_null(line);
    assert_string_equal(json_string_value(json_object_get(line, "door")), "http");
    assert_string_equal(json_string_value(json_object_get(line, "who")), "anonymous");
    assert_string_equal(json_string_value(json_object_get(line, "remote")), "10.0.0.9");
    assert_string_equal(json_string_value(json_object_get(line, "what")), "read");
    assert_string_equal(json_string_value(json_object_get(line, "path")),
                        "secret/data/a\"b\xef\xbf\xbd");
    assert_int_equal(json_integer_value(json_object_get(line, "result")), -EACCES);
    assert_string_equal(json_string_value(json_object_get(line, "id")), op_id(&op));
    assert_string_equal(json_string_value(json_object_get(line, "why")), "no \"rights\"\n");
    json_decref(line);
    op_done(&op);
}

static void test_rotation(void **state)
{
    struct world *w = *state;
    struct op op;
    char path[128];
    struct stat st;

    op_init(&op, DOOR_MOUNT, identity_internal(w->ids));
    for (int i = 0; i < 2000; i++)
        assert_int_equal(audit_write(audit, &op, "read", "secret/data/some/path", 0), 0);
    for (int i = 0; i < 4; i++) {
        static const char *const names[] = {"audit.log", "audit.log.1", "audit.log.2",
                                            "audit.log.3"};

        path_of(w, names[i], path);
        assert_int_equal(stat(path, &st), i < 3 ? 0 : -1);
        if (i < 3)
            assert_true(st.st_size > 0 && st.st_size <= 64 << 10);
    }
    op_done(&op);
}

static void test_failure(void **state)
{
    struct world *w = *state;
    struct op op;
    autobuf why = {0};
    struct audit *full = NULL, *none = NULL;
    struct config bad = *w->config, off = *w->config;
    char path[128];

    path_of(w, "none/audit.log", path);
    bad.audit_file = path;
    assert_int_equal(audit_open(&bad, &none, &why), -ENOENT);
    assert_non_null(strstr(why.data, "No such file"));
    op_init(&op, DOOR_HTTP, identity_anonymous(w->ids));
    bad.audit_file = (char *)"/dev/full";
    assert_int_equal(audit_open(&bad, &full, &why), 0);
    assert_int_equal(audit_write(full, &op, "read", "x", 0), -EIO);
    audit_close(full);
    path_of(w, "other", path); /* a pipe is never rotated */
    assert_int_equal(mkfifo(path, 0600), 0);
    {
        int reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

        bad.audit_file = path;
        bad.audit_rotate_bytes = 100;
        assert_int_equal(audit_open(&bad, &full, &why), 0);
        for (int i = 0; i < 5; i++)
            assert_int_equal(audit_write(full, &op, "read", "x", 0), 0);
        audit_close(full);
        close(reader);
    }
    off.audit_file = (char *)"";
    assert_int_equal(audit_open(&off, &full, &why), 0);
    assert_int_equal(audit_write(full, &op, "read", "x", 0), 0);
    audit_close(full);
    assert_int_equal(audit_write(NULL, &op, "read", "x", 0), 0);
    op_done(&op);
}

static void test_hmac(void **state)
{
    struct world *w = *state;
    struct op op;
    struct audit *again = NULL;
    autobuf why = {0};
    const char *first;

    op_init(&op, DOOR_HTTP, identity_anonymous(w->ids));
    first = audit_hmac(audit, &op, SLICE("hunter2"));
    assert_int_equal(strlen(first), strlen("hmac-sha256:") + 64);
    assert_string_not_equal(first, audit_hmac(audit, &op, SLICE("hunter3")));
    assert_int_equal(audit_open(w->config, &again, &why), 0); /* the key stays */
    assert_string_equal(first, audit_hmac(again, &op, SLICE("hunter2")));
    audit_close(again);
    op_done(&op);
}

static void *write_many(void *arg)
{
    struct world *w = arg;
    struct op op;

    op_init(&op, DOOR_HTTP, identity_anonymous(w->ids));
    for (int i = 0; i < 50; i++)
        audit_write(audit, &op, "list", "images/x", 200);
    op_done(&op);
    return NULL;
}

static void test_threads(void **state)
{
    struct world *w = *state;
    pthread_t threads[4];
    char path[128];
    autobuf text = {0};
    int lines = 0;

    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, write_many, w);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    path_of(w, "audit.log", path);
    assert_int_equal(file_read(path, 1 << 20, &text), 0);
    for (char *p = text.data, *end; *p != 0; p = end + 1, lines++) {
        json_t *line;

        end = strchr(p, '\n');
        line = json_loadb(p, (size_t)(end - p), 0, NULL);
        assert_non_null(line);
        json_decref(line);
    }
    assert_int_equal(lines, 200);
}

static void test_refusals(void **state)
{
    struct world *w = *state;
    struct op op, other;
    autobuf text = {0};

    op_init(&op, DOOR_MOUNT, identity_anonymous(w->ids));
    op.uid = 1000;
    op_init(&other, DOOR_MOUNT, identity_anonymous(w->ids));
    other.uid = 1001;
    for (int i = 0; i < 40; i++) {
        char path[32];

        op_forgive(&op);
        op_fail(&op, EINVAL, "reason %d", i);
        snprintf(path, sizeof path, "packages/%d", i);
        refusals_note(&op, path, -EINVAL);
    }
    refusals_print(&other, &text); /* another caller sees nothing of it */
    assert_int_equal(text.len, 0);
    refusals_print(&op, &text);
    assert_non_null(strstr(text.data, " mount packages/39: reason 39 (EINVAL)\n"));
    assert_true(strstr(text.data, "packages/39") < strstr(text.data, "packages/38"));
    assert_non_null(strstr(text.data, "packages/24:"));
    assert_null(strstr(text.data, "packages/23:"));
    for (uid_t uid = 2000; uid < 2600; uid++) { /* many callers: bounded, the oldest go */
        other.uid = uid;
        refusals_note(&other, "x", -EACCES);
    }
    buf_clear(&text);
    refusals_print(&op, &text);
    assert_int_equal(text.len, 0);
    op_done(&op);
    op_done(&other);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_line), TEST(test_rotation), TEST(test_failure),
        TEST(test_hmac), TEST(test_threads),  TEST(test_refusals),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
