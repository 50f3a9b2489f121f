#include "config_schema.h"
#include "config_images.h"

#include "base/alloc.h"
#include "base/codec.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#define AT(field) offsetof(struct config, field)

#define KIB (1ull << 10)
#define MIB (1ull << 20)
#define HOUR 3600000ull

const char *const config_sections[] = {"audit", "secrets", "credentials", "packages", "images",
                                       "scrub", "metrics", "limits",      NULL};

const struct config_key config_keys[] = {
    {NULL, "data", CONFIG_TEXT, AT(data), "/var/lib/infrafs", 0, 0},
    {NULL, "mount", CONFIG_MOUNT, AT(mount), "/mnt/infra", 0, 0},
    {NULL, "store", CONFIG_PATH, AT(store), "rocks:DATA/store", 0, 0},
    {NULL, "memory", CONFIG_MEMORY, AT(memory_bytes), "0", 0, 0},
    {NULL, "listen", CONFIG_LISTEN, 0, "127.0.0.1:8080", 0, 0},
    {NULL, "users", CONFIG_PATH, AT(users), "DATA/htpasswd", 0, 0},
    {NULL, "prometheus", CONFIG_PATH, AT(prometheus), "DATA/prometheus.yml", 0, 0},
    {NULL, "unseal", CONFIG_UNSEAL, AT(unseal), "keyfile:DATA/unseal.key", 0, 0},
    {NULL, "identities", CONFIG_IDENTITIES, 0, NULL, 0, 0},
    {"audit", "file", CONFIG_PATH, AT(audit_file), "DATA/audit.log", 0, 0},
    {"audit", "rotate", CONFIG_SIZE, AT(audit_rotate_bytes), "100MiB", 64 * KIB, 0},
    {"audit", "keep", CONFIG_UNSIGNED, AT(audit_keep), "10", 1, 1000},
    {"secrets", "filter_lists", CONFIG_UNSIGNED, AT(secrets_filter_lists), "0", 0, 1},
    {"credentials", "socket", CONFIG_PATH, AT(credentials_socket), "", 0, 0},
    {"credentials", "serve", CONFIG_GRANTS, 0, NULL, 0, 0},
    {"packages", "mirror", CONFIG_URL, AT(packages_mirror), NULL, 0, 0},
    {"packages", "mirror_allow", CONFIG_NAMES, AT(packages_mirror_allow), NULL, 0, 0},
    {"packages", "mirror_refresh", CONFIG_DURATION, AT(packages_mirror_refresh_ms), "10m", 0, 0},
    {"packages", "mirror_keep", CONFIG_DURATION, AT(packages_mirror_keep_ms), "0", 0, 0},
    {"packages", "mirror_size", CONFIG_SIZE, AT(packages_mirror_size_bytes), "0", 0, 0},
    {"packages", "mirror_credentials", CONFIG_PATH, AT(packages_mirror_credentials), "", 0, 0},
    {"packages", "mirror_ca", CONFIG_PATH, AT(packages_mirror_ca), "", 0, 0},
    {"images", "gc_grace", CONFIG_DURATION, AT(gc_grace_ms), "1h", 0, 0},
    {"images", "upload_idle", CONFIG_DURATION, AT(upload_idle_ms), "24h", 1000, 0},
    {"images", "auth", CONFIG_AUTH, AT(images_auth), "auto", 0, 0},
    {"images", "mirrors", CONFIG_MIRRORS, 0, NULL, 0, 0},
    {"images", "retention", CONFIG_RETENTION, 0, NULL, 0, 0},
    {"images", "webhooks", CONFIG_WEBHOOKS, 0, NULL, 0, 0},
    {"scrub", "every", CONFIG_DURATION, AT(scrub_every_ms), "30d", 0, 0},
    {"scrub", "rate", CONFIG_SIZE, AT(scrub_rate_bytes), "32MiB", 0, 0},
    {"metrics", "retention", CONFIG_DURATION, AT(retention_ms), "15d", 0, 0},
    {"metrics", "retention_rules", CONFIG_KEEPS, 0, NULL, 0, 0},
    {"metrics", "retention_size", CONFIG_SIZE, AT(retention_bytes), "0", 0, 0},
    {"metrics", "downsample", CONFIG_DURATION, AT(downsample_ms), "0", 0, 3600000},
    {"metrics", "downsample_keep", CONFIG_DURATION, AT(downsample_keep_ms), "1y", 0, 0},
    {"metrics", "push_age", CONFIG_DURATION, AT(push_age_ms), "1d", 0, 0},
    {"metrics", "out_of_order_window", CONFIG_DURATION, AT(out_of_order_ms), "1h", 0, 0},
    {"metrics", "created_timestamps", CONFIG_UNSIGNED, AT(created_timestamps), "0", 0, 1},
    {"metrics", "rules", CONFIG_PATH, AT(rules), "DATA/rules", 0, 0},
    {"metrics", "external_url", CONFIG_URL, AT(external_url), NULL, 0, 0},
    {"metrics", "alert_webhook", CONFIG_TEXT, AT(webhook), NULL, 0, 0},
    {"limits", "header", CONFIG_SIZE, AT(limits.header_bytes), "32KiB", 4 * KIB, 16 * MIB},
    {"limits", "json", CONFIG_SIZE, AT(limits.json_bytes), "32MiB", KIB, 1024 * MIB},
    {"limits", "manifest", CONFIG_SIZE, AT(limits.manifest_bytes), "4MiB", KIB, 64 * MIB},
    {"limits", "secret_value", CONFIG_SIZE, AT(limits.secret_value_bytes), "1MiB", 1, 32 * MIB},
    {"limits", "package", CONFIG_SIZE, AT(limits.package_bytes), "4GiB", 1, 0},
    {"limits", "blob", CONFIG_SIZE, AT(limits.blob_bytes), "64GiB", 1, 0},
    {"limits", "form_field", CONFIG_SIZE, AT(limits.form_field_bytes), "5MiB", KIB, 1024 * MIB},
    {"limits", "form", CONFIG_SIZE, AT(limits.form_bytes), "16MiB", KIB, 1024 * MIB},
    {"limits", "connections", CONFIG_NUMBER, AT(limits.connections), "4096", 4, 1000000},
    {"limits", "connections_per_address", CONFIG_NUMBER, AT(limits.connections_per_address),
     "1024", 1, 1000000},
    {"limits", "idle_timeout", CONFIG_DURATION, AT(limits.idle_timeout_ms), "1m", 1000, 24 * HOUR},
    {"limits", "request_timeout", CONFIG_DURATION, AT(limits.request_timeout_ms), "0", 0,
     24 * HOUR},
    {"limits", "scrape_body", CONFIG_SIZE, AT(limits.scrape_body_bytes), "256MiB", KIB, 0},
    {"limits", "disk_reserve", CONFIG_SIZE, AT(limits.disk_reserve_bytes), "64MiB", 0, 0},
    {NULL, NULL, CONFIG_TEXT, 0, NULL, 0, 0},
};

