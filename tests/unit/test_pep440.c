/* Names, versions, file names and metadata: the pure parsers of packages. */
#include "packages/filename.h"
#include "packages/metadata.h"

#include "base/scope.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void test_names(void **state)
{
    static const struct {
        const char *name, *normal; /* NULL: not valid */
    } cases[] = {
        {"Friendly-Bard", "friendly-bard"},
        {"FRIENDLY.bard", "friendly-bard"},
        {"friendly--bard", "friendly-bard"},
        {"FrIeNdLy-._.-bArD", "friendly-bard"},
        {"a", "a"},
        {"A1", "a1"},
        {"0", "0"},
        {"", NULL},
        {"-a", NULL},
        {"a-", NULL},
        {".a", NULL},
        {"a_", NULL},
        {"a b", NULL},
        {"a/b", NULL},
        {"\xc3\xa4", NULL},
        {"a+b", NULL},
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        char normal[PROJECT_NAME_MAX + 1];
        struct slice name = slice_str(cases[i].name);

        if (project_name_valid(name) != (cases[i].normal != NULL))
            fail_msg("name '%s'", cases[i].name);
        if (cases[i].normal == NULL)
            continue;
        assert_int_equal(project_name_normalise(name, normal), strlen(cases[i].normal));
        assert_string_equal(normal, cases[i].normal);
        assert_true(project_name_is_normalised(slice_str(normal)));
    }
    assert_false(project_name_is_normalised(SLICE("Foo")));
    assert_true(project_name_same(SLICE("a.B"), SLICE("A-b")));
    assert_false(project_name_same(SLICE("a"), SLICE("b")));
}

static void test_long_names(void **state)
{
    char text[PROJECT_NAME_MAX + 2];

    (void)state;
    memset(text, 'a', sizeof text);
    assert_true(project_name_valid(slice_of(text, PROJECT_NAME_MAX)));
    assert_false(project_name_valid(slice_of(text, PROJECT_NAME_MAX + 1)));
}

static void test_versions(void **state)
{
    static const struct {
        const char *text, *canonical; /* NULL: not valid */
    } cases[] = {
        {"1", "1"},
        {"1.0", "1.0"},
        {" 1.0\n", "1.0"},
        {"v1.0", "1.0"},
        {"V1.0", "1.0"},
        {"01.02", "1.2"},
        {"1!2.3", "1!2.3"},
        {"0!2.3", "2.3"},
        {"1.0a1", "1.0a1"},
        {"1.0.ALPHA-1", "1.0a1"},
        {"1.0_beta", "1.0b0"},
        {"1.0c1", "1.0rc1"},
        {"1.0pre2", "1.0rc2"},
        {"1.0-preview.3", "1.0rc3"},
        {"1.0rc1", "1.0rc1"},
        {"1.0-1", "1.0.post1"},
        {"1.0.post", "1.0.post0"},
        {"1.0rev3", "1.0.post3"},
        {"1.0-r4", "1.0.post4"},
        {"1.0.dev", "1.0.dev0"},
        {"1.0DEV5", "1.0.dev5"},
        {"1.0a1.post2.dev3", "1.0a1.post2.dev3"},
        {"1.0+ABC.5", "1.0+abc.5"},
        {"1.0+abc-5_d", "1.0+abc.5.d"},
        {"1.0+0005", "1.0+5"},
        {"1!1.0rc1.post2.dev3+local.1", "1!1.0rc1.post2.dev3+local.1"},
        {"20240101000000", "20240101000000"},
        {"", NULL},
        {" ", NULL},
        {"abc", NULL},
        {"1.", NULL},
        {".1", NULL},
        {"1..2", NULL},
        {"1.0+", NULL},
        {"1.0+a..b", NULL},
        {"1.0+a_", NULL},
        {"1.0+a b", NULL},
        {"1.0 a", NULL},
        {"1!", NULL},
        {"!1", NULL},
        {"1.0-x", NULL},
        {"1.0a1b2", NULL},
        {"1.0.dev1.post1", NULL},
        {"notaversion!", NULL},
        {"1.0,2", NULL},
        {"99999999999999999999", NULL},
        {"-1", NULL},
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        struct version v;
        autobuf out = {0};
        int r = version_parse(slice_str(cases[i].text), &v);

        if ((r == 0) != (cases[i].canonical != NULL))
            fail_msg("version '%s': %d", cases[i].text, r);
        if (r < 0)
            continue;
        version_print(&v, &out);
        assert_string_equal(out.data, cases[i].canonical);
    }
}

