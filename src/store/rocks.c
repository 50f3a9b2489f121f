/* The engine on RocksDB: its directory, and the table of its functions. */
#include "store/rocks.h"

#include "base/alloc.h"
#include "base/file.h"
#include "base/scope.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

#define VERSION_TEXT  "infrafs store, layout "
#define VERSION_FILE  "store-version"
#define VERSION_LIMIT 100

static char *path_in(const char *dir, const char *name)
{
    char *path;

    if (asprintf(&path, "%s/%s", dir, name) < 0)
        abort();
    return path;
}

static int check_version(const char *dir, struct buf *why)
{
    autofree char *path = path_in(dir, VERSION_FILE);
    autobuf text = {0}, ours = {0};
    int r = file_read(path, VERSION_LIMIT, &text);

    buf_printf(&ours, VERSION_TEXT "%d\n", LAYOUT_VERSION);
    if (r == 0 && slice_eq(buf_slice(&text), buf_slice(&ours)))
        return 0;
    if (r == -ENOENT)
        return file_replace(path, buf_slice(&ours), 0600);
    if (r < 0 && r != -EFBIG) {
        buf_printf(why, "store '%s': its " VERSION_FILE " cannot be read: %s", dir, strerror(-r));
        return r;
    }
    while (text.len > 0 && (uint8_t)text.data[text.len - 1] < 0x20)
        text.data[--text.len] = 0;
    buf_printf(why,
               "store '%s': version '%.60s' is not known, this program reads '" VERSION_TEXT
               "%d'; run the program that wrote it",
               dir, text.data != NULL ? text.data : "", LAYOUT_VERSION);
    return -EPROTO;
}

static int lock_dir(struct rocks *r, struct buf *why)
{
    autofree char *path = path_in(r->dir, "store-lock");

    r->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (r->lock_fd < 0) {
        int e = -errno;

        buf_printf(why, "store '%s': %s", r->dir, strerror(-e));
        return e;
    }
    if (flock(r->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        buf_printf(why, "store '%s' is already open by another process", r->dir);
        return -EBUSY;
    }
    return 0;
}

/* Asked of the file system: tmpfs and some others cannot. */
static bool can_direct(const struct rocks *r)
{
    autoclose int fd =
        openat(r->uploads_fd, ".direct", O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);

    unlinkat(r->uploads_fd, ".direct", 0);
    return fd >= 0;
}

static int make_dirs(struct rocks *r, struct buf *why)
{
    const char *const dirs[] = {r->dir, r->db_dir, r->uploads};
    int e = 0;

    for (size_t i = 0; i < array_size(dirs) && e == 0; i++) {
        e = file_make_folders(dirs[i], 0700);
        if (e < 0)
            buf_printf(why, "store '%s': %s", dirs[i], strerror(-e));
        if (e == 0 && i == 0)
            e = lock_dir(r, why);
        if (e == 0 && i == 0)
            e = check_version(r->dir, why);
    }
    if (e < 0)
        return e;
    r->uploads_fd = open(r->uploads, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r->direct = r->uploads_fd >= 0 && can_direct(r);
    return r->uploads_fd < 0 ? -errno : 0;
}

static void free_rocks(struct rocks *r)
{
    files_free(r);
    rocks_options_free(r);
    if (r->uploads_fd >= 0)
        close(r->uploads_fd);
    if (r->lock_fd >= 0)
        close(r->lock_fd);
    pthread_mutex_destroy(&r->gate);
    pthread_cond_destroy(&r->gate_open);
    pthread_mutex_destroy(&r->files_lock);
    free(r->dir);
    free(r->db_dir);
    free(r->uploads);
    free(r);
}

static int rocks_open(struct store *s, const char *where, struct buf *why)
{
    struct rocks *r;
    int e;

    if (where[0] == 0) {
        buf_printf(why, "store 'rocks:': a directory must follow, rocks:DIR");
        return -EINVAL;
    }
    r = xcalloc(1, sizeof *r);
    r->store = s;
    r->dir = xstrdup(where);
    r->db_dir = path_in(where, "rocksdb");
    r->uploads = path_in(where, "uploads");
    r->lock_fd = r->uploads_fd = -1;
    pthread_mutex_init(&r->gate, NULL);
    pthread_cond_init(&r->gate_open, NULL);
    pthread_mutex_init(&r->files_lock, NULL);
    rocks_options_new(r);
    e = make_dirs(r, why);
    if (e == 0)
        e = rocks_db_open(r, why);
    if (e < 0) {
        free_rocks(r);
        return e;
    }
    rocks_commit_start(r);
    s->self = r;
    return 0;
}

static void rocks_close(struct store *s)
{
    struct rocks *r = s->self;

    rocks_sweep_end(s, false); /* an open that failed leaves some */
    rocks_commit_stop(r);
    rocks_drain(r);
    if (atomic_load(&r->users) == 0) /* with a live iterator RocksDB would abort */
        rocks_db_close(r);
    free_rocks(r);
}

static int copy_database(struct rocks *r, const char *to)
{
    rocksdb_checkpoint_t *checkpoint;
    char *err = NULL;
    int e = rocks_enter(r);

    if (e < 0)
        return e;
    checkpoint = rocksdb_checkpoint_object_create(r->db, &err);
    if (err == NULL) {
        rocksdb_checkpoint_create(checkpoint, to, 0, &err);
        rocksdb_checkpoint_object_destroy(checkpoint);
    }
    rocks_leave(r);
    return rocks_error(err);
}

static int rocks_checkpoint(struct store *s, const char *dir)
{
    autofree char *database = path_in(dir, "rocksdb");
    autobuf why = {0};
    int e;

    if (mkdir(dir, 0700) < 0)
        return -errno;
    e = copy_database(s->self, database);
    if (e == 0)
        e = check_version(dir, &why); /* writes it, last: without it there is no store */
    return e;
}

const struct engine rocks_engine = {
    .scheme = "rocks",
    .open = rocks_open,
    .close = rocks_close,
    .usage = rocks_usage,
    .checkpoint = rocks_checkpoint,
    .reclaim = rocks_reclaim,
    .get = rocks_get,
    .submit = rocks_submit,
    .sync = rocks_sync,
    .cursor_new = rocks_cursor_new,
    .cursor_seek = rocks_cursor_seek,
    .cursor_seek_back = rocks_cursor_seek_back,
    .cursor_last = rocks_cursor_last,
    .cursor_step = rocks_cursor_step,
    .cursor_row = rocks_cursor_row,
    .cursor_free = rocks_cursor_free,
    .run_new = rocks_run_new,
    .run_add = rocks_run_add,
    .run_commit = rocks_run_commit,
    .run_free = rocks_run_free,
    .run_drop = rocks_run_drop,
    .log_drop = rocks_log_drop,
    .log_tidy = rocks_log_tidy,
    .staging_new = rocks_staging_new,
    .staging_expect = rocks_staging_expect,
    .staging_write = rocks_staging_write,
    .staging_read = rocks_staging_read,
    .staging_suspend = rocks_staging_suspend,
    .staging_resume = rocks_staging_resume,
    .staging_finish = rocks_staging_finish,
    .staging_free = rocks_staging_free,
    .staging_discard = rocks_staging_discard,
    .sweep = rocks_sweep,
    .sweep_keep = rocks_sweep_keep,
    .sweep_end = rocks_sweep_end,
    .content_open = rocks_content_open,
    .content_read = rocks_content_read,
    .content_lend = rocks_content_lend,
    .content_unlend = rocks_content_unlend,
    .content_close = rocks_content_close,
    .content_delete = rocks_content_delete,
};
