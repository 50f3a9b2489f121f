/* vault.c: envelopes, errors and odd input of Vault's dialect. */
#include "secrets/vault.h"

#include "base/clock.h"
#include "base/codec.h"
#include "base/scope.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>

#define JSON_TYPE "application/json"

static int check_namespace(struct web_request *req)
{
    const char *name = web_header(req, "X-Vault-Namespace");

    if (name == NULL || name[0] == 0 || strcmp(name, "root") == 0 || strcmp(name, "root/") == 0 ||
        strcmp(name, "/") == 0)
        return 0;
    return op_fail(req->op, ENOENT, "namespace not found");
}

int vault_begin(struct web_request *req)
{
    int r = check_namespace(req);
    int64_t ttl_s;

    req->op->wiped = true;
    if (r == 0)
        r = vault_wrap_ttl(req, &ttl_s);
    if (r == 0)
        r = secrets_check(req->self, req->op);
    if (r == 0 && vault_asks_help(req) && req->op->who->kind != IDENTITY_ANONYMOUS)
        return -VAULT_HELP;
    return r == 0 ? vault_check_limits(req) : r;
}

int vault_body(struct web_request *req, struct object *ret)
{
    struct slice text = value_trim(req->body);

    if (text.len > 0 && !slice_eq(text, SLICE("null"))) /* the Go client's word for no body */
        return object_parse(req->op, req->body, ret);
    *ret = (struct object){.text = SLICE("{}")};
    return 0;
}

static void begin(struct vault_answer *a, struct web_request *req, int64_t duration_s)
{
    *a = (struct vault_answer){.req = req, .envelope = true};
    buf_reserve(&a->out, 1000);
    json_init(&a->json, &a->out);
    json_object(&a->json);
    json_kstr(&a->json, "request_id", op_id(req->op));
    json_kstr(&a->json, "lease_id", "");
    json_kbool(&a->json, "renewable", false);
    json_ki64(&a->json, "lease_duration", duration_s);
}

void vault_answer_begin_lease(struct vault_answer *a, struct web_request *req, int64_t duration_s)
{
    begin(a, req, duration_s);
    json_key(&a->json, "data");
}

void vault_answer_begin(struct vault_answer *a, struct web_request *req)
{
    vault_answer_begin_lease(a, req, 0);
}

/* The answer is put away, and the token that opens it answers instead. */
static void wrap(struct vault_answer *a, struct web_response *resp, int64_t ttl_s)
{
    struct slice answer = op_slice(a->req->op, buf_slice(&a->out));
    int r = vault_wrap(a->req, resp, answer, ttl_s, a->req->path + 4, a->accessor);

    buf_wipe(&a->out);
    if (r == 0)
        return;
    store_batch_free(take(resp->commit)); /* what cannot be told did not happen */
    secrets_render(a->req->self, a->req, r, resp);
}

static void finish(struct vault_answer *a, struct web_response *resp, int status)
{
    int64_t ttl_s = 0;

    json_object_end(&a->json);
    buf_add_char(&a->out, '\n');
    if (a->envelope && status < 300 && vault_wrap_ttl(a->req, &ttl_s) == 0 && ttl_s > 0) {
        wrap(a, resp, ttl_s);
        return;
    }
    web_reply_buf(a->req, resp, status > 0 ? status : 200, JSON_TYPE, &a->out);
    web_set_header(a->req, resp, "Cache-Control", "no-store");
}

void json_warnings(struct json *j, struct web_request *req, const char *const *own)
{
    const char *ignored[2];
    size_t n = vault_ignored(req, ignored);

    if (n == 0 && (own == NULL || own[0] == NULL)) {
        json_knull(j, "warnings");
        return;
    }
    json_key(j, "warnings");
    json_array(j);
    for (size_t i = 0; own != NULL && own[i] != NULL; i++)
        json_str(j, own[i]);
    for (size_t i = 0; i < n; i++)
        json_str(j, ignored[i]);
    json_array_end(j);
}

void vault_answer_end(struct vault_answer *a, struct web_response *resp, int status)
{
    json_knull(&a->json, "wrap_info");
    if (status < 300)
        json_warnings(&a->json, a->req, NULL);
    else
        json_knull(&a->json, "warnings");
    json_knull(&a->json, "auth");
    finish(a, resp, status);
}

int vault_answer_finish(struct vault_answer *a, struct web_response *resp, int status, int r)
{
    if (r < 0)
        buf_wipe(&a->out);
    else
        vault_answer_end(a, resp, status);
    return r;
}

void vault_answer_end_auth(struct vault_answer *a, struct web_response *resp)
{
    finish(a, resp, 200);
}

