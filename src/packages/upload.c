/* upload.c: the legacy upload API (PyPI's docs, "Upload API"; what twine, uv, poetry, pdm, flit and
 * hatch send). The form arrives in any order; content streams into the store while it is hashed. */
#include "base/alloc.h"
#include "base/multipart.h"
#include "base/scope.h"
#include "base/utf8.h"
#include "config.h"
#include "identity/identity.h"
#include "packages/metadata.h"
#include "packages/packages_web.h"
#include "packages/sidecar.h"
#include "packages/state.h"

#include <errno.h>

#define FORM_FRAME_MAX (4u << 20) /* boundaries and headers of all parts */

/* The fields that say something; others are counted and dropped. */
enum field {
    FIELD_ACTION,
    FIELD_PROTOCOL,
    FIELD_NAME,
    FIELD_VERSION,
    FIELD_FILETYPE,
    FIELD_PYVERSION,
    FIELD_METADATA_VERSION,
    FIELD_SHA256,
    FIELD_BLAKE2B,
    FIELD_MD5,
    FIELD_SIGNATURE,
    FIELD_ATTESTATIONS,
    FIELDS,
};

static const struct {
    const char *name;
    size_t limit_bytes;
    bool lines; /* a text of several lines; the others are one, and go into answers and logs */
} fields[FIELDS] = {
    [FIELD_ACTION] = {":action", 64},
    [FIELD_PROTOCOL] = {"protocol_version", 16},
    [FIELD_NAME] = {"name", PROJECT_NAME_MAX},
    [FIELD_VERSION] = {"version", VERSION_TEXT_MAX},
    [FIELD_FILETYPE] = {"filetype", 64},
    [FIELD_PYVERSION] = {"pyversion", PACKAGE_FILENAME_MAX},
    [FIELD_METADATA_VERSION] = {"metadata_version", 16},
    [FIELD_SHA256] = {"sha256_digest", 64},
    [FIELD_BLAKE2B] = {"blake2_256_digest", 64},
    [FIELD_MD5] = {"md5_digest", 32},
    [FIELD_SIGNATURE] = {"gpg_signature", SIGNATURE_BYTES_MAX, true},
    [FIELD_ATTESTATIONS] = {"attestations", ATTESTATIONS_BYTES_MAX, true},
};

enum part_kind { PART_DROPPED, PART_FIELD, PART_CONTENT };

struct upload {
    struct op *op;
    struct packages *pk;
    struct multipart *multipart;
    struct package_draft *draft;
    const char *file, *signature_file; /* in the op; NULL: not there */
    const char *value[FIELDS];         /* likewise */
    uint64_t text_bytes;               /* of all parts but the content */
    /* The part that is arriving. */
    enum part_kind part;
    enum field field;
    uint64_t part_bytes;
    struct buf text;
};

static int begin_content(struct upload *u, const struct multipart_part *part)
{
    unsigned hashes = 0;

    u->part = PART_CONTENT;
    if (u->draft != NULL)
        return op_fail(u->op, EINVAL, "the field 'content' is there twice");
    if (!part->has_filename || part->filename[0] == 0)
        return op_fail(u->op, EINVAL, "the field 'content' has no file name");
    u->file = op_strdup(u->op, part->filename);
    /* Of digests that come behind the content only this one is likely. */
    if (u->value[FIELD_BLAKE2B] != NULL || u->value[FIELD_SHA256] == NULL)
        hashes |= PACKAGE_BLAKE2B;
    if (u->value[FIELD_MD5] != NULL)
        hashes |= PACKAGE_MD5;
    return package_draft_new(u->op, u->pk, part->filename, hashes, &u->draft);
}

static int on_part(void *ctx, const struct multipart_part *part)
{
    struct upload *u = ctx;

    u->part = PART_DROPPED;
    u->part_bytes = 0;
    buf_clear(&u->text);
    if (strcmp(part->name, "content") == 0)
        return begin_content(u, part);
    for (int i = 0; i < FIELDS; i++) {
        if (strcmp(part->name, fields[i].name) != 0)
            continue;
        if (u->value[i] != NULL)
            return op_fail(u->op, EINVAL, "the field '%s' is there twice", fields[i].name);
        u->part = PART_FIELD;
        u->field = (enum field)i;
        if (i == FIELD_SIGNATURE)
            u->signature_file = op_strdup(u->op, part->has_filename ? part->filename : "");
    }
    return 0;
}

static int on_data(void *ctx, const void *bytes, size_t n)
{
    struct upload *u = ctx;
    const struct config_limits *limits = &u->pk->env.config->limits;

    if (u->part == PART_CONTENT)
        return package_draft_write(u->op, u->draft, bytes, n);
    u->part_bytes += n;
    u->text_bytes += n;
    if (u->part_bytes > limits->form_field_bytes || u->text_bytes > limits->form_bytes)
        return op_fail(u->op, EFBIG,
                       "the text of the form is larger than limits.form_field_bytes "
                       "or limits.form_bytes allow");
    if (u->part != PART_FIELD)
        return 0;
    if (u->part_bytes > fields[u->field].limit_bytes)
        return op_fail(u->op, EINVAL, "the field '%s' is longer than %zu bytes",
                       fields[u->field].name, fields[u->field].limit_bytes);
    buf_add(&u->text, bytes, n);
    return 0;
}

