/* The strict zip reader, and what is checked of wheels and sdists. */
#include "packages/sdist.h"
#include "packages/wheel.h"
#include "packages_fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

struct zip_case {
    const char *what;
    const char *why; /* NULL: accepted; else part of the reason */
    unsigned archive;
    struct member members[3];
};

#define A                                                                                          \
    {                                                                                              \
        "a", "aaaa", 0, NULL                                                                       \
    }
#define B                                                                                          \
    {                                                                                              \
        "b", "bbbb", 0, NULL                                                                       \
    }

static const struct zip_case zip_cases[] = {
    {"plain", NULL, 0, {A, B}},
    {"empty", NULL, 0, {{NULL, NULL, 0, NULL}}},
    {"deflated", NULL, 0, {{"a", "aaaaaaaaaaaaaaaa", M_DEFLATE, NULL}, B}},
    {"data descriptors",
     NULL,
     0,
     {{"a", "aaaa", M_AFTER, NULL}, {"b", "bb", M_AFTER | M_DEFLATE, NULL}}},
    {"zip64 sizes", NULL, 0, {{"a", "aaaa", M_ZIP64, NULL}, B}},
    {"zip64 end", NULL, A_ZIP64, {A, B}},
    {"comment", NULL, A_COMMENT, {A}},
    {"folder", NULL, 0, {{"d/", "", 0, NULL}, {"d/a", "x", 0, NULL}}},
    {"utf-8", NULL, 0, {{"\xc3\xa4", "x", 0, NULL}}},
    {"dots in names", NULL, 0, {{"..a/b..", "x", 0, NULL}}},
    {"prefix", "does not follow", A_PREFIX, {A}},
    {"trailing data", "end record", A_TRAILING, {A}},
    {"trailing data after a comment", "follows", A_TRAILING | A_COMMENT, {A}},
    {"no end record", "end record", A_NO_END, {A}},
    {"wrong count", "too short", A_COUNT, {A}},
    {"volumes", "volumes", A_VOLUMES, {A}},
    {"end records disagree", "disagree", A_ZIP64_BAD, {A}},
    {"directory elsewhere", "not where", A_DIRECTORY_OFFSET, {A}},
    {"twice", "twice", 0, {A, A}},
    {"file and folder", "twice", 0, {{"a", "x", 0, NULL}, {"a/", "", 0, NULL}}},
    {"hidden entry", "belong to no entry", 0, {A, {"evil", "x", M_HIDDEN, NULL}, B}},
    {"hidden first entry", "does not follow", 0, {{"evil", "x", M_HIDDEN, NULL}, A}},
    {"hidden last entry", "belong to no entry", 0, {A, {"evil", "x", M_HIDDEN, NULL}}},
    {"gap", "belong to no entry", 0, {{"a", "x", M_GAP, NULL}, B}},
    {"other local name", "another name", 0, {{"a", "x", 0, "c"}, B}},
    {"other local sum", "differs", 0, {{"a", "x", M_LOCAL_CRC, NULL}}},
    {"other local size", "differs", 0, {{"a", "x", M_LOCAL_SIZE | M_DEFLATE, NULL}}},
    {"other descriptor", "data descriptor", 0, {{"a", "x", M_AFTER | M_BAD_AFTER, NULL}}},
    {"encrypted", "encrypted", 0, {{"a", "x", M_ENCRYPTED, NULL}}},
    {"other method", "method", 0, {{"a", "x", M_METHOD, NULL}}},
    {"entry comment", "comment", 0, {{"a", "x", M_COMMENT, NULL}}},
    {"second name", "second name", 0, {{"a", "x", M_SECOND_NAME, NULL}}},
    {"entry on a volume", "volume", 0, {{"a", "x", M_VOLUME, NULL}}},
    {"stored size lies", "two different sizes", 0, {{"a", "x", M_SIZE_LIE, NULL}}},
    {"absolute", "unsafe", 0, {{"/etc/passwd", "x", 0, NULL}}},
    {"dot dot", "unsafe", 0, {{"a/../b", "x", 0, NULL}}},
    {"leading dot dot", "unsafe", 0, {{"../b", "x", 0, NULL}}},
    {"trailing dot dot", "unsafe", 0, {{"b/..", "x", 0, NULL}}},
    {"dot", "unsafe", 0, {{"./b", "x", 0, NULL}}},
    {"double slash", "unsafe", 0, {{"a//b", "x", 0, NULL}}},
    {"backslash", "unsafe", 0, {{"a\\b", "x", 0, NULL}}},
    {"drive", "unsafe", 0, {{"c:b", "x", 0, NULL}}},
    {"control byte", "unsafe", 0, {{"a\nb", "x", 0, NULL}}},
    {"not utf-8", "unsafe", 0, {{"\xff", "x", 0, NULL}}},
    {"folder with content", "folder", 0, {{"a/", "x", 0, NULL}}},
};

