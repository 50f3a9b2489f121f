#include "metrics/scrape/fetch.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/codec.h"
#include "base/file.h"

#include <errno.h>
#include <stdlib.h>

#define SECRET_BYTES_MAX (64u << 10)
#define REDIRECTS_MAX    10l
#define FORGIVEN_MAX_MS  10000 /* where nobody ever has time, who is silent must end too */

/* Past the limit the transfer ends: what came so far is of no use. */
static bool take_plain(struct fetch *f, const char *data, size_t n)
{
    f->too_large = f->body.len + n > f->limit_bytes;
    if (!f->too_large)
        buf_add(&f->body, data, n);
    return !f->too_large;
}

static size_t take_body(char *data, size_t size, size_t n, void *ctx)
{
    struct fetch *f = ctx;

    n *= size;
    if (f->gzip == NULL && !fetch_is_gzip(f))
        return take_plain(f, data, n) ? n : 0;
    if (fetch_gzip_take(f, data, n, take_plain) == 0)
        return n;
    f->damaged = !f->too_large;
    return 0;
}

/* From the text of the configuration or a file, which may change at any time. */
static int read_secret(const char *text, const char *file, struct buf *ret, struct buf *why)
{
    int r;

    if (file == NULL) {
        buf_add_str(ret, text != NULL ? text : "");
        return 0;
    }
    r = file_read(file, SECRET_BYTES_MAX, ret);
    if (r < 0) {
        buf_printf(why, "unable to read file %s: %s", file, strerror(-r));
        return r;
    }
    while (ret->len > 0 && strchr(" \t\r\n", ret->data[ret->len - 1]) != NULL)
        ret->data[--ret->len] = 0;
    return 0;
}

static int set_auth(struct fetch *f, struct buf *why)
{
    const struct job *j = f->target->job;
    autobuf secret = {0};
    int r = 0;

    if (j->username != NULL) {
        autobuf user = {0};

        r = read_secret(j->username, j->username_file, &user, why);
        if (r == 0)
            r = read_secret(j->password, j->password_file, &secret, why);
        curl_easy_setopt(f->curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        curl_easy_setopt(f->curl, CURLOPT_USERNAME, user.data != NULL ? user.data : "");
        curl_easy_setopt(f->curl, CURLOPT_PASSWORD, secret.data != NULL ? secret.data : "");
    } else if (j->credentials != NULL || j->credentials_file != NULL) {
        autobuf line = {0};

        r = read_secret(j->credentials, j->credentials_file, &secret, why);
        buf_printf(&line, "Authorization: %s %s", j->auth_type != NULL ? j->auth_type : "Bearer",
                   secret.data != NULL ? secret.data : "");
        if (strpbrk(line.data, "\r\n") == NULL) /* libcurl drops it at a redirect elsewhere */
            f->headers = curl_slist_append(f->headers, line.data);
        buf_wipe(&line);
    }
    buf_wipe(&secret);
    return r;
}

static void set_headers(struct fetch *f)
{
    const struct target *t = f->target;
    autobuf line = {0};

    if (t->job->sd_url != NULL) {
        f->headers = curl_slist_append(f->headers, "Accept: application/json");
        buf_printf(&line, "X-Prometheus-Refresh-Interval-Seconds: %g",
                   (double)t->interval_ms / 1000);
    } else if (t->job->accept != NULL) {
        buf_printf(&line, "Accept: %s", t->job->accept);
        f->headers = curl_slist_append(f->headers, line.data);
        buf_clear(&line);
        buf_printf(&line, "X-Prometheus-Scrape-Timeout-Seconds: %g", (double)t->timeout_ms / 1000);
    }
    if (line.len > 0)
        f->headers = curl_slist_append(f->headers, line.data);
    if (t->job->enable_compression)
        f->headers = curl_slist_append(f->headers, "Accept-Encoding: gzip");
    for (size_t i = 0; i < t->job->headers.n; i++) {
        buf_clear(&line);
        buf_printf(&line, "%s: %s", t->job->headers.items[i].name, t->job->headers.items[i].value);
        f->headers = curl_slist_append(f->headers, line.data);
    }
}

static void set_tls(struct fetch *f)
{
    static const long lowest[] = {CURL_SSLVERSION_TLSv1_2, CURL_SSLVERSION_TLSv1_0,
                                  CURL_SSLVERSION_TLSv1_1, CURL_SSLVERSION_TLSv1_2,
                                  CURL_SSLVERSION_TLSv1_3};
    static const long highest[] = {0, CURL_SSLVERSION_MAX_TLSv1_0, CURL_SSLVERSION_MAX_TLSv1_1,
                                   CURL_SSLVERSION_MAX_TLSv1_2, CURL_SSLVERSION_MAX_TLSv1_3};
    const struct job *j = f->target->job;

    if (j->ca_file != NULL)
        curl_easy_setopt(f->curl, CURLOPT_CAINFO, j->ca_file);
    if (j->cert_file != NULL) {
        curl_easy_setopt(f->curl, CURLOPT_SSLCERT, j->cert_file);
        curl_easy_setopt(f->curl, CURLOPT_SSLKEY, j->key_file);
    }
    curl_easy_setopt(f->curl, CURLOPT_SSLVERSION,
                     lowest[j->tls_min] | (j->tls_max > 0 ? highest[j->tls_max] : 0));
    if (j->insecure_skip_verify) {
        curl_easy_setopt(f->curl, CURLOPT_SSL_VERIFYPEER, 0l);
        curl_easy_setopt(f->curl, CURLOPT_SSL_VERIFYHOST, 0l);
    }
    if (j->server_name != NULL && strncmp(f->target->url, "https://", 8) == 0) {
        /* libcurl has no option for the name alone: connect to the address under that name. */
        const char *authority = f->target->url + 8;
        int n = (int)strcspn(authority, "/?");
        autobuf url = {0};
        autobuf to = {0};
        const char *colon = memchr(authority, ':', (size_t)n);

        buf_printf(&url, "https://%s%.*s%s", j->server_name,
                   colon != NULL ? (int)(authority + n - colon) : 0, colon != NULL ? colon : "",
                   authority + n);
        buf_printf(&to, "::%.*s", n, authority);
        curl_easy_setopt(f->curl, CURLOPT_URL, url.data);
        f->connect_to = curl_slist_append(NULL, to.data);
        curl_easy_setopt(f->curl, CURLOPT_CONNECT_TO, f->connect_to);
    }
}

void fetch_forgive(struct fetch *f, int64_t ms)
{
    int64_t limit_ms = f->target->timeout_ms + FORGIVEN_MAX_MS;

    f->within_ms = f->within_ms + ms < limit_ms ? f->within_ms + ms : limit_ms;
    curl_easy_setopt(f->curl, CURLOPT_TIMEOUT_MS, (long)f->within_ms);
    curl_easy_setopt(f->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)f->within_ms);
}

