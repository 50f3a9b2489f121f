#include "command/registry.h"

#include "base/alloc.h"
#include "base/codec.h"
#include "base/json.h"
#include "base/scope.h"
#include "command/client.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sysexits.h>

#define BODY_MAX (16u << 20)

int registry_open(struct registry *r, const char *url)
{
    const char *user = getenv("SOURCE_USER"), *password = getenv("SOURCE_PASSWORD");
    size_t n = strlen(url);

    *r = (struct registry){0};
    while (n > 0 && url[n - 1] == '/')
        n--;
    r->base = xstrndup(url, n);
    if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0)
        return command_fail(EX_USAGE, "%s: a registry's address begins with http:// or https://",
                            url);
    if (user != NULL && asprintf(&r->login, "%s:%s", user, password != NULL ? password : "") < 0)
        abort();
    r->curl = curl_easy_init();
    r->hash = hash_new(HASH_SHA256);
    return r->curl != NULL ? EX_OK : command_fail(EX_OSERR, "libcurl did not start");
}

void registry_close(struct registry *r)
{
    curl_easy_cleanup(r->curl);
    if (r->login != NULL)
        explicit_bzero(r->login, strlen(r->login));
    free(r->login);
    free(r->base);
    buf_wipe(&r->authorization);
    buf_done(&r->body);
    if (r->hash != NULL)
        hash_free(r->hash);
}

static size_t take_body(char *bytes, size_t size, size_t n, void *ctx)
{
    struct registry *r = ctx;
    long status = 0;

    n *= size;
    curl_easy_getinfo(r->curl, CURLINFO_RESPONSE_CODE, &status);
    if (r->file != NULL && status == 200) {
        hash_update(r->hash, bytes, n);
        return fwrite(bytes, 1, n, r->file);
    }
    if (r->body.len + n > BODY_MAX)
        return 0;
    buf_add(&r->body, bytes, n);
    return n;
}

static void keep(const char *line, size_t n, const char *name, char *ret, size_t cap)
{
    size_t len = strlen(name);

    if (n <= len || strncasecmp(line, name, len) != 0)
        return;
    line += len;
    n -= len;
    while (n > 0 && *line == ' ')
        line++, n--;
    while (n > 0 && (unsigned char)line[n - 1] <= ' ')
        n--;
    if (n < cap) {
        memcpy(ret, line, n);
        ret[n] = 0;
    }
}

static size_t take_header(char *line, size_t size, size_t n, void *ctx)
{
    struct registry *r = ctx;

    n *= size;
    keep(line, n, "Content-Type:", r->content_type, sizeof r->content_type);
    keep(line, n, "Link:", r->link, sizeof r->link);
    keep(line, n, "WWW-Authenticate:", r->challenge, sizeof r->challenge);
    return n;
}