void vault_answer_end_warned(struct vault_answer *a, struct web_response *resp, int status,
                             const char *const *warnings)
{
    json_knull(&a->json, "wrap_info");
    json_warnings(&a->json, a->req, warnings);
    json_knull(&a->json, "auth");
    finish(a, resp, status > 0 ? status : 200);
}

void vault_answer_warning(struct web_request *req, struct web_response *resp, int status,
                          const char *text)
{
    struct vault_answer a;

    vault_answer_begin(&a, req);
    json_null(&a.json);
    vault_answer_end_warned(&a, resp, status, (const char *const[]){text, NULL});
}

int vault_unsupported_path(struct web_request *req, struct web_response *resp)
{
    return vault_answer_error(req, resp, 404, "1 error occurred:\n\t* unsupported path\n\n");
}

int vault_unsupported(struct kv_request *q)
{
    int r = identity_check(q->op, POLICY_READ, "%s", q->full); /* who may not ask learns nothing */

    return r < 0 ? r : vault_unsupported_path(q->req, q->resp);
}

void vault_plain_begin(struct vault_answer *a, struct web_request *req)
{
    *a = (struct vault_answer){.req = req};
    json_init(&a->json, &a->out);
    json_object(&a->json);
}

void vault_plain_end(struct vault_answer *a, struct web_response *resp, int status)
{
    finish(a, resp, status);
}

void vault_answer_empty(struct web_response *resp)
{
    resp->status = 204;
}

int vault_answer_error(struct web_request *req, struct web_response *resp, int status,
                       const char *text)
{
    struct vault_answer a;

    vault_plain_begin(&a, req);
    json_key(&a.json, "errors");
    json_array(&a.json);
    if (text != NULL)
        json_str(&a.json, text);
    json_array_end(&a.json);
    vault_plain_end(&a, resp, status);
    return 0;
}

static int status_of(int err)
{
    switch (err) {
    case -EPERM: /* Vault knows no 401 */
        return 403;
    case -ESHUTDOWN:
        return 503;
    case -EEXIST:
        return 400;
    default:
        return web_status(err);
    }
}

void secrets_render(void *self, struct web_request *req, int err, struct web_response *resp)
{
    const char *text = op_why(req->op, err);

    (void)self;
    if (err == -VAULT_HELP) {
        vault_answer_help(req, resp);
        return;
    }
    if (err == -ENOENT && req->op->why == NULL)
        text = NULL; /* an empty list: clients tell "no value" by it */
    else if (err == -EPERM)
        text = "permission denied";
    else if (err == -EACCES)
        text = "1 error occurred:\n\t* permission denied\n\n";
    else if (err == -ESHUTDOWN)
        text = "Vault is sealed";
    else if (err == -ENOTSUP)
        text = "1 error occurred:\n\t* unsupported operation\n\n";
    resp->headers = NULL;
    vault_answer_error(req, resp, status_of(err), text);
}

void json_ktime(struct json *j, const char *key, int64_t unix_ns)
{
    char text[CLOCK_TEXT_MAX];

    json_kstr(j, key, unix_ns != 0 ? clock_print_ns(unix_ns, 9, text) : "");
}

static const struct {
    const char *name;
    double ns;
} units[] = {{"ns", 1},   {"us", 1e3},  {"µs", 1e3}, {"ms", 1e6},
             {"s", 1e9},  {"m", 60e9},  {"h", 3600e9}, {"d", 86400e9}};

/* Go's time.ParseDuration: "1h30m", "1.5h"; and days, which Vault adds. */
static int go_duration(struct slice text, int64_t *ret_ns)
{
    const char *p = text.data, *end = p + text.len;
    double total = 0;

    if (p == end)
        return -EINVAL;
    while (p < end) {
        double number = 0, place = 1;
        size_t digits = 0, u, len = 0;

        for (; p < end && *p >= '0' && *p <= '9'; p++, digits++)
            number = number * 10 + (*p - '0');
        if (p < end && *p == '.')
            for (p++; p < end && *p >= '0' && *p <= '9'; p++, digits++)
                number += (*p - '0') * (place /= 10);
        while (p + len < end && p[len] != '.' && (p[len] < '0' || p[len] > '9'))
            len++;
        for (u = 0; u < array_size(units); u++)
            if (slice_eq(slice_of(p, len), slice_str(units[u].name)))
                break;
        if (digits == 0 || u == array_size(units))
            return -EINVAL;
        total += number * units[u].ns;
        p += len;
    }
    if (total > 9.2e18)
        return -EINVAL;
    *ret_ns = (int64_t)(total + 0.5);
    return 0;
}

