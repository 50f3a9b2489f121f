/* Runs a template. */
#include "metrics/rules/template_internal.h"

#include <errno.h>

#define VARIABLES_MAX 256

struct variable {
    struct slice name;
    struct tpl_value value;
};

enum flow { FLOW_ON, FLOW_BREAK, FLOW_CONTINUE }; /* or a negative errno */

struct run {
    struct tpl *t;
    struct tpl_value dot;
    struct variable variables[VARIABLES_MAX];
    size_t n_variables;
    unsigned *steps; /* left, of the whole expansion */
};

int tpl_fail(struct tpl *t, const char *format, ...)
{
    va_list args;

    if (t->why->len > 0)
        return -EINVAL;
    buf_printf(t->why, "template: %s: ", t->name);
    va_start(args, format);
    buf_vprintf(t->why, format, args);
    va_end(args);
    return -EINVAL;
}

static int eval_pipe(struct run *r, const struct tpl_pipe *pipe, struct tpl_value *ret);

static int field_of(struct run *r, struct tpl_value *v, struct slice name)
{
    const struct tpl_value *found;

    if (v->kind == TPL_NIL)
        return tpl_fail(r->t, "nil data; no entry for key \"%.*s\"", (int)name.len,
                        (const char *)name.data);
    if (v->kind != TPL_MAP && v->kind != TPL_STRUCT)
        return tpl_fail(r->t, "can't evaluate field %.*s in type %s", (int)name.len,
                        (const char *)name.data, tpl_type(v));
    found = tpl_map_get(v->map, name);
    if (found != NULL)
        *v = *found;
    else if (v->kind == TPL_STRUCT)
        return tpl_fail(r->t, "can't evaluate field %.*s", (int)name.len, (const char *)name.data);
    else
        *v = v->map->strings ? tpl_string(SLICE("")) : (struct tpl_value){0};
    return 0;
}

static int variable(struct run *r, struct slice name, struct variable **ret)
{
    for (size_t i = r->n_variables; i-- > 0;)
        if (slice_eq(r->variables[i].name, name)) {
            *ret = &r->variables[i];
            return 0;
        }
    return tpl_fail(r->t, "undefined variable: %.*s", (int)name.len, (const char *)name.data);
}

static int call(struct run *r, struct slice name, const struct tpl_value *args, size_t n,
                struct tpl_value *ret)
{
    const struct tpl_function *f = tpl_function(name);
    int least = f->min;

    if (n < (size_t)least || (f->max >= 0 && n > (size_t)f->max))
        return tpl_fail(r->t, "wrong number of args for %s: want %s%d got %zu", f->name,
                        f->max < 0 ? "at least " : "", least, n);
    return f->call(r->t, args, n, ret);
}

static int eval_arg(struct run *r, const struct tpl_arg *a, struct tpl_value *ret)
{
    struct variable *v = NULL;
    int e = 0;

    switch (a->kind) {
    case TPL_DOT:
        *ret = r->dot;
        break;
    case TPL_VARIABLE:
        e = variable(r, a->name, &v);
        if (e == 0)
            *ret = v->value;
        break;
    case TPL_FUNCTION:
        e = call(r, a->name, NULL, 0, ret);
        break;
    case TPL_LITERAL:
        *ret = a->literal;
        break;
    case TPL_GROUP:
        e = eval_pipe(r, a->group, ret);
        break;
    }
    for (size_t i = 0; i < a->n_fields && e == 0; i++)
        e = field_of(r, ret, a->fields[i]);
    return e;
}

/* `and` and `or` look at no more than they need. */
static int eval_logic(struct run *r, const struct tpl_command *c, bool stop_at,
                      const struct tpl_value *last, struct tpl_value *ret)
{
    const struct tpl_arg *a = c->args->next;
    int e = 0;

    if (a == NULL && last == NULL)
        return tpl_fail(r->t, "wrong number of args for %.*s: want at least 1 got 0",
                        (int)c->args->name.len, (const char *)c->args->name.data);
    for (; a != NULL; a = a->next) {
        e = eval_arg(r, a, ret);
        if (e < 0 || tpl_true(ret) == stop_at)
            return e;
    }
    if (last != NULL)
        *ret = *last;
    return 0;
}

/* `last` is what comes through the pipe, or NULL. */
static int eval_command(struct run *r, const struct tpl_command *c, const struct tpl_value *last,
                        struct tpl_value *ret)
{
    const struct tpl_arg *first = c->args;
    struct tpl_value *args;
    size_t n = 0;
    int e = 0;

