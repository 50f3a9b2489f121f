/* Reads a template: text, and actions between {{ and }} (pkg.go.dev/text/template). */
#include "metrics/rules/template_lex.h"

#include <errno.h>
#include <stdlib.h>

static bool is_word(const struct parser *s, const char *word)
{
    return s->token.kind == TOKEN_WORD && slice_eq(s->token.text, slice_str(word));
}

static bool is_sign(const struct parser *s, char sign)
{
    return s->token.kind == TOKEN_SIGN && s->token.sign == sign;
}

static int unexpected(struct parser *s, const char *where)
{
    if (s->token.kind == TOKEN_END)
        return parser_fail(s, "missing value for %s", where);
    if (s->token.kind == TOKEN_SIGN)
        return parser_fail(s, "unexpected \"%c\" in %s", s->token.sign, where);
    return parser_fail(s, "unexpected \"%.*s\" in %s", (int)s->token.text.len,
                (const char *)s->token.text.data, where);
}

static int parse_pipe(struct parser *s, const char *where, bool range, struct tpl_pipe **ret);

static int parse_number(struct parser *s, struct tpl_value *ret)
{
    struct slice text = s->token.text;
    char *copy = op_strndup(s->t->op, text.data, text.len), *end = NULL, *from = copy, *to = copy;

    for (; *from != 0; from++)
        if (*from != '_')
            *to++ = *from;
    *to = 0;
    errno = 0;
    *ret = (struct tpl_value){.kind = TPL_INT, .i = strtoll(copy, &end, 0)};
    if (errno == 0 && *end == 0)
        return 0;
    *ret = (struct tpl_value){.kind = TPL_FLOAT, .f = strtod(copy, &end)};
    return *end == 0 ? 0 : parser_fail(s, "bad number syntax: \"%s\"", copy);
}

static int parse_word(struct parser *s, struct tpl_arg *a)
{
    if (is_word(s, "true") || is_word(s, "false")) {
        a->kind = TPL_LITERAL;
        a->literal = (struct tpl_value){.kind = TPL_BOOL, .b = is_word(s, "true")};
        return 0;
    }
    if (is_word(s, "nil")) {
        a->kind = TPL_LITERAL;
        return 0;
    }
    a->kind = TPL_FUNCTION;
    a->name = s->token.text;
    if (tpl_function(a->name) == NULL)
        return parser_fail(s, "function \"%.*s\" not defined", (int)a->name.len,
                    (const char *)a->name.data);
    return 0;
}

static int parse_variable(struct parser *s, struct tpl_arg *a)
{
    a->kind = TPL_VARIABLE;
    a->name = s->token.text;
    for (size_t i = s->n_variables; i-- > 0;)
        if (slice_eq(s->variables[i], a->name))
            return 0;
    return parser_fail(s, "undefined variable \"%.*s\"", (int)a->name.len, (const char *)a->name.data);
}

static void add_field(struct parser *s, struct tpl_arg *a)
{
    struct slice *fields = op_alloc(s->t->op, (a->n_fields + 1) * sizeof *fields);

    if (a->n_fields > 0)
        memcpy(fields, a->fields, a->n_fields * sizeof *fields);
    fields[a->n_fields++] = s->token.text;
    a->fields = fields;
}

static int parse_group(struct parser *s, struct tpl_arg *a)
{
    int r;

    a->kind = TPL_GROUP;
    if (++s->nest > TPL_NEST_MAX)
        return parser_fail(s, "too many parentheses");
    r = parser_next(s);
    if (r == 0)
        r = parse_pipe(s, "parenthesized pipeline", false, &a->group);
    s->nest--;
    if (r == 0 && !is_sign(s, ')'))
        return parser_fail(s, "unclosed left paren");
    return r;
}

/* One operand with its fields. */
static int parse_operand(struct parser *s, const char *where, struct tpl_arg **ret)
{
    struct tpl_arg *a = op_alloc(s->t->op, sizeof *a);
    int r = 0;

    switch (s->token.kind) {
    case TOKEN_DOT:
        a->kind = TPL_DOT;
        break;
    case TOKEN_FIELD:
        a->kind = TPL_DOT;
        add_field(s, a);
        break;
    case TOKEN_VARIABLE:
        r = parse_variable(s, a);
        break;
    case TOKEN_WORD:
        r = parse_word(s, a);
        break;
    case TOKEN_STRING:
        a->kind = TPL_LITERAL;
        a->literal = tpl_string(s->token.text);
        break;
    case TOKEN_CHAR:
        a->kind = TPL_LITERAL;
        a->literal = (struct tpl_value){.kind = TPL_INT, .i = s->token.number};
        break;
    case TOKEN_NUMBER:
        a->kind = TPL_LITERAL;
        r = parse_number(s, &a->literal);
        break;
    default:
        if (!is_sign(s, '('))
            return unexpected(s, where);
        r = parse_group(s, a);
    }
    if (r == 0)
        r = parser_next(s);
    while (r == 0 && s->token.kind == TOKEN_FIELD && !s->token.spaced) {
        if (a->kind == TPL_LITERAL)
            return parser_fail(s, "unexpected . after a constant");
        add_field(s, a);
        r = parser_next(s);
    }
    *ret = a;
    return r;
}

