#include "base/negotiate.h"
#include "base/scope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const char *const simple[] = {"application/vnd.pypi.simple.v1+json",
                                     "application/vnd.pypi.simple.v1+html", "text/html", NULL};
static const char *const text[] = {"text/plain; version=0.0.4", "application/openmetrics-text",
                                   NULL};

static void test_types(void **state)
{
    static const struct {
        const char *accept;
        const char *const *offers;
        const char *want;
    } cases[] = {
        {NULL, simple, "application/vnd.pypi.simple.v1+json"},
        {"", simple, "application/vnd.pypi.simple.v1+json"},
        {" , ,", simple, "application/vnd.pypi.simple.v1+json"},
        {"*/*", simple, "application/vnd.pypi.simple.v1+json"},
        {"text/html", simple, "text/html"},
        {"TEXT/HTML;q=0.001", simple, "text/html"},
        {"text/*", simple, "text/html"},
        {"text/html, */*;q=0.1", simple, "text/html"},
        /* pip 23 and later */
        {"application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, "
         "text/html; q=0.01",
         simple, "application/vnd.pypi.simple.v1+json"},
        {"application/vnd.pypi.simple.v1+html;q=0.5,text/html;q=0.5", simple,
         "application/vnd.pypi.simple.v1+html"},
        /* the closest range counts, not the largest q */
        {"application/*;q=1, application/vnd.pypi.simple.v1+json;q=0, text/html;q=0.9", simple,
         "application/vnd.pypi.simple.v1+html"},
        {"image/png", simple, NULL},
        {"text/html;q=0", simple, NULL},
        {"text/html;q=2", simple, NULL},
        {"text/html;q=0.1234", simple, NULL},
        {"text", simple, NULL},
        {"text/plain;version=0.0.4;q=0.3", text, "text/plain; version=0.0.4"},
        {"text/plain;version=1.0.0", text, NULL},
        {"text/plain", text, "text/plain; version=0.0.4"},
        {"application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2", text,
         "text/plain; version=0.0.4"},
        {"x/y;a=\"b,c;d\\\"\", text/html", simple, "text/html"},
        {"x/y;a=\"unclosed, text/html", simple, NULL},
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        const char *got = negotiate_type(slice_str(cases[i].accept), cases[i].offers);

        if (got != cases[i].want &&
            (got == NULL || cases[i].want == NULL || strcmp(got, cases[i].want) != 0))
            fail_msg("case %zu '%s': %s", i, cases[i].accept, got != NULL ? got : "none");
    }
}

static void test_codings(void **state)
{
    static const struct {
        const char *header;
        bool want;
    } cases[] = {
        {NULL, false},           {"", false},
        {"gzip", true},          {"GZip", true},
        {"deflate, gzip", true}, {"gzip;q=0", false},
        {"gzip;q=0.5", true},    {"*", true},
        {"*;q=0", false},        {"identity", false},
        {"gzip;q=0, *", false},  {"br;q=1.0, gzip;q=0.8, *;q=0.1", true},
        {"gzipx", false},        {"*;q=0, gzip", true},
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++)
        if (negotiate_coding(slice_str(cases[i].header), SLICE("gzip")) != cases[i].want)
            fail_msg("case %zu '%s'", i, cases[i].header);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_codings),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
