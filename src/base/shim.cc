extern "C" {
#include "base/buf.h"
}
#include "base/shim.h"

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include <re2/re2.h>

struct regex {
    explicit regex(const re2::StringPiece &p, const RE2::Options &o) : re(p, o)
    {
    }
    RE2 re;
};

/* Go takes (?<name>…) too, which RE2 knows as (?P<name>…). */
static std::string with_named_groups(struct slice pattern)
{
    const char *p = static_cast<const char *>(pattern.data);
    std::string out;
    bool in_class = false;

    for (size_t i = 0; i < pattern.len; i++) {
        out.push_back(p[i]);
        if (p[i] == '\\' && i + 1 < pattern.len) {
            out.push_back(p[++i]);
            if (p[i] != 'Q') /* \Q…\E: as it is */
                continue;
            while (++i < pattern.len && !(p[i] == '\\' && i + 1 < pattern.len && p[i + 1] == 'E'))
                out.push_back(p[i]);
            if (i < pattern.len)
                out.push_back(p[i]);
        } else if (in_class) {
            in_class = p[i] != ']';
        } else if (p[i] == '[') {
            in_class = true;
            if (i + 1 < pattern.len && p[i + 1] == '^')
                out.push_back(p[++i]);
            if (i + 1 < pattern.len && p[i + 1] == ']') /* the first is no end */
                out.push_back(p[++i]);
        } else if (p[i] == '(' && pattern.len - i > 3 && p[i + 1] == '?' && p[i + 2] == '<' &&
                   p[i + 3] != '=' && p[i + 3] != '!') {
            out += "?P<";
            i += 2;
        }
    }
    return out;
}

int regex_new(struct slice pattern, struct regex **ret, struct buf *why)
{
    std::string text = with_named_groups(pattern);
    RE2::Options options;
    options.set_log_errors(false);
    options.set_dot_nl(true);
    options.set_max_mem(8 << 20);
    auto *r = new (std::nothrow)
        regex(re2::StringPiece(text), options);

    if (r == nullptr)
        return -ENOMEM;
    if (!r->re.ok()) {
        if (why != nullptr)
            buf_add(why, r->re.error().data(), r->re.error().size());
        delete r;
        return -EINVAL;
    }
    *ret = r;
    return 0;
}

void regex_free(struct regex *r)
{
    delete r;
}

bool regex_match(const struct regex *r, struct slice text)
{
    return RE2::FullMatch(re2::StringPiece(static_cast<const char *>(text.data), text.len), r->re);
}

