/* parser.h: what the parts of the parser share. */
#ifndef METRICS_PROMQL_PARSER_H
#define METRICS_PROMQL_PARSER_H

#include "metrics/promql/ast.h"
#include "metrics/promql/lexer.h"

/* Where the parser is, for `unexpected … in WHERE, expected WHAT`; both may be NULL. */
struct context {
    const char *where, *expected;
};

/* The first error ends the parse: functions return NULL or false, and `why` has the text.
 *
 * Tokens are read as late as the grammar allows it, for the order in which errors are found. */
struct parser {
    struct op *op;
    struct promql *q;
    struct buf *why;
    struct lexer lexer;
    struct token token; /* the last one read */
    bool peeked;        /* and it is not taken yet */
    uint32_t last_closing; /* end of the last token read that can end an expression */
    unsigned depth;
    struct context context;
};

/* Sets the error, at a byte of the text; the first stays. Returns NULL. */
void *parse_fail(struct parser *p, uint32_t at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void *parse_unexpected(struct parser *p); /* the last token read, in the context */
bool parse_failed(const struct parser *p);
enum token_kind parse_peek(struct parser *p);
struct token parse_take(struct parser *p);
/* Takes a token of this kind; another one is unexpected. */
bool parse_expect(struct parser *p, enum token_kind kind);
/* One level deeper; false: too deep. */
bool parse_deeper(struct parser *p);

struct expr *parse_new(struct parser *p, enum expr_kind kind, enum value_type type,
                       uint32_t start, uint32_t end);
/* `e` stands above `child`. False: the tree is too high. */
bool parse_above(struct parser *p, struct expr *e, const struct expr *child);

struct expr *parse_expression(struct parser *p, int level);
#define LEVEL_POW 6 /* above the sign and * */
/* After an expression: ranges, offset, @, anchored, smoothed. */
struct expr *parse_postfix(struct parser *p, struct expr *e);
struct expr *parse_selector(struct parser *p, const struct token *name);
bool parse_modifiers(struct parser *p, struct expr *binary);
bool parse_grouping(struct parser *p, struct names *ret);
bool token_starts_expr(enum token_kind kind);

double parse_number(struct parser *p, const struct token *t);
/* A NUMBER or DURATION token in seconds. */
bool parse_literal(struct parser *p, const struct token *t, double *ret);
struct duration *parse_duration_expr(struct parser *p);
struct duration *parse_offset_duration(struct parser *p);
struct span duration_span(const struct duration *d);
/* Seconds to ms, as Go's time.Duration does it. */
int64_t duration_ms(double seconds);

bool parse_check(struct parser *p, struct expr *e); /* types */

#endif
