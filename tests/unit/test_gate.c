/* So many queries at once, and no more. */
#include "base/clock.h"
#include "metrics/promql/gate.h"

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static int64_t later(int64_t ms)
{
    return clock_monotonic_ms() + ms;
}

static bool yes(void *ctx)
{
    (void)ctx;
    return true;
}

static void fill(struct gate *g)
{
    gate_init(g);
    for (unsigned i = 0; i < GATE_RUNNING_MAX; i++)
        assert_int_equal(gate_enter(g, later(60000), NULL, NULL), 0);
    assert_int_equal(gate_running(g), GATE_RUNNING_MAX);
}

static void empty(struct gate *g)
{
    for (unsigned i = 0; i < GATE_RUNNING_MAX; i++)
        gate_leave(g);
    assert_int_equal(gate_running(g), 0);
    gate_done(g);
}

static void test_time_and_client(void **state)
{
    struct gate g;

    (void)state;
    fill(&g);
    assert_int_equal(gate_enter(&g, later(0), NULL, NULL), -ETIMEDOUT);
    assert_int_equal(gate_enter(&g, later(60000), yes, NULL), -ECANCELED);
    gate_leave(&g);
    assert_int_equal(gate_enter(&g, later(60000), NULL, NULL), 0);
    empty(&g);
}

struct waiter {
    struct gate *gate;
    pthread_t thread;
    int result;
};

static void *wait_for_turn(void *arg)
{
    struct waiter *w = arg;

    w->result = gate_enter(w->gate, later(60000), NULL, NULL);
    if (w->result == 0)
        gate_leave(w->gate);
    return NULL;
}

static unsigned waiting(struct gate *g)
{
    unsigned n;

    pthread_mutex_lock(&g->lock);
    n = g->waiting;
    pthread_mutex_unlock(&g->lock);
    return n;
}

static void test_crowd(void **state)
{
    struct waiter waiters[GATE_WAITING_MAX];
    struct gate g;

    (void)state;
    fill(&g);
    for (unsigned i = 0; i < GATE_WAITING_MAX; i++) {
        waiters[i] = (struct waiter){.gate = &g, .result = 1};
        assert_int_equal(pthread_create(&waiters[i].thread, NULL, wait_for_turn, &waiters[i]), 0);
    }
    while (waiting(&g) < GATE_WAITING_MAX)
        sched_yield();
    assert_int_equal(gate_enter(&g, later(60000), NULL, NULL), -EBUSY);
    gate_leave(&g); /* one place is enough for all, one after the other */
    for (unsigned i = 0; i < GATE_WAITING_MAX; i++) {
        pthread_join(waiters[i].thread, NULL);
        assert_int_equal(waiters[i].result, 0);
    }
    assert_int_equal(gate_enter(&g, later(60000), NULL, NULL), 0);
    empty(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_time_and_client),
        cmocka_unit_test(test_crowd),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
