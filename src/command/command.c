#include "command/command.h"

#include "base/alloc.h"
#include "base/log.h"
#include "base/scope.h"
#include "base/yaml.h"
#include "command/line.h"

#include <errno.h>
#include <getopt.h>
#include <string.h>
#include <sysexits.h>

#define OPTIONS_MAX 16
#define OPTION_HELP 1000
#define COMMANDS_MAX 128

int command_fail(int code, const char *format, ...)
{
    va_list args;

    fputs("infrafs: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return code;
}

const char *line_option_nth(const struct command_line *line, const char *name, int i)
{
    for (int k = 0; k < line->n_given; k++)
        if (strcmp(line->given[k].option->name, name) == 0 && i-- == 0)
            return line->given[k].value;
    return NULL;
}

const char *line_option(const struct command_line *line, const char *name)
{
    const char *last = NULL, *value;

    for (int i = 0; (value = line_option_nth(line, name, i)) != NULL; i++)
        last = value;
    return last;
}

void command_flags(const struct command_line *line, const char **listen, struct config_flags *ret)
{
    size_t n = 0;

    while ((listen[n] = line_option_nth(line, "listen", (int)n)) != NULL)
        n++;
    *ret = (struct config_flags){
        .config = line_option(line, "config"),
        .data = line_option(line, "data"),
        .mount = line_option(line, "mount"),
        .htpasswd = line_option(line, "htpasswd"),
        .prometheus = line_option(line, "prometheus"),
        .no_mount = line_option(line, "no-mount") != NULL,
        .listen = listen,
        .n_listen = n,
    };
}

struct config *command_config(const struct command_line *line, int *ret_code)
{
    const char *listen[GIVEN_MAX + 1];
    struct config_flags flags;
    struct config *config = NULL;
    autobuf why = {0};
    int r;

    command_flags(line, listen, &flags);
    r = config_load(&flags, &config, &why);
    if (r == 0)
        return config;
    *ret_code = command_fail(r == -ENOENT   ? EX_NOINPUT
                             : r == -EACCES ? EX_NOPERM
                                            : EX_CONFIG,
                             "%s", why.len > 0 ? why.data : strerror(-r));
    return NULL;
}

int run_serve(const struct command_line *line)
{
    const char *listen[GIVEN_MAX + 1];
    struct config_flags flags;

    if (line_option(line, "verbose") != NULL)
        log_set_level(LOG_DEBUG);
    command_flags(line, listen, &flags);
    return line->serve(&flags);
}

int run_version(const struct command_line *line)
{
    (void)line;
    puts("infrafs " INFRAFS_VERSION);
    return EX_OK;
}

int run_help(const struct command_line *line)
{
    char name[64];

    if (line_option(line, "man") != NULL) {
        manual_page(stdout);
        return EX_OK;
    }
    if (line_option(line, "completion") != NULL) {
        manual_completion(stdout);
        return EX_OK;
    }
    if (line->n_operands == 0) {
        help_all(stdout);
        return EX_OK;
    }
    snprintf(name, sizeof name, "%s%s%s", line->operands[0], line->n_operands > 1 ? " " : "",
             line->n_operands > 1 ? line->operands[1] : "");
    if (help_one(stdout, name))
        return EX_OK;
    return command_fail(EX_USAGE, "no command '%s'; 'infrafs help' lists them", name);
}

/* The command of argv[1], or of argv[1] and argv[2]; *ret_words how many that took. */
static const struct command *find_command(int argc, char **argv, int *ret_words)
{
    for (const struct command *c = command_table; c->name != NULL; c++) {
        size_t n = strlen(argv[1]);

        *ret_words = 1;
        if (strcmp(c->name, argv[1]) == 0)
            return c;
        *ret_words = 2;
        if (argc > 2 && strncmp(c->name, argv[1], n) == 0 && c->name[n] == ' ' &&
            strcmp(c->name + n + 1, argv[2]) == 0)
            return c;
    }
    return NULL;
}

/* The word that is wrong is the first, or, behind "user" and "config", the second. */
static int fail_unknown(int argc, char **argv)
{
    const char *firsts[COMMANDS_MAX] = {0}, *seconds[COMMANDS_MAX] = {0}, *near;
    size_t n = 0, m = 0, len = strlen(argv[1]);
    char first[COMMANDS_MAX][16];

    for (const struct command *c = command_table; c->name != NULL && n + 1 < COMMANDS_MAX; c++) {
        snprintf(first[n], sizeof *first, "%.*s", (int)strcspn(c->name, " "), c->name);
        firsts[n] = first[n];
        n++;
        if (strncmp(c->name, argv[1], len) == 0 && c->name[len] == ' ')
            seconds[m++] = c->name + len + 1;
    }
    if (m > 0 && argc < 3) {
        fprintf(stderr, "infrafs: '%s' needs a word more:", argv[1]);
        for (size_t i = 0; i < m; i++)
            fprintf(stderr, "%s %s", i > 0 ? "," : "", seconds[i]);
        fputc('\n', stderr);
        return EX_USAGE;
    }
    near = nearest_name(m > 0 ? argv[2] : argv[1], m > 0 ? seconds : firsts);
    if (near == NULL)
        return command_fail(EX_USAGE, "no command '%s%s%s'; 'infrafs help' lists them", argv[1],
                            m > 0 ? " " : "", m > 0 ? argv[2] : "");
    return command_fail(EX_USAGE, "no command '%s%s%s'; did you mean '%s%s%s'?", argv[1],
                        m > 0 ? " " : "", m > 0 ? argv[2] : "", m > 0 ? argv[1] : "",
                        m > 0 ? " " : "", near);
}

static void getopt_tables(const struct command *command, struct option *longs, char *shorts)
{
    size_t n = 0;

    *shorts++ = ':'; /* we say what is wrong */
    for (const struct command_option *o = command->options; o->name != NULL; o++, n++) {
        longs[n] = (struct option){o->name, o->argument != NULL ? required_argument : no_argument,
                                   NULL, (int)n + 1};
        if (o->letter == 0)
            continue;
        *shorts++ = o->letter;
        if (o->argument != NULL)
            *shorts++ = ':';
    }
    longs[n] = (struct option){"help", no_argument, NULL, OPTION_HELP};
    longs[n + 1] = (struct option){0};
    *shorts++ = 'h';
    *shorts = 0;
}

static const struct command_option *option_of(const struct command *command, int value)
{
    const struct command_option *o = command->options;

    if (value < OPTIONS_MAX)
        return o + value - 1;
    while (o->name != NULL && o->letter != value)
        o++;
    return o;
}

static int fail_option(const struct command *command, int code, const char *word)
{
    const char *names[OPTIONS_MAX + 1] = {0}, *near = NULL;
    size_t n = 0;

    if (code == ':')
        return command_fail(EX_USAGE, "option '%s' needs a value", word);
    for (const struct command_option *o = command->options; o->name != NULL; o++)
        names[n++] = o->name;
    if (strncmp(word, "--", 2) == 0)
        near = nearest_name(word + 2, names);
    if (near != NULL)
        return command_fail(EX_USAGE, "unknown option '%s'; did you mean '--%s'?", word, near);
    return command_fail(EX_USAGE, "unknown option '%s'; see 'infrafs help %s'", word,
                        command->name);
}

/* Fills the line from the words behind the command's name. A code, or -1: run it. */
static int parse_options(struct command_line *line, int argc, char **argv)
{
    struct option longs[OPTIONS_MAX + 2];
    char shorts[2 * OPTIONS_MAX + 3];
    int code;

    getopt_tables(line->command, longs, shorts);
    opterr = 0;
    optind = 0;
    while ((code = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        if (code == OPTION_HELP || code == 'h') {
            help_command(stdout, line->command);
            return EX_OK;
        }
        if (code == '?' || code == ':')
            return fail_option(line->command, code, argv[optind - 1]);
        if (line->n_given == GIVEN_MAX)
            return command_fail(EX_USAGE, "too many options");
        line->given[line->n_given].option = option_of(line->command, code);
        line->given[line->n_given++].value = optarg != NULL ? optarg : "";
    }
    line->operands = argv + optind;
    line->n_operands = argc - optind;
    if (line->n_operands < line->command->least)
        return command_fail(EX_USAGE, "usage: infrafs %s %s", line->command->name,
                            line->command->operands);
    if (line->n_operands > line->command->most)
        return command_fail(EX_USAGE, "'%s' is one operand too many; usage: infrafs %s %s",
                            line->operands[line->command->most], line->command->name,
                            line->command->operands);
    return -1;
}

int command_main(int argc, char **argv, serve_fn *serve)
{
    struct command_line line = {.serve = serve};
    int words = 0, code;

    if (argc < 2) {
        help_all(stderr);
        return EX_USAGE;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
        return run_version(&line);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        help_all(stdout);
        return EX_OK;
    }
    line.command = find_command(argc, argv, &words);
    if (line.command == NULL) {
        if (argc > 2 && strcmp(argv[2], "--help") == 0 && help_one(stdout, argv[1]))
            return EX_OK;
        return fail_unknown(argc, argv);
    }
    code = parse_options(&line, argc - words, argv + words);
    if (code < 0)
        code = line.command->run(&line);
    if (fflush(stdout) != 0 || ferror(stdout) != 0)
        return command_fail(EX_IOERR, "standard output: %s", strerror(errno));
    return code;
}
