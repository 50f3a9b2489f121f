/* The PyPI dialect: uploads good and bad, index pages, files. */
#include "packages_form.h"

#include <jansson.h>

static void test_upload(void **state)
{
    autobuf wheel = {0}, sdist = {0}, other = {0};

    (void)state;
    make_wheel(&wheel, "foo", "1.0", "Requires-Python: >=3.8\n", "x");
    assert_int_equal(upload("Foo", "1.0.0", WHEEL, buf_slice(&wheel)), 200);
    assert_int_equal(upload("foo", "1.0", WHEEL, buf_slice(&wheel)), 200); /* again */
    make_sdist(&sdist, "foo", "1.0", "");
    assert_int_equal(upload("foo", "1.0", "foo-1.0.tar.gz", buf_slice(&sdist)), 200);
    make_wheel(&other, "foo", "1.0", "", "y");
    assert_int_equal(upload("foo", "1.0", WHEEL, buf_slice(&other)), 400);
    assert_non_null(strstr(web_test_text(&t), "File already exists ('" WHEEL "')"));
    assert_int_equal(get("/packages/" WHEEL, NULL), 200);
    assert_true(slice_eq(web_test_body(&t), buf_slice(&wheel)));
}

/* In pieces of every size, with fields on either side of the content. */
static void test_upload_pieces(void **state)
{
    static const size_t sizes[] = {1, 2, 3, 7, 64, 1000};

    (void)state;
    for (size_t i = 0; i < array_size(sizes); i++) {
        autobuf wheel = {0};
        char version[16], at[64], sha256[65], md5[65];
        const char *pairs[] = {"metadata_version",
                               "2.1",
                               "name",
                               "foo",
                               "version",
                               version,
                               "content",
                               at,
                               "description",
                               "--9c3a4\r\n--",
                               "classifiers",
                               "a",
                               "classifiers",
                               "b",
                               "filetype",
                               "bdist_wheel",
                               "pyversion",
                               "py3",
                               "sha256_digest",
                               sha256,
                               "md5_digest",
                               md5,
                               "gpg_signature",
                               "",
                               ":action",
                               "file_upload",
                               NULL};

        snprintf(version, sizeof version, "%zu", sizes[i]);
        snprintf(at, sizeof at, "@foo-%s-py3-none-any.whl", version);
        make_wheel(&wheel, "foo", version, "", "\r\n--9c3a4\r\n--9c3a4f\r");
        sha256_of(buf_slice(&wheel), sha256);
        hash_of(HASH_MD5, buf_slice(&wheel), md5);
        for (char *c = md5; *c != 0; c++) /* any case */
            if (*c >= 'a')
                *c = (char)(*c - 32);
        t.piece_bytes = sizes[i];
        if (post("/", pairs, buf_slice(&wheel)) != 200)
            fail_msg("pieces of %zu: %s", sizes[i], web_test_text(&t));
    }
}

struct bad {
    const char *what;
    int status;
    const char *why;           /* a part of the answer */
    const char *field, *value; /* instead of the good one; value NULL: left out */
    const char *extra, *extra_value;
};

