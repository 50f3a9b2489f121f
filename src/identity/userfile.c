#include "identity/userfile.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/scope.h"
#include "base/utf8.h"
#include "identity/identity.h"
#include "identity/password.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <uthash.h>

int user_name_check(struct slice name, struct buf *why)
{
    const uint8_t *p = name.data;
    const char *reason = NULL;

    if (name.len == 0 || name.len > USER_NAME_MAX)
        reason = "a user name has 1 to 255 bytes";
    else if (!utf8_valid(name))
        reason = "the user name is not UTF-8";
    else if (p[0] == ' ' || p[0] == '#' || p[name.len - 1] == ' ')
        reason = "a user name begins with no '#', and with no blank at either end";
    else if (slice_eq(name, SLICE("__token__")))
        reason = "the name '__token__' is taken: it says that a token is the password";
    for (size_t i = 0; reason == NULL && i < name.len; i++)
        if (p[i] < ' ' || p[i] == 0x7f || p[i] == ':')
            reason = "a user name holds no colon and no control byte";
    if (reason == NULL)
        return 0;
    buf_add_str(why, reason);
    return -EINVAL;
}

/* The name and hash of a line; what stands behind a second colon is a comment (nginx). */
static bool split_line(struct slice line, struct slice *ret_name, struct slice *ret_hash)
{
    const char *text = line.data, *end = text + line.len;
    const char *colon = line.len > 0 ? memchr(text, ':', line.len) : NULL;
    const char *second;

    if (colon == NULL)
        return false;
    second = memchr(colon + 1, ':', (size_t)(end - colon - 1));
    *ret_name = slice_of(text, (size_t)(colon - text));
    *ret_hash = slice_of(colon + 1, (size_t)((second != NULL ? second : end) - colon - 1));
    return true;
}

static int check_line(struct slice name, struct slice hash, struct buf *why)
{
    autofree char *copy = NULL;
    int r = user_name_check(name, why);

    if (r < 0)
        return r;
    if (hash.len == 0 || hash.len > 384 || memchr(hash.data, 0, hash.len) != NULL) {
        buf_add_str(why, "the hash is missing or too long");
        return -EINVAL;
    }
    copy = xmemdup(hash.data, hash.len);
    return password_check(copy, why);
}

/* The next line, without its end ("\n" or "\r\n"). */
static bool next_line(struct slice *text, struct slice *ret)
{
    const char *start = text->data, *newline;
    size_t len;

    if (text->len == 0)
        return false;
    newline = memchr(start, '\n', text->len);
    len = newline != NULL ? (size_t)(newline - start) : text->len;
    *text = slice_skip(*text, newline != NULL ? len + 1 : len);
    if (len > 0 && start[len - 1] == '\r')
        len--;
    *ret = slice_of(start, len);
    return true;
}

int userfile_each(struct slice text,
                  int (*f)(void *ctx, unsigned line, struct slice name, struct slice hash),
                  void (*bad)(void *ctx, unsigned line, const char *reason), void *ctx)
{
    struct slice line, name, hash;
    int r = 0;

    for (unsigned number = 1; r == 0 && next_line(&text, &line); number++) {
        autobuf why = {0};

        if (line.len == 0 || *(const char *)line.data == '#')
            continue;
        if (!split_line(line, &name, &hash)) {
            if (bad != NULL)
                bad(ctx, number, "a line is 'name:hash'");
        } else if (check_line(name, hash, &why) < 0) {
            if (bad != NULL)
                bad(ctx, number, why.data);
        } else {
            r = f(ctx, number, name, hash);
        }
    }
    return r;
}

struct seen {
    struct slice name;
    unsigned line;
    UT_hash_handle hh;
};

struct check {
    struct seen *seen;
    struct buf *why;
};

