/* config_grants.c: credentials.serve, which unit gets which secret. */
#include "base/alloc.h"
#include "base/json.h"
#include "config_schema.h"

#include <errno.h>
#include <stdlib.h>

void config_free_grants(struct config *c)
{
    for (size_t i = 0; i < c->n_grants; i++) {
        free(c->grants[i].unit);
        free(c->grants[i].credential);
        free(c->grants[i].secret);
    }
    free(c->grants);
    c->grants = NULL;
    c->n_grants = 0;
}

static int read_grant(struct config *c, const struct yaml *item, struct buf *why)
{
    static const char *const keys[] = {"unit", "credential", "secret", NULL};
    const char *texts[3];
    int r = yaml_check_map(item, keys, why);

    for (size_t i = 0; r == 0 && keys[i] != NULL; i++) {
        const struct yaml *value = yaml_get(item, keys[i]);

        if (value == NULL)
            return yaml_fail(item, why,
                             "'%s' is missing, such as {unit: shop.service, credential: "
                             "db, secret: shop/prod/db-password}",
                             keys[i]);
        r = yaml_string(value, &texts[i], why);
        if (r == 0 && texts[i][0] == 0)
            return yaml_fail(value, why, "'%s' must not be empty", keys[i]);
    }
    if (r < 0)
        return r;
    c->grants = xrealloc(c->grants, (c->n_grants + 1) * sizeof *c->grants);
    c->grants[c->n_grants++] = (struct config_grant){
        .unit = xstrdup(texts[0]),
        .credential = xstrdup(texts[1]),
        .secret = xstrdup(texts[2]),
    };
    return 0;
}

int config_set_grants(struct config *c, const struct yaml *value, struct buf *why)
{
    int r = 0;

    config_free_grants(c);
    if (value->kind != YAML_LIST)
        return yaml_fail(value, why,
                         "expected a list, such as [{unit: shop.service, credential: "
                         "db, secret: shop/prod/db-password}]");
    for (size_t i = 0; r == 0 && i < value->n_items; i++)
        r = read_grant(c, value->items[i], why);
    return r;
}

static void print_member(struct buf *out, const char *key, const char *text)
{
    buf_printf(out, "%s: \"", key);
    json_escape(out, slice_str(text));
    buf_add_char(out, '"');
}

void config_print_grants(struct buf *out, const struct config *c)
{
    if (c->n_grants == 0)
        buf_add_str(out, "[]");
    for (size_t i = 0; i < c->n_grants; i++) {
        buf_add_str(out, "\n    - {");
        print_member(out, "unit", c->grants[i].unit);
        buf_add_str(out, ", ");
        print_member(out, "credential", c->grants[i].credential);
        buf_add_str(out, ", ");
        print_member(out, "secret", c->grants[i].secret);
        buf_add_char(out, '}');
    }
}
