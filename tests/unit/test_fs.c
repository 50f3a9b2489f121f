/* The tools of every day on the mount: what they make, how they end, what is published. */
#include "fs_domain.h"

#define need(tool)                                                                                 \
    do {                                                                                           \
        if (system("command -v " tool " >/dev/null") != 0) {                                       \
            print_message("%s is not installed\n", tool);                                          \
            skip();                                                                                \
        }                                                                                          \
    } while (0)

static int setup(void **state)
{
    if (!mount_possible()) {
        print_message("/dev/fuse cannot be used: the mount is not tested\n");
        return 0;
    }
    *state = mount_new();
    return mount_start(*state);
}

static int teardown(void **state)
{
    if (*state != NULL)
        mount_free(*state);
    return 0;
}

static struct mount *mount_of(void **state)
{
    if (*state == NULL)
        skip();
    mem_clear();
    return *state;
}

/* What a tool leaves: its exit code, the content of a node, and how many times that was
 * published. */
struct tool_case {
    const char *name, *before, *script;
    int exit;
    const char *after; /* of the node `f`; NULL: it is not there */
    unsigned commits;
};

static const struct tool_case tool_cases[] = {
    {"cat", "old", "cat f", 0, "old", 1},
    {"redirect, new", NULL, "printf hello > f", 0, "hello", 1},
    {"redirect, over", "old text", "printf new > f", 0, "new", 2},
    {"redirect, same", "same", "printf same > f", 0, "same", 1},
    {"empty, new", NULL, ": > f; cat f", 0, "", 1},
    {"append", "one", "printf two >> f", 0, "onetwo", 2},
    {"touch, new", NULL, "touch f && cat f", 0, "", 1},
    {"touch", "old", "touch -d @1000000000 f && test $(stat -c %Y f) = 1000000000", 0, "old", 1},
    {"cp, new", NULL, "printf a > /tmp/x$$; cp /tmp/x$$ f; r=$?; rm /tmp/x$$; exit $r", 0, "a", 1},
    {"cp, over", "long text", "printf a > /tmp/x$$; cp /tmp/x$$ f; r=$?; rm /tmp/x$$; exit $r", 0,
     "a", 2},
    {"cp -p", NULL,
     "printf a > /tmp/x$$; touch -d @1000000000 /tmp/x$$; cp -p /tmp/x$$ f; r=$?; rm /tmp/x$$; "
     "test $(stat -c %Y f) = 1000000000 || exit 9; exit $r",
     0, "a", 1},
    {"install", NULL,
     "printf a > /tmp/x$$; install -m 600 /tmp/x$$ f; r=$?; rm /tmp/x$$; "
     "test $(stat -c %a f) = 600 || exit 9; exit $r",
     0, "a", 1},
    {"mv across", NULL, "printf a > /tmp/x$$; mv /tmp/x$$ f && test ! -e /tmp/x$$", 0, "a", 1},
    {"mv inside", NULL, "printf a > g; mv g f && test ! -e g && cat f", 0, "a", 1},
    {"cp inside", NULL, "printf a > g; cp g f && cmp f g", 0, "a", 1},
    {"sed -i", "hello\n", "sed -i s/hello/bye/ f", 0, "bye\n", 2},
    {"tee", NULL, "printf a | tee f", 0, "a", 1},
    {"tee -a", "one", "printf two | tee -a f", 0, "onetwo", 2},
    {"dd", NULL, "printf abc | dd of=f conv=fsync status=none", 0, "abc", 1},
    {"dd in place", "abcdef", "printf XY | dd of=f bs=1 seek=2 conv=notrunc status=none", 0,
     "abXYef", 2},
    {"truncate", "abcdef", "truncate -s 3 f", 0, "abc", 2},
    {"rm", "old", "rm f && test ! -e f", 0, NULL, 0},
    {"rm and again", "old", "rm f && printf b > f && cat f", 0, "b", 1},
    {"ln -sfn, new", NULL, "ln -sfn target f && test $(readlink f) = target", 0, "target", 1},
    {"ln -sfn, over", NULL,
     "ln -sfn one f && ln -sfn two f && test $(readlink f) = two && test $(ls -A | wc -l) = 1", 0,
     "two", 2},
    {"mkstemp and rename", NULL, "printf a > f; t=$(mktemp ./.f.XXXXXX) && printf b > $t && "
     "cat $t && mv -f $t f && cat f && test $(ls -A | wc -l) = 1", 0, "b", 2},
    {"backup by mv", "old", "mv f f~ && cat f~ && ls -A | grep -qx 'f~'", 0, NULL, 0},
    {"backup and back", "old", "mv f f~ && mv f~ f && cat f", 0, "old", 1},
    {"tar", NULL, "mkdir /tmp/x$$; printf a > /tmp/x$$/f; tar -C /tmp/x$$ -c f | tar -xp; r=$?; "
     "rm -r /tmp/x$$; exit $r", 0, "a", 1},
    {"link", "old", "ln f g", 1, "old", 1},
    {"mkfifo", NULL, "mkfifo f", 1, NULL, 0},
    {"fallocate", "old", "fallocate -l 100 f", 1, "old", 1},
    {"a refused name", NULL, "printf a > f.refused", 2, NULL, 0},
    {"refused at close: cp", "old",
     "printf BAD > /tmp/x$$; cp /tmp/x$$ f; r=$?; rm /tmp/x$$; exit $r", 1, "old", 1},
    {"refused at close: dd", "old", "printf BAD | dd of=f status=none", 1, "old", 1},
    {"refused at close: tee", "old", "printf BAD | tee f", 1, "old", 1},
    {"refused at rename: sed", "old\n", "sed -i s/old/BAD/ f", 4, "old\n", 1},
    {"refused at rename: mv", "old",
     "t=$(mktemp ./.f.XXXXXX) && printf BAD > $t; mv -f $t f; r=$?; cat $t | grep -q BAD || exit 9; "
     "rm $t; exit $r", 1, "old", 1},
    {"a killed writer", "old", "sh -c 'printf half; kill -9 $$' > f; cat f", 0, "old", 1},
    {"a terminated writer", NULL, "sh -c 'printf half; kill -TERM $$' > f; test ! -e f", 0, NULL, 0},
    {"a failing writer", "old", "sh -c 'printf new; exit 1' > f; cat f", 0, "new", 2},
    {"two writers in turn", NULL, "{ printf a; printf b; } > f; cat f", 0, "ab", 1},
};

