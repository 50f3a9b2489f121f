#include "store/rocks_part.h"

#include <cstring>
#include <rocksdb/options.h>
#include <rocksdb/sst_file_writer.h>
#include <rocksdb/table.h>

using rocksdb::EnvOptions;
using rocksdb::Options;
using rocksdb::Slice;
using rocksdb::SstFileWriter;
using rocksdb::Status;

/* Values larger than its buffer go to a buffered file without a copy; a direct one is written a
 * buffer at a time. */
static const size_t buffer_bytes = 64u << 10, direct_buffer_bytes = 1u << 20;
static const uint64_t sync_step_bytes = 4u << 20; /* the disk is busy before the end is reached */

/* One value per block, so that each value is contiguous. */
static Options part_options(bool direct)
{
    rocksdb::BlockBasedTableOptions table;
    Options o;

    table.format_version = 5;
    table.checksum = rocksdb::kXXH3;
    table.no_block_cache = true;
    o.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
    o.compression = rocksdb::kNoCompression;
    o.writable_file_max_buffer_size = direct ? direct_buffer_bytes : buffer_bytes;
    return o;
}

static EnvOptions env_options(bool direct)
{
    EnvOptions e;

    e.use_direct_writes = direct;
    e.use_mmap_writes = false;
    e.bytes_per_sync = direct ? 0 : sync_step_bytes;
    e.writable_file_max_buffer_size = direct ? direct_buffer_bytes : buffer_bytes;
    return e;
}

struct part_writer {
    SstFileWriter writer;

    explicit part_writer(bool direct)
        : writer(env_options(direct), part_options(direct), nullptr,
                 /* invalidate_page_cache */ false)
    {
    }
};

static char *text_of(const Status &s)
{
    return s.ok() ? nullptr : strdup(s.ToString().c_str());
}

struct part_writer *part_writer_new(bool direct)
{
    return new part_writer(direct);
}

void part_writer_free(struct part_writer *w)
{
    delete w;
}

char *part_writer_open(struct part_writer *w, const char *path)
{
    return text_of(w->writer.Open(path));
}

char *part_writer_put(struct part_writer *w, const void *key, size_t key_len, const void *value,
                      size_t value_len)
{
    return text_of(w->writer.Put(Slice(static_cast<const char *>(key), key_len),
                                 Slice(static_cast<const char *>(value), value_len)));
}

char *part_writer_finish(struct part_writer *w)
{
    return text_of(w->writer.Finish());
}
