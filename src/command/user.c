/* user.c: the user file, edited without the daemon. */
#include "base/alloc.h"
#include "base/file.h"
#include "base/scope.h"
#include "command/line.h"
#include "command/prompt.h"
#include "identity/identity.h"
#include "identity/userfile.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

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

static int read_hash(const struct command_line *line, char **ret)
{
    struct buf password = {0};
    int code = line_option(line, "password-stdin") != NULL ? prompt_stdin(&password)
                                                           : prompt_twice("Password: ", &password);
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

struct import {
    const char *source, *path;
    unsigned added, kept;
    int code;
};

static int import_user(void *ctx, unsigned number, struct slice name, struct slice hash)
{
    struct import *i = ctx;
    autofree char *user = xstrndup(name.data, name.len), *line = xstrndup(hash.data, hash.len);
    autobuf why = {0};
    int r = userfile_edit(i->path, USERFILE_ADD, user, line, NULL, &why);

    (void)number;
    if (r == 0)
        i->added++;
    else if (r == -EEXIST)
        i->kept++;
    else
        i->code = command_fail(code_of(r), "%s", why.len > 0 ? why.data : strerror(-r));
    return i->code;
}

static void import_bad(void *ctx, unsigned number, const char *reason)
{
    print_bad((void *)(uintptr_t)((struct import *)ctx)->source, number, reason);
}

int run_import_htpasswd(const struct command_line *line)
{
    int code = EX_CONFIG, r;
    autofree char *path = user_file(line, &code);
    struct import i = {.source = line->operands[0], .path = path};
    autobuf text = {0};

    if (path == NULL)
        return code;
    make_data(line);
    r = file_read(line->operands[0], USERFILE_MAX_BYTES, &text);
    if (r < 0)
        return command_fail(EX_NOINPUT, "%s: %s", line->operands[0], strerror(-r));
    userfile_each(buf_slice(&text), import_user, import_bad, &i);
    printf("%u added, %u were there\n", i.added, i.kept);
    return i.code;
}
