/* command.h: the command line: one table, from which help is made. */
#ifndef COMMAND_COMMAND_H
#define COMMAND_COMMAND_H

struct config_flags;

/* Runs the daemon until a signal; main.c brings it, since only main knows the front ends. Returns
 * an exit code of sysexits.h. */
typedef int serve_fn(const struct config_flags *flags);

/* Parses argv and runs the command. Returns an exit code of sysexits.h. */
int command_main(int argc, char **argv, serve_fn *serve);

#endif