    if (first->kind != TPL_FUNCTION || first->n_fields > 0) {
        if (c->n_args > 1 || last != NULL)
            return tpl_fail(r->t, "can't give argument to non-function");
        if (first->kind == TPL_LITERAL && first->literal.kind == TPL_NIL)
            return tpl_fail(r->t, "nil is not a command");
        return eval_arg(r, first, ret);
    }
    if (slice_eq(first->name, SLICE("and")) || slice_eq(first->name, SLICE("or")))
        return eval_logic(r, c, slice_eq(first->name, SLICE("or")), last, ret);
    args = op_alloc(r->t->op, (c->n_args + 1) * sizeof *args);
    for (const struct tpl_arg *a = first->next; a != NULL && e == 0; a = a->next)
        e = eval_arg(r, a, &args[n++]);
    if (last != NULL)
        args[n++] = *last;
    return e < 0 ? e : call(r, first->name, args, n, ret);
}

static int set_variable(struct run *r, struct slice name, bool assigns,
                        const struct tpl_value *value)
{
    struct variable *v = NULL;
    int e = 0;

    if (assigns) {
        e = variable(r, name, &v);
        if (e == 0)
            v->value = *value;
        return e;
    }
    if (r->n_variables == VARIABLES_MAX)
        return tpl_fail(r->t, "too many variables");
    r->variables[r->n_variables++] = (struct variable){name, *value};
    return 0;
}

/* The value; variables are the caller's affair. */
static int eval_value(struct run *r, const struct tpl_pipe *pipe, struct tpl_value *ret)
{
    struct tpl_value last = {0};
    int e = 0;

    for (const struct tpl_command *c = pipe->commands; c != NULL && e == 0; c = c->next) {
        struct tpl_value v = {0};

        e = eval_command(r, c, c == pipe->commands ? NULL : &last, &v);
        last = v;
    }
    *ret = last;
    return e;
}

static int eval_pipe(struct run *r, const struct tpl_pipe *pipe, struct tpl_value *ret)
{
    int e = eval_value(r, pipe, ret);

    if (e == 0 && pipe->n_variables == 1)
        e = set_variable(r, pipe->variables[0], pipe->assigns, ret);
    return e;
}

static int run_list(struct run *r, const struct tpl_node *list);

/* An expansion takes so many steps, and makes so much text. */
static int step(struct run *r)
{
    if (r->t->out->len > TPL_OUT_MAX || *r->steps == 0)
        return tpl_fail(r->t, "the text becomes too long");
    --*r->steps;
    return 0;
}

static int run_if(struct run *r, const struct tpl_node *n)
{
    size_t variables = r->n_variables;
    struct tpl_value v = {0}, dot = r->dot;
    int e = eval_pipe(r, n->pipe, &v);

    if (e == 0 && tpl_true(&v)) {
        if (n->kind == TPL_WITH)
            r->dot = v;
        e = run_list(r, n->body);
    } else if (e == 0) {
        e = run_list(r, n->otherwise);
    }
    r->dot = dot;
    r->n_variables = variables;
    return e;
}

static int run_once(struct run *r, const struct tpl_node *n, const struct tpl_value *key,
                    const struct tpl_value *element)
{
    const struct tpl_pipe *p = n->pipe;
    size_t variables = r->n_variables;
    int e = step(r);

    if (e == 0 && p->n_variables == 2)
        e = set_variable(r, p->variables[0], p->assigns, key);
    if (e == 0 && p->n_variables > 0)
        e = set_variable(r, p->variables[p->n_variables - 1], p->assigns, element);
    r->dot = *element;
    if (e == 0)
        e = run_list(r, n->body);
    r->n_variables = variables;
    return e == FLOW_CONTINUE ? FLOW_ON : e;
}

static int run_range(struct run *r, const struct tpl_node *n)
{
    struct tpl_value v = {0}, dot = r->dot;
    size_t count = 0;
    int e = eval_value(r, n->pipe, &v);

    if (e < 0)
        return e;
    if (v.kind == TPL_LIST)
        count = v.list->n;
    else if (v.kind == TPL_MAP)
        count = v.map->n;
    else if (v.kind == TPL_INT)
        count = v.i > 0 ? (size_t)v.i : 0;
    else if (v.kind != TPL_NIL)
        return tpl_fail(r->t, "range can't iterate over %s", tpl_type(&v));
    for (size_t i = 0; i < count && e == FLOW_ON; i++) {
        struct tpl_value key = {.kind = TPL_INT, .i = (int64_t)i}, element = key;

        if (v.kind == TPL_LIST)
            element = v.list->items[i];
        if (v.kind == TPL_MAP) {
            key = tpl_string(v.map->items[i].name);
            element = v.map->items[i].value;
        }
        e = run_once(r, n, &key, &element);
    }
    r->dot = dot;
    if (count == 0)
        e = run_list(r, n->otherwise);
    return e == FLOW_BREAK ? FLOW_ON : e;
}

