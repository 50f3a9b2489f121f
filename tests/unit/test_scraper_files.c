/* The configuration is edited while others write beside it: the last word is the one in force. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/scope.h"
#include "metrics/scrape/scraper.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS  60
#define LIMIT_S 120

static char folder[64];

static char *file_in(const char *name)
{
    struct buf path = {0};

    buf_printf(&path, "%s/%s", folder, name);
    return buf_take(&path, NULL);
}

/* As an editor or a shell does it: cut to nothing, then written, then closed. */
static void write_in_place(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0640);

    assert_true(fd >= 0);
    assert_int_equal(file_write_all(fd, slice_str(text)), 0);
    close(fd);
}

static void nap(long us)
{
    nanosleep(&(struct timespec){.tv_nsec = us * 1000}, NULL);
}

/* A change beside the file makes the scraper look at any moment. */
static void *write_beside(void *arg)
{
    autofree char *path = file_in("beside.json");

    while (!__atomic_load_n((bool *)arg, __ATOMIC_ACQUIRE)) {
        write_in_place(path, "[]");
        nap(50);
    }
    unlink(path);
    return NULL;
}

static bool in_force(struct scraper *s, const char *job)
{
    struct scraper_state state;
    bool same;

    scraper_state(s, &state);
    same = state.jobs->n == 1 && strcmp(state.jobs->items[0]->name, job) == 0;
    jobs_unref(state.jobs);
    return same;
}

static void wait_for_job(struct scraper *s, const char *job)
{
    int64_t end_ms = clock_monotonic_ms() + LIMIT_S * 1000;

    while (!in_force(s, job)) {
        if (clock_monotonic_ms() > end_ms)
            fail_msg("job %s never came into force", job);
        nap(200);
    }
}

static void test_edits_are_not_missed(void **state)
{
    autofree char *file = file_in("prometheus.yml");
    struct scraper_options options = {.file = file};
    struct buf why = {0};
    struct scraper *s;
    static bool done; /* outlives the test: the thread of one that failed reads on */
    pthread_t thread;

    (void)state;
    write_in_place(file, "");
    assert_int_equal(scraper_start(&options, &s, &why), 0);
    assert_int_equal(pthread_create(&thread, NULL, write_beside, &done), 0);
    for (int i = 0; i < ROUNDS; i++) {
        char job[16], text[64];

        snprintf(job, sizeof job, "job%d", i);
        snprintf(text, sizeof text, "scrape_configs:\n- job_name: %s\n", job);
        write_in_place(file, text);
        wait_for_job(s, job);
    }
    __atomic_store_n(&done, true, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    scraper_stop(s);
    unlink(file);
    buf_done(&why);
}

/* What was written through the scraper is in force when that returns, and an edit after it too. */
static void test_written_then_edited(void **state)
{
    autofree char *file = file_in("prometheus.yml");
    struct scraper_options options = {.file = file};
    struct buf why = {0};
    struct scraper *s;

    (void)state;
    assert_int_equal(scraper_start(&options, &s, &why), 0);
    assert_int_equal(scraper_write(s, SLICE("scrape_configs:\n- job_name: a\n"), &why), 0);
    assert_true(in_force(s, "a"));
    assert_int_equal(scraper_write(s, SLICE("scrape_configs:\n- job_nam: b\n"), &why), -EINVAL);
    assert_true(in_force(s, "a"));
    assert_non_null(strstr(why.data, "line 2, column 3"));
    write_in_place(file, "scrape_configs:\n- job_name: c\n");
    wait_for_job(s, "c");
    scraper_stop(s);
    unlink(file);
    buf_done(&why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_edits_are_not_missed),
        cmocka_unit_test(test_written_then_edited),
    };
    int failed;

    strcpy(folder, "/tmp/infrafs-scraper-XXXXXX");
    if (mkdtemp(folder) == NULL)
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(folder);
    return failed;
}