static bool is_word(char c)
{
    return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* The name after a '$', as Go's regexp.Expand reads it; its length in the template, 0 if none. */
static size_t group_name(const char *p, size_t n, std::string *name)
{
    size_t i = 0;

    if (n > 0 && p[0] == '{') {
        for (i = 1; i < n && p[i] != '}'; i++)
            if (!is_word(p[i]))
                return 0;
        if (i == n || i == 1)
            return 0;
        name->assign(p + 1, i - 1);
        return i + 1;
    }
    while (i < n && is_word(p[i]))
        i++;
    name->assign(p, i);
    return i;
}

static int group_index(const RE2 &re, const std::string &name)
{
    if (name.find_first_not_of("0123456789") == std::string::npos)
        return name.size() > 6 ? -1 : std::stoi(name);
    auto found = re.NamedCapturingGroups().find(name);
    return found == re.NamedCapturingGroups().end() ? -1 : found->second;
}

/* Appends the replacement with what its groups found. */
static void expand_groups(const RE2 &re, const std::vector<re2::StringPiece> &found,
                          struct slice replacement, struct buf *out)
{
    const char *p = static_cast<const char *>(replacement.data);

    for (size_t i = 0; i < replacement.len; i++) {
        std::string name;

        if (p[i] != '$' || i + 1 == replacement.len) {
            buf_add_char(out, p[i]);
            continue;
        }
        if (p[i + 1] == '$') {
            buf_add_char(out, '$');
            i++;
            continue;
        }
        size_t used = group_name(p + i + 1, replacement.len - i - 1, &name);
        if (used == 0) {
            buf_add_char(out, '$');
            continue;
        }
        int index = group_index(re, name);
        if (index >= 0 && static_cast<size_t>(index) < found.size())
            buf_add(out, found[static_cast<size_t>(index)].data(),
                    found[static_cast<size_t>(index)].size());
        i += used;
    }
}

static re2::StringPiece piece_of(struct slice s)
{
    return re2::StringPiece(static_cast<const char *>(s.data), s.len);
}

bool regex_replace(const struct regex *r, struct slice text, struct slice replacement,
                   struct buf *out)
{
    int groups = r->re.NumberOfCapturingGroups() + 1;
    std::vector<re2::StringPiece> found(static_cast<size_t>(groups));
    re2::StringPiece input = piece_of(text);

    if (!r->re.Match(input, 0, input.size(), RE2::ANCHOR_BOTH, found.data(), groups))
        return false;
    expand_groups(r->re, found, replacement, out);
    return true;
}

static bool is_good(const RE2 &re, struct buf *why)
{
    if (!re.ok() && why != nullptr)
        buf_add(why, re.error().data(), re.error().size());
    return re.ok();
}

static RE2::Options plain_options()
{
    RE2::Options options;
    options.set_log_errors(false);
    options.set_max_mem(8 << 20);
    return options;
}

int regex_search(struct slice pattern, struct slice text, struct buf *why)
{
    RE2 re(piece_of(pattern), plain_options());

    return is_good(re, why) ? RE2::PartialMatch(piece_of(text), re) : -EINVAL;
}

int regex_replace_all(struct slice pattern, struct slice text, struct slice replacement,
                      struct buf *out, struct buf *why)
{
    RE2 re(piece_of(pattern), plain_options());
    re2::StringPiece input = piece_of(text);
    size_t at = 0, done = 0;

    if (!is_good(re, why))
        return -EINVAL;
    std::vector<re2::StringPiece> found(static_cast<size_t>(re.NumberOfCapturingGroups()) + 1);
    while (at <= input.size() && re.Match(input, at, input.size(), RE2::UNANCHORED, found.data(),
                                          static_cast<int>(found.size()))) {
        size_t start = static_cast<size_t>(found[0].data() - input.data());

        /* Go: an empty match right behind the one before counts for nothing */
        if (!(found[0].empty() && start == done && done > 0)) {
            buf_add(out, input.data() + done, start - done);
            expand_groups(re, found, replacement, out);
            done = start + found[0].size();
        }
        at = found[0].empty() ? start + 1 : done;
    }
    buf_add(out, input.data() + done, input.size() - done);
    return 0;
}

/* "1.5e+20" as "150000000000000000000": to_chars in fixed form prints all digits of the binary value,
 * where Go prints the shortest ones and zeros. */
static size_t expand(char *text, size_t n)
{
    char *e = static_cast<char *>(memchr(text, 'e', n));
    size_t at = text[0] == '-' ? 1 : 0;
    size_t exponent = std::strtoul(e + 1, nullptr, 10);
    size_t digits = 1;

    if (text[at + 1] == '.') {
        digits = static_cast<size_t>(e - text) - at - 1;
        memmove(text + at + 1, text + at + 2, digits - 1);
    }
    memset(text + at + digits, '0', exponent + 1 - digits);
    text[at + exponent + 1] = 0;
    return at + exponent + 1;
}

size_t double_print(double v, char text[DOUBLE_TEXT_MAX])
{
    double magnitude = std::fabs(v);
    std::to_chars_result r{};

    if (std::isnan(v)) {
        memcpy(text, "NaN", 4);
        return 3;
    }
    if (std::isinf(v)) {
        memcpy(text, v > 0 ? "+Inf" : "-Inf", 5);
        return 4;
    }
    /* Prometheus, util/jsonutil/marshal.go */
    bool exponent = magnitude != 0 && (magnitude < 1e-6 || magnitude >= 1e21);
    bool large = magnitude >= 9007199254740992.0 && !exponent; /* 2^53: no fractions from here on */
    r = std::to_chars(text, text + DOUBLE_TEXT_MAX - 1, v,
                      exponent || large ? std::chars_format::scientific
                                        : std::chars_format::fixed);
    *r.ptr = 0;
    size_t n = static_cast<size_t>(r.ptr - text);
    return large ? expand(text, n) : n;
}

int double_parse(struct slice s, double *ret)
{
    const char *p = static_cast<const char *>(s.data);
    const char *end = p + s.len;
    double v = 0;

    if (p < end && *p == '+') {
        p++;
        if (p < end && (*p == '-' || *p == '+'))
            return -EINVAL;
    }
    auto r = std::from_chars(p, end, v, std::chars_format::general);
    if (r.ec == std::errc::result_out_of_range && r.ptr == end) {
        std::string copy(p, end);
        v = std::strtod(copy.c_str(), nullptr);
        if (std::isinf(v))
            return -ERANGE;
        *ret = v;
        return 0;
    }
    if (r.ec != std::errc() || r.ptr != end)
        return -EINVAL;
    *ret = v;
    return 0;
}
