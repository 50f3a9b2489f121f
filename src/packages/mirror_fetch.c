/* mirror_fetch.c: requests to the index behind, by libcurl.
 *
 * Confined: http and https, no step from https down to http, five redirects, no address of a
 * private network but that of the index itself; its credentials go to it alone. */
#include "base/alloc.h"
#include "base/file.h"
#include "base/scope.h"
#include "config.h"
#include "packages/mirror_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <strings.h>

#define CREDENTIALS_MAX 4096
#define REDIRECTS_MAX   5l
#define CONNECT_MS      5000l
#define PAGE_MS         30000l
#define STALLED_S       30l /* a file may take long, but must move */

static bool is_private4(const uint8_t a[4])
{
    return a[0] == 0 || a[0] == 10 || a[0] == 127 || a[0] >= 224 || (a[0] == 169 && a[1] == 254) ||
           (a[0] == 172 && a[1] >= 16 && a[1] < 32) || (a[0] == 192 && a[1] == 168) ||
           (a[0] == 100 && a[1] >= 64 && a[1] < 128);
}

static bool is_private(const char *ip)
{
    struct in6_addr six;
    struct in_addr four;

    if (inet_pton(AF_INET, ip, &four) == 1)
        return is_private4((const uint8_t *)&four.s_addr);
    if (inet_pton(AF_INET6, ip, &six) != 1)
        return true;
    if (IN6_IS_ADDR_V4MAPPED(&six))
        return is_private4(six.s6_addr + 12);
    return IN6_IS_ADDR_UNSPECIFIED(&six) || IN6_IS_ADDR_LOOPBACK(&six) ||
           IN6_IS_ADDR_LINKLOCAL(&six) || IN6_IS_ADDR_MULTICAST(&six) ||
           (six.s6_addr[0] & 0xfe) == 0xfc;
}

int fetch_origin(const char *url, struct buf *out)
{
    CURLU *u = curl_url();
    char *scheme = NULL, *host = NULL, *port = NULL;
    int r = -EINVAL;

    if (u != NULL && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK) {
        buf_printf(out, "%s://%s:%s", scheme, host, port);
        r = 0;
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(u);
    return r;
}

int fetch_join(const char *base, const char *relative, struct buf *out)
{
    CURLU *u = curl_url();
    char *url = NULL;
    int r = -EINVAL;

    if (u != NULL && curl_url_set(u, CURLUPART_URL, base, 0) == CURLUE_OK &&
        curl_url_set(u, CURLUPART_URL, relative, CURLU_URLENCODE) == CURLUE_OK &&
        curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_URL, &url, 0) == CURLUE_OK &&
        (strncmp(url, "https://", 8) == 0 || strncmp(url, "http://", 7) == 0)) {
        buf_add_str(out, url);
        r = 0;
    }
    curl_free(url);
    curl_url_cleanup(u);
    return r;
}

static bool is_the_index(const struct mirror *m, const char *url)
{
    autobuf origin = {0};

    return url != NULL && fetch_origin(url, &origin) == 0 &&
           strcasecmp(origin.data, m->origin) == 0;
}

/* Connected, and before anything is sent; also after each redirect. */
static int check_address(void *ctx, char *remote_ip, char *local_ip, int remote_port,
                         int local_port)
{
    struct fetch *f = ctx;
    char *url = NULL;

    (void)local_ip, (void)remote_port, (void)local_port;
    curl_easy_getinfo(f->curl, CURLINFO_EFFECTIVE_URL, &url);
    if (!is_private(remote_ip) || is_the_index(f->mirror, url))
        return CURL_PREREQFUNC_OK;
    f->strayed = true;
    return CURL_PREREQFUNC_ABORT;
}

static size_t take_body(char *bytes, size_t size, size_t n, void *ctx)
{
    struct fetch *f = ctx;
    long status = 0;

    n *= size;
    curl_easy_getinfo(f->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200)
        return n;
    f->bytes += n;
    f->result = f->bytes > f->limit_bytes ? -EFBIG : f->receive(f->ctx, bytes, n);
    return f->result < 0 ? 0 : n;
}

/* The ETag of the last answer: those of redirects come before it. */
static size_t take_header(char *line, size_t size, size_t n, void *ctx)
{
    static const char name[] = "etag:";
    struct fetch *f = ctx;
    size_t at = sizeof name - 1, end = n;

    (void)size; /* always 1 */
    if (n > 5 && strncasecmp(line, "HTTP/", 5) == 0)
        buf_clear(&f->new_etag);
    if (n <= at || n > 256 || strncasecmp(line, name, at) != 0)
        return n;
    while (at < end && line[at] == ' ')
        at++;
    while (end > at && (unsigned char)line[end - 1] <= ' ')
        end--;
    buf_clear(&f->new_etag);
    buf_add(&f->new_etag, line + at, end - at);
    return n;
}

static int on_progress(void *ctx, curl_off_t all, curl_off_t now, curl_off_t up, curl_off_t up_now)
{
    struct fetch *f = ctx;

    (void)all, (void)now, (void)up, (void)up_now;
    return __atomic_load_n(&f->mirror->closing, __ATOMIC_RELAXED);
}

