/* Names, digests, chunks and manifests: bytes in, struct out. */
#include "images/manifest.h"
#include "images/reference.h"
#include "images/rows.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define EMPTY  "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define HEX256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static void names(void **state)
{
    static const struct {
        const char *name;
        bool valid;
    } cases[] = {
        {"app", true},      {"team/app", true},   {"a/b/c/d", true}, {"a.b", true},
        {"a_b", true},      {"a__b", true},       {"a---b", true},   {"0", true},
        {"", false},        {"/app", false},      {"app/", false},   {"a//b", false},
        {"App", false},     {"a___b", false},     {"a..b", false},   {"a.-b", false},
        {"-a", false},      {"a-", false},        {"a/-b", false},   {"a b", false},
        {"a/@tags", false}, {"a\xc3\xa4", false}, {"../etc", false}, {"a/../b", false},
        {"_a", false},      {"a_", false},        {"a.", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (repository_name_valid(slice_str(cases[i].name)) != cases[i].valid)
            fail_msg("name '%s'", cases[i].name);
}

static void names_have_a_limit(void **state)
{
    char name[300];

    (void)state;
    memset(name, 'a', sizeof name);
    assert_true(repository_name_valid(slice_of(name, IMAGES_NAME_MAX)));
    assert_false(repository_name_valid(slice_of(name, IMAGES_NAME_MAX + 1)));
    assert_true(tag_valid(slice_of(name, IMAGES_TAG_MAX)));
    assert_false(tag_valid(slice_of(name, IMAGES_TAG_MAX + 1)));
}

static void references(void **state)
{
    static const struct {
        const char *text;
        int result;
        bool is_digest;
    } cases[] = {
        {"1.0", 0, false},
        {"v1_x-Y.z", 0, false},
        {"_x", 0, false},
        {"latest", 0, false},
        {EMPTY, 0, true},
        {"sha256-" HEX256, 0, false},
        {".x", -EDOM, false},
        {"-x", -EDOM, false},
        {"", -EDOM, false},
        {"a/b", -EDOM, false},
        {"a b", -EDOM, false},
        {"sha256:baddigeststring", -EILSEQ, true},
        {"md5:00", -EILSEQ, true},
        {":", -EILSEQ, true},
        {"sha256:E3B0", -EILSEQ, true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct reference ref = {0};
        int r = reference_parse(slice_str(cases[i].text), &ref);

        if (r != cases[i].result || (r == 0 && ref.is_digest != cases[i].is_digest))
            fail_msg("reference '%s': %d", cases[i].text, r);
    }
}

static void digests_as_files(void **state)
{
    static const char *const bad[] = {
        "", "sha256", EMPTY, "sha256-", "sha256-" HEX256 "0", "sha1-" HEX256, "-" HEX256};
    char text[DIGEST_TEXT_MAX];
    struct digest d, back;

    (void)state;
    assert_int_equal(digest_parse(SLICE(EMPTY), &d), 0);
    assert_string_equal(digest_file_name(&d, text), "sha256-" HEX256);
    assert_int_equal(digest_file_parse(slice_str(text), &back), 0);
    assert_true(digest_eq(&d, &back));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (digest_file_parse(slice_str(bad[i]), &back) != -EINVAL)
            fail_msg("'%s'", bad[i]);
}

static void chunks(void **state)
{
    static const struct {
        const char *text;
        int result;
        uint64_t start, end;
    } cases[] = {
        {"0-0", 0, 0, 0},
        {"0-1023", 0, 0, 1023},
        {"1024-2047", 0, 1024, 2047},
        {"bytes 5-9/10", 0, 5, 9},
        {"bytes=5-9", 0, 5, 9},
        {"5-9/*", 0, 5, 9},
        {"", -EINVAL, 0, 0},
        {"-", -EINVAL, 0, 0},
        {"5-", -EINVAL, 0, 0},
        {"-5", -EINVAL, 0, 0},
        {"9-5", -EINVAL, 0, 0},
        {"a-b", -EINVAL, 0, 0},
        {"1 - 2", -EINVAL, 0, 0},
        {"0-18446744073709551615", -EINVAL, 0, 0},
        {"0-99999999999999999999999", -EINVAL, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct chunk_range range = {0};
        int r = chunk_range_parse(slice_str(cases[i].text), &range);

        if (r != cases[i].result || range.start != cases[i].start || range.end != cases[i].end)
            fail_msg("'%s'", cases[i].text);
    }
}

#define CONFIG                                                                                     \
    "\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"" EMPTY   \
    "\",\"size\":0}"
#define LAYER(type) "{\"mediaType\":\"" type "\",\"digest\":\"" EMPTY "\",\"size\":7}"
#define TGZ         "application/vnd.oci.image.layer.v1.tar+gzip"

struct manifest_case {
    const char *name, *type, *text;
    int result;
    const char *media_type; /* or a piece of the reason */
    enum manifest_kind kind;
    size_t n_items;
};

static const struct manifest_case manifest_cases[] = {
    {"an image", MEDIA_OCI_MANIFEST,
     "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_OCI_MANIFEST "\"," CONFIG
     ",\"layers\":[" LAYER(TGZ) "]}",
     0, MEDIA_OCI_MANIFEST, MANIFEST_IMAGE, 1},
    {"type in the header only, with a parameter", MEDIA_OCI_MANIFEST "; charset=utf-8",
     "{\"schemaVersion\":2," CONFIG ",\"layers\":[]}", 0, MEDIA_OCI_MANIFEST, MANIFEST_IMAGE, 0},
    {"type in the document only", NULL,
     "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_DOCKER_MANIFEST "\"," CONFIG ",\"layers\":[]}",
     0, MEDIA_DOCKER_MANIFEST, MANIFEST_IMAGE, 0},
    {"no type at all", "", "{\"schemaVersion\":2," CONFIG "}", 0, MEDIA_OCI_MANIFEST,
     MANIFEST_IMAGE, 0},
    {"curl's default type", "application/json", "{\"schemaVersion\":2,\"manifests\":[]}", 0,
     MEDIA_OCI_INDEX, MANIFEST_INDEX, 0},
    {"layers are null", MEDIA_OCI_MANIFEST, "{\"schemaVersion\":2," CONFIG ",\"layers\":null}", 0,
     MEDIA_OCI_MANIFEST, MANIFEST_IMAGE, 0},
    {"an index", MEDIA_OCI_INDEX,
     "{\"schemaVersion\":2,\"manifests\":[" LAYER(MEDIA_OCI_MANIFEST) "," LAYER(
         MEDIA_OCI_MANIFEST) "]}",
     0, MEDIA_OCI_INDEX, MANIFEST_INDEX, 2},
    {"a docker list", MEDIA_DOCKER_LIST,
     "{\"schemaVersion\":2,\"manifests\":[" LAYER(MEDIA_DOCKER_MANIFEST) "]}", 0, MEDIA_DOCKER_LIST,
     MANIFEST_INDEX, 1},
    {"unknown fields", MEDIA_OCI_MANIFEST,
     "{\"schemaVersion\":2,\"x\":{\"y\":[1,2.5,null]}," CONFIG ",\"layers\":[]}", 0,
     MEDIA_OCI_MANIFEST, MANIFEST_IMAGE, 0},
    {"an artifact of the old kind", MEDIA_OCI_ARTIFACT,
     "{\"mediaType\":\"" MEDIA_OCI_ARTIFACT
     "\",\"artifactType\":\"a/b\",\"blobs\":[" LAYER("x/y") "]}",
     0, MEDIA_OCI_ARTIFACT, MANIFEST_IMAGE, 1},
    {"not JSON", NULL, "hello", -EINVAL, "not JSON", 0, 0},
    {"empty", NULL, "", -EINVAL, "not JSON", 0, 0},
    {"cut", NULL, "{\"schemaVersion\":2", -EINVAL, "not JSON", 0, 0},
    {"text behind it", NULL, "{\"schemaVersion\":2," CONFIG "}x", -EINVAL, "not JSON", 0, 0},
    {"a list", NULL, "[]", -EINVAL, "not a JSON object", 0, 0},
    {"a member twice", NULL, "{\"schemaVersion\":2,\"schemaVersion\":2," CONFIG "}", -EINVAL,
     "not JSON", 0, 0},
    {"schema 1", NULL, "{\"schemaVersion\":1," CONFIG "}", -EINVAL, "schemaVersion", 0, 0},
    {"schema as text", NULL, "{\"schemaVersion\":\"2\"," CONFIG "}", -EINVAL, "schemaVersion", 0,
     0},
    {"types differ", MEDIA_DOCKER_MANIFEST,
     "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA_OCI_MANIFEST "\"," CONFIG "}", -EINVAL,
     "differs", 0, 0},
    {"index and image at once", NULL, "{\"schemaVersion\":2,\"manifests\":[]," CONFIG "}", -EINVAL,
     "both", 0, 0},
    {"an index called image", MEDIA_OCI_MANIFEST, "{\"schemaVersion\":2,\"manifests\":[]}", -EINVAL,
     "with 'manifests'", 0, 0},
    {"an image called index", MEDIA_OCI_INDEX, "{\"schemaVersion\":2," CONFIG "}", -EINVAL,
     "with 'config'", 0, 0},
    {"no config", MEDIA_OCI_MANIFEST, "{\"schemaVersion\":2,\"layers\":[]}", -EINVAL, "config", 0,
     0},
    {"bad digest", NULL,
     "{\"schemaVersion\":2," CONFIG
     ",\"layers\":[{\"mediaType\":\"a/b\",\"digest\":\"sha256:1\",\"size\":1}]}",
     -EINVAL, "layers[0] has no valid 'digest'", 0, 0},
    {"negative size", NULL,
     "{\"schemaVersion\":2," CONFIG ",\"layers\":[{\"mediaType\":\"a/b\",\"digest\":\"" EMPTY
     "\",\"size\":-1}]}",
     -EINVAL, "'size'", 0, 0},
    {"no size", NULL,
     "{\"schemaVersion\":2," CONFIG ",\"layers\":[{\"mediaType\":\"a/b\",\"digest\":\"" EMPTY
     "\"}]}",
     -EINVAL, "'size'", 0, 0},
    {"bad media type", "text", "{\"schemaVersion\":2," CONFIG "}", -EINVAL, "media type", 0, 0},
    {"layer is text", NULL, "{\"schemaVersion\":2," CONFIG ",\"layers\":[\"x\"]}", -EINVAL,
     "layers[0] is not", 0, 0},
    {"annotation is a number", NULL, "{\"schemaVersion\":2," CONFIG ",\"annotations\":{\"a\":1}}",
     -EINVAL, "annotation", 0, 0},
    {"subject is text", NULL, "{\"schemaVersion\":2," CONFIG ",\"subject\":\"x\"}", -EINVAL,
     "subject", 0, 0},
};

static void manifests(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof manifest_cases / sizeof *manifest_cases; i++) {
        const struct manifest_case *c = &manifest_cases[i];
        struct manifest *m = NULL;
        struct buf why = {0};
        int r = manifest_parse(slice_str(c->text), c->type, &m, &why);

        if (r != c->result)
            fail_msg("%s: %d %s", c->name, r, why.len > 0 ? why.data : "");
        if (r < 0 && (why.len == 0 || strstr(why.data, c->media_type) == NULL))
            fail_msg("%s: reason '%s'", c->name, why.len > 0 ? why.data : "");
        if (r == 0 && (strcmp(m->media_type, c->media_type) != 0 || m->kind != c->kind ||
                       m->n_items != c->n_items))
            fail_msg("%s: %s %zu", c->name, m->media_type, m->n_items);
        manifest_free(m);
        buf_done(&why);
    }
}

static void referrer_descriptor(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"{\"schemaVersion\":2,\"artifactType\":\"a/sbom\"," CONFIG
         ",\"annotations\":{\"k\":\"v\"}}",
         ",\"artifactType\":\"a/sbom\",\"annotations\":{\"k\":\"v\"}}"},
        {"{\"schemaVersion\":2," CONFIG "}",
         ",\"artifactType\":\"application/vnd.oci.image.config.v1+json\"}"},
        {"{\"schemaVersion\":2,\"manifests\":[]}", "\"size\":9}"},
        {"{\"schemaVersion\":2,\"artifactType\":\"a/idx\",\"manifests\":[]}",
         ",\"artifactType\":\"a/idx\"}"},
    };
    struct digest d;

    (void)state;
    digest_parse(SLICE(EMPTY), &d);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct manifest *m = NULL;
        struct buf out = {0};
        size_t want = strlen(cases[i].want);

        assert_int_equal(manifest_parse(slice_str(cases[i].text), NULL, &m, &out), 0);
        manifest_print_descriptor(m, &d, 9, &out);
        if (out.len < want || strcmp(out.data + out.len - want, cases[i].want) != 0)
            fail_msg("%s", out.data);
        assert_non_null(strstr(out.data, "\"digest\":\"" EMPTY "\",\"size\":9"));
        manifest_free(m);
        buf_done(&out);
    }
}