static const struct bad bad_fields[] = {
    {"no action", 400, ":action", ":action", NULL, NULL, NULL},
    {"unknown action", 400, "not supported", ":action", "frobnicate", NULL, NULL},
    {"doc_upload", 400, "not supported", ":action", "doc_upload", NULL, NULL},
    {"other protocol", 400, "protocol_version", "protocol_version", "2", NULL, NULL},
    {"no name", 400, "'name' is missing", "name", NULL, NULL, NULL},
    {"empty name", 400, "'name' is missing", "name", "", NULL, NULL},
    {"other name", 400, "name 'bar'", "name", "bar", NULL, NULL},
    {"bad name", 400, "name", "name", "../foo", NULL, NULL},
    {"line end in the name", 400, "name", "name", "foo\nbar", NULL, NULL},
    {"long name", 400, "longer", "name",
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
     "aaaaaaa"
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
     "aaaaaaaa",
     NULL, NULL},
    {"name not UTF-8", 400, "UTF-8", "name", "f\xff", NULL, NULL},
    {"no version", 400, "'version' is missing", "version", NULL, NULL, NULL},
    {"other version", 400, "version '1.1'", "version", "1.1", NULL, NULL},
    {"version that is none", 400, "version 'notaversion!'", "version", "notaversion!", NULL, NULL},
    {"no filetype", 400, "'filetype' is missing", "filetype", NULL, NULL, NULL},
    {"filetype egg", 400, "filetype 'bdist_egg'", "filetype", "bdist_egg", NULL, NULL},
    {"filetype sdist for a wheel", 400, "pyversion", "filetype", "sdist", NULL, NULL},
    {"no pyversion", 400, "'pyversion' is missing", "pyversion", NULL, NULL, NULL},
    {"pyversion source for a wheel", 400, "pyversion", "pyversion", "source", NULL, NULL},
    {"no metadata_version", 400, "'metadata_version' is missing", "metadata_version", NULL, NULL,
     NULL},
    {"unknown metadata_version", 400, "metadata_version '9.9'", "metadata_version", "9.9", NULL,
     NULL},
    {"no digest", 400, "digest is missing", "sha256_digest", NULL, NULL, NULL},
    {"wrong sha256", 400, "sha256_digest does not match", "sha256_digest",
     "0000000000000000000000000000000000000000000000000000000000000000", NULL, NULL},
    {"short sha256", 400, "hexadecimal", "sha256_digest", "abc", NULL, NULL},
    {"sha256 not hex", 400, "hexadecimal", "sha256_digest",
     "zz00000000000000000000000000000000000000000000000000000000000000", NULL, NULL},
    {"wrong blake2", 400, "blake2_256_digest does not match", "x", NULL, "blake2_256_digest",
     "0000000000000000000000000000000000000000000000000000000000000000"},
    {"wrong md5", 400, "md5_digest does not match", "x", NULL, "md5_digest",
     "00000000000000000000000000000000"},
    {"no content", 400, "'content' is missing", "content", NULL, NULL, NULL},
    {"content without a file", 400, "no file name", "content", "hello", NULL, NULL},
    {"content twice", 400, "twice", "x", NULL, "content", "@" WHEEL},
    {"name twice", 400, "twice", "x", NULL, "name", "foo"},
    {"digest twice", 400, "twice", "x", NULL, "sha256_digest", "00"},
    {"file name with a path", 400, "file name", "content", "@../" WHEEL, NULL, NULL},
    {"file name with a backslash", 400, "file name", "content", "@a\\\\" WHEEL, NULL, NULL},
    {"hidden file", 400, "file name", "content", "@." WHEEL, NULL, NULL},
    {"control byte in the file name", 400, "file name", "content", "@foo\x01-1.0-py3-none-any.whl",
     NULL, NULL},
    {"exe", 400, "does not end", "content", "@foo-1.0.exe", NULL, NULL},
    {"wheel of 4 parts", 400, "parts", "content", "@foo-1.0-py3-none.whl", NULL, NULL},
    {"build tag that is none", 400, "build tag", "content", "@foo-1.0-x-py3-none-any.whl", NULL,
     NULL},
    {"version in the file name", 400, "PEP 440", "content", "@foo-a.b-py3-none-any.whl", NULL,
     NULL},
    {"other project in the file name", 400, "not that of its file name", "content",
     "@bar-1.0-py3-none-any.whl", NULL, NULL},
    {"other version in the file name", 400, "not that of its file name", "content",
     "@foo-2.0-py3-none-any.whl", NULL, NULL},
    {"wheel named as an sdist", 400, "does not begin", "content", "@foo-1.0.tar.gz", NULL, NULL},
};

