/* Reading the pages of another index: what servers out there send. */
#include "base/codec.h"
#include "base/scope.h"
#include "base/simple_index.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define A64  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B64  "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define HTML "text/html; charset=utf-8"
#define JSON "application/vnd.pypi.simple.v1+json"

/* One line a file: name url sha256? metadata? python yanked size time. */
static int print(void *ctx, const struct simple_file *f)
{
    struct buf *out = ctx;

    buf_add_slice(out, f->name);
    buf_add_char(out, ' ');
    buf_add_slice(out, f->url);
    buf_printf(out, " %02x %02x ", f->has_sha256 ? f->sha256.bytes[31] : 0,
               f->has_metadata ? f->metadata.bytes[31] : 0);
    buf_add_slice(out, f->requires_python);
    buf_printf(out, " %s", f->is_yanked ? "yanked:" : "");
    buf_add_slice(out, f->yanked);
    buf_printf(out, " %llu %lld\n", (unsigned long long)f->size_bytes,
               (long long)f->uploaded_unix_ns);
    return 0;
}

static void test_files(void **state)
{
    static const struct {
        const char *type, *page, *want; /* want NULL: -EINVAL */
    } cases[] = {
        {HTML, "", ""},
        {HTML, "<html><body>nothing</body></html>", ""},
        {HTML, "<a href=\"x-1.tar.gz#sha256=" A64 "\">x</a>",
         "x-1.tar.gz x-1.tar.gz aa 00   0 0\n"},
        {HTML, "<A HREF='/f/x-1.tar.gz?q=1#sha256=" A64 "'>x</A>",
         "x-1.tar.gz /f/x-1.tar.gz?q=1 aa 00   0 0\n"},
        {HTML, "<a rel=internal href=x-1.tar.gz>x</a>", "x-1.tar.gz x-1.tar.gz 00 00   0 0\n"},
        {HTML, "<a href=\"x-1%2Bl.tar.gz#md5=1\">x</a>",
         "x-1+l.tar.gz x-1%2Bl.tar.gz 00 00   0 0\n"},
        {HTML,
         "<a href=\"a/x-1.tar.gz#sha256=" A64 "\" data-requires-python=\"&gt;=3.8,&lt;4\" "
         "data-dist-info-metadata=\"sha256=" B64 "\">x</a>",
         "x-1.tar.gz a/x-1.tar.gz aa bb >=3.8,<4  0 0\n"},
        {HTML,
         "<a href=\"x-1.tar.gz\" data-core-metadata=\"true\" data-yanked=\"so &#39;it&#x27; &bad; "
         "&#0;\">",
         "x-1.tar.gz x-1.tar.gz 00 00  yanked:so 'it' &bad; &#0; 0 0\n"},
        {HTML, "<a data-yanked href=\"x-1.tar.gz\">", "x-1.tar.gz x-1.tar.gz 00 00  yanked: 0 0\n"},
        {HTML, "<abbr href=\"x-1.tar.gz\"><a><a href><a href=\"\"><a href=\"/\"><a href=\"x%2\">",
         ""},
        {HTML, "<a href=\"x-1.tar.gz", "x-1.tar.gz x-1.tar.gz 00 00   0 0\n"},
        {JSON, "", NULL},
        {JSON, "[]", NULL},
        {JSON, "{\"files\":{}}", NULL},
        {JSON, "{\"files\":[]}", ""},
        {JSON, "{\"files\":[1,{},{\"filename\":\"a\"},{\"url\":\"a\"}]}", ""},
        {JSON,
         "{\"files\":[{\"filename\":\"x-1.tar.gz\",\"url\":\"../x#y\",\"hashes\":{\"sha256\":\"" A64
         "\"},\"core-metadata\":{\"sha256\":\"" B64
         "\"},\"size\":7,\"yanked\":\"bad\",\"requires-python\":\">3\","
         "\"upload-time\":\"1970-01-01T00:00:01Z\"}]}",
         "x-1.tar.gz ../x aa bb >3 yanked:bad 7 1000000000\n"},
        {"application/json",
         "{\"files\":[{\"filename\":\"x-1.tar.gz\",\"url\":\"x\",\"hashes\":{\"sha256\":\"short\"},"
         "\"core-metadata\":true,\"size\":-7,\"yanked\":true,\"requires-python\":null,"
         "\"upload-time\":\"yesterday\"}]}",
         "x-1.tar.gz x 00 00  yanked: 0 0\n"},
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        autobuf out = {0}, why = {0};
        int r = simple_index_files(slice_str(cases[i].page), cases[i].type, print, &out, &why);

        if ((r < 0) != (cases[i].want == NULL))
            fail_msg("case %zu: %d %s", i, r, why.data);
        if (r == 0 && strcmp(out.data != NULL ? out.data : "", cases[i].want) != 0)
            fail_msg("case %zu: %s", i, out.data);
        if (r < 0)
            assert_true(why.len > 0);
    }
}

static int print_name(void *ctx, struct slice name)
{
    buf_add_slice(ctx, name);
    buf_add_char(ctx, ' ');
    return 0;
}

static void test_projects(void **state)
{
    static const struct {
        const char *type, *page, *want;
    } cases[] = {
        {HTML, "<a href=\"foo/\">Foo</a><a href=\"/simple/b-c/\">B.C</a><a href='x'>",
         "foo b-c x "},
        {JSON, "{\"projects\":[{\"name\":\"Foo\"},{\"name\":1},{},{\"name\":\"b\"}]}", "Foo b "},
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        autobuf out = {0}, why = {0};

        assert_int_equal(
            simple_index_projects(slice_str(cases[i].page), cases[i].type, print_name, &out, &why),
            0);
        assert_string_equal(out.data, cases[i].want);
    }
}

static int stop_at_once(void *ctx, const struct simple_file *f)
{
    (void)f;
    ++*(int *)ctx;
    return 42;
}

static void test_stop(void **state)
{
    autobuf why = {0};
    int n = 0;

    (void)state;
    assert_int_equal(
        simple_index_files(SLICE("<a href=a-1.zip><a href=a-2.zip>"), HTML, stop_at_once, &n, &why),
        42);
    assert_int_equal(n, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_projects),
        cmocka_unit_test(test_stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
