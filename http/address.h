/* address.h: "127.0.0.1:8080", "[::1]:8080", "localhost:0", ":8080" as a socket address. */
#ifndef HTTP_ADDRESS_H
#define HTTP_ADDRESS_H

#include "base/buf.h"

#include <sys/socket.h>

/* ":PORT" and "*:PORT" are every address. -EINVAL with a reason appended to why. */
int address_parse(const char *text, struct sockaddr_storage *ret, socklen_t *ret_len,
                  struct buf *why);
/* Appends it as it is written above. */
void address_print(const struct sockaddr *address, struct buf *out);
/* The same without the port. */
void address_print_host(const struct sockaddr *address, struct buf *out);

#endif