static void check_tools(void **state, const char *folder)
{
    struct mount *m = mount_of(state);
    unsigned failed = 0;

    for (size_t i = 0; i < array_size(tool_cases); i++) {
        const struct tool_case *t = &tool_cases[i];
        const char *got;
        char path[64];
        int code;

        mem_clear();
        snprintf(path, sizeof path, "%s/d%zu", folder, i);
        assert_int_equal(run(m, "mkdir %s", path), 0);
        snprintf(path, sizeof path, "%s/d%zu/f", folder, i);
        if (t->before != NULL)
            outside_put(path, t->before);
        code = run(m, "cd %s/d%zu && %s", folder, i, t->script);
        got = content_of(path);
        if (code == t->exit && (got != NULL) == (t->after != NULL) &&
            (got == NULL || strcmp(got, t->after) == 0) && commits_of(path) == t->commits)
            continue;
        failed++;
        print_error("%s in %s: exit %d not %d, content '%s' not '%s', commits %u not %u: %s\n",
                    t->name, folder, code, t->exit, got != NULL ? got : "(none)",
                    t->after != NULL ? t->after : "(none)", commits_of(path), t->commits, output);
    }
    assert_int_equal(failed, 0);
}

static void tools_on_plain_files(void **state)
{
    check_tools(state, "plain");
}

static void tools_on_secrets(void **state)
{
    check_tools(state, "secret/app");
}

static void python_and_rsync_and_vim(void **state)
{
    static const char *const folders[] = {"plain", "secret/app"};
    struct mount *m = mount_of(state);

    for (size_t i = 0; i < array_size(folders); i++) {
        char path[64];

        assert_int_equal(run(m, "cd %s && python3 -c \"\n"
                                "import os, tempfile, shutil\n"
                                "with tempfile.NamedTemporaryFile('w', dir='.', delete=False) as t:\n"
                                "    t.write('one')\n"
                                "os.replace(t.name, 'p')\n"
                                "open('q.new', 'w').write('two'); os.replace('q.new', 'q')\n"
                                "shutil.copyfile('q', 'r')\n"
                                "f = open('s', 'w'); f.write('abc'); f.flush()\n"
                                "assert os.fstat(f.fileno()).st_size == 3\n"
                                "os.fsync(f.fileno()); f.write('def'); f.close()\n"
                                "import subprocess\n"
                                "f = open('u', 'w'); f.write('abc'); f.flush()\n"
                                "subprocess.run(['true']); f.write('def'); f.close()\n"
                                "\"", folders[i]), 0);
        snprintf(path, sizeof path, "%s/p", folders[i]);
        assert_string_equal(content_of(path), "one");
        assert_int_equal(commits_of(path), 1);
        snprintf(path, sizeof path, "%s/r", folders[i]);
        assert_string_equal(content_of(path), "two");
        snprintf(path, sizeof path, "%s/s", folders[i]);
        assert_string_equal(content_of(path), "abcdef");
        assert_int_equal(commits_of(path), 2);
        snprintf(path, sizeof path, "%s/u", folders[i]); /* a child's exec closes its copy */
        assert_string_equal(content_of(path), "abcdef");
        assert_int_equal(commits_of(path), 1);
    }
}

