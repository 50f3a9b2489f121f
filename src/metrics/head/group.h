/* group.h: what a group looks like on disk; for group_read.c and group_write.c.
 *   varint version (1), varint sections of (raw length, stored length, bytes): 0 head, 1.. planes.
 *   stored length 0: the section is not compressed.
 * head, for each series: id delta, samples n, how the times go, how the values go (see put_series).
 * plane k: of each series whose residuals are wider than k bytes, byte k of every residual. */
#ifndef METRICS_HEAD_GROUP_H
#define METRICS_HEAD_GROUP_H

#define GROUP_VERSION 1
#define GROUP_PLANES  8
#define GROUP_RAW     31 /* instead of an exponent: the bits of the doubles are the integers */

enum { GROUP_TIMES_LIKE_BEFORE, GROUP_TIMES_REGULAR, GROUP_TIMES_ANY };

#endif
