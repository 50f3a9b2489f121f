/* What comes beside a file (signatures, attestations), how a project stands, and the API that
 * changes what the index says. */
#include "packages_form.h"

#include <jansson.h>

#define SIGNATURE                                                                                  \
    "-----BEGIN PGP SIGNATURE-----\n\niQEzBAABCAAdFiEE\n=abcd\n-----END PGP SIGNATURE-----\n"
#define JSON_TYPE "application/vnd.pypi.simple.v1+json"

/* An attestation of a file, or one with something wrong in it. */
struct attestation {
    const char *what;
    const char *why;                 /* NULL: nothing is wrong */
    const char *version;             /* NULL: 1 */
    const char *type, *predicate;    /* NULL: the right ones */
    const char *subject, *sha256;    /* NULL: those of the file */
    const char *material, *envelope; /* NULL: whole */
};

static void add_base64(struct buf *out, const char *key, struct slice bytes)
{
    buf_printf(out, "\"%s\":\"", key);
    base64_encode(out, bytes);
    buf_add_char(out, '"');
}

static void make_attestation(struct buf *out, const struct attestation *a, const char *file,
                             const char *sha256)
{
    autobuf statement = {0};

    buf_printf(&statement,
               "{\"_type\":\"%s\",\"subject\":[{\"name\":\"%s\",\"digest\":{\"sha256\":\"%s\"}}],"
               "\"predicateType\":\"%s\",\"predicate\":null}",
               a->type != NULL ? a->type : "https://in-toto.io/Statement/v1",
               a->subject != NULL ? a->subject : file, a->sha256 != NULL ? a->sha256 : sha256,
               a->predicate != NULL ? a->predicate
                                    : "https://docs.pypi.org/attestations/publish/v1");
    buf_printf(out, "{\"version\":%s,", a->version != NULL ? a->version : "1");
    if (a->material != NULL)
        buf_printf(out, "\"verification_material\":%s,", a->material);
    else
        buf_add_str(out, "\"verification_material\":{\"certificate\":\"MIIB\","
                         "\"transparency_entries\":[{\"logIndex\":\"1\"}]},");
    if (a->envelope != NULL) {
        buf_printf(out, "\"envelope\":%s}", a->envelope);
        return;
    }
    buf_add_str(out, "\"envelope\":{");
    add_base64(out, "statement", buf_slice(&statement));
    buf_add_str(out, ",\"signature\":\"MEUC\"}}");
}

/* The good form and up to two fields more. */
static int post_with(struct slice content, const char *a, const char *a_value, const char *b,
                     const char *b_value)
{
    char sha256[65];
    const char *pairs[] = {":action",
                           "file_upload",
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
                           a,
                           a_value,
                           b,
                           b_value,
                           NULL};

    return post("/legacy/", pairs, content);
}