/* The good form with one thing wrong. */
static int post_bad(const struct bad *bad, struct slice content)
{
    char sha256[65];
    const char *good[] = {":action",
                          "file_upload",
                          "protocol_version",
                          "1",
                          "metadata_version",
                          "2.1",
                          "name",
                          "foo",
                          "version",
                          "1.0",
                          "filetype",
                          "bdist_wheel",
                          "pyversion",
                          "py3",
                          "sha256_digest",
                          sha256_of(content, sha256),
                          "content",
                          "@" WHEEL,
                          NULL};
    const char *pairs[array_size(good) + 2] = {0};
    size_t n = 0;

    for (size_t i = 0; good[i] != NULL; i += 2) {
        bool here = strcmp(good[i], bad->field) == 0;

        if (here && bad->value == NULL)
            continue;
        pairs[n++] = good[i];
        pairs[n++] = here ? bad->value : good[i + 1];
    }
    if (bad->extra != NULL) {
        pairs[n++] = bad->extra;
        pairs[n++] = bad->extra_value;
    }
    return post("/", pairs, content);
}

static void assert_empty(const char *what)
{
    json_t *root;

    if (get("/simple/", "application/vnd.pypi.simple.v1+json") != 200)
        fail_msg("%s: no index", what);
    root = json_loads(web_test_text(&t), 0, NULL);
    if (json_array_size(json_object_get(root, "projects")) != 0)
        fail_msg("%s: something is listed", what);
    json_decref(root);
    if (get("/packages/" WHEEL, NULL) != 404 || get("/simple/foo/", NULL) != 404)
        fail_msg("%s: the file is there", what);
}

static void test_bad_fields(void **state)
{
    autobuf wheel = {0};

    (void)state;
    make_wheel(&wheel, "foo", "1.0", "", "x");
    for (size_t i = 0; i < array_size(bad_fields); i++) {
        const struct bad *bad = &bad_fields[i];
        int status = post_bad(bad, buf_slice(&wheel));

        if (status != bad->status || strstr(web_test_text(&t), bad->why) == NULL)
            fail_msg("%s: %d %s", bad->what, status, web_test_text(&t));
        if (strchr(web_test_text(&t), '\n')[1] != 0)
            fail_msg("%s: more than one line", bad->what);
        assert_empty(bad->what);
    }
    assert_int_equal(post_bad(&(struct bad){.field = "x"}, buf_slice(&wheel)), 200);
}

/* Content that is not what its name says. */
static void test_bad_content(void **state)
{
    static const struct bad good = {.field = "x"};
    static const char *const texts[] = {"", "not a zip", "PK", "PK\x03\x04", "PK\x05\x06"};
    autobuf wheel = {0}, other = {0};

    (void)state;
    for (size_t i = 0; i < array_size(texts); i++) {
        if (post_bad(&good, slice_str(texts[i])) != 400)
            fail_msg("'%s' is accepted", texts[i]);
        assert_empty(texts[i]);
    }
    make_wheel(&wheel, "foo", "1.0", "", "x");
    assert_int_equal(post_bad(&good, slice_of(wheel.data, wheel.len - 1)), 400);
    buf_add_char(&wheel, 'x');
    assert_int_equal(post_bad(&good, buf_slice(&wheel)), 400);
    make_wheel(&other, "bar", "1.0", "", "x");
    assert_int_equal(post_bad(&good, buf_slice(&other)), 400);
    assert_empty("bad content");
}

/* Forms that are none. */
static void test_bad_forms(void **state)
{
    static const struct web_param plain[] = {{"Content-Type", "text/plain"}, {0}};
    static const struct web_param unbounded[] = {{"Content-Type", "multipart/form-data"}, {0}};
    autobuf wheel = {0}, form = {0};
    char sha256[65];

    (void)state;
    assert_int_equal(web_test_call(&t, "POST", "/", plain, SLICE("x=y")), 400);
    assert_int_equal(web_test_call(&t, "POST", "/", unbounded, SLICE("x=y")), 400);
    assert_int_equal(web_test_call(&t, "POST", "/", NULL, SLICE("")), 400);
    assert_int_equal(post_body("/", SLICE("")), 400);
    assert_int_equal(post_body("/", SLICE("garbage")), 400);
    make_wheel(&wheel, "foo", "1.0", "", "x");
    make_form(&form,
              (const char *const[]){":action", "file_upload", "metadata_version", "2.1", "name",
                                    "foo", "version", "1.0", "filetype", "bdist_wheel", "pyversion",
                                    "py3", "sha256_digest", sha256_of(buf_slice(&wheel), sha256),
                                    "content", "@" WHEEL, NULL},
              buf_slice(&wheel));
    /* Cut anywhere: the closing boundary has not come. */
    for (size_t cut = 0; cut + strlen("--\r\n") < form.len; cut += cut < form.len - 40 ? 37 : 1) {
        if (post_body("/", slice_of(form.data, cut)) != 400)
            fail_msg("cut at %zu of %zu: %d", cut, form.len, t.resp.status);
        assert_non_null(web_test_text(&t));
    }
    assert_empty("cut");
    t.vanish = true; /* the client goes away before the end */
    post_body("/", buf_slice(&form));
    t.vanish = false;
    assert_empty("vanished");
    assert_int_equal(post_body("/", buf_slice(&form)), 200);
}