static size_t count_members(const struct member *m)
{
    size_t n = 0;

    while (n < 3 && m[n].name != NULL)
        n++;
    return n;
}

static void test_zip(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_size(zip_cases); i++) {
        const struct zip_case *c = &zip_cases[i];
        autobuf bytes = {0}, why = {0};
        struct zip *z = NULL;
        struct zip_source source;
        int r;

        make_zip(&bytes, c->members, count_members(c->members), c->archive);
        source = memory_source(&bytes);
        r = zip_open(&source, &z, &why);
        if (r != (c->why == NULL ? 0 : -EINVAL))
            fail_msg("%s: %d %s", c->what, r, why.len > 0 ? why.data : "");
        if (r < 0 && strstr(why.data, c->why) == NULL)
            fail_msg("%s: says '%s'", c->what, why.data);
        for (size_t k = 0; r == 0 && k < zip_count(z); k++) {
            autobuf out = {0};
            const struct zip_entry *e = zip_find(z, slice_str(c->members[k].name));

            assert_non_null(e);
            if (zip_read(z, e, 1 << 20, &out, &why) < 0)
                fail_msg("%s: %s", c->what, why.data);
            assert_true(slice_eq(buf_slice(&out), slice_str(c->members[k].content)));
        }
        zip_close(z);
    }
}

static void test_zip_content(void **state)
{
    static const struct {
        const char *what;
        struct member member;
        int want;
    } cases[] = {
        {"wrong sum, stored", {"a", "x", M_BAD_CRC, NULL}, -EINVAL},
        {"wrong sum, deflated", {"a", "x", M_BAD_CRC | M_DEFLATE, NULL}, -EINVAL},
        {"less than it says", {"a", "x", M_SIZE_LIE | M_DEFLATE, NULL}, -EINVAL},
        {"cut stream",
         {"a", "abcdefghijklmnopqrstuvwxyz", M_CUT_DEFLATE | M_DEFLATE, NULL},
         -EINVAL},
        {"over the limit", {"a", "abcdefghijk", 0, NULL}, -EFBIG},
        {"over the limit, deflated", {"a", "aaaaaaaaaaaaaa", M_DEFLATE, NULL}, -EFBIG},
        {"as large as the limit", {"a", "0123456789", M_DEFLATE, NULL}, 0},
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        autobuf bytes = {0}, why = {0}, out = {0};
        struct zip *z = NULL;
        struct zip_source source;
        int r;

        make_zip(&bytes, &cases[i].member, 1, 0);
        source = memory_source(&bytes);
        assert_int_equal(zip_open(&source, &z, &why), 0);
        r = zip_read(z, zip_entry(z, 0), cases[i].want == -EFBIG || cases[i].want == 0 ? 10 : 100,
                     &out, &why);
        if (r != cases[i].want || (r < 0 && why.len == 0))
            fail_msg("%s: %d", cases[i].what, r);
        zip_close(z);
    }
}

