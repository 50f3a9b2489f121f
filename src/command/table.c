/* table.c: the one table of commands. */
#include "command/line.h"

#define END {NULL, 0, NULL, NULL}

#define OPTION_CONFIG   {"config", 'c', "FILE", "read the configuration from FILE"}
#define OPTION_DATA     {"data", 'd', "DIR", "the data folder (default /var/lib/infrafs)"}
#define OPTION_HTPASSWD {"htpasswd", 'u', "FILE", "the user file (default DATA/htpasswd)"}
#define OPTION_ADDRESS                                                                             \
    {"address", 'a', "URL", "the daemon; else $INFRAFS_ADDR, $VAULT_ADDR, http://127.0.0.1:8080"}
#define OPTION_STDIN {"password-stdin", 0, NULL, "read the password from standard input"}

static const struct command_option serve_options[] = {
    OPTION_CONFIG,
    OPTION_DATA,
    {"mount", 'm', "DIR", "where to mount the tree (default /mnt/infra)"},
    {"no-mount", 0, NULL, "serve over HTTP only"},
    {"listen", 'l', "ADDR:PORT", "listen there; may be given several times"},
    OPTION_HTPASSWD,
    {"prometheus", 'p', "FILE", "the scrape configuration (default DATA/prometheus.yml)"},
    {"foreground", 'f', NULL, "stay in the foreground; this is always so"},
    {"verbose", 'v', NULL, "log debug events too"},
    END,
};

static const struct command_option user_options[] = {OPTION_HTPASSWD, OPTION_CONFIG, OPTION_DATA,
                                                     END};
static const struct command_option password_options[] = {
    OPTION_STDIN, OPTION_HTPASSWD, OPTION_CONFIG, OPTION_DATA, END,
};
static const struct command_option config_options[] = {OPTION_CONFIG, OPTION_DATA, END};
static const struct command_option client_options[] = {OPTION_ADDRESS, OPTION_CONFIG, OPTION_DATA,
                                                       END};
static const struct command_option set_options[] = {
    {"value", 'V', "TEXT", "the value; others on this machine may see it in the process list"},
    OPTION_ADDRESS,
    OPTION_CONFIG,
    OPTION_DATA,
    END,
};
static const struct command_option find_options[] = {
    {"values", 'V', NULL, "look into values too"},
    OPTION_ADDRESS,
    OPTION_CONFIG,
    OPTION_DATA,
    END,
};
static const struct command_option token_options[] = {
    {"policy", 'P', "NAME", "a policy of the token; may be given several times"},
    {"ttl", 't', "TIME", "how long it lives, such as 24h"},
    {"name", 'n', "TEXT", "its name in the audit log"},
    OPTION_ADDRESS,
    OPTION_CONFIG,
    OPTION_DATA,
    END,
};
static const struct command_option accessor_options[] = {
    {"accessor", 'A', NULL, "it is named by its accessor"},
    OPTION_ADDRESS,
    OPTION_CONFIG,
    OPTION_DATA,
    END,
};
static const struct command_option unseal_options[] = {
    {"key-stdin", 0, NULL, "read it from standard input"},
    OPTION_ADDRESS,
    OPTION_CONFIG,
    OPTION_DATA,
    END,
};
static const struct command_option gc_options[] = {
    {"dry-run", 'n', NULL, "count what would be freed, and free nothing"},
    OPTION_ADDRESS,
    OPTION_CONFIG,
    OPTION_DATA,
    END,
};
static const struct command_option yank_options[] = {
    {"reason", 'r', "TEXT", "why, shown to who installs it"},
    OPTION_ADDRESS,
    OPTION_CONFIG,
    OPTION_DATA,
    END,
};
static const struct command_option scrub_options[] = {
    {"wait", 'w', NULL, "wait until it is over"},
    {"state", 's', NULL, "only say how far it is"},
    {"stop", 0, NULL, "end the one that runs"},
    OPTION_ADDRESS,
    OPTION_CONFIG,
    OPTION_DATA,
    END,
};
static const struct command_option query_options[] = {
    {"range", 'r', "DURATION", "over the last DURATION, such as 1h, instead of now"},
    {"step", 's', "DURATION", "with --range: from value to value (default: 60 of them)"},
    {"time", 't', "TIME", "at TIME, in Unix seconds or RFC 3339, instead of now"},
    {"explain", 'e', NULL, "instead of the result: what is read, and the time of each part"},
    OPTION_ADDRESS,
    OPTION_CONFIG,
    OPTION_DATA,
    END,
};
static const struct command_option move_options[] = {
    {"range", 'r', "DURATION", "only the last DURATION, such as 30d"},
    OPTION_ADDRESS,
    OPTION_CONFIG,
    OPTION_DATA,
    END,
};
static const struct command_option help_options[] = {
    {"man", 0, NULL, "print the manual page, for man -l -"},
    {"completion", 0, NULL, "print the completion for bash"},
    END,
};
static const struct command_option no_options[] = {END};