/* A field "gpg_signature" with a file name cannot be made by post(): its content is the wheel's. */
static int post_signed(struct slice content, const char *file, const char *signature)
{
    char sha256[65];
    const char *pairs[] = {":action",
                           "file_upload",
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
    autobuf form = {0};

    buf_printf(&form,
               "--" BOUNDARY "\r\nContent-Disposition: form-data; name=\"gpg_signature\"; "
               "filename=\"%s\"\r\n\r\n%s\r\n",
               file, signature);
    make_form(&form, pairs, content);
    return post_body("/legacy/", buf_slice(&form));
}

static json_t *page(void)
{
    json_t *root;

    assert_int_equal(get("/simple/foo/", JSON_TYPE), 200);
    root = json_loads(web_test_text(&t), 0, NULL);
    assert_non_null(root);
    return root;
}

static json_t *file_of(json_t *root, size_t i)
{
    return json_array_get(json_object_get(root, "files"), i);
}

static void test_signature(void **state)
{
    autobuf wheel = {0};
    json_t *root;

    (void)state;
    make_wheel(&wheel, "foo", "1.0", "", "x");
    assert_int_equal(post_signed(buf_slice(&wheel), WHEEL ".asc", SIGNATURE), 200);
    assert_int_equal(world_wheel(&w, "foo", "1.1", "x"), 0);
    assert_int_equal(get("/packages/" WHEEL ".asc", NULL), 200);
    assert_string_equal(web_test_text(&t), SIGNATURE);
    assert_int_equal(get("/packages/foo-1.1-py3-none-any.whl.asc", NULL), 404);
    assert_int_equal(get("/simple/foo/", NULL), 200);
    assert_non_null(strstr(web_test_text(&t), "data-gpg-sig=\"true\""));
    assert_non_null(strstr(web_test_text(&t), "data-gpg-sig=\"false\""));
    root = page();
    assert_true(json_is_true(json_object_get(file_of(root, 0), "gpg-sig")));
    assert_true(json_is_false(json_object_get(file_of(root, 1), "gpg-sig")));
    json_decref(root);
}

static void test_bad_signatures(void **state)
{
    static const struct {
        const char *file, *text, *why;
    } cases[] = {
        {"other.asc", SIGNATURE, "is not '" WHEEL ".asc'"},
        {WHEEL ".sig", SIGNATURE, "is not '" WHEEL ".asc'"},
        {WHEEL, SIGNATURE, "is not '" WHEEL ".asc'"},
        {WHEEL ".asc", "hello", "armored"},
        {WHEEL ".asc", "-----BEGIN PGP SIGNATURE-----\n", "armored"},
        {WHEEL ".asc", "-----BEGIN PGP SIGNATURE-----\n\x01", "plain UTF-8"},
    };
    autobuf wheel = {0}, big = {0};

    (void)state;
    make_wheel(&wheel, "foo", "1.0", "", "x");
    for (size_t i = 0; i < array_size(cases); i++) {
        if (post_signed(buf_slice(&wheel), cases[i].file, cases[i].text) != 400 ||
            strstr(web_test_text(&t), cases[i].why) == NULL)
            fail_msg("case %zu: %d %s", i, t.resp.status, web_test_text(&t));
        assert_int_equal(get("/packages/" WHEEL, NULL), 404);
    }
    for (size_t i = 0; i < (8u << 10); i++)
        buf_add_char(&big, 'x');
    buf_add_str(&big, "x");
    assert_int_equal(post_signed(buf_slice(&wheel), WHEEL ".asc", big.data), 400);
    assert_int_equal(get("/simple/", NULL), 200);
    assert_null(strstr(web_test_text(&t), "foo"));
}

static void test_provenance(void **state)
{
    static const struct attestation one = {0},
                                    two = {.predicate = "https://slsa.dev/provenance/v1"};
    autobuf wheel = {0}, list = {0};
    json_t *root, *bundle;
    char sha256[65];
    const char *url;

    (void)state;
    make_wheel(&wheel, "foo", "1.0", "", "x");
    sha256_of(buf_slice(&wheel), sha256);
    buf_add_char(&list, '[');
    make_attestation(&list, &one, WHEEL, sha256);
    buf_add_char(&list, ',');
    make_attestation(&list, &two, WHEEL, sha256);
    buf_add_char(&list, ']');
    assert_int_equal(post_with(buf_slice(&wheel), "attestations", list.data, NULL, NULL), 200);
    root = page();
    url = json_string_value(json_object_get(file_of(root, 0), "provenance"));
    assert_string_equal(url, "../../integrity/foo/1.0/" WHEEL "/provenance");
    json_decref(root);
    assert_int_equal(get("/simple/foo/", NULL), 200);
    assert_non_null(strstr(web_test_text(&t),
                           "data-provenance=\"../../integrity/foo/1.0/" WHEEL "/provenance\""));
    assert_int_equal(get("/integrity/Foo/1.0.0/" WHEEL "/provenance", NULL), 200);
    assert_string_equal(web_test_header(&t, "Content-Type"),
                        "application/vnd.pypi.integrity.v1+json");
    root = json_loads(web_test_text(&t), 0, NULL);
    bundle = json_array_get(json_object_get(root, "attestation_bundles"), 0);
    assert_int_equal(json_integer_value(json_object_get(root, "version")), 1);
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(bundle, "publisher"), "user")), "alice");
    assert_int_equal(json_array_size(json_object_get(bundle, "attestations")), 2);
    json_decref(root);
    assert_int_equal(get("/integrity/foo/1.0/" WHEEL "/provenance", "text/html"), 406);
    assert_int_equal(get("/integrity/foo/1.1/" WHEEL "/provenance", NULL), 404);
    assert_int_equal(get("/integrity/bar/1.0/" WHEEL "/provenance", NULL), 404);
    assert_int_equal(world_wheel(&w, "foo", "2.0", "x"), 0);
    assert_int_equal(get("/integrity/foo/2.0/foo-2.0-py3-none-any.whl/provenance", NULL), 404);
    t.who = w.anonymous;
    assert_int_equal(get("/integrity/foo/1.0/" WHEEL "/provenance", NULL), 401);
}