static void *field(struct config *c, const struct config_key *key)
{
    return (char *)c + key->offset;
}

static void replace_text(char **at, const char *text)
{
    free(*at);
    *at = text != NULL ? xstrdup(text) : NULL;
}

static int set_text(struct config *c, const struct config_key *key, const struct yaml *value,
                    struct buf *why)
{
    const char *text;
    int r = yaml_string(value, &text, why);

    if (r < 0)
        return r;
    if (text[0] == 0 && key->type != CONFIG_PATH) /* audit.file: "" is off */
        return yaml_fail(value, why, "'%s' must not be empty", key->name);
    replace_text(field(c, key), text);
    return 0;
}

/* A password in it would be shown by `config dump`, and end in logs. */
static int set_url(struct config *c, const struct config_key *key, const struct yaml *value,
                   struct buf *why)
{
    const char *text, *host;
    int r = yaml_string(value, &text, why);

    if (r < 0)
        return r;
    host = strstr(text, "://");
    if (strncasecmp(text, "http://", 7) != 0 && strncasecmp(text, "https://", 8) != 0)
        return yaml_fail(value, why, "'%s' does not begin with https:// or http://", key->name);
    host += 3;
    if (strcspn(host, "/?#") == 0 || strpbrk(host, " \t\"<>?#") != NULL)
        return yaml_fail(value, why, "'%s' is not a URL of a host and a path", key->name);
    if (memchr(host, '@', strcspn(host, "/")) != NULL)
        return yaml_fail(value, why, "'%s' holds a password; use '%s_credentials'", key->name,
                         key->name);
    replace_text(field(c, key), text);
    return 0;
}

static int set_mount(struct config *c, const struct config_key *key, const struct yaml *value,
                     struct buf *why)
{
    int r = set_text(c, key, value, why);

