/* client.c: the commands that ask a running daemon, over HTTP. */
#include "command/client.h"
#include "base/alloc.h"
#include "base/codec.h"
#include "base/file.h"
#include "base/json.h"
#include "base/scope.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

#define VALUE_MAX  (64u << 20)
#define ANSWER_MAX (256u << 20)

DEFINE_SCOPE(config, struct config, config_free)

static const char *first_of(const char *a, const char *b, const char *c, const char *d)
{
    return a != NULL ? a : b != NULL ? b : c != NULL ? c : d;
}

static bool read_token_file(struct client *c, const char *folder, const char *name)
{
    autofree char *path = NULL;

    if (folder == NULL || asprintf(&path, "%s/%s", folder, name) < 0) {
        path = NULL;
        return false;
    }
    if (file_read(path, 4096, &c->token) < 0)
        return false;
    while (c->token.len > 0 && (unsigned char)c->token.data[c->token.len - 1] <= ' ')
        c->token.data[--c->token.len] = 0;
    return c->token.len > 0;
}

static void find_token(struct client *c, const struct config *config)
{
    const char *given =
        first_of(getenv("INFRAFS_TOKEN"), getenv("VAULT_TOKEN"), getenv("BAO_TOKEN"), NULL);

    if (given != NULL && given[0] != 0)
        buf_add_str(&c->token, given);
    else if (!read_token_file(c, config->data, "root-token"))
        read_token_file(c, getenv("HOME"), ".vault-token");
}

static int start(struct client *c, const char *address)
{
    size_t len = strlen(address);

    while (len > 0 && address[len - 1] == '/')
        len--;
    c->address = xstrndup(address, len);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    c->curl = curl_easy_init();
    if (c->curl == NULL)
        return command_fail(EX_OSERR, "libcurl did not start");
    if (c->token.len > 0) {
        autobuf header = {0};

        buf_printf(&header, "Authorization: Bearer %s", c->token.data);
        c->headers = curl_slist_append(c->headers, header.data);
        explicit_bzero(header.data, header.cap);
    }
    c->headers = curl_slist_append(c->headers, "Expect:");
    return 0;
}

int client_open(const struct command_line *line, struct client *c)
{
    int code = EX_CONFIG;
    scope_cleanup(scope_config) struct config *config = command_config(line, &code);

    if (config == NULL)
        return code;
    c->mount = config->mount != NULL ? xstrdup(config->mount) : NULL;
    find_token(c, config);
    return start(c, first_of(line_option(line, "address"), getenv("INFRAFS_ADDR"),
                             getenv("VAULT_ADDR"), "http://127.0.0.1:8080"));
}

int client_open_at(struct client *c, const char *address, const char *token)
{
    buf_add_str(&c->token, token);
    return start(c, address);
}

void client_header(struct client *c, const char *header)
{
    c->headers = curl_slist_append(c->headers, header);
}

void client_close(struct client *c)
{
    for (struct curl_slist *h = c->headers; h != NULL; h = h->next)
        explicit_bzero(h->data, strlen(h->data));
    curl_slist_free_all(c->headers);
    curl_easy_cleanup(c->curl);
    curl_global_cleanup();
    buf_wipe(&c->token);
    buf_wipe(&c->answer);
    free(c->address);
    free(c->mount);
}

/* What http/ says of a folder's listing. */
static size_t receive_header(char *bytes, size_t size, size_t n, void *ctx)
{
    struct client *c = ctx;

    if (size * n >= 14 && strncasecmp(bytes, "X-Node: folder", 14) == 0)
        c->is_folder = true;
    return size * n;
}

static size_t receive(char *bytes, size_t size, size_t n, void *ctx)
{
    struct client *c = ctx;
    long status = 0;

    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    if (c->print && status < 400)
        return fwrite(bytes, size, n, stdout);
    if (c->answer.len + size * n > ANSWER_MAX) {
        c->too_large = status < 400;
        return c->too_large ? 0 : size * n; /* a cut answer is none; a cut reason is one */
    }
    buf_add(&c->answer, bytes, size * n);
    return size * n;
}

static int status_code(long status)
{
    switch (status) {
    case 400:
    case 409:
    case 413:
    case 422:
        return EX_DATAERR;
    case 401:
    case 403:
        return EX_NOPERM;
    case 404:
        return EX_NOINPUT;
    default:
        return EX_UNAVAILABLE;
    }
}

