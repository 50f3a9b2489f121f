#include "http/headers.h"

#include "base/codec.h"
#include "base/scope.h"

#include <errno.h>
#include <strings.h>

/* RFC 9110 section 5.6.2, but laxer: what counts is that no other reader sees another name. */
static bool name_is_bad(const char *name)
{
    if (*name == 0)
        return true;
    for (; *name != 0; name++)
        if ((unsigned char)*name <= 0x20 || (unsigned char)*name >= 0x7f || *name == ':')
            return true;
    return false;
}

static void keep(const char **slot, const char *value)
{
    if (*slot == NULL)
        *slot = value;
}

static const char **slot_of(struct headers *h, const char *name)
{
    const struct {
        const char *name;
        const char **slot;
    } slots[] = {
        {"accept", &h->accept},
        {"accept-encoding", &h->accept_encoding},
        {"authorization", &h->authorization},
        {"content-length", &h->content_length},
        {"destination", &h->destination},
        {"expect", &h->expect},
        {"host", &h->host},
        {"if-modified-since", &h->if_modified_since},
        {"if-none-match", &h->if_none_match},
        {"if-range", &h->if_range},
        {"overwrite", &h->overwrite},
        {"range", &h->range},
        {"transfer-encoding", &h->transfer_encoding},
        {"x-forwarded-host", &h->forwarded_host},
        {"x-forwarded-proto", &h->forwarded_proto},
        {"x-vault-token", &h->vault_token},
    };
    char first = (char)(name[0] | 0x20);

    for (size_t i = 0; i < array_size(slots); i++)
        if (slots[i].name[0] == first && strcasecmp(slots[i].name, name) == 0)
            return slots[i].slot;
    return NULL;
}

void headers_add(struct headers *h, const char *name, const char *value)
{
    const char **slot;

    if (name_is_bad(name)) {
        h->bad_name = true;
        return;
    }
    slot = slot_of(h, name);
    if (slot == NULL)
        return;
    h->several_if_none_match |= slot == &h->if_none_match && *slot != NULL;
    keep(slot, value != NULL ? value : "");
    h->n_host += slot == &h->host;
    h->n_content_length += slot == &h->content_length;
    h->n_transfer_encoding += slot == &h->transfer_encoding;
}

/* It goes into absolute URLs: nothing but a name or address and a port (RFC 3986 section 3.2.2). */
static bool host_is_valid(const char *host)
{
    static const char others[] = "-._~:[]%!$&'()*+,;=";

    if (*host == 0 || strlen(host) > 300)
        return false;
    for (; *host != 0; host++)
        if (!((*host >= 'a' && *host <= 'z') || (*host >= 'A' && *host <= 'Z') ||
              (*host >= '0' && *host <= '9') || strchr(others, *host) != NULL))
            return false;
    return true;
}

int headers_check(const struct headers *h, uint64_t *ret_length, const char **ret_why)
{
    *ret_length = 0;
    *ret_why = NULL;
    if (h->bad_name)
        *ret_why = "a header's name holds a byte that does not belong there";
    else if (h->n_content_length > 1)
        *ret_why = "more than one Content-Length";
    else if (h->n_transfer_encoding > 1)
        *ret_why = "more than one Transfer-Encoding";
    else if (h->n_content_length + h->n_transfer_encoding > 1)
        *ret_why = "Content-Length together with Transfer-Encoding";
    else if (h->n_transfer_encoding == 1 && strcasecmp(h->transfer_encoding, "chunked") != 0)
        *ret_why = "a transfer coding other than chunked";
    else if (h->n_host != 1)
        *ret_why = "not exactly one Host";
    else if (!host_is_valid(h->host) ||
             (h->forwarded_host != NULL && !host_is_valid(h->forwarded_host)))
        *ret_why = "the Host is no host";
    else if (h->n_transfer_encoding == 1)
        *ret_length = UINT64_MAX;
    else if (h->n_content_length == 1 &&
             parse_u64(slice_str(h->content_length), UINT64_MAX - 1, ret_length) < 0)
        *ret_why = "Content-Length is no number";
    return *ret_why == NULL ? 0 : -EINVAL;
}
