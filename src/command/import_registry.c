/* import_registry.c: takes over a registry: what is read of it is pushed to the daemon. And the data
 * folder of a distribution registry ("docker registry") as what is read. It goes on where it stopped when it is run again: what
 * is there already is passed over.
 *
 * ROOT/docker/registry/v2/ (docker distribution, registry/storage/paths.go):
 *   repositories/<name>/_manifests/revisions/<algorithm>/<hex>/link
 *   repositories/<name>/_manifests/tags/<tag>/current/link      "sha256:<hex>"
 *   blobs/<algorithm>/<first two>/<hex>/data */
#include "base/alloc.h"
#include "base/codec.h"
#include "base/digest.h"
#include "base/file.h"
#include "base/json.h"
#include "base/scope.h"
#include "command/import_registry.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sysexits.h>

#define BELOW        "/docker/registry/v2"
#define LINK_MAX     256u
#define MANIFEST_MAX (4u << 20)

#define MEDIA_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define MEDIA_INDEX    "application/vnd.oci.image.index.v1+json"

/* Requests. */

static size_t take_answer(char *bytes, size_t size, size_t n, void *ctx)
{
    struct import *im = ctx;

    if (im->answer.len < 4096)
        buf_add(&im->answer, bytes, size * n);
    return size * n;
}

static size_t take_header(char *line, size_t size, size_t n, void *ctx)
{
    struct import *im = ctx;

    n *= size;
    if (n > 10 && n - 10 < sizeof im->location && strncasecmp(line, "Location: ", 10) == 0) {
        memcpy(im->location, line + 10, n - 10);
        im->location[n - 10] = 0;
        im->location[strcspn(im->location, "\r\n")] = 0;
    }
    return n;
}

/* The status; 0 if there was no answer, which was printed. The target is encoded already. `file`
 * is sent from its beginning, else `body`. */
