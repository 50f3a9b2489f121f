/* tokens.c: tokens and policies, over Vault's dialect. */
#include "base/json.h"
#include "base/scope.h"
#include "command/client.h"
#include "command/prompt.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#define POLICIES "/v1/sys/policies/acl"

DEFINE_SCOPE(document, json_t, json_decref)

/* Asks, and parses the answer's "data"; *ret is NULL where there is none. */
static int ask(const struct command_line *line, const char *method, const char *path,
               const struct buf *body, json_t **ret)
{
    struct client c = {0};
    struct slice text = body != NULL ? buf_slice(body) : slice_of(NULL, 0);
    int code = client_open(line, &c);

    if (code == 0)
        code = client_ask(&c, method, path, body != NULL ? &text : NULL);
    if (code == 0 && ret != NULL) {
        *ret = json_loadb(c.answer.data, c.answer.len, 0, NULL);
        if (*ret == NULL)
            code = command_fail(EX_PROTOCOL, "%s: no answer of a daemon", path);
    }
    client_close(&c);
    return code;
}

int run_token_create(const struct command_line *line)
{
    const char *ttl = line_option(line, "ttl"), *name = line_option(line, "name"), *policy;
    scope_cleanup(scope_document) json_t *answer = NULL;
    autobuf body = {0};
    struct json j;
    int code;

    json_init(&j, &body);
    json_object(&j);
    json_key(&j, "policies");
    json_array(&j);
    for (int i = 0; (policy = line_option_nth(line, "policy", i)) != NULL; i++)
        json_str(&j, policy);
    json_array_end(&j);
    if (ttl != NULL)
        json_kstr(&j, "ttl", ttl);
    if (name != NULL)
        json_kstr(&j, "display_name", name);
    json_object_end(&j);
    code = ask(line, "POST", "/v1/auth/token/create", &body, &answer);
    if (code == 0)
        puts(json_string_value(json_object_get(json_object_get(answer, "auth"), "client_token")));
    return code;
}

/* A token is given as an operand, or on standard input, where nobody sees it. */
static int read_token(const struct command_line *line, struct buf *ret)
{
    if (strcmp(line->operands[0], "-") == 0)
        return prompt_stdin(ret);
    buf_add_str(ret, line->operands[0]);
    return 0;
}

static int ask_of_token(const struct command_line *line, const char *path, json_t **ret)
{
    struct buf token = {0}, body = {0};
    struct json j;
    int code = read_token(line, &token);

    json_init(&j, &body);
    json_object(&j);
    json_kslice(&j, line_option(line, "accessor") != NULL ? "accessor" : "token",
                buf_slice(&token));
    json_object_end(&j);
    if (code == 0)
        code = ask(line, "POST", path, &body, ret);
    buf_wipe(&token);
    buf_wipe(&body);
    return code;
}

int run_token_lookup(const struct command_line *line)
{
    bool by_accessor = line_option(line, "accessor") != NULL;
    scope_cleanup(scope_document) json_t *answer = NULL;
    int code = line->n_operands == 0 ? ask(line, "GET", "/v1/auth/token/lookup-self", NULL, &answer)
                                     : ask_of_token(line,
                                                    by_accessor ? "/v1/auth/token/lookup-accessor"
                                                                : "/v1/auth/token/lookup",
                                                    &answer);
    json_t *data = json_object_get(answer, "data");

    if (code == 0) {
        json_object_del(data, "id"); /* who asks has it; a screen need not */
        json_dumpf(data, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
        putchar('\n');
    }
    return code;
}

int run_token_revoke(const struct command_line *line)
{
    return ask_of_token(line,
                        line_option(line, "accessor") != NULL ? "/v1/auth/token/revoke-accessor"
                                                              : "/v1/auth/token/revoke",
                        NULL);
}

static int print_keys(const struct command_line *line, const char *path)
{
    scope_cleanup(scope_document) json_t *answer = NULL;
    int code = ask(line, "LIST", path, NULL, &answer);
    json_t *key;
    size_t i;

    json_array_foreach(json_object_get(json_object_get(answer, "data"), "keys"), i, key)
        puts(json_string_value(key));
    return code;
}

int run_token_list(const struct command_line *line)
{
    return print_keys(line, "/v1/auth/token/accessors");
}

int run_policy_list(const struct command_line *line)
{
    return print_keys(line, POLICIES);
}

static void policy_path(const struct command_line *line, struct buf *ret)
{
    buf_printf(ret, POLICIES "/%s", line->operands[0]);
}

int run_policy_read(const struct command_line *line)
{
    scope_cleanup(scope_document) json_t *answer = NULL;
    autobuf path = {0};
    int code;

    policy_path(line, &path);
    code = ask(line, "GET", path.data, NULL, &answer);
    if (code == 0)
        fputs(json_string_value(json_object_get(json_object_get(answer, "data"), "policy")),
              stdout);
    return code;
}

int run_policy_write(const struct command_line *line)
{
    autobuf path = {0}, text = {0}, body = {0};
    char bytes[4096];
    struct json j;
    size_t n;

    while ((n = fread(bytes, 1, sizeof bytes, stdin)) > 0 && text.len < (1u << 20))
        buf_add(&text, bytes, n);
    policy_path(line, &path);
    json_init(&j, &body);
    json_object(&j);
    json_kslice(&j, "policy", buf_slice(&text));
    json_object_end(&j);
    return ask(line, "PUT", path.data, &body, NULL);
}

int run_policy_delete(const struct command_line *line)
{
    autobuf path = {0};

    policy_path(line, &path);
    return ask(line, "DELETE", path.data, NULL, NULL);
}