static void test_form_limits(void **state)
{
    static const struct bad big = {
        .field = "x", .extra = "description", .extra_value = "0123456789"};
    autobuf wheel = {0}, body = {0};

    (void)state;
    make_wheel(&wheel, "foo", "1.0", "", "x");
    w.config->limits.form_field_bytes = 9;
    assert_int_equal(post_bad(&big, buf_slice(&wheel)), 413);
    w.config->limits.form_field_bytes = 1000;
    w.config->limits.form_bytes = 100;
    assert_int_equal(post_bad(&big, buf_slice(&wheel)), 413);
    w.config->limits.form_bytes = 1000;
    w.config->limits.package_bytes = wheel.len - 1;
    assert_int_equal(post_bad(&big, buf_slice(&wheel)), 413);
    assert_empty("limits");
    w.config->limits.package_bytes = 0; /* heard before the body is read */
    w.config->limits.form_bytes = 0;
    buf_reserve(&body, 5 << 20);
    memset(body.data, 'x', 5 << 20);
    assert_int_equal(post_body("/", slice_of(body.data, 5 << 20)), 413);
    assert_null(t.req.state);
    w.config->limits.form_bytes = 1000;
    w.config->limits.package_bytes = wheel.len;
    assert_int_equal(post_bad(&big, buf_slice(&wheel)), 200);
}

static void test_full_disk(void **state)
{
    autobuf wheel = {0};

    (void)state;
    make_wheel(&wheel, "foo", "1.0", "", "x");
    store_fault(w.store, 0, ENOSPC);
    assert_int_equal(upload("foo", "1.0", WHEEL, buf_slice(&wheel)), 507);
    store_fault(w.store, 0, 0);
    assert_empty("full disk");
}

static void test_rights(void **state)
{
    autobuf wheel = {0};

    (void)state;
    make_wheel(&wheel, "foo", "1.0", "", "x");
    assert_int_equal(upload("foo", "1.0", WHEEL, buf_slice(&wheel)), 200);
    t.who = w.anonymous;
    assert_int_equal(upload("foo", "1.0", WHEEL, buf_slice(&wheel)), 401);
    assert_string_equal(web_test_header(&t, "WWW-Authenticate"), "Basic realm=\"pypi\"");
    assert_int_equal(get("/simple/", NULL), 401);
    assert_int_equal(get("/simple/foo/", NULL), 401);
    assert_int_equal(get("/simple/none/", NULL), 401);
    assert_int_equal(get("/packages/" WHEEL, NULL), 401);
    assert_int_equal(get("/packages/none-1.0.tar.gz", NULL), 401);
    t.who = &w.reader;
    assert_int_equal(upload("foo", "1.0", WHEEL, buf_slice(&wheel)), 403);
    assert_int_equal(get("/simple/foo/", NULL), 200);
    assert_int_equal(get("/packages/" WHEEL, NULL), 200);
}

/* Who may see one project sees one in the list. */
static void test_filtered_index(void **state)
{
    (void)state;
    assert_int_equal(world_wheel(&w, "foo", "1.0", "x"), 0);
    assert_int_equal(world_wheel(&w, "bar", "1.0", "x"), 0);
    t.who = &w.one;
    assert_int_equal(get("/simple/", NULL), 200);
    assert_non_null(strstr(web_test_text(&t), "foo"));
    assert_null(strstr(web_test_text(&t), "bar"));
    assert_int_equal(get("/simple/bar/", NULL), 403);
    assert_int_equal(get("/packages/bar-1.0-py3-none-any.whl", NULL), 403);
}

