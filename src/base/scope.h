/* scope.h: cleanup at the end of a scope. */
#ifndef BASE_SCOPE_H
#define BASE_SCOPE_H

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define scope_cleanup(f) __attribute__((cleanup(f)))

/* Moves a handle out of a scoped variable: the scope no longer releases it. */
#define take(p)                                                                                    \
    __extension__({                                                                                \
        __typeof__(p) taken_ = (p);                                                                \
        (p) = NULL;                                                                                \
        taken_;                                                                                    \
    })

static inline void scope_free(void *p)
{
    free(*(void **)p);
}
#define autofree scope_cleanup(scope_free)

static inline void scope_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}
#define autoclose scope_cleanup(scope_close)

/* DEFINE_SCOPE(thing, thing_free) gives `autothing`-style cleanup as
 * `scope_cleanup(scope_thing) struct thing *t = NULL;`. */
#define DEFINE_SCOPE(name, type, release)                                                          \
    __attribute__((unused)) static inline void scope_##name(type **p)                              \
    {                                                                                              \
        if (*p != NULL)                                                                            \
            release(*p);                                                                           \
    }

static inline void scope_unlock(pthread_mutex_t **lock)
{
    pthread_mutex_unlock(*lock);
}

static inline pthread_mutex_t *scope_lock(pthread_mutex_t *lock)
{
    pthread_mutex_lock(lock);
    return lock;
}

/* Holds a mutex to the end of the scope. */
#define guard_name2(line) guard_##line
#define guard_name(line)  guard_name2(line)
#define guard(lock)                                                                                \
    scope_cleanup(scope_unlock) pthread_mutex_t *guard_name(__LINE__)                              \
        __attribute__((unused)) = scope_lock(lock)

#define array_size(a) (sizeof(a) / sizeof((a)[0]))

#endif
