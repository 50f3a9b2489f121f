/* lexer.h: the tokens of PromQL. */
#ifndef METRICS_PROMQL_LEXER_H
#define METRICS_PROMQL_LEXER_H

#include "base/buf.h"
#include "op/op.h"

enum token_kind {
    TOKEN_END,
    TOKEN_BAD,  /* why says what is wrong */
    TOKEN_NAME, /* a word: may hold ':' */
    TOKEN_NUMBER,
    TOKEN_DURATION, /* number in ms */
    TOKEN_STRING,
    TOKEN_OPERATOR, /* one of + - * / % ^ == != >= <= > < =~ !~ = ( ) { } [ ] , : @ */
};

struct token {
    enum token_kind kind;
    const char *start;
    struct slice text; /* as written; of a string: its value, in the op */
    double number;
    int64_t duration_ms;
};

struct lexer {
    struct op *op;
    const char *text, *p, *end;
    struct token token; /* the one at hand */
    struct buf *why;
    bool in_braces; /* '=' and '!' begin matchers */
};

void lexer_init(struct lexer *x, struct op *op, struct slice text, struct buf *why);
void lexer_next(struct lexer *x);
bool lexer_is(const struct lexer *x, const char *op_text);
bool lexer_take(struct lexer *x, const char *op_text);       /* and moves on */
bool lexer_is_word(const struct lexer *x, const char *word); /* in any case */
/* "line:column: parse error: reason" at a place; -EINVAL. The first stays. */
int lexer_fail(struct lexer *x, const char *at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The token at hand, as an error names it. */
const char *lexer_describe(struct lexer *x);

#endif