static void test_negotiation(void **state)
{
    static const struct {
        const char *accept, *query, *type; /* type NULL: 406 */
    } cases[] = {
        {NULL, "", "text/html; charset=utf-8"},
        {"*/*", "", "text/html; charset=utf-8"},
        {"text/html,application/xhtml+xml,*/*;q=0.8", "", "text/html; charset=utf-8"},
        {"application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.1, "
         "text/html;q=0.01",
         "", "application/vnd.pypi.simple.v1+json"},
        {"application/vnd.pypi.simple.v1+json;q=0.1, text/html", "", "text/html; charset=utf-8"},
        {"application/vnd.pypi.simple.v1+html", "", "application/vnd.pypi.simple.v1+html"},
        {"application/vnd.pypi.simple.latest+json", "", "application/vnd.pypi.simple.v1+json"},
        {"application/vnd.pypi.simple.latest+html", "", "application/vnd.pypi.simple.v1+html"},
        {"application/json", "", NULL},
        {"application/vnd.pypi.simple.v2+json", "", NULL},
        {"text/html", "?format=application/vnd.pypi.simple.v1%2Bjson",
         "application/vnd.pypi.simple.v1+json"},
        {"text/html", "?format=application/vnd.pypi.simple.v1+json",
         "application/vnd.pypi.simple.v1+json"},
        {"text/html", "?format=nonsense", NULL},
    };

    (void)state;
    assert_int_equal(world_wheel(&w, "foo", "1.0", "x"), 0);
    for (size_t i = 0; i < array_size(cases); i++)
        for (int root = 0; root < 2; root++) {
            char target[200];
            int status;

            snprintf(target, sizeof target, "%s%s", root ? "/simple/" : "/simple/foo/",
                     cases[i].query);
            status = get(target, cases[i].accept);
            if (status != (cases[i].type != NULL ? 200 : 406))
                fail_msg("case %zu: %d", i, status);
            if (status == 200 && strcmp(web_test_header(&t, "Content-Type"), cases[i].type) != 0)
                fail_msg("case %zu: %s", i, web_test_header(&t, "Content-Type"));
            if (status == 200)
                assert_non_null(strstr(web_test_header(&t, "Vary"), "Accept"));
        }
}

static void test_redirects(void **state)
{
    static const struct {
        const char *target;
        int status;
        const char *location;
    } cases[] = {
        {"/simple", 301, "simple/"},
        {"/simple/foo-bar", 301, "foo-bar/"},
        {"/simple/Foo.Bar/", 301, "../foo-bar/"},
        {"/simple/Foo_Bar", 301, "foo-bar/"},
        {"/simple?format=text/html", 301, "simple/?format=text/html"},
        {"/simple/Foo.Bar/?format=application/vnd.pypi.simple.v1%2Bjson", 301,
         "../foo-bar/?format=application/vnd.pypi.simple.v1%2Bjson"},
        {"/simple/foo-bar/", 200, NULL},
        {"/simple/none/", 404, NULL},
        {"/simple/-bad-/", 404, NULL},
        {"/simple/a%2Fb/", 404, NULL},
        {"/packages/none-1.0.tar.gz", 404, NULL},
        {"/packages/junk", 404, NULL},
        {"/packages/.metadata", 404, NULL},
    };

    (void)state;
    assert_int_equal(world_wheel(&w, "Foo_Bar", "1.0", "x"), 0);
    for (size_t i = 0; i < array_size(cases); i++) {
        if (get(cases[i].target, NULL) != cases[i].status)
            fail_msg("%s: %d", cases[i].target, t.resp.status);
        if (cases[i].location != NULL)
            assert_string_equal(web_test_header(&t, "Location"), cases[i].location);
    }
}

