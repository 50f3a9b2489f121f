/* inside.h: what is inside an archive, as a tree: every file and folder once, in an order in which
 * what a folder holds follows it. */
#ifndef PACKAGES_INSIDE_H
#define PACKAGES_INSIDE_H

#include "packages/filename.h"
#include "packages/zip.h"

struct inside;

#define INSIDE_ENTRIES_MAX 100000
#define INSIDE_PATHS_MAX   (16u << 20) /* bytes of all paths */
#define INSIDE_FILE_MAX    (32u << 20) /* of one file that is read */

struct inside_entry {
    const char *path; /* without a slash at either end */
    uint64_t size_bytes;
    size_t number; /* in the archive */
    bool is_folder;
};

/* Links and devices are left out; so are paths that leave the archive. -EFBIG over a limit, -EINVAL
 * if the archive is damaged, with a reason in why. Returns new; copies source. */
int inside_open(const struct zip_source *source, enum package_kind kind, struct inside **ret,
                struct buf *why);
void inside_close(struct inside *in); /* NULL is fine */

const struct inside_entry *inside_find(const struct inside *in,
                                       const char *path); /* NULL: absent */
/* Each entry directly in a folder, "" being the top; f's non-zero result ends it and is returned.
 */
int inside_list(const struct inside *in, const char *folder,
                int (*f)(void *ctx, const char *name, const struct inside_entry *e), void *ctx);
/* Appends a file's content. -EFBIG over INSIDE_FILE_MAX. */
int inside_read(const struct inside *in, const struct inside_entry *e, struct buf *out,
                struct buf *why);

#endif
