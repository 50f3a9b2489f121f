/* user.c: the user file, edited without the daemon. */
#include "base/alloc.h"
#include "base/file.h"
#include "base/scope.h"
#include "command/line.h"
#include "identity/identity.h"
#include "identity/userfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <termios.h>

#define PASSWORD_LIMIT 4096

DEFINE_SCOPE(config, struct config, config_free)

static int code_of(int r)
{
    switch (r) {
    case 0:
        return EX_OK;
    case -EEXIST:
    case -EINVAL:
        return EX_DATAERR;
    case -ENOENT:
        return EX_NOUSER;
    case -EACCES:
    case -EPERM:
    case -EROFS:
        return EX_NOPERM;
    default:
        return EX_IOERR;
    }
}

/* The user file: --htpasswd, or what the configuration says. Returns new. */
static char *user_file(const struct command_line *line, int *ret_code)
{
    scope_cleanup(scope_config) struct config *config = NULL;
    const char *given = line_option(line, "htpasswd");

    if (given != NULL)
        return xstrdup(given);
    config = command_config(line, ret_code);
    return config != NULL ? xstrdup(config->users) : NULL;
}

/* One line from the terminal, not shown. */
static int ask(int tty, const char *prompt, struct buf *ret)
{
    struct termios before, silent;
    char c;
    int r = 0;

    if (tcgetattr(tty, &before) < 0)
        return -errno;
    silent = before;
    silent.c_lflag &= (tcflag_t) ~(ECHO | ECHOE | ECHOK);
    silent.c_lflag |= ECHONL;
    tcsetattr(tty, TCSAFLUSH, &silent);
    if (write(tty, prompt, strlen(prompt)) < 0)
        r = -errno;
    buf_reserve(ret, PASSWORD_LIMIT);
    while (r == 0) {
        ssize_t n = read(tty, &c, 1);

        if (n <= 0) {
            r = n < 0 ? -errno : -ECANCELED;
            break;
        }
        if (c == '\n' || ret->len == PASSWORD_LIMIT)
            break;
        buf_add_char(ret, c);
    }
    tcsetattr(tty, TCSAFLUSH, &before);
    return r;
}

static int ask_twice(struct buf *ret)
{
    autoclose int tty = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
    struct buf again = {0};
    int r;

    if (tty < 0)
        return command_fail(EX_USAGE, "there is no terminal to ask at; use --password-stdin");
    r = ask(tty, "Password: ", ret);
    if (r == 0)
        r = ask(tty, "The same again: ", &again);
    if (r < 0)
        r = command_fail(EX_NOINPUT, "the password was not read: %s", strerror(-r));
    else if (!slice_eq(buf_slice(ret), buf_slice(&again)))
        r = command_fail(EX_DATAERR, "the two passwords differ");
    buf_wipe(&again);
    return r;
}

static int read_stdin(struct buf *ret)
{
    char bytes[512];
    ssize_t n;

    buf_reserve(ret, PASSWORD_LIMIT + sizeof bytes);
    while ((n = read(STDIN_FILENO, bytes, sizeof bytes)) > 0 && ret->len <= PASSWORD_LIMIT)
        buf_add(ret, bytes, (size_t)n);
    explicit_bzero(bytes, sizeof bytes);
    if (n < 0)
        return command_fail(EX_NOINPUT, "standard input: %s", strerror(errno));
    if (ret->len > 0 && ret->data[ret->len - 1] == '\n')
        ret->len--;
    if (ret->len > 0 && ret->data[ret->len - 1] == '\r')
        ret->len--;
    return 0;
}

static int read_hash(const struct command_line *line, char **ret)
{
    struct buf password = {0};
    int code =
        line_option(line, "password-stdin") != NULL ? read_stdin(&password) : ask_twice(&password);
    int r;

    if (code == 0) {
        r = users_hash(buf_slice(&password), ret);
        if (r == -EINVAL)
            code = command_fail(EX_DATAERR, "a password has 1 to 72 bytes, and no NUL (bcrypt "
                                            "would ignore the rest)");
        else if (r < 0)
            code = command_fail(EX_OSERR, "the password was not hashed: %s", strerror(-r));
    }
    buf_wipe(&password);
    return code;
}

static int edit(const struct command_line *line, enum userfile_change change)
{
    const char *name = line->operands[0];
    autofree char *hash = NULL;
    int code = EX_CONFIG, r;
    autofree char *path = user_file(line, &code);
    autobuf why = {0};

    if (path == NULL)
        return code;
    if (user_name_check(slice_str(name), &why) < 0)
        return command_fail(EX_DATAERR, "'%s': %s", name, why.data);
    if (change != USERFILE_REMOVE) {
        code = read_hash(line, &hash);
        if (code != 0)
            return code;
    }
    r = userfile_edit(path, change, name, hash, NULL, &why);
    return r < 0 ? command_fail(code_of(r), "%s", why.len > 0 ? why.data : strerror(-r)) : EX_OK;
}

/* The first user may come before the first start. */
static void make_data(const struct command_line *line)
{
    int code;
    scope_cleanup(scope_config) struct config *config = NULL;

    if (line_option(line, "htpasswd") != NULL)
        return;
    config = command_config(line, &code);
    if (config != NULL)
        file_make_folders(config->data, 0700);
}

int run_user_add(const struct command_line *line)
{
    make_data(line);
    return edit(line, USERFILE_ADD);
}

int run_user_passwd(const struct command_line *line)
{
    return edit(line, USERFILE_CHANGE);
}

int run_user_remove(const struct command_line *line)
{
    return edit(line, USERFILE_REMOVE);
}

static int print_user(void *ctx, unsigned number, struct slice name, struct slice hash)
{
    (void)ctx;
    (void)number;
    (void)hash;
    printf("%.*s\n", (int)name.len, (const char *)name.data);
    return 0;
}

static void print_bad(void *ctx, unsigned number, const char *reason)
{
    fprintf(stderr, "infrafs: %s: line %u: %s\n", (const char *)ctx, number, reason);
}

int run_user_list(const struct command_line *line)
{
    int code = EX_CONFIG;
    autofree char *path = user_file(line, &code);
    autobuf text = {0};
    int r;

    if (path == NULL)
        return code;
    r = file_read(path, USERFILE_MAX_BYTES, &text);
    if (r == -ENOENT)
        return command_fail(EX_NOINPUT,
                            "no users yet: run 'infrafs user add NAME' (%s is not "
                            "there)",
                            path);
    if (r < 0)
        return command_fail(code_of(r), "%s: %s", path, strerror(-r));
    userfile_each(buf_slice(&text), print_user, print_bad, path);
    return EX_OK;
}
