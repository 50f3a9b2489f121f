/* secrets.c: the commands of people who keep secrets: unseal, find, edit. */
#include "base/file.h"
#include "base/json.h"
#include "base/scope.h"
#include "command/client.h"
#include "command/prompt.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>

DEFINE_SCOPE(document, json_t, json_decref)

/* One request with a JSON body of strings; the answer is parsed. */
static int ask_json(struct client *c, const char *method, const char *path, struct buf *body,
                    json_t **ret)
{
    struct slice text = body != NULL ? buf_slice(body) : slice_of(NULL, 0);
    int code = client_ask(c, method, path, body != NULL ? &text : NULL);

    if (code != 0)
        return code;
    *ret = json_loadb(c->answer.data, c->answer.len, 0, NULL);
    return *ret != NULL ? 0 : command_fail(EX_PROTOCOL, "%s: no answer of a daemon", path);
}

static void body_of(struct buf *out, const char *key, struct slice value)
{
    struct json j;

    buf_reserve(out, 6 * value.len + 64); /* never moved: no copy is left behind */
    json_init(&j, out);
    json_object(&j);
    json_kslice(&j, key, value);
    json_object_end(&j);
}

static bool flag(json_t *status, const char *key)
{
    return json_is_true(json_object_get(status, key));
}

static int number(json_t *status, const char *key)
{
    return (int)json_integer_value(json_object_get(status, key));
}

static void say_status(json_t *status)
{
    if (!flag(status, "sealed"))
        puts("unsealed");
    else
        printf("sealed: %d of %d shares were given\n", number(status, "progress"),
               number(status, "t"));
}

static int set_passphrase(struct client *c, const struct command_line *line)
{
    scope_cleanup(scope_document) json_t *made = NULL;
    struct buf phrase = {0}, body = {0};
    int code = line_option(line, "key-stdin") != NULL
                   ? prompt_stdin(&phrase)
                   : prompt_twice("A new passphrase (8 bytes or more): ", &phrase);

    if (code == 0) {
        body_of(&body, "passphrase", buf_slice(&phrase));
        code = ask_json(c, "PUT", "/v1/sys/init", &body, &made);
    }
    buf_wipe(&body);
    if (code == 0) {
        fprintf(stderr,
                "initialized; without the passphrase nobody can read these secrets again\n");
        body_of(&body, "key", buf_slice(&phrase));
        json_decref(take(made));
        code = ask_json(c, "PUT", "/v1/sys/unseal", &body, &made);
    }
    if (code == 0)
        say_status(made);
    buf_wipe(&body);
    buf_wipe(&phrase);
    return code;
}

static int give_key(struct client *c, const struct command_line *line, json_t *status)
{
    const char *what = flag(status, "passphrase") ? "Passphrase: "
                       : number(status, "t") > 1  ? "One share of the unseal key: "
                                                  : "Unseal key: ";
    scope_cleanup(scope_document) json_t *after = NULL;
    struct buf key = {0}, body = {0};
    int code =
        line_option(line, "key-stdin") != NULL ? prompt_stdin(&key) : prompt_once(what, &key);

    if (code == 0) {
        body_of(&body, "key", buf_slice(&key));
        code = ask_json(c, "PUT", "/v1/sys/unseal", &body, &after);
    }
    if (code == 0)
        say_status(after);
    buf_wipe(&body);
    buf_wipe(&key);
    return code;
}

int run_unseal(const struct command_line *line)
{
    scope_cleanup(scope_document) json_t *status = NULL;
    struct client c = {0};
    int code = client_open(line, &c);

    if (code == 0)
        code = ask_json(&c, "GET", "/v1/sys/seal-status", NULL, &status);
    if (code == 0 && !flag(status, "initialized") && !flag(status, "passphrase"))
        code =
            command_fail(EX_UNAVAILABLE, "no keys were made yet: 'bao operator init' makes shares");
    else if (code == 0 && !flag(status, "initialized"))
        code = set_passphrase(&c, line);
    else if (code == 0 && !flag(status, "sealed"))
        puts("unsealed");
    else if (code == 0)
        code = give_key(&c, line, status);
    client_close(&c);
    return code;
}