static void foreign_and_platform(void **state)
{
    static const char text[] = "{\"schemaVersion\":2," CONFIG ",\"layers\":[" LAYER(
        "application/"
        "vnd.oci.image.layer.nondistributable."
        "v1.tar+gzip") "," LAYER("application/"
                                 "vnd.docker.image.rootfs.foreign.diff.tar."
                                 "gzip") "," LAYER(TGZ) "]}";
    static const char list[] =
        "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"" MEDIA_OCI_MANIFEST
        "\",\"digest\":\"" EMPTY
        "\",\"size\":1,\"platform\":{\"os\":\"linux\",\"architecture\":\"arm\","
        "\"variant\":\"v7\"}}]}";
    struct manifest *m = NULL;
    struct buf out = {0};

    (void)state;
    assert_int_equal(manifest_parse(slice_str(text), NULL, &m, &out), 0);
    assert_true(m->items[0].foreign && m->items[1].foreign && !m->items[2].foreign);
    assert_int_equal(m->items[2].size_bytes, 7);
    manifest_free(m);
    assert_int_equal(manifest_parse(slice_str(list), NULL, &m, &out), 0);
    assert_string_equal(m->items[0].os, "linux");
    assert_string_equal(m->items[0].variant, "v7");
    descriptor_print(&m->items[0], &out);
    assert_non_null(strstr(out.data, "\"variant\":\"v7\""));
    manifest_free(m);
    buf_done(&out);
}

