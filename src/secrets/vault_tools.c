/* vault_tools.c: random bytes and hashes: sys/tools/random, sys/tools/hash, and transit's. */
#include "base/codec.h"
#include "base/scope.h"
#include "secrets/transit.h"

#include <errno.h>
#include <sys/random.h>

#define RANDOM_BYTES_MAX 131072 /* Vault's limit */

static int read_format(struct op *op, const struct object *body, const char *standard,
                       const char *quote, bool *ret_hex)
{
    const char *format = NULL;
    int r = vault_string(op, body, "format", &format);

    if (r < 0)
        return r;
    if (format == NULL || format[0] == 0)
        format = standard;
    *ret_hex = strcmp(format, "hex") == 0;
    if (*ret_hex || strcmp(format, "base64") == 0)
        return 0;
    return op_fail(op, EINVAL, "unsupported encoding format %s%s%s; must be \"hex\" or \"base64\"",
                   quote, format, quote);
}

static void answer_bytes(struct web_request *req, struct web_response *resp, const char *key,
                         struct slice bytes, bool hex)
{
    struct buf text = {0};
    struct vault_answer a;

    if (hex) {
        buf_reserve(&text, 2 * bytes.len + 1);
        hex_encode(bytes, text.data);
        text.len = 2 * bytes.len;
    } else {
        base64_encode(&text, bytes);
    }
    vault_answer_begin(&a, req);
    json_object(&a.json);
    json_kslice(&a.json, key, buf_slice(&text));
    json_object_end(&a.json);
    vault_answer_end(&a, resp, 0);
    buf_wipe(&text);
}

/* "", "SOURCE", "BYTES", "SOURCE/BYTES" */
static int read_count(struct op *op, const struct object *body, const char *path, int64_t *ret)
{
    const char *slash = strchr(path, '/'), *source = NULL, *count = path;
    struct slice value = object_value(body, "bytes");
    int r = vault_string(op, body, "source", &source);

    if (r < 0)
        return r;
    if (slash != NULL) {
        source = op_strndup(op, path, (size_t)(slash - path));
        count = slash + 1;
    } else if (strcmp(path, "all") == 0 || strcmp(path, "platform") == 0 ||
               strcmp(path, "seal") == 0) {
        source = path;
        count = "";
    }
    if (source != NULL && source[0] != 0 && strcmp(source, "all") != 0 &&
        strcmp(source, "platform") != 0 && strcmp(source, "seal") != 0)
        return op_fail(op, EINVAL,
                       "unsupported entropy source \"%s\"; must be \"platform\" or \"seal\", or "
                       "\"all\"",
                       source);
    *ret = 32;
    if (count[0] != 0 && value_integer(op, slice_str(count), ret) < 0)
        return op_fail(op, EINVAL,
                       "error parsing url-set byte count: strconv.Atoi: parsing \"%s\": invalid "
                       "syntax",
                       count);
    if (count[0] == 0 && value.len > 0 && value_integer(op, value, ret) < 0)
        return op_fail(op, EINVAL, "error converting input for field \"bytes\": expected a number");
    if (*ret < 1)
        return op_fail(op, EINVAL, "'bytes' cannot be less than 1");
    return *ret <= RANDOM_BYTES_MAX
               ? 0
               : op_fail(op, EINVAL, "'bytes' should be less than %d", RANDOM_BYTES_MAX);
}

int vault_random(struct web_request *req, struct web_response *resp, const char *path)
{
    struct object body;
    uint8_t *bytes;
    int64_t n = 0;
    bool hex;
    int r = vault_body(req, &body);

    if (r == 0)
        r = read_count(req->op, &body, path, &n);
    if (r == 0)
        r = read_format(req->op, &body, "base64", "\"", &hex);
    if (r < 0)
        return r;
    bytes = op_alloc(req->op, (size_t)n);
    for (int64_t done = 0; done < n;) {
        ssize_t got = getrandom(bytes + done, (size_t)(n - done), 0);

        if (got <= 0)
            return -EIO;
        done += got;
    }
    answer_bytes(req, resp, "random_bytes", slice_of(bytes, (size_t)n), hex);
    return 0;
}

int vault_hash(struct web_request *req, struct web_response *resp, const char *path)
{
    const char *algorithm = NULL;
    unsigned n = EVP_MAX_MD_SIZE;
    uint8_t sum[EVP_MAX_MD_SIZE];
    struct object body;
    struct slice input;
    const EVP_MD *md;
    bool hex;
    int r = vault_body(req, &body);

    if (r == 0)
        r = vault_string(req->op, &body, "algorithm", &algorithm);
    if (path[0] != 0)
        algorithm = path;
    else if (algorithm == NULL || algorithm[0] == 0)
        algorithm = "sha2-256";
    if (r == 0 && object_value(&body, "input").len == 0)
        r = op_fail(req->op, EINVAL, "input missing");
    if (r == 0)
        r = transit_member(req->op, &body, "input", "unable to decode input as base64: ", &input);
    if (r == 0)
        r = read_format(req->op, &body, "hex", "", &hex);
    if (r < 0)
        return r;
    md = transit_digest(algorithm, false);
    if (md == NULL)
        return op_fail(req->op, EINVAL, "unsupported algorithm %s", algorithm);
    if (EVP_Digest(input.data, input.len, sum, &n, md, NULL) != 1)
        return -EIO;
    answer_bytes(req, resp, "sum", slice_of(sum, n), hex);
    return 0;
}

static int tool(struct web_request *req, struct web_response *resp, const char *name,
                int (*f)(struct web_request *, struct web_response *, const char *))
{
    const char *rest = req->path + strlen("/v1/sys/tools/") + strlen(name);
    int r = vault_begin(req);

    if (r == 0)
        r = identity_check(req->op, POLICY_UPDATE, "%s", req->path + 4);
    return r == 0 ? f(req, resp, *rest == '/' ? rest + 1 : rest) : r;
}

int sys_random(struct web_request *req, struct web_response *resp)
{
    return tool(req, resp, "random", vault_random);
}

int sys_hash(struct web_request *req, struct web_response *resp)
{
    return tool(req, resp, "hash", vault_hash);
}
