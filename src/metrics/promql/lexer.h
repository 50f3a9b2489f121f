/* lexer.h: the tokens of PromQL, one after the other as the parser asks for them: an error further
 * on in the text must not hide one that comes before it. */
#ifndef METRICS_PROMQL_LEXER_H
#define METRICS_PROMQL_LEXER_H

#include "base/buf.h"
#include "op/op.h"

#include <stdint.h>

/* How a token is shown in an error depends on its class; see token_describe. */
enum token_kind {
    TOKEN_END,
    TOKEN_ERROR, /* lexer.error says what, at token.start */
    TOKEN_IDENTIFIER,
    TOKEN_METRIC, /* an identifier with a colon in it */
    TOKEN_STRING,
    TOKEN_NUMBER,
    TOKEN_DURATION,
    /* shown in quotes */
    TOKEN_EQL,
    TOKEN_COLON,
    TOKEN_COMMA,
    TOKEN_LEFT_BRACE,
    TOKEN_RIGHT_BRACE,
    TOKEN_LEFT_BRACKET,
    TOKEN_RIGHT_BRACKET,
    TOKEN_LEFT_PAREN,
    TOKEN_RIGHT_PAREN,
    TOKEN_START, /* start, end, step, range, max_of, min_of */
    TOKEN_END_WORD,
    TOKEN_STEP,
    TOKEN_RANGE,
    TOKEN_MAX_OF,
    TOKEN_MIN_OF,
    /* shown as <op:…>; in the order of enum binary_op up to POW */
    TOKEN_OR,
    TOKEN_AND,
    TOKEN_UNLESS,
    TOKEN_EQLC,
    TOKEN_NEQ,
    TOKEN_LSS,
    TOKEN_LTE,
    TOKEN_GTR,
    TOKEN_GTE,
    TOKEN_TRIM_UPPER,
    TOKEN_TRIM_LOWER,
    TOKEN_ADD,
    TOKEN_SUB,
    TOKEN_MUL,
    TOKEN_DIV,
    TOKEN_MOD,
    TOKEN_ATAN2,
    TOKEN_POW,
    TOKEN_EQL_REGEX,
    TOKEN_NEQ_REGEX,
    TOKEN_AT,
    /* shown as <aggr:…>; in the order of enum aggregate_op */
    TOKEN_SUM,
    TOKEN_AVG,
    TOKEN_COUNT,
    TOKEN_MIN,
    TOKEN_MAX,
    TOKEN_GROUP,
    TOKEN_STDDEV,
    TOKEN_STDVAR,
    TOKEN_TOPK,
    TOKEN_BOTTOMK,
    TOKEN_COUNT_VALUES,
    TOKEN_QUANTILE,
    TOKEN_LIMITK,
    TOKEN_LIMIT_RATIO,
    /* shown as <…> */
    TOKEN_BOOL,
    TOKEN_BY,
    TOKEN_WITHOUT,
    TOKEN_ON,
    TOKEN_IGNORING,
    TOKEN_GROUP_LEFT,
    TOKEN_GROUP_RIGHT,
    TOKEN_FILL,
    TOKEN_FILL_LEFT,
    TOKEN_FILL_RIGHT,
    TOKEN_OFFSET,
    TOKEN_ANCHORED,
    TOKEN_SMOOTHED,
};

struct token {
    enum token_kind kind;
    uint32_t start, end;
    struct slice text; /* as written */
};

enum lex_state { LEX_STATEMENTS, LEX_BRACES, LEX_DURATION, LEX_ENDED };

struct regex;

struct lexer {
    struct op *op;
    struct regex *letters; /* NULL until a name holds more than ASCII */
    const char *text;
    size_t len;
    size_t pos, start; /* of the next byte, and of the token under construction */
    size_t width;      /* of the last character */
    enum lex_state state;
    int paren_depth;
    bool brace_open, bracket_open, got_colon, got_duration;
    struct token token; /* what the state machine made */
    bool emitted;
    char *error; /* in the op */
};

void lexer_init(struct lexer *x, struct op *op, struct slice text);
void lexer_done(struct lexer *x);
/* After TOKEN_END and TOKEN_ERROR comes TOKEN_END. */
void lexer_next(struct lexer *x, struct token *ret);
/* As an error names it: `identifier "foo"`, `<op:+>`, `end of input`. */
const char *token_describe(struct op *op, const struct token *t);

/* May a name stand without quotes? Letters of any script and '_', then digits and '.' too. */
bool name_is_plain(struct slice name);

/* For the parts of the lexer. */
#define RUNE_EOF (-1)
#define RUNE_BAD 0xfffd
int32_t lexer_rune(struct lexer *x); /* takes a character */
int32_t lexer_peek(struct lexer *x);
void lexer_back(struct lexer *x); /* puts the last one back, once */
void lexer_emit(struct lexer *x, enum token_kind kind);
void lexer_error(struct lexer *x, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool lexer_starts_name(struct lexer *x, int32_t rune);
bool lexer_continues_name(struct lexer *x, int32_t rune);
bool lexer_accept(struct lexer *x, const char *set);
void lex_number_or_duration(struct lexer *x);
void lex_string(struct lexer *x, int32_t quote);
void lex_raw_string(struct lexer *x);
const char *rune_quoted(struct op *op, int32_t rune); /* Go's %q of a rune: 'x' */
/* What a string token stands for: quotes off, escapes resolved. False: it is malformed. */
bool string_unquote(struct op *op, struct slice text, struct slice *ret);
/* Go's %q; at most `max` characters of it, if max > 0. */
const char *text_quoted(struct op *op, struct slice text, size_t max);

#endif