static int run_template(struct run *outer, struct slice name, const struct tpl_value *dot)
{
    struct tpl *t = outer->t;
    struct run *r;
    int e;

    for (const struct tpl_define *d = t->defines; d != NULL; d = d->next) {
        if (!slice_eq(d->name, name))
            continue;
        if (++t->depth > TPL_NEST_MAX)
            return tpl_fail(t, "exceeded maximum template depth (%d)", TPL_NEST_MAX);
        r = op_alloc(t->op, sizeof *r);
        *r = (struct run){.t = t, .dot = *dot, .steps = outer->steps};
        r->variables[r->n_variables++] = (struct variable){SLICE("$"), *dot};
        e = run_list(r, d->body);
        t->depth--;
        return e;
    }
    return tpl_fail(t, "template \"%.*s\" not defined", (int)name.len, (const char *)name.data);
}

static int run_call(struct run *r, const struct tpl_node *n)
{
    struct tpl_value dot = {0};
    int e = n->pipe != NULL ? eval_pipe(r, n->pipe, &dot) : 0;

    return e < 0 ? e : run_template(r, n->text, &dot);
}

static int run_print(struct run *r, const struct tpl_pipe *pipe)
{
    struct tpl_value v = {0};
    int e = eval_pipe(r, pipe, &v);

    if (e == 0 && pipe->n_variables == 0)
        tpl_print(r->t->out, &v);
    return e;
}

static int run_node(struct run *r, const struct tpl_node *n)
{
    switch (n->kind) {
    case TPL_TEXT:
        buf_add_slice(r->t->out, n->text);
        return 0;
    case TPL_PRINT:
        return run_print(r, n->pipe);
    case TPL_IF:
    case TPL_WITH:
        return run_if(r, n);
    case TPL_RANGE:
        return run_range(r, n);
    case TPL_CALL:
        return run_call(r, n);
    case TPL_BREAK:
        return FLOW_BREAK;
    case TPL_CONTINUE:
        return FLOW_CONTINUE;
    }
    return 0;
}

static int run_list(struct run *r, const struct tpl_node *list)
{
    int e = FLOW_ON;

    for (const struct tpl_node *n = list; n != NULL && e == FLOW_ON; n = n->next) {
        e = run_node(r, n);
        if (e == FLOW_ON)
            e = step(r);
    }
    return e;
}

static struct tpl_value root_of(struct op *op, const struct template_env *env)
{
    struct tpl_map *root = op_alloc(op, sizeof *root);

    root->n = 4;
    root->items = op_alloc(op, root->n * sizeof *root->items);
    root->items[0] = (struct tpl_pair){SLICE("Labels"), tpl_map_of(op, &env->labels)};
    root->items[1] =
        (struct tpl_pair){SLICE("ExternalLabels"), tpl_map_of(op, &env->external_labels)};
    root->items[2] = (struct tpl_pair){SLICE("ExternalURL"),
                                       tpl_string(slice_str(env->external_url))};
    root->items[3] = (struct tpl_pair){SLICE("Value"),
                                       {.kind = TPL_FLOAT, .f = env->value}};
    if (env->histogram != NULL)
        root->items[3].value = tpl_string(slice_str(env->histogram));
    return (struct tpl_value){.kind = TPL_STRUCT, .map = root};
}

int template_check(struct op *op, const char *name, struct slice text, struct buf *why)
{
    struct tpl t = {.op = op, .name = name, .why = why};

    return tpl_parse(&t, text);
}

int template_expand(struct op *op, const char *name, const struct template_env *env,
                    struct slice text, struct buf *out, struct buf *why)
{
    static const char *const names[] = {"$labels", "$externalLabels", "$externalURL", "$value"};
    struct tpl t = {.op = op, .name = name, .why = why, .env = env, .out = out};
    unsigned steps = TPL_STEPS_MAX;
    struct run *r = op_alloc(op, sizeof *r);
    int e = tpl_parse(&t, text);

    if (e < 0)
        return e;
    *r = (struct run){.t = &t, .dot = root_of(op, env), .steps = &steps};
    r->variables[r->n_variables++] = (struct variable){SLICE("$"), r->dot};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        r->variables[r->n_variables++] =
            (struct variable){slice_str(names[i]), r->dot.map->items[i].value};
    e = run_list(r, t.body);
    return e < 0 ? e : 0;
}
