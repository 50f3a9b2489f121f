#include "base/negotiate.h"

#include <strings.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct slice trim(struct slice s)
{
    const char *p = s.data;

    while (s.len > 0 && is_blank(p[s.len - 1]))
        s.len--;
    while (s.len > 0 && is_blank(*(const char *)s.data))
        s = slice_skip(s, 1);
    return s;
}

/* Cuts off what stands before the next `separator` outside of quotes. False at the end. */
static bool next_piece(struct slice *rest, char separator, struct slice *ret)
{
    const char *p = rest->data;
    bool quoted = false;
    size_t i = 0;

    if (rest->data == NULL)
        return false;
    for (; i < rest->len && (quoted || p[i] != separator); i++)
        if (p[i] == '\\' && quoted && i + 1 < rest->len)
            i++;
        else if (p[i] == '"')
            quoted = !quoted;
    *ret = trim(slice_of(p, i));
    *rest = i < rest->len ? slice_skip(*rest, i + 1) : slice_of(NULL, 0);
    return true;
}

static bool eq_nocase(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || strncasecmp(a.data, b.data, a.len) == 0);
}

/* A qvalue in thousandths; what cannot be read counts as 0: never pick it. */
static unsigned parse_quality(struct slice s)
{
    const char *p = s.data;
    unsigned q, unit = 100;

    if (s.len == 0 || s.len > 5 || (p[0] != '0' && p[0] != '1') || (s.len > 1 && p[1] != '.'))
        return 0;
    q = p[0] == '1' ? 1000 : 0;
    for (size_t i = 2; i < s.len; i++, unit /= 10) {
        if (p[i] < '0' || p[i] > '9')
            return 0;
        q += (unsigned)(p[i] - '0') * unit;
    }
    return q > 1000 ? 0 : q;
}

static bool is_quality(struct slice parameter, unsigned *ret)
{
    const char *p = parameter.data;

    if (parameter.len < 2 || (p[0] != 'q' && p[0] != 'Q') || p[1] != '=')
        return false;
    *ret = parse_quality(slice_skip(parameter, 2));
    return true;
}

static bool has_parameter(struct slice offer_parameters, struct slice wanted)
{
    struct slice piece;

    while (next_piece(&offer_parameters, ';', &piece))
        if (eq_nocase(piece, wanted))
            return true;
    return false;
}

/* How closely a range names an offer: 0 not at all, 1 by "*" "/" "*", 2 by type, 3 exactly, and one
 * more for each parameter. Sets the quality. */
static unsigned fit(struct slice range, struct slice offer, unsigned *ret_quality)
{
    struct slice type, offer_type, parameter;
    unsigned closeness;

    *ret_quality = 1000;
    if (!next_piece(&range, ';', &type) || !next_piece(&offer, ';', &offer_type))
        return 0;
    if (eq_nocase(type, SLICE("*/*")))
        closeness = 1;
    else if (type.len > 2 && type.len <= offer_type.len &&
             memcmp((const char *)type.data + type.len - 2, "/*", 2) == 0 &&
             strncasecmp(type.data, offer_type.data, type.len - 1) == 0)
        closeness = 2;
    else if (eq_nocase(type, offer_type))
        closeness = 3;
    else
        return 0;
    while (next_piece(&range, ';', &parameter)) {
        if (parameter.len == 0)
            continue;
        if (is_quality(parameter, ret_quality))
            return closeness;
        if (!has_parameter(offer, parameter))
            return 0;
        closeness++;
    }
    return closeness;
}

/* The quality of an offer is that of the range which names it most closely. */
static unsigned quality_of(struct slice accept, struct slice offer, bool *ret_any)
{
    unsigned best = 0, quality = 0;
    struct slice range;

    while (next_piece(&accept, ',', &range)) {
        unsigned q, closeness;

        if (range.len == 0)
            continue;
        *ret_any = true;
        closeness = fit(range, offer, &q);
        if (closeness > best) {
            best = closeness;
            quality = q;
        }
    }
    return quality;
}

const char *negotiate_type(struct slice accept, const char *const *offers)
{
    const char *best = NULL;
    unsigned best_quality = 0;
    bool any = false;

    for (; *offers != NULL; offers++) {
        unsigned q = quality_of(accept, slice_str(*offers), &any);

        if (!any)
            return *offers;
        if (q > best_quality) {
            best = *offers;
            best_quality = q;
        }
    }
    return best;
}

bool negotiate_coding(struct slice accept_encoding, struct slice coding)
{
    struct slice element, name, parameter;
    unsigned any = 0, q;

    while (next_piece(&accept_encoding, ',', &element)) {
        if (!next_piece(&element, ';', &name) || name.len == 0)
            continue;
        q = 1000;
        if (next_piece(&element, ';', &parameter))
            is_quality(parameter, &q);
        if (eq_nocase(name, coding))
            return q > 0;
        if (eq_nocase(name, SLICE("*")))
            any = q;
    }
    return any > 0;
}