#define TOKEN_TEXT                                                                                 \
    "Who asks is told by a token: $INFRAFS_TOKEN, else $VAULT_TOKEN, else the file DATA/root-token " \
    "where it can be read, else ~/.vault-token."

const struct command command_table[] = {
    {"serve", "", "run the daemon",
     "Opens the store, mounts the tree and listens. When all of that is up it prints one line, "
     "'ready mount=DIR listen=ADDR:PORT', and tells systemd. SIGTERM and SIGINT end it cleanly, "
     "SIGHUP reads users, targets and rules again (they are also read whenever their files "
     "change).\n\n"
     "Options beat the environment (INFRAFS_DATA, INFRAFS_METRICS_RETENTION, …: one variable for "
     "each key of the configuration), the environment beats the file, the file beats the defaults. "
     "Without --config, $INFRAFS_CONFIG or /etc/infrafs/infrafs.yml is read if it is there.",
     serve_options, 0, 0, run_serve},
    {"user add", "NAME", "add a user to the user file",
     "The password is asked for, or read from standard input, and kept as a bcrypt hash of cost "
     "11. A running daemon takes the change at once. The file is an htpasswd file; other tools may "
     "edit it too.",
     password_options, 1, 1, run_user_add},
    {"user passwd", "NAME", "give a user another password",
     "The old password is refused from the next request on.", password_options, 1, 1,
     run_user_passwd},
    {"user remove", "NAME", "remove a user", NULL, user_options, 1, 1, run_user_remove},
    {"user list", "", "print the users, one a line", NULL, user_options, 0, 0, run_user_list},
    {"status", "", "say how the daemon is", TOKEN_TEXT, client_options, 0, 0, run_status},
    {"doctor", "", "say what keeps the daemon from running here, and what to do",
     "Looks at the configuration, the data directory, the room on its disk, FUSE and the mount point, "
     "the addresses to listen at, certificates, the user file, the key file and the clock: a line "
     "each, 'ok', 'note' or 'wrong'. Nothing is changed; it may run beside the daemon. Give it the "
     "options that 'serve' gets. The exit code is 69 if something is wrong, 78 if the configuration "
     "is.",
     serve_options, 0, 0, run_doctor},
    {"query", "PROMQL", "ask the metrics in PromQL",
     "Prints a line for each series. With --range on a terminal each line draws the course of its "
     "series; elsewhere there is a line for each sample. Warnings go to standard error.\n\n" TOKEN_TEXT,
     query_options, 1, 1, run_query},
    {"get", "PATH", "print a file of the tree, such as a secret",
     "PATH is as in the mounted tree: 'shop/prod/db-password', or with the mount in front, "
     "'/mnt/infra/shop/prod/db-password'. A folder is printed as a JSON list. No newline is "
     "added.\n\n" TOKEN_TEXT,
     client_options, 1, 1, run_get},
    {"set", "PATH", "write a file of the tree, such as a secret",
     "The value is read from standard input to its end, byte for byte, unless --value gives it. It "
     "is durable and visible through every door when the command returns.\n\n" TOKEN_TEXT,
     set_options, 1, 1, run_set},
    {"edit", "PATH", "edit a secret, or one of its fields, with $EDITOR",
     "PATH is as for 'get'. A folder is a whole secret, shown as YAML. The editor has a file in "
     "memory (/dev/shm), which is overwritten afterwards; what it leaves is one new version. If "
     "it is refused, the reason is printed and it can be edited again.\n\n" TOKEN_TEXT,
     client_options, 1, 1, run_edit},
    {"find", "WORD", "look for secrets by name",
     "Prints the paths of folders and fields whose name holds WORD, letters in any case; with "
     "--values also fields whose value holds it, marked so. Only what the token may read is "
     "looked at. Exit code 1 if there is none.\n\n" TOKEN_TEXT,
     find_options, 1, 1, run_find},
    {"unseal", "", "open the secrets of a sealed daemon",
     "Asks for the passphrase, or for one share of the unseal key, and hands it to the daemon; as "
     "'bao operator unseal' does. With 'unseal: passphrase' the first call sets the passphrase.",
     unseal_options, 0, 0, run_unseal},
    {"token create", "", "make a token, and print it",
     "With --policy as often as needed; without, it has the policies of who asks.\n\n" TOKEN_TEXT,
     token_options, 0, 0, run_token_create},
    {"token lookup", "[TOKEN]", "say what a token is and may",
     "Without TOKEN the caller's own; '-' reads it from standard input.\n\n" TOKEN_TEXT,
     accessor_options, 0, 1, run_token_lookup},
    {"token revoke", "TOKEN", "end a token, and those made with it",
     "'-' reads it from standard input.\n\n" TOKEN_TEXT, accessor_options, 1, 1, run_token_revoke},
    {"token list", "", "print the accessors of all tokens", TOKEN_TEXT, client_options, 0, 0,
     run_token_list},
    {"policy list", "", "print the names of the policies", TOKEN_TEXT, client_options, 0, 0,
     run_policy_list},
    {"policy read", "NAME", "print a policy", TOKEN_TEXT, client_options, 1, 1, run_policy_read},
    {"policy write", "NAME", "set a policy from standard input",
     "HCL or JSON; it is in force at once.\n\n" TOKEN_TEXT, client_options, 1, 1,
     run_policy_write},
    {"policy delete", "NAME", "remove a policy", TOKEN_TEXT, client_options, 1, 1,
     run_policy_delete},
    {"backup", "FILE", "write everything to one file",
     "A tar of the whole store as it was at one moment, of the user file, the scrape configuration "
     "and the keys that tokens and inode numbers hang on; '-' is standard output. The daemon goes "
     "on serving. Run it where the data folder is. What "
     "unseals the secrets is NOT in it: keep that apart.\n\n" TOKEN_TEXT,
     client_options, 1, 1, run_backup},
    {"import vault", "URL", "take over the secrets of a Vault or OpenBao server",
     "Copies all secrets of all KV mounts that the token may list and read, with their versions and "
     "metadata, byte for byte. Versions that the server has deleted or destroyed keep their number, "
     "without content; where it has dropped the oldest, numbers begin at 1 again. What is there "
     "already is left alone, so it may be run again. The token for that server is read from "
     "$SOURCE_TOKEN, or asked for.\n\n" TOKEN_TEXT,
     client_options, 1, 1, run_import_vault},
    {"import htpasswd", "FILE", "add the users of an htpasswd file",
     "Users that are there already keep their password. Lines that name no user are reported and "
     "left out; hashes stay as they are.",
     user_options, 1, 1, run_import_htpasswd},
    {"restore", "FILE", "make a data folder from a backup",
     "The data folder must be empty or absent, and no daemon may run on it. Nothing is left behind "
     "by a backup that is cut or damaged. Put the unseal key back before the first start.",
     config_options, 1, 1, run_restore},
    {"config check", "[FILE]", "check a configuration and say what is wrong",
     "Without FILE the configuration that 'serve' would use is checked, the environment included.",
     config_options, 0, 1, run_config_check},
    {"config dump", "", "print the configuration in force, defaults included", NULL, config_options,
     0, 0, run_config_dump},
    {"gc", "", "free blobs that nothing needs any more",
     "The daemon does this by itself every few minutes, after a grace (images.gc_grace); it is "
     "safe beside uploads. What the rules of images.retention let go goes first, and is "
     "named.\n\n" TOKEN_TEXT,
     gc_options, 0, 0, run_gc},
    {"yank", "PACKAGE", "mark a release as not to be chosen any more",
     "PACKAGE is a file, 'shop-1.0-py3-none-any.whl', or a release, 'shop==1.0'. Installers pass "
     "over it unless exactly it is asked for (PEP 592); it stays where it is.\n\n" TOKEN_TEXT,
     yank_options, 1, 1, run_yank},
    {"unyank", "PACKAGE", "take the mark of 'yank' away", TOKEN_TEXT, client_options, 1, 1,
     run_unyank},
    {"project status", "PROJECT STATUS", "say how a project of packages stands",
     "STATUS is active, archived (it takes no new files), quarantined (it takes none and offers "
     "none) or deprecated; the index tells it (PEP 792).\n\n" TOKEN_TEXT,
     yank_options, 2, 2, run_project_status},
    {"import pypi", "SOURCE", "take over the packages of another server",
     "SOURCE is a folder of wheels and sdists, such as that of a pypiserver, or the URL of a simple "
     "index, 'https://pypi.example/simple/' (its password from ~/.netrc). Each file is checked as "
     "an upload is; what is there already is passed over, so that it can be run again. Files that "
     "are yanked there are yanked here.\n\n" TOKEN_TEXT,
     client_options, 1, 1, run_import_pypi},
    {"import registry", "SOURCE", "take over the images of another registry",
     "SOURCE is the address of a registry that runs, such as https://old.example:5000: all tags of "
     "its catalog are taken over, with the images of indexes and what refers to an image. Or the "
     "data folder of a distribution registry, such as /var/lib/registry, which need not run. What "
     "is there already is passed over, so that it can be run again. A login for SOURCE comes from "
     "$SOURCE_USER and $SOURCE_PASSWORD, or from ~/.netrc.\n\n" TOKEN_TEXT,
     client_options, 1, 1, run_import_registry},
    {"import prometheus", "URL", "take over the samples of a running Prometheus",
     "Reads them by remote read, the last 15 days unless --range says more, native histograms and "
     "metadata too; labels that the server adds (external_labels) are taken off again. Set "
     "metrics.retention to what you want to keep first. Best done before the targets are scraped "
     "here: what is older than a series' newest sample by more than metrics.out_of_order_window is "
     "refused. A password comes from ~/.netrc, a token from $SOURCE_TOKEN.\n\n" TOKEN_TEXT,
     move_options, 1, 1, run_import_prometheus},
    {"export vault", "URL", "copy the secrets to a Vault or OpenBao server",
     "The way back from 'import vault', with versions and metadata: mounts that are not there are "
     "made, secrets that are there are left alone. The token for that server is read from "
     "$TARGET_TOKEN, or asked for.\n\n" TOKEN_TEXT,
     client_options, 1, 1, run_export_vault},
    {"export prometheus", "FILE", "write all samples as OpenMetrics text",
     "As 'promtool tsdb create-blocks-from openmetrics FILE DIR' reads it; '-' is standard output. "
     "The text has no place for native histograms and marks of staleness.\n\n" TOKEN_TEXT,
     move_options, 1, 1, run_export_prometheus},
    {"export registry", "DIR", "write all images into a folder",
     "Each repository becomes DIR/<repository>, an OCI image layout with all its tags, and all that "
     "has none: 'skopeo copy oci:DIR/team/app:1.0 docker://…' reads it. What is there already is "
     "passed over; content that several repositories have is one file.\n\n" TOKEN_TEXT,
     client_options, 1, 1, run_export_registry},
    {"export pypi", "DIR", "write all packages into a folder",
     "Flat, as 'pip install --no-index -f DIR' and pypiserver read it. Files that are there already "
     "are passed over.\n\n" TOKEN_TEXT,
     client_options, 1, 1, run_export_pypi},
    {"scrub", "", "read what is stored and compare its digests",
     "The daemon does this by itself (scrub.every), at a limited rate (scrub.rate). Each blob that "
     "is damaged is named, here and in the log, where its owners stand too; the exit code is then "
     "65.\n\n" TOKEN_TEXT,
     scrub_options, 0, 0, run_scrub},
    {"help", "[COMMAND]", "explain a command", NULL, help_options, 0, 2, run_help},
    {"version", "", "print the version", NULL, no_options, 0, 0, run_version},
    {NULL, NULL, NULL, NULL, NULL, 0, 0, NULL},
};
