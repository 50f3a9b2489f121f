/* rocks_stage.h: the stages of the RocksDB engine, between their files. */
#ifndef STORE_ROCKS_STAGE_H
#define STORE_ROCKS_STAGE_H

#include "store/rocks.h"
#include "store/rocks_part.h"

#define MEM_MAX  (64u << 10) /* up to here content waits in memory, */
#define SMALL    BIG_BLOB    /* to here in a plain file, then in parts */
#define PART_MIN BIG_BLOB    /* a resumed last part smaller than this is written again */

enum phase { PHASE_MEM = 1, PHASE_RAW = 2, PHASE_PARTS = 3 };

struct staging {
    struct rocks *rocks;
    struct store *store;
    uint8_t id[BLOB_ID];
    enum phase phase;
    uint64_t hint, size_bytes;
    struct buf mem; /* PHASE_MEM: all of it */
    int raw_fd;     /* PHASE_RAW: all of it; -1 */
    /* PHASE_PARTS: whole parts, then the chunks of the one being written, then the gathered bytes
     * of the next chunk. */
    struct part *parts;
    size_t n_parts, cap_parts;
    uint32_t next_file_no;
    struct part current; /* chunks 0: none is open */
    struct part_writer *writer;
    bool writer_direct;
    char *gathered; /* CHUNK_BIG of room */
    size_t n_gathered;
    int read_fd; /* of part read_part, for reading back */
    size_t read_part;
};

/* rocks_upload.c: the files of a stage in uploads/. */
char *upload_raw_path(const struct rocks *r, const uint8_t id[BLOB_ID]); /* returns new */
char *upload_part_path(const struct rocks *r, const uint8_t id[BLOB_ID],
                       uint32_t n); /* returns new */
void upload_remove(const struct staging *g, bool keep_current);
void stage_state_encode(struct buf *b, const struct staging *g);
int stage_state_decode(struct slice state, struct staging *g); /* fills g; -EIO */
int staging_end_part(struct staging *g, bool with_gathered);
/* Adds a chunk to the part being written. */
int staging_add_chunk(struct staging *g, const void *bytes, size_t n);

#endif
