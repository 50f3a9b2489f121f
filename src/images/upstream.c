#include "images/upstream.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "base/file.h"
#include "base/log.h"
#include "base/scope.h"
#include "images/challenge.h"

#include <curl/curl.h>
#include <errno.h>
#include <jansson.h>
#include <strings.h>
#include <uthash.h>

#define IDLE_MAX       16
#define TOKENS_MAX     256u
#define TOKEN_LIFE_S   60 /* where none is said (docker distribution, "Token Response Fields") */
#define TOKEN_BODY_MAX (256u << 10)
#define SECRET_MAX     4096u
#define CONNECT_MS     5000L
#define ANSWER_MS      30000L
#define STALL_S        30L
#define STOP_STALL_MS  500 /* while it stops */
#define STOP_MS        3000

/* What opens a repository there: the value of Authorization. */
struct grant {
    UT_hash_handle hh;
    char *repo;
    char *value;
    int64_t until_ms; /* monotonic */
};

struct upstream {
    const struct config_mirror *config;
    pthread_mutex_t lock; /* guards: grants, idle */
    struct grant *grants;
    CURL *idle[IDLE_MAX]; /* keep their connections */
    size_t n_idle;
    int64_t stop_ms;      /* atomic; monotonic; 0: it goes on */
};

struct upstream *upstream_new(const struct config_mirror *config)
{
    struct upstream *u = xcalloc(1, sizeof *u);

    u->config = config;
    pthread_mutex_init(&u->lock, NULL);
    return u;
}

void upstream_stop(struct upstream *u)
{
    int64_t none = 0;

    __atomic_compare_exchange_n(&u->stop_ms, &none, clock_monotonic_ms(), false, __ATOMIC_RELAXED,
                                __ATOMIC_RELAXED);
}

static void free_grant(struct upstream *u, struct grant *g)
{
    HASH_DEL(u->grants, g);
    explicit_bzero(g->value, strlen(g->value));
    free(g->value);
    free(g->repo);
    free(g);
}

static void free_grants(struct upstream *u)
{
    struct grant *g, *next;

    HASH_ITER(hh, u->grants, g, next) {
        free_grant(u, g);
    }
}

void upstream_free(struct upstream *u)
{
    for (size_t i = 0; i < u->n_idle; i++)
        curl_easy_cleanup(u->idle[i]);
    free_grants(u);
    pthread_mutex_destroy(&u->lock);
    free(u);
}

static CURL *take_handle(struct upstream *u)
{
    guard(&u->lock);
    return u->n_idle > 0 ? u->idle[--u->n_idle] : curl_easy_init();
}

static void give_handle(struct upstream *u, CURL *curl)
{
    curl_easy_reset(curl);
    {
        guard(&u->lock);
        if (u->n_idle < IDLE_MAX) {
            u->idle[u->n_idle++] = curl;
            return;
        }
    }
    curl_easy_cleanup(curl);
}

/* Returns new, or NULL. */
static char *granted(struct upstream *u, const char *repo)
{
    struct grant *g;

    guard(&u->lock);
    HASH_FIND_STR(u->grants, repo, g);
    return g != NULL && g->until_ms > clock_monotonic_ms() ? xstrdup(g->value) : NULL;
}

static void remember(struct upstream *u, const char *repo, const char *value, int64_t life_s)
{
    struct grant *g;

    guard(&u->lock);
    HASH_FIND_STR(u->grants, repo, g);
    if (g != NULL)
        free_grant(u, g);
    if (HASH_COUNT(u->grants) >= TOKENS_MAX)
        free_grants(u);
    g = xcalloc(1, sizeof *g);
    g->repo = xstrdup(repo);
    g->value = xstrdup(value);
    g->until_ms = clock_monotonic_ms() + life_s * 1000;
    HASH_ADD_KEYPTR(hh, u->grants, g->repo, strlen(g->repo), g);
}

