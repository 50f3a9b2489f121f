/* export_registry.c: all images into a folder, each repository as an OCI image layout (OCI image-spec
 * 1.1, "Image Layout"): what skopeo, crane, oras and podman read. Goes on where it stopped when it is
 * run again. Content that several repositories have is one file with several names. */
#include "base/alloc.h"
#include "base/codec.h"
#include "base/file.h"
#include "base/json.h"
#include "base/scope.h"
#include "command/client.h"
#include "command/registry.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <uthash.h>

#define LAYOUT_TEXT "{\"imageLayoutVersion\":\"1.0.0\"}"
#define INDEX_TYPE  "application/vnd.oci.image.index.v1+json"
#define IMAGE_TYPE  "application/vnd.oci.image.manifest.v1+json"

/* Content that was written, and where. */
struct written {
    UT_hash_handle hh;
    char *path;
    char digest[DIGEST_TEXT_MAX];
};

struct export {
    struct client client;
    struct registry registry;
    const char *folder; /* where to */
    const char *repo;   /* that is read */
    struct written *written;
    unsigned repos, files, there, failed;
};

static void fail(struct export *e, int code, const char *what)
{
    command_fail(code, "%s: %s", what, strerror(errno));
    e->failed++;
}

/* GET of the daemon; NULL: it was printed why not. The caller drops it. */
static json_t *get_json(struct export *e, const char *target)
{
    struct registry *r = &e->registry;
    json_t *json = NULL;

    if (registry_get(r, target, NULL) != EX_OK)
        return NULL;
    if (r->status == 200 && r->body.data != NULL)
        json = json_loadb(r->body.data, r->body.len, 0, NULL);
    if (json == NULL)
        command_fail(EX_UNAVAILABLE, "%s%s: status %ld", r->base, target, r->status);
    return json;
}

static bool has_size(const char *path, json_int_t size)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == size;
}

static void note(struct export *e, const char *digest, const char *path)
{
    struct written *w;

    HASH_FIND_STR(e->written, digest, w);
    if (w != NULL)
        return;
    w = xcalloc(1, sizeof *w);
    memcpy(w->digest, digest, strlen(digest) + 1);
    w->path = xstrdup(path);
    HASH_ADD_STR(e->written, digest, w);
}

/* A name for what another repository has brought. */
static bool link_it(struct export *e, const char *digest, const char *path)
{
    struct written *w;

    HASH_FIND_STR(e->written, digest, w);
    return w != NULL && (link(w->path, path) == 0 || errno == EEXIST);
}

/* Under another name until it is whole. */
static void fetch(struct export *e, const struct digest *d, const char *target, const char *path)
{
    struct digest got = {.algorithm = d->algorithm};
    struct registry *r = &e->registry;
    autofree char *part = NULL;
    int code;

    if (asprintf(&part, "%s.part", path) < 0)
        abort();
    hash_free(r->hash);
    r->hash = hash_new(hash_kind_of((enum digest_algorithm)d->algorithm));
    r->file = fopen(part, "we");
    if (r->file == NULL) {
        fail(e, EX_CANTCREAT, part);
        return;
    }
    code = registry_get(r, target, NULL);
    hash_final(r->hash, got.bytes);
    if (code == EX_OK && (r->status != 200 || !digest_eq(&got, d)))
        code = command_fail(EX_DATAERR, "%s%s: %s (status %ld)", r->base, target,
                            r->status == 200 ? "the content is not what its digest says" : "refused",
                            r->status);
    if ((fsync(fileno(r->file)) < 0 || fclose(r->file) != 0) && code == EX_OK)
        code = command_fail(EX_IOERR, "%s: %s", part, strerror(errno));
    r->file = NULL;
    if (code == EX_OK && rename(part, path) < 0)
        code = command_fail(EX_CANTCREAT, "%s: %s", path, strerror(errno));
    if (code == EX_OK) {
        e->files++;
        return;
    }
    unlink(part);
    e->failed++;
}

static void export_blob(struct export *e, const char *algorithm, const json_t *entry)
{
    const char *hex = json_string_value(json_object_get(entry, "name"));
    json_int_t size = json_integer_value(json_object_get(entry, "size"));
    autobuf path = {0}, target = {0}, digest = {0};
    struct digest d;

    buf_printf(&digest, "%s:%s", algorithm, hex != NULL ? hex : "");
    if (digest_parse(buf_slice(&digest), &d) < 0)
        return;
    buf_printf(&path, "%s/%s/blobs/%s/%s", e->folder, e->repo, algorithm, hex);
    buf_printf(&target, "/tree/images/%s/@oci/blobs/%s/%s", e->repo, algorithm, hex);
    if (has_size(path.data, size)) {
        e->there++;
    } else if (!link_it(e, digest.data, path.data)) {
        fetch(e, &d, target.data, path.data);
    }
    if (has_size(path.data, size))
        note(e, digest.data, path.data);
}

