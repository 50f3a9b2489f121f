#include "metrics/promql/lexer.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

struct keyword {
    const char *name;
    enum token_kind kind;
};

static const struct keyword keywords[] = {
    {"and", TOKEN_AND},
    {"or", TOKEN_OR},
    {"unless", TOKEN_UNLESS},
    {"atan2", TOKEN_ATAN2},
    {"sum", TOKEN_SUM},
    {"avg", TOKEN_AVG},
    {"count", TOKEN_COUNT},
    {"min", TOKEN_MIN},
    {"max", TOKEN_MAX},
    {"group", TOKEN_GROUP},
    {"stddev", TOKEN_STDDEV},
    {"stdvar", TOKEN_STDVAR},
    {"topk", TOKEN_TOPK},
    {"bottomk", TOKEN_BOTTOMK},
    {"count_values", TOKEN_COUNT_VALUES},
    {"quantile", TOKEN_QUANTILE},
    {"limitk", TOKEN_LIMITK},
    {"limit_ratio", TOKEN_LIMIT_RATIO},
    {"offset", TOKEN_OFFSET},
    {"smoothed", TOKEN_SMOOTHED},
    {"anchored", TOKEN_ANCHORED},
    {"by", TOKEN_BY},
    {"without", TOKEN_WITHOUT},
    {"on", TOKEN_ON},
    {"ignoring", TOKEN_IGNORING},
    {"group_left", TOKEN_GROUP_LEFT},
    {"group_right", TOKEN_GROUP_RIGHT},
    {"fill", TOKEN_FILL},
    {"fill_left", TOKEN_FILL_LEFT},
    {"fill_right", TOKEN_FILL_RIGHT},
    {"bool", TOKEN_BOOL},
    {"start", TOKEN_START},
    {"end", TOKEN_END_WORD},
    {"step", TOKEN_STEP},
    {"range", TOKEN_RANGE},
    {"max_of", TOKEN_MAX_OF},
    {"min_of", TOKEN_MIN_OF},
    {"inf", TOKEN_NUMBER},
    {"nan", TOKEN_NUMBER},
};

static enum token_kind keyword_of(const char *word, size_t n)
{
    for (size_t i = 0; i < sizeof keywords / sizeof keywords[0]; i++)
        if (strlen(keywords[i].name) == n && strncasecmp(keywords[i].name, word, n) == 0)
            return keywords[i].kind;
    return TOKEN_END;
}

void lexer_init(struct lexer *x, struct op *op, struct slice text)
{
    *x = (struct lexer){.op = op, .text = text.data, .len = text.len};
}

static bool is_space(int32_t r)
{
    return r == ' ' || r == '\t' || r == '\n' || r == '\r';
}

static bool is_digit(int32_t r)
{
    return r >= '0' && r <= '9';
}

