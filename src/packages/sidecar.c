#include "packages/sidecar.h"

#include "base/codec.h"
#include "base/json.h"
#include "base/scope.h"
#include "packages/filename.h"

#include <errno.h>
#include <strings.h>

#define ATTESTATIONS_MAX 16

DEFINE_SCOPE(json, json_t, json_decref)
#define autojson scope_cleanup(scope_json) json_t

__attribute__((format(printf, 2, 3))) static int refuse(struct buf *why, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    buf_vprintf(why, format, args);
    va_end(args);
    return -EINVAL;
}

int signature_check(struct slice text, struct buf *why)
{
    if (text.len > SIGNATURE_BYTES_MAX)
        return refuse(why, "gpg_signature is longer than %u bytes", SIGNATURE_BYTES_MAX);
    if (!slice_starts(text, SLICE("-----BEGIN PGP SIGNATURE-----")) ||
        memmem(text.data, text.len, SLICE("-----END PGP SIGNATURE-----").data,
               SLICE("-----END PGP SIGNATURE-----").len) == NULL)
        return refuse(why, "gpg_signature is not an armored OpenPGP signature");
    return 0;
}

/* The bytes of a member that is base64. */
static int decode(const json_t *object, const char *key, struct buf *out, struct buf *why)
{
    const json_t *value = json_object_get(object, key);

    if (!json_is_string(value) ||
        base64_decode(out, slice_of(json_string_value(value), json_string_length(value))) < 0 ||
        out->len == 0)
        return refuse(why, "attestation: '%s' is missing or not base64", key);
    return 0;
}

static int check_material(const json_t *material, struct buf *why)
{
    const json_t *entries = json_object_get(material, "transparency_entries");
    autobuf certificate = {0};

    if (!json_is_array(entries) || json_array_size(entries) == 0)
        return refuse(why, "attestation: 'transparency_entries' is missing or empty");
    for (size_t i = 0; i < json_array_size(entries); i++)
        if (!json_is_object(json_array_get(entries, i)))
            return refuse(why, "attestation: an entry of 'transparency_entries' is no object");
    return decode(material, "certificate", &certificate, why);
}

/* The same release file, however its name is spelled: "Foo_Bar-1.0.tar.gz" is foo-bar 1.0. */
static bool same_file(const char *a, const char *b)
{
    struct package_filename x, y;

    if (strcmp(a, b) == 0)
        return true;
    if (package_filename_parse(slice_str(a), &x, NULL) < 0 ||
        package_filename_parse(slice_str(b), &y, NULL) < 0)
        return false;
    return x.kind == y.kind && strcmp(x.normal, y.normal) == 0 &&
           version_same(x.version, y.version) && slice_eq(x.build, y.build) &&
           slice_eq(x.python, y.python) && slice_eq(x.abi, y.abi) &&
           slice_eq(x.platform, y.platform);
}

static int check_subject(const json_t *statement, const struct attested *of, struct buf *why)
{
    const json_t *subjects = json_object_get(statement, "subject");
    const json_t *subject = json_array_get(subjects, 0);
    const char *name = json_string_value(json_object_get(subject, "name"));
    const char *sha256 =
        json_string_value(json_object_get(json_object_get(subject, "digest"), "sha256"));
    char hex[65];

    if (json_array_size(subjects) != 1 || name == NULL || sha256 == NULL)
        return refuse(why, "attestation: the statement has not exactly one subject with a name and "
                           "a sha256");
    hex_encode(slice_of(of->digest->bytes, 32), hex);
    if (!same_file(name, of->file))
        return refuse(why, "attestation: the statement is about '%.100s'", name);
    if (strcasecmp(sha256, hex) != 0)
        return refuse(why, "attestation: the statement is about a file with another sha256");
    return 0;
}

/* in-toto's Statement, version 1. *ret_predicate is new. */
static int check_statement(struct slice text, const struct attested *of, char **ret_predicate,
                           struct buf *why)
{
    autojson *statement = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
    const char *type = json_string_value(json_object_get(statement, "_type"));
    const char *predicate = json_string_value(json_object_get(statement, "predicateType"));

    if (type == NULL || strcmp(type, "https://in-toto.io/Statement/v1") != 0)
        return refuse(why, "attestation: 'statement' is not an in-toto statement of version 1");
    if (predicate == NULL || predicate[0] == 0)
        return refuse(why, "attestation: the statement has no 'predicateType'");
    if (check_subject(statement, of, why) < 0)
        return -EINVAL;
    *ret_predicate = strdup(predicate);
    return *ret_predicate != NULL ? 0 : -ENOMEM;
}

static int check_attestation(const json_t *a, const struct attested *of, char **ret_predicate,
                             struct buf *why)
{
    const json_t *version = json_object_get(a, "version");
    const json_t *envelope = json_object_get(a, "envelope");
    autobuf statement = {0}, signature = {0};
    int r;

    if (!json_is_integer(version) || json_integer_value(version) != 1)
        return refuse(why, "attestation: 'version' is not 1");
    r = check_material(json_object_get(a, "verification_material"), why);
    if (r == 0)
        r = decode(envelope, "statement", &statement, why);
    if (r == 0)
        r = decode(envelope, "signature", &signature, why);
    return r < 0 ? r : check_statement(buf_slice(&statement), of, ret_predicate, why);
}

/* Each of another kind: a second one would only hide the first. */
static int check_all(const json_t *list, const struct attested *of, struct buf *why)
{
    char *predicate[ATTESTATIONS_MAX] = {0};
    size_t n = json_array_size(list);
    int r = 0;

    if (!json_is_array(list) || n == 0 || n > ATTESTATIONS_MAX)
        return refuse(why, "attestations is not a JSON list of 1 to %d", ATTESTATIONS_MAX);
    for (size_t i = 0; r == 0 && i < n; i++) {
        r = check_attestation(json_array_get(list, i), of, &predicate[i], why);
        for (size_t k = 0; r == 0 && k < i; k++)
            if (strcmp(predicate[k], predicate[i]) == 0)
                r = refuse(why, "attestations: two are of one predicateType");
    }
    for (size_t i = 0; i < n; i++)
        free(predicate[i]);
    return r;
}

int provenance_make(struct slice attestations, const struct attested *of, struct buf *out,
                    struct buf *why)
{
    autojson *list = json_loadb(attestations.data, attestations.len, JSON_REJECT_DUPLICATES, NULL);
    int r = check_all(list, of, why);
    autofree char *text = r == 0 ? json_dumps(list, JSON_COMPACT) : NULL;
    struct json j;

    if (r < 0)
        return r;
    if (text == NULL)
        return -ENOMEM;
    json_init(&j, out);
    json_object(&j);
    json_ku64(&j, "version", 1);
    json_key(&j, "attestation_bundles");
    json_array(&j);
    json_object(&j);
    json_key(&j, "publisher");
    json_object(&j);
    json_kstr(&j, "kind", "infrafs");
    json_knull(&j, "claims");
    json_kstr(&j, "user", of->uploader);
    json_object_end(&j);
    json_kraw(&j, "attestations", slice_str(text));
    json_object_end(&j);
    json_array_end(&j);
    json_object_end(&j);
    return 0;
}
