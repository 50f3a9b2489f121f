/* mhd.h: libmicrohttpd, and where its versions differ (0.9.75 of Debian 12 up to 1.0). */
#ifndef HTTP_MHD_H
#define HTTP_MHD_H

#include <microhttpd.h>

#include "base/slice.h"

#if MHD_VERSION < 0x00097500
#error "libmicrohttpd 0.9.75 or newer is needed"
#endif

/* Bytes that the request keeps until the answer is sent. */
static inline struct MHD_Response *mhd_response_lent(struct slice bytes)
{
#if MHD_VERSION >= 0x00097701
    return MHD_create_response_from_buffer_static(bytes.len, bytes.data);
#else
    return MHD_create_response_from_buffer(bytes.len, (void *)(uintptr_t)bytes.data,
                                           MHD_RESPMEM_PERSISTENT);
#endif
}

/* How strictly requests are read; our own guard stands behind it. */
#if MHD_VERSION >= 0x00097701
#define MHD_STRICTNESS MHD_OPTION_CLIENT_DISCIPLINE_LVL
#else
#define MHD_STRICTNESS MHD_OPTION_STRICT_FOR_CLIENT
#endif

#endif
