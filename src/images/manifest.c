#include "images/manifest.h"

#include "base/alloc.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <strings.h>

static int refuse(struct buf *why, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int refuse(struct buf *why, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    buf_vprintf(why, format, args);
    va_end(args);
    return -EINVAL;
}

/* A member that is absent or null is NULL. */
static json_t *member(const json_t *object, const char *name)
{
    json_t *v = json_object_get(object, name);

    return json_is_null(v) ? NULL : v;
}

/* An optional text. */
static int text_member(const json_t *object, const char *name, const char **ret, struct buf *why)
{
    json_t *v = member(object, name);

    *ret = NULL;
    if (v == NULL)
        return 0;
    if (!json_is_string(v) || memchr(json_string_value(v), 0, json_string_length(v)) != NULL)
        return refuse(why, "'%s' is not a string", name);
    *ret = json_string_value(v);
    return 0;
}

/* RFC 6838 section 4.2: type/subtype, without parameters. */
static bool media_type_valid(struct slice t)
{
    const char *s = t.data;
    size_t slashes = 0;

    if (t.len == 0 || t.len > MEDIA_TYPE_MAX || s[0] == '/' || s[t.len - 1] == '/')
        return false;
    for (size_t i = 0; i < t.len; i++) {
        if (s[i] == '/')
            slashes++;
        else if (s[i] <= ' ' || s[i] >= 0x7f || strchr("\"(),:;<=>?@[\\]{}", s[i]) != NULL)
            return false;
    }
    return slashes == 1;
}

static int platform_parse(const json_t *object, struct descriptor *d, struct buf *why)
{
    json_t *platform = member(object, "platform");
    int r;

    if (platform == NULL)
        return 0;
    if (!json_is_object(platform))
        return refuse(why, "'platform' is not an object");
    r = text_member(platform, "os", &d->os, why);
    if (r == 0)
        r = text_member(platform, "architecture", &d->architecture, why);
    if (r == 0)
        r = text_member(platform, "variant", &d->variant, why);
    return r;
}

/* OCI image-spec 1.1, "Non-Distributable Layers"; docker's foreign layers. */
static bool is_foreign(const char *media_type)
{
    return strncmp(media_type, "application/vnd.oci.image.layer.nondistributable.", 49) == 0 ||
           strncmp(media_type, "application/vnd.docker.image.rootfs.foreign.", 44) == 0;
}

static int descriptor_parse(const json_t *object, const char *what, struct descriptor *ret,
                            struct buf *why)
{
    struct descriptor d = {.json = object};
    const char *digest;
    json_t *size;

    if (!json_is_object(object))
        return refuse(why, "%s is not a descriptor", what);
    if (text_member(object, "mediaType", &d.media_type, why) < 0 ||
        text_member(object, "artifactType", &d.artifact_type, why) < 0 ||
        text_member(object, "digest", &digest, why) < 0 || platform_parse(object, &d, why) < 0)
        return -EINVAL;
    if (d.media_type == NULL || !media_type_valid(slice_str(d.media_type)))
        return refuse(why, "%s has no valid 'mediaType'", what);
    if (digest == NULL || digest_parse(slice_str(digest), &d.digest) < 0)
        return refuse(why, "%s has no valid 'digest'", what);
    size = member(object, "size");
    if (!json_is_integer(size) || json_integer_value(size) < 0)
        return refuse(why, "%s has no valid 'size'", what);
    d.size_bytes = (uint64_t)json_integer_value(size);
    d.foreign = is_foreign(d.media_type);
    *ret = d;
    return 0;
}

static int items_parse(struct manifest *m, const char *name, struct buf *why)
{
    json_t *array = member(m->json, name);
    size_t n;

    if (array == NULL) /* Go writes an empty list as null */
        return 0;
    if (!json_is_array(array))
        return refuse(why, "'%s' is not a list", name);
    n = json_array_size(array);
    if (n > MANIFEST_DESCRIPTORS_MAX) {
        buf_printf(why, "%zu entries in '%s'; the limit is %u", n, name, MANIFEST_DESCRIPTORS_MAX);
        return -EFBIG;
    }
    m->items = xcalloc(n + 1, sizeof *m->items);
    for (size_t i = 0; i < n; i++) {
        char what[64];

        snprintf(what, sizeof what, "%s[%zu]", name, i);
        if (descriptor_parse(json_array_get(array, i), what, &m->items[i], why) < 0)
            return -EINVAL;
        m->n_items++;
    }
    return 0;
}

static int one_parse(struct manifest *m, const char *name, struct descriptor *ret, bool *ret_has,
                     struct buf *why)
{
    json_t *v = member(m->json, name);

    if (v == NULL)
        return 0;
    if (descriptor_parse(v, name, ret, why) < 0)
        return -EINVAL;
    *ret_has = true;
    return 0;
}

static bool is_index_type(const char *type)
{
    return strcmp(type, MEDIA_OCI_INDEX) == 0 || strcmp(type, MEDIA_DOCKER_LIST) == 0;
}

static bool is_image_type(const char *type)
{
    return strcmp(type, MEDIA_OCI_MANIFEST) == 0 || strcmp(type, MEDIA_DOCKER_MANIFEST) == 0;
}

/* What the bytes are: by the type the client named, the type they name themselves, which must
 * agree, and else by their shape. A document that is both an index and an image is refused
 * (CVE-2021-41190). */
static int type_decide(struct manifest *m, const char *content_type, struct buf *why)
{
    struct slice named = slice_of(content_type != NULL ? content_type : "",
                                  content_type != NULL ? strcspn(content_type, "; \t") : 0);
    bool list = member(m->json, "manifests") != NULL;
    bool image = member(m->json, "config") != NULL || member(m->json, "layers") != NULL;
    const char *type;

    if (text_member(m->json, "mediaType", &type, why) < 0)
        return -EINVAL;
    if (slice_eq(named, SLICE("application/json")) ||
        slice_eq(named, SLICE("application/octet-stream")))
        named.len = 0; /* curl and scripts: not meant as a type of manifest */
    if (type != NULL && !media_type_valid(slice_str(type)))
        return refuse(why, "'mediaType' is not a media type");
    if (named.len > 0 && !media_type_valid(named))
        return refuse(why, "Content-Type is not a media type");
    if (named.len > 0 && type != NULL && !slice_eq(named, slice_str(type)))
        return refuse(why, "Content-Type '%.*s' differs from mediaType '%s'", (int)named.len,
                      (const char *)named.data, type);
    if (list && image)
        return refuse(why, "it has both 'manifests' and 'config' or 'layers'");
    if (named.len > 0)
        m->media_type = xstrndup(named.data, named.len);
    else
        m->media_type = xstrdup(type != NULL ? type : list ? MEDIA_OCI_INDEX : MEDIA_OCI_MANIFEST);
    m->kind = list || is_index_type(m->media_type) ? MANIFEST_INDEX : MANIFEST_IMAGE;
    if (list && is_image_type(m->media_type))
        return refuse(why, "'%s' with 'manifests'", m->media_type);
    if (image && is_index_type(m->media_type))
        return refuse(why, "'%s' with 'config' or 'layers'", m->media_type);
    return 0;
}

static int version_check(const struct manifest *m, struct buf *why)
{
    json_t *version = member(m->json, "schemaVersion");

    if (version == NULL && strcmp(m->media_type, MEDIA_OCI_ARTIFACT) == 0)
        return 0;
    if (!json_is_integer(version) || json_integer_value(version) != 2)
        return refuse(why, "'schemaVersion' is not 2");
    return 0;
}

static int annotations_check(const struct manifest *m, struct buf *why)
{
    json_t *annotations = member(m->json, "annotations");
    const char *key;
    json_t *value;

    if (annotations == NULL)
        return 0;
    if (!json_is_object(annotations))
        return refuse(why, "'annotations' is not an object");
    json_object_foreach(annotations, key, value)
        if (!json_is_string(value))
            return refuse(why, "an annotation is not a string");
    return 0;
}

static int content_parse(struct manifest *m, struct buf *why)
{
    const char *list = m->kind == MANIFEST_INDEX                        ? "manifests"
                       : strcmp(m->media_type, MEDIA_OCI_ARTIFACT) == 0 ? "blobs"
                                                                        : "layers";
    int r;

    r = version_check(m, why);
    if (r == 0)
        r = annotations_check(m, why);
    if (r == 0)
        r = one_parse(m, "config", &m->config, &m->has_config, why);
    if (r == 0)
        r = one_parse(m, "subject", &m->subject, &m->has_subject, why);
    if (r == 0)
        r = items_parse(m, list, why);
    if (r == 0)
        r = text_member(m->json, "artifactType", &m->artifact_type, why);
    if (r < 0)
        return r;
    if (is_image_type(m->media_type) && !m->has_config)
        return refuse(why, "'config' is missing");
    if (m->artifact_type != NULL && m->artifact_type[0] == 0)
        m->artifact_type = NULL;
    if (m->artifact_type == NULL && m->kind == MANIFEST_IMAGE && m->has_config)
        m->artifact_type = m->config.media_type;
    return 0;
}

int manifest_parse(struct slice bytes, const char *content_type, struct manifest **ret,
                   struct buf *why)
{
    struct manifest *m;
    json_error_t error;
    json_t *root;
    int r;

    if (bytes.len > MANIFEST_BYTES_MAX) {
        buf_printf(why, "%zu bytes; the limit is %u", bytes.len, MANIFEST_BYTES_MAX);
        return -EFBIG;
    }
    root = json_loadb(bytes.len > 0 ? bytes.data : "", bytes.len, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL)
        return refuse(why, "it is not JSON: line %d: %s", error.line, error.text);
    m = xcalloc(1, sizeof *m);
    m->json = root;
    if (!json_is_object(root))
        r = refuse(why, "it is not a JSON object");
    else
        r = type_decide(m, content_type, why);
    if (r == 0)
        r = content_parse(m, why);
    if (r < 0) {
        manifest_free(m);
        return r;
    }
    *ret = m;
    return 0;
}

void manifest_free(struct manifest *m)
{
    if (m == NULL)
        return;
    json_decref(m->json);
    free((void *)(uintptr_t)m->media_type);
    free(m->items);
    free(m);
}

static void print(const json_t *value, struct buf *out)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

    buf_add_str(out, text != NULL ? text : "null");
    free(text);
}

static void print_text(const char *key, const char *value, struct buf *out)
{
    json_t *text = json_string(value);

    buf_printf(out, "\"%s\":", key);
    print(text, out);
    json_decref(text);
}

void manifest_print_descriptor(const struct manifest *m, const struct digest *digest,
                               uint64_t size_bytes, struct buf *out)
{
    json_t *annotations = member(m->json, "annotations");
    char text[DIGEST_TEXT_MAX];

    buf_add_char(out, '{');
    print_text("mediaType", m->media_type, out);
    buf_printf(out, ",\"digest\":\"%s\",\"size\":", digest_print(digest, text));
    buf_add_u64(out, size_bytes);
    if (m->artifact_type != NULL) {
        buf_add_char(out, ',');
        print_text("artifactType", m->artifact_type, out);
    }
    if (annotations != NULL && json_object_size(annotations) > 0) {
        buf_add_str(out, ",\"annotations\":");
        print(annotations, out);
    }
    buf_add_char(out, '}');
}

void descriptor_print(const struct descriptor *d, struct buf *out)
{
    print(d->json, out);
}
