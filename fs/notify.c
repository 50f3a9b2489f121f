/* Telling the kernel what changed, so that it may cache everything else for long.
 *
 * The feed only queues; one thread sends, since the kernel may hold a folder's lock while it waits
 * for a handler, and the notification waits for that lock. A reply with long timeouts may be under
 * way while a change is published: the sender first lets those handlers finish that began before
 * (caching_begin), so that no reply with old attributes reaches the kernel after the notification.
 */
#include "fs/engine.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/wait.h"
#include "feed.h"
#include "fs/event.h"
#include "fs/scratch.h"
#include "identity/identity.h"
#include "tree.h"

#include <errno.h>
#include <limits.h>
#include <utlist.h>

#define WAIT_MS       10000 /* an HTTP answer waits so long for its invalidations, then goes out */
#define GRACE_MS      5000  /* for a handler that began before a change */
#define REAP_EVERY_S  60
#define SCRATCH_AGE_MS (3600 * 1000)

enum { SEND_PAGES = 1, SEND_ENTRY = 2, SEND_GONE = 4 };

/* One thing to tell: a path of the feed, or an inode. */
struct note {
    struct note *next;
    struct inode *inode; /* a reference; or NULL: path */
    unsigned what;
    enum door door;
    char path[];
};

/* A worker; since: 1 + fs->changes when it began to make a reply that is cached, 0: it does not. */
struct slot {
    struct slot *prev, *next;
    _Atomic uint64_t since;
};

struct notifier {
    struct fs *fs;
    pthread_t thread;
    struct events *events;
    pthread_mutex_t lock; /* guards: what follows */
    pthread_cond_t work, sent;
    struct note *notes, **notes_end;
    uint64_t queued, done; /* tickets */
    bool stop;
    struct slot *slots;
};

static __thread struct slot *my_slot;

void caching_enter_thread(struct fs *fs)
{
    my_slot = xcalloc(1, sizeof *my_slot);
    guard(&fs->notifier->lock);
    DL_APPEND(fs->notifier->slots, my_slot);
}

void caching_leave_thread(struct fs *fs)
{
    pthread_mutex_lock(&fs->notifier->lock);
    DL_DELETE(fs->notifier->slots, my_slot);
    pthread_mutex_unlock(&fs->notifier->lock);
    free(take(my_slot));
}

void caching_begin(struct fs *fs)
{
    atomic_store(&my_slot->since, atomic_load(&fs->changes) + 1);
}

void caching_end(void)
{
    atomic_store(&my_slot->since, 0);
}

/* Does a worker make a reply that it began before the change number `upto`? */
static bool is_caching(struct notifier *n, uint64_t upto)
{
    guard(&n->lock);

    for (struct slot *s = n->slots; s != NULL; s = s->next) {
        uint64_t since = atomic_load(&s->since);

        if (since != 0 && since <= upto)
            return true;
    }
    return false;
}

static void let_finish(struct notifier *n)
{
    uint64_t upto = atomic_load(&n->fs->changes);
    int64_t end = clock_monotonic_ms() + GRACE_MS;

    for (unsigned turn = 0; is_caching(n, upto); turn++) {
        if (turn < 20)
            sched_yield();
        else
            nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
        if (turn % 1000 == 999 && clock_monotonic_ms() > end)
            return;
    }
}

/* The inodes of a path as far as they are known: the node (or NULL), and its folder. If that is not
 * known, either the deepest folder that is and whose names the kernel may have: the next one down
 * may be new too; or NULL. fs->lock is held. */
static void resolve(struct fs *fs, const char *path, struct inode **ret_folder,
                    struct inode **ret_node)
{
    struct inode *at = &fs->root;

    *ret_folder = NULL;
    while (*path == '/')
        path++;
    while (at != NULL && *path != 0) {
        size_t len = strcspn(path, "/");
        char name[FS_NAME_MAX + 1];

        if (len > FS_NAME_MAX)
            at = NULL;
        if (at == NULL)
            break;
        memcpy(name, path, len);
        name[len] = 0;
        path += len + (path[len] == '/');
        *ret_folder = *path == 0 || at->cached_listing ? at : NULL;
        at = inode_find(fs, at, name, 0);
    }
    *ret_node = at;
}

