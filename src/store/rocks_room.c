/* Free space. Writes stop while there is still a reserve: what RocksDB must write to go on, and to
 * delete, finds room. */
#include "store/rocks.h"

#include "base/clock.h"
#include "base/scope.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define LOOK_EVERY_MS 1000

static uint64_t free_bytes(const struct rocks *r, uint64_t *ret_total)
{
    struct statvfs v;

    *ret_total = 0;
    if (statvfs(r->dir, &v) < 0)
        return UINT64_MAX; /* a disk that cannot be asked speaks for itself when it is written */
    *ret_total = (uint64_t)v.f_blocks * v.f_frsize;
    return (uint64_t)v.f_bavail * v.f_frsize;
}

int rocks_room(struct rocks *r, size_t n)
{
    uint64_t reserve = r->store->options.reserve_bytes, spare, total;
    int64_t now = clock_monotonic_ms();

    if (now < atomic_load(&r->room_until_ms) &&
        atomic_fetch_sub(&r->room_bytes, (long long)n) > (long long)n)
        return 0;
    spare = free_bytes(r, &total);
    if (spare < reserve || spare - reserve < n) {
        atomic_store(&r->room_until_ms, 0); /* look again at the next write */
        return -ENOSPC;
    }
    spare = (spare - reserve) / 4;
    atomic_store(&r->room_bytes, (long long)(spare < INT64_MAX ? spare : INT64_MAX));
    atomic_store(&r->room_until_ms, now + LOOK_EVERY_MS);
    return 0;
}

/* Deleted rows take their space until they are compacted, and what would start that is writing. */
void rocks_reclaim(struct store *s)
{
    static const enum rocks_cf families[] = {CF_SMALL, CF_META, CF_HEAD};
    struct rocks *r = s->self;

    if (rocks_room(r, s->options.reserve_bytes) == 0 || rocks_enter(r) < 0)
        return;
    for (size_t i = 0; i < array_size(families); i++)
        rocksdb_compact_range_cf(r->db, r->cf[families[i]], NULL, 0, NULL, 0);
    rocks_leave(r);
}

/* What the files of a folder take on disk; one that goes meanwhile counts nothing. */
static uint64_t files_bytes(const char *path)
{
    DIR *dir = opendir(path);
    uint64_t bytes = 0;
    struct dirent *entry;
    struct stat st;

    if (dir == NULL)
        return 0;
    while ((entry = readdir(dir)) != NULL)
        if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(st.st_mode))
            bytes += (uint64_t)st.st_blocks * 512;
    closedir(dir);
    return bytes;
}

int rocks_usage(struct store *s, struct store_usage *ret)
{
    struct rocks *r = s->self;
    int e = rocks_enter(r);

    if (e < 0)
        return e;
    ret->disk_free_bytes = free_bytes(r, &ret->disk_bytes);
    ret->live_bytes = files_bytes(r->db_dir) + files_bytes(r->uploads);
    rocks_leave(r);
    return 0;
}