/* "Basic …" of the configuration; returns new, or NULL where there is none. */
static char *own_login(struct upstream *u)
{
    struct buf password = {0}, plain = {0}, line = {0};
    char *value = NULL;
    int r;

    if (u->config->username == NULL)
        return NULL;
    r = file_read(u->config->password_file, SECRET_MAX, &password);
    if (r < 0) {
        log_line(LOG_WARN, NULL, "mirror.password", "unreadable=%s error=%s",
                 u->config->password_file, strerror(-r));
        return NULL;
    }
    while (password.len > 0 && strchr(" \t\r\n", password.data[password.len - 1]) != NULL)
        password.data[--password.len] = 0;
    buf_printf(&plain, "%s:%s", u->config->username, password.len > 0 ? password.data : "");
    buf_add_str(&line, "Basic ");
    base64_encode(&line, buf_slice(&plain));
    value = xstrdup(line.data);
    buf_wipe(&password);
    buf_wipe(&plain);
    buf_wipe(&line);
    return value;
}

/* "https://host:port" of an address. */
static struct slice origin_of(const char *url)
{
    const char *host = strstr(url, "://");
    size_t n = host != NULL ? (size_t)(host - url) + 3 : 0;

    return slice_of(url, n + strcspn(url + n, "/?#"));
}

/* May this realm see the password? */
static bool is_trusted(const struct config_mirror *m, const char *realm)
{
    struct slice origin = origin_of(realm), own = origin_of(m->upstream);

    if (memchr(origin.data, '@', origin.len) != NULL)
        return false;
    if (origin.len == own.len && strncasecmp(origin.data, own.data, own.len) == 0)
        return true;
    if (m->realm == NULL)
        return false;
    own = origin_of(m->realm);
    return origin.len == own.len && strncasecmp(origin.data, own.data, own.len) == 0;
}

/* One transfer. */

struct transfer {
    struct upstream *u;
    struct upstream_request *rq;
    CURL *curl;
    bool begun;
    curl_off_t seen; /* bytes, */
    int64_t seen_ms; /* and when the last of them came */
};

static void keep_header(const char *line, size_t n, const char *name, char *ret, size_t cap)
{
    size_t len = strlen(name);

    if (n <= len + 1 || strncasecmp(line, name, len) != 0 || line[len] != ':')
        return;
    line += len + 1;
    n -= len + 1;
    while (n > 0 && (*line == ' ' || *line == '\t')) {
        line++;
        n--;
    }
    while (n > 0 && strchr("\r\n \t", line[n - 1]) != NULL)
        n--;
    if (n >= cap)
        return;
    memcpy(ret, line, n);
    ret[n] = 0;
}

static size_t take_header(char *line, size_t size, size_t n, void *ctx)
{
    struct transfer *t = ctx;
    struct upstream_request *rq = t->rq;
    char length[32] = "";

    n *= size;
    if (n > 5 && strncmp(line, "HTTP/", 5) == 0) { /* of the next hop */
        rq->content_type[0] = rq->digest[0] = rq->challenge[0] = rq->link[0] = 0;
        rq->length = UINT64_MAX;
    }
    keep_header(line, n, "Content-Type", rq->content_type, sizeof rq->content_type);
    keep_header(line, n, "Docker-Content-Digest", rq->digest, sizeof rq->digest);
    keep_header(line, n, "WWW-Authenticate", rq->challenge, sizeof rq->challenge);
    keep_header(line, n, "Link", rq->link, sizeof rq->link);
    keep_header(line, n, "Content-Length", length, sizeof length);
    if (length[0] != 0)
        parse_u64(slice_str(length), INT64_MAX, &rq->length);
    return n;
}

static size_t take_body(char *bytes, size_t size, size_t n, void *ctx)
{
    struct transfer *t = ctx;
    struct upstream_request *rq = t->rq;
    long status = 0;

    n *= size;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    if (rq->data != NULL && status == 200) {
        if (!t->begun)
            rq->err = rq->begin(rq->ctx, rq);
        t->begun = true;
        if (rq->err == 0)
            rq->err = rq->data(rq->ctx, bytes, n);
        return rq->err == 0 ? n : 0;
    }
    if (rq->body.len + n > (rq->data != NULL ? TOKEN_BODY_MAX : rq->body_max)) {
        rq->err = -EFBIG;
        return 0;
    }
    buf_add(&rq->body, bytes, n);
    return n;
}