static bool is_known(struct fs *fs, const char *path)
{
    struct inode *folder, *node;
    guard(&fs->lock);

    resolve(fs, path, &folder, &node);
    return folder != NULL || node != NULL;
}

/* Would the kernel have anything of these? If not, nothing is queued, and nobody waits. */
static bool concerns_kernel(struct notifier *n, const struct op_change *changes)
{
    if (is_caching(n, UINT64_MAX))
        return true;
    for (; changes != NULL; changes = changes->next)
        if (is_known(n->fs, changes->path))
            return true;
    return false;
}

static struct note *note_new(const char *path)
{
    size_t len = strlen(path) + 1;
    struct note *note = xcalloc(1, sizeof *note + len);

    memcpy(note->path, path, len);
    return note;
}

/* n->lock is held. */
static void push(struct notifier *n, struct note *note)
{
    *n->notes_end = note;
    n->notes_end = &note->next;
}

static void on_change(void *ctx, const struct op_change *changes, bool wait, enum door door)
{
    struct notifier *n = ctx;
    struct timespec end;
    uint64_t ticket;

    atomic_fetch_add(&n->fs->changes, 1);
    if (!concerns_kernel(n, changes))
        return;
    guard(&n->lock);
    for (; changes != NULL; changes = changes->next) {
        struct note *note = note_new(changes->path);

        note->what = changes->what;
        note->door = door;
        push(n, note);
    }
    ticket = ++n->queued;
    pthread_cond_signal(&n->work);
    if (!wait || my_slot != NULL)
        return; /* a worker that waited for the sender could wait for itself */
    end = wait_until(WAIT_MS);
    while (n->done < ticket && !n->stop)
        if (pthread_cond_timedwait(&n->sent, &n->lock, &end) == ETIMEDOUT) {
            log_line(LOG_WARN, NULL, "mount.late", "waited_ms=%d", WAIT_MS);
            break;
        }
}

void notifier_drop_inode(struct fs *fs, struct inode *inode)
{
    struct note *note = note_new("");

    pthread_mutex_lock(&fs->lock);
    inode_ref(inode);
    pthread_mutex_unlock(&fs->lock);
    note->inode = inode;
    guard(&fs->notifier->lock);
    push(fs->notifier, note);
    fs->notifier->queued++;
    pthread_cond_signal(&fs->notifier->work);
}

/* What is to be sent, each inode once. fs->lock is held; the list holds a reference. */
static void mark(struct inode **list, struct inode *inode, unsigned what)
{
    if (inode->notify == 0) {
        inode_ref(inode);
        inode->notify_next = *list;
        *list = inode;
    }
    inode->notify |= (uint8_t)what;
}

/* All that is known below; buf is room for a path. */
static void mark_below(struct notifier *n, struct inode **list, struct inode *inode, bool elsewhere,
                       char *buf)
{
    for (struct inode *child = inode->children; child != NULL; child = child->next) {
        const char *path;

        if (child->scratch != NULL)
            continue;
        mark(list, child, SEND_PAGES | SEND_ENTRY);
        child->stale = child->stale || elsewhere;
        if (elsewhere && child->type == NODE_FILE &&
            (path = inode_write_path(n->fs, child, buf)) != NULL)
            events_add(n->events, path);
        if (child->children != NULL)
            mark_below(n, list, child, elsewhere, buf);
    }
}

static bool is_gone(struct fs *fs, const char *path)
{
    struct node_stat st = {0};
    struct op op;
    int r;

    op_init(&op, DOOR_INTERNAL, identity_internal(fs->options.identities));
    r = tree_stat(fs->options.tree, &op, path, &st);
    op_done(&op);
    return r == -ENOENT;
}

struct unknown {
    struct notifier *n;
    struct op *op;
    const char *folder;
    unsigned room; /* a large folder is not gone through for who may watch it */
};