/* "user:password" from the file, for the index alone. */
static int set_credentials(struct fetch *f, struct buf *why)
{
    const char *file = f->mirror->pk->env.config->packages_mirror_credentials;
    struct buf text = {0};
    int r;

    if (file[0] == 0 || !is_the_index(f->mirror, f->url))
        return 0;
    r = file_read(file, CREDENTIALS_MAX, &text);
    while (text.len > 0 && (unsigned char)text.data[text.len - 1] <= ' ')
        text.data[--text.len] = 0;
    if (r < 0)
        buf_printf(why, "packages.mirror_credentials: '%s': %s", file, strerror(-r));
    else
        curl_easy_setopt(f->curl, CURLOPT_USERPWD, text.data != NULL ? text.data : "");
    curl_easy_setopt(f->curl, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
    buf_wipe(&text);
    return r;
}

static struct curl_slist *make_headers(const struct fetch *f)
{
    struct curl_slist *list = NULL;
    autobuf line = {0};

    buf_printf(&line, "Via: %s%s1.1 infrafs-%s", f->via != NULL ? f->via : "",
               f->via != NULL && f->via[0] != 0 ? ", " : "", f->mirror->id);
    list = curl_slist_append(list, line.data);
    if (f->accept != NULL) {
        buf_clear(&line);
        buf_printf(&line, "Accept: %s", f->accept);
        list = curl_slist_append(list, line.data);
    }
    if (f->etag != NULL && f->etag[0] != 0) {
        buf_clear(&line);
        buf_printf(&line, "If-None-Match: %s", f->etag);
        list = curl_slist_append(list, line.data);
    }
    return list;
}

static void set_options(struct fetch *f, struct curl_slist *headers, char error[CURL_ERROR_SIZE])
{
    const char *ca = f->mirror->pk->env.config->packages_mirror_ca;
    bool secure = strncasecmp(f->mirror->base, "https://", 8) == 0;
    CURL *c = f->curl;

    curl_easy_setopt(c, CURLOPT_URL, f->url);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, error);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1l);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "infrafs/" INFRAFS_VERSION);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, secure ? "https" : "http,https");
    curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, secure ? "https" : "http,https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1l);
    curl_easy_setopt(c, CURLOPT_MAXREDIRS, REDIRECTS_MAX);
    curl_easy_setopt(c, CURLOPT_PROXY, "");
    curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (ca[0] != 0)
        curl_easy_setopt(c, CURLOPT_CAINFO, ca);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    if (f->page) {
        curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, PAGE_MS);
        curl_easy_setopt(c, CURLOPT_ACCEPT_ENCODING, "gzip");
    }
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1l);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, STALLED_S);
    curl_easy_setopt(c, CURLOPT_BUFFERSIZE, 128l << 10);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, f);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, f);
    curl_easy_setopt(c, CURLOPT_PREREQFUNCTION, check_address);
    curl_easy_setopt(c, CURLOPT_PREREQDATA, f);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, f);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0l);
}

static CURL *take_handle(struct mirror *m)
{
    guard(&m->lock);
    return m->n_idle > 0 ? m->idle[--m->n_idle] : curl_easy_init();
}

/* Back with its connections, and nothing of this request. */
static void give_handle(struct mirror *m, CURL *c)
{
    curl_easy_reset(c);
    pthread_mutex_lock(&m->lock);
    if (m->n_idle < IDLE_MAX) {
        m->idle[m->n_idle++] = c;
        c = NULL;
    }
    pthread_mutex_unlock(&m->lock);
    if (c != NULL)
        curl_easy_cleanup(c);
}

static int explain(struct fetch *f, CURLcode code, const char *error, struct buf *why)
{
    if (f->strayed) {
        buf_add_str(why, "it leads to an address of a private network");
        return -EPERM;
    }
    if (f->result < 0) {
        buf_add_str(why, f->result == -EFBIG ? "it is too large" : strerror(-f->result));
        return f->result;
    }
    buf_add_str(why, error[0] != 0 ? error : curl_easy_strerror(code));
    switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
        return -ETIMEDOUT;
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_TOO_MANY_REDIRECTS:
        return -EPERM;
    default:
        return -EHOSTUNREACH;
    }
}

static void read_answer(struct fetch *f)
{
    char *type = NULL, *url = NULL;

    curl_easy_getinfo(f->curl, CURLINFO_RESPONSE_CODE, &f->status);
    curl_easy_getinfo(f->curl, CURLINFO_CONTENT_TYPE, &type);
    curl_easy_getinfo(f->curl, CURLINFO_EFFECTIVE_URL, &url);
    buf_add_str(&f->type, type != NULL ? type : "");
    buf_add_str(&f->final_url, url != NULL ? url : f->url);
}

int fetch_run(struct mirror *m, struct fetch *f, struct buf *why)
{
    char error[CURL_ERROR_SIZE] = "";
    struct curl_slist *headers;
    CURLcode code;
    int r;

    f->mirror = m;
    f->curl = take_handle(m);
    if (f->curl == NULL)
        return -ENOMEM;
    headers = make_headers(f);
    set_options(f, headers, error);
    r = set_credentials(f, why);
    if (r == 0) {
        code = curl_easy_perform(f->curl);
        r = code == CURLE_OK ? 0 : explain(f, code, error, why);
    }
    if (r == 0)
        read_answer(f);
    give_handle(m, f->curl);
    curl_slist_free_all(headers);
    return r;
}

void fetch_done(struct fetch *f)
{
    buf_done(&f->type);
    buf_done(&f->new_etag);
    buf_done(&f->final_url);
}