static int watch_stop(void *ctx, curl_off_t total, curl_off_t now, curl_off_t c, curl_off_t d)
{
    struct transfer *t = ctx;
    int64_t stop_ms = __atomic_load_n(&t->u->stop_ms, __ATOMIC_RELAXED), now_ms;

    (void)total;
    (void)c;
    (void)d;
    now_ms = clock_monotonic_ms();
    if (now != t->seen) {
        t->seen = now;
        t->seen_ms = now_ms;
    }
    return stop_ms != 0 && (now_ms - t->seen_ms > STOP_STALL_MS || now_ms - stop_ms > STOP_MS);
}

static struct curl_slist *headers_of(const struct upstream_request *rq, const char *authorization)
{
    struct curl_slist *headers = NULL;
    struct buf line = {0};

    buf_printf(&line, "Accept: %s", rq->accept != NULL ? rq->accept : "*/*");
    headers = curl_slist_append(headers, line.data);
    if (authorization != NULL) {
        buf_clear(&line);
        buf_printf(&line, "Authorization: %s", authorization);
        headers = curl_slist_append(headers, line.data);
    }
    buf_wipe(&line);
    return headers;
}

static void free_headers(struct curl_slist *headers)
{
    for (struct curl_slist *h = headers; h != NULL; h = h->next)
        explicit_bzero(h->data, strlen(h->data));
    curl_slist_free_all(headers);
}

