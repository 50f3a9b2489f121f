/* packages_move.c: packages in from an index or a folder of files, and out into a folder. Both go
 * on where they stopped when they are run again: what is there already is passed over. */
#include "base/alloc.h"
#include "base/codec.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/json.h"
#include "base/scope.h"
#include "base/simple_index.h"
#include "command/client.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sysexits.h>

#define PAGE_LIMIT (256u << 20)
#define ACCEPT                                                                                     \
    "Accept: application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, "     \
    "text/html;q=0.1"

/* A simple index that is read: somebody's, or the daemon's own. */
struct source {
    CURL *curl;
    struct curl_slist *headers;
    const char *base; /* "http://host/simple/" */
    struct buf body, type;
    FILE *file; /* where the body goes instead */
    struct hash *hash;
    bool too_large;
};

struct move {
    struct client client; /* the daemon */
    struct source source;
    const char *folder; /* export: where to */
    struct buf url;     /* of the page that is read */
    unsigned moved, there, failed;
};

static size_t take_body(char *bytes, size_t size, size_t n, void *ctx)
{
    struct source *s = ctx;

    (void)size; /* always 1 */
    if (s->file != NULL) {
        hash_update(s->hash, bytes, n);
        return fwrite(bytes, 1, n, s->file);
    }
    s->too_large = s->body.len + n > PAGE_LIMIT;
    if (s->too_large)
        return 0;
    buf_add(&s->body, bytes, n);
    return n;
}

static int source_open(struct source *s, const char *base, struct curl_slist *headers)
{
    s->curl = curl_easy_init();
    if (s->curl == NULL)
        return command_fail(EX_OSERR, "libcurl did not start");
    s->base = base;
    for (; headers != NULL; headers = headers->next)
        s->headers = curl_slist_append(s->headers, headers->data);
    s->headers = curl_slist_append(s->headers, ACCEPT);
    s->hash = hash_new(HASH_SHA256);
    return 0;
}

static void source_close(struct source *s)
{
    for (struct curl_slist *h = s->headers; h != NULL; h = h->next)
        explicit_bzero(h->data, strlen(h->data));
    curl_slist_free_all(s->headers);
    curl_easy_cleanup(s->curl);
    if (s->hash != NULL)
        hash_free(s->hash);
    buf_done(&s->body);
    buf_done(&s->type);
}

