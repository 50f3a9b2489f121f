/* template_lex.h: the tokens of a template's actions; for template_lex.c and template_parse.c. */
#ifndef METRICS_RULES_TEMPLATE_LEX_H
#define METRICS_RULES_TEMPLATE_LEX_H

#include "metrics/rules/template_internal.h"

enum token_kind {
    TOKEN_END, /* }} */
    TOKEN_WORD,
    TOKEN_FIELD,    /* .name; text without the dot */
    TOKEN_DOT,
    TOKEN_VARIABLE, /* $name, with the '$' */
    TOKEN_STRING,   /* text decoded */
    TOKEN_NUMBER,
    TOKEN_CHAR,     /* i */
    TOKEN_SIGN,     /* ( ) | , or = */
    TOKEN_DECLARE,  /* := */
    TOKEN_ERROR,
};

struct token {
    enum token_kind kind;
    struct slice text;
    char sign;
    int64_t number;
    bool spaced; /* a blank stands before it */
};

#define VARIABLES_MAX 256

struct parser {
    struct tpl *t;
    const char *p, *end;
    unsigned line;
    struct token token; /* the next one, inside an action */
    struct slice variables[VARIABLES_MAX];
    size_t n_variables;
    unsigned nest, loops;
    bool trim_next; /* blanks at the start of the next text go */
};

/* -EINVAL with "template: NAME:LINE: reason" in why. */
int parser_fail(struct parser *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The next token of an action into s->token. */
int parser_next(struct parser *s);
/* Is this the end of an action, "}}" or "-}}"? Its length, or 0. */
size_t parser_at_close(const struct parser *s, const char *p);

static inline bool parser_is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

#endif
