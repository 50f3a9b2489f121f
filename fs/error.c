/* Why a user was refused last, by path: what close(2) cannot say. */
#include "fs/engine.h"

#include "base/alloc.h"

#include <stdio.h>

#define ERRORS_KEPT   512u
#define ERROR_TEXT_MAX 400

struct error {
    uid_t uid;
    char *path; /* NULL: unused */
    char why[ERROR_TEXT_MAX];
};

struct errors {
    pthread_mutex_t lock; /* guards: all */
    struct error kept[ERRORS_KEPT]; /* a ring */
    unsigned next;
};

struct errors *errors_new(void)
{
    struct errors *e = xcalloc(1, sizeof *e);

    pthread_mutex_init(&e->lock, NULL);
    return e;
}

void errors_free(struct errors *e)
{
    if (e == NULL)
        return;
    for (size_t i = 0; i < ERRORS_KEPT; i++)
        free(e->kept[i].path);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

static struct error *find(struct errors *e, uid_t uid, const char *path)
{
    for (size_t i = 0; i < ERRORS_KEPT; i++)
        if (e->kept[i].path != NULL && e->kept[i].uid == uid &&
            strcmp(e->kept[i].path, path) == 0)
            return &e->kept[i];
    return NULL;
}

static void note(struct errors *e, uid_t uid, const char *path, size_t len, const char *name,
                 const char *why)
{
    autofree char *copy = xstrndup(path, len);
    struct error *error = find(e, uid, copy);

    if (error == NULL) {
        error = &e->kept[e->next++ % ERRORS_KEPT];
        free(error->path);
        error->path = take(copy);
        error->uid = uid;
    }
    snprintf(error->why, sizeof error->why, "%s%s%s", name, name[0] != 0 ? ": " : "", why);
}

void errors_note(struct errors *e, uid_t uid, const char *path, const char *why)
{
    const char *name = path_base(path);
    size_t folder = name > path ? (size_t)(name - path) - 1 : 0;
    guard(&e->lock);

    note(e, uid, path, strlen(path), "", why);
    if (path[0] != 0)
        note(e, uid, path, folder, name, why); /* a refused new file is gone: ask its folder */
}

const char *errors_find(struct errors *e, struct op *op, uid_t uid, const char *path)
{
    struct error *error;
    guard(&e->lock);

    error = find(e, uid, path);
    return error != NULL ? op_strdup(op, error->why) : NULL;
}
