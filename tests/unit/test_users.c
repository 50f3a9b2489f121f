#include "test_identity.h"

#include "identity/userfile.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>

static int login(struct world *w, const char *user, const char *password, unsigned flags)
{
    struct identity *who = NULL;
    struct op op;
    int r;

    op_init(&op, DOOR_HTTP, identity_anonymous(w->ids));
    r = identity_basic(w->ids, &op, slice_str(user), slice_str(password), flags, &who);
    if (r == 0) {
        assert_string_equal(who->name, user);
        assert_int_equal(who->kind, IDENTITY_USER);
        assert_true(identity_rights(who, SLICE("secret/data/x")) & POLICY_READ);
        assert_int_equal(identity_rights(who, SLICE("sys/policies/acl/x")), 0);
    }
    identity_unref(who);
    op_done(&op);
    return r;
}

static char *line(const char *user, const char *hash)
{
    char *text;

    assert_true(asprintf(&text, "%s:%s\n", user, hash) > 0);
    return text;
}

static char *hash_of(const char *password)
{
    char *hash = NULL;

    assert_int_equal(users_hash(slice_str(password), &hash), 0);
    return hash;
}

static void test_login_and_cache(void **state)
{
    struct world w = {0};
    autofree char *hash = hash_of("correct horse"), *text = line("alice", hash);

    (void)state;
    world_start(&w, "", text);
    assert_int_equal(login(&w, "alice", "correct horse", IDENTITY_QUICK), -EAGAIN);
    assert_int_equal(login(&w, "alice", "wrong", IDENTITY_QUICK), -EAGAIN);
    assert_int_equal(login(&w, "alice", "wrong", 0), -EPERM);
    assert_int_equal(login(&w, "alice", "correct horse", 0), 0);
    assert_int_equal(login(&w, "alice", "correct horse", IDENTITY_QUICK), 0);
    assert_int_equal(login(&w, "alice", "wrong", IDENTITY_QUICK), -EAGAIN); /* never remembered */
    assert_int_equal(login(&w, "bob", "correct horse", IDENTITY_QUICK), -EAGAIN);
    assert_int_equal(login(&w, "bob", "correct horse", 0), -EPERM);
    assert_int_equal(login(&w, "", "x", 0), -EPERM);
    assert_int_equal(login(&w, "alice", "", 0), -EPERM);
    world_end(&w);
}

/* Of this process: other work on the machine does not count. */
static int64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void test_cost_of_the_unknown(void **state)
{
    struct world w = {0};
    autofree char *hash = hash_of("correct horse"), *text = line("alice", hash);
    int64_t start, wrong, unknown;

    (void)state;
    world_start(&w, "", text);
    start = cpu_ns();
    login(&w, "alice", "wrong", 0);
    wrong = cpu_ns() - start;
    start = cpu_ns();
    login(&w, "nobody", "wrong", 0);
    unknown = cpu_ns() - start;
    assert_true(unknown > wrong / 4 && wrong > unknown / 4); /* both compute one hash */
    assert_true(unknown > 10000000);
    world_end(&w);
}

static void test_no_users(void **state)
{
    struct world w = {0};
    struct identity *who = NULL;
    struct op op;

    (void)state;
    world_start(&w, "", NULL);
    op_init(&op, DOOR_HTTP, identity_anonymous(w.ids));
    assert_int_equal(identity_basic(w.ids, &op, SLICE("a"), SLICE("b"), 0, &who), -EPERM);
    assert_string_equal(op.why, "no users yet: run 'infrafs user add NAME'");
    op_forgive(&op);
    assert_int_equal(identity_check(&op, POLICY_READ, "packages/%s", "x"), -EPERM);
    assert_string_equal(op.why, "no users yet: run 'infrafs user add NAME'");
    op_done(&op);
    world_end(&w);
}

static void rewrite_in_place(const char *path, const char *text, bool keep_open, int *fd)
{
    *fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(*fd >= 0);
    assert_int_equal(write(*fd, text, strlen(text)), (ssize_t)strlen(text));
    if (!keep_open)
        close(*fd);
}

