/* event.h: inotify for changes that did not come through the mount. The kernel makes no event for
 * those; so a process of our own opens the file for writing through the mount and closes it, which
 * watchers of the file and of its folder hear as IN_CLOSE_WRITE.
 *
 * A process, not a thread: a thread that waits for its own daemon's answer could never end after a
 * kill -9, and would keep the daemon's files and the mount with it. */
#ifndef FS_EVENT_H
#define FS_EVENT_H

#include <stdbool.h>
#include <sys/types.h>

struct events;

/* `program` is run as fs.h says at fs_events_main; NULL: no events. Returns new; copies. */
struct events *events_new(const char *program, const char *mount);
/* Queues a path of the tree. What there is no room for is left out: it is a courtesy to watchers,
 * which must not slow writers down. Any thread. */
void events_add(struct events *e, const char *path);
bool events_is(const struct events *e, pid_t pid); /* is it the process that opens? */
void events_quit(struct events *e); /* ends the process; while the mount still works */
void events_free(struct events *e);

#endif