static const struct attestation bad_attestations[] = {
    {"version 2", "'version' is not 1", .version = "2"},
    {"version as text", "'version' is not 1", .version = "\"1\""},
    {"another statement", "in-toto", .type = "https://in-toto.io/Statement/v0.1"},
    {"no predicate", "predicateType", .predicate = ""},
    {"another file", "is about 'bar-1.0-py3-none-any.whl'", .subject = "bar-1.0-py3-none-any.whl"},
    {"another version", "is about", .subject = "foo-1.1-py3-none-any.whl"},
    {"another sha256", "another sha256", .sha256 = "00"},
    {"no material", "transparency_entries", .material = "null"},
    {"no entries", "transparency_entries",
     .material = "{\"certificate\":\"MIIB\",\"transparency_entries\":[]}"},
    {"an entry that is none", "no object",
     .material = "{\"certificate\":\"MIIB\",\"transparency_entries\":[1]}"},
    {"no certificate", "'certificate'", .material = "{\"transparency_entries\":[{}]}"},
    {"certificate not base64", "'certificate'",
     .material = "{\"certificate\":\"?\",\"transparency_entries\":[{}]}"},
    {"no envelope", "'statement'", .envelope = "null"},
    {"no signature", "'signature'", .envelope = "{\"statement\":\"e30=\"}"},
    {"statement that is no JSON", "in-toto",
     .envelope = "{\"statement\":\"eHg=\",\"signature\":\"MEUC\"}"},
};

static void test_bad_attestations(void **state)
{
    static const char *const texts[] = {"x", "{}", "[]", "[1]", "[null]", "[[]]", "{\"a\":1}"};
    static const struct attestation good = {.what = "good"};
    autobuf wheel = {0}, twice = {0};
    char sha256[65];

    (void)state;
    make_wheel(&wheel, "foo", "1.0", "", "x");
    sha256_of(buf_slice(&wheel), sha256);
    for (size_t i = 0; i < array_size(texts); i++) {
        if (post_with(buf_slice(&wheel), "attestations", texts[i], NULL, NULL) != 400)
            fail_msg("'%s' is accepted", texts[i]);
        assert_non_null(strstr(web_test_text(&t), "attestation"));
    }
    for (size_t i = 0; i < array_size(bad_attestations); i++) {
        const struct attestation *bad = &bad_attestations[i];
        autobuf list = {0};

        buf_add_char(&list, '[');
        make_attestation(&list, bad, WHEEL, sha256);
        buf_add_char(&list, ']');
        if (post_with(buf_slice(&wheel), "attestations", list.data, NULL, NULL) != 400 ||
            strstr(web_test_text(&t), bad->why) == NULL)
            fail_msg("%s: %d %s", bad->what, t.resp.status, web_test_text(&t));
    }
    buf_add_char(&twice, '[');
    make_attestation(&twice, &good, WHEEL, sha256);
    buf_add_char(&twice, ',');
    make_attestation(&twice, &good, WHEEL, sha256);
    buf_add_char(&twice, ']');
    assert_int_equal(post_with(buf_slice(&wheel), "attestations", twice.data, NULL, NULL), 400);
    assert_int_equal(get("/packages/" WHEEL, NULL), 404);
}

static int patch(const char *target, const char *body)
{
    return web_test_call(&t, "PATCH", target, NULL, slice_str(body));
}

