#include "http/range.h"

#include "base/scope.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_ranges(void **state)
{
    static const struct {
        const char *header;
        uint64_t size;
        enum range_kind want;
        uint64_t offset, length;
    } cases[] = {
        {NULL, 10, RANGE_ALL, 0, 0},
        {"bytes=0-0", 10, RANGE_PART, 0, 1},
        {"bytes=0-", 10, RANGE_PART, 0, 10},
        {"BYTES=3-5", 10, RANGE_PART, 3, 3},
        {"bytes= 3-5 ", 10, RANGE_PART, 3, 3},
        {"bytes=3-99", 10, RANGE_PART, 3, 7},
        {"bytes=9-9", 10, RANGE_PART, 9, 1},
        {"bytes=10-", 10, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=-1", 10, RANGE_PART, 9, 1},
        {"bytes=-10", 10, RANGE_PART, 0, 10},
        {"bytes=-11", 10, RANGE_PART, 0, 10},
        {"bytes=-0", 10, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=-5", 0, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=0-", 0, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=5-4", 10, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=0-1,3-4", 10, RANGE_ALL, 0, 0},
        {"bytes=-", 10, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=", 10, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=a-b", 10, RANGE_UNSATISFIABLE, 0, 0},
        {"items=0-1", 10, RANGE_ALL, 0, 0},
        {"bytes=+1-2", 10, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=0-99999999999999999999999", 10, RANGE_PART, 0, 10},
        {"bytes=99999999999999999999999-", 10, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=-x", 10, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=0-18446744073709551615", 10, RANGE_PART, 0, 10},
        {"bytes=18446744073709551615-", UINT64_MAX, RANGE_UNSATISFIABLE, 0, 0},
        {"bytes=-99999999999999999999999", 10, RANGE_PART, 0, 10},
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        struct range got = {0};
        enum range_kind kind = range_parse(cases[i].header, cases[i].size, &got);

        if (kind != cases[i].want || got.offset != cases[i].offset || got.length != cases[i].length)
            fail_msg("'%s' of %" PRIu64 ": kind %d, %" PRIu64 "+%" PRIu64, cases[i].header,
                     cases[i].size, kind, got.offset, got.length);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