static void yank(const char *project, const char *file, const char *reason)
{
    struct op op;

    op_init(&op, DOOR_HTTP, &w.team);
    assert_int_equal(package_yank(&op, w.pk, project, file, reason), 0);
    op_done(&op);
}

static void test_json(void **state)
{
    autobuf sdist = {0};
    json_t *root, *files, *file;

    (void)state;
    assert_int_equal(world_wheel(&w, "foo", "1.10", "x"), 0);
    assert_int_equal(world_wheel(&w, "foo", "1.9", "x"), 0);
    assert_int_equal(world_wheel(&w, "foo", "2.0rc1", "x"), 0);
    make_sdist(&sdist, "foo", "1.9", "");
    assert_int_equal(upload("foo", "1.9", "foo-1.9.tar.gz", buf_slice(&sdist)), 200);
    yank("foo", "foo-1.10-py3-none-any.whl", "broken");
    yank("foo", "foo-2.0rc1-py3-none-any.whl", "");
    assert_int_equal(get("/simple/foo/?format=application/vnd.pypi.simple.v1%2Bjson", NULL), 200);
    root = json_loads(web_test_text(&t), 0, NULL);
    assert_non_null(root);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(root, "meta"), "api-version")), "1.4");
    assert_string_equal(json_string_value(json_object_get(root, "name")), "foo");
    assert_int_equal(json_array_size(json_object_get(root, "versions")), 3);
    assert_string_equal(json_string_value(json_array_get(json_object_get(root, "versions"), 0)),
                        "1.9");
    assert_string_equal(json_string_value(json_array_get(json_object_get(root, "versions"), 2)),
                        "2.0rc1");
    files = json_object_get(root, "files");
    assert_int_equal(json_array_size(files), 4);
    file = json_array_get(files, 0);
    assert_string_equal(json_string_value(json_object_get(file, "filename")),
                        "foo-1.9-py3-none-any.whl");
    assert_string_equal(json_string_value(json_object_get(file, "url")),
                        "../../packages/foo-1.9-py3-none-any.whl");
    assert_int_equal(
        strlen(json_string_value(json_object_get(json_object_get(file, "hashes"), "sha256"))), 64);
    assert_string_equal(json_string_value(json_object_get(file, "requires-python")), ">=3.8");
    assert_true(json_integer_value(json_object_get(file, "size")) > 100);
    assert_int_equal(strlen(json_string_value(json_object_get(file, "upload-time"))), 27);
    assert_true(json_is_object(json_object_get(file, "core-metadata")));
    assert_true(json_is_false(json_object_get(file, "yanked")));
    assert_true(
        json_is_false(json_object_get(json_array_get(files, 1), "core-metadata"))); /* sdist */
    assert_null(json_object_get(json_array_get(files, 1), "requires-python"));
    assert_string_equal(json_string_value(json_object_get(json_array_get(files, 2), "yanked")),
                        "broken");
    assert_true(json_is_true(json_object_get(json_array_get(files, 3), "yanked")));
    json_decref(root);
}

static void test_html(void **state)
{
    const char *page;

    (void)state;
    assert_int_equal(world_wheel(&w, "foo", "1.0+l.1", "x"), 0);
    yank("foo", "foo-1.0+l.1-py3-none-any.whl", "a \"<b>\" & c");
    assert_int_equal(get("/simple/foo/", NULL), 200);
    page = web_test_text(&t);
    assert_non_null(strstr(page, "<!DOCTYPE html>"));
    assert_non_null(strstr(page, "<meta name=\"pypi:repository-version\" content=\"1.4\">"));
    assert_non_null(strstr(page, "href=\"../../packages/foo-1.0%2Bl.1-py3-none-any.whl#sha256="));
    assert_non_null(strstr(page, "data-requires-python=\"&gt;=3.8\""));
    assert_non_null(strstr(page, "data-core-metadata=\"sha256="));
    assert_non_null(strstr(page, "data-dist-info-metadata=\"sha256="));
    assert_non_null(strstr(page, "data-yanked=\"a &quot;&lt;b&gt;&quot; &amp; c\""));
    assert_non_null(strstr(page, ">foo-1.0+l.1-py3-none-any.whl</a>"));
    assert_int_equal(get("/packages/foo-1.0%2Bl.1-py3-none-any.whl", NULL), 200);
}