static int check_user(void *ctx, unsigned line, struct slice name, struct slice hash)
{
    struct check *check = ctx;
    struct seen *seen;

    (void)hash;
    HASH_FIND(hh, check->seen, name.data, name.len, seen);
    if (seen != NULL) {
        if (check->why->len == 0)
            buf_printf(check->why, "line %u: this user was given before, in line %u", line,
                       seen->line);
        return -EINVAL;
    }
    seen = xcalloc(1, sizeof *seen);
    seen->name = name;
    seen->line = line;
    HASH_ADD_KEYPTR(hh, check->seen, seen->name.data, seen->name.len, seen);
    return 0;
}

static void check_bad(void *ctx, unsigned line, const char *reason)
{
    struct check *check = ctx;

    if (check->why->len == 0)
        buf_printf(check->why, "line %u: %s", line, reason);
}

int users_check(struct slice text, struct buf *why)
{
    autobuf reason = {0};
    struct check check = {.why = &reason};
    struct seen *seen, *next;

    if (text.len > USERFILE_MAX_BYTES)
        buf_add_str(&reason, "the file is over 16 MiB");
    else
        userfile_each(text, check_user, check_bad, &check);
    HASH_ITER(hh, check.seen, seen, next) {
        HASH_DEL(check.seen, seen);
        free(seen);
    }
    buf_add_slice(why, buf_slice(&reason));
    return reason.len > 0 ? -EINVAL : 0;
}

/* A lock on the folder: the file itself is replaced by each edit. */
static int lock_folder(const char *path)
{
    autofree char *real = realpath(path, NULL);
    autofree char *folder = xstrdup(real != NULL ? real : path);
    char *slash = strrchr(folder, '/');
    int fd;

    if (slash == folder)
        slash[1] = 0;
    else if (slash != NULL)
        *slash = 0;
    fd = open(slash != NULL ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (flock(fd, LOCK_EX) < 0) {
        int r = -errno;

        close(fd);
        return r;
    }
    return fd;
}

/* Copies text to out with the user's line changed; says what was found in *ret_hash. */
static bool edit_text(struct slice text, const char *name, const char *hash, struct buf *out,
                      struct buf *ret_hash)
{
    bool found = false;
    struct slice line, at, old;

    for (;;) {
        struct slice before = text;

        if (!next_line(&text, &line))
            return found;
        before.len -= text.len;
        if (found || line.len == 0 || *(const char *)line.data == '#' ||
            !split_line(line, &at, &old) || !slice_eq(at, slice_str(name))) {
            buf_add_slice(out, before);
            continue;
        }
        found = true;
        buf_add_slice(ret_hash, old);
        if (hash != NULL)
            buf_printf(out, "%s:%s\n", name, hash);
    }
}

int userfile_edit(const char *path, enum userfile_change change, const char *name, const char *hash,
                  const char *only_if, struct buf *why)
{
    autoclose int lock = lock_folder(path);
    autobuf text = {0}, edited = {0}, old = {0};
    bool found;
    int r;

    if (lock < 0) {
        buf_printf(why, "%s: %s", path, strerror(-lock));
        return lock;
    }
    r = file_read(path, USERFILE_MAX_BYTES, &text);
    if (r < 0 && !(r == -ENOENT && change == USERFILE_ADD)) {
        buf_printf(why, "%s: %s", path, strerror(-r));
        return r;
    }
    if (change == USERFILE_REMOVE)
        hash = NULL;
    found = edit_text(buf_slice(&text), name, hash, &edited, &old);
    if (change == USERFILE_ADD && found) {
        buf_printf(why, "user '%s' exists; 'infrafs user passwd %s' changes the password", name,
                   name);
        return -EEXIST;
    }
    if (change != USERFILE_ADD && !found) {
        buf_printf(why, "no user '%s' in %s", name, path);
        return -ENOENT;
    }
    if (only_if != NULL && (old.data == NULL || strcmp(only_if, old.data) != 0))
        return -EAGAIN;
    if (change == USERFILE_ADD) {
        if (edited.len > 0 && edited.data[edited.len - 1] != '\n')
            buf_add_char(&edited, '\n');
        buf_printf(&edited, "%s:%s\n", name, hash);
    }
    r = file_replace(path, buf_slice(&edited), 0600);
    if (r < 0)
        buf_printf(why, "%s: %s", path, strerror(-r));
    return r;
}
