#include "images/challenge.h"

#include <ctype.h>
#include <errno.h>
#include <strings.h>

struct cursor {
    const char *at, *end;
};

static void skip_blanks(struct cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\t'))
        c->at++;
}

static bool is_token(char ch)
{
    return isalnum((unsigned char)ch) || (ch != 0 && strchr("!#$%&'*+-.^_`|~", ch) != NULL);
}

static struct slice take_token(struct cursor *c)
{
    const char *from = c->at;

    while (c->at < c->end && is_token(*c->at))
        c->at++;
    return slice_of(from, (size_t)(c->at - from));
}

/* A token or a quoted text, unquoted. */
static int take_value(struct cursor *c, char ret[CHALLENGE_TEXT_MAX])
{
    size_t n = 0;

    if (c->at == c->end || *c->at != '"') {
        struct slice token = take_token(c);

        if (token.len >= CHALLENGE_TEXT_MAX)
            return -EINVAL;
        memcpy(ret, token.data, token.len);
        ret[token.len] = 0;
        return token.len > 0 ? 0 : -EINVAL;
    }
    for (c->at++; c->at < c->end && *c->at != '"'; c->at++) {
        if (*c->at == '\\' && ++c->at == c->end)
            return -EINVAL;
        if ((unsigned char)*c->at < ' ' || n + 1 == CHALLENGE_TEXT_MAX)
            return -EINVAL;
        ret[n++] = *c->at;
    }
    ret[n] = 0;
    if (c->at == c->end)
        return -EINVAL;
    c->at++;
    return 0;
}

static bool is_name(struct slice name, const char *want)
{
    return name.len == strlen(want) && strncasecmp(name.data, want, name.len) == 0;
}

static int take_parameter(struct cursor *c, struct challenge *ret)
{
    char ignored[CHALLENGE_TEXT_MAX], *into = ignored;
    struct slice name = take_token(c);

    skip_blanks(c);
    if (name.len == 0 || c->at == c->end || *c->at != '=')
        return -EINVAL;
    c->at++;
    skip_blanks(c);
    if (is_name(name, "realm"))
        into = ret->realm;
    else if (is_name(name, "service"))
        into = ret->service;
    else if (is_name(name, "scope"))
        into = ret->scope;
    return take_value(c, into);
}

int challenge_parse(struct slice text, struct challenge *ret)
{
    struct cursor c = {text.data, (const char *)text.data + text.len};
    struct slice scheme;
    int r;

    *ret = (struct challenge){0};
    if (text.len == 0)
        return -EINVAL;
    skip_blanks(&c);
    scheme = take_token(&c);
    if (scheme.len == 0)
        return -EINVAL;
    if (is_name(scheme, "Basic"))
        ret->scheme = CHALLENGE_BASIC;
    else if (is_name(scheme, "Bearer"))
        ret->scheme = CHALLENGE_BEARER;
    for (skip_blanks(&c); c.at < c.end; skip_blanks(&c)) {
        struct cursor next;

        r = take_parameter(&c, ret);
        if (r < 0)
            return r;
        skip_blanks(&c);
        if (c.at == c.end)
            break;
        if (*c.at++ != ',')
            return -EINVAL;
        skip_blanks(&c);
        next = c; /* another challenge begins: "token token=" or a token alone */
        take_token(&next);
        skip_blanks(&next);
        if (next.at == next.end || *next.at != '=')
            break;
    }
    return 0;
}
