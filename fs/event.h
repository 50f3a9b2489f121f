/* event.h: inotify for changes that did not come through the mount. The kernel makes no event for
 * those; so a thread of our own opens the file for writing through the mount and closes it, which
 * watchers of the file and of its folder hear as IN_CLOSE_WRITE. */
#ifndef FS_EVENT_H
#define FS_EVENT_H

#include <stdbool.h>
#include <sys/types.h>

struct events;

struct events *events_start(const char *mount); /* returns new; copies mount */
void events_ready(struct events *e);            /* the mount works */
/* Queues a path of the tree; the same once. What there is no room for is left out: it is a
 * courtesy to watchers, which must not slow writers down. */
void events_add(struct events *e, const char *path);
bool events_is(const struct events *e, pid_t tid); /* is it the thread that opens? */
void events_stop(struct events *e);                /* while the mount still works; once */
void events_free(struct events *e);

#endif
