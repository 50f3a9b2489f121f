/* Bearer tokens: the challenge, and /token, where clients trade a login for one (docker
 * distribution, "Token Authentication Specification" and "OAuth2 Token Authentication"). */
#include "base/clock.h"
#include "base/json.h"
#include "config.h"
#include "identity/identity.h"
#include "identity/scoped.h"
#include "images/images_web.h"
#include "images/mirror.h"
#include "images/scope.h"

#include <errno.h>

#define TOKEN_S     300
#define REFRESH_S   (90 * 24 * 3600)
#define SCOPES_MAX  16u
#define TOKEN_BYTES 4000u /* longer ones would be refused when they are shown */

/* The challenge. */

static const char *scope_of(struct web_request *req)
{
    const char *pattern = req->route != NULL ? req->route->pattern : "";
    const char *repo = web_param(req, "name"), *from = web_query(req, "from"), *actions = "pull";
    const char *scope;

    if (strstr(pattern, "/_catalog") != NULL)
        return "registry:catalog:*";
    if (!repository_name_valid(slice_str(repo)))
        return NULL;
    if (strcmp(req->method, "DELETE") == 0 && strstr(pattern, "/uploads") == NULL)
        actions = "pull,delete";
    else if (strstr(pattern, "/uploads") != NULL || strcmp(req->method, "PUT") == 0)
        actions = "pull,push";
    else
        repo = mirror_meant(req->op, req->self, repo, web_query(req, "ns"));
    scope = op_printf(req->op, "repository:%s:%s", repo, actions);
    if (from != NULL && repository_name_valid(slice_str(from)))
        scope = op_printf(req->op, "%s repository:%s:pull", scope, from);
    return scope;
}

/* Where somebody may pull without a login, docker finds that out only by way of a token. */
static bool offers_tokens(struct images *im)
{
    const struct identity *anonymous;

    if (im->config->images_auth != IMAGES_AUTH_AUTO)
        return im->config->images_auth == IMAGES_AUTH_BEARER;
    anonymous = identity_anonymous(im->identities);
    return (identity_rights(anonymous, SLICE("images/")) & POLICY_READ) != 0 ||
           identity_touches(anonymous, SLICE("images/"));
}

void web_challenge(struct web_request *req, struct web_response *resp)
{
    const char *scope, *error = "";
    bool token_route = req->route != NULL && strcmp(req->route->pattern, "/token") == 0;

    if (token_route || req->host == NULL || !offers_tokens(req->self)) {
        web_set_header(req, resp, "WWW-Authenticate", "Basic realm=\"infrafs\"");
        return;
    }
    if (req->op->who->within != NULL)
        error = ",error=\"insufficient_scope\"";
    else if (web_header(req, "Authorization") != NULL)
        error = ",error=\"invalid_token\"";
    scope = scope_of(req);
    web_add_header(req, resp, "WWW-Authenticate",
                   "Bearer realm=\"%s/token\",service=\"%s\"%s%s%s%s", web_base_url(req), req->host,
                   scope != NULL ? ",scope=\"" : "", scope != NULL ? scope : "",
                   scope != NULL ? "\"" : "", error);
}

/* What is asked for. */

struct wish {
    struct web_request *req;
    const struct identity *who;
    struct scoped_access access[SCOPES_MAX + 1];
    size_t n;
    struct buf granted; /* as the answer says it */
};

static void grant(struct wish *w, const char *path, unsigned rights)
{
    if (rights != 0 && w->n < SCOPES_MAX)
        w->access[w->n++] = (struct scoped_access){path, rights};
}

static void add_catalog(struct wish *w)
{
    grant(w, "images/*", POLICY_LIST);
    buf_printf(&w->granted, "%sregistry:catalog:*", w->granted.len > 0 ? " " : "");
}

static int add_repository(struct wish *w, const struct scope *s)
{
    const char *name = op_strndup(w->req->op, s->name.data, s->name.len), *path;
    unsigned want = 0, have;

    path = op_printf(w->req->op, "images/%s",
                     s->actions == SCOPE_PULL ? mirror_meant(w->req->op, w->req->self, name, NULL)
                                              : name);
    have = identity_rights(w->who, slice_str(path));
    want |= s->actions & SCOPE_PULL ? POLICY_READ : 0;
    want |= s->actions & SCOPE_PUSH ? POLICY_CREATE | POLICY_UPDATE : 0;
    want |= s->actions & SCOPE_DELETE ? POLICY_DELETE : 0;
    have &= want;
    grant(w, path, have);
    if (have != 0)
        buf_printf(&w->granted, "%srepository:%s:%s%s%s%s%s", w->granted.len > 0 ? " " : "",
                   name, have & POLICY_READ ? "pull" : "",
                   have & POLICY_READ && have & ~(unsigned)POLICY_READ ? "," : "",
                   have & (POLICY_CREATE | POLICY_UPDATE) ? "push" : "",
                   have & (POLICY_CREATE | POLICY_UPDATE) && have & POLICY_DELETE ? "," : "",
                   have & POLICY_DELETE ? "delete" : "");
    return 0;
}

