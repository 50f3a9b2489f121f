/* vault_move.c: KV secrets, in from another server of Vault's dialect and out to one. Both go on where
 * they stopped when they are run again: what is there already is left alone. */
#include "base/alloc.h"
#include "base/json.h"
#include "base/scope.h"
#include "command/client.h"
#include "command/json_text.h"
#include "command/prompt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#define DEPTH_MAX 128u

DEFINE_SCOPE(document, json_t, json_decref)

struct move {
    struct client from, to; /* one of them is the daemon */
    char *mount; /* "secret/" */
    bool v2;
    unsigned secrets, versions, kept, renumbered, failed;
};

/* A request for JSON. 1: it is there; 0: it is not (404); else an exit code, negative. */
static int ask(struct client *c, const char *method, const char *path, const struct slice *body,
               json_t **ret)
{
    int code;

    c->quiet = true;
    code = client_ask(c, method, path, body);
    c->quiet = false;
    if (code != 0 && c->status == 404)
        return 0;
    if (code != 0)
        return -command_fail(code, "%s %s: %s (%ld)", c->address, path,
                             c->answer.data != NULL ? c->answer.data : "", c->status);
    if (ret == NULL)
        return 1;
    /* numbers that do not fit anywhere are read as they stand, elsewhere: json_text.h */
    *ret = json_loadb(c->answer.data, c->answer.len, JSON_DECODE_INT_AS_REAL, NULL);
    return *ret != NULL
               ? 1
               : -command_fail(EX_PROTOCOL, "%s %s: no answer of a Vault", c->address, path);
}

static char *join(const char *a, const char *b, const char *c)
{
    char *ret;

    if (asprintf(&ret, "/v1/%s%s%s", a, b, c) < 0)
        abort();
    return ret;
}

static int post(struct move *i, const char *path, const struct buf *body)
{
    struct slice text = buf_slice(body);
    int r = ask(&i->to, "POST", path, &text, NULL);

    return r < 0 ? r : 0;
}

/* The number in a member, -1 if it is not there. */
static long number_of(json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);

    return json_is_number(value) ? (long)json_number_value(value) : -1;
}

static int put_data(struct move *i, const char *path, struct slice data)
{
    autofree char *target = join(i->mount, i->v2 ? "data/" : "", path);
    struct buf body = {0};
    int r;

    buf_reserve(&body, data.len + 64);
    if (i->v2)
        buf_add_str(&body, "{\"data\":");
    buf_add_slice(&body, data);
    if (i->v2)
        buf_add_char(&body, '}');
    r = post(i, target, &body);
    buf_wipe(&body);
    if (r == 0)
        i->versions++;
    return r;
}

/* The content of one version. 0: it has none any more. */
static int get_version(struct move *i, const char *path, long version)
{
    autofree char *target = join(i->mount, "data/", path);
    struct slice data;
    int r;

    r = client_ask_query(&i->from, target, "version", version);
    if (r != 0 && i->from.status == 404)
        return 0;
    if (r != 0)
        return -command_fail(r, "%s %s: %ld", i->from.address, target, i->from.status);
    data = json_text_member(json_text_member(buf_slice(&i->from.answer), "data"), "data");
    if (data.len == 0 || *(const char *)data.data != '{')
        return 0;
    r = put_data(i, path, data);
    return r < 0 ? r : 1;
}

/* A version without content: its number is kept. */
static int put_hollow(struct move *i, const char *path, unsigned number)
{
    autofree char *target = join(i->mount, "destroy/", path);
    autobuf body = {0};
    int r = put_data(i, path, SLICE("{}"));

    i->versions--;
    buf_printf(&body, "{\"versions\":[%u]}", number);
    return r < 0 ? r : post(i, target, &body);
}

