/* tree_alias.c: what @env, @docker-env, @json, @yaml and @meta read as, and take. */
#include "base/clock.h"
#include "base/json.h"
#include "secrets/tree_file.h"
#include "secrets/vault.h"

#include <errno.h>
#include <stdio.h>

static void time_member(struct json *j, const char *key, int64_t unix_ns)
{
    char text[CLOCK_TEXT_MAX];

    json_kstr(j, key, unix_ns != 0 ? clock_print_ns(unix_ns, 9, text) : "");
}

static void print_version(struct json *j, const struct kv_version *v)
{
    char number[16];

    snprintf(number, sizeof number, "%u", v->number);
    json_key(j, number);
    json_object(j);
    time_member(j, "created_time", v->created_ns);
    time_member(j, "deletion_time", v->deletion_ns);
    json_kbool(j, "destroyed", v->destroyed);
    json_object_end(j);
}

static void print_meta(struct op *op, const struct place *p, struct buf *out)
{
    const struct kv_entry *e = &p->secret;
    int64_t read_unix_s = 0;
    struct json j;

    if (kv_last_read(p->mount->kv, e->id, &read_unix_s) < 0)
        op_forgive(op); /* a hint for people: what is damaged there hides nothing else */

    json_init(&j, out);
    json_object(&j);
    json_ku64(&j, "current_version", e->current);
    json_ku64(&j, "oldest_version", e->oldest);
    time_member(&j, "created_time", e->created_ns);
    time_member(&j, "updated_time", e->updated_ns);
    time_member(&j, "last_read_time", read_unix_s * INT64_C(1000000000));
    json_ku64(&j, "max_versions", e->max_versions);
    json_kstr(&j, "delete_version_after", vault_duration_text(op, e->delete_after_ns));
    json_kbool(&j, "cas_required", e->cas_required);
    json_kbool(&j, "protect", e->is_protected);
    json_key(&j, "custom_metadata");
    if (e->custom.len > 0)
        json_raw(&j, e->custom);
    else
        json_null(&j);
    json_key(&j, "versions");
    json_object(&j);
    for (size_t i = 0; i < e->n_versions; i++) {
        struct kv_version v;

        kv_version_at(e, i, &v);
        print_version(&j, &v);
    }
    json_object_end(&j);
    json_object_end(&j);
    buf_add_char(out, '\n');
}

int alias_render(struct op *op, struct place *p, struct slice *ret)
{
    struct buf out = {0};

    op->wiped = true;
    switch (p->kind) {
    case PLACE_ENV:
        env_print(op, &p->content, &p->object, &out);
        break;
    case PLACE_DOCKER_ENV:
        docker_env_print(op, &p->content, &p->object, &out);
        break;
    case PLACE_YAML:
        yaml_print(&p->object, &out);
        break;
    case PLACE_META:
        print_meta(op, p, &out);
        break;
    default:
        buf_add_slice(&out, p->content.text);
        buf_add_char(&out, '\n');
    }
    *ret = op_slice(op, buf_slice(&out));
    buf_wipe(&out);
    return 0;
}

int alias_parse(struct op *op, const struct place *p, struct slice text, struct kv_content *ret)
{
    struct object o;
    int r;

    *ret = (struct kv_content){0};
    if (p->kind == PLACE_ENV)
        return env_parse(op, p, text, ret);
    if (p->kind == PLACE_YAML)
        r = yaml_read(op, text, &ret->text);
    else
        r = object_parse(op, text, &o);
    if (r == 0 && p->kind == PLACE_JSON)
        ret->text = o.text;
    return r == 0 ? content_keep_binary(op, &p->content, ret) : r;
}
