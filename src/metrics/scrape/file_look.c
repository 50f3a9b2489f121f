#include "metrics/scrape/file_look.h"

#include "base/clock.h"
#include "base/hash.h"

#include <string.h>
#include <sys/stat.h>

#define SETTLE_MS 50
#define EMPTY_MS  500 /* of a file that is cut to nothing, as its writer may be kept waiting */

void file_look_at(void *ctx, const char *file)
{
    struct file_look *l = ctx;
    struct stat st;
    int64_t parts[4];
    uint64_t mark = 1;

    if (stat(file, &st) == 0) {
        int64_t ms;

        parts[0] = (int64_t)st.st_ino;
        parts[1] = st.st_size;
        parts[2] = st.st_mtim.tv_sec * 1000000000ll + st.st_mtim.tv_nsec;
        parts[3] = st.st_ctim.tv_sec * 1000000000ll + st.st_ctim.tv_nsec;
        mark = hash_bytes(parts, sizeof parts, 2);
        ms = parts[2] / 1000000 + (st.st_size > 0 ? SETTLE_MS : EMPTY_MS);
        l->whole_ms = ms > l->whole_ms ? ms : l->whole_ms;
    }
    l->mark += hash_bytes(file, strlen(file), mark);
}

bool file_look_is_settling(int64_t whole_ms)
{
    int64_t left_ms = whole_ms - clock_unix_ms();

    return left_ms > 0 && left_ms <= EMPTY_MS; /* more: the clock was set back */
}