int vault_duration(struct op *op, struct slice value, int64_t *ret_ns)
{
    struct slice s;
    int64_t n = 0;
    int r = value_integer(op, value, &n);

    if (r == 0) {
        if (n < 0 || n > INT64_MAX / INT64_C(1000000000))
            return -EINVAL;
        *ret_ns = n * INT64_C(1000000000);
        return 0;
    }
    r = value_string(op, value, &s);
    if (r == 0 && s.len == 0)
        *ret_ns = 0;
    if (r == 0 && s.len > 0)
        r = go_duration(s, ret_ns);
    return r < 0 ? -EINVAL : 0;
}

const char *vault_duration_text(struct op *op, int64_t ns)
{
    int64_t s = ns / INT64_C(1000000000);
    int64_t ms = ns / 1000000 % 1000;
    char seconds[32];

    if (ms > 0)
        snprintf(seconds, sizeof seconds, "%" PRId64 ".%03" PRId64 "s", s % 60, ms);
    else
        snprintf(seconds, sizeof seconds, "%" PRId64 "s", s % 60);
    if (s >= 3600)
        return op_printf(op, "%" PRId64 "h%" PRId64 "m%s", s / 3600, s / 60 % 60, seconds);
    if (s >= 60)
        return op_printf(op, "%" PRId64 "m%s", s / 60, seconds);
    return op_strdup(op, seconds);
}

static const char *copy_string(struct op *op, struct slice value)
{
    struct slice s;

    if (value_string(op, value, &s) < 0 || memchr(s.data, 0, s.len) != NULL)
        return NULL;
    return op_strndup(op, s.data, s.len);
}

static const char **split_commas(struct op *op, const char *text)
{
    size_t n = 1;
    const char **list;

    for (const char *p = text; *p != 0; p++)
        n += *p == ',';
    list = op_alloc(op, (n + 1) * sizeof *list);
    n = 0;
    while (*text != 0) {
        size_t len = strcspn(text, ",");
        struct slice part = value_trim(slice_of(text, len));

        if (part.len > 0)
            list[n++] = op_strndup(op, part.data, part.len);
        text += len + (text[len] == ',');
    }
    return list;
}

int vault_strings(struct op *op, struct slice value, const char ***ret)
{
    struct slice *elements;
    const char **list;
    size_t n;

    if (value.len == 0) {
        *ret = op_alloc(op, sizeof **ret);
        return 0;
    }
    if (*(const char *)value.data == '"') {
        const char *text = copy_string(op, value);

        if (text == NULL)
            return -EINVAL;
        *ret = split_commas(op, text);
        return 0;
    }
    if (value_elements(op, value, &elements, &n) < 0)
        return -EINVAL;
    list = op_alloc(op, (n + 1) * sizeof *list);
    for (size_t i = 0; i < n; i++) {
        list[i] = copy_string(op, elements[i]);
        if (list[i] == NULL)
            return -EINVAL;
    }
    *ret = list;
    return 0;
}

int vault_string(struct op *op, const struct object *o, const char *key, const char **ret)
{
    struct slice value = object_value(o, key);

    *ret = NULL;
    if (value.len == 0)
        return 0;
    *ret = copy_string(op, value);
    if (*ret == NULL)
        return op_fail(op, EINVAL, "error converting input for field \"%s\": expected a string",
                       key);
    return 0;
}

const char *vault_lower(struct op *op, const char *text)
{
    char *lower = op_strndup(op, text, strlen(text));

    for (char *c = lower; *c != 0; c++)
        *c = (char)tolower((unsigned char)*c);
    return lower;
}

int vault_refuse_field(struct op *op, const char *field, const char *kind)
{
    bool is_int = strcmp(kind, "int") == 0;

    return op_fail(op, EINVAL,
                   "Field validation failed: error converting input for field \"%s\": '' cannot "
                   "parse value as '%s': strconv.Parse%s: invalid syntax",
                   field, kind, is_int ? "Int" : "Bool");
}

/* By a method of its own, or GET with a flag. */
static bool asks(struct web_request *req, const char *method, const char *flag)
{
    const char *value;

    if (strcmp(req->method, method) == 0)
        return true;
    value = strcmp(req->method, "GET") == 0 ? web_query(req, flag) : NULL;
    return value != NULL && (strcmp(value, "true") == 0 || strcmp(value, "1") == 0);
}

int vault_check_list(struct op *op, unsigned right, const char *path)
{
    size_t len = strlen(path);

    return identity_check(op, right, "%s%s", path, len > 0 && path[len - 1] == '/' ? "" : "/");
}

bool vault_is_list(struct web_request *req)
{
    return asks(req, "LIST", "list");
}

bool vault_is_scan(struct web_request *req)
{
    return asks(req, "SCAN", "scan");
}