    if (r == 0 && strcmp(c->mount, "none") == 0)
        replace_text(&c->mount, NULL);
    return r;
}

static int set_unseal(struct config *c, const struct config_key *key, const struct yaml *value,
                      struct buf *why)
{
    static const char *const forms[] = {"keyfile:", "credential:"};
    static const char *const people[] = {"shamir", "passphrase"};
    const char *text;
    int r = yaml_string(value, &text, why);

    if (r < 0)
        return r;
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (strncmp(text, forms[i], strlen(forms[i])) == 0 && text[strlen(forms[i])] != 0) {
            replace_text(field(c, key), text);
            return 0;
        }
    for (size_t i = 0; i < sizeof people / sizeof *people; i++)
        if (strcmp(text, people[i]) == 0) {
            replace_text(field(c, key), text);
            return 0;
        }
    return yaml_fail(
        value, why,
        "unseal is 'keyfile:FILE', 'credential:NAME', 'shamir' or 'passphrase', not '%s'", text);
}

/* A share is of the machine's memory. */
static int set_memory(struct config *c, const struct config_key *key, const struct yaml *value,
                      struct buf *why)
{
    uint64_t percent;
    uint64_t *at = field(c, key);

    if (value->kind == YAML_SCALAR && value->text_len > 1 &&
        value->text[value->text_len - 1] == '%') {
        long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);

        if (parse_u64(slice_of(value->text, value->text_len - 1), 90, &percent) < 0 ||
            percent == 0)
            return yaml_fail(value, why, "a share of memory is from 1%% to 90%%");
        *at = pages > 0 && page > 0 ? (uint64_t)pages / 100 * percent * (uint64_t)page : 0;
        return 0;
    }
    return yaml_size(value, at, why);
}

static int check_range(const struct config_key *key, const struct yaml *value, uint64_t number,
                       struct buf *why)
{
    if (number < key->min)
        return yaml_fail(value, why, "%s '%s' is below the least allowed", key->name, value->text);
    if (key->max > 0 && number > key->max)
        return yaml_fail(value, why, "%s '%s' is above the most allowed", key->name, value->text);
    return 0;
}

static int set_number(struct config *c, const struct config_key *key, const struct yaml *value,
                      struct buf *why)
{
    uint64_t number = 0;
    int64_t ms = 0;
    int r;

    if (key->type == CONFIG_DURATION) {
        r = yaml_duration_ms(value, &ms, why);
        number = (uint64_t)ms;
    } else if (key->type == CONFIG_SIZE) {
        r = yaml_size(value, &number, why);
    } else {
        r = yaml_u64(value, key->type == CONFIG_UNSIGNED ? UINT_MAX : UINT64_MAX, &number, why);
    }
    if (r == 0)
        r = check_range(key, value, number, why);
    if (r < 0)
        return r;
    if (key->type == CONFIG_DURATION)
        *(int64_t *)field(c, key) = ms;
    else if (key->type == CONFIG_UNSIGNED)
        *(unsigned *)field(c, key) = (unsigned)number;
    else
        *(uint64_t *)field(c, key) = number;
    return 0;
}

int config_set(struct config *c, const struct config_key *key, const struct yaml *value,
               struct buf *why)
{
    switch (key->type) {
    case CONFIG_TEXT:
    case CONFIG_PATH:
        return set_text(c, key, value, why);
    case CONFIG_URL:
        return set_url(c, key, value, why);
    case CONFIG_NAMES:
        return config_set_names(field(c, key), value, why);
    case CONFIG_MOUNT:
        return set_mount(c, key, value, why);
    case CONFIG_UNSEAL:
        return set_unseal(c, key, value, why);
    case CONFIG_MEMORY:
        return set_memory(c, key, value, why);
    case CONFIG_LISTEN:
        return config_set_listen(c, value, why);
    case CONFIG_IDENTITIES:
        return config_set_identities(c, value, why);
    case CONFIG_GRANTS:
        return config_set_grants(c, value, why);
    case CONFIG_AUTH:
        return config_set_images_auth(c, key, value, why);
    case CONFIG_MIRRORS:
    case CONFIG_RETENTION:
    case CONFIG_WEBHOOKS:
    case CONFIG_KEEPS:
        return config_set_images_list(c, key, value, why);
    default:
        return set_number(c, key, value, why);
    }
}
