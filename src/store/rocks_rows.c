#include "store/rocks_rows.h"

#include "base/alloc.h"
#include "base/scope.h"

#define SHARDS    64u
#define WAYS      4u
#define ROW_MAX   4096u /* a longer one is not kept */
#define ROW_USUAL 256u  /* for the number of places */

struct row {
    uint64_t hash;
    uint32_t key_len, value_len;
    char bytes[]; /* key, value */
};

struct shard {
    pthread_mutex_t lock; /* guards the rest */
    struct row **places;  /* sets of WAYS */
    size_t bytes;
    unsigned hand;    /* next to give way */
    unsigned writing; /* writes under way that may touch a row of it: nothing is kept meanwhile */
    uint64_t changes; /* begins and ends of writes so far */
} __attribute__((aligned(64)));

struct rows {
    size_t sets;        /* of a shard */
    size_t limit_bytes; /* of a shard */
    struct shard shards[SHARDS];
};

static size_t row_bytes(const struct row *row)
{
    return sizeof *row + row->key_len + row->value_len;
}

struct rows *rows_new(size_t limit_bytes)
{
    void *memory = NULL;
    struct rows *rows;

    if (posix_memalign(&memory, 64, sizeof *rows) != 0)
        abort();
    rows = memset(memory, 0, sizeof *rows);
    rows->limit_bytes = limit_bytes / SHARDS;
    rows->sets = rows->limit_bytes / ROW_USUAL / WAYS + 1;
    for (size_t i = 0; i < SHARDS; i++) {
        pthread_mutex_init(&rows->shards[i].lock, NULL);
        rows->shards[i].places = xcalloc(rows->sets * WAYS, sizeof(struct row *));
    }
    return rows;
}

static void drop(struct shard *s, size_t place)
{
    if (s->places[place] == NULL)
        return;
    s->bytes -= row_bytes(s->places[place]);
    free(s->places[place]);
    s->places[place] = NULL;
}

static void drop_all(struct rows *rows, struct shard *s)
{
    for (size_t i = 0; s->bytes > 0 && i < rows->sets * WAYS; i++)
        drop(s, i);
}

void rows_free(struct rows *rows)
{
    for (size_t i = 0; i < SHARDS; i++) {
        drop_all(rows, &rows->shards[i]);
        free(rows->shards[i].places);
        pthread_mutex_destroy(&rows->shards[i].lock);
    }
    free(rows);
}

static struct shard *shard_of(struct rows *rows, uint64_t hash)
{
    return &rows->shards[(hash >> 58) % SHARDS];
}

/* The first place of the set. */
static size_t set_of(const struct rows *rows, uint64_t hash)
{
    return (size_t)(hash % rows->sets) * WAYS;
}

/* The place of the row, or SIZE_MAX. */
static size_t find(const struct rows *rows, const struct shard *s, uint64_t hash, struct slice key)
{
    for (size_t at = set_of(rows, hash), i = at; i < at + WAYS; i++) {
        const struct row *row = s->places[i];

        if (row != NULL && row->hash == hash && row->key_len == key.len &&
            memcmp(row->bytes, key.data, key.len) == 0)
            return i;
    }
    return SIZE_MAX;
}

bool rows_get(struct rows *rows, struct slice key, struct slice *ret, struct rows_miss *ret_miss)
{
    uint64_t hash = store_key_hash(key);
    struct shard *s = shard_of(rows, hash);
    const struct row *row;
    size_t place;

    *ret_miss = (struct rows_miss){.hash = hash};
    guard(&s->lock);
    ret_miss->changes = s->changes;
    place = find(rows, s, hash, key);
    if (place == SIZE_MAX)
        return false;
    row = s->places[place];
    *ret = slice_of(xmemdup(row->bytes + row->key_len, row->value_len), row->value_len);
    return true;
}

/* Under the lock: room for one more row of its set, within the limit. */
static size_t make_room(struct rows *rows, struct shard *s, uint64_t hash, size_t bytes)
{
    size_t at = set_of(rows, hash), places = rows->sets * WAYS, place = SIZE_MAX;

    for (size_t i = 0; i < WAYS && place == SIZE_MAX; i++)
        if (s->places[at + i] == NULL)
            place = at + i;
    if (place == SIZE_MAX) {
        place = at + s->hand++ % WAYS;
        drop(s, place);
    }
    while (s->bytes > 0 && s->bytes + bytes > rows->limit_bytes)
        drop(s, s->hand++ % places);
    return place;
}

void rows_keep(struct rows *rows, const struct rows_miss *miss, struct slice key,
               struct slice value)
{
    struct shard *s = shard_of(rows, miss->hash);
    struct row *row;
    size_t place;

    if (key.len + value.len > ROW_MAX)
        return;
    row = xmalloc(sizeof *row + key.len + value.len);
    *row = (struct row){miss->hash, (uint32_t)key.len, (uint32_t)value.len};
    memcpy(row->bytes, key.data, key.len);
    if (value.len > 0)
        memcpy(row->bytes + key.len, value.data, value.len);
    guard(&s->lock);
    if (s->writing > 0 || s->changes != miss->changes ||
        find(rows, s, miss->hash, key) != SIZE_MAX) {
        free(row);
        return;
    }
    place = make_room(rows, s, miss->hash, row_bytes(row));
    s->places[place] = row;
    s->bytes += row_bytes(row);
}

static void begin_all(struct rows *rows)
{
    for (size_t i = 0; i < SHARDS; i++) {
        struct shard *s = &rows->shards[i];

        guard(&s->lock);
        s->writing++;
        s->changes++;
        drop_all(rows, s);
    }
}

static void end_all(struct rows *rows)
{
    for (size_t i = 0; i < SHARDS; i++) {
        guard(&rows->shards[i].lock);
        rows->shards[i].writing--;
        rows->shards[i].changes++;
    }
}

void rows_write_begin(struct rows *rows, const struct store_batch *b)
{
    for (size_t i = 0; i < b->n_ops; i++) {
        const struct batch_op *op = &b->ops[i];
        struct shard *s = shard_of(rows, op->hash);
        size_t place;

        if (op->space != SPACE_META || op->kind > BATCH_DELETE_RANGE)
            continue;
        if (op->kind == BATCH_DELETE_RANGE) {
            begin_all(rows);
            continue;
        }
        guard(&s->lock);
        s->writing++;
        s->changes++;
        place = find(rows, s, op->hash, batch_key(b, op));
        if (place != SIZE_MAX)
            drop(s, place);
    }
}

void rows_write_end(struct rows *rows, const struct store_batch *b)
{
    for (size_t i = 0; i < b->n_ops; i++) {
        const struct batch_op *op = &b->ops[i];
        struct shard *s = shard_of(rows, op->hash);

        if (op->space != SPACE_META || op->kind > BATCH_DELETE_RANGE)
            continue;
        if (op->kind == BATCH_DELETE_RANGE) {
            end_all(rows);
            continue;
        }
        guard(&s->lock);
        s->writing--;
        s->changes++;
    }
}

void rows_clear(struct rows *rows)
{
    begin_all(rows);
    end_all(rows);
}
