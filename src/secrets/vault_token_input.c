/* vault_token_input.c: what is sent for a new token, as Vault cleans it. */
#include "secrets/vault_auth.h"

#include <ctype.h>
#include <errno.h>

const char *const *token_clean_policies(struct op *op, const char *const *list)
{
    const char **clean;
    size_t n = 0;

    while (list[n] != NULL)
        n++;
    clean = op_alloc(op, (n + 2) * sizeof *clean);
    n = 0;
    for (size_t i = 0; list[i] != NULL; i++) {
        struct slice name = value_trim(slice_str(list[i]));

        if (name.len > 0)
            clean[n++] = vault_lower(op, op_strndup(op, name.data, name.len));
    }
    if (n == 0 && list[0] != NULL) /* who names none asks for none, not for the parent's */
        clean[0] = "default";
    return clean;
}

const char *token_plain_name(struct op *op, const char *name)
{
    char *plain = op_strndup(op, name, strlen(name));
    size_t len = strlen(plain);

    for (char *c = plain; *c != 0; c++)
        if (!isalnum((unsigned char)*c))
            *c = '-';
    if (len > 0 && plain[len - 1] == '-')
        plain[len - 1] = 0;
    return plain;
}

int token_clean_meta(struct op *op, struct slice *meta)
{
    struct buf text = {0};
    struct object o;
    struct json j;
    int r = 0;

    if (meta->len == 0)
        return 0;
    if (*(const char *)meta->data != '{')
        return op_fail(op, EINVAL, "Field validation failed: error converting input for field "
                                   "\"meta\": invalid key pair at index 0 in field \"meta\"");
    if (object_parse(op, *meta, &o) < 0)
        return -EINVAL;
    json_init(&j, &text);
    json_object(&j);
    for (size_t i = 0; r == 0 && i < o.n; i++) {
        struct slice value = o.members[i].value, s = value;
        char first = *(const char *)value.data;

        if (first == '{' || first == '[')
            r = op_fail(op, EINVAL,
                        "error converting input for field \"meta\": expected strings");
        else if (first == '"')
            r = value_string(op, value, &s);
        else if (first == 't' || first == 'f')
            s = first == 't' ? SLICE("1") : SLICE("0");
        json_key_slice(&j, o.members[i].key);
        json_slice(&j, first == 'n' ? SLICE("") : s);
    }
    json_object_end(&j);
    *meta = op_slice(op, buf_slice(&text));
    buf_done(&text);
    return r;
}
