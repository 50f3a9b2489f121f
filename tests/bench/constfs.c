/* constfs.c: the least that libfuse can do: one constant file, no checks, no store. What the mount
 * is measured against.
 *
 *   constfs MOUNT      serves MOUNT/file, and the same three folders deep at MOUNT/a/b/file
 *
 * As in libfuse's own example hello_ll: libfuse's loop, timeouts of a second. With -d as last word
 * it answers as a file of secrets must be: nothing cached, each read from the daemon. */
#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

static const char content[] = "the value of the secret, of a usual length";
static bool direct;

/* Inodes: 1 the root, 2 a, 3 a/b, 4 the file. */
static bool attr_of(fuse_ino_t ino, struct stat *st)
{
    memset(st, 0, sizeof *st);
    st->st_ino = ino;
    st->st_mode = ino == 4 ? S_IFREG | 0444 : S_IFDIR | 0755;
    st->st_nlink = 1;
    st->st_size = ino == 4 ? (off_t)(sizeof content - 1) : 0;
    return ino >= 1 && ino <= 4;
}

static double timeout(void)
{
    return direct ? 0 : 1;
}

static void do_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param e = {.attr_timeout = timeout(), .entry_timeout = timeout()};

    if (strcmp(name, "file") == 0)
        e.ino = 4;
    else if (parent == 1 && strcmp(name, "a") == 0)
        e.ino = 2;
    else if (parent == 2 && strcmp(name, "b") == 0)
        e.ino = 3;
    if (e.ino == 0) {
        fuse_reply_err(req, ENOENT);
        return;
    }
    attr_of(e.ino, &e.attr);
    fuse_reply_entry(req, &e);
}

static void do_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct stat st;

    (void)fi;
    if (attr_of(ino, &st))
        fuse_reply_attr(req, &st, timeout());
    else
        fuse_reply_err(req, ENOENT);
}

static void do_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    fi->direct_io = direct;
    fuse_reply_open(req, fi);
}

static void do_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                    struct fuse_file_info *fi)
{
    size_t len = sizeof content - 1;

    (void)ino;
    (void)fi;
    if ((size_t)off >= len)
        fuse_reply_buf(req, NULL, 0);
    else
        fuse_reply_buf(req, content + off, size < len - (size_t)off ? size : len - (size_t)off);
}

static const struct fuse_lowlevel_ops ops = {
    .lookup = do_lookup, .getattr = do_getattr, .open = do_open, .read = do_read};

int main(int argc, char **argv)
{
    char *words[] = {"constfs", "-o", "allow_other,fsname=constfs"};
    struct fuse_args args = FUSE_ARGS_INIT(3, words);
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    struct fuse_session *session;
    int r = 1;

    if (argc < 2)
        return 64;
    direct = argc > 2 && strcmp(argv[2], "-d") == 0;
    session = fuse_session_new(&args, &ops, sizeof ops, NULL);
    if (session == NULL || fuse_set_signal_handlers(session) < 0 ||
        fuse_session_mount(session, argv[1]) < 0)
        return 1;
    r = fuse_session_loop_mt(session, config);
    fuse_session_unmount(session);
    fuse_session_destroy(session);
    fuse_loop_cfg_destroy(config);
    return r != 0;
}