/* Each way to edit: the next request knows the new password, and not the old one. */
static void test_edits(void **state)
{
    static const char *const ways[] = {"replace", "in place", "remove and create", "link"};
    struct world w = {0};
    autofree char *one = hash_of("one"), *two = hash_of("two");
    autofree char *first = line("alice", one), *second = line("alice", two);
    char other[128];

    (void)state;
    for (size_t i = 0; i < array_size(ways); i++) {
        int fd;

        world_start(&w, "", first);
        snprintf(other, sizeof other, "%s/other", w.folder);
        assert_int_equal(login(&w, "alice", "one", 0), 0);
        if (i == 0) {
            assert_int_equal(file_replace(w.users, slice_str(second), 0600), 0);
        } else if (i == 1) {
            rewrite_in_place(w.users, second, false, &fd);
        } else if (i == 2) {
            unlink(w.users);
            rewrite_in_place(w.users, second, false, &fd);
        } else {
            rewrite_in_place(other, second, false, &fd);
            assert_int_equal(rename(other, w.users), 0);
        }
        if (login(&w, "alice", "two", 0) != 0)
            fail_msg("%s: the new password is not known", ways[i]);
        if (login(&w, "alice", "one", IDENTITY_QUICK) != -EAGAIN ||
            login(&w, "alice", "one", 0) != -EPERM)
            fail_msg("%s: the old password still counts", ways[i]);
        world_end(&w);
    }
}

/* While a writer has truncated the file, nobody is locked out. */
static void test_torn(void **state)
{
    struct world w = {0};
    autofree char *one = hash_of("one"), *two = hash_of("two");
    autofree char *first = line("alice", one), *second = line("alice", two);
    int fd;

    (void)state;
    world_start(&w, "", first);
    assert_int_equal(login(&w, "alice", "one", 0), 0);
    rewrite_in_place(w.users, "ali", true, &fd);
    assert_int_equal(login(&w, "alice", "one", IDENTITY_QUICK), 0);
    assert_int_equal(pwrite(fd, second, strlen(second), 0), (ssize_t)strlen(second));
    close(fd);
    assert_int_equal(login(&w, "alice", "one", IDENTITY_QUICK), -EAGAIN);
    assert_int_equal(login(&w, "alice", "two", 0), 0);
    world_end(&w);
}

static void test_broken_line(void **state)
{
    struct world w = {0};
    autofree char *hash = hash_of("one"), *good = line("alice", hash);
    autobuf text = {0};

    (void)state;
    buf_printf(&text, "# users\n\nnonsense\nbob:plain\r\n%s", good);
    world_start(&w, "", text.data);
    assert_int_equal(login(&w, "alice", "one", 0), 0);
    assert_int_equal(login(&w, "bob", "plain", 0), -EPERM);
    world_end(&w);
}

struct many {
    struct world *w;
    int ok;
};

static void *many_login(void *arg)
{
    struct many *m = arg;

    if (login(m->w, "alice", "one", 0) == 0)
        __atomic_add_fetch(&m->ok, 1, __ATOMIC_RELAXED);
    return NULL;
}

/* 64 first requests at once cost about one hash. */
static void test_many_at_once(void **state)
{
    struct world w = {0};
    autofree char *hash = hash_of("one"), *text = line("alice", hash);
    struct many many = {.w = &w};
    pthread_t threads[64];
    int64_t start, single, all;

    (void)state;
    world_start(&w, "", text);
    start = cpu_ns();
    login(&w, "alice", "wrong", 0);
    single = cpu_ns() - start;
    start = cpu_ns();
    for (int i = 0; i < 64; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, many_login, &many), 0);
    for (int i = 0; i < 64; i++)
        pthread_join(threads[i], NULL);
    all = cpu_ns() - start;
    assert_int_equal(many.ok, 64);
    assert_true(all < 8 * single); /* one by one it were 64 */
    world_end(&w);
}

