/* cidr.h: address ranges that a token may be used from: "10.0.0.0/8", "::1", "127.0.0.1". Pure. */
#ifndef IDENTITY_CIDR_H
#define IDENTITY_CIDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CIDR_TEXT_MAX 64

struct cidr {
    uint8_t address[16]; /* IPv4 as ::ffff:a.b.c.d */
    uint8_t bits;        /* of 128 */
    bool v4;
};

int cidr_parse(const char *text, struct cidr *ret); /* -EINVAL */
/* As Vault shows it: a single address without its length. Returns text. */
char *cidr_print(const struct cidr *c, char text[CIDR_TEXT_MAX]);
bool cidr_has(const struct cidr *c, const char *address); /* a peer's address, without port */
/* Is the address in one of the ranges, or are there none? A range that cannot be read has nothing. */
bool cidrs_have(const char *const *ranges, const char *address); /* NULL-terminated, or NULL */

#endif
