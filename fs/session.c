/* Mounting, and taking the mount down. */
#include "fs/engine.h"

#include "base/alloc.h"
#include "base/file.h"
#include "fs/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#define FUSE_MAGIC 0x65735546

static void fs_init(void *userdata, struct fuse_conn_info *conn)
{
    (void)userdata;
    libfuse_want(conn, FUSE_CAP_PARALLEL_DIROPS);
    libfuse_want(conn, FUSE_CAP_ATOMIC_O_TRUNC);
    libfuse_want(conn, FUSE_CAP_ASYNC_READ);
    libfuse_want(conn, FUSE_CAP_CACHE_SYMLINKS);
    libfuse_want(conn, FUSE_CAP_EXPLICIT_INVAL_DATA);
    libfuse_want(conn, FUSE_CAP_READDIRPLUS);
    libfuse_unwant(conn, FUSE_CAP_READDIRPLUS_AUTO);
    libfuse_unwant(conn, FUSE_CAP_AUTO_INVAL_DATA);
    libfuse_unwant(conn, FUSE_CAP_SPLICE_READ);
    libfuse_unwant(conn, FUSE_CAP_SPLICE_WRITE);
    libfuse_unwant(conn, FUSE_CAP_SPLICE_MOVE);
    libfuse_unwant(conn, FUSE_CAP_WRITEBACK_CACHE);
    conn->max_write = FS_REPLY_MAX;
    conn->max_readahead = FS_REPLY_MAX;
    conn->max_background = 64;
    conn->time_gran = 1;
}

static const struct fuse_lowlevel_ops operations = {
    .init = fs_init,
    .lookup = fs_lookup,
    .forget = fs_forget,
    .forget_multi = fs_forget_multi,
    .getattr = fs_getattr,
    .setattr = fs_setattr,
    .readlink = fs_readlink,
    .statfs = fs_statfs,
    .open = fs_open,
    .create = fs_create,
    .read = fs_read,
    .write = fs_write,
    .flush = fs_flush,
    .fsync = fs_fsync,
    .release = fs_release,
    .poll = fs_poll,
    .copy_file_range = fs_copy_file_range,
    .fallocate = fs_fallocate,
    .opendir = fs_opendir,
    .readdir = fs_readdir,
    .readdirplus = fs_readdirplus,
    .releasedir = fs_releasedir,
    .mkdir = fs_mkdir,
    .rmdir = fs_rmdir,
    .unlink = fs_unlink,
    .symlink = fs_symlink,
    .rename = fs_rename,
    .link = fs_link,
    .mknod = fs_mknod,
    .getxattr = fs_getxattr,
    .setxattr = fs_setxattr,
    .listxattr = fs_listxattr,
    .removexattr = fs_removexattr,
};

static void log_fuse(enum fuse_log_level level, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

static void log_fuse(enum fuse_log_level level, const char *format, va_list args)
{
    char text[512];

    vsnprintf(text, sizeof text, format, args);
    log_line(level <= FUSE_LOG_ERR ? LOG_WARN : LOG_DEBUG, NULL, "libfuse", "text=%s", text);
}

/* A killed daemon leaves a mount on which every call says ENOTCONN (but a stat, which the kernel may
 * still have), and libfuse will not mount over it. */
static int clear_stale(const char *mount, struct buf *why)
{
    struct statfs sfs;
    struct stat st;

    if (statfs(mount, &sfs) < 0 && (errno == ENOTCONN || errno == ECONNABORTED)) {
        if (umount2(mount, MNT_DETACH) < 0) {
            int err = errno;

            buf_printf(why, "a killed daemon left a mount at '%s', which cannot be cleared: %s", mount,
                       strerror(err));
            return -err;
        }
        log_line(LOG_INFO, NULL, "mount.cleared", "mount=%s", mount);
    }
    if (stat(mount, &st) < 0 && errno == ENOENT && file_make_folders(mount, 0755) < 0) {
        buf_printf(why, "mount point '%s' does not exist and cannot be made", mount);
        return -ENOENT;
    }
    if (stat(mount, &st) < 0 || !S_ISDIR(st.st_mode)) {
        buf_printf(why, "mount point '%s' is no folder", mount);
        return -ENOTDIR;
    }
    if (statfs(mount, &sfs) == 0 && sfs.f_type == FUSE_MAGIC) {
        buf_printf(why, "something is mounted at '%s' already", mount);
        return -EBUSY;
    }
    return 0;
}

/* A daemon whose own files lie below its mount waits for itself. */
static int check_outside(const char *mount, const char *path, const char *what, struct buf *why)
{
    autofree char *real_mount = realpath(mount, NULL);
    autofree char *real = realpath(path, NULL);
    size_t len = real_mount != NULL ? strlen(real_mount) : 0;

    if (real_mount == NULL || real == NULL || strncmp(real, real_mount, len) != 0 ||
        (real[len] != '/' && real[len] != 0 && len > 1))
        return 0;
    buf_printf(why, "%s '%s' lies below the mount point '%s'; move one of them", what, path, mount);
    return -EINVAL;
}

static int check_places(const struct fs_options *o, struct buf *why)
{
    int r = clear_stale(o->mount, why);

    if (r == 0)
        r = check_outside(o->mount, o->data, "data directory", why);
    if (r == 0)
        r = check_outside(o->mount, o->scratch_dir, "scratch directory", why);
    if (r == 0)
        r = check_outside(o->mount, ".", "working directory", why);
    return r;
}

/* The key of the inode numbers stays in the data folder, so that they are the same next time. */
static int load_ino_key(struct fs *fs, struct buf *why)
{
    autofree char *path = NULL;
    autobuf key = {0};
    int r;

    if (asprintf(&path, "%s/inode.key", fs->options.data) < 0)
        return -ENOMEM;
    r = file_read(path, sizeof fs->ino_key, &key);
    if (r == -ENOENT) {
        randombytes_buf(fs->ino_key, sizeof fs->ino_key);
        r = file_replace(path, slice_of(fs->ino_key, sizeof fs->ino_key), 0600);
    } else if (r == 0 && key.len == sizeof fs->ino_key) {
        memcpy(fs->ino_key, key.data, key.len);
    } else if (r == 0) {
        r = -EINVAL;
    }
    if (r < 0)
        buf_printf(why, "key of the inode numbers '%s': %s", path, strerror(-r));
    return r;
}

static int mount_session(struct fs *fs, struct buf *why)
{
    static char *const words[] = {
        "infrafs", "-o",
        "allow_other,nosuid,nodev,noexec,noatime,fsname=infrafs,subtype=infrafs",
    };
    struct fuse_args args = FUSE_ARGS_INIT((int)array_size(words), (char **)(uintptr_t)words);

    fuse_set_log_func(log_fuse);
    fs->session = fuse_session_new(&args, &operations, sizeof operations, fs);
    fuse_opt_free_args(&args);
    if (fs->session == NULL) {
        buf_add_str(why, "libfuse cannot make a session");
        return -EIO;
    }
    if (fuse_session_mount(fs->session, fs->options.mount) < 0) {
        buf_printf(why, "cannot mount at '%s'; is /dev/fuse there, and who asks root?",
                   fs->options.mount);
        return -EPERM;
    }
    fs->mounted = true;
    return 0;
}

/* max_readahead of the protocol alone leaves it at 128 KiB. */
static void raise_readahead(dev_t device)
{
    char path[100];
    autoclose int fd = -1;

    snprintf(path, sizeof path, "/sys/class/bdi/%u:%u/read_ahead_kb", major(device), minor(device));
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "1024", 4) < 0)
        log_line(LOG_DEBUG, NULL, "mount.readahead", "error=%s", strerror(errno));
}

