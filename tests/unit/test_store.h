/* test_store.h: every test of the store runs against every engine. */
#ifndef TEST_STORE_H
#define TEST_STORE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "folder.h"
#include "store/blob.h"
#include "store/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* A store of the engine under test, and how to open it again as a restart would. */
struct fixture {
    struct store *store;
    struct store_options options;
    char dir[64]; /* empty: in memory */
    char url[160];
};

static inline void fixture_open(struct fixture *f)
{
    struct buf why = {0};
    int r = store_open(f->url, &f->options, &f->store, &why);

    if (r < 0)
        print_error("store_open: %s\n", why.data != NULL ? why.data : "");
    buf_done(&why);
    assert_int_equal(r, 0);
}

static inline bool fixture_lasts(const struct fixture *f)
{
    return f->dir[0] != 0;
}

static inline void fixture_restart(struct fixture *f)
{
    store_close(f->store);
    f->store = NULL;
    fixture_open(f);
}

static inline int fixture_setup_mem(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    snprintf(f->url, sizeof f->url, "mem:");
    fixture_open(f);
    *state = f;
    return 0;
}

/* In memory, if there is room: hundreds of syncs are no part of what is tested. */
static inline const char *fixture_where(void)
{
    struct statvfs v;

    if (statvfs("/dev/shm", &v) == 0 && (uint64_t)v.f_bavail * v.f_frsize > (UINT64_C(1) << 30))
        return "/dev/shm";
    return "/tmp";
}

static inline int fixture_setup_rocks(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    snprintf(f->dir, sizeof f->dir, "%s/infrafs-store-XXXXXX", fixture_where());
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->url, sizeof f->url, "rocks:%s/store", f->dir);
    f->options.reserve_bytes = 1; /* tests run on disks that are nearly full, too */
    fixture_open(f);
    *state = f;
    return 0;
}

static inline int fixture_teardown(void **state)
{
    struct fixture *f = *state;

    store_close(f->store);
    if (f->dir[0] != 0)
        folder_remove(f->dir);
    free(f);
    return 0;
}

#define on_mem(test)                                                                               \
    {                                                                                              \
        "mem " #test, test, fixture_setup_mem, fixture_teardown, NULL                              \
    }
#define on_rocks(test)                                                                             \
    {                                                                                              \
        "rocks " #test, test, fixture_setup_rocks, fixture_teardown, NULL                          \
    }

static inline struct slice text(const char *s)
{
    return slice_str(s);
}

static inline int put(struct store *s, const char *part, const char *key, const char *value)
{
    struct store_batch *b = store_batch_new(s, text(part));

    store_batch_put(b, text(key), text(value));
    return store_commit(b, 0);
}

/* The value of a row as text, "-" if there is none; the last eight stay. */
static inline const char *get(struct store *s, const char *part, const char *key)
{
    static char values[8][256];
    static unsigned turn;
    char *value = values[turn++ % 8];
    struct store_value v;
    int r = store_get(s, text(part), text(key), &v);

    if (r == -ENOENT)
        return "-";
    assert_int_equal(r, 0);
    snprintf(value, sizeof values[0], "%.*s", (int)v.data.len, (const char *)v.data.data);
    store_value_release(&v);
    return value;
}

#endif
