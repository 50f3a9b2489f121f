/* file.h: whole files of the host. */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include "base/buf.h"

#include <sys/types.h>

/* Reads all of a regular file. -EFBIG above limit_bytes, else the errno of open or read. */
int file_read(const char *path, size_t limit_bytes, struct buf *ret);
/* Replaces a file: temporary in the same folder, fsync, rename, fsync of the folder. A symlink is
 * followed, so that the file it names is replaced; where rename is refused because the path is a
 * mount point (a single file bound into a container) it is rewritten in place. Keeps owner and
 * mode of an existing file, else creates it with `mode`. */
int file_replace(const char *path, struct slice bytes, mode_t mode);
/* mkdir -p; existing folders are kept as they are. */
int file_make_folders(const char *path, mode_t mode);
/* fsync of the folder that holds path. */
int file_sync_folder(const char *path);
/* write(2) until all is written. */
int file_write_all(int fd, struct slice bytes);

#endif