static long ask(struct import *im, const char *method, const char *target, const char *type,
                const struct slice *body, FILE *file)
{
    autobuf url = {0}, header = {0};
    char error[CURL_ERROR_SIZE] = "";
    struct curl_slist *extra = NULL, *last = im->client.headers;
    struct stat st;
    long status = 0;
    CURLcode r;

    buf_printf(&url, "%s%s", im->client.address, target);
    curl_easy_reset(im->curl);
    curl_easy_setopt(im->curl, CURLOPT_URL, url.data);
    curl_easy_setopt(im->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(im->curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(im->curl, CURLOPT_CONNECTTIMEOUT, 10L);
    curl_easy_setopt(im->curl, CURLOPT_ERRORBUFFER, error);
    curl_easy_setopt(im->curl, CURLOPT_WRITEFUNCTION, take_answer);
    curl_easy_setopt(im->curl, CURLOPT_WRITEDATA, im);
    curl_easy_setopt(im->curl, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(im->curl, CURLOPT_HEADERDATA, im);
    if (file != NULL && fstat(fileno(file), &st) == 0) {
        curl_easy_setopt(im->curl, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(im->curl, CURLOPT_READDATA, file);
        curl_easy_setopt(im->curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)st.st_size);
    } else if (body != NULL) {
        curl_easy_setopt(im->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->len);
        curl_easy_setopt(im->curl, CURLOPT_POSTFIELDS, body->len > 0 ? body->data : "");
    }
    if (strcmp(method, "HEAD") == 0)
        curl_easy_setopt(im->curl, CURLOPT_NOBODY, 1L);
    else
        curl_easy_setopt(im->curl, CURLOPT_CUSTOMREQUEST, method);
    buf_printf(&header, "Content-Type: %s", type != NULL ? type : "application/octet-stream");
    extra = curl_slist_append(NULL, header.data);
    while (last != NULL && last->next != NULL)
        last = last->next;
    if (last != NULL)
        last->next = extra; /* for this request */
    curl_easy_setopt(im->curl, CURLOPT_HTTPHEADER, last != NULL ? im->client.headers : extra);
    buf_clear(&im->answer);
    im->location[0] = 0;
    r = curl_easy_perform(im->curl);
    curl_easy_getinfo(im->curl, CURLINFO_RESPONSE_CODE, &status);
    if (last != NULL)
        last->next = NULL;
    curl_slist_free_all(extra);
    if (r == CURLE_OK)
        return status;
    command_fail(EX_UNAVAILABLE, "%s: %s", im->client.address,
                 error[0] != 0 ? error : curl_easy_strerror(r));
    return 0;
}

static void refuse(struct import *im, const char *what, long status)
{
    im->failed++;
    if (status != 0)
        command_fail(EX_DATAERR, "%s: %s: %s (%ld)", im->repo, what,
                     im->answer.len > 0 ? im->answer.data : "refused", status);
}

/* Blobs. */

static char *data_path(const struct import *im, const struct digest *d)
{
    const char *root = im->source; /* …/docker/registry/v2 */
    char text[DIGEST_TEXT_MAX], *path;
    const char *hex = strchr(digest_print(d, text), ':') + 1;

    if (asprintf(&path, "%s/blobs/%s/%.2s/%s/data", root, digest_name(d->algorithm), hex, hex) < 0)
        abort();
    return path;
}

static FILE *open_in_folder(struct import *im, const struct digest *d)
{
    autofree char *path = data_path(im, d);
    FILE *file = fopen(path, "re");

    if (file == NULL)
        command_fail(EX_NOINPUT, "%s: %s", path, strerror(errno));
    return file;
}

/* Mounted from a repository that has it, or sent. */
static void push_blob(struct import *im, const struct digest *d)
{
    char text[DIGEST_TEXT_MAX];
    autobuf target = {0};
    FILE *file;
    long status;

    digest_print(d, text);
    buf_printf(&target, "/v2/%s/blobs/%s", im->repo, text);
    if (ask(im, "HEAD", target.data, NULL, NULL, NULL) == 200)
        return;
    buf_clear(&target);
    buf_printf(&target, "/v2/%s/blobs/uploads/?mount=%s", im->repo, text);
    status = ask(im, "POST", target.data, NULL, &SLICE(""), NULL);
    if (status != 202) {
        if (status != 201)
            refuse(im, text, status);
        return;
    }
    buf_clear(&target);
    buf_add_str(&target, im->location); /* reading it may take a while, and other requests */
    file = im->open_blob(im, d);
    if (file == NULL) {
        im->failed++;
        return;
    }
    buf_printf(&target, "%cdigest=%s", strchr(target.data, '?') ? '&' : '?', text);
    status = ask(im, "PUT", target.data, NULL, NULL, file);
    fclose(file);
    if (status == 201)
        im->blobs++;
    else
        refuse(im, text, status);
}

static void push_descriptor(struct import *im, const json_t *descriptor)
{
    const char *text = json_string_value(json_object_get(descriptor, "digest"));
    struct digest d;

    /* Foreign layers are not kept anywhere here. */
    if (text == NULL || digest_parse(slice_str(text), &d) < 0 ||
        json_array_size(json_object_get(descriptor, "urls")) > 0)
        return;
    push_blob(im, &d);
}

/* Manifests. */

static json_t *read_manifest(struct import *im, const struct digest *d, struct buf *ret)
{
    autofree char *path = data_path(im, d);
    int r = file_read(path, MANIFEST_MAX, ret);
    json_t *json = r < 0 ? NULL : json_loadb(ret->data != NULL ? ret->data : "", ret->len, 0, NULL);

    if (json == NULL) {
        command_fail(EX_NOINPUT, "%s: %s", path, r < 0 ? strerror(-r) : "is not a manifest");
        im->failed++;
    }
    return json;
}

bool import_is_index(const json_t *json)
{
    return json_is_array(json_object_get(json, "manifests"));
}

static const char *type_of(const json_t *json)
{
    const char *type = json_string_value(json_object_get(json, "mediaType"));

    return type != NULL ? type : import_is_index(json) ? MEDIA_INDEX : MEDIA_MANIFEST;
}

void import_blobs(struct import *im, const json_t *json)
{
    static const char *const lists[] = {"layers", "blobs"};

    push_descriptor(im, json_object_get(json, "config"));
    for (size_t i = 0; i < array_size(lists); i++) {
        const json_t *item;
        size_t k;

        json_array_foreach(json_object_get(json, lists[i]), k, item) {
            push_descriptor(im, item);
        }
    }
}

void import_manifest(struct import *im, const char *reference, const json_t *json,
                     struct slice bytes)
{
    autobuf target = {0};
    long status;

    buf_printf(&target, "/v2/%s/manifests/%s", im->repo, reference);
    status = ask(im, "PUT", target.data, type_of(json), &bytes, NULL);
    if (status != 201)
        refuse(im, reference, status);
}

bool import_is_there(struct import *im, const struct digest *d)
{
    char text[DIGEST_TEXT_MAX];
    autobuf target = {0};
    bool is;

    buf_printf(&target, "/v2/%s/manifests/%s", im->repo, digest_print(d, text));
    is = ask(im, "HEAD", target.data, NULL, NULL, NULL) == 200;
    im->there += is;
    return is;
}

/* A revision; images in the first pass, indexes, which list them, in the second. */
static void import_revision(struct import *im, const struct digest *d, bool indexes)
{
    char text[DIGEST_TEXT_MAX];
    autobuf bytes = {0};
    unsigned failed = im->failed;
    json_t *json = read_manifest(im, d, &bytes);

    if (json != NULL && import_is_index(json) == indexes && !import_is_there(im, d)) {
        if (!indexes)
            import_blobs(im, json);
        if (im->failed == failed)
            import_manifest(im, digest_print(d, text), json, buf_slice(&bytes));
        im->manifests += im->failed == failed;
    }
    json_decref(json);
}

static bool read_link(const char *path, struct digest *ret)
{
    autobuf text = {0};

    if (file_read(path, LINK_MAX, &text) < 0)
        return false;
    while (text.len > 0 && (unsigned char)text.data[text.len - 1] <= ' ')
        text.len--;
    return digest_parse(buf_slice(&text), ret) == 0;
}

/* Calls f with each entry of <repo>/_manifests/<below> whose link can be read. */
static void each_link(struct import *im, const char *below, const char *behind,
                      void (*f)(struct import *im, const char *name, const struct digest *d))
{
    autofree char *folder = NULL;
    struct dirent *e;
    DIR *dir;

    if (asprintf(&folder, "%s/repositories/%s/_manifests/%s", (char *)im->source, im->repo,
                 below) < 0)
        abort();
    dir = opendir(folder);
    while (dir != NULL && (e = readdir(dir)) != NULL) {
        autofree char *path = NULL;
        struct digest d;

        if (e->d_name[0] == '.')
            continue;
        if (asprintf(&path, "%s/%s/%s", folder, e->d_name, behind) < 0)
            abort();
        if (read_link(path, &d)) /* a deleted one has no link */
            f(im, e->d_name, &d);
    }
    if (dir != NULL)
        closedir(dir);
}

static void import_image(struct import *im, const char *name, const struct digest *d)
{
    (void)name;
    import_revision(im, d, false);
}

static void import_index(struct import *im, const char *name, const struct digest *d)
{
    (void)name;
    import_revision(im, d, true);
}

static void import_tag(struct import *im, const char *name, const struct digest *d)
{
    unsigned failed = im->failed;
    autobuf bytes = {0};
    json_t *json = read_manifest(im, d, &bytes);

    if (json == NULL)
        return;
    import_manifest(im, name, json, buf_slice(&bytes));
    im->tags += im->failed == failed;
    json_decref(json);
}

static void import_repo(struct import *im, const char *repo)
{
    im->repo = repo;
    im->repos++;
    each_link(im, "revisions/sha256", "link", import_image);
    each_link(im, "revisions/sha512", "link", import_image);
    each_link(im, "revisions/sha256", "link", import_index);
    each_link(im, "revisions/sha512", "link", import_index);
    each_link(im, "tags", "current/link", import_tag);
}

static struct import *walked; /* nftw has no context */

static int visit(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    const char *name = path + ftw->base;
    size_t head = strlen(walked->source) + strlen("/repositories/");
    autofree char *repo = NULL;

    (void)st;
    if (type != FTW_D || name[0] != '_' || ftw->base <= 0)
        return FTW_CONTINUE;
    if (strcmp(name, "_manifests") == 0 && (size_t)ftw->base > head) {
        repo = xstrndup(path + head, (size_t)ftw->base - 1 - head);
        import_repo(walked, repo);
    }
    return FTW_SKIP_SUBTREE;
}

static int import_folder(struct import *im, const char *source)
{
    autofree char *repositories = NULL, *root = NULL;
    int code = EX_OK;

    if (asprintf(&repositories, "%s" BELOW "/repositories", source) < 0)
        abort();
    if (access(repositories, F_OK) == 0) {
        if (asprintf(&root, "%s" BELOW, source) < 0)
            abort();
    } else {
        root = xstrdup(source);
        free(take(repositories));
        if (asprintf(&repositories, "%s/repositories", source) < 0)
            abort();
    }
    if (access(repositories, R_OK | X_OK) < 0)
        return command_fail(EX_NOINPUT, "%s: %s; a registry's folder has docker/registry/v2 in it",
                            repositories, strerror(errno));
    im->source = root;
    im->open_blob = open_in_folder;
    walked = im;
    if (nftw(repositories, visit, 32, FTW_PHYS | FTW_ACTIONRETVAL) < 0)
        code = command_fail(EX_NOINPUT, "%s: %s", repositories, strerror(errno));
    return code;
}

static int import_all(struct import *im, const char *source)
{
    int code;

    im->curl = curl_easy_init();
    if (im->curl == NULL)
        return command_fail(EX_OSERR, "libcurl did not start");
    code = strstr(source, "://") != NULL ? import_registry_url(im, source)
                                         : import_folder(im, source);
    if (code != EX_OK)
        return code;
    printf("%u repositories: %u manifests, %u tags and %u blobs imported, %u were there, %u failed\n",
           im->repos, im->manifests, im->tags, im->blobs, im->there, im->failed);
    return im->failed > 0 ? EX_DATAERR : EX_OK;
}

int run_import_registry(const struct command_line *line)
{
    autofree char *source = xstrdup(line->operands[0]);
    struct import im = {0};
    int code;

    for (size_t n = strlen(source); n > 1 && source[n - 1] == '/'; n--)
        source[n - 1] = 0;
    code = client_open(line, &im.client);
    if (code == EX_OK)
        code = import_all(&im, source);
    curl_easy_cleanup(im.curl);
    client_close(&im.client);
    buf_done(&im.answer);
    return code;
}