/* Made by htpasswd, openssl passwd and crypt(3). */
static void test_kinds(void **state)
{
    static const struct {
        const char *hash, *password;
        bool replaced; /* by bcrypt, at the first login */
    } cases[] = {
        {"$2y$05$JHQqel7RlZuIjP8fZf7fvONCPKuj0MiQY2nqfgkqtFnyea1LbqPvS", "correct horse", false},
        {"$2a$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2", "correct horse", false},
        {"$2b$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2", "correct horse", false},
        {"$5$saltsalt$myjXcpMpE2Ofk7fj9hqyNYSn6lmWG4Mqnjx.KIRRr4/", "correct horse", false},
        {"$6$saltsalt$hRM5XZ86KXEw9UOmjigeVqFgULtFB2sgpC9lXQDfMib3Zgw7mEiUvBJI2EplzfAqxL5Vvwp2scFt"
         "v/uamSo5z0", "correct horse", false},
        {"$y$j9T$saltsalt$IFUVMd9IZg.1qt0VDKUmwCd8zfLLrtDA9mffjiD5skD", "correct horse", false},
        {"$apr1$saltsalt$EGVZDNN6gOqijy.tv9axG/", "correct horse", true},
        {"$apr1$omnj7txB$Jzh/i3u7sEVwvdhTRKhMZ0", "x", true},
        {"$apr1$xyz$wouDxvFmekC1Mf4Wu/Bwv0",
         "a much longer password with more than sixteen bytes", true},
        {"{SHA}L55TUjtiq8FBorTWAZ0jy6g129A=", "correct horse", true},
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        struct world w = {0};
        autofree char *text = line("alice", cases[i].hash);
        autobuf after = {0};

        world_start(&w, "", text);
        if (login(&w, "alice", "wrong", 0) != -EPERM)
            fail_msg("%s: a wrong password counts", cases[i].hash);
        if (login(&w, "alice", cases[i].password, 0) != 0)
            fail_msg("%s: the password does not count", cases[i].hash);
        assert_int_equal(file_read(w.users, 4096, &after), 0);
        if ((strncmp(after.data, "alice:$2y$11$", 13) == 0) != cases[i].replaced)
            fail_msg("%s became %s", cases[i].hash, after.data);
        assert_int_equal(login(&w, "alice", cases[i].password, 0), 0);
        world_end(&w);
    }
}

static void test_verify_for_logins(void **state)
{
    struct world w = {0};
    struct op op;

    (void)state;
    world_start(&w, "", "alice:{SHA}L55TUjtiq8FBorTWAZ0jy6g129A=\n");
    op_init(&op, DOOR_HTTP, identity_anonymous(w.ids));
    assert_int_equal(users_verify(w.ids, &op, SLICE("alice"), SLICE("wrong")), -EPERM);
    assert_int_equal(users_verify(w.ids, &op, SLICE("bob"), SLICE("correct horse")), -EPERM);
    op_forgive(&op);
    assert_int_equal(users_verify(w.ids, &op, SLICE("alice"), SLICE("correct horse")), 0);
    op_done(&op);
    world_end(&w);
}

