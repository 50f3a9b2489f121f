#include "base/buf.h"
#include "base/multipart.h"
#include "base/scope.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* What the parser said, as text: "name|filename|type<content>" for each part. */
struct heard {
    struct buf text;
    int fail_data; /* returned by data() */
};

static int on_part(void *ctx, const struct multipart_part *part)
{
    struct heard *h = ctx;

    buf_printf(&h->text, "%s|%s|%s<", part->name, part->has_filename ? part->filename : "-",
               part->content_type);
    return 0;
}

static int on_data(void *ctx, const void *bytes, size_t n)
{
    struct heard *h = ctx;

    assert_true(n > 0);
    buf_add(&h->text, bytes, n);
    return h->fail_data;
}

static int on_end(void *ctx)
{
    buf_add_char(&((struct heard *)ctx)->text, '>');
    return 0;
}

static const struct multipart_events events = {on_part, on_data, on_end};

#define TYPE "multipart/form-data; boundary=B"
#define HEAD "Content-Disposition: form-data; "
#define CRLF "\r\n"
#define A(h) "--B" CRLF HEAD h CRLF CRLF
#define END  CRLF "--B--" CRLF

static const struct {
    const char *name, *body;
    int want;
    const char *heard; /* what was complete and right before an error */
} cases[] = {
    {"one", A("name=\"a\"") "x" END, 0, "a|-|<x>"},
    {"two", A("name=a") "1" CRLF A("name=b") "2" END, 0, "a|-|<1>b|-|<2>"},
    {"empty content", A("name=a") END, 0, "a|-|<>"},
    {"empty content, no line end", A("name=a") "--B--", 0, "a|-|<>"},
    {"no part", "--B--", 0, ""},
    {"preamble and epilogue", "hello" CRLF A("name=a") "x" END "bye --B", 0, "a|-|<x>"},
    {"filename and type",
     "--B" CRLF "content-type: a/b" CRLF "CONTENT-DISPOSITION: form-data; "
     "filename=\"f.whl\"; name=\"c\"" CRLF CRLF "x" END,
     0, "c|f.whl|a/b<x>"},
    {"an empty filename is one", A("name=a; filename=\"\"") END, 0, "a||<>"},
    {"quotes", A("name=\"a\\\"b\"; filename=\"c:\\dir\\f\"") "x" END, 0, "a\"b|c:\\dir\\f|<x>"},
    {"semicolon in quotes", A("name=\"a;filename=x\"") "x" END, 0, "a;filename=x|-|<x>"},
    {"padding", "--B \t" CRLF HEAD "name=a" CRLF CRLF "x" END, 0, "a|-|<x>"},
    {"bare LF in headers", "--B\n" HEAD "name=a\n\nx" END, 0, "a|-|<x>"},
    {"look-alikes", A("name=a") CRLF "--" CRLF "--BX" CRLF "--B-x" CRLF "-B" CRLF "--" END, 0,
     "a|-|<" CRLF "--" CRLF "--BX" CRLF "--B-x" CRLF "-B" CRLF "-->"},
    {"look-alike at once", A("name=a") "--BX" END, 0, "a|-|<--BX>"},
    {"half a delimiter at once", A("name=a") "--" CRLF "x" END, 0, "a|-|<--" CRLF "x>"},
    {"CR before the delimiter", A("name=a") "x\r" END, 0, "a|-|<x\r>"},
    {"CRs", A("name=a") "\r\r\n\r\r\n" END, 0, "a|-|<\r\r\n\r\r\n>"},
    {"delimiter in the middle of a line", A("name=a") "x--B--" END, 0, "a|-|<x--B-->"},
    {"final boundary missing", A("name=a") "x", -EINVAL, "a|-|<x"},
    {"cut in the delimiter", A("name=a") "x" CRLF "--", -EINVAL, "a|-|<x"},
    {"cut behind the boundary", A("name=a") "x" CRLF "--B", -EINVAL, "a|-|<x"},
    {"nothing", "", -EINVAL, ""},
    {"no boundary", "hello", -EINVAL, ""},
    {"no disposition", "--B" CRLF "A: b" CRLF CRLF "x" END, -EINVAL, ""},
    {"no name", A("filename=x") "x" END, -EINVAL, ""},
    {"not form-data", "--B" CRLF "Content-Disposition: file; name=a" CRLF CRLF END, -EINVAL, ""},
    {"two dispositions", "--B" CRLF HEAD "name=a" CRLF HEAD "name=b" CRLF CRLF END, -EINVAL, ""},
    {"open quote", A("name=\"a") "x" END, -EINVAL, ""},
    {"LF in a name", A("name=\"a\nb\"") "x" END, -EINVAL, ""},
    {"folded header", "--B" CRLF HEAD CRLF " name=a" CRLF CRLF END, -EINVAL, ""},
    {"no colon", "--B" CRLF "hello" CRLF CRLF END, -EINVAL, ""},
    {"base64", "--B" CRLF HEAD "name=a" CRLF "Content-Transfer-Encoding: base64" CRLF CRLF END,
     -EINVAL, ""},
};