static int add_unknown(void *ctx, const char *name, const struct node_stat *st)
{
    struct unknown *u = ctx;
    const char *path = op_printf(u->op, "%s/%s", u->folder, name);
    struct inode *folder, *node;

    if (st == NULL || st->type != NODE_FILE)
        return 0;
    pthread_mutex_lock(&u->n->fs->lock);
    resolve(u->n->fs, path, &folder, &node);
    pthread_mutex_unlock(&u->n->fs->lock);
    if (node == NULL && u->room-- > 0)
        events_add(u->n->events, path);
    return u->room > 0 ? 0 : 1;
}

/* Who watches a folder hears of its files, though the kernel never looked them up. */
static void tell_watchers_of(struct notifier *n, const char *path)
{
    struct op op;
    struct unknown u = {.n = n, .op = &op, .folder = path, .room = 64};

    op_init(&op, DOOR_INTERNAL, identity_internal(n->fs->options.identities));
    tree_list(n->fs->options.tree, &op, path, add_unknown, &u);
    op_done(&op);
}

static void mark_note(struct notifier *n, struct inode **list, const struct note *note)
{
    const char *path = note->path + (note->path[0] == '/');
    bool elsewhere = note->door != DOOR_MOUNT; /* the handlers keep the table true themselves */
    bool entry = (note->what & (CHANGE_ENTRY | CHANGE_SUBTREE)) != 0;
    bool gone = entry && is_known(n->fs, path) && is_gone(n->fs, path);
    bool folder_changed;
    struct inode *folder, *node;
    char buf[FS_PATH_MAX + 1];

    pthread_mutex_lock(&n->fs->lock);
    resolve(n->fs, path, &folder, &node);
    folder_changed = node != NULL && node->type == NODE_DIR && elsewhere && !gone &&
                     (note->what & CHANGE_SUBTREE) != 0;
    if (folder != NULL && (note->what & CHANGE_ENTRY) != 0)
        mark(list, folder, SEND_PAGES); /* its listing, its times */
    if (node != NULL)
        mark(list, node, SEND_PAGES | (entry && node != &n->fs->root ? SEND_ENTRY : 0u));
    if (node != NULL && (note->what & CHANGE_SUBTREE) != 0)
        mark_below(n, list, node, elsewhere, buf);
    if (node != NULL && node != &n->fs->root && entry && elsewhere)
        node->stale = true;
    if (node != NULL && node != &n->fs->root && gone && node->writers == NULL) {
        mark(list, node, SEND_GONE);
        inode_detach(n->fs, node);
    }
    pthread_mutex_unlock(&n->fs->lock);
    if (folder != NULL && elsewhere && !gone)
        events_add(n->events, path);
    if (folder_changed)
        tell_watchers_of(n, path);
}

/* An entry as it was under fs->lock: a rename may change the inode's own while it is sent. What
 * moved meanwhile was moved by the kernel, which knows. */
struct sent_entry {
    fuse_ino_t parent, child;
    size_t len;
    char name[NAME_MAX + 1];
};

static void copy_entry(struct fs *fs, struct inode *inode, struct sent_entry *ret)
{
    ret->parent = inode_id(fs, inode->parent);
    ret->child = inode_id(fs, inode);
    ret->len = strlen(inode->key->name);
    memcpy(ret->name, inode->key->name, ret->len + 1);
}

static void send_entry(struct fs *fs, const struct sent_entry *e, unsigned what)
{
    if ((what & SEND_GONE) != 0 &&
        fuse_lowlevel_notify_delete(fs->session, e->parent, e->child, e->name, e->len) == 0)
        return;
    if ((what & SEND_GONE) != 0 ||
        libfuse_expire_entry(fs->session, e->parent, e->name, e->len) == -ENOSYS)
        fuse_lowlevel_notify_inval_entry(fs->session, e->parent, e->name, e->len);
}