static int put_settings(struct move *i, const char *path, json_t *meta, bool final)
{
    autofree char *target = join(i->mount, "metadata/", path);
    struct slice custom =
        json_text_member(json_text_member(buf_slice(&i->from.answer), "data"), "custom_metadata");
    const char *after = json_string_value(json_object_get(meta, "delete_version_after"));
    long most = number_of(meta, "max_versions");
    autobuf body = {0};
    struct json j;

    json_init(&j, &body);
    json_object(&j);
    json_ki64(&j, "max_versions", most > 0 ? most : 0);
    json_kbool(&j, "cas_required", final && json_is_true(json_object_get(meta, "cas_required")));
    if (final && after != NULL)
        json_kstr(&j, "delete_version_after", after);
    if (!final && custom.len > 0 && *(const char *)custom.data == '{')
        json_kraw(&j, "custom_metadata", custom);
    json_object_end(&j);
    return post(i, target, &body);
}

static int by_number(const void *a, const void *b)
{
    long x = *(const long *)a, y = *(const long *)b;

    return x < y ? -1 : x > y;
}

static int copy_versions(struct move *i, const char *path, json_t *versions)
{
    size_t n = json_object_size(versions), k = 0;
    autofree long *list = xcalloc(n + 1, sizeof *list);
    const char *key;
    json_t *value;
    int r = 0;

    json_object_foreach(versions, key, value)
        list[k++] = strtol(key, NULL, 10);
    qsort(list, n, sizeof *list, by_number);
    if (n > 0 && list[0] > 1)
        i->renumbered++;
    for (k = 0; k < n && r >= 0; k++) {
        r = get_version(i, path, list[k]);
        if (r == 0)
            r = put_hollow(i, path, (unsigned)k + 1);
    }
    return r < 0 ? r : 0;
}

static int copy_v2(struct move *i, const char *path)
{
    autofree char *target = join(i->mount, "metadata/", path);
    scope_cleanup(scope_document) json_t *there = NULL, *answer = NULL;
    json_t *meta;
    int r = ask(&i->to, "GET", target, NULL, &there);

    if (r > 0 && number_of(json_object_get(there, "data"), "current_version") > 0) {
        i->kept++;
        return 0;
    }
    if (r >= 0)
        r = ask(&i->from, "GET", target, NULL, &answer);
    if (r <= 0)
        return r;
    meta = json_object_get(answer, "data");
    r = put_settings(i, path, meta, false);
    if (r == 0)
        r = copy_versions(i, path, json_object_get(meta, "versions"));
    if (r == 0)
        r = put_settings(i, path, meta, true);
    i->secrets += r == 0;
    return r;
}

static int copy_v1(struct move *i, const char *path)
{
    autofree char *target = join(i->mount, "", path);
    struct slice data;
    int r = ask(&i->to, "GET", target, NULL, NULL);

    if (r > 0) {
        i->kept++;
        return 0;
    }
    if (r == 0)
        r = ask(&i->from, "GET", target, NULL, NULL);
    if (r <= 0)
        return r;
    data = json_text_member(buf_slice(&i->from.answer), "data");
    r = data.len > 0 ? put_data(i, path, data) : 0;
    i->secrets += r == 0;
    return r;
}

/* What cannot be copied is told and left out; the rest goes on. */
static void copy_folder(struct move *i, const char *folder, unsigned depth)
{
    autofree char *target = join(i->mount, i->v2 ? "metadata/" : "", folder);
    scope_cleanup(scope_document) json_t *answer = NULL;
    json_t *keys, *key;
    size_t n;
    int r = ask(&i->from, "LIST", target, NULL, &answer);

    if (r < 0)
        i->failed++;
    if (r <= 0)
        return;
    keys = json_object_get(json_object_get(answer, "data"), "keys");
    json_array_foreach(keys, n, key) {
        const char *name = json_string_value(key);
        autofree char *path = NULL;
        size_t len = name != NULL ? strlen(name) : 0;

        if (len == 0 || asprintf(&path, "%s%s", folder, name) < 0) {
            path = NULL;
            continue;
        }
        if (name[len - 1] == '/' && depth < DEPTH_MAX)
            copy_folder(i, path, depth + 1);
        else if (name[len - 1] != '/' && (i->v2 ? copy_v2(i, path) : copy_v1(i, path)) < 0)
            i->failed++;
    }
}