static void test_check(void **state)
{
    static const struct {
        const char *text, *why; /* NULL: valid */
    } cases[] = {
        {"", NULL},
        {"# nothing\n\n", NULL},
        {"a:$2y$11$1BpyCgyL2ZWvS9XFyBC7QuhVpFURPCxEvK5Ph6GEhQZDHKr8fyJW2:comment\n", NULL},
        {"a:$2y$11$1BpyCgyL2ZWvS9XFyBC7QuhVpFURPCxEvK5Ph6GEhQZDHKr8fyJW", "line 1: the bcrypt hash "
                                                                          "is cut or damaged"},
        {"a:$2y$16$1BpyCgyL2ZWvS9XFyBC7QuhVpFURPCxEvK5Ph6GEhQZDHKr8fyJW2",
         "line 1: a bcrypt cost of 16 takes too long; at most 15"},
        {"a:$2y$1x$1BpyCgyL2ZWvS9XFyBC7QuhVpFURPCxEvK5Ph6GEhQZDHKr8fyJW2",
         "line 1: the bcrypt hash is cut or damaged"},
        {"\na", "line 2: a line is 'name:hash'"},
        {"a:", "line 1: the hash is missing or too long"},
        {":x", "line 1: a user name has 1 to 255 bytes"},
        {"a:secret", "line 1: the hash is of no kind that is taken; use 'infrafs user passwd NAME', "
                     "or htpasswd -B"},
        {"__token__:{SHA}/NAcTpjrObhlopr/LSvKhhhxT8g=",
         "line 1: the name '__token__' is taken: it says that a token is the password"},
        {"\xff:{SHA}/NAcTpjrObhlopr/LSvKhhhxT8g=", "line 1: the user name is not UTF-8"},
        {"a:{SHA}/NAcTpjrObhlopr/LSvKhhhxT8g=\nb:{SHA}/NAcTpjrObhlopr/LSvKhhhxT8g=\r\n"
         "a:{SHA}/NAcTpjrObhlopr/LSvKhhhxT8g=",
         "line 3: this user was given before, in line 1"},
        {"a:{SHA}short", "line 1: the sha1 hash is cut or damaged"},
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        autobuf why = {0};
        int r = users_check(slice_str(cases[i].text), &why);

        if (r != (cases[i].why != NULL ? -EINVAL : 0))
            fail_msg("%s: %d %s", cases[i].text, r, why.data != NULL ? why.data : "");
        if (cases[i].why != NULL)
            assert_string_equal(why.data, cases[i].why);
    }
}

static void test_edit_file(void **state)
{
    char path[] = "/tmp/infrafs-users-XXXXXX";
    int fd = mkstemp(path);
    autobuf text = {0}, why = {0};

    (void)state;
    close(fd);
    assert_int_equal(file_replace(path, SLICE("# team\nbob:x:old\n\nalice:y"), 0640), 0);
    assert_int_equal(userfile_edit(path, USERFILE_ADD, "carol", "h", NULL, &why), 0);
    assert_int_equal(userfile_edit(path, USERFILE_ADD, "bob", "h", NULL, &why), -EEXIST);
    assert_int_equal(userfile_edit(path, USERFILE_CHANGE, "bob", "new", NULL, &why), 0);
    assert_int_equal(userfile_edit(path, USERFILE_CHANGE, "alice", "new", "z", &why), -EAGAIN);
    assert_int_equal(userfile_edit(path, USERFILE_CHANGE, "alice", "new", "y", &why), 0);
    assert_int_equal(userfile_edit(path, USERFILE_REMOVE, "nobody", NULL, NULL, &why), -ENOENT);
    assert_int_equal(userfile_edit(path, USERFILE_REMOVE, "carol", NULL, NULL, &why), 0);
    assert_int_equal(file_read(path, 4096, &text), 0);
    assert_string_equal(text.data, "# team\nbob:new\n\nalice:new\n");
    unlink(path);
}

static void test_hash(void **state)
{
    char long_one[74];
    char *hash = NULL;

    (void)state;
    memset(long_one, 'a', sizeof long_one);
    long_one[73] = 0;
    assert_int_equal(users_hash(SLICE(""), &hash), -EINVAL);
    assert_int_equal(users_hash(slice_of(long_one, 73), &hash), -EINVAL);
    assert_int_equal(users_hash(slice_of("a\0b", 3), &hash), -EINVAL);
    assert_null(hash);
    assert_int_equal(users_hash(slice_of(long_one, 72), &hash), 0);
    assert_int_equal(strncmp(hash, "$2y$11$", 7), 0);
    assert_int_equal(strlen(hash), 60);
    free(hash);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_login_and_cache), cmocka_unit_test(test_cost_of_the_unknown),
        cmocka_unit_test(test_no_users),        cmocka_unit_test(test_edits),
        cmocka_unit_test(test_torn),            cmocka_unit_test(test_broken_line),
        cmocka_unit_test(test_many_at_once),    cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_check),           cmocka_unit_test(test_edit_file),
        cmocka_unit_test(test_verify_for_logins),
        cmocka_unit_test(test_hash),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