static bool ends_command(const struct parser *s)
{
    return s->token.kind == TOKEN_END || is_sign(s, '|') || is_sign(s, ')');
}

static int parse_command(struct parser *s, const char *where, struct tpl_command **ret)
{
    struct tpl_command *c = op_alloc(s->t->op, sizeof *c);
    struct tpl_arg **last = &c->args;
    int r = 0;

    do {
        r = parse_operand(s, where, last);
        if (r < 0)
            return r;
        last = &(*last)->next;
        c->n_args++;
        if (!ends_command(s) && !s->token.spaced && !is_sign(s, '('))
            return unexpected(s, "operand");
    } while (!ends_command(s));
    *ret = c;
    return 0;
}

static int declare(struct parser *s, struct slice name)
{
    if (s->n_variables == VARIABLES_MAX)
        return parser_fail(s, "too many variables");
    s->variables[s->n_variables++] = name;
    return 0;
}

/* `$x :=`, `$x =`, `$i, $x :=` at the start of a pipeline: consumed if it is there. */
static int parse_declaration(struct parser *s, bool range, struct tpl_pipe *pipe)
{
    const char *p = s->p;
    struct token first = s->token;
    unsigned line = s->line;
    int r = 0;

    if (first.kind != TOKEN_VARIABLE)
        return 0;
    pipe->variables[0] = first.text;
    r = parser_next(s);
    if (r == 0 && range && is_sign(s, ',')) {
        r = parser_next(s);
        if (r == 0 && s->token.kind != TOKEN_VARIABLE)
            return parser_fail(s, "range can only initialize variables");
        pipe->variables[1] = s->token.text;
        pipe->n_variables = 1;
        if (r == 0)
            r = parser_next(s);
    }
    if (r < 0)
        return r;
    if (s->token.kind == TOKEN_DECLARE || is_sign(s, '=')) {
        pipe->n_variables++;
        pipe->assigns = is_sign(s, '=');
        return parser_next(s);
    }
    if (pipe->n_variables > 0)
        return unexpected(s, "range");
    s->p = p; /* an ordinary operand */
    s->line = line;
    s->token = first;
    return 0;
}

static int end_declaration(struct parser *s, const struct tpl_pipe *pipe)
{
    int r = 0;

    for (unsigned i = 0; i < pipe->n_variables && r == 0; i++) {
        struct tpl_arg known;
        struct token token = s->token;

        if (!pipe->assigns) {
            r = declare(s, pipe->variables[i]);
            continue;
        }
        s->token.text = pipe->variables[i];
        r = parse_variable(s, &known);
        s->token = token;
    }
    return r;
}

static int parse_pipe(struct parser *s, const char *where, bool range, struct tpl_pipe **ret)
{
    struct tpl_pipe *pipe = op_alloc(s->t->op, sizeof *pipe);
    struct tpl_command **last = &pipe->commands;
    int r = parse_declaration(s, range, pipe);

    pipe->line = s->line;
    while (r == 0) {
        r = parse_command(s, where, last);
        if (r < 0)
            return r;
        last = &(*last)->next;
        if (!is_sign(s, '|'))
            break;
        r = parser_next(s);
        if (s->token.kind == TOKEN_END || is_sign(s, ')'))
            break; /* Go lets a pipe lead nowhere */
    }
    for (const struct tpl_command *c = pipe->commands; r == 0 && c != NULL; c = c->next)
        if (c != pipe->commands && (c->args->kind == TPL_LITERAL || c->args->kind == TPL_DOT))
            return parser_fail(s, "non executable command in pipeline");
    *ret = pipe;
    return r == 0 ? end_declaration(s, pipe) : r;
}

/* Behind a keyword: the pipeline up to the end of the action. */
static int pipe_to_end(struct parser *s, const char *where, struct tpl_pipe **ret)
{
    int r = parse_pipe(s, where, strcmp(where, "range") == 0, ret);

    if (r == 0 && s->token.kind != TOKEN_END)
        return unexpected(s, where);
    return r;
}

