#include "http/credentials.h"

#include "base/codec.h"

#include <errno.h>
#include <strings.h>

static const char *after_scheme(const char *value, const char *scheme)
{
    size_t len = strlen(scheme);

    if (strncasecmp(value, scheme, len) != 0 || value[len] != ' ')
        return NULL;
    return value + len + strspn(value + len, " ");
}

static int keep_token(struct credentials *c, const char *token)
{
    size_t len = strlen(token);

    while (len > 0 && token[len - 1] == ' ')
        len--;
    if (len == 0 || len >= sizeof c->text)
        return -EINVAL;
    memcpy(c->text, token, len);
    c->text[len] = 0;
    c->token = slice_of(c->text, len);
    c->kind = CREDENTIALS_TOKEN;
    return 0;
}

/* Padding may be missing: some clients leave it out. */
static int decode_base64(struct buf *out, struct slice text)
{
    autobuf padded = {0};
    int r;

    buf_add_slice(&padded, text);
    while (padded.len % 4 != 0)
        buf_add_char(&padded, '=');
    r = base64_decode(out, buf_slice(&padded));
    buf_wipe(&padded);
    return r;
}

static int keep_basic(struct credentials *c, const char *text)
{
    struct buf plain = {0};
    struct slice encoded = slice_str(text);
    const char *colon;
    int r = -EINVAL;

    while (encoded.len > 0 && text[encoded.len - 1] == ' ')
        encoded.len--;
    if (encoded.len < sizeof c->text)
        r = decode_base64(&plain, encoded);
    if (r == 0 &&
        (plain.len >= sizeof c->text || plain.len == 0 || memchr(plain.data, 0, plain.len) != NULL))
        r = -EINVAL;
    if (r == 0) {
        memcpy(c->text, plain.data, plain.len + 1);
        colon = memchr(c->text, ':', plain.len);
        c->kind = CREDENTIALS_BASIC;
        c->user = slice_of(c->text, colon != NULL ? (size_t)(colon - c->text) : plain.len);
        c->password = colon != NULL ? slice_str(colon + 1) : slice_of(c->text, 0);
        r = colon != NULL ? 0 : -EINVAL;
        /* What skopeo 1.9 and podman send when they have no login (test_registry_tokens.py). */
        if (r == 0 && plain.len == 1)
            c->kind = CREDENTIALS_NONE;
    }
    buf_wipe(&plain);
    return r;
}

int credentials_parse(const char *authorization, const char *vault_token, struct credentials *ret)
{
    const char *value;

    ret->kind = CREDENTIALS_NONE;
    if (vault_token != NULL && *vault_token != 0)
        return keep_token(ret, vault_token);
    if (authorization == NULL || *authorization == 0)
        return 0;
    value = after_scheme(authorization, "Basic");
    if (value != NULL)
        return keep_basic(ret, value);
    value = after_scheme(authorization, "Bearer");
    if (value != NULL)
        return keep_token(ret, value);
    return -EINVAL;
}

void credentials_wipe(struct credentials *c)
{
    explicit_bzero(c->text, sizeof c->text);
    c->kind = CREDENTIALS_NONE;
}