/* UTF-8 without control characters other than the ends of lines, where there may be lines. */
static bool is_plain_text(struct slice text, bool lines)
{
    const unsigned char *c = text.data;

    for (size_t i = 0; i < text.len; i++)
        if ((c[i] < 0x20 || c[i] == 0x7f) &&
            !(lines && (c[i] == '\n' || c[i] == '\r' || c[i] == '\t')))
            return false;
    return text.len == 0 || utf8_valid(text);
}

static int on_end(void *ctx)
{
    struct upload *u = ctx;

    if (u->part != PART_FIELD)
        return 0;
    if (!is_plain_text(buf_slice(&u->text), fields[u->field].lines))
        return op_fail(u->op, EINVAL, "the field '%s' is not plain UTF-8 text",
                       fields[u->field].name);
    u->value[u->field] = op_strndup(u->op, u->text.data, u->text.len);
    return 0;
}

int upload_begin(struct web_request *req)
{
    static const struct multipart_events events = {on_part, on_data, on_end};
    const struct identity *who = req->op->who;
    const struct config_limits *limits = &((struct packages *)req->self)->env.config->limits;
    const char *type = web_header(req, "Content-Type");
    struct upload *u;
    int r;

    /* Before a byte of the body is read: who is not known, or may do nothing here, goes. */
    if (who->kind == IDENTITY_ANONYMOUS || !identity_touches(who, SLICE("packages/"))) {
        r = identity_check(req->op, POLICY_CREATE, "packages/");
        if (r < 0)
            return r;
    }
    if (req->content_length != UINT64_MAX &&
        req->content_length > limits->package_bytes + limits->form_bytes + FORM_FRAME_MAX)
        return op_fail(req->op, EFBIG, "the upload is larger than limits.package_bytes allows");
    u = xcalloc(1, sizeof *u);
    u->op = req->op;
    u->pk = req->self;
    r = multipart_new(type != NULL ? type : "", &events, u, NULL, &u->multipart);
    if (r < 0) {
        free(u);
        return op_fail(req->op, EINVAL,
                       "the request is not a form: Content-Type must be "
                       "multipart/form-data with a boundary");
    }
    req->state = u;
    return 0;
}

static int refuse_form(struct upload *u, int r)
{
    const char *why = multipart_why(u->multipart);

    /* What a callback found has its own reason already, which op_fail keeps. */
    return op_fail(u->op, -r, "the form is malformed: %s", why);
}

int upload_data(struct web_request *req, const void *bytes, size_t n)
{
    struct upload *u = req->state;
    int r = multipart_feed(u->multipart, bytes, n);

    return r < 0 ? refuse_form(u, r) : 0;
}

static int require(struct upload *u, enum field field)
{
    if (u->value[field] == NULL || u->value[field][0] == 0)
        return op_fail(u->op, EINVAL, "the field '%s' is missing", fields[field].name);
    return 0;
}

/* NULL for a field that is there but empty: some clients send all they know of. */
static const char *said(const struct upload *u, enum field field)
{
    const char *value = u->value[field];

    return value != NULL && value[0] != 0 ? value : NULL;
}

static int check_digest_field(struct upload *u, enum field field)
{
    const char *value = said(u, field);

    if (value == NULL)
        return 0;
    if (strlen(value) != fields[field].limit_bytes ||
        strspn(value, "0123456789abcdefABCDEF") != strlen(value))
        return op_fail(u->op, EINVAL, "the field '%s' is not %zu hexadecimal digits",
                       fields[field].name, fields[field].limit_bytes);
    return 0;
}

static int check_filetype(struct upload *u)
{
    const char *type = u->value[FIELD_FILETYPE], *python = said(u, FIELD_PYVERSION);
    bool source = python == NULL || strcmp(python, "source") == 0;

    if (strcmp(type, "sdist") != 0 && strcmp(type, "bdist_wheel") != 0)
        return op_fail(u->op, EINVAL,
                       "filetype '%s' is not accepted; there are bdist_wheel and "
                       "sdist",
                       type);
    /* flit 4.2 sends none for an sdist, nor need it (PyPI's check of the form). */
    if (python == NULL && strcmp(type, "sdist") != 0)
        return require(u, FIELD_PYVERSION);
    if (source != (strcmp(type, "sdist") == 0))
        return op_fail(u->op, EINVAL, "pyversion '%s' does not go with filetype '%s'", python,
                       type);
    return 0;
}

/* The signature belongs to the content: it is named as that, with ".asc" behind. */
static int check_signature(struct upload *u)
{
    size_t len = strlen(u->file);

    if (said(u, FIELD_SIGNATURE) == NULL)
        return 0;
    if (strncmp(u->signature_file, u->file, len) == 0 &&
        strcmp(u->signature_file + len, ".asc") == 0)
        return 0;
    return op_fail(u->op, EINVAL, "the file name of 'gpg_signature' is not '%s.asc'", u->file);
}

