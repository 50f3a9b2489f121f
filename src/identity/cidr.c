#include "identity/cidr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int parse_address(const char *text, size_t len, struct cidr *ret)
{
    char copy[CIDR_TEXT_MAX];

    if (len >= 2 && text[0] == '[' && text[len - 1] == ']')
        text++, len -= 2;
    if (len == 0 || len >= sizeof copy)
        return -EINVAL;
    memcpy(copy, text, len);
    copy[len] = 0;
    memset(ret->address, 0, sizeof ret->address);
    ret->v4 = inet_pton(AF_INET, copy, ret->address + 12) == 1;
    if (ret->v4) {
        ret->address[10] = ret->address[11] = 0xff;
        return 0;
    }
    return inet_pton(AF_INET6, copy, ret->address) == 1 ? 0 : -EINVAL;
}

int cidr_parse(const char *text, struct cidr *ret)
{
    const char *slash = strchr(text, '/');
    size_t len = slash != NULL ? (size_t)(slash - text) : strlen(text);
    unsigned long most, bits;
    char *end;
    int r = parse_address(text, len, ret);

    if (r < 0)
        return r;
    most = ret->v4 ? 32 : 128;
    bits = most;
    if (slash != NULL) {
        bits = strtoul(slash + 1, &end, 10);
        if (slash[1] < '0' || slash[1] > '9' || *end != 0 || bits > most)
            return -EINVAL;
    }
    ret->bits = (uint8_t)(bits + (128 - most));
    return 0;
}

char *cidr_print(const struct cidr *c, char text[CIDR_TEXT_MAX])
{
    size_t n;

    inet_ntop(c->v4 ? AF_INET : AF_INET6, c->address + (c->v4 ? 12 : 0), text, CIDR_TEXT_MAX);
    n = strlen(text);
    if (c->bits < 128)
        snprintf(text + n, CIDR_TEXT_MAX - n, "/%d", c->bits - (c->v4 ? 96 : 0));
    return text;
}

bool cidr_has(const struct cidr *c, const char *address)
{
    struct cidr peer;
    unsigned whole = c->bits / 8, rest = c->bits % 8;

    if (parse_address(address, strlen(address), &peer) < 0 ||
        memcmp(peer.address, c->address, whole) != 0)
        return false;
    return rest == 0 || ((peer.address[whole] ^ c->address[whole]) >> (8 - rest)) == 0;
}

bool cidrs_have(const char *const *ranges, const char *address)
{
    struct cidr c;

    if (ranges == NULL || ranges[0] == NULL)
        return true;
    for (size_t i = 0; ranges[i] != NULL; i++)
        if (cidr_parse(ranges[i], &c) == 0 && cidr_has(&c, address))
            return true;
    return false;
}