static void send(struct fs *fs, struct inode *list)
{
    struct sent_entry entry;

    while (list != NULL) {
        struct inode *inode = list;
        unsigned what;
        bool known;

        pthread_mutex_lock(&fs->lock);
        what = inode->notify;
        inode->notify = 0;
        list = inode->notify_next;
        known = inode->nlookup > 0 || inode == &fs->root;
        if (known && (what & (SEND_ENTRY | SEND_GONE)) != 0)
            copy_entry(fs, inode, &entry);
        pthread_mutex_unlock(&fs->lock);
        if (known && (what & SEND_PAGES) != 0)
            fuse_lowlevel_notify_inval_inode(fs->session, inode_id(fs, inode), 0, 0);
        if (known && (what & (SEND_ENTRY | SEND_GONE)) != 0)
            send_entry(fs, &entry, what);
        pthread_mutex_lock(&fs->lock);
        inode_unref(fs, inode);
        pthread_mutex_unlock(&fs->lock);
    }
}

static void tell(struct notifier *n, struct note *notes)
{
    struct inode *list = NULL;

    let_finish(n);
    while (notes != NULL) {
        struct note *note = notes;

        notes = note->next;
        if (note->inode != NULL) {
            pthread_mutex_lock(&n->fs->lock);
            mark(&list, note->inode, SEND_PAGES);
            inode_unref(n->fs, note->inode);
            pthread_mutex_unlock(&n->fs->lock);
        } else {
            mark_note(n, &list, note);
        }
        free(note);
    }
    send(n->fs, list);
}

/* Waits for work; the notes to tell, NULL to look after scratch or to end. */
static struct note *next_notes(struct notifier *n, uint64_t *ret_ticket)
{
    struct timespec end = wait_until(REAP_EVERY_S * 1000);
    struct note *notes;
    guard(&n->lock);

    while (n->notes == NULL && !n->stop)
        if (pthread_cond_timedwait(&n->work, &n->lock, &end) == ETIMEDOUT)
            break;
    notes = n->notes;
    n->notes = NULL;
    n->notes_end = &n->notes;
    *ret_ticket = n->queued;
    return notes;
}

static bool finish(struct notifier *n, uint64_t ticket)
{
    guard(&n->lock);

    n->done = ticket;
    pthread_cond_broadcast(&n->sent);
    return n->stop && n->notes == NULL;
}

static void *notifier_main(void *arg)
{
    struct notifier *n = arg;
    uint64_t ticket;

    pthread_setname_np(pthread_self(), "fs-notify");
    do {
        struct note *notes = next_notes(n, &ticket);

        if (notes != NULL)
            tell(n, notes);
        else
            scratch_reap(n->fs, clock_monotonic_ms() - SCRATCH_AGE_MS);
    } while (!finish(n, ticket));
    return NULL;
}

int notifier_start(struct fs *fs)
{
    struct notifier *n = xcalloc(1, sizeof *n);

    n->fs = fs;
    n->notes_end = &n->notes;
    pthread_mutex_init(&n->lock, NULL);
    wait_init(&n->work);
    wait_init(&n->sent);
    n->events = events_new(fs->options.events_program, fs->options.mount);
    fs->notifier = n;
    if (pthread_create(&n->thread, NULL, notifier_main, n) != 0) {
        events_free(n->events);
        free(take(fs->notifier));
        return -EAGAIN;
    }
    feed_subscribe(fs->options.feed, on_change, n);
    return 0;
}

bool notifier_is(const struct fs *fs, pid_t pid)
{
    return events_is(fs->notifier->events, pid);
}

void notifier_quiet(struct fs *fs)
{
    if (fs->notifier == NULL)
        return;
    feed_unsubscribe(fs->options.feed, on_change, fs->notifier);
    events_quit(fs->notifier->events);
}

void notifier_stop(struct fs *fs)
{
    struct notifier *n = fs->notifier;

    if (n == NULL)
        return;
    pthread_mutex_lock(&n->lock);
    n->stop = true;
    pthread_cond_signal(&n->work);
    pthread_mutex_unlock(&n->lock);
    pthread_join(n->thread, NULL);
    events_free(n->events);
    pthread_cond_destroy(&n->work);
    pthread_cond_destroy(&n->sent);
    pthread_mutex_destroy(&n->lock);
    free(take(fs->notifier));
}