static const char *yanked_of(size_t i, char text[64])
{
    json_t *root = page();
    json_t *value = json_object_get(file_of(root, i), "yanked");

    snprintf(text, 64, "%s",
             json_is_string(value) ? json_string_value(value)
             : json_is_true(value) ? "true"
                                   : "false");
    json_decref(root);
    return text;
}

static void test_yank(void **state)
{
    char text[64];

    (void)state;
    assert_int_equal(world_wheel(&w, "foo", "1.0", "x"), 0);
    assert_int_equal(world_wheel(&w, "foo", "1.1", "x"), 0);
    assert_int_equal(patch("/packages/" WHEEL, "{\"yanked\":\"broken\"}"), 200);
    assert_string_equal(yanked_of(0, text), "broken");
    assert_string_equal(yanked_of(1, text), "false");
    assert_int_equal(patch("/packages/" WHEEL, "{\"yanked\":true}"), 200);
    assert_string_equal(yanked_of(0, text), "true");
    assert_int_equal(patch("/packages/" WHEEL, "{\"yanked\":false}"), 200);
    assert_string_equal(yanked_of(0, text), "false");
    assert_int_equal(patch("/simple/Foo/", "{\"versions\":[\"1.1.0\"],\"yanked\":\"old\"}"), 200);
    assert_string_equal(web_test_text(&t), "{\"changed\": 1}\n");
    assert_string_equal(yanked_of(0, text), "false");
    assert_string_equal(yanked_of(1, text), "old");
    assert_int_equal(web_test_call(&t, "DELETE", "/packages/" WHEEL, NULL, SLICE("")), 200);
    assert_int_equal(web_test_call(&t, "DELETE", "/packages/" WHEEL, NULL, SLICE("")), 404);
    assert_string_equal(yanked_of(0, text), "old");
}

static void test_bad_changes(void **state)
{
    static const struct {
        const char *target, *body, *why;
        int status;
    } cases[] = {
        {"/packages/" WHEEL, "", "JSON object", 400},
        {"/packages/" WHEEL, "[]", "JSON object", 400},
        {"/packages/" WHEEL, "{\"yanked\":1}", "'yanked'", 400},
        {"/packages/" WHEEL, "{}", "'yanked'", 400},
        {"/packages/" WHEEL, "{\"yank\":true}", "unknown member 'yank'", 400},
        {"/packages/" WHEEL, "{\"yanked\":true,\"yanked\":false}", "JSON object", 400},
        {"/packages/foo-9-py3-none-any.whl", "{\"yanked\":true}", "no file", 404},
        {"/simple/foo/", "{}", "nothing to change", 400},
        {"/simple/foo/", "{\"versions\":[],\"yanked\":true}", "'versions'", 400},
        {"/simple/foo/", "{\"versions\":[\"3\"],\"yanked\":true}", "no files", 404},
        {"/simple/foo/", "{\"versions\":[1],\"yanked\":true}", "no files", 404},
        {"/simple/foo/", "{\"project-status\":\"archived\"}", "'project-status'", 400},
        {"/simple/foo/", "{\"project-status\":{\"status\":\"dead\"}}", "'dead' is no status", 400},
        {"/simple/foo/", "{\"project-status\":{\"status\":\"archived\",\"reason\":1}}", "reason",
         400},
        {"/simple/foo/", "{\"project-status\":{\"status\":\"archived\",\"reason\":\"a\\nb\"}}",
         "one line", 400},
        {"/simple/none/", "{\"project-status\":{\"status\":\"archived\"}}", "no project", 404},
        {"/simple/-x/", "{\"project-status\":{\"status\":\"archived\"}}", "not the name", 404},
    };

    (void)state;
    assert_int_equal(world_wheel(&w, "foo", "1.0", "x"), 0);
    for (size_t i = 0; i < array_size(cases); i++)
        if (patch(cases[i].target, cases[i].body) != cases[i].status ||
            strstr(web_test_text(&t), cases[i].why) == NULL)
            fail_msg("case %zu: %d %s", i, t.resp.status, web_test_text(&t));
    t.who = &w.reader;
    assert_int_equal(patch("/packages/" WHEEL, "{\"yanked\":true}"), 403);
    assert_int_equal(patch("/simple/foo/", "{\"project-status\":{\"status\":\"archived\"}}"), 403);
    assert_int_equal(web_test_call(&t, "DELETE", "/packages/" WHEEL, NULL, SLICE("")), 403);
    t.who = w.anonymous;
    assert_int_equal(patch("/packages/" WHEEL, "{\"yanked\":true}"), 401);
    assert_int_equal(patch("/packages/none-1.0.tar.gz", "{\"yanked\":true}"), 401);
}