/* Ascending; those on one line are equal. From PEP 440's summary of the order. */
static void test_version_order(void **state)
{
    static const char *const order[][3] = {
        {"1.dev0", "1.0.dev0", NULL},
        {"1.0.dev456", NULL},
        {"1.0a1", "1.a1", NULL},
        {"1.0a2.dev456", NULL},
        {"1.0a12.dev456", NULL},
        {"1.0a12", NULL},
        {"1.0b1.dev456", NULL},
        {"1.0b2", NULL},
        {"1.0b2.post345.dev456", NULL},
        {"1.0b2.post345", NULL},
        {"1.0rc1.dev456", NULL},
        {"1.0rc1", "1.0.0c1", NULL},
        {"1.0", "1", "1.0.0"},
        {"1.0+abc.5", NULL},
        {"1.0+abc.7", "1.0+abc.007", NULL},
        {"1.0+5", NULL},
        {"1.0+5.1", NULL},
        {"1.0+10", NULL},
        {"1.0.post456.dev34", NULL},
        {"1.0.post456", NULL},
        {"1.0.15", NULL},
        {"1.1.dev1", NULL},
        {"1.10", NULL},
        {"1!0.1", NULL},
    };

    (void)state;
    for (size_t i = 0; i < array_size(order); i++)
        for (size_t j = 0; j < array_size(order); j++)
            for (size_t k = 0; k < 3 && order[j][k] != NULL; k++) {
                struct version a, b;
                int r;

                assert_int_equal(version_parse(slice_str(order[i][0]), &a), 0);
                assert_int_equal(version_parse(slice_str(order[j][k]), &b), 0);
                r = version_cmp(&a, &b);
                if ((r > 0) - (r < 0) != (i > j) - (i < j))
                    fail_msg("'%s' and '%s': %d", order[i][0], order[j][k], r);
            }
}

static void test_specifiers(void **state)
{
    static const struct {
        const char *text;
        bool valid;
    } cases[] = {
        {"", true},
        {">=3.8", true},
        {">=3.8, !=3.9.*, <4", true},
        {"~=3.8", true},
        {"==3.*", true},
        {">=3.8,", true},
        {"===anything", true},
        {">= 3.8", true},
        {"~=3", false},
        {">=3.*", false},
        {"3.8", false},
        {">", false},
        {">=abc", false},
        {">=3.8;<4", false},
        {"===a b", false},
        {">=3.8 <4", false},
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++)
        if (specifiers_valid(slice_str(cases[i].text)) != cases[i].valid)
            fail_msg("specifiers '%s'", cases[i].text);
}

