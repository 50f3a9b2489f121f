#include "base/glob.h"

bool glob_match(struct slice pattern, struct slice text)
{
    const char *p = pattern.data;
    const char *t = text.data;
    size_t pi = 0, ti = 0;
    size_t star = SIZE_MAX, resume = 0;

    while (ti < text.len) {
        if (pi < pattern.len && p[pi] == '*') {
            star = pi++;
            resume = ti;
        } else if (pi < pattern.len && p[pi] == t[ti]) {
            pi++;
            ti++;
        } else if (star != SIZE_MAX) {
            pi = star + 1;
            ti = ++resume;
        } else {
            return false;
        }
    }
    while (pi < pattern.len && p[pi] == '*')
        pi++;
    return pi == pattern.len;
}