static int add_scope(struct wish *w, struct slice text)
{
    struct scope s;
    int r = scope_parse(text, &s);

    if (r == -ENOTSUP)
        return 0;
    if (r < 0)
        return op_fail(w->req->op, EINVAL, "'%.*s' is not a scope, such as repository:app:pull",
                       text.len > 200 ? 200 : (int)text.len, (const char *)text.data);
    if (w->n == SCOPES_MAX)
        return op_fail(w->req->op, EINVAL, "more than %u scopes at once", SCOPES_MAX);
    if (s.actions & SCOPE_CATALOG) {
        add_catalog(w);
        return 0;
    }
    return add_repository(w, &s);
}

/* ?scope= may come several times, and hold several, parted by blanks. */
static int read_scopes(struct wish *w)
{
    const char *text;
    int r = 0;

    for (size_t i = 0; r == 0 && (text = web_query_nth(w->req, "scope", i)) != NULL; i++)
        for (const char *p = text + strspn(text, " "); r == 0 && *p != 0; p += strspn(p, " ")) {
            size_t n = strcspn(p, " ");

            r = add_scope(w, slice_of(p, n));
            p += n;
        }
    return r;
}

static int reply(struct wish *w, struct web_response *resp, bool refresh)
{
    struct images *im = w->req->self;
    struct op *op = w->req->op;
    const char *token, *refresh_token = NULL;
    char time[CLOCK_TEXT_MAX];
    autobuf out = {0};
    struct json j;
    int r;

    r = scoped_issue(im->identities, op, w->who, w->access, w->n, TOKEN_S, &token);
    if (r == 0 && refresh && w->who->kind != IDENTITY_ANONYMOUS)
        r = scoped_issue_refresh(im->identities, op, w->who, REFRESH_S, &refresh_token);
    if (r < 0)
        return r;
    if (strlen(token) > TOKEN_BYTES)
        return op_fail(op, EINVAL, "too many scopes at once");
    json_init(&j, &out);
    json_object(&j);
    json_kstr(&j, "token", token);
    json_kstr(&j, "access_token", token);
    json_ku64(&j, "expires_in", TOKEN_S);
    json_kstr(&j, "issued_at", clock_print_ns(clock_unix_ns(), 0, time));
    json_kslice(&j, "scope", buf_slice(&w->granted));
    if (refresh_token != NULL)
        json_kstr(&j, "refresh_token", refresh_token);
    json_object_end(&j);
    web_set_header(w->req, resp, "Cache-Control", "no-store");
    web_reply_buf(w->req, resp, 200, "application/json", &out);
    return 0;
}

/* GET: Basic, or nobody in particular, who gets what the policy "anonymous" gives. */
int token_get(struct web_request *req, struct web_response *resp)
{
    const char *offline = web_query(req, "offline_token");
    struct wish w = {.req = req, .who = req->op->who};
    int r;

    if (w.who->within != NULL)
        return op_fail(req->op, EPERM, "a token does not make others; send a user and password");
    r = read_scopes(&w);
    if (r == 0)
        r = reply(&w, resp, offline != NULL && strcmp(offline, "true") == 0);
    buf_done(&w.granted);
    return r;
}

static int log_in(struct web_request *req, struct identity **ret)
{
    const char *grant_type = web_query(req, "grant_type");
    const char *user = web_query(req, "username"), *password = web_query(req, "password");
    const char *refresh = web_query(req, "refresh_token");
    struct images *im = req->self;

    if (grant_type != NULL && strcmp(grant_type, "refresh_token") == 0)
        return scoped_refresh(im->identities, req->op,
                              slice_str(refresh != NULL ? refresh : ""), ret);
    if (grant_type == NULL || strcmp(grant_type, "password") != 0)
        return op_fail(req->op, EINVAL, "grant_type is 'password' or 'refresh_token'");
    if (user == NULL || password == NULL)
        return op_fail(req->op, EINVAL, "username and password are needed");
    return identity_basic(im->identities, req->op, slice_str(user), slice_str(password), 0, ret);
}

/* POST: the OAuth2 form. */
int token_post(struct web_request *req, struct web_response *resp)
{
    struct wish w = {.req = req};
    struct identity *who = NULL;
    const char *access_type;
    int r;

    r = web_read_form(req);
    if (r == 0)
        r = log_in(req, &who);
    if (r < 0)
        return r;
    access_type = web_query(req, "access_type");
    w.who = who;
    r = who->within != NULL ? op_fail(req->op, EPERM, "a token does not make others") : 0;
    if (r == 0)
        r = read_scopes(&w);
    if (r == 0)
        r = reply(&w, resp, access_type != NULL && strcmp(access_type, "offline") == 0);
    buf_done(&w.granted);
    identity_unref(who);
    return r;
}