/* Moves behind the "}}" that is the current token. */
static void close_action(struct parser *s)
{
    size_t n = parser_at_close(s, s->p);

    s->trim_next = n == 3;
    s->p += n;
}

static int end_of(struct parser *s, const char *where)
{
    if (s->token.kind != TOKEN_END)
        return unexpected(s, where);
    close_action(s);
    return 0;
}

enum list_end { LIST_EOF, LIST_END, LIST_ELSE };

static int parse_list(struct parser *s, struct tpl_node **ret, enum list_end *ret_end);

static int parse_branch(struct parser *s, const char *word, struct tpl_node *n);

/* Behind {{else: another branch or the rest. */
static int parse_else(struct parser *s, const char *word, struct tpl_node *n)
{
    enum list_end end = LIST_EOF;
    int r;

    if (is_word(s, word) && strcmp(word, "range") != 0) {
        n->otherwise = op_alloc(s->t->op, sizeof *n->otherwise);
        n->otherwise->kind = n->kind;
        n->otherwise->line = s->line;
        return parse_branch(s, word, n->otherwise); /* its {{end}} is ours */
    }
    r = end_of(s, "else");
    if (r == 0)
        r = parse_list(s, &n->otherwise, &end);
    if (r == 0 && end != LIST_END)
        return parser_fail(s, end == LIST_EOF ? "unexpected EOF" : "expected end; found {{else}}");
    return r == 0 ? end_of(s, "end") : r;
}

/* {{if}}, {{range}}, {{with}}; the token is the word. */
static int parse_branch(struct parser *s, const char *word, struct tpl_node *n)
{
    size_t variables = s->n_variables;
    enum list_end end = LIST_EOF;
    int r = ++s->nest > TPL_NEST_MAX ? parser_fail(s, "too deeply nested") : parser_next(s);

    s->loops += n->kind == TPL_RANGE;
    if (r == 0)
        r = pipe_to_end(s, word, &n->pipe);
    if (r == 0) {
        close_action(s);
        r = parse_list(s, &n->body, &end);
    }
    s->loops -= n->kind == TPL_RANGE;
    if (r == 0 && end == LIST_EOF)
        r = parser_fail(s, "unexpected EOF");
    else if (r == 0)
        r = end == LIST_ELSE ? parse_else(s, word, n) : end_of(s, "end");
    s->n_variables = variables;
    s->nest--;
    return r;
}

static int parse_name(struct parser *s, const char *where, struct slice *ret)
{
    int r = parser_next(s);

    if (r == 0 && s->token.kind != TOKEN_STRING)
        return unexpected(s, where);
    *ret = s->token.text;
    return r == 0 ? parser_next(s) : r;
}

static int parse_body_of(struct parser *s, struct slice name)
{
    struct tpl_define *d = op_alloc(s->t->op, sizeof *d);
    struct slice before[VARIABLES_MAX];
    size_t n_before = s->n_variables;
    enum list_end end = LIST_EOF;
    int r;

    memcpy(before, s->variables, sizeof before);
    s->n_variables = 1; /* `$` */
    d->name = name;
    close_action(s);
    r = ++s->nest > TPL_NEST_MAX ? parser_fail(s, "too deeply nested") : parse_list(s, &d->body, &end);
    s->nest--;
    memcpy(s->variables, before, sizeof before);
    s->n_variables = n_before;
    d->next = s->t->defines;
    s->t->defines = d;
    if (r == 0 && end != LIST_END)
        return parser_fail(s, end == LIST_EOF ? "unexpected EOF" : "unexpected {{else}}");
    return r == 0 ? end_of(s, "end") : r;
}

static int parse_define(struct parser *s)
{
    struct slice name;
    int r = parse_name(s, "define clause", &name);

    if (r == 0 && s->token.kind != TOKEN_END)
        return unexpected(s, "define clause");
    return r == 0 ? parse_body_of(s, name) : r;
}

/* {{template "name" pipe}}, and {{block "name" pipe}}, which defines it too. */
static int parse_call(struct parser *s, bool block, struct tpl_node *n)
{
    const char *where = block ? "block clause" : "template clause";
    int r = parse_name(s, where, &n->text);

    n->kind = TPL_CALL;
    if (r == 0 && s->token.kind != TOKEN_END)
        r = pipe_to_end(s, where, &n->pipe);
    if (r < 0)
        return r;
    if (block)
        return parse_body_of(s, n->text);
    close_action(s);
    return 0;
}

static int parse_break(struct parser *s, struct tpl_node *n)
{
    n->kind = is_word(s, "break") ? TPL_BREAK : TPL_CONTINUE;
    if (s->loops == 0)
        return parser_fail(s, "{{%s}} outside {{range}}", n->kind == TPL_BREAK ? "break" : "continue");
    if (parser_next(s) < 0)
        return -EINVAL;
    return end_of(s, "break");
}

