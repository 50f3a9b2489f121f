/* packages_api.c: changing what the index says, with the words that its JSON has (PEP 691, 792):
 *
 *     PATCH  /packages/<file>     {"yanked": true | false | "reason"}
 *     DELETE /packages/<file>
 *     PATCH  /simple/<project>/   {"project-status": {"status": "archived", "reason": "…"}}
 *                                 {"versions": ["1.0"], "yanked": …}: of all files of them
 *
 * The answer is {"changed": N}. */
#include "base/json.h"
#include "base/scope.h"
#include "identity/identity.h"
#include "packages/packages_web.h"
#include "packages/state.h"

#include <errno.h>

DEFINE_SCOPE(json, json_t, json_decref)
#define autojson scope_cleanup(scope_json) json_t

/* The body as an object without members other than these. *ret is new. */
static int parse_body(struct web_request *req, const char *const *members, json_t **ret)
{
    autojson *body = json_loadb(req->body.data != NULL ? req->body.data : "", req->body.len,
                                JSON_REJECT_DUPLICATES, NULL);
    const char *key;
    json_t *value;

    if (!json_is_object(body))
        return op_fail(req->op, EINVAL, "the body is not a JSON object");
    json_object_foreach(body, key, value) {
        size_t i = 0;

        while (members[i] != NULL && strcmp(members[i], key) != 0)
            i++;
        if (members[i] == NULL)
            return op_fail(req->op, EINVAL, "unknown member '%.40s'", key);
    }
    *ret = take(body);
    return 0;
}

/* `yanked` as PEP 691 has it; *ret NULL: not yanked. */
static int parse_yanked(struct op *op, const json_t *value, const char **ret)
{
    if (json_is_boolean(value)) {
        *ret = json_is_true(value) ? "" : NULL;
        return 0;
    }
    if (json_is_string(value)) {
        *ret = op_strdup(op, json_string_value(value));
        return 0;
    }
    return op_fail(op, EINVAL, "'yanked' is true, false, or a reason");
}

static int reply_changed(struct web_request *req, struct web_response *resp, unsigned n)
{
    web_reply_str(req, resp, 200, "application/json", op_printf(req->op, "{\"changed\": %u}\n", n));
    return 0;
}

/* The file of the path. Who has no right at all hears that, not whether there is such a file. */
static int find_file(struct web_request *req, unsigned right, struct package_file *ret)
{
    int r;

    if (!identity_touches(req->op->who, SLICE("packages/")))
        return identity_check(req->op, right, "packages/");
    r = package_find(req->op, req->self, web_param(req, "file"), ret);
    return r < 0 ? r : identity_check(req->op, right, "packages/%s", ret->project);
}

int api_patch_file(struct web_request *req, struct web_response *resp)
{
    static const char *const members[] = {"yanked", NULL};
    autojson *body = NULL;
    struct package_file f;
    const char *reason = NULL;
    int r = find_file(req, POLICY_UPDATE, &f);

    if (r == 0)
        r = parse_body(req, members, &body);
    if (r == 0)
        r = parse_yanked(req->op, json_object_get(body, "yanked"), &reason);
    if (r == 0)
        r = package_yank(req->op, req->self, f.project, f.name, reason);
    return r < 0 ? r : reply_changed(req, resp, 1);
}

int api_delete_file(struct web_request *req, struct web_response *resp)
{
    struct package_file f;
    int r = find_file(req, POLICY_DELETE, &f);

    if (r == 0)
        r = package_delete(req->op, req->self, f.project, f.name);
    return r < 0 ? r : reply_changed(req, resp, 1);
}

static int patch_status(struct web_request *req, const char *project, const json_t *value)
{
    const char *state = json_string_value(json_object_get(value, "status"));
    const json_t *reason = json_object_get(value, "reason");
    struct project_status status;
    int r;

    if (state == NULL || (reason != NULL && !json_is_string(reason)))
        return op_fail(req->op, EINVAL,
                       "'project-status' is an object with 'status' and perhaps 'reason'");
    r = project_status_parse(req->op, slice_str(state), &status);
    if (r == 0 && reason != NULL)
        status.reason = op_strdup(req->op, json_string_value(reason));
    return r < 0 ? r : project_status_set(req->op, req->self, project, &status);
}

/* The files of some versions. */
struct choice {
    struct op *op;
    const json_t *versions;
    struct chosen {
        struct chosen *next;
        const char *file;
    } * files;
};

static int choose(void *ctx, const struct package_file *f)
{
    struct choice *c = ctx;
    struct chosen *chosen;

    for (size_t i = 0; i < json_array_size(c->versions); i++) {
        const char *version = json_string_value(json_array_get(c->versions, i));

        if (version == NULL || !version_same(slice_str(version), slice_str(f->version)))
            continue;
        chosen = op_alloc(c->op, sizeof *chosen);
        *chosen = (struct chosen){c->files, f->name};
        c->files = chosen;
        break;
    }
    return 0;
}

static int patch_versions(struct web_request *req, const char *project, const json_t *body,
                          unsigned *n)
{
    struct choice c = {.op = req->op, .versions = json_object_get(body, "versions")};
    const char *reason = NULL;
    int r = parse_yanked(req->op, json_object_get(body, "yanked"), &reason);

    if (r == 0 && json_array_size(c.versions) == 0)
        r = op_fail(req->op, EINVAL, "'versions' is not a list of versions");
    if (r == 0)
        r = package_each(req->op, req->self, project, choose, &c);
    if (r == 0 && c.files == NULL)
        r = op_fail(req->op, ENOENT, "project '%s' has no files of these versions", project);
    for (; r == 0 && c.files != NULL; c.files = c.files->next, ++*n)
        r = package_yank(req->op, req->self, project, c.files->file, reason);
    return r;
}

int api_patch_project(struct web_request *req, struct web_response *resp)
{
    static const char *const members[] = {"project-status", "versions", "yanked", NULL};
    const char *name = web_param(req, "project");
    char project[PROJECT_NAME_MAX + 1];
    autojson *body = NULL;
    unsigned n = 0;
    int r;

    if (!project_name_valid(slice_str(name)))
        return op_fail(req->op, ENOENT, "'%.100s' is not the name of a project", name);
    project_name_normalise(slice_str(name), project);
    r = identity_check(req->op, POLICY_UPDATE, "packages/%s", project);
    if (r == 0)
        r = parse_body(req, members, &body);
    if (r == 0 && json_object_size(body) == 0)
        r = op_fail(req->op, EINVAL, "the body names nothing to change");
    if (r == 0 &&
        (json_object_get(body, "versions") != NULL || json_object_get(body, "yanked") != NULL))
        r = patch_versions(req, project, body, &n);
    if (r == 0 && json_object_get(body, "project-status") != NULL) {
        r = patch_status(req, project, json_object_get(body, "project-status"));
        n++;
    }
    return r < 0 ? r : reply_changed(req, resp, n);
}