/* All that does not depend on the method. */
static void begin(struct client *c, const char *path, char error[CURL_ERROR_SIZE])
{
    autobuf url = {0};

    buf_add_str(&url, c->address);
    percent_encode(&url, slice_str(path), "/@:+,=~");
    curl_easy_reset(c->curl); /* connections stay */
    curl_easy_setopt(c->curl, CURLOPT_URL, url.data);
    curl_easy_setopt(c->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, c->headers);
    curl_easy_setopt(c->curl, CURLOPT_ERRORBUFFER, error);
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(c->curl, CURLOPT_HEADERFUNCTION, receive_header);
    curl_easy_setopt(c->curl, CURLOPT_HEADERDATA, c);
    curl_easy_setopt(c->curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(c->curl, CURLOPT_CONNECTTIMEOUT, 10L);
    if (c->netrc)
        curl_easy_setopt(c->curl, CURLOPT_NETRC, (long)CURL_NETRC_OPTIONAL);
    buf_clear(&c->answer);
    c->is_folder = c->too_large = false;
    c->status = 0;
}

/* Vault's dialect says why in a list: its first line is for people. */
static void plain_reason(struct buf *answer)
{
    json_t *document = json_loadb(answer->data != NULL ? answer->data : "", answer->len, 0, NULL);
    const char *why =
        json_string_value(json_array_get(json_object_get(document, "errors"), 0));
    const char *star = why != NULL ? strstr(why, "* ") : NULL; /* "1 error occurred:\n\t* …" */

    if (why != NULL) {
        autobuf text = {0};

        buf_add_str(&text, star != NULL ? star + 2 : why);
        while (text.len > 0 && text.data[text.len - 1] == '\n')
            text.data[--text.len] = 0;
        buf_clear(answer);
        buf_add_slice(answer, buf_slice(&text));
    }
    json_decref(document);
}

static int perform(struct client *c, const char *error)
{
    CURLcode r = curl_easy_perform(c->curl);
    long status = 0;

    if (c->too_large)
        return c->quiet ? EX_DATAERR
                        : command_fail(EX_DATAERR, "%s: the answer is too large", c->address);
    if (r != CURLE_OK)
        return command_fail(EX_UNAVAILABLE, "%s: %s; is 'infrafs serve' running?", c->address,
                            error[0] != 0 ? error : curl_easy_strerror(r));
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    c->status = status;
    if (status < 400)
        return EX_OK;
    if (c->quiet)
        return status_code(status);
    while (c->answer.len > 0 && (unsigned char)c->answer.data[c->answer.len - 1] <= ' ')
        c->answer.data[--c->answer.len] = 0;
    plain_reason(&c->answer);
    return command_fail(status_code(status), "%s (%ld)",
                        c->answer.len > 0 ? c->answer.data : "refused", status);
}

int client_ask(struct client *c, const char *method, const char *path, const struct slice *body)
{
    char error[CURL_ERROR_SIZE] = "";

    begin(c, path, error);
    if (body != NULL) {
        curl_easy_setopt(c->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->len);
        curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, body->len > 0 ? body->data : "");
    } else {
        curl_easy_setopt(c->curl, CURLOPT_HTTPGET, 1L);
    }
    curl_easy_setopt(c->curl, CURLOPT_CUSTOMREQUEST, method);
    return perform(c, error);
}

int client_ask_query(struct client *c, const char *path, const char *key, long value)
{
    char error[CURL_ERROR_SIZE] = "";
    autobuf url = {0};
    int code;

    begin(c, path, error);
    buf_add_str(&url, c->address);
    percent_encode(&url, slice_str(path), "/@:+,=~");
    buf_printf(&url, "?%s=%ld", key, value);
    curl_easy_setopt(c->curl, CURLOPT_URL, url.data);
    curl_easy_setopt(c->curl, CURLOPT_HTTPGET, 1L);
    c->quiet = true;
    code = perform(c, error);
    c->quiet = false;
    return code;
}

int client_put(struct client *c, const char *path, FILE *file)
{
    char error[CURL_ERROR_SIZE] = "";
    off_t size;

    if (fseeko(file, 0, SEEK_END) != 0 || (size = ftello(file)) < 0 ||
        fseeko(file, 0, SEEK_SET) != 0)
        return command_fail(EX_IOERR, "%s: %s", path, strerror(errno));
    begin(c, path, error);
    curl_easy_setopt(c->curl, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(c->curl, CURLOPT_READDATA, file);
    curl_easy_setopt(c->curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)size);
    return perform(c, error);
}