static int write_text(struct export *e, const char *name, struct slice text)
{
    autobuf path = {0};
    int r;

    buf_printf(&path, "%s/%s/%s", e->folder, e->repo, name);
    r = file_replace(path.data, text, 0644);
    if (r < 0) {
        errno = -r;
        fail(e, EX_CANTCREAT, path.data);
    }
    return r;
}

static bool is_listed(const json_t *manifests, const char *digest)
{
    const json_t *item;
    size_t i;

    json_array_foreach(manifests, i, item) {
        const char *have = json_string_value(json_object_get(item, "digest"));

        if (have != NULL && strcmp(have, digest) == 0)
            return true;
    }
    return false;
}

/* A manifest without a tag: of an index, or one that refers to another. */
static void list_untagged(struct export *e, json_t *manifests, const char *name)
{
    autobuf digest = {0}, path = {0}, bytes = {0};
    const char *dash = strchr(name, '-'), *type;
    json_t *json;

    if (dash == NULL)
        return;
    buf_printf(&digest, "%.*s:%s", (int)(dash - name), name, dash + 1);
    buf_printf(&path, "%s/%s/blobs/%.*s/%s", e->folder, e->repo, (int)(dash - name), name, dash + 1);
    if (is_listed(manifests, digest.data) || file_read(path.data, 4u << 20, &bytes) < 0)
        return;
    json = json_loadb(bytes.data, bytes.len, 0, NULL);
    type = json_string_value(json_object_get(json, "mediaType"));
    if (type == NULL)
        type = json_is_array(json_object_get(json, "manifests")) ? INDEX_TYPE : IMAGE_TYPE;
    json_array_append_new(manifests, json_pack("{s:s, s:s, s:I}", "mediaType", type, "digest",
                                               digest.data, "size", (json_int_t)bytes.len));
    json_decref(json);
}

/* The index comes last: what it names is there. */
static void export_index(struct export *e)
{
    autobuf target = {0}, all = {0};
    json_t *index, *list = NULL, *item;
    char *text = NULL;
    size_t i;

    buf_printf(&target, "/tree/images/%s/@oci/index.json", e->repo);
    buf_printf(&all, "/tree/images/%s/@manifests", e->repo);
    index = get_json(e, target.data);
    if (index != NULL)
        list = get_json(e, all.data);
    if (list != NULL) {
        json_array_foreach(json_object_get(list, "entries"), i, item) {
            const char *name = json_string_value(json_object_get(item, "name"));

            if (name != NULL)
                list_untagged(e, json_object_get(index, "manifests"), name);
        }
        text = json_dumps(index, JSON_COMPACT);
        write_text(e, "index.json", slice_str(text));
        write_text(e, "oci-layout", SLICE(LAYOUT_TEXT));
    } else {
        e->failed++;
    }
    free(text);
    json_decref(list);
    json_decref(index);
}

static void export_repo(struct export *e, const char *repo)
{
    static const char *const algorithms[] = {"sha256", "sha512"};

    e->repo = repo;
    e->repos++;
    for (size_t i = 0; i < array_size(algorithms); i++) {
        autobuf target = {0}, folder = {0};
        json_t *list, *item;
        size_t k;
        int r;

        buf_printf(&folder, "%s/%s/blobs/%s", e->folder, repo, algorithms[i]);
        r = file_make_folders(folder.data, 0755);
        if (r < 0) {
            errno = -r;
            fail(e, EX_CANTCREAT, folder.data);
            return;
        }
        buf_printf(&target, "/tree/images/%s/@oci/blobs/%s", repo, algorithms[i]);
        list = get_json(e, target.data);
        e->failed += list == NULL;
        json_array_foreach(json_object_get(list, "entries"), k, item) {
            export_blob(e, algorithms[i], item);
        }
        json_decref(list);
    }
    export_index(e);
}

static int export_all(struct export *e)
{
    autobuf next = {0};
    bool more = true;

    buf_add_str(&next, "/v2/_catalog?n=1000");
    while (more) {
        json_t *json = get_json(e, next.data), *name;
        size_t i;

        if (json == NULL)
            return EX_UNAVAILABLE;
        more = registry_next(&e->registry, &next);
        json_array_foreach(json_object_get(json, "repositories"), i, name) {
            export_repo(e, json_string_value(name));
        }
        json_decref(json);
    }
    printf("%u repositories: %u files exported, %u were there, %u failed\n", e->repos, e->files,
           e->there, e->failed);
    return e->failed > 0 ? EX_DATAERR : EX_OK;
}

int run_export_registry(const struct command_line *line)
{
    struct export e = {.folder = line->operands[0]};
    struct written *w, *next;
    int code = client_open(line, &e.client);

    if (code == EX_OK)
        code = registry_open(&e.registry, e.client.address);
    if (code == EX_OK) {
        if (e.client.token.len > 0)
            buf_printf(&e.registry.authorization, "Authorization: Bearer %s", e.client.token.data);
        code = export_all(&e);
    }
    HASH_ITER(hh, e.written, w, next) {
        HASH_DEL(e.written, w);
        free(w->path);
        free(w);
    }
    registry_close(&e.registry);
    client_close(&e.client);
    return code;
}
