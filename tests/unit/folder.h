/* folder.h: the end of a folder that a test made. */
#ifndef FOLDER_H
#define FOLDER_H

#include <ftw.h>
#include <stdio.h>

static inline int folder_remove_entry(const char *path, const struct stat *st, int type,
                                      struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

/* Removes a folder of the test with all that is in it. */
static inline void folder_remove(const char *dir)
{
    nftw(dir, folder_remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

#endif
