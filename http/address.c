#include "http/address.h"

#include "base/alloc.h"
#include "base/codec.h"
#include "base/scope.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>

static int resolve(const char *host, const char *port, struct sockaddr_storage *ret,
                   socklen_t *ret_len)
{
    struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found;

    if (getaddrinfo(host, port, &hints, &found) != 0)
        return -EINVAL;
    memcpy(ret, found->ai_addr, found->ai_addrlen);
    *ret_len = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

int address_parse(const char *text, struct sockaddr_storage *ret, socklen_t *ret_len,
                  struct buf *why)
{
    const char *colon = strrchr(text, ':'), *end = colon;
    autofree char *host = NULL;
    uint64_t port;

    if (colon == NULL || parse_u64(slice_str(colon + 1), 65535, &port) < 0) {
        buf_printf(why, "'%s' has no port; write 127.0.0.1:8080 or [::1]:8080", text);
        return -EINVAL;
    }
    if (*text == '[' && colon > text && colon[-1] == ']') {
        text++;
        end--;
    } else if (memchr(text, ':', (size_t)(colon - text)) != NULL) {
        buf_printf(why, "'%s': write an IPv6 address in brackets, [::1]:8080", text);
        return -EINVAL;
    }
    host = xstrndup(text, (size_t)(end - text));
    if (resolve(*host == 0 || strcmp(host, "*") == 0 ? NULL : host, colon + 1, ret, ret_len) < 0) {
        buf_printf(why, "'%s' is no address of this machine", host);
        return -EINVAL;
    }
    return 0;
}

static in_port_t port_of(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)(const void *)address)->sin6_port);
    return ntohs(((const struct sockaddr_in *)(const void *)address)->sin_port);
}

void address_print_host(const struct sockaddr *address, struct buf *out)
{
    char text[INET6_ADDRSTRLEN] = "?";

    if (address->sa_family == AF_INET6)
        inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, text,
                  sizeof text);
    else if (address->sa_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)address)->sin_addr, text,
                  sizeof text);
    buf_add_str(out, text);
}

void address_print(const struct sockaddr *address, struct buf *out)
{
    bool six = address->sa_family == AF_INET6;

    buf_add_str(out, six ? "[" : "");
    address_print_host(address, out);
    buf_printf(out, "%s:%u", six ? "]" : "", port_of(address));
}