static int make_mount(struct move *i, const char *version)
{
    autofree char *path = join("sys/mounts/", i->mount, "");
    struct slice body = strcmp(version, "2") == 0
                            ? SLICE("{\"type\":\"kv\",\"options\":{\"version\":\"2\"}}")
                            : SLICE("{\"type\":\"kv\",\"options\":{\"version\":\"1\"}}");
    int code;

    path[strlen(path) - 1] = 0;
    i->to.quiet = true;
    code = client_ask(&i->to, "POST", path, &body);
    i->to.quiet = false;
    if (code == 0 || (i->to.status == 400 && strstr(i->to.answer.data, "in use") != NULL))
        return 0;
    return command_fail(code, "mount '%s': %s", i->mount, i->to.answer.data);
}

static int copy_mounts(struct move *i)
{
    scope_cleanup(scope_document) json_t *answer = NULL;
    json_t *mounts, *mount;
    const char *path;
    int r = ask(&i->from, "GET", "/v1/sys/mounts", NULL, &answer);

    if (r <= 0)
        return r < 0 ? -r : command_fail(EX_PROTOCOL, "%s is no Vault", i->from.address);
    mounts = json_object_get(answer, "data");
    json_object_foreach(mounts, path, mount) {
        const char *type = json_string_value(json_object_get(mount, "type"));
        const char *version =
            json_string_value(json_object_get(json_object_get(mount, "options"), "version"));

        if (type == NULL || (strcmp(type, "kv") != 0 && strcmp(type, "generic") != 0))
            continue;
        i->mount = xstrdup(path);
        i->v2 = version != NULL && strcmp(version, "2") == 0;
        if (make_mount(i, i->v2 ? "2" : "1") == 0)
            copy_folder(i, "", 0);
        else
            i->failed++;
        free(take(i->mount));
    }
    return 0;
}

/* The server that is not the daemon; its token is in a variable of the environment, or asked for. */
static int open_other(struct client *c, const char *address, const char *variable)
{
    const char *given = getenv(variable);
    struct buf token = {0};
    int code = 0;

    if (given != NULL && given[0] != 0)
        buf_add_str(&token, given);
    else
        code = prompt_once("Token for that server: ", &token);
    if (code == 0)
        code = client_open_at(c, address, token.data);
    buf_wipe(&token);
    return code;
}

static int copy_all(struct move *i)
{
    int code;

    if (strcmp(i->from.address, i->to.address) == 0)
        return command_fail(EX_USAGE,
                            "%s is the daemon itself; name it with --address or $INFRAFS_ADDR",
                            i->to.address);
    code = copy_mounts(i);
    if (code != 0)
        return code;
    printf("%u secrets with %u versions; %u were there\n", i->secrets, i->versions, i->kept);
    if (i->renumbered > 0)
        printf("%u have lost their oldest versions: numbered from 1\n", i->renumbered);
    return i->failed > 0
               ? command_fail(EX_UNAVAILABLE, "%u could not be copied, see above", i->failed)
               : 0;
}

int run_import_vault(const struct command_line *line)
{
    struct move i = {0};
    int code = client_open(line, &i.to);

    if (code == 0)
        code = open_other(&i.from, line->operands[0], "SOURCE_TOKEN");
    if (code == 0)
        code = copy_all(&i);
    client_close(&i.from);
    client_close(&i.to);
    return code;
}

int run_export_vault(const struct command_line *line)
{
    struct move i = {0};
    int code = client_open(line, &i.from);

    if (code == 0)
        code = open_other(&i.to, line->operands[0], "TARGET_TOKEN");
    if (code == 0)
        code = copy_all(&i);
    client_close(&i.from);
    client_close(&i.to);
    return code;
}
