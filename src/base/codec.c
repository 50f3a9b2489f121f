#include "base/codec.h"

#include <errno.h>
#include <snappy-c.h>
#include <stdlib.h>

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

void hex_encode(struct slice in, char *ret_text)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = in.data;

    for (size_t i = 0; i < in.len; i++) {
        ret_text[2 * i] = digits[p[i] >> 4];
        ret_text[2 * i + 1] = digits[p[i] & 15];
    }
    ret_text[2 * in.len] = 0;
}

ssize_t hex_decode(struct slice hex, uint8_t *ret, size_t cap)
{
    const char *p = hex.data;

    if (hex.len % 2 != 0 || hex.len / 2 > cap)
        return -EINVAL;
    for (size_t i = 0; i < hex.len / 2; i++) {
        int high = hex_value(p[2 * i]);
        int low = hex_value(p[2 * i + 1]);

        if (high < 0 || low < 0)
            return -EINVAL;
        ret[i] = (uint8_t)(high << 4 | low);
    }
    return (ssize_t)(hex.len / 2);
}

static void encode64(struct buf *out, struct slice in, const char *alphabet, bool pad)
{
    const uint8_t *p = in.data;

    for (size_t i = 0; i < in.len; i += 3) {
        size_t n = in.len - i < 3 ? in.len - i : 3;
        uint32_t v = (uint32_t)p[i] << 16;
        char text[4];

        if (n > 1)
            v |= (uint32_t)p[i + 1] << 8;
        if (n > 2)
            v |= p[i + 2];
        for (int k = 0; k < 4; k++)
            text[k] = alphabet[v >> (18 - 6 * k) & 63];
        buf_add(out, text, n + 1);
        if (pad)
            buf_add(out, "==", 3 - n);
    }
}

#define BASE64_COMMON "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

void base64_encode(struct buf *out, struct slice in)
{
    encode64(out, in, BASE64_COMMON "+/", true);
}

void base64url_encode(struct buf *out, struct slice in)
{
    encode64(out, in, BASE64_COMMON "-_", false);
}

static int value64(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int base64_decode(struct buf *out, struct slice in)
{
    const char *p = in.data;
    size_t pad = 0;

    if (in.len % 4 != 0)
        return -EINVAL;
    while (pad < 2 && pad < in.len && p[in.len - 1 - pad] == '=')
        pad++;
    for (size_t i = 0; i < in.len; i += 4) {
        size_t n = i + 4 == in.len ? 4 - pad : 4;
        uint32_t v = 0;
        uint8_t bytes[3];

        for (size_t k = 0; k < 4; k++) {
            int digit = k < n ? value64(p[i + k]) : 0;

            if (digit < 0)
                return -EINVAL;
            v = v << 6 | (uint32_t)digit;
        }
        if ((v & ((1u << 8 * (4 - n)) - 1)) != 0 && n < 4) /* bits behind the end: not canonical */
            return -EINVAL;
        for (int k = 0; k < 3; k++)
            bytes[k] = (uint8_t)(v >> (16 - 8 * k));
        buf_add(out, bytes, n - 1);
    }
    return 0;
}

int percent_decode(struct buf *out, struct slice in, bool plus)
{
    const char *p = in.data;

    for (size_t i = 0; i < in.len; i++) {
        char c = p[i];

        if (c == '%') {
            uint8_t byte;

            if (in.len - i < 3 || hex_decode(slice_of(p + i + 1, 2), &byte, 1) < 0)
                return -EINVAL;
            c = (char)byte;
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        buf_add_char(out, c);
    }
    return 0;
}

void percent_encode(struct buf *out, struct slice in, const char *keep)
{
    const char *p = in.data;

    for (size_t i = 0; i < in.len; i++) {
        char c = p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     (c != 0 && strchr("-._~", c) != NULL) || (c != 0 && strchr(keep, c) != NULL);

        if (plain)
            buf_add_char(out, c);
        else
            buf_printf(out, "%%%02X", (unsigned char)c);
    }
}

void varint_put(struct buf *out, uint64_t v)
{
    uint8_t bytes[10];
    size_t n = 0;

    while (v >= 0x80) {
        bytes[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    bytes[n++] = (uint8_t)v;
    buf_add(out, bytes, n);
}

int varint_get(struct slice *in, uint64_t *ret)
{
    const uint8_t *p = in->data;
    uint64_t v = 0;

    for (size_t i = 0; i < in->len && i < 10; i++) {
        if (i == 9 && p[i] > 1)
            return -EINVAL;
        v |= (uint64_t)(p[i] & 0x7f) << (7 * i);
        if (p[i] < 0x80) {
            *in = slice_skip(*in, i + 1);
            *ret = v;
            return 0;
        }
    }
    return -EINVAL;
}

int parse_u64(struct slice s, uint64_t max, uint64_t *ret)
{
    const char *p = s.data;
    uint64_t v = 0;

    if (s.len == 0)
        return -EINVAL;
    for (size_t i = 0; i < s.len; i++)
        if (p[i] < '0' || p[i] > '9')
            return -EINVAL;
    for (size_t i = 0; i < s.len; i++) {
        uint64_t digit = (uint64_t)(p[i] - '0');

        if (v > (max - digit) / 10 || digit > max)
            return -ERANGE;
        v = v * 10 + digit;
    }
    *ret = v;
    return 0;
}

int snappy_decode(struct slice in, size_t limit_bytes, struct buf *out)
{
    size_t n = 0;

    if (snappy_uncompressed_length(in.data, in.len, &n) != SNAPPY_OK)
        return -EINVAL;
    if (n > limit_bytes)
        return -EFBIG;
    buf_reserve(out, n + 1);
    if (snappy_uncompress(in.data, in.len, out->data, &n) != SNAPPY_OK)
        return -EINVAL;
    out->len = n;
    out->data[n] = 0;
    return 0;
}

void snappy_encode(struct slice in, struct buf *out)
{
    size_t n = snappy_max_compressed_length(in.len);

    buf_reserve(out, n + 1);
    if (snappy_compress(in.len > 0 ? in.data : "", in.len, out->data, &n) != SNAPPY_OK)
        abort(); /* it fails only for want of room */
    out->len = n;
    out->data[n] = 0;
}