static int transfer(struct upstream *u, struct upstream_request *rq, const char *url,
                    const char *authorization, struct buf *why)
{
    struct transfer t = {.u = u, .rq = rq, .curl = take_handle(u)};
    struct curl_slist *headers = headers_of(rq, authorization);
    char error[CURL_ERROR_SIZE] = "";
    CURLcode code;

    t.seen_ms = clock_monotonic_ms();
    buf_clear(&rq->body);
    rq->err = 0;
    rq->status = 0;
    rq->length = UINT64_MAX;
    curl_easy_setopt(t.curl, CURLOPT_URL, url);
    curl_easy_setopt(t.curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(t.curl, CURLOPT_REDIR_PROTOCOLS_STR,
                     strncmp(url, "https:", 6) == 0 ? "https" : "http,https");
    curl_easy_setopt(t.curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(t.curl, CURLOPT_MAXREDIRS, 5L);
    curl_easy_setopt(t.curl, CURLOPT_NOBODY, rq->head ? 1L : 0L);
    curl_easy_setopt(t.curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(t.curl, CURLOPT_USERAGENT, "infrafs/" INFRAFS_VERSION);
    curl_easy_setopt(t.curl, CURLOPT_ERRORBUFFER, error);
    curl_easy_setopt(t.curl, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(t.curl, CURLOPT_HEADERDATA, &t);
    curl_easy_setopt(t.curl, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(t.curl, CURLOPT_WRITEDATA, &t);
    curl_easy_setopt(t.curl, CURLOPT_XFERINFOFUNCTION, watch_stop);
    curl_easy_setopt(t.curl, CURLOPT_XFERINFODATA, &t);
    curl_easy_setopt(t.curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(t.curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    if (rq->data == NULL)
        curl_easy_setopt(t.curl, CURLOPT_TIMEOUT_MS, ANSWER_MS);
    curl_easy_setopt(t.curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(t.curl, CURLOPT_LOW_SPEED_TIME, STALL_S);
    curl_easy_setopt(t.curl, CURLOPT_BUFFERSIZE, 256L << 10);
    curl_easy_setopt(t.curl, CURLOPT_NOSIGNAL, 1L);
    code = curl_easy_perform(t.curl);
    curl_easy_getinfo(t.curl, CURLINFO_RESPONSE_CODE, &rq->status);
    free_headers(headers);
    if (code == CURLE_OK && rq->status == 200 && rq->data != NULL && !t.begun)
        rq->err = rq->begin(rq->ctx, rq); /* an empty body */
    give_handle(u, t.curl);
    if (rq->err < 0)
        return rq->err;
    if (code == CURLE_OK)
        return 0;
    buf_printf(why, "%.*s: %s", (int)origin_of(url).len, url,
               error[0] != 0 ? error : curl_easy_strerror(code));
    return -EHOSTUNREACH;
}

/* Tokens. */

static void token_url(const struct challenge *ch, struct buf *out)
{
    char join = strchr(ch->realm, '?') != NULL ? '&' : '?';

    buf_add_str(out, ch->realm);
    if (ch->service[0] != 0) {
        buf_printf(out, "%cservice=", join);
        percent_encode(out, slice_str(ch->service), "");
        join = '&';
    }
    for (const char *p = ch->scope; *p != 0; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ");

        buf_printf(out, "%cscope=", join);
        percent_encode(out, slice_of(p, n), ":/,");
        join = '&';
        p += n;
    }
}

static int take_token(struct upstream *u, const char *repo, const struct upstream_request *answer,
                      struct buf *why)
{
    json_t *json = json_loadb(answer->body.data, answer->body.len, 0, NULL);
    const char *token = json_string_value(json_object_get(json, "token"));
    json_int_t life_s = json_integer_value(json_object_get(json, "expires_in"));
    struct buf value = {0};
    int r = -EHOSTUNREACH;

    if (token == NULL)
        token = json_string_value(json_object_get(json, "access_token"));
    if (answer->status == 200 && token != NULL && strpbrk(token, "\r\n") == NULL) {
        buf_printf(&value, "Bearer %s", token);
        life_s = life_s <= 0 ? TOKEN_LIFE_S : life_s > 3600 ? 3600 : life_s;
        remember(u, repo, value.data, life_s > 20 ? life_s - 10 : life_s);
        r = 0;
    } else {
        buf_printf(why, "no token was given (status %ld)", answer->status);
    }
    json_decref(json);
    buf_wipe(&value);
    return r;
}

static int get_token(struct upstream *u, const char *repo, const struct challenge *ch,
                     struct buf *why)
{
    struct upstream_request rq = {.body_max = TOKEN_BODY_MAX};
    char *login = NULL;
    autobuf url = {0};
    int r;

    if (strncmp(ch->realm, "http://", 7) != 0 && strncmp(ch->realm, "https://", 8) != 0) {
        buf_printf(why, "the upstream names no realm for tokens");
        return -EHOSTUNREACH;
    }
    if (is_trusted(u->config, ch->realm))
        login = own_login(u);
    else if (u->config->username != NULL)
        log_line(LOG_WARN, NULL, "mirror.realm",
                 "realm=%s upstream=%s why=it is of another host and gets no password; name it as "
                 "'realm' of the mirror if it may",
                 ch->realm, u->config->upstream);
    token_url(ch, &url);
    r = transfer(u, &rq, url.data, login, why);
    if (r == 0)
        r = take_token(u, repo, &rq, why);
    if (login != NULL)
        explicit_bzero(login, strlen(login));
    free(login);
    buf_wipe(&rq.body);
    return r;
}

/* After a 401: 0, there is something to try it again with. */
static int log_in(struct upstream *u, const char *repo, const char *text, struct buf *why)
{
    struct challenge *ch = xcalloc(1, sizeof *ch);
    char *login = NULL;
    int r = challenge_parse(slice_str(text), ch);

    if (r == 0 && ch->scheme == CHALLENGE_BEARER) {
        r = get_token(u, repo, ch, why);
    } else if (r == 0 && ch->scheme == CHALLENGE_BASIC && (login = own_login(u)) != NULL) {
        remember(u, repo, login, TOKEN_LIFE_S);
        explicit_bzero(login, strlen(login));
    } else {
        r = -ENOENT;
    }
    free(login);
    free(ch);
    return r;
}

int upstream_ask(struct upstream *u, struct upstream_request *rq, struct buf *why)
{
    autobuf url = {0};
    int r = -EHOSTUNREACH;

    buf_printf(&url, "%s/v2/", u->config->upstream);
    percent_encode(&url, slice_str(rq->repo), "/");
    buf_add_char(&url, '/');
    percent_encode(&url, slice_str(rq->path), "/:");
    if (rq->query != NULL)
        buf_printf(&url, "?%s", rq->query);
    for (int tries = 0; tries < 2; tries++) {
        char *authorization = granted(u, rq->repo);

        if (__atomic_load_n(&u->stop_ms, __ATOMIC_RELAXED) != 0)
            buf_add_str(why, "the daemon stops");
        else
            r = transfer(u, rq, url.data, authorization, why);
        if (authorization != NULL)
            explicit_bzero(authorization, strlen(authorization));
        free(authorization);
        if (r < 0 || rq->status != 401 || tries == 1)
            return r;
        r = log_in(u, rq->repo, rq->challenge, why);
        if (r < 0)
            return r == -ENOENT ? 0 : r;
    }
    return r;
}