/* Any cut, and any one byte changed, is refused or leaves something that still reads: no crash. */
static void test_zip_damage(void **state)
{
    autobuf bytes = {0};

    (void)state;
    make_zip(&bytes,
             (struct member[]){{"a", "aaaaaaaaaaa", M_DEFLATE, NULL}, B, {"c", "c", M_AFTER, NULL}},
             3, A_ZIP64);
    for (size_t i = 0; i < bytes.len; i++) {
        autobuf copy = {0}, why = {0};
        struct zip_source source;
        struct zip *z = NULL;

        buf_add(&copy, bytes.data, i);
        source = memory_source(&copy);
        assert_int_equal(zip_open(&source, &z, &why), -EINVAL);
        buf_add(&copy, bytes.data + i, bytes.len - i);
        copy.data[i] ^= 0x40;
        source = memory_source(&copy);
        buf_clear(&why);
        if (zip_open(&source, &z, &why) == 0)
            for (size_t k = 0; k < zip_count(z); k++) {
                autobuf out = {0};

                zip_read(z, zip_entry(z, k), 1 << 20, &out, &why);
            }
        zip_close(z);
    }
}

#define INFO "foo-1.0.dist-info/"
#define TEXT "Metadata-Version: 2.1\nName: Foo\nVersion: 1.0\nRequires-Python: >=3.8\n\nhello\n"
#define DATA                                                                                       \
    {                                                                                              \
        "foo/__init__.py", "", 0, NULL                                                             \
    }
#define META                                                                                       \
    {                                                                                              \
        INFO "METADATA", TEXT, M_DEFLATE, NULL                                                     \
    }
#define WHEEL                                                                                      \
    {                                                                                              \
        INFO "WHEEL", WHEEL_FILE, 0, NULL                                                          \
    }
#define RECORD                                                                                     \
    {                                                                                              \
        INFO "RECORD", "", 0, NULL                                                                 \
    }

static const struct {
    const char *what, *why, *name;
    struct member members[6];
} wheel_cases[] = {
    {"good", NULL, NULL, {DATA, META, WHEEL, RECORD}},
    {"other spelling", NULL, "FOO-1.0.0-1-py3-none-any.whl", {DATA, META, WHEEL, RECORD}},
    {"no metadata", "METADATA", NULL, {DATA, WHEEL, RECORD}},
    {"no wheel", "WHEEL", NULL, {DATA, META, RECORD}},
    {"no record", "RECORD", NULL, {DATA, META, WHEEL}},
    {"no dist-info", "no .dist-info", NULL, {DATA}},
    {"two dist-infos",
     "more than one",
     NULL,
     {META, WHEEL, RECORD, {"foo-2.dist-info/METADATA", TEXT, 0, NULL}}},
    {"nested dist-info is no fault",
     NULL,
     NULL,
     {META, WHEEL, RECORD, {"foo/foo-2.dist-info/METADATA", TEXT, 0, NULL}}},
    {"other project in the name",
     "not that of its file name",
     "bar-1.0-py3-none-any.whl",
     {META, WHEEL, RECORD}},
    {"other version in the name",
     "not that of its file name",
     "foo-2.0-py3-none-any.whl",
     {META, WHEEL, RECORD}},
    {"other project inside",
     "metadata inside",
     NULL,
     {{INFO "METADATA", "Metadata-Version: 2.1\nName: bar\nVersion: 1.0\n", 0, NULL},
      WHEEL,
      RECORD}},
    {"other version inside",
     "metadata inside",
     NULL,
     {{INFO "METADATA", "Metadata-Version: 2.1\nName: foo\nVersion: 2.0\n", 0, NULL},
      WHEEL,
      RECORD}},
    {"metadata malformed",
     "metadata",
     NULL,
     {{INFO "METADATA", "hello\n", 0, NULL}, WHEEL, RECORD}},
    {"metadata damaged",
     "damaged",
     NULL,
     {{INFO "METADATA", TEXT, M_BAD_CRC, NULL}, WHEEL, RECORD}},
    {"unknown format",
     "unknown Wheel-Version",
     NULL,
     {META, {INFO "WHEEL", "Wheel-Version: 2.0\n", 0, NULL}, RECORD}},
    {"no format",
     "no Wheel-Version",
     NULL,
     {META, {INFO "WHEEL", "Generator: x\n", 0, NULL}, RECORD}},
};

