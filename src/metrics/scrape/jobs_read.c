#include "metrics/scrape/jobs_read.h"

#include "base/alloc.h"

#include <errno.h>
#include <stdlib.h>
#include <strings.h>

void job_strings_free(char **list)
{
    for (char **s = list; s != NULL && *s != NULL; s++)
        free(*s);
    free(list);
}

const struct yaml *job_value(const struct yaml *map, const char *key)
{
    const struct yaml *y = yaml_get(map, key);

    return y != NULL && y->kind == YAML_SCALAR && y->text == NULL ? NULL : y;
}

int job_text(const struct yaml *map, const char *key, char **ret, struct buf *why)
{
    const struct yaml *y = job_value(map, key);
    const char *text = NULL;
    int r;

    if (y == NULL)
        return 0;
    r = yaml_string(y, &text, why);
    if (r == 0) {
        free(*ret);
        *ret = xstrdup(text);
    }
    return r;
}

int job_bool(const struct yaml *map, const char *key, bool *ret, struct buf *why)
{
    const struct yaml *y = job_value(map, key);

    return y != NULL ? yaml_bool(y, ret, why) : 0;
}

int job_duration(const struct yaml *map, const char *key, int64_t *ret, struct buf *why)
{
    const struct yaml *y = job_value(map, key);
    int r;

    if (y == NULL)
        return 0;
    r = yaml_duration_ms(y, ret, why);
    if (r == 0 && *ret <= 0)
        return yaml_fail(y, why, "'%s' must be above 0", key);
    return r;
}

int job_count(const struct yaml *map, const char *key, uint64_t *ret, struct buf *why)
{
    const struct yaml *y = job_value(map, key);

    return y != NULL ? yaml_u64(y, INT64_MAX, ret, why) : 0;
}

int job_strings(const struct yaml *y, char ***ret, struct buf *why)
{
    char **list;
    int r = 0;

    if (y == NULL)
        return 0;
    if (y->kind != YAML_LIST)
        return yaml_fail(y, why, "expected a list");
    list = xcalloc(y->n_items + 1, sizeof *list);
    for (size_t i = 0; i < y->n_items && r == 0; i++) {
        const char *text = NULL;

        r = yaml_string(y->items[i], &text, why);
        if (r == 0)
            list[i] = xstrdup(text);
    }
    if (r < 0)
        job_strings_free(list);
    else
        *ret = list;
    return r;
}

int job_labels(const struct yaml *y, struct pairs *ret, struct buf *why)
{
    if (y == NULL)
        return 0;
    if (y->kind != YAML_MAP)
        return yaml_fail(y, why, "expected names and values of labels");
    for (size_t i = 0; i < y->n_items; i++) {
        const char *text = "";

        if (!label_name_legacy(slice_str(y->items[i]->key->text)))
            return yaml_fail(y->items[i]->key, why, "'%s' is not a name for a label",
                             y->items[i]->key->text);
        if ((y->items[i]->kind != YAML_SCALAR || y->items[i]->text != NULL) &&
            yaml_string(y->items[i], &text, why) < 0)
            return -EINVAL;
        pairs_add(ret, y->items[i]->key->text, text);
    }
    return 0;
}

static int read_version(const struct yaml *tls, const char *key, unsigned *ret, struct buf *why)
{
    static const char *const words[] = {"TLS10", "TLS11", "TLS12", "TLS13"};
    const struct yaml *y = job_value(tls, key);
    const char *text = NULL;

    if (y == NULL)
        return 0;
    if (yaml_string(y, &text, why) < 0)
        return -EINVAL;
    for (unsigned i = 0; i < 4; i++)
        if (strcmp(words[i], text) == 0) {
            *ret = i + 1;
            return 0;
        }
    return yaml_fail(y, why, "unknown TLS version: %s; TLS12 and TLS13 are known", text);
}