static void test_filenames(void **state)
{
    static const struct {
        const char *text, *project, *version; /* project NULL: refused */
    } cases[] = {
        {"foo-1.0-py3-none-any.whl", "foo", "1.0"},
        {"Foo_Bar.x-1.0+cu11.2-1a-cp311.cp312-abi3-manylinux_2_17_x86_64.whl", "foo-bar-x",
         "1.0+cu11.2"},
        {"foo-1.0.tar.gz", "foo", "1.0"},
        {"foo-bar-1.0.tar.gz", "foo-bar", "1.0"},
        {"foo-1.0.zip", "foo", "1.0"},
        {"foo-1.0-1.tar.gz", "foo-1-0", "1"},
        {"foo-1!2.0.tar.gz", "foo", "1!2.0"},
        {"foo-1.0.exe", NULL, NULL},
        {"foo-1.0", NULL, NULL},
        {"", NULL, NULL},
        {".whl", NULL, NULL},
        {"foo-1.0-py3-none.whl", NULL, NULL},
        {"foo-1.0-x-py3-none-any.whl", NULL, NULL},
        {"foo-1.0-1-2-py3-none-any.whl", NULL, NULL},
        {"foo-1.0--none-any.whl", NULL, NULL},
        {"foo-notaversion-py3-none-any.whl", NULL, NULL},
        {"-1.0-py3-none-any.whl", NULL, NULL},
        {"_foo-1.0-py3-none-any.whl", NULL, NULL},
        {"foo-1.0-py3!-none-any.whl", NULL, NULL},
        {"foo.tar.gz", NULL, NULL},
        {"foo-bar.tar.gz", NULL, NULL},
        {"-1.0.tar.gz", NULL, NULL},
        {".foo-1.0.tar.gz", NULL, NULL},
        {"a/foo-1.0.tar.gz", NULL, NULL},
        {"..-1.0.tar.gz", NULL, NULL},
        {"foo\\-1.0.tar.gz", NULL, NULL},
        {"foo-1.0\x01.tar.gz", NULL, NULL},
        {"foo 1.0.tar.gz", NULL, NULL},
        {"foo-1.0.tar.gz.asc", NULL, NULL},
        {"foo-1.0.WHL", NULL, NULL},
        {"foo-1.0\n-py3-none-any.whl", NULL, NULL},
        {"f\xc3\xb6-1.0.tar.gz", NULL, NULL},
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        struct package_filename f;
        autobuf why = {0};
        int r = package_filename_parse(slice_str(cases[i].text), &f, &why);

        if ((r == 0) != (cases[i].project != NULL))
            fail_msg("file name '%s': %d %s", cases[i].text, r, why.len > 0 ? why.data : "");
        if (r < 0) {
            assert_true(why.len > 0);
            continue;
        }
        assert_string_equal(f.normal, cases[i].project);
        assert_true(slice_eq(f.version, slice_str(cases[i].version)));
    }
}

static void test_filename_readings(void **state)
{
    struct package_filename f;

    (void)state;
    assert_int_equal(package_filename_parse(SLICE("a-b-1-2.tar.gz"), &f, NULL), 0);
    assert_string_equal(f.normal, "a-b-1");
    assert_true(package_filename_next(&f));
    assert_string_equal(f.normal, "a-b");
    assert_true(slice_eq(f.version, SLICE("1-2")));
    assert_false(package_filename_next(&f));
    assert_int_equal(package_filename_parse(SLICE("a-1-py3-none-any.whl"), &f, NULL), 0);
    assert_false(package_filename_next(&f));
}

static void test_filename_length(void **state)
{
    char text[PACKAGE_FILENAME_MAX + 2];
    struct package_filename f;

    (void)state;
    memset(text, '1', sizeof text);
    memcpy(text, "foo-1.0+", 8);
    memcpy(text + PACKAGE_FILENAME_MAX - 7, ".tar.gz", 8);
    assert_int_equal(package_filename_parse(slice_str(text), &f, NULL),
                     -EINVAL); /* version too long */
    memset(text, 'f', 40);
    memcpy(text + 40, "-1.0+", 5);
    assert_int_equal(package_filename_parse(slice_str(text), &f, NULL), 0);
    memmove(text + 1, text,
            strlen(text) < PACKAGE_FILENAME_MAX ? strlen(text) : PACKAGE_FILENAME_MAX);
    assert_int_equal(package_filename_parse(slice_of(text, PACKAGE_FILENAME_MAX + 1), &f, NULL),
                     -EINVAL);
}

