/* packages_form.h: a test's world and the forms that are posted to it. For one test program each. */
#ifndef PACKAGES_FORM_H
#define PACKAGES_FORM_H

#include "packages_world.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define BOUNDARY "9c3a4f"
#define WHEEL    "foo-1.0-py3-none-any.whl"

static struct world w;
static struct web_test t;

static int setup(void **state)
{
    (void)state;
    world_open(&w);
    t = (struct web_test){.domain = &packages_domain, .self = w.pk, .who = &w.team};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    web_test_done(&t);
    world_close(&w);
    return 0;
}

__attribute__((unused)) static int get(const char *target, const char *accept)
{
    struct web_param headers[] = {{"Accept", accept}, {0}};

    return web_test_call(&t, "GET", target, accept != NULL ? headers : NULL, SLICE(""));
}

/* A form: "name", "value", …, NULL; a value that begins with '@' stands for the content under the
 * file name that follows it. */
static void make_form(struct buf *out, const char *const *pairs, struct slice content)
{
    for (; pairs[0] != NULL; pairs += 2) {
        buf_printf(out, "--" BOUNDARY "\r\nContent-Disposition: form-data; name=\"%s\"", pairs[0]);
        if (pairs[1][0] == '@') {
            buf_printf(out, "; filename=\"%s\"\r\nContent-Type: application/octet-stream\r\n\r\n",
                       pairs[1] + 1);
            buf_add_slice(out, content);
        } else {
            buf_printf(out, "\r\n\r\n%s", pairs[1]);
        }
        buf_add_str(out, "\r\n");
    }
    buf_add_str(out, "--" BOUNDARY "--\r\n");
}

static int post_body(const char *target, struct slice body)
{
    static const struct web_param headers[] = {
        {"Content-Type", "multipart/form-data; boundary=" BOUNDARY}, {0}};

    return web_test_call(&t, "POST", target, headers, body);
}

static int post(const char *target, const char *const *pairs, struct slice content)
{
    autobuf form = {0};

    make_form(&form, pairs, content);
    return post_body(target, buf_slice(&form));
}

static const char *sha256_of(struct slice content, char text[65])
{
    struct digest d;

    digest_of(DIGEST_SHA256, content.data, content.len, &d);
    hex_encode(slice_of(d.bytes, 32), text);
    return text;
}

__attribute__((unused)) static const char *hash_of(enum hash_kind kind, struct slice content, char text[65])
{
    struct hash *h = hash_new(kind);
    uint8_t bytes[64];

    hash_update(h, content.data, content.len);
    hex_encode(slice_of(bytes, hash_final(h, bytes)), text);
    hash_free(h);
    return text;
}

__attribute__((unused)) static int upload(const char *name, const char *version, const char *file, struct slice content)
{
    bool wheel = strstr(file, ".whl") != NULL;
    char sha256[65], blake[65], at[300];
    const char *pairs[] = {":action",
                           "file_upload",
                           "protocol_version",
                           "1",
                           "metadata_version",
                           "2.1",
                           "name",
                           name,
                           "version",
                           version,
                           "filetype",
                           wheel ? "bdist_wheel" : "sdist",
                           "pyversion",
                           wheel ? "py3" : "source",
                           "sha256_digest",
                           sha256_of(content, sha256),
                           "blake2_256_digest",
                           hash_of(HASH_BLAKE2B_256, content, blake),
                           "content",
                           at,
                           NULL};

    snprintf(at, sizeof at, "@%s", file);
    return post("/legacy/", pairs, content);
}

#endif