static int perform(struct registry *r, const char *url, const char *accept, const char *login)
{
    struct curl_slist *headers = NULL;
    char error[CURL_ERROR_SIZE] = "";
    autobuf line = {0};
    CURLcode code;

    buf_printf(&line, "Accept: %s", accept != NULL ? accept : "*/*");
    headers = curl_slist_append(headers, line.data);
    if (login == NULL && r->authorization.len > 0)
        headers = curl_slist_append(headers, r->authorization.data);
    buf_clear(&r->body);
    r->content_type[0] = r->link[0] = r->challenge[0] = 0;
    curl_easy_reset(r->curl);
    curl_easy_setopt(r->curl, CURLOPT_URL, url);
    curl_easy_setopt(r->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(r->curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(r->curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(r->curl, CURLOPT_MAXREDIRS, 5L);
    curl_easy_setopt(r->curl, CURLOPT_HTTPHEADER, headers);
    if (login != NULL)
        curl_easy_setopt(r->curl, CURLOPT_USERPWD, login);
    else
        curl_easy_setopt(r->curl, CURLOPT_NETRC, (long)CURL_NETRC_OPTIONAL);
    curl_easy_setopt(r->curl, CURLOPT_USERAGENT, "infrafs/" INFRAFS_VERSION);
    curl_easy_setopt(r->curl, CURLOPT_ERRORBUFFER, error);
    curl_easy_setopt(r->curl, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(r->curl, CURLOPT_WRITEDATA, r);
    curl_easy_setopt(r->curl, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(r->curl, CURLOPT_HEADERDATA, r);
    curl_easy_setopt(r->curl, CURLOPT_CONNECTTIMEOUT, 10L);
    curl_easy_setopt(r->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(r->curl, CURLOPT_LOW_SPEED_TIME, 60L);
    code = curl_easy_perform(r->curl);
    curl_easy_getinfo(r->curl, CURLINFO_RESPONSE_CODE, &r->status);
    curl_slist_free_all(headers);
    if (code == CURLE_OK)
        return EX_OK;
    return command_fail(EX_UNAVAILABLE, "%s: %s", url,
                        error[0] != 0 ? error : curl_easy_strerror(code));
}

/* A parameter of a challenge, name="value"; false: it has none. */
static bool parameter(const char *challenge, const char *name, struct buf *out)
{
    autobuf key = {0};
    const char *at;

    buf_clear(out);
    buf_printf(&key, "%s=\"", name);
    at = strcasestr(challenge, key.data);
    if (at == NULL)
        return false;
    at += key.len;
    buf_add(out, at, strcspn(at, "\""));
    return true;
}

static void add_parameter(struct buf *url, const char *name, const char *challenge)
{
    autobuf value = {0};

    if (!parameter(challenge, name, &value))
        return;
    buf_printf(url, "%c%s=", strchr(url->data, '?') != NULL ? '&' : '?', name);
    percent_encode(url, buf_slice(&value), ":/,");
}

/* A token for what the challenge names (docker distribution, "Token Authentication"). */
static int get_token(struct registry *r, const char *text)
{
    autofree char *challenge = xstrdup(text);
    autobuf url = {0};
    const char *token;
    json_t *json;
    int code;

    if (!parameter(challenge, "realm", &url) ||
        (strncmp(url.data, "https://", 8) != 0 && strncmp(r->base, "https://", 8) == 0))
        return command_fail(EX_NOPERM, "%s: it names no realm that a password may go to", r->base);
    add_parameter(&url, "service", challenge);
    add_parameter(&url, "scope", challenge);
    buf_clear(&r->authorization);
    code = perform(r, url.data, NULL, r->login);
    if (code != EX_OK)
        return code;
    json = json_loadb(r->body.data != NULL ? r->body.data : "", r->body.len, 0, NULL);
    token = json_string_value(json_object_get(json, "token"));
    if (token == NULL)
        token = json_string_value(json_object_get(json, "access_token"));
    if (token == NULL || strpbrk(token, "\r\n") != NULL)
        code = command_fail(EX_NOPERM, "%s gave no token (%ld); set SOURCE_USER and "
                                       "SOURCE_PASSWORD", url.data, r->status);
    else
        buf_printf(&r->authorization, "Authorization: Bearer %s", token);
    json_decref(json);
    return code;
}

static int log_in(struct registry *r)
{
    autobuf plain = {0}, line = {0};

    if (strncasecmp(r->challenge, "Bearer ", 7) == 0)
        return get_token(r, r->challenge);
    if (r->login == NULL)
        return command_fail(EX_NOPERM, "%s wants a login: set SOURCE_USER and SOURCE_PASSWORD",
                            r->base);
    buf_clear(&r->authorization);
    buf_add_str(&r->authorization, "Authorization: Basic ");
    base64_encode(&r->authorization, slice_str(r->login));
    return EX_OK;
}

int registry_get(struct registry *r, const char *target, const char *accept)
{
    FILE *file = r->file;
    autobuf url = {0};
    int code;

    buf_printf(&url, "%s%s", r->base, target);
    code = perform(r, url.data, accept, NULL);
    if (code != EX_OK || r->status != 401)
        return code;
    r->file = NULL; /* not for the token */
    code = log_in(r);
    r->file = file;
    return code == EX_OK ? perform(r, url.data, accept, NULL) : code;
}

FILE *registry_blob(struct registry *r, const char *repo, const struct digest *d)
{
    char text[DIGEST_TEXT_MAX];
    struct digest got = {.algorithm = d->algorithm};
    autobuf target = {0};
    FILE *file = tmpfile();
    int code;

    if (file == NULL) {
        command_fail(EX_CANTCREAT, "a temporary file: %s", strerror(errno));
        return NULL;
    }
    buf_printf(&target, "/v2/%s/blobs/%s", repo, digest_print(d, text));
    hash_free(r->hash);
    r->hash = hash_new(hash_kind_of((enum digest_algorithm)d->algorithm));
    r->file = file;
    code = registry_get(r, target.data, NULL);
    r->file = NULL;
    hash_final(r->hash, got.bytes);
    if (code == EX_OK && r->status != 200)
        code = command_fail(EX_UNAVAILABLE, "%s%s: status %ld", r->base, target.data, r->status);
    if (code == EX_OK && !digest_eq(&got, d))
        code = command_fail(EX_DATAERR, "%s%s: the content is not what its digest says", r->base,
                            target.data);
    if (code == EX_OK && (fflush(file) != 0 || fseeko(file, 0, SEEK_SET) != 0))
        code = command_fail(EX_IOERR, "a temporary file: %s", strerror(errno));
    if (code == EX_OK)
        return file;
    fclose(file);
    return NULL;
}

bool registry_next(const struct registry *r, struct buf *out)
{
    const char *end = strchr(r->link, '>'), *path;

    if (r->link[0] != '<' || end == NULL || strstr(end, "rel=\"next\"") == NULL)
        return false;
    path = strstr(r->link, "://") != NULL ? strchr(strstr(r->link, "://") + 3, '/') : r->link + 1;
    if (path == NULL || path > end || *path != '/')
        return false;
    buf_clear(out);
    buf_add(out, path, (size_t)(end - path));
    return true;
}