static int set_status(const char *status)
{
    autobuf body = {0};

    buf_printf(&body, "{\"project-status\":{\"status\":\"%s\",\"reason\":\"so <it> is\"}}", status);
    return patch("/simple/foo/", body.data);
}

static void test_status(void **state)
{
    static const struct {
        const char *status;
        bool takes, offers;
    } cases[] = {
        {"archived", false, true},
        {"quarantined", false, false},
        {"deprecated", true, true},
        {"active", true, true},
    };
    char version[16];

    (void)state;
    assert_int_equal(world_wheel(&w, "foo", "1.0", "x"), 0);
    for (size_t i = 0; i < array_size(cases); i++) {
        autobuf meta = {0}, why = {0}, wheel = {0}, name = {0};
        json_t *root, *status;

        assert_int_equal(set_status(cases[i].status), 200);
        root = page();
        status = json_object_get(root, "project-status");
        assert_string_equal(json_string_value(json_object_get(status, "status")), cases[i].status);
        assert_string_equal(json_string_value(json_object_get(status, "reason")), "so <it> is");
        assert_true((file_of(root, 0) != NULL) == cases[i].offers);
        json_decref(root);
        assert_int_equal(get("/simple/foo/", NULL), 200);
        buf_printf(&meta, "<meta name=\"pypi:project-status\" content=\"%s\">", cases[i].status);
        assert_non_null(strstr(web_test_text(&t), meta.data));
        assert_non_null(strstr(web_test_text(&t),
                               "<meta name=\"pypi:project-status-reason\" content=\"so &lt;it&gt; "
                               "is\">"));
        assert_int_equal(get("/packages/" WHEEL, NULL), cases[i].offers ? 200 : 403);
        assert_int_equal(get("/packages/" WHEEL ".metadata", NULL), cases[i].offers ? 200 : 403);
        snprintf(version, sizeof version, "2.%zu", i);
        make_wheel(&wheel, "foo", version, "", "x");
        buf_printf(&name, "foo-%s-py3-none-any.whl", version);
        assert_int_equal(world_publish(&w, &w.team, name.data, buf_slice(&wheel), &why),
                         cases[i].takes ? 0 : -EACCES);
        if (!cases[i].takes)
            assert_non_null(strstr(why.data, "so <it> is"));
    }
    assert_int_equal(patch("/simple/foo/", "{\"project-status\":{\"status\":\"active\"}}"), 200);
    assert_int_equal(get("/simple/foo/", NULL), 200);
    assert_null(strstr(web_test_text(&t), "project-status"));
}

/* The status row is no file, and a project that has only that is none. */
static void test_status_outlives_files(void **state)
{
    (void)state;
    assert_int_equal(world_wheel(&w, "foo", "1.0", "x"), 0);
    assert_int_equal(set_status("deprecated"), 200);
    assert_int_equal(web_test_call(&t, "DELETE", "/packages/" WHEEL, NULL, SLICE("")), 200);
    assert_int_equal(get("/simple/foo/", NULL), 404);
    packages_domain.close(w.pk);
    world_open_domain(&w);
    t.self = w.pk;
    assert_int_equal(get("/simple/foo/", NULL), 404);
    assert_int_equal(get("/simple/", NULL), 200);
    assert_null(strstr(web_test_text(&t), "foo"));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_signature),  T(test_bad_signatures),
        T(test_provenance), T(test_bad_attestations),
        T(test_yank),       T(test_bad_changes),
        T(test_status),     T(test_status_outlives_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