/* GET; to s->body, or to s->file. Prints why not. */
static int source_get(struct source *s, const char *url)
{
    char error[CURL_ERROR_SIZE] = "", *type = NULL;
    long status = 0;
    CURLcode r;

    buf_clear(&s->body);
    buf_clear(&s->type);
    curl_easy_setopt(s->curl, CURLOPT_URL, url);
    curl_easy_setopt(s->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(s->curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(s->curl, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(s->curl, CURLOPT_MAXREDIRS, 5L);
    curl_easy_setopt(s->curl, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(s->curl, CURLOPT_HTTPHEADER, s->headers);
    curl_easy_setopt(s->curl, CURLOPT_NETRC, (long)CURL_NETRC_OPTIONAL);
    curl_easy_setopt(s->curl, CURLOPT_USERAGENT, "infrafs/" INFRAFS_VERSION);
    curl_easy_setopt(s->curl, CURLOPT_ERRORBUFFER, error);
    curl_easy_setopt(s->curl, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(s->curl, CURLOPT_WRITEDATA, s);
    curl_easy_setopt(s->curl, CURLOPT_CONNECTTIMEOUT, 10L);
    curl_easy_setopt(s->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(s->curl, CURLOPT_LOW_SPEED_TIME, 60L);
    r = curl_easy_perform(s->curl);
    curl_easy_getinfo(s->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(s->curl, CURLINFO_CONTENT_TYPE, &type);
    buf_add_str(&s->type, type != NULL ? type : "");
    if (r == CURLE_OK)
        return EX_OK;
    return command_fail(status == 401 || status == 403 ? EX_NOPERM : EX_UNAVAILABLE, "%s: %s", url,
                        s->too_large    ? "the page is too large"
                        : error[0] != 0 ? error
                                        : curl_easy_strerror(r));
}

/* Downloads into `file` and compares. */
static int source_get_file(struct source *s, const char *url, FILE *file,
                           const struct simple_file *f)
{
    uint8_t hash[64];
    int code;

    hash_final(s->hash, hash); /* fresh */
    s->file = file;
    code = source_get(s, url);
    s->file = NULL;
    hash_final(s->hash, hash);
    if (code != EX_OK)
        return code;
    if (fflush(file) != 0)
        return command_fail(EX_IOERR, "%s: %s", url, strerror(errno));
    if (f->has_sha256 && memcmp(hash, f->sha256.bytes, 32) != 0)
        return command_fail(EX_DATAERR, "%s: the content is not what the page says", url);
    return EX_OK;
}

static int join(const char *base, struct slice relative, struct buf *out)
{
    autobuf text = {0};
    CURLU *u = curl_url();
    char *url = NULL;
    int r = -EINVAL;

    buf_add_slice(&text, relative);
    if (u != NULL && curl_url_set(u, CURLUPART_URL, base, 0) == CURLUE_OK &&
        curl_url_set(u, CURLUPART_URL, text.data, CURLU_URLENCODE) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_URL, &url, 0) == CURLUE_OK) {
        buf_clear(out);
        buf_add_str(out, url);
        r = 0;
    }
    curl_free(url);
    curl_url_cleanup(u);
    return r;
}

/* A name that may be put behind a path of ours. */
static bool is_plain(const char *name)
{
    return name[0] != 0 && name[0] != '.' && strchr(name, '/') == NULL;
}

static bool is_release(const char *name)
{
    static const char *const suffixes[] = {".whl", ".tar.gz", ".zip"};
    size_t len = strlen(name);

    for (size_t i = 0; i < array_size(suffixes); i++) {
        size_t n = strlen(suffixes[i]);

        if (len > n && strcmp(name + len - n, suffixes[i]) == 0)
            return is_plain(name);
    }
    return false;
}

/* Every project of the source, and every file of each. */
static int each_file(void *ctx, const struct simple_file *f);

struct names {
    char **name;
    size_t n;
};

static void add_name(struct names *names, const char *name, size_t len)
{
    names->name = xrealloc(names->name, (names->n + 1) * sizeof *names->name);
    names->name[names->n++] = xstrndup(name, len);
}

static void free_names(struct names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->name[i]);
    free(names->name);
}

static int collect(void *ctx, struct slice name)
{
    add_name(ctx, name.data, name.len);
    return 0;
}

static void move_project(struct move *m, const char *project)
{
    autobuf page = {0}, type = {0}, why = {0};

    buf_clear(&m->url);
    buf_add_str(&m->url, m->source.base);
    percent_encode(&m->url, slice_str(project), "");
    buf_add_char(&m->url, '/');
    if (source_get(&m->source, m->url.data) != EX_OK) {
        m->failed++;
        return;
    }
    buf_add_slice(&page, buf_slice(&m->source.body));
    buf_add_slice(&type, buf_slice(&m->source.type));
    if (simple_index_files(buf_slice(&page), type.data, each_file, m, &why) < 0) {
        command_fail(EX_DATAERR, "%s: %s", m->url.data, why.data);
        m->failed++;
    }
}

static int move_all(struct move *m)
{
    struct names names = {0};
    autobuf why = {0};
    int code = source_get(&m->source, m->source.base);

    if (code == EX_OK && simple_index_projects(buf_slice(&m->source.body), m->source.type.data,
                                               collect, &names, &why) < 0)
        code = command_fail(EX_DATAERR, "%s: %s", m->source.base, why.data);
    for (size_t i = 0; code == EX_OK && i < names.n; i++)
        if (is_plain(names.name[i]))
            move_project(m, names.name[i]);
    free_names(&names);
    return code;
}

static int report(struct move *m, int code, const char *what)
{
    if (code != EX_OK)
        return code;
    printf("%u %s, %u were there, %u failed\n", m->moved, what, m->there, m->failed);
    return m->failed > 0 ? EX_DATAERR : EX_OK;
}

/* Import. */

static void put_file(struct move *m, const char *name, FILE *file)
{
    autobuf path = {0};

    buf_printf(&path, "/tree/packages/%s", name);
    if (client_put(&m->client, path.data, file) == EX_OK)
        m->moved++;
    else
        m->failed++;
}

static bool is_there(struct move *m, const char *name)
{
    autobuf path = {0};

    buf_printf(&path, "/tree/packages/%s", name);
    if (!client_exists(&m->client, path.data))
        return false;
    m->there++;
    return true;
}

static void yank(struct move *m, const char *name, struct slice reason)
{
    autobuf path = {0}, body = {0};
    struct slice text;
    struct json j;

    buf_printf(&path, "/packages/%s", name);
    json_init(&j, &body);
    json_object(&j);
    if (reason.len > 0)
        json_kslice(&j, "yanked", reason);
    else
        json_kbool(&j, "yanked", true);
    json_object_end(&j);
    text = buf_slice(&body);
    if (client_ask(&m->client, "PATCH", path.data, &text) != EX_OK)
        m->failed++;
}

static void import_file(struct move *m, const char *name, const struct simple_file *f)
{
    unsigned failed = m->failed;
    autobuf url = {0};
    FILE *file;

    if (is_there(m, name))
        return;
    file = tmpfile();
    if (file == NULL || join(m->url.data, f->url, &url) < 0 ||
        source_get_file(&m->source, url.data, file, f) != EX_OK)
        m->failed++;
    else
        put_file(m, name, file);
    if (file != NULL)
        fclose(file);
    if (m->failed == failed && f->is_yanked)
        yank(m, name, f->yanked);
}

static struct names found; /* nftw has no context */

static int find_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    if (type == FTW_F && is_release(path + ftw->base))
        add_name(&found, path, strlen(path));
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int import_folder(struct move *m, const char *folder)
{
    if (nftw(folder, find_file, 32, FTW_PHYS) < 0)
        return command_fail(EX_NOINPUT, "%s: %s", folder, strerror(errno));
    if (found.n > 0)
        qsort(found.name, found.n, sizeof *found.name, by_name);
    for (size_t i = 0; i < found.n; i++) {
        const char *name = strrchr(found.name[i], '/');
        FILE *file = NULL;

        name = name != NULL ? name + 1 : found.name[i];
        if (is_there(m, name))
            continue;
        file = fopen(found.name[i], "re");
        if (file != NULL) {
            put_file(m, name, file);
            fclose(file);
            continue;
        }
        command_fail(EX_NOINPUT, "%s: %s", found.name[i], strerror(errno));
        m->failed++;
    }
    free_names(&found);
    return EX_OK;
}

int run_import_pypi(const struct command_line *line)
{
    const char *source = line->operands[0];
    struct move m = {0};
    autobuf base = {0};
    int code = client_open(line, &m.client);

    if (strncasecmp(source, "http://", 7) != 0 && strncasecmp(source, "https://", 8) != 0) {
        if (code == EX_OK)
            code = import_folder(&m, source);
    } else {
        buf_add_str(&base, source);
        if (base.data[base.len - 1] != '/')
            buf_add_char(&base, '/');
        if (code == EX_OK)
            code = source_open(&m.source, base.data, NULL);
        if (code == EX_OK)
            code = move_all(&m);
        source_close(&m.source);
    }
    client_close(&m.client);
    buf_done(&m.url);
    return report(&m, code, "files imported");
}

/* Export. */

static bool has_size(const char *path, uint64_t size_bytes)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == size_bytes;
}

/* Under another name until it is whole. */
static void export_file(struct move *m, const char *name, const struct simple_file *f)
{
    autofree char *path = NULL, *part = NULL;
    autobuf url = {0};
    FILE *file;
    int code;

    if (asprintf(&path, "%s/%s", m->folder, name) < 0 ||
        asprintf(&part, "%s/.%s.part", m->folder, name) < 0)
        abort();
    if (has_size(path, f->size_bytes)) {
        m->there++;
        return;
    }
    file = fopen(part, "we");
    code = file == NULL ? command_fail(EX_CANTCREAT, "%s: %s", part, strerror(errno)) : EX_OK;
    if (code == EX_OK && join(m->url.data, f->url, &url) < 0)
        code = command_fail(EX_DATAERR, "%s: a bad URL", name);
    if (code == EX_OK)
        code = source_get_file(&m->source, url.data, file, f);
    if (file != NULL && (fsync(fileno(file)) < 0 || fclose(file) != 0) && code == EX_OK)
        code = command_fail(EX_IOERR, "%s: %s", part, strerror(errno));
    if (code == EX_OK && rename(part, path) < 0)
        code = command_fail(EX_CANTCREAT, "%s: %s", path, strerror(errno));
    if (code == EX_OK) {
        m->moved++;
        return;
    }
    unlink(part);
    m->failed++;
}

static int each_file(void *ctx, const struct simple_file *f)
{
    struct move *m = ctx;
    autofree char *name = xstrndup(f->name.data, f->name.len);

    if (!is_release(name))
        return 0;
    if (m->folder != NULL)
        export_file(m, name, f);
    else
        import_file(m, name, f);
    return 0;
}

int run_export_pypi(const struct command_line *line)
{
    struct move m = {.folder = line->operands[0]};
    autobuf base = {0};
    int code = client_open(line, &m.client), r;

    if (code == EX_OK) {
        r = file_make_folders(m.folder, 0755);
        if (r < 0)
            code = command_fail(EX_CANTCREAT, "%s: %s", m.folder, strerror(-r));
    }
    if (code == EX_OK) {
        buf_printf(&base, "%s/simple/", m.client.address);
        code = source_open(&m.source, base.data, m.client.headers);
        curl_easy_setopt(m.source.curl, CURLOPT_NOPROXY, "*");
    }
    if (code == EX_OK)
        code = move_all(&m);
    source_close(&m.source);
    client_close(&m.client);
    buf_done(&m.url);
    return report(&m, code, "files exported");
}
