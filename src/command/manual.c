/* manual.c: the manual page (man(7)) and the completion of bash, made from the table. */
#include "command/line.h"

#include <string.h>

/* Text for roff: a backslash, a minus and a dot at the start of a line have a meaning there. */
static void print_roff(FILE *out, const char *text)
{
    bool start = true;

    for (; *text != 0; text++) {
        if (text[0] == '\n' && text[1] == '\n') {
            fputs("\n.PP\n", out);
            start = true;
            text++;
            continue;
        }
        if (start && (*text == '.' || *text == '\''))
            fputs("\\&", out);
        if (*text == '\\')
            fputs("\\e", out);
        else if (*text == '-')
            fputs("\\-", out);
        else
            fputc(*text, out);
        start = *text == '\n';
    }
}

static void print_command(FILE *out, const struct command *c)
{
    fprintf(out, ".SS infrafs %s %s\n", c->name, c->operands);
    print_roff(out, c->summary);
    fputs(".\n", out);
    if (c->details != NULL) {
        fputs(".PP\n", out);
        print_roff(out, c->details);
        fputc('\n', out);
    }
    for (const struct command_option *o = c->options; o->name != NULL; o++) {
        fputs(".TP\n.BR ", out);
        if (o->letter != 0)
            fprintf(out, "\\-%c \", \" ", o->letter);
        fputs("\\-\\-", out);
        print_roff(out, o->name);
        if (o->argument != NULL)
            fprintf(out, " \" \\fI%s\\fR\"", o->argument);
        fputc('\n', out);
        print_roff(out, o->help);
        fputc('\n', out);
    }
}

void manual_page(FILE *out)
{
    static const char environment[] =
        "INFRAFS_K_L is the key K.L of the configuration, such as INFRAFS_METRICS_RETENTION. "
        "INFRAFS_CONFIG names the configuration. INFRAFS_ADDR or VAULT_ADDR, and INFRAFS_TOKEN, "
        "VAULT_TOKEN or BAO_TOKEN, are for the commands that ask a running daemon.";
    static const char status[] = "0, or a number of sysexits.h: 64 wrong usage, 65 wrong data, "
                                 "66 not there, 67 no such user, 69 the daemon does not answer, "
                                 "71 and 74 the system failed, 77 not allowed, 78 configuration.";

    fputs(".TH INFRAFS 8 \"\" \"infrafs " INFRAFS_VERSION "\"\n.SH NAME\n"
          "infrafs \\- packages, images, secrets and metrics in one mounted tree\n"
          ".SH SYNOPSIS\n.B infrafs\n.I COMMAND\n[OPTION]... [OPERAND]...\n.SH COMMANDS\n",
          out);
    for (const struct command *c = command_table; c->name != NULL; c++)
        print_command(out, c);
    fputs(".SH ENVIRONMENT\n", out);
    print_roff(out, environment);
    fputs("\n.SH FILES\n.TP\n/etc/infrafs/infrafs.yml\nthe configuration\n"
          ".TP\n/var/lib/infrafs\nthe data: store, htpasswd, root\\-token, audit.log\n"
          ".TP\n/mnt/infra\nthe tree\n.SH EXIT STATUS\n",
          out);
    print_roff(out, status);
    fputc('\n', out);
}

/* The words of the table that begin so, each once. */
static void print_words(FILE *out, const char *first)
{
    size_t n = strlen(first);
    const char *last = "";

    for (const struct command *c = command_table; c->name != NULL; c++) {
        const char *word = c->name;
        int len;

        if (n > 0 && (strncmp(word, first, n) != 0 || word[n] != ' '))
            continue;
        word += n > 0 ? n + 1 : 0;
        len = (int)strcspn(word, " ");
        if (strncmp(word, last, (size_t)len) == 0 && last[len] == ' ')
            continue; /* "user add", "user list": one word */
        fprintf(out, " %.*s", len, word);
        last = word;
    }
}

void manual_completion(FILE *out)
{
    fputs("# bash completion for infrafs\n_infrafs() {\n"
          "    local word=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]}\n"
          "    case \"$command ${COMP_WORDS[2]}\" in\n",
          out);
    for (const struct command *c = command_table; c->name != NULL; c++) {
        if (c->options->name == NULL)
            continue;
        fprintf(out, "    '%s'%s) local options='", c->name,
                strchr(c->name, ' ') == NULL ? "' '*" : "");
        for (const struct command_option *o = c->options; o->name != NULL; o++)
            fprintf(out, "%s--%s", o != c->options ? " " : "", o->name);
        fputs("' ;;\n", out);
    }
    fputs("    esac\n"
          "    if [ \"$COMP_CWORD\" = 1 ]; then\n        COMPREPLY=($(compgen -W '",
          out);
    print_words(out, "");
    fputs("' -- \"$word\"))\n"
          "    elif [ \"${word#-}\" != \"$word\" ]; then\n"
          "        COMPREPLY=($(compgen -W \"$options\" -- \"$word\"))\n"
          "    elif [ \"$COMP_CWORD\" = 2 ] && [ \"$command\" = user ]; then\n"
          "        COMPREPLY=($(compgen -W '",
          out);
    print_words(out, "user");
    fputs("' -- \"$word\"))\n"
          "    elif [ \"$COMP_CWORD\" = 2 ] && [ \"$command\" = config ]; then\n"
          "        COMPREPLY=($(compgen -W '",
          out);
    print_words(out, "config");
    fputs("' -- \"$word\"))\n"
          "    else\n        COMPREPLY=($(compgen -f -- \"$word\"))\n    fi\n}\n"
          "complete -F _infrafs infrafs\n",
          out);
}
