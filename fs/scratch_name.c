/* Which names tools use for private files: see the table for who does. */
#include "fs/scratch.h"

#include <ctype.h>

/* A pattern: `*` any text, also none; `X` one of A-Z a-z 0-9; `x` the same and `_`; else itself. */
struct pattern {
    const char *text;
    bool exclusive; /* only if it is created with O_EXCL: others may well mean a file of that name */
};

static const struct pattern patterns[] = {
    {".*.XXXXXX", true},       /* rsync: .name.XXXXXX, and many that call mkstemp(3) */
    {"sedXXXXXX", true},       /* GNU sed -i */
    {"tmpxxxxxxxx", true},     /* Python's tempfile, before os.replace */
    {".ansible_tmp*", true},   /* Ansible's copy */
    {".*.sw?", false},         /* vim: swap files, and its probe .f.swx */
    {".*.swpx", false},
    {"*~", false},             /* backups of vim, emacs and nano */
    {"#*#", false},            /* emacs auto-save */
    {".#*", false},            /* emacs lock, when it is not a symbolic link */
    {".nfsXXXXXXXXXXXX*", false}, /* an NFS server's removed but open files */
};

static const struct pattern link_patterns[] = {
    {"CuXXXXXX", true},   /* coreutils ln -sf, cp -sf */
    {"CuXXXXXXXX", true},
    {".#*", true},        /* emacs lock */
};

static bool match(const char *pattern, const char *name)
{
    for (; *pattern != 0; pattern++, name++) {
        unsigned char c = (unsigned char)*name;

        if (*pattern == '*') {
            for (;; name++) {
                if (match(pattern + 1, name))
                    return true;
                if (*name == 0)
                    return false;
            }
        }
        if (c == 0 || (*pattern == 'X' && !isalnum(c)) ||
            (*pattern == 'x' && !isalnum(c) && c != '_') ||
            (strchr("Xx?", *pattern) == NULL && c != (unsigned char)*pattern))
            return false;
    }
    return *name == 0;
}

/* vim tries 4913, 5036, 5159, … until one is free, to see what a new file's owner would be. */
bool scratch_probe_name(const char *name)
{
    long n = 0;

    if (strlen(name) > 5)
        return false;
    for (const char *p = name; *p != 0; p++) {
        if (!isdigit((unsigned char)*p))
            return false;
        n = n * 10 + (*p - '0');
    }
    return n >= 4913 && (n - 4913) % 123 == 0;
}

bool scratch_name(const char *name, bool exclusive)
{
    if (exclusive && scratch_probe_name(name))
        return true;
    for (size_t i = 0; i < array_size(patterns); i++)
        if ((exclusive || !patterns[i].exclusive) && match(patterns[i].text, name))
            return true;
    return false;
}

bool scratch_link_name(const char *name)
{
    for (size_t i = 0; i < array_size(link_patterns); i++)
        if (match(link_patterns[i].text, name))
            return true;
    return false;
}