int job_auth(const struct yaml *map, struct job *j, struct buf *why)
{
    static const char *const basic_keys[] = {"username", "username_file", "password",
                                             "password_file", NULL};
    static const char *const auth_keys[] = {"type", "credentials", "credentials_file", NULL};
    static const char *const tls_keys[] = {
        "ca_file",     "cert_file",   "key_file", "server_name", "insecure_skip_verify",
        "min_version", "max_version", NULL};
    const struct yaml *basic = job_value(map, "basic_auth");
    const struct yaml *auth = job_value(map, "authorization");
    const struct yaml *tls = job_value(map, "tls_config");

    if (yaml_check_map(basic, basic_keys, why) < 0 || yaml_check_map(auth, auth_keys, why) < 0 ||
        yaml_check_map(tls, tls_keys, why) < 0 ||
        job_text(basic, "username", &j->username, why) < 0 ||
        job_text(basic, "username_file", &j->username_file, why) < 0 ||
        job_text(basic, "password", &j->password, why) < 0 ||
        job_text(basic, "password_file", &j->password_file, why) < 0 ||
        job_text(auth, "type", &j->auth_type, why) < 0 ||
        job_text(auth, "credentials", &j->credentials, why) < 0 ||
        job_text(auth, "credentials_file", &j->credentials_file, why) < 0 ||
        job_text(map, "bearer_token", &j->credentials, why) < 0 ||
        job_text(map, "bearer_token_file", &j->credentials_file, why) < 0 ||
        job_text(tls, "ca_file", &j->ca_file, why) < 0 ||
        job_text(tls, "cert_file", &j->cert_file, why) < 0 ||
        job_text(tls, "key_file", &j->key_file, why) < 0 ||
        job_text(tls, "server_name", &j->server_name, why) < 0 ||
        job_bool(tls, "insecure_skip_verify", &j->insecure_skip_verify, why) < 0 ||
        read_version(tls, "min_version", &j->tls_min, why) < 0 ||
        read_version(tls, "max_version", &j->tls_max, why) < 0)
        return -EINVAL;
    if (basic != NULL && j->username == NULL)
        j->username = xstrdup("");
    if (basic != NULL && (j->credentials != NULL || j->credentials_file != NULL || auth != NULL))
        return yaml_fail(basic, why, "at most one of basic_auth and authorization may be given");
    if (j->username_file != NULL && job_value(basic, "username") != NULL)
        return yaml_fail(basic, why, "at most one of username and username_file may be given");
    if (j->password != NULL && j->password_file != NULL)
        return yaml_fail(basic, why, "at most one of password and password_file may be given");
    if (j->credentials != NULL && j->credentials_file != NULL)
        return yaml_fail(auth, why, "at most one of credentials and credentials_file may be given");
    if ((j->cert_file == NULL) != (j->key_file == NULL))
        return yaml_fail(tls, why, "cert_file and key_file belong together");
    if (j->auth_type != NULL && strcasecmp(j->auth_type, "basic") == 0)
        return yaml_fail(auth, why, "use basic_auth for type 'Basic'");
    return 0;
}

/* http_headers: {name: {values: [..]}} */
int job_headers(const struct yaml *y, struct pairs *ret, struct buf *why)
{
    static const char *const keys[] = {"values", "secrets", NULL};

    if (y != NULL && y->kind != YAML_MAP)
        return yaml_fail(y, why, "expected names of headers");
    for (size_t i = 0; y != NULL && i < y->n_items; i++)
        for (const char *const *key = keys; *key != NULL; key++) {
            char **values = NULL;

            if (yaml_check_map(y->items[i], keys, why) < 0 ||
                job_strings(job_value(y->items[i], *key), &values, why) < 0)
                return -EINVAL;
            for (char **v = values; v != NULL && *v != NULL; v++) {
                if (strpbrk(*v, "\r\n") != NULL ||
                    strpbrk(y->items[i]->key->text, ":\r\n ") != NULL) {
                    job_strings_free(values);
                    return yaml_fail(y->items[i], why, "a header is one line");
                }
                pairs_add(ret, y->items[i]->key->text, *v);
            }
            job_strings_free(values);
        }
    return 0;
}