static int wait_for_mount(struct fs *fs, struct buf *why)
{
    struct stat st;

    if (stat(fs->options.mount, &st) < 0) {
        int err = errno;

        buf_printf(why, "the mount at '%s' does not work: %s", fs->options.mount, strerror(err));
        return -err;
    }
    raise_readahead(st.st_dev);
    return 0;
}

static void copy_options(struct fs *fs, const struct fs_options *options)
{
    fs->options = *options;
    fs->options.mount = xstrdup(options->mount);
    fs->options.data = xstrdup(options->data);
    fs->options.scratch_dir = xstrdup(options->scratch_dir);
}

int fs_start(const struct fs_options *options, struct fs **ret, struct buf *why)
{
    struct fs *fs;
    int r = check_places(options, why);

    if (r < 0)
        return r;
    if (sodium_init() < 0)
        return -EIO;
    fs = xcalloc(1, sizeof *fs);
    copy_options(fs, options);
    pthread_mutex_init(&fs->lock, NULL);
    fs->root.refs = 1;
    fs->root.type = NODE_DIR;
    fs->errors = errors_new();
    r = load_ino_key(fs, why);
    if (r == 0)
        r = mount_session(fs, why);
    if (r == 0)
        r = notifier_start(fs);
    if (r == 0)
        r = waiting_start(fs);
    if (r == 0)
        r = workers_start(fs);
    if (r == 0)
        r = wait_for_mount(fs, why);
    if (r < 0) {
        fs_stop(fs);
        return r;
    }
    log_line(LOG_INFO, NULL, "mount.ready", "mount=%s", fs->options.mount);
    *ret = fs;
    return 0;
}

/* Ends the connection: the workers' reads then say so. A process that stays in the mount keeps the
 * kernel's side of it until it leaves; its calls fail. */
static void unmount(struct fs *fs)
{
    int r;

    if (!fs->mounted)
        return;
    if (__atomic_exchange_n(&fs->parting, true, __ATOMIC_ACQ_REL)) {
        fuse_session_exit(fs->session); /* what is mounted there now is not ours */
        fs->mounted = false;
        return;
    }
    r = umount2(fs->options.mount, 0) < 0 ? -errno : 0;
    if (r == -EPERM) {
        fuse_session_unmount(fs->session); /* privileges were dropped: fusermount3 has them */
    } else if (r < 0) {
        log_line(LOG_INFO, NULL, "mount.busy", "mount=%s error=%s", fs->options.mount,
                 strerror(-r));
        umount2(fs->options.mount, MNT_FORCE); /* aborts what waits for us */
        umount2(fs->options.mount, MNT_DETACH);
    }
    fuse_session_exit(fs->session);
    fs->mounted = false;
}

void fs_stop(struct fs *fs)
{
    if (fs == NULL)
        return;
    notifier_quiet(fs);
    waiting_stop(fs);
    unmount(fs);
    workers_stop(fs);
    notifier_stop(fs);
    handles_free(fs);
    folders_free(fs);
    inodes_free(fs);
    if (fs->session != NULL) {
        fuse_session_unmount(fs->session);
        fuse_session_destroy(fs->session);
    }
    waiting_free(fs);
    errors_free(fs->errors);
    pthread_mutex_destroy(&fs->lock);
    free((char *)(uintptr_t)fs->options.mount);
    free((char *)(uintptr_t)fs->options.data);
    free((char *)(uintptr_t)fs->options.scratch_dir);
    free(fs);
}