struct fetch *fetch_new(struct target *t, uint64_t body_bytes_max, struct buf *why)
{
    struct fetch *f = xcalloc(1, sizeof *f);
    CURL *c = f->curl = curl_easy_init();
    const struct job *j = t->job;

    f->target = t;
    f->limit_bytes = j->body_size_limit > 0 && j->body_size_limit < body_bytes_max
                         ? j->body_size_limit
                         : body_bytes_max;
    if (c == NULL || set_auth(f, why) < 0) {
        if (why->len == 0)
            buf_add_str(why, "no memory for a request");
        fetch_free(f);
        return NULL;
    }
    set_headers(f);
    curl_easy_setopt(c, CURLOPT_URL, t->url);
    curl_easy_setopt(c, CURLOPT_PRIVATE, f);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, f->error);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1l);
    /* libcurl 7.88 walks all names that it keeps at each request's end: with ten thousand targets
     * that is most of the work. A connection that is kept asks for no name. */
    curl_easy_setopt(c, CURLOPT_DNS_CACHE_TIMEOUT, 0l);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, f->headers);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "Prometheus/3.16.0 infrafs/" INFRAFS_VERSION);
    curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, j->follow_redirects ? 1l : 0l);
    curl_easy_setopt(c, CURLOPT_MAXREDIRS, REDIRECTS_MAX);
    curl_easy_setopt(c, CURLOPT_PROXY, j->proxy_url != NULL ? j->proxy_url : "");
    fetch_forgive(f, t->timeout_ms);
    curl_easy_setopt(c, CURLOPT_BUFFERSIZE, 128l << 10);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, f);
    set_tls(f);
    return f;
}

void fetch_free(struct fetch *f)
{
    if (f == NULL)
        return;
    curl_easy_cleanup(f->curl);
    curl_slist_free_all(f->headers);
    curl_slist_free_all(f->connect_to);
    fetch_gzip_free(f);
    buf_done(&f->body);
    free(f);
}

static const char *status_text(long status)
{
    static const struct {
        long status;
        const char *text;
    } known[] = {{301, " Moved Permanently"},  {302, " Found"},
                 {400, " Bad Request"},        {401, " Unauthorized"},
                 {403, " Forbidden"},          {404, " Not Found"},
                 {405, " Method Not Allowed"}, {500, " Internal Server Error"},
                 {502, " Bad Gateway"},        {503, " Service Unavailable"},
                 {504, " Gateway Timeout"}};

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].status == status)
            return known[i].text;
    return "";
}

static void explain(struct fetch *f, CURLcode code, struct buf *why)
{
    const char *authority = strstr(f->target->url, "://") + 3;
    long number = 0;

    if (f->too_large) {
        buf_add_str(why, "body size limit exceeded");
        return;
    }
    buf_printf(why, "Get \"%s\": ", f->target->url);
    curl_easy_getinfo(f->curl, CURLINFO_OS_ERRNO, &number);
    if (f->damaged)
        buf_add_str(why, "gzip: invalid data");
    else if (code == CURLE_OPERATION_TIMEDOUT)
        buf_add_str(why, "context deadline exceeded");
    else if (code == CURLE_COULDNT_CONNECT && number == ECONNREFUSED)
        buf_printf(why, "dial tcp %.*s: connect: connection refused", (int)strcspn(authority, "/?"),
                   authority);
    else
        buf_add_str(why, f->error[0] != 0 ? f->error : curl_easy_strerror(code));
}

void fetch_result(struct fetch *f, CURLcode code, struct buf *why, struct scrape *ret)
{
    long status = 0;
    char *type = NULL;

    curl_easy_getinfo(f->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(f->curl, CURLINFO_CONTENT_TYPE, &type);
    if (code != CURLE_OK)
        explain(f, code, why);
    else if (status != 200)
        buf_printf(why, "server returned HTTP status %ld%s", status, status_text(status));
    else if (fetch_is_gzip(f) && !fetch_gzip_whole(f))
        buf_add_str(why, "unexpected EOF"); /* as Prometheus says it */
    *ret = (struct scrape){
        .ts_ms = f->ts_ms,
        .now_ms = clock_unix_ms(),
        .duration_s = (double)(clock_monotonic_ns() - f->start_ns) / 1e9,
        .body = buf_slice(&f->body),
        .body_bytes = f->too_large ? -1 : (int64_t)f->body.len,
        .content_type = type,
        .error = why->len > 0 ? why->data : NULL,
    };
}