#define HEAD "Metadata-Version: 2.1\nName: foo\nVersion: 1.0\n"

static void test_metadata(void **state)
{
    static const struct {
        const char *what, *text, *why; /* why NULL: valid; else part of the reason */
    } cases[] = {
        {"least", HEAD, NULL},
        {"body", HEAD "\nName: not a header\n", NULL},
        {"crlf", "Metadata-Version: 2.1\r\nName: foo\r\nVersion: 1.0\r\n\r\nbody\r\n", NULL},
        {"no last newline", "Metadata-Version: 2.1\nName: foo\nVersion: 1.0", NULL},
        {"folded", HEAD "License: a\n  b\n\tc\nSummary: x\n", NULL},
        {"any case", "metadata-version: 2.1\nNAME: foo\nversion: 1.0\n", NULL},
        {"byte order mark", "\xef\xbb\xbf" HEAD, NULL},
        {"requires", HEAD "Requires-Python: >=3.8\n", NULL},
        {"colon in value", HEAD "Project-URL: Home, https://x/\n", NULL},
        {"empty", "", "Metadata-Version is missing"},
        {"no name", "Metadata-Version: 2.1\nVersion: 1.0\n", "Name is missing"},
        {"no version", "Metadata-Version: 2.1\nName: foo\n", "Version is missing"},
        {"in the body only", "Metadata-Version: 2.1\n\nName: foo\nVersion: 1.0\n",
         "Name is missing"},
        {"name twice", HEAD "Name: bar\n", "twice"},
        {"version twice", HEAD "version: 2\n", "twice"},
        {"bad name", "Metadata-Version: 2.1\nName: -foo\nVersion: 1.0\n",
         "not a valid project name"},
        {"bad version", "Metadata-Version: 2.1\nName: foo\nVersion: x\n", "not a PEP 440 version"},
        {"unknown major", "Metadata-Version: 3.0\nName: foo\nVersion: 1.0\n",
         "unknown Metadata-Version"},
        {"bad requires", HEAD "Requires-Python: three\n", "Requires-Python"},
        {"no header", HEAD "just words\n", "line 4"},
        {"blank in name", HEAD "Bad Header: x\n", "line 4"},
        {"no name of header", HEAD ": x\n", "line 4"},
        {"starts folded", " x: y\n" HEAD, "line 1"},
        {"latin 1", HEAD "Author: J\xfcrgen\n", "UTF-8"},
    };

    (void)state;
    for (size_t i = 0; i < array_size(cases); i++) {
        struct metadata m;
        autobuf why = {0};
        int r = metadata_parse(slice_str(cases[i].text), &m, &why);

        if ((r == 0) != (cases[i].why == NULL))
            fail_msg("%s: %d %s", cases[i].what, r, why.len > 0 ? why.data : "");
        if (r < 0 && strstr(why.data, cases[i].why) == NULL)
            fail_msg("%s: says '%s'", cases[i].what, why.data);
        if (r == 0)
            assert_true(slice_eq(m.name, SLICE("foo")) && slice_eq(m.version, SLICE("1.0")));
    }
}

static void test_metadata_fields(void **state)
{
    struct metadata m;

    (void)state;
    assert_int_equal(
        metadata_parse(SLICE(HEAD "Requires-Python:  >=3.8 \nSummary: a \xc3\xa4\n\nbody"), &m,
                       NULL),
        0);
    assert_true(slice_eq(m.requires_python, SLICE(">=3.8")));
    assert_true(slice_eq(m.summary, SLICE("a \xc3\xa4")));
    assert_true(slice_eq(m.metadata_version, SLICE("2.1")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_long_names),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_version_order),
        cmocka_unit_test(test_specifiers),
        cmocka_unit_test(test_filenames),
        cmocka_unit_test(test_filename_readings),
        cmocka_unit_test(test_filename_length),
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_metadata_fields),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