static void test_wheels(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_size(wheel_cases); i++) {
        const char *name =
            wheel_cases[i].name != NULL ? wheel_cases[i].name : "foo-1.0-py3-none-any.whl";
        autobuf bytes = {0}, why = {0}, text = {0};
        struct package_filename f;
        struct zip_source source;
        struct metadata m;
        size_t n = 0;
        int r;

        while (n < 6 && wheel_cases[i].members[n].name != NULL)
            n++;
        make_zip(&bytes, wheel_cases[i].members, n, 0);
        source = memory_source(&bytes);
        assert_int_equal(package_filename_parse(slice_str(name), &f, NULL), 0);
        r = wheel_check(&source, &f, &text, &m, &why);
        if (r != (wheel_cases[i].why == NULL ? 0 : -EINVAL))
            fail_msg("%s: %d %s", wheel_cases[i].what, r, why.len > 0 ? why.data : "");
        if (r < 0 && strstr(why.data, wheel_cases[i].why) == NULL)
            fail_msg("%s: says '%s'", wheel_cases[i].what, why.data);
        if (r == 0) {
            assert_true(slice_eq(buf_slice(&text), SLICE(TEXT)));
            assert_true(slice_eq(m.requires_python, SLICE(">=3.8")));
        }
    }
}

#define PKG                                                                                        \
    {                                                                                              \
        "foo-1.0/PKG-INFO", TEXT, 0                                                                \
    }

static const struct {
    const char *what, *why, *name;
    struct tar_member members[4];
} sdist_cases[] = {
    {"good", NULL, NULL, {{"foo-1.0/", NULL, 0}, PKG, {"foo-1.0/setup.py", "x", 0}}},
    {"dot slash", NULL, NULL, {{"./foo-1.0/PKG-INFO", TEXT, 0}}},
    {"inner PKG-INFO too", NULL, NULL, {PKG, {"foo-1.0/foo.egg-info/PKG-INFO", "junk", 0}}},
    {"post release in the name",
     NULL,
     "foo-1.0-0.tar.gz",
     {{"foo-1.0/PKG-INFO", "Metadata-Version: 1.0\nName: foo\nVersion: 1.0.post0\n", 0}}},
    {"much, but honest", NULL, NULL, {PKG, {"foo-1.0/data", NULL, 32 << 20}}},
    {"no PKG-INFO", "no PKG-INFO", NULL, {{"foo-1.0/setup.py", "x", 0}}},
    {"two folders", "more than one", NULL, {PKG, {"bar/x", "x", 0}}},
    {"file at the top", "more than one", NULL, {PKG, {"x", "x", 0}}},
    {"PKG-INFO at the top", "no PKG-INFO", NULL, {{"PKG-INFO", TEXT, 0}}},
    {"absolute", "absolute", NULL, {PKG, {"/foo-1.0/x", "x", 0}}},
    {"dot dot", "'..'", NULL, {PKG, {"foo-1.0/../x", "x", 0}}},
    {"twice", "twice", NULL, {PKG, PKG}},
    {"other project", "metadata inside", "bar-1.0.tar.gz", {PKG}},
    {"other version", "metadata inside", "foo-1.1.tar.gz", {PKG}},
    {"malformed", "metadata", NULL, {{"foo-1.0/PKG-INFO", "hello", 0}}},
    {"folder as PKG-INFO", "no PKG-INFO", NULL, {{"foo-1.0/PKG-INFO/", NULL, 0}}},
    {"bomb", "far more", NULL, {PKG, {"foo-1.0/data", NULL, 128 << 20}}},
    {"huge PKG-INFO", "too large", NULL, {{"foo-1.0/PKG-INFO", NULL, 20 << 20}}},
};

static int check_sdist(const char *name, struct buf *bytes, struct buf *text, struct buf *why)
{
    struct package_filename f;
    struct zip_source source = memory_source(bytes);
    struct metadata m;

    assert_int_equal(package_filename_parse(slice_str(name), &f, NULL), 0);
    return sdist_check(&source, &f, text, &m, why);
}

