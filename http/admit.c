#include "http/credentials.h"
#include "http/request.h"
#include "http/target.h"

#include "base/alloc.h"
#include "base/scope.h"

#include <errno.h>

/* Password hashes that may wait: more would not be answered in time anyway. */
#define HASHES_WAITING_MAX 256u

static enum MHD_Result take_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                   const char *value)
{
    (void)kind;
    headers_add(cls, name, value);
    return MHD_YES;
}

static int check_size(struct request *r)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(r->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);

    if (info == NULL || info->header_size <= r->http->limits->header_bytes)
        return 0;
    r->close = true;
    r->status_instead = MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE;
    return op_fail(&r->op, EFBIG, "the headers are larger than %" PRIu64 " bytes",
                   r->http->limits->header_bytes);
}

static int read_head(struct request *r, const char *version)
{
    const char *why;
    int result = check_size(r);

    if (result < 0)
        return result;
    MHD_get_connection_values(r->connection, MHD_HEADER_KIND, take_header, &r->headers);
    result = headers_check(&r->headers, &r->web.content_length, &why);
    if (result < 0) {
        r->close = true;
        return op_fail(&r->op, EINVAL, "bad request: %s", why);
    }
    if (strcmp(version, "HTTP/1.1") != 0 && strcmp(version, "HTTP/1.0") != 0) {
        r->close = true;
        return op_fail(&r->op, EINVAL, "bad request: '%s' is not spoken here", version);
    }
    r->web.host = r->headers.forwarded_host != NULL ? r->headers.forwarded_host : r->headers.host;
    r->web.scheme = r->listener->tls != NULL ? "https" : "http";
    if (r->headers.forwarded_proto != NULL)
        r->web.scheme = strcmp(r->headers.forwarded_proto, "https") == 0 ? "https" : "http";
    return 0;
}

static int read_target(struct request *r)
{
    struct target target;
    int result = target_parse(&r->op, r->uri, &target);

    r->web.path = target.path;
    r->web.raw_path = target.raw_path;
    if (result < 0)
        return result;
    return web_parse_query(&r->op, target.query, &r->web.query, &r->web.n_query);
}

static int find_route(struct request *r)
{
    void *owner = NULL;
    const char *allow = NULL;
    int result = web_router_find(r->listener->router, &r->web, &owner, &allow);

    r->domain = owner;
    if (owner != NULL)
        r->web.self = r->domain->self;
    if (result == -ENOENT)
        return op_fail(&r->op, ENOENT, "there is nothing at '%s'", r->web.path);
    if (result == -ENOTSUP) {
        r->allow = allow;
        return op_fail(&r->op, ENOTSUP, "'%s' takes %s, not %s", r->web.path, allow, r->web.method);
    }
    r->op.wiped = r->web.route->flags & ROUTE_SECRET;
    return 0;
}

/* A target that cannot be read is refused in the dialect that its first segment is of. */
static void find_dialect(struct request *r)
{
    size_t len = r->uri[0] == '/' ? strcspn(r->uri + 1, "/?%") : 0;
    const char *allow = NULL;
    void *owner = NULL;

    if (len == 0)
        return;
    r->web.path = r->web.raw_path = op_printf(&r->op, "/%.*s/-", (int)len, r->uri + 1);
    web_router_find(r->listener->router, &r->web, &owner, &allow);
    r->web.route = NULL;
    r->web.path = r->web.raw_path = "/";
    r->domain = owner;
    if (owner != NULL)
        r->web.self = r->domain->self;
}

static int verify(struct request *r, const struct credentials *c, unsigned flags)
{
    struct identities *ids = r->http->options.identities;
    int result = 0;

    if (c->kind == CREDENTIALS_BASIC)
        result = identity_basic(ids, &r->op, c->user, c->password, flags, &r->who);
    else if (c->kind == CREDENTIALS_TOKEN)
        result = identity_token(ids, &r->op, c->token, &r->who);
    if (result == 0 && r->who != NULL)
        r->op.who = r->who;
    return result;
}

static int parse_credentials(struct request *r, struct credentials *c)
{
    int result = credentials_parse(r->headers.authorization, r->headers.vault_token, c);

    r->showed_credentials = result < 0 || c->kind != CREDENTIALS_NONE;
    if (result < 0)
        return op_fail(&r->op, EPERM, "the credentials cannot be read; send Basic or a token");
    return 0;
}

/* In a worker: a hash must be computed. */
static void job_verify(struct request *r)
{
    struct credentials c;

    r->result = parse_credentials(r, &c);
    if (r->result == 0)
        r->result = verify(r, &c, 0);
    credentials_wipe(&c);
    request_resume(r);
}

/* False: suspended, a worker computes a hash. */
static bool authenticate(struct request *r)
{
    struct credentials c;

    if (r->web.route->flags & ROUTE_PUBLIC)
        return true;
    r->result = parse_credentials(r, &c);
    if (r->result == 0)
        r->result = verify(r, &c, IDENTITY_QUICK);
    credentials_wipe(&c);
    if (r->result != -EAGAIN)
        return true;
    op_forgive(&r->op);
    if (pool_waiting(r->http->hashers) >= HASHES_WAITING_MAX) {
        r->result = op_fail(&r->op, EBUSY, "too many logins at once; try again");
        return true;
    }
    request_to_worker(r, r->http->hashers, job_verify);
    return false;
}

bool request_admit(struct request *r, const char *method, const char *version)
{
    r->web.method = op_strdup(&r->op, method);
    r->web.path = r->web.raw_path = "/";
    r->result = read_head(r, version);
    if (r->result == 0) {
        r->result = read_target(r);
        if (r->result < 0)
            find_dialect(r);
    }
    if (r->result == 0)
        r->result = find_route(r);
    r->stage = STAGE_KNOWN;
    return r->result < 0 || authenticate(r);
}