bool client_exists(struct client *c, const char *path)
{
    char error[CURL_ERROR_SIZE] = "";
    long status = 0;

    begin(c, path, error);
    curl_easy_setopt(c->curl, CURLOPT_NOBODY, 1L);
    if (curl_easy_perform(c->curl) != CURLE_OK)
        return false;
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    return status == 200;
}

/* Reads a file of the tree, or writes it. */
static int ask(struct client *c, const char *path, const struct slice *body)
{
    return client_ask(c, body != NULL ? "PUT" : "GET", path, body);
}

char *client_tree_path(const struct client *c, const char *path)
{
    size_t n = c->mount != NULL ? strlen(c->mount) : 0;
    char *result;

    if (n > 0 && strncmp(path, c->mount, n) == 0 && (path[n] == '/' || path[n] == 0))
        path += n;
    while (*path == '/')
        path++;
    if (asprintf(&result, "/tree/%s", path) < 0)
        abort();
    return result;
}

int run_get(const struct command_line *line)
{
    struct client c = {.print = true};
    int code = client_open(line, &c);

    if (code == 0) {
        autofree char *path = client_tree_path(&c, line->operands[0]);

        code = ask(&c, path, NULL);
    }
    client_close(&c);
    return code;
}

static int read_value(struct buf *ret)
{
    char bytes[65536];
    size_t n;

    while ((n = fread(bytes, 1, sizeof bytes, stdin)) > 0) {
        if (ret->len + n > VALUE_MAX)
            return command_fail(EX_DATAERR, "the value is over 64 MiB");
        buf_reserve(ret, VALUE_MAX < 2 * ret->len + n ? n : ret->len + n);
        buf_add(ret, bytes, n);
    }
    explicit_bzero(bytes, sizeof bytes);
    return ferror(stdin) ? command_fail(EX_NOINPUT, "standard input: %s", strerror(errno)) : 0;
}

int run_set(const struct command_line *line)
{
    const char *given = line_option(line, "value");
    struct client c = {.print = true};
    struct buf value = {0};
    int code = given == NULL ? read_value(&value) : 0;

    if (given != NULL)
        buf_add_str(&value, given);
    if (code == 0)
        code = client_open(line, &c);
    if (code == 0) {
        autofree char *path = client_tree_path(&c, line->operands[0]);
        struct slice body = buf_slice(&value);

        code = ask(&c, path, &body);
    }
    client_close(&c);
    buf_wipe(&value);
    return code;
}

int run_status(const struct command_line *line)
{
    struct client c = {.print = true};
    int code = client_open(line, &c);

    if (code == 0)
        code = ask(&c, "/tree/.status", NULL);
    client_close(&c);
    return code;
}

/* Follows the scrub until it is over. */
static int follow_scrub(struct client *c)
{
    int code;

    do {
        nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
        code = ask(c, "/tree/.infra/scrub", NULL);
    } while (code == 0 && c->answer.len > 0 && strncmp(c->answer.data, "running", 7) == 0);
    return code;
}

int run_scrub(const struct command_line *line)
{
    bool wait = line_option(line, "wait") != NULL;
    struct slice word = line_option(line, "stop") != NULL ? SLICE("stop") : SLICE("run");
    bool only_look = line_option(line, "state") != NULL;
    struct client c = {0};
    int code = client_open(line, &c);

    if (code == 0 && !only_look)
        code = ask(&c, "/tree/.infra/scrub", &word);
    if (code == 0)
        code = wait ? follow_scrub(&c) : ask(&c, "/tree/.infra/scrub", NULL);
    if (code == 0)
        fputs(c.answer.len > 0 ? c.answer.data : "", stdout);
    if (code == 0 && c.answer.len > 0 && strstr(c.answer.data, "\ndamaged ") != NULL)
        code = command_fail(EX_DATAERR, "stored content is damaged; restore it, or delete what needs it and push "
                                        "it again");
    client_close(&c);
    return code;
}

int run_gc(const struct command_line *line)
{
    struct client c = {0};
    struct slice word = line_option(line, "dry-run") != NULL ? SLICE("dry-run") : SLICE("run");
    int code = client_open(line, &c);

    if (code == 0)
        code = ask(&c, "/tree/.infra/gc", &word);
    c.print = true;
    if (code == 0)
        code = ask(&c, "/tree/.infra/gc", NULL);
    client_close(&c);
    return code;
}
