/* Code that was given back runs again, also in threads that are in the middle of it. */
#include "base/lean.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static atomic_bool stop;
static atomic_ulong turns;

static void *work(void *arg)
{
    char text[64];

    (void)arg;
    while (!atomic_load(&stop)) {
        unsigned long n = atomic_fetch_add(&turns, 1);

        snprintf(text, sizeof text, "%lu", n);
        if (strtoul(text, NULL, 10) != n)
            return (void *)1;
    }
    return NULL;
}

static void test_code_goes_on(void **state)
{
    pthread_t threads[3];
    void *wrong;

    (void)state;
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, NULL), 0);
    for (size_t i = 0; i < 20; i++) {
        unsigned long before = atomic_load(&turns);

        lean_trim();
        while (atomic_load(&turns) == before)
            sched_yield();
    }
    atomic_store(&stop, true);
    for (size_t i = 0; i < 3; i++) {
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_code_goes_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