static bool is_alpha(int32_t r)
{
    return r == '_' || (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z');
}

static void skip_spaces(struct lexer *x)
{
    while (is_space(lexer_peek(x)))
        lexer_rune(x);
    x->start = x->pos;
}

/* A comment up to the end of its line. */
static void skip_comment(struct lexer *x)
{
    while (x->pos < x->len && x->text[x->pos] != '\n' && x->text[x->pos] != '\r')
        x->pos++;
    x->start = x->pos;
}

static bool starts_duration_word(int32_t r)
{
    return r == 's' || r == 'S' || r == 'r' || r == 'R' || r == 'm' || r == 'M';
}

/* step, range, max_of, min_of inside brackets. */
static bool scan_duration_word(struct lexer *x)
{
    enum token_kind kind;

    while (is_alpha(lexer_rune(x)))
        ;
    lexer_back(x);
    kind = keyword_of(x->text + x->start, x->pos - x->start);
    if (kind != TOKEN_STEP && kind != TOKEN_RANGE && kind != TOKEN_MAX_OF && kind != TOKEN_MIN_OF)
        return false;
    lexer_emit(x, kind);
    return true;
}

static bool before_paren(const struct lexer *x)
{
    size_t p = x->pos;

    while (p < x->len && is_space(x->text[p]))
        p++;
    return p < x->len && x->text[p] == '(';
}

static void lex_word(struct lexer *x)
{
    enum token_kind kind;
    const char *word;
    size_t n;

    for (int32_t r = lexer_rune(x); lexer_continues_name(x, r) || r == ':'; r = lexer_rune(x))
        ;
    lexer_back(x);
    word = x->text + x->start;
    n = x->pos - x->start;
    kind = keyword_of(word, n);
    if (kind >= TOKEN_FILL && kind <= TOKEN_FILL_RIGHT && !before_paren(x))
        kind = TOKEN_IDENTIFIER; /* a metric may have this name */
    if (kind == TOKEN_END)
        kind = memchr(word, ':', n) != NULL ? TOKEN_METRIC : TOKEN_IDENTIFIER;
    lexer_emit(x, kind);
}

static void lex_open_bracket(struct lexer *x)
{
    if (x->bracket_open) {
        lexer_error(x, "unexpected left bracket '['");
        return;
    }
    x->got_colon = x->got_duration = false;
    lexer_emit(x, TOKEN_LEFT_BRACKET);
    if (is_space(lexer_peek(x)))
        skip_spaces(x);
    x->bracket_open = true;
    x->state = LEX_DURATION;
}

/* A name, or in brackets: the colon, or a word of duration expressions. */
static void lex_name(struct lexer *x, int32_t r)
{
    if (!x->bracket_open) {
        lexer_back(x);
        lex_word(x);
        return;
    }
    if (r == ':' && x->got_colon) {
        lexer_error(x, "unexpected colon ':'");
    } else if (r == ':') {
        lexer_emit(x, TOKEN_COLON);
        x->got_colon = true;
    } else if (!starts_duration_word(r) || !scan_duration_word(x)) {
        lexer_error(x, "unexpected character: %s, expected ':'", rune_quoted(x->op, r));
    }
}

static void lex_comparison(struct lexer *x, int32_t r)
{
    int32_t next = lexer_peek(x);

    if (r == '=' && next == '~') {
        lexer_error(x, "unexpected character after '=': '~'");
        return;
    }
    if (r == '!') {
        next = lexer_rune(x);
        if (next == '=')
            lexer_emit(x, TOKEN_NEQ);
        else
            lexer_error(x, "unexpected character after '!': %s", rune_quoted(x->op, next));
        return;
    }
    if (next == '=' || (next == '/' && r != '='))
        lexer_rune(x);
    if (next == '=')
        lexer_emit(x, r == '=' ? TOKEN_EQLC : r == '<' ? TOKEN_LTE : TOKEN_GTE);
    else if (next == '/' && r != '=')
        lexer_emit(x, r == '<' ? TOKEN_TRIM_UPPER : TOKEN_TRIM_LOWER);
    else
        lexer_emit(x, r == '=' ? TOKEN_EQL : r == '<' ? TOKEN_LSS : TOKEN_GTR);
}

static void lex_paren(struct lexer *x, int32_t r)
{
    if (r == '(') {
        lexer_emit(x, TOKEN_LEFT_PAREN);
        x->paren_depth++;
        return;
    }
    /* The parenthesis too many is no token: the error takes its place, and stands behind it. */
    lexer_emit(x, TOKEN_RIGHT_PAREN);
    x->paren_depth--;
    if (x->paren_depth < 0)
        lexer_error(x, "unexpected right parenthesis ')'");
}

static enum token_kind simple_operator(int32_t r)
{
    static const struct {
        char c;
        enum token_kind kind;
    } simple[] = {{',', TOKEN_COMMA}, {'*', TOKEN_MUL}, {'/', TOKEN_DIV}, {'%', TOKEN_MOD},
                  {'+', TOKEN_ADD},   {'-', TOKEN_SUB}, {'^', TOKEN_POW}};

    for (size_t i = 0; i < sizeof simple / sizeof simple[0]; i++)
        if (simple[i].c == r)
            return simple[i].kind;
    return TOKEN_END;
}

static void lex_end(struct lexer *x)
{
    if (x->paren_depth != 0) {
        lexer_error(x, "unclosed left parenthesis");
        return;
    }
    if (x->bracket_open) {
        lexer_error(x, "unclosed left bracket");
        return;
    }
    lexer_emit(x, TOKEN_END);
    x->state = LEX_ENDED;
}

static void lex_statement(struct lexer *x)
{
    int32_t r = lexer_rune(x);

    if (r == RUNE_EOF) {
        lex_end(x);
    } else if (simple_operator(r) != TOKEN_END) {
        lexer_emit(x, simple_operator(r));
    } else if (is_space(r)) {
        skip_spaces(x);
    } else if (r == '=' || r == '!' || r == '<' || r == '>') {
        lex_comparison(x, r);
    } else if (is_digit(r) || (r == '.' && is_digit(lexer_peek(x)))) {
        x->pos = x->start;
        lex_number_or_duration(x);
    } else if (r == '"' || r == '\'') {
        lex_string(x, r);
    } else if (r == '`') {
        lex_raw_string(x);
    } else if (r == ':' || lexer_starts_name(x, r)) {
        lex_name(x, r);
    } else if (r == '(' || r == ')') {
        lex_paren(x, r);
    } else if (r == '{') {
        lexer_emit(x, TOKEN_LEFT_BRACE);
        x->brace_open = true;
        x->state = LEX_BRACES;
    } else if (r == '[') {
        lex_open_bracket(x);
    } else if (r == ']' && x->bracket_open) {
        lexer_emit(x, TOKEN_RIGHT_BRACKET);
        x->bracket_open = false;
    } else if (r == ']') {
        lexer_error(x, "unexpected right bracket ']'");
    } else if (r == '@') {
        lexer_emit(x, TOKEN_AT);
    } else {
        lexer_error(x, "unexpected character: %s", rune_quoted(x->op, r));
    }
}

static void lex_brace_operator(struct lexer *x, int32_t r)
{
    int32_t next = lexer_rune(x);

    if (r == '=') {
        if (next != '~')
            lexer_back(x);
        lexer_emit(x, next == '~' ? TOKEN_EQL_REGEX : TOKEN_EQL);
    } else if (next == '~' || next == '=') {
        lexer_emit(x, next == '~' ? TOKEN_NEQ_REGEX : TOKEN_NEQ);
    } else {
        lexer_error(x, "unexpected character after '!' inside braces: %s",
                    rune_quoted(x->op, next));
    }
}

/* Between { and }: every word is an identifier. */
static void lex_inside_braces(struct lexer *x)
{
    int32_t r = lexer_rune(x);

    if (r == RUNE_EOF) {
        lexer_error(x, "unexpected end of input inside braces");
    } else if (is_space(r)) {
        skip_spaces(x);
    } else if (lexer_starts_name(x, r)) {
        while (lexer_continues_name(x, r))
            r = lexer_rune(x);
        lexer_back(x);
        lexer_emit(x, TOKEN_IDENTIFIER);
    } else if (r == ',') {
        lexer_emit(x, TOKEN_COMMA);
    } else if (r == '"' || r == '\'') {
        lex_string(x, r);
    } else if (r == '`') {
        lex_raw_string(x);
    } else if (r == '=' || r == '!') {
        lex_brace_operator(x, r);
    } else if (r == '{') {
        lexer_error(x, "unexpected left brace '{'");
    } else if (r == '}') {
        lexer_emit(x, TOKEN_RIGHT_BRACE);
        x->brace_open = false;
        x->state = LEX_STATEMENTS;
    } else {
        lexer_error(x, "unexpected character inside braces: %s", rune_quoted(x->op, r));
    }
}

static void lex_duration_colon(struct lexer *x)
{
    lexer_emit(x, TOKEN_COLON);
    if (!x->got_duration)
        lexer_error(x, "unexpected colon before duration in duration expression");
    else if (x->got_colon)
        lexer_error(x, "unexpected repeated colon in duration expression");
    x->got_colon = true;
}

/* After [ up to the first number. */
static void lex_duration_expr(struct lexer *x)
{
    int32_t r = lexer_rune(x);

    if (r == RUNE_EOF) {
        lexer_error(x, "unexpected end of input in duration expression");
    } else if (r == ']') {
        lexer_emit(x, TOKEN_RIGHT_BRACKET);
        x->bracket_open = x->got_colon = false;
        x->state = LEX_STATEMENTS;
    } else if (r == ':') {
        lex_duration_colon(x);
    } else if (r == '(' || r == ')') {
        lex_paren(x, r);
    } else if (is_space(r)) {
        skip_spaces(x);
    } else if (simple_operator(r) != TOKEN_END) {
        lexer_emit(x, simple_operator(r));
    } else if (starts_duration_word(r)) {
        x->got_duration = scan_duration_word(x);
        if (!x->got_duration)
            lexer_error(x, "unexpected character in duration expression: %s",
                        rune_quoted(x->op, r));
    } else if (is_digit(r) || (r == '.' && is_digit(lexer_peek(x)))) {
        x->pos = x->start;
        x->got_duration = true;
        x->state = LEX_STATEMENTS;
        lex_number_or_duration(x);
    } else {
        lexer_error(x, "unexpected character in duration expression: %s", rune_quoted(x->op, r));
    }
}

void lexer_next(struct lexer *x, struct token *ret)
{
    x->emitted = false;
    while (!x->emitted) {
        if (x->state == LEX_ENDED) {
            lexer_emit(x, TOKEN_END);
        } else if (x->state == LEX_DURATION) {
            lex_duration_expr(x);
        } else if (x->pos < x->len && x->text[x->pos] == '#') {
            skip_comment(x);
        } else if (x->brace_open) {
            lex_inside_braces(x);
        } else {
            lex_statement(x);
        }
    }
    *ret = x->token;
}

const char *token_describe(struct op *op, const struct token *t)
{
    static const char *const names[] = {
        [TOKEN_IDENTIFIER] = "identifier ", [TOKEN_METRIC] = "metric identifier ",
        [TOKEN_STRING] = "string ",         [TOKEN_NUMBER] = "number ",
        [TOKEN_DURATION] = "duration ",
    };
    int n = (int)t->text.len;
    const char *text = t->text.data;

    if (t->kind == TOKEN_END)
        return "end of input";
    if (t->kind >= TOKEN_BOOL)
        return op_printf(op, "<%.*s>", n, text);
    if (t->kind >= TOKEN_SUM)
        return op_printf(op, "<aggr:%.*s>", n, text);
    if (t->kind >= TOKEN_OR)
        return op_printf(op, "<op:%.*s>", n, text);
    if (t->kind == TOKEN_IDENTIFIER || t->kind == TOKEN_METRIC)
        return op_printf(op, "%s%s", names[t->kind], text_quoted(op, t->text, 0));
    return op_printf(op, "%s%s%s", t->kind <= TOKEN_DURATION ? names[t->kind] : "",
                     text_quoted(op, t->text, n > 10 ? 10 : 0), n > 10 ? "..." : "");
}
