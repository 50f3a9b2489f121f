/* help.c: help, made from the table. */
#include "command/line.h"

#include <string.h>

#define WIDTH 80

/* Words of text, broken at WIDTH; a newline in the text begins a new line. */
static void print_wrapped(FILE *out, const char *text, int indent, int at)
{
    while (*text != 0) {
        int len = (int)strcspn(text, " \n");

        if (at > indent && at + 1 + len > WIDTH) {
            fprintf(out, "\n%*s", indent, "");
            at = indent;
        } else if (at > indent) {
            fputc(' ', out);
            at++;
        }
        fprintf(out, "%.*s", len, text);
        at += len;
        text += len;
        while (*text == ' ')
            text++;
        while (*text == '\n') {
            fprintf(out, "\n%*s", text[1] == '\n' ? 0 : indent, "");
            at = indent;
            text++;
        }
    }
    fputc('\n', out);
}

void help_command(FILE *out, const struct command *command)
{
    const struct command_option *o = command->options;

    fprintf(out, "usage: infrafs %s%s%s%s\n\n", command->name,
            o->name != NULL ? " [OPTION]..." : "", command->operands[0] != 0 ? " " : "",
            command->operands);
    fputs("  ", out);
    print_wrapped(out, command->summary, 2, 2);
    if (command->details != NULL) {
        fputs("\n  ", out);
        print_wrapped(out, command->details, 2, 2);
    }
    if (o->name != NULL)
        fputs("\noptions:\n", out);
    for (; o->name != NULL; o++) {
        char text[64];
        int at;

        snprintf(text, sizeof text, "--%s%s%s", o->name, o->argument != NULL ? " " : "",
                 o->argument != NULL ? o->argument : "");
        if (o->letter != 0)
            at = fprintf(out, "  -%c, %-22s ", o->letter, text);
        else
            at = fprintf(out, "      %-22s ", text);
        if (at > 29) {
            fprintf(out, "\n%*s", 29, "");
            at = 29;
        }
        print_wrapped(out, o->help, 29, at);
    }
}

void help_all(FILE *out)
{
    fputs("usage: infrafs COMMAND [OPTION]... [OPERAND]...\n\n"
          "One daemon for packages, images, secrets and metrics, mounted as one tree.\n\n"
          "commands:\n",
          out);
    for (const struct command *c = command_table; c->name != NULL; c++) {
        char text[64];

        snprintf(text, sizeof text, "%s %s", c->name, c->operands);
        fprintf(out, "  %-22s %s\n", text, c->summary);
    }
    fputs("\n'infrafs help COMMAND' explains one.\n", out);
}

bool help_one(FILE *out, const char *name)
{
    bool found = false;
    size_t n = strlen(name);

    for (const struct command *c = command_table; c->name != NULL; c++) {
        if (strcmp(c->name, name) != 0 && (strncmp(c->name, name, n) != 0 || c->name[n] != ' '))
            continue;
        if (found)
            fputc('\n', out);
        help_command(out, c);
        found = true;
    }
    return found;
}
