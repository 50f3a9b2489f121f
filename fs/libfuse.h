/* libfuse.h: libfuse's low-level interface, and what differs between its versions (3.14 to 3.17). */
#ifndef FS_LIBFUSE_H
#define FS_LIBFUSE_H

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>

#include <stdbool.h>
#include <stdint.h>

/* Asks the kernel for a feature, if it has it. */
static inline bool libfuse_want(struct fuse_conn_info *conn, uint64_t feature)
{
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
    return fuse_set_feature_flag(conn, feature);
#else
    if ((conn->capable & feature) == 0)
        return false;
    conn->want |= (unsigned)feature;
    return true;
#endif
}

static inline void libfuse_unwant(struct fuse_conn_info *conn, uint64_t feature)
{
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
    fuse_unset_feature_flag(conn, feature);
#else
    conn->want &= ~(unsigned)feature;
#endif
}

/* Makes the kernel look the entry up again at its next use; what is open or a working directory
 * there stays whole, unlike after fuse_lowlevel_notify_inval_entry. -ENOSYS: kernel below 6.2. */
static inline int libfuse_expire_entry(struct fuse_session *se, fuse_ino_t parent, const char *name,
                                       size_t len)
{
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 15)
    return fuse_lowlevel_notify_expire_entry(se, parent, name, len);
#else
    return fuse_lowlevel_notify_expire_entry(se, parent, name, len, FUSE_LL_EXPIRE_ONLY);
#endif
}

#endif