int run_find(const struct command_line *line)
{
    scope_cleanup(scope_document) json_t *answer = NULL;
    struct client c = {0};
    struct buf body = {0};
    json_t *data, *match;
    struct json j;
    size_t i, n = 0;
    int code = client_open(line, &c);

    json_init(&j, &body);
    json_object(&j);
    json_kstr(&j, "word", line->operands[0]);
    json_kbool(&j, "values", line_option(line, "values") != NULL);
    json_object_end(&j);
    if (code == 0)
        code = ask_json(&c, "PUT", "/v1/sys/find", &body, &answer);
    data = json_object_get(answer, "data");
    json_array_foreach(json_object_get(data, "matches"), i, match) {
        const char *where = json_string_value(json_object_get(match, "where"));

        printf("%s%s\n", json_string_value(json_object_get(match, "path")),
               where != NULL && strcmp(where, "value") == 0 ? "\t(value)" : "");
        n++;
    }
    if (code == 0 && flag(data, "truncated"))
        fprintf(stderr, "infrafs: more than %zu; give a longer word\n", n);
    client_close(&c);
    buf_wipe(&body);
    return code == 0 && n == 0 ? 1 : code;
}

/* The editor has a file of memory, in a folder of its own. */
static int make_copy(struct slice text, char folder[64], char path[96])
{
    int fd, r;

    snprintf(folder, 64, "/dev/shm/infrafs-edit-XXXXXX");
    if (access("/dev/shm", W_OK) < 0 || mkdtemp(folder) == NULL)
        return command_fail(EX_CANTCREAT, "/dev/shm: %s; a secret is edited in memory only",
                            strerror(errno));
    snprintf(path, 96, "%s/secret", folder);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    r = fd < 0 ? -errno : file_write_all(fd, text);
    if (fd >= 0)
        close(fd);
    return r < 0 ? command_fail(EX_CANTCREAT, "%s: %s", path, strerror(-r)) : 0;
}

static void remove_copy(const char *folder, const char *path)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    struct stat st;

    if (fd >= 0 && fstat(fd, &st) == 0) {
        char zeros[4096] = {0};

        for (off_t at = 0; at < st.st_size; at += (off_t)sizeof zeros)
            if (pwrite(fd, zeros, sizeof zeros, at) < 0)
                break;
    }
    if (fd >= 0)
        close(fd);
    unlink(path);
    rmdir(folder);
}

static int run_editor(const char *path)
{
    const char *editor = getenv("VISUAL");
    int status = 0;
    pid_t child;

    if (editor == NULL || editor[0] == 0)
        editor = getenv("EDITOR");
    setenv("INFRAFS_EDITOR", editor != NULL && editor[0] != 0 ? editor : "vi", 1);
    child = fork();
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", "exec $INFRAFS_EDITOR \"$0\"", path, (char *)NULL);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) < 0)
        return command_fail(EX_OSERR, "the editor: %s", strerror(errno));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return command_fail(EX_UNAVAILABLE, "the editor did not end well; nothing was changed");
    return 0;
}

/* After a refusal a person may go on where they were. */
static bool wants_again(void)
{
    char line[64];

    if (!isatty(STDIN_FILENO))
        return false;
    fprintf(stderr, "Enter: edit it again; ^D: give up. ");
    return fgets(line, sizeof line, stdin) != NULL;
}

static int edit_copy(struct client *c, const char *target, const char *path)
{
    struct buf before = {0}, after = {0};
    int code, r;

    buf_add_slice(&before, buf_slice(&c->answer));
    do {
        code = run_editor(path);
        buf_wipe(&after);
        r = code == 0 ? file_read(path, 64u << 20, &after) : 0;
        if (r < 0)
            code = command_fail(EX_IOERR, "%s: %s", path, strerror(-r));
        if (code != 0)
            break;
        if (slice_eq(buf_slice(&before), buf_slice(&after))) {
            puts("unchanged");
            break;
        }
        code = client_ask(c, "PUT", target, &(struct slice){after.data, after.len});
    } while (code != 0 && wants_again());
    buf_wipe(&before);
    buf_wipe(&after);
    return code;
}

int run_edit(const struct command_line *line)
{
    char folder[64] = "", path[96];
    autobuf target = {0};
    struct client c = {0};
    int code = client_open(line, &c);

    if (code == 0) {
        autofree char *tree = client_tree_path(&c, line->operands[0]);

        buf_add_str(&target, tree);
        code = client_ask(&c, "GET", tree, NULL);
    }
    if (code == 0 && c.is_folder) { /* a whole secret */
        buf_add_str(&target, "/@yaml");
        code = client_ask(&c, "GET", target.data, NULL);
    }
    if (code == 0)
        code = make_copy(buf_slice(&c.answer), folder, path);
    if (code == 0)
        code = edit_copy(&c, target.data, path);
    if (folder[0] != 0)
        remove_copy(folder, path);
    client_close(&c);
    return code;
}
