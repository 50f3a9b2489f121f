/* template_internal.h: the tree of a template, and its values. All in the op. */
#ifndef METRICS_RULES_TEMPLATE_INTERNAL_H
#define METRICS_RULES_TEMPLATE_INTERNAL_H

#include "metrics/rules/template.h"

enum tpl_kind {
    TPL_NIL, /* no value */
    TPL_BOOL,
    TPL_INT,
    TPL_FLOAT,
    TPL_STRING,
    TPL_MAP,    /* a missing key is empty */
    TPL_STRUCT, /* a missing field is an error */
    TPL_LIST,
    TPL_TIME,     /* i: nanoseconds since 1970 */
    TPL_DURATION, /* i: nanoseconds */
};

struct tpl_value {
    enum tpl_kind kind;
    union {
        bool b;
        int64_t i;
        double f;
        struct slice s;
        const struct tpl_map *map;
        const struct tpl_list *list;
    };
};

struct tpl_pair {
    struct slice name;
    struct tpl_value value;
};

struct tpl_map {
    struct tpl_pair *items; /* sorted by name */
    size_t n;
    bool strings; /* map[string]string: a missing key is "" and not "no value" */
};

struct tpl_list {
    struct tpl_value *items;
    size_t n;
};

enum tpl_operand { TPL_DOT, TPL_VARIABLE, TPL_FUNCTION, TPL_LITERAL, TPL_GROUP };

/* An operand and the fields that hang on it: `.Labels.job`, `$x.y`, `(index . 0).Value`. */
struct tpl_arg {
    struct tpl_arg *next;
    enum tpl_operand kind;
    struct slice name; /* VARIABLE with its '$', FUNCTION */
    struct tpl_value literal;
    struct tpl_pipe *group;
    struct slice *fields;
    size_t n_fields;
};

struct tpl_command {
    struct tpl_command *next;
    struct tpl_arg *args;
    size_t n_args;
};

struct tpl_pipe {
    struct slice variables[2];
    unsigned n_variables;
    bool assigns; /* `=`, not `:=` */
    struct tpl_command *commands;
    unsigned line;
};

enum tpl_action {
    TPL_TEXT,
    TPL_PRINT,
    TPL_IF,
    TPL_RANGE,
    TPL_WITH,
    TPL_CALL, /* {{ template "name" pipe }} */
    TPL_BREAK,
    TPL_CONTINUE,
};

struct tpl_node {
    struct tpl_node *next;
    enum tpl_action kind;
    unsigned line;
    struct slice text; /* TEXT, and the name of CALL */
    struct tpl_pipe *pipe;
    struct tpl_node *body, *otherwise;
};

struct tpl_define {
    struct tpl_define *next;
    struct slice name;
    struct tpl_node *body;
};

struct tpl {
    struct op *op;
    const char *name;
    struct buf *why;
    struct tpl_define *defines;
    struct tpl_node *body;
    /* of an expansion */
    const struct template_env *env;
    struct buf *out;
    unsigned depth; /* of templates that call templates */
};

#define TPL_NEST_MAX  100
#define TPL_OUT_MAX   (1u << 20)
#define TPL_STEPS_MAX 1000000

/* template_parse.c: -EINVAL with the reason in t->why. */
int tpl_parse(struct tpl *t, struct slice text);

/* The functions: template_funcs.c and template_builtin.c. args come with the piped value last. */
struct tpl_function {
    const char *name;
    int min, max; /* arguments; max -1: any number */
    int (*call)(struct tpl *t, const struct tpl_value *args, size_t n, struct tpl_value *ret);
};
const struct tpl_function *tpl_function(struct slice name);
extern const struct tpl_function tpl_builtins[], tpl_human[]; /* end with {0} */

/* An error of the expansion, in t->why; returns -EINVAL. */
int tpl_fail(struct tpl *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* template_value.c */
struct tpl_value tpl_string(struct slice s); /* borrows */
struct tpl_value tpl_take(struct tpl *t, struct buf *b); /* a string of the bytes, which go */
struct tpl_value tpl_map_of(struct op *op, const struct labels *labels);
const struct tpl_value *tpl_map_get(const struct tpl_map *map, struct slice name);
bool tpl_true(const struct tpl_value *v);
void tpl_print(struct buf *out, const struct tpl_value *v); /* as %v */
const char *tpl_type(const struct tpl_value *v);            /* Go's name of the type */
/* A number, also from a string; as Prometheus' convertToFloat. */
int tpl_float(struct tpl *t, const struct tpl_value *v, double *ret);
void print_go_g(struct buf *out, double v); /* %v of a float64 */
void print_go_time(struct buf *out, int64_t unix_ns);
void print_go_duration(struct buf *out, int64_t ns);
/* template_printf.c: fmt.Sprintf */
int tpl_sprintf(struct tpl *t, struct slice format, const struct tpl_value *args, size_t n,
                struct buf *out);

#endif