static void manifests_have_limits(void **state)
{
    struct buf text = {0}, why = {0};
    struct manifest *m = NULL;

    (void)state;
    buf_add_str(&text, "{\"schemaVersion\":2,\"manifests\":[");
    for (unsigned i = 0; i <= MANIFEST_DESCRIPTORS_MAX; i++)
        buf_printf(&text, "%s" LAYER("a/b"), i > 0 ? "," : "");
    buf_add_str(&text, "]}");
    assert_int_equal(manifest_parse(buf_slice(&text), NULL, &m, &why), -EFBIG);
    buf_clear(&text);
    buf_clear(&why);
    while (text.len <= MANIFEST_BYTES_MAX)
        buf_add_str(&text, "                                                                ");
    assert_int_equal(manifest_parse(buf_slice(&text), NULL, &m, &why), -EFBIG);
    buf_clear(&text);
    buf_clear(&why);
    for (unsigned i = 0; i < 100000; i++)
        buf_add_char(&text, '[');
    assert_int_equal(manifest_parse(buf_slice(&text), NULL, &m, &why), -EINVAL);
    buf_done(&text);
    buf_done(&why);
}

static void rows_survive(void **state)
{
    struct digest d, e;
    struct row_key key;
    struct buf out = {0};
    struct tag_row tag = {.changed_unix_ms = 1234567890123}, tag2;
    struct manifest_row m = {.revision = 3,
                             .size_bytes = 2,
                             .pushed_unix_ms = 5,
                             .nonce = UINT64_MAX,
                             .is_inline = true,
                             .media_type = SLICE("a/b"),
                             .bytes = SLICE("{}")},
                        m2;
    struct upload_row u = {.algorithm = DIGEST_SHA512,
                           .started_unix_ms = 1,
                           .touched_unix_ms = 2,
                           .repo = SLICE("team/app"),
                           .owner = SLICE("1:alice")},
                      u2;
    struct link_row link = {7, LINK_NEEDED, 9}, link2;
    uint8_t bytes[LINK_ROW_BYTES];
    char text[HOLDER_MAX];
    struct holder h;

    (void)state;
    digest_parse(SLICE(EMPTY), &d);
    digest_of(DIGEST_SHA512, "x", 1, &e);
    key = key_need(&d, &e);
    assert_int_equal(key_last_digest(key_slice(&key), &tag.manifest), 0);
    assert_true(digest_eq(&tag.manifest, &e));
    assert_int_equal(key_last_digest(slice_of(key.bytes, key.len - 1), &d), -EBADMSG);
    tag_row_print(&tag, &out);
    assert_int_equal(tag_row_parse(buf_slice(&out), &tag2), 0);
    assert_true(tag2.changed_unix_ms == tag.changed_unix_ms && digest_eq(&tag2.manifest, &e));
    for (size_t n = 0; n < out.len; n++)
        assert_int_equal(tag_row_parse(slice_of(out.data, n), &tag2), -EBADMSG);
    buf_clear(&out);
    manifest_row_print(&m, &out);
    assert_int_equal(manifest_row_parse(buf_slice(&out), &m2), 0);
    assert_true(m2.revision == 3 && m2.is_inline && slice_eq(m2.media_type, m.media_type) &&
                slice_eq(m2.bytes, m.bytes) && m2.nonce == UINT64_MAX);
    for (size_t n = 0; n < out.len; n++)
        assert_int_equal(manifest_row_parse(slice_of(out.data, n), &m2), -EBADMSG);
    buf_clear(&out);
    upload_row_print(&u, &out);
    assert_int_equal(upload_row_parse(buf_slice(&out), &u2), 0);
    assert_true(slice_eq(u2.repo, u.repo) && slice_eq(u2.owner, u.owner) && u2.algorithm == 2);
    assert_int_equal(upload_row_parse(slice_of(out.data, 20), &u2), -EBADMSG);
    assert_int_equal(link_row_parse(link_row_print(&link, bytes), &link2), 0);
    assert_true(link2.size_bytes == 7 && link2.expires_unix_ms == LINK_NEEDED && link2.nonce == 9);
    assert_int_equal(holder_parse(holder_print("team/app", 0x1234, text), &h), 0);
    assert_true(slice_eq(h.repo, SLICE("team/app")) && h.nonce == 0x1234);
    assert_int_equal(holder_parse(SLICE("packages/x#0000000000000001"), &h), -EINVAL);
    assert_int_equal(holder_parse(SLICE("images/x"), &h), -EINVAL);
    buf_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(names_have_a_limit),
        cmocka_unit_test(references),
        cmocka_unit_test(digests_as_files),
        cmocka_unit_test(chunks),
        cmocka_unit_test(manifests),
        cmocka_unit_test(referrer_descriptor),
        cmocka_unit_test(foreign_and_platform),
        cmocka_unit_test(manifests_have_limits),
        cmocka_unit_test(rows_survive),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