static int check_fields(struct upload *u)
{
    static const enum field needed[] = {FIELD_NAME, FIELD_VERSION, FIELD_FILETYPE,
                                        FIELD_METADATA_VERSION};
    static const enum field digests[] = {FIELD_SHA256, FIELD_BLAKE2B, FIELD_MD5};
    bool any = false;
    int r = 0;

    for (size_t i = 0; r == 0 && i < array_size(needed); i++)
        r = require(u, needed[i]);
    for (size_t i = 0; r == 0 && i < array_size(digests); i++) {
        any |= said(u, digests[i]) != NULL;
        r = check_digest_field(u, digests[i]);
    }
    if (r == 0 && !metadata_version_valid(slice_str(u->value[FIELD_METADATA_VERSION])))
        r = op_fail(u->op, EINVAL, "metadata_version '%s' is not known; there are 1.0 to 2.9",
                    u->value[FIELD_METADATA_VERSION]);
    if (r == 0)
        r = check_filetype(u);
    if (r < 0)
        return r;
    if (!any)
        return op_fail(u->op, EINVAL,
                       "a digest is missing: sha256_digest, blake2_256_digest or "
                       "md5_digest");
    if (u->draft == NULL)
        return op_fail(u->op, EINVAL, "the field 'content' is missing");
    return check_signature(u);
}

static int publish(struct upload *u)
{
    struct package_claims claims = {
        .name = u->value[FIELD_NAME],
        .version = u->value[FIELD_VERSION],
        .filetype = u->value[FIELD_FILETYPE],
        .pyversion = NULL, /* tools differ in how they write several tags */
        .sha256 = said(u, FIELD_SHA256),
        .blake2b = said(u, FIELD_BLAKE2B),
        .md5 = said(u, FIELD_MD5),
        .signature = slice_str(said(u, FIELD_SIGNATURE)),
        .attestations = slice_str(said(u, FIELD_ATTESTATIONS)),
    };
    int r = check_fields(u);

    return r < 0 ? r : package_draft_publish(u->op, u->draft, &claims);
}

/* The files of one version. */
struct doomed {
    const char *version;
    struct doomed_name {
        struct doomed_name *next;
        const char *file;
    } * names;
    struct op *op;
};

static int find_doomed(void *ctx, const struct package_file *f)
{
    struct doomed *d = ctx;
    struct doomed_name *name;

    if (!version_same(slice_str(f->version), slice_str(d->version)))
        return 0;
    name = op_alloc(d->op, sizeof *name);
    *name = (struct doomed_name){d->names, f->name};
    d->names = name;
    return 0;
}

static int remove_release(struct upload *u)
{
    struct doomed doomed = {.op = u->op};
    char project[PROJECT_NAME_MAX + 1];
    int r = require(u, FIELD_NAME);

    if (r == 0)
        r = require(u, FIELD_VERSION);
    if (r < 0)
        return r;
    if (!project_name_valid(slice_str(u->value[FIELD_NAME])))
        return op_fail(u->op, EINVAL, "name '%s' is not that of a project", u->value[FIELD_NAME]);
    project_name_normalise(slice_str(u->value[FIELD_NAME]), project);
    doomed.version = u->value[FIELD_VERSION];
    r = identity_check(u->op, POLICY_DELETE, "packages/%s", project);
    if (r == 0)
        r = package_each(u->op, u->pk, project, find_doomed, &doomed);
    if (r < 0)
        return r;
    if (doomed.names == NULL)
        return op_fail(u->op, ENOENT, "there is no version %s of '%s'", doomed.version, project);
    for (; r == 0 && doomed.names != NULL; doomed.names = doomed.names->next)
        r = package_delete(u->op, u->pk, project, doomed.names->file);
    return r;
}

int upload_handle(struct web_request *req, struct web_response *resp)
{
    struct upload *u = req->state;
    const char *action, *protocol;
    int r = multipart_end(u->multipart);

    if (r < 0)
        return refuse_form(u, r);
    r = require(u, FIELD_ACTION);
    if (r < 0)
        return r;
    action = u->value[FIELD_ACTION];
    protocol = said(u, FIELD_PROTOCOL);
    if (protocol != NULL && strcmp(protocol, "1") != 0)
        return op_fail(u->op, EINVAL, "protocol_version '%s' is not known; there is 1", protocol);
    if (strcmp(action, "file_upload") == 0)
        r = publish(u);
    else if (strcmp(action, "remove_pkg") == 0)
        r = remove_release(u);
    else if (strcmp(action, "submit") != 0 && strcmp(action, "verify") != 0)
        r = op_fail(u->op, EINVAL,
                    "the action '%s' is not supported; there are file_upload and "
                    "remove_pkg",
                    action);
    if (r == 0) /* 200 and nothing else: twine's and poetry's only plain success */
        web_reply_str(req, resp, 200, "text/plain; charset=utf-8", "OK\n");
    return r;
}

void upload_end(struct web_request *req)
{
    struct upload *u = req->state;

    if (u == NULL)
        return;
    package_draft_free(u->draft);
    multipart_free(u->multipart);
    buf_done(&u->text);
    free(u);
    req->state = NULL;
}