static void test_file(void **state)
{
    autobuf why = {0}, bytes = {0};
    json_t *root;
    char sha256[65];

    (void)state;
    make_wheel(&bytes, "foo", "1.0", "", "x");
    assert_int_equal(world_publish(&w, &w.team, WHEEL, buf_slice(&bytes), &why), 0);
    assert_int_equal(get("/packages/" WHEEL, NULL), 200);
    assert_true(slice_eq(web_test_body(&t), buf_slice(&bytes)));
    assert_non_null(strstr(web_test_header(&t, "Cache-Control"), "immutable"));
    assert_non_null(web_test_header(&t, "ETag"));
    assert_int_equal(get("/packages/" WHEEL ".metadata", NULL), 200);
    assert_non_null(strstr(web_test_text(&t), "Name: foo\n"));
    sha256_of(web_test_body(&t), sha256);
    assert_int_equal(get("/simple/foo/?format=application/vnd.pypi.simple.v1%2Bjson", NULL), 200);
    root = json_loads(web_test_text(&t), 0, NULL);
    assert_string_equal(
        json_string_value(json_object_get(
            json_object_get(json_array_get(json_object_get(root, "files"), 0), "core-metadata"),
            "sha256")),
        sha256);
    json_decref(root);
}

static void test_etag(void **state)
{
    char etag[64];

    (void)state;
    assert_int_equal(world_wheel(&w, "foo", "1.0", "x"), 0);
    assert_int_equal(get("/simple/foo/", NULL), 200);
    snprintf(etag, sizeof etag, "%s", web_test_header(&t, "ETag"));
    assert_int_equal(get("/simple/foo/", NULL), 200);
    assert_string_equal(web_test_header(&t, "ETag"), etag);
    assert_int_equal(get("/simple/foo/", "application/vnd.pypi.simple.v1+html"), 200);
    assert_string_not_equal(web_test_header(&t, "ETag"), etag);
    assert_int_equal(world_wheel(&w, "foo", "2.0", "x"), 0);
    assert_int_equal(get("/simple/foo/", NULL), 200);
    assert_string_not_equal(web_test_header(&t, "ETag"), etag);
}

static void test_remove(void **state)
{
    static const char *const pairs[] = {":action", "remove_pkg", "name", "Foo",
                                        "version", "1.0.0",      NULL};
    autobuf sdist = {0};

    (void)state;
    assert_int_equal(world_wheel(&w, "foo", "1.0", "x"), 0);
    assert_int_equal(world_wheel(&w, "foo", "1.1", "x"), 0);
    make_sdist(&sdist, "foo", "1.0", "");
    assert_int_equal(upload("foo", "1.0", "foo-1.0.tar.gz", buf_slice(&sdist)), 200);
    t.who = &w.reader;
    assert_int_equal(post("/", pairs, SLICE("")), 403);
    t.who = &w.team;
    assert_int_equal(post("/", pairs, SLICE("")), 200);
    assert_int_equal(post("/", pairs, SLICE("")), 404);
    assert_int_equal(get("/packages/" WHEEL, NULL), 404);
    assert_int_equal(get("/packages/foo-1.0.tar.gz", NULL), 404);
    assert_int_equal(get("/packages/foo-1.1-py3-none-any.whl", NULL), 200);
    assert_int_equal(
        post("/", (const char *const[]){":action", "remove_pkg", "name", "foo", NULL}, SLICE("")),
        400);
    assert_int_equal(post("/", (const char *const[]){":action", "submit", NULL}, SLICE("")), 200);
    assert_int_equal(post("/", (const char *const[]){":action", "verify", NULL}, SLICE("")), 200);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_upload),         T(test_upload_pieces), T(test_bad_fields), T(test_bad_content),
        T(test_bad_forms),      T(test_form_limits),   T(test_full_disk),  T(test_rights),
        T(test_filtered_index), T(test_negotiation),   T(test_redirects),  T(test_json),
        T(test_html),           T(test_file),          T(test_etag),       T(test_remove),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
