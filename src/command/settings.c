/* settings.c: the configuration, checked and shown. */
#include "base/scope.h"
#include "command/line.h"

#include <stdio.h>
#include <sysexits.h>

DEFINE_SCOPE(config, struct config, config_free)

int run_config_check(const struct command_line *line)
{
    struct command_line with_file = *line;
    static const struct command_option config = {"config", 0, "FILE", ""};
    scope_cleanup(scope_config) struct config *c = NULL;
    int code = EX_CONFIG;

    if (line->n_operands > 0 && with_file.n_given < GIVEN_MAX) {
        with_file.given[with_file.n_given].option = &config;
        with_file.given[with_file.n_given++].value = line->operands[0];
    }
    c = command_config(&with_file, &code);
    if (c == NULL)
        return code;
    printf("%s: valid\n", c->file != NULL ? c->file : "defaults");
    return EX_OK;
}

int run_config_dump(const struct command_line *line)
{
    scope_cleanup(scope_config) struct config *c = NULL;
    autobuf text = {0};
    int code = EX_CONFIG;

    c = command_config(line, &code);
    if (c == NULL)
        return code;
    config_dump(c, &text);
    fputs(text.data, stdout);
    return EX_OK;
}
