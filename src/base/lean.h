/* lean.h: giving back memory that is not needed any more. */
#ifndef BASE_LEAN_H
#define BASE_LEAN_H

/* What malloc keeps for later, and pages of code and constants that were used at the start and will
 * not be again: the program and some fifty libraries are mapped by faults of 16 pages each, and
 * stay resident. What is used still is mapped again from the page cache. Takes about a millisecond.
 * Any thread. */
void lean_trim(void);

#endif