static void test_sdists(void **state)
{
    (void)state;
    for (size_t i = 0; i < array_size(sdist_cases); i++) {
        const char *name = sdist_cases[i].name != NULL ? sdist_cases[i].name : "foo-1.0.tar.gz";
        autobuf bytes = {0}, why = {0}, text = {0};
        size_t n = 0;
        int r;

        while (n < 4 && sdist_cases[i].members[n].path != NULL)
            n++;
        make_tar(&bytes, sdist_cases[i].members, n, true);
        r = check_sdist(name, &bytes, &text, &why);
        if (r != (sdist_cases[i].why == NULL ? 0 : -EINVAL))
            fail_msg("%s: %d %s", sdist_cases[i].what, r, why.len > 0 ? why.data : "");
        if (r < 0 && strstr(why.data, sdist_cases[i].why) == NULL)
            fail_msg("%s: says '%s'", sdist_cases[i].what, why.data);
    }
}

static void test_sdist_zip(void **state)
{
    static const struct member good[] = {{"foo-1.0/PKG-INFO", TEXT, M_DEFLATE, NULL},
                                         {"foo-1.0/setup.py", "", 0, NULL}};
    static const struct member bad[] = {{"foo-1.0/PKG-INFO", TEXT, M_DEFLATE, NULL},
                                        {"setup.py", "", 0, NULL}};
    autobuf bytes = {0}, text = {0}, why = {0};

    (void)state;
    make_zip(&bytes, good, 2, 0);
    assert_int_equal(check_sdist("foo-1.0.zip", &bytes, &text, &why), 0);
    assert_true(slice_eq(buf_slice(&text), SLICE(TEXT)));
    buf_clear(&bytes);
    make_zip(&bytes, bad, 2, 0);
    assert_int_equal(check_sdist("foo-1.0.zip", &bytes, &text, &why), -EINVAL);
    buf_clear(&bytes);
    make_zip(&bytes, good, 1, A_TRAILING);
    assert_int_equal(check_sdist("foo-1.0.zip", &bytes, &text, &why), -EINVAL);
}

/* Cut anywhere, or not gzipped, or followed by something. */
static void test_sdist_damage(void **state)
{
    autobuf whole = {0}, plain = {0}, text = {0}, why = {0};

    (void)state;
    make_sdist(&whole, "foo", "1.0", "");
    for (size_t i = 0; i < whole.len; i++) {
        autobuf cut = {0};

        buf_add(&cut, whole.data, i);
        if (check_sdist("foo-1.0.tar.gz", &cut, &text, &why) != -EINVAL)
            fail_msg("cut at %zu of %zu is accepted", i, whole.len);
        assert_true(why.len > 0);
    }
    make_tar(&plain, (struct tar_member[]){PKG}, 1, false);
    assert_int_equal(check_sdist("foo-1.0.tar.gz", &plain, &text, &why), -EINVAL);
    assert_int_equal(check_sdist("foo-1.0.tar.gz", &whole, &text, &why), 0);
    buf_add(&whole, "\0\0\0", 3);
    assert_int_equal(check_sdist("foo-1.0.tar.gz", &whole, &text, &why), 0);
    buf_add_str(&whole, "more");
    assert_int_equal(check_sdist("foo-1.0.tar.gz", &whole, &text, &why), -EINVAL);
}

static ssize_t broken_read(void *ctx, uint64_t offset, void *buf, size_t n)
{
    (void)ctx, (void)offset, (void)buf, (void)n;
    return -EIO;
}

static void test_read_errors(void **state)
{
    struct zip_source source = {broken_read, NULL, 1000};
    struct package_filename f;
    autobuf text = {0}, why = {0};
    struct metadata m;

    (void)state;
    assert_int_equal(package_filename_parse(SLICE("foo-1.0.tar.gz"), &f, NULL), 0);
    assert_int_equal(sdist_check(&source, &f, &text, &m, &why), -EIO);
    assert_int_equal(package_filename_parse(SLICE("foo-1.0-py3-none-any.whl"), &f, NULL), 0);
    assert_int_equal(wheel_check(&source, &f, &text, &m, &why), -EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zip),          cmocka_unit_test(test_zip_content),
        cmocka_unit_test(test_zip_damage),   cmocka_unit_test(test_wheels),
        cmocka_unit_test(test_sdists),       cmocka_unit_test(test_sdist_zip),
        cmocka_unit_test(test_sdist_damage), cmocka_unit_test(test_read_errors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