/* Feeds the body in pieces of n bytes. */
static int parse(const char *body, size_t n, struct heard *h)
{
    struct slice rest = slice_str(body);
    struct multipart *m = NULL;
    int r;

    assert_int_equal(multipart_new(TYPE, &events, h, NULL, &m), 0);
    for (r = 0; r == 0 && rest.len > 0; rest = slice_skip(rest, n < rest.len ? n : rest.len))
        r = multipart_feed(m, rest.data, n < rest.len ? n : rest.len);
    if (r == 0)
        r = multipart_end(m);
    if (r < 0) {
        assert_true(h->fail_data < 0 || multipart_why(m)[0] != 0);
        assert_int_equal(multipart_feed(m, "x", 1), r);
    }
    multipart_free(m);
    return r;
}

static void test_parts(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_size(cases); i++)
        for (size_t n = 1; n <= strlen(cases[i].body) + 1; n++) {
            struct heard h = {0};
            int r = parse(cases[i].body, n, &h);

            buf_reserve(&h.text, 0);
            if (r != cases[i].want || strcmp(h.text.data, cases[i].heard) != 0)
                fail_msg("%s, pieces of %zu: %d '%s'", cases[i].name, n, r, h.text.data);
            buf_done(&h.text);
        }
}

static void test_types(void **state)
{
    static const struct {
        const char *type;
        int want;
    } types[] = {
        {TYPE, 0},
        {"Multipart/Form-Data;boundary=\"a b\"; charset=x", 0},
        {"multipart/form-data; charset=\"x;boundary=y\"; boundary=z", 0},
        {NULL, -EINVAL},
        {"", -EINVAL},
        {"multipart/form-data", -EINVAL},
        {"multipart/form-data; boundary=", -EINVAL},
        {"multipart/form-data; boundary=\"a ", -EINVAL},
        {"multipart/form-data; boundary=\"a \"", -EINVAL},
        {"multipart/form-data; boundary=a@b", -EINVAL},
        {"multipart/form-data; "
         "boundary=0123456789012345678901234567890123456789012345678901234567890"
         "1234567890",
         -EINVAL},
        {"multipart/form-dataX; boundary=a", -EINVAL},
        {"application/x-www-form-urlencoded", -EINVAL},
    };

    (void)state;
    for (size_t i = 0; i < array_size(types); i++) {
        struct multipart *m = NULL;
        int r = multipart_new(types[i].type, &events, NULL, NULL, &m);

        if (r != types[i].want)
            fail_msg("'%s': %d", types[i].type, r);
        multipart_free(m);
    }
}

static int feed_all(struct multipart *m, const char *body)
{
    return multipart_feed(m, body, strlen(body));
}

static void test_limits(void **state)
{
    const struct multipart_limits limits = {.parts = 2, .header_bytes = 64};
    struct heard h = {0};
    struct multipart *m;

    (void)state;
    multipart_new(TYPE, &events, &h, &limits, &m);
    assert_int_equal(feed_all(m, A("name=a") CRLF A("name=b") CRLF), 0);
    assert_int_equal(feed_all(m, A("name=c")), -EFBIG);
    multipart_free(m);
    multipart_new(TYPE, &events, &h, &limits, &m);
    assert_int_equal(feed_all(m, A("name=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")),
                     -EFBIG);
    multipart_free(m);
    multipart_new(TYPE, &events, &h, &limits, &m);
    h.fail_data = -ENOSPC;
    assert_int_equal(feed_all(m, A("name=a") "x"), -ENOSPC);
    assert_int_equal(multipart_end(m), -ENOSPC);
    multipart_free(m);
    buf_done(&h.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