/* One action, whose first token is current. *ret stays NULL if it leaves no node. */
static int parse_action(struct parser *s, struct tpl_node **ret, enum list_end *ret_end)
{
    struct tpl_node *n = op_alloc(s->t->op, sizeof *n);
    int r;

    n->line = s->line;
    if (is_word(s, "end") || is_word(s, "else")) {
        *ret_end = is_word(s, "end") ? LIST_END : LIST_ELSE;
        return parser_next(s);
    }
    if (is_word(s, "define"))
        return parse_define(s);
    *ret = n;
    if (is_word(s, "if")) {
        n->kind = TPL_IF;
        return parse_branch(s, "if", n);
    }
    if (is_word(s, "range")) {
        n->kind = TPL_RANGE;
        return parse_branch(s, "range", n);
    }
    if (is_word(s, "with")) {
        n->kind = TPL_WITH;
        return parse_branch(s, "with", n);
    }
    if (is_word(s, "template") || is_word(s, "block"))
        return parse_call(s, is_word(s, "block"), n);
    if (is_word(s, "break") || is_word(s, "continue"))
        return parse_break(s, n);
    n->kind = TPL_PRINT;
    r = pipe_to_end(s, "command", &n->pipe);
    if (r == 0)
        close_action(s);
    return r;
}

/* At "{{": a comment is skipped. 1: it was one; 0; -EINVAL. */
static int skip_comment(struct parser *s)
{
    const char *p = s->p, *close;

    if (s->end - p < 2 || memcmp(p, "/*", 2) != 0)
        return 0;
    close = memmem(p, (size_t)(s->end - p), "*/", 2);
    if (close == NULL)
        return parser_fail(s, "unclosed comment");
    for (; p < close; p++)
        s->line += *p == '\n';
    p = close + 2;
    while (p < s->end && parser_is_blank(*p) && parser_at_close(s, p) == 0)
        p++;
    if (parser_at_close(s, p) == 0)
        return parser_fail(s, "comment ends before closing delimiter");
    s->p = p;
    close_action(s);
    return 1;
}

static void add_text(struct parser *s, const char *end, bool trim_end, struct tpl_node ***last)
{
    const char *start = s->p;
    struct tpl_node *n;

    for (const char *p = start; p < end; p++)
        s->line += *p == '\n';
    s->p = end;
    while (s->trim_next && start < end && parser_is_blank(*start))
        start++;
    while (trim_end && end > start && parser_is_blank(end[-1]))
        end--;
    s->trim_next = false;
    if (start == end)
        return;
    n = op_alloc(s->t->op, sizeof *n);
    *n = (struct tpl_node){.kind = TPL_TEXT, .text = slice_of(start, (size_t)(end - start))};
    **last = n;
    *last = &n->next;
}

static int parse_list(struct parser *s, struct tpl_node **ret, enum list_end *ret_end)
{
    size_t variables = s->n_variables;
    struct tpl_node **last = ret;

    *ret_end = LIST_EOF;
    for (;;) {
        const char *open = memmem(s->p, (size_t)(s->end - s->p), "{{", 2);
        bool trim = open != NULL && s->end - open > 3 && open[2] == '-' && parser_is_blank(open[3]);
        enum list_end end = LIST_EOF;
        int r;

        add_text(s, open != NULL ? open : s->end, trim, &last);
        if (open == NULL)
            return 0;
        s->p = open + 2 + (trim ? 2 : 0);
        r = skip_comment(s);
        if (r < 0)
            return r;
        if (r == 1)
            continue;
        if (parser_next(s) < 0)
            return -EINVAL;
        r = parse_action(s, last, &end);
        if (r < 0)
            return r;
        if (end != LIST_EOF) {
            *ret_end = end;
            s->n_variables = variables;
            return 0;
        }
        if (*last != NULL)
            last = &(*last)->next;
    }
}

int tpl_parse(struct tpl *t, struct slice text)
{
    static const char *const known[] = {"$", "$labels", "$externalLabels", "$externalURL",
                                        "$value"};
    const char *p = text.data;
    struct parser s = {.t = t, .p = p, .end = p + text.len, .line = 1};
    enum list_end end;
    int r;

    if (text.len == 0)
        return 0;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        s.variables[s.n_variables++] = slice_str(known[i]);
    r = parse_list(&s, &t->body, &end);
    if (r == 0 && end != LIST_EOF)
        return parser_fail(&s, "unexpected {{%s}}", end == LIST_END ? "end" : "else");
    return r;
}