static void rsync_publishes_by_rename(void **state)
{
    struct mount *m = mount_of(state);

    need("rsync");
    assert_int_equal(run(m, "mkdir /tmp/x$$ && printf one > /tmp/x$$/a && printf two > /tmp/x$$/b && "
                            "rsync -a /tmp/x$$/ plain/ && rsync -a /tmp/x$$/ secret/app/; r=$?; "
                            "rm -r /tmp/x$$; exit $r"), 0);
    assert_string_equal(content_of("plain/a"), "one");
    assert_string_equal(content_of("secret/app/b"), "two");
    assert_int_equal(commits_of("secret/app/b"), 1);
    assert_int_equal(run(m, "ls -A plain | tr '\\n' ' '"), 0);
    assert_string_equal(output, "a b ");
}

static void vim_makes_one_version(void **state)
{
    static const char *const options[] = {"-n", "", "-c 'set backup'", "-c 'set backupcopy=yes'"};
    struct mount *m = mount_of(state);

    need("vim");
    for (size_t i = 0; i < array_size(options); i++) {
        mem_clear();
        outside_put("secret/app/f", "old\n");
        assert_int_equal(run(m, "cd secret/app && vim -es -u NONE %s -c '%%s/old/new/' -c wq f </dev/null",
                             options[i]), 0);
        assert_string_equal(content_of("secret/app/f"), "new\n");
        assert_int_equal(commits_of("secret/app/f"), 2);
        assert_int_equal(run(m, "cd secret/app && rm -f f~ && ls -A"), 0);
        assert_string_equal(output, "f\n");
    }
}

static void git_and_others_rename_locks(void **state)
{
    struct mount *m = mount_of(state);

    need("git");
    assert_int_equal(run(m, "cd plain && git init -q . && printf a > f && git add f && "
                            "git -c user.name=a -c user.email=a@b commit -qm a && "
                            "printf b > f && git checkout -q f && cat f && git fsck --no-dangling"), 0);
    assert_string_equal(content_of("plain/f"), "a");
}

static void the_reason_can_be_read(void **state)
{
    struct mount *m = mount_of(state);

    assert_int_equal(run(m, "printf BAD | dd of=plain/f status=none"), 1);
    assert_non_null(strstr(output, "Invalid argument"));
    assert_int_equal(run(m, "python3 -c \"import os; print(os.getxattr('plain', "
                            "'user.infrafs.error').decode())\""), 0);
    assert_string_equal(output, "f: 'plain/f' begins with BAD\n");
    assert_int_equal(run(m, "printf a > locked/x"), 2);
    assert_int_equal(run(m, "python3 -c \"import os; print(os.listxattr('locked')); "
                            "print(os.getxattr('locked', 'user.infrafs.error').decode())\""), 0);
    assert_string_equal(output, "['user.infrafs.error']\nx: 'locked/x' is locked\n");
}

static void scratch_is_private(void **state)
{
    struct mount *m = mount_of(state);

    need("setpriv");
    assert_int_equal(run(m, "chmod 755 plain; t=$(mktemp plain/.f.XXXXXX) && printf mine > $t && "
                            "ls -A plain | wc -l && cd plain && "
                            "setpriv --reuid 65534 --clear-groups ls -A . | wc -l && "
                            "! setpriv --reuid 65534 --clear-groups cat ../$t"), 0);
    assert_int_equal(strncmp(output, "1\n0\ncat: ../plain/.f.", 21), 0);
}

static void others_do_not_see_secrets(void **state)
{
    struct mount *m = mount_of(state);

    need("setpriv");
    outside_put("secret/app/key", "value");
    assert_int_equal(run(m, "cat secret/app/key && ls -R secret"), 0);
    assert_int_equal(run(m, "setpriv --reuid 65534 --clear-groups cat secret/app/key"), 1);
    assert_non_null(strstr(output, "No such file or directory"));
    assert_int_equal(run(m, "setpriv --reuid 65534 --clear-groups cat < secret/app/key"), 1);
    assert_null(strstr(output, "value")); /* an inherited descriptor: asked for at each read */
    assert_int_equal(run(m, "setpriv --reuid 65534 --clear-groups ls"), 0);
    assert_null(strstr(output, "secret"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tools_on_plain_files),
        cmocka_unit_test(tools_on_secrets),
        cmocka_unit_test(python_and_rsync_and_vim),
        cmocka_unit_test(rsync_publishes_by_rename),
        cmocka_unit_test(vim_makes_one_version),
        cmocka_unit_test(git_and_others_rename_locks),
        cmocka_unit_test(the_reason_can_be_read),
        cmocka_unit_test(scratch_is_private),
        cmocka_unit_test(others_do_not_see_secrets),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
