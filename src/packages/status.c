/* status.c: how a project stands (PEP 792): a row in the project's own partition, so that whoever
 * watches the project hears of it too. Active is the absence of the row. */
#include "base/scope.h"
#include "identity/identity.h"
#include "packages/state.h"

#include <errno.h>

#define REASON_MAX 1000

const char *const project_state_names[PROJECT_STATES + 1] = {
    "active", "archived", "quarantined", "deprecated", NULL,
};

static enum project_state state_of(struct slice name)
{
    enum project_state state = PROJECT_ACTIVE;

    while (state < PROJECT_STATES && !slice_eq(name, slice_str(project_state_names[state])))
        state++;
    return state;
}

int project_status_parse(struct op *op, struct slice text, struct project_status *ret)
{
    const char *s = text.data;
    const char *colon = text.len > 0 ? memchr(s, ':', text.len) : NULL;
    size_t len = colon != NULL ? (size_t)(colon - s) : text.len;
    struct slice reason = slice_skip(text, colon != NULL ? len + 1 : len);
    enum project_state state;

    while (len > 0 && (unsigned char)s[len - 1] <= ' ')
        len--;
    while (reason.len > 0 && *(const char *)reason.data == ' ')
        reason = slice_skip(reason, 1);
    state = state_of(slice_of(s, len));
    if (state == PROJECT_STATES)
        return op_fail(op, EINVAL,
                       "'%.*s' is no status of a project; there are active, archived, quarantined "
                       "and deprecated, with ': ' and a reason behind if there is one",
                       (int)(len < 40 ? len : 40), s != NULL ? s : "");
    *ret = (struct project_status){state, op_strndup(op, reason.data, reason.len)};
    return 0;
}

int project_status_get(struct op *op, struct packages *pk, const char *project,
                       struct project_status *ret)
{
    char text[PARTITION_MAX];
    struct store_value value = {0};
    struct slice row;
    int r;

    *ret = (struct project_status){PROJECT_ACTIVE, ""};
    if (!__atomic_load_n(&pk->any_status, __ATOMIC_ACQUIRE))
        return 0;
    r = store_get(pk->store, project_partition(project, text), SLICE(STATUS_KEY), &value);
    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return op_fail(op, -r, "reading the status of project '%s' failed", project);
    row = value.data;
    if (row.len < 1 || *(const uint8_t *)row.data >= PROJECT_STATES)
        r = op_fail(op, EIO, "the status of project '%s' is damaged; set it again", project);
    else
        *ret = (struct project_status){*(const uint8_t *)row.data,
                                       op_strndup(op, (const char *)row.data + 1, row.len - 1)};
    store_value_release(&value);
    return r;
}

static int check_reason(struct op *op, const char *reason)
{
    if (strlen(reason) > REASON_MAX)
        return op_fail(op, EINVAL, "the reason for a status is longer than %d bytes", REASON_MAX);
    for (const char *c = reason; *c != 0; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            return op_fail(op, EINVAL, "the reason for a status is one line of text");
    return 0;
}

static int write_status(struct packages *pk, const char *project,
                        const struct project_status *status)
{
    char text[PARTITION_MAX];
    struct store_batch *batch = store_batch_new(pk->store, project_partition(project, text));
    autobuf row = {0};

    if (status->state == PROJECT_ACTIVE && status->reason[0] == 0) {
        store_batch_delete(batch, SLICE(STATUS_KEY));
    } else {
        __atomic_store_n(&pk->any_status, true, __ATOMIC_RELEASE);
        buf_add_char(&row, (char)status->state);
        buf_add_str(&row, status->reason);
        store_batch_put(batch, SLICE(STATUS_KEY), buf_slice(&row));
    }
    return store_commit(batch, STORE_DURABLE);
}

int project_status_set(struct op *op, struct packages *pk, const char *project,
                       const struct project_status *status)
{
    bool files;
    int r = identity_check(op, POLICY_UPDATE, "packages/%s", project);

    if (r == 0)
        r = project_get(op, pk, project, NULL, &files);
    if (r == 0)
        r = check_reason(op, status->reason);
    if (r < 0)
        return r;
    r = write_status(pk, project, status);
    if (r < 0)
        return op_fail(op, -r, "setting the status of project '%s' failed: %s", project,
                       strerror(-r));
    op_changed(op, CHANGE_CONTENT, "/packages/%s", project);
    op_changed(op, CHANGE_CONTENT, "/packages/%s/@simple.html", project);
    op_changed(op, CHANGE_CONTENT, "/packages/%s/@simple.json", project);
    return 0;
}

int status_look(struct packages *pk, const char *project)
{
    char text[PARTITION_MAX];
    struct store_value value = {0};
    int r;

    if (__atomic_load_n(&pk->any_status, __ATOMIC_ACQUIRE))
        return 0;
    r = store_get(pk->store, project_partition(project, text), SLICE(STATUS_KEY), &value);
    if (r == 0)
        __atomic_store_n(&pk->any_status, true, __ATOMIC_RELEASE);
    store_value_release(&value);
    return r == -ENOENT ? 0 : r;
}

static int refuse(struct op *op, const char *project, const struct project_status *status)
{
    return op_fail(op, EACCES, "project '%s' is %s%s%s", project,
                   project_state_names[status->state], status->reason[0] != 0 ? ": " : "",
                   status->reason);
}

int project_takes_files(struct op *op, struct packages *pk, const char *project)
{
    struct project_status status;
    int r = project_status_get(op, pk, project, &status);

    if (r == 0 && (status.state == PROJECT_ARCHIVED || status.state == PROJECT_QUARANTINED))
        return refuse(op, project, &status);
    return r;
}

int project_offers_files(struct op *op, struct packages *pk, const char *project)
{
    struct project_status status;
    int r = project_status_get(op, pk, project, &status);

    return r == 0 && status.state == PROJECT_QUARANTINED ? refuse(op, project, &status) : r;
}
