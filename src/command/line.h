/* line.h: a parsed command line, and the table it was parsed by. Private to src/command/. */
#ifndef COMMAND_LINE_H
#define COMMAND_LINE_H

#include "base/buf.h"
#include "command/command.h"
#include "config.h"

#include <stdio.h>

struct command_option {
    const char *name;     /* long: "config"; NULL ends the list */
    char letter;          /* short, or 0 */
    const char *argument; /* its name in help, or NULL: a flag */
    const char *help;
};

struct command_line;

/* One command. Parsing, help, the manual and the completions come from this. */
struct command {
    const char *name;     /* "serve", "user add" */
    const char *operands; /* "NAME", "[FILE]", or "" */
    const char *summary;  /* one line, lower case */
    const char *details;  /* paragraphs, or NULL */
    const struct command_option *options;
    int least, most;      /* operands */
    int (*run)(const struct command_line *line); /* an exit code of sysexits.h */
};

#define GIVEN_MAX 64

struct command_line {
    const struct command *command;
    char **operands;
    int n_operands;
    struct {
        const struct command_option *option;
        const char *value; /* "" for a flag */
    } given[GIVEN_MAX];
    int n_given;
    serve_fn *serve;
};

extern const struct command command_table[]; /* ends with a NULL name */

/* The last value given of an option, or NULL; the i-th, NULL after the last. */
const char *line_option(const struct command_line *line, const char *name);
const char *line_option_nth(const struct command_line *line, const char *name, int i);

/* Prints "infrafs: …" to standard error and returns code. */
int command_fail(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The configuration as the options say; prints the reason and returns NULL if it is not valid. */
struct config *command_config(const struct command_line *line, int *ret_code);
/* Fills flags from the options; they borrow from the line. `listen` has room for GIVEN_MAX. */
void command_flags(const struct command_line *line, const char **listen,
                   struct config_flags *ret);

/* help.c: all commands, or one; false if there is none of that name. */
void help_all(FILE *out);
bool help_one(FILE *out, const char *name);
void help_command(FILE *out, const struct command *command);
/* manual.c */
void manual_page(FILE *out);       /* roff, for man(1) */
void manual_completion(FILE *out); /* for bash */

int run_serve(const struct command_line *line);
int run_help(const struct command_line *line);
int run_version(const struct command_line *line);
int run_user_add(const struct command_line *line);
int run_user_passwd(const struct command_line *line);
int run_user_remove(const struct command_line *line);
int run_user_list(const struct command_line *line);
int run_config_check(const struct command_line *line);
int run_config_dump(const struct command_line *line);
int run_doctor(const struct command_line *line);
int run_query(const struct command_line *line);
int run_status(const struct command_line *line);
int run_get(const struct command_line *line);
int run_set(const struct command_line *line);
int run_unseal(const struct command_line *line);
int run_find(const struct command_line *line);
int run_edit(const struct command_line *line);
int run_token_create(const struct command_line *line);
int run_token_lookup(const struct command_line *line);
int run_token_revoke(const struct command_line *line);
int run_token_list(const struct command_line *line);
int run_policy_list(const struct command_line *line);
int run_policy_read(const struct command_line *line);
int run_policy_write(const struct command_line *line);
int run_policy_delete(const struct command_line *line);
int run_import_vault(const struct command_line *line);
int run_export_vault(const struct command_line *line);
int run_import_htpasswd(const struct command_line *line);
int run_backup(const struct command_line *line);
int run_restore(const struct command_line *line);
int run_gc(const struct command_line *line);
int run_yank(const struct command_line *line);
int run_unyank(const struct command_line *line);
int run_import_prometheus(const struct command_line *line);
int run_export_prometheus(const struct command_line *line);
int run_import_pypi(const struct command_line *line);
int run_export_registry(const struct command_line *line);
int run_export_pypi(const struct command_line *line);
int run_project_status(const struct command_line *line);
int run_import_registry(const struct command_line *line);
int run_scrub(const struct command_line *line);

#endif
