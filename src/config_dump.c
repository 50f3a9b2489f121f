/* config_dump.c: the configuration in force, as a file that reads back to the same. */
#include "base/json.h"
#include "config_images.h"
#include "config_schema.h"

/* JSON's strings are YAML's (YAML 1.2, section 1.3). */
static void print_text(struct buf *out, const char *text)
{
    buf_add_char(out, '"');
    json_escape(out, slice_str(text));
    buf_add_char(out, '"');
}

void config_print_duration(struct buf *out, int64_t ms)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};

    if (ms == 0) {
        buf_add_char(out, '0');
        return;
    }
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (ms / units[i].ms > 0)
            buf_printf(out, "%lld%s", (long long)(ms / units[i].ms), units[i].unit);
        ms %= units[i].ms;
    }
}

static void print_size(struct buf *out, uint64_t bytes)
{
    static const char *const units[] = {"", "KiB", "MiB", "GiB", "TiB"};
    size_t i = 0;

    while (bytes > 0 && bytes % 1024 == 0 && i + 1 < sizeof units / sizeof *units) {
        bytes /= 1024;
        i++;
    }
    buf_printf(out, "%llu%s", (unsigned long long)bytes, units[i]);
}

static void print_listen(struct buf *out, const struct config *c)
{
    for (size_t i = 0; i < c->n_listen; i++) {
        const struct config_listen *l = &c->listen[i];
        const char *comma = "";

        buf_add_str(out, "\n  - address: ");
        print_text(out, l->address);
        buf_add_str(out, "\n    areas: [");
        for (size_t k = 0; config_areas[k].name != NULL; k++) {
            unsigned bits = config_areas[k].bits;

            if ((l->areas == AREA_ALL) != (bits == AREA_ALL) || (bits & ~l->areas) != 0)
                continue;
            buf_printf(out, "%s%s", comma, config_areas[k].name);
            comma = ", ";
        }
        buf_add_char(out, ']');
        if (l->certificate == NULL)
            continue;
        buf_add_str(out, "\n    tls: {certificate: ");
        print_text(out, l->certificate);
        buf_add_str(out, ", key: ");
        print_text(out, l->key);
        buf_add_char(out, '}');
    }
}

static void print_identities(struct buf *out, const struct config *c)
{
    if (c->n_identities == 0)
        buf_add_str(out, "[]");
    for (size_t i = 0; i < c->n_identities; i++) {
        const struct config_identity *id = &c->identities[i];

        buf_printf(out, "\n  - {%s: %u, ", id->is_group ? "group" : "uid", id->id);
        buf_add_str(out, id->user != NULL ? "user: " : "policies: [");
        if (id->user != NULL)
            print_text(out, id->user);
        for (size_t k = 0; id->policies != NULL && id->policies[k] != NULL; k++) {
            buf_add_str(out, k > 0 ? ", " : "");
            print_text(out, id->policies[k]);
        }
        buf_add_str(out, id->user != NULL ? "}" : "]}");
    }
}

static void print_names(struct buf *out, char **names)
{
    buf_add_char(out, '[');
    for (size_t i = 0; names != NULL && names[i] != NULL; i++) {
        buf_add_str(out, i > 0 ? ", " : "");
        print_text(out, names[i]);
    }
    buf_add_char(out, ']');
}

static void print_value(struct buf *out, const struct config *c, const struct config_key *key)
{
    const void *at = (const char *)c + key->offset;

    switch (key->type) {
    case CONFIG_LISTEN:
        print_listen(out, c);
        return;
    case CONFIG_IDENTITIES:
        print_identities(out, c);
        return;
    case CONFIG_GRANTS:
        config_print_grants(out, c);
        return;
    case CONFIG_NAMES:
        print_names(out, *(char **const *)at);
        return;
    case CONFIG_AUTH:
        buf_add_str(out, config_images_auth_name(c->images_auth));
        return;
    case CONFIG_MIRRORS:
    case CONFIG_RETENTION:
    case CONFIG_WEBHOOKS:
    case CONFIG_KEEPS:
        config_print_images_list(c, key, out);
        return;
    case CONFIG_MEMORY:
    case CONFIG_SIZE:
        print_size(out, *(const uint64_t *)at);
        return;
    case CONFIG_NUMBER:
        buf_add_u64(out, *(const uint64_t *)at);
        return;
    case CONFIG_UNSIGNED:
        buf_add_u64(out, *(const unsigned *)at);
        return;
    case CONFIG_DURATION:
        config_print_duration(out, *(const int64_t *)at);
        return;
    default:
        print_text(out, *(char *const *)at != NULL ? *(char *const *)at : "none");
    }
}

static bool is_unset(const struct config *c, const struct config_key *key)
{
    return (key->type == CONFIG_TEXT || key->type == CONFIG_URL) &&
           *(char *const *)((const char *)c + key->offset) == NULL;
}

void config_dump(const struct config *c, struct buf *out)
{
    const char *section = NULL;

    for (const struct config_key *key = config_keys; key->name != NULL; key++) {
        if (is_unset(c, key))
            continue;
        if (key->section != NULL && (section == NULL || strcmp(section, key->section) != 0))
            buf_printf(out, "%s:\n", key->section);
        section = key->section;
        buf_printf(out, "%s%s: ", section != NULL ? "  " : "", key->name);
        print_value(out, c, key);
        buf_add_char(out, '\n');
    }
}
