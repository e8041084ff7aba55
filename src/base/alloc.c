/* alloc.c: all memory of the library. Zeroed, checked, and countable: a test can make the k-th allocation fail.
 *
 * The hooks cost one relaxed atomic addition per allocation and two per block. Each library that contains this file
 * (libmlxn and libmlxn-lm) has its own counter; the tests link both parts statically and so see one. */
#include "base/base.h"

#include <stdatomic.h>
#include <sys/mman.h>

#if defined(__has_feature)
#define ALLOC_ASAN __has_feature(address_sanitizer)
#define ALLOC_TSAN __has_feature(thread_sanitizer)
#else
#if defined(__SANITIZE_ADDRESS__)
#define ALLOC_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define ALLOC_TSAN 1
#endif
#endif

/* Sanitizers end the process where the system would refuse a size: refuse it before they see it. */
#if ALLOC_ASAN || ALLOC_TSAN
#define ALLOC_MAX ((size_t)1 << 36)
#else
#define ALLOC_MAX ((size_t)PTRDIFF_MAX)
#endif

static atomic_uint_least64_t alloc_count;
static atomic_uint_least64_t alloc_fails; /* the number of the allocation that fails; 0 = none */
static atomic_uint_least64_t alloc_live;  /* blocks */

/* Counts one allocation of `bytes` bytes. */
static bool must_fail(size_t bytes) {
    uint64_t number = atomic_fetch_add_explicit(&alloc_count, 1, memory_order_relaxed) + 1;
    return number == atomic_load_explicit(&alloc_fails, memory_order_relaxed) || bytes > ALLOC_MAX;
}

uint64_t mlxn_alloc_fail_at(uint64_t k) {
    uint64_t now = mlxn_alloc_count();
    atomic_store_explicit(&alloc_fails, k ? now + k : 0, memory_order_relaxed);
    return now;
}

uint64_t mlxn_alloc_count(void) { return atomic_load_explicit(&alloc_count, memory_order_relaxed); }
uint64_t mlxn_alloc_live(void) { return atomic_load_explicit(&alloc_live, memory_order_relaxed); }

void mlxn_alloc_give(void) { atomic_fetch_sub_explicit(&alloc_live, 1, memory_order_relaxed); }

bool mlxn_alloc_take(size_t bytes) {
    if (must_fail(bytes)) return false;
    atomic_fetch_add_explicit(&alloc_live, 1, memory_order_relaxed);
    return true;
}

/* A block that was taken, as the system gave it, or did not. */
static void *taken(void *block) {
    if (!block) mlxn_alloc_give();
    return block;
}

void *mlxn_alloc(size_t bytes) { return mlxn_alloc_take(bytes) ? taken(calloc(1, bytes ? bytes : 1)) : NULL; }

void *mlxn_alloc_array(size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) return NULL;
    return mlxn_alloc(bytes);
}

void *mlxn_realloc_array(void *old, size_t count, size_t size) {
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) return NULL;
    if (old) return must_fail(bytes) ? NULL : realloc(old, bytes ? bytes : 1);
    return mlxn_alloc_take(bytes) ? taken(malloc(bytes ? bytes : 1)) : NULL;
}

char *mlxn_strndup(const char *text, size_t length) {
    if (length == SIZE_MAX) return NULL;
    char *copy = mlxn_alloc(length + 1);
    if (copy) memcpy(copy, text, length);
    return copy;
}

char *mlxn_strdup(const char *text) { return mlxn_strndup(text, strlen(text)); }

void mlxn_free(void *memory) {
    if (memory) mlxn_alloc_give();
    free(memory);
}

#if ALLOC_ASAN

/* Under the address sanitizer the block must end where the caller thinks it ends. */
void *mlxn_alloc_aligned(size_t bytes) {
    void *memory = NULL;
    if (!mlxn_alloc_take(bytes)) return NULL;
    if (posix_memalign(&memory, 64, bytes ? bytes : 1)) return taken(NULL);
    return memset(memory, 0, bytes ? bytes : 1);
}

void mlxn_free_aligned(void *memory) { mlxn_free(memory); }

#else

/* The 64 bytes in front of the block say how to give it back. Large blocks are maps of their own: the system zeroes
 * their pages when they are first touched, and they may use huge pages. */
typedef struct aligned_header {
    void *base;
    size_t map_bytes; /* 0: from calloc */
} aligned_header;

enum { HEADER_BYTES = 64, LARGE_BLOCK = 4 << 20, HUGE_PAGE = 2 << 20 };
_Static_assert(sizeof(aligned_header) <= HEADER_BYTES, "the header must fit in front of the block");

static void *finish_aligned(uintptr_t block, void *base, size_t map_bytes) {
    aligned_header header = {base, map_bytes};
    memcpy((void *)(block - HEADER_BYTES), &header, sizeof header);
    return (void *)block;
}

static void *alloc_large(size_t bytes) {
    size_t total;
    if (__builtin_add_overflow(bytes, (size_t)2 * HUGE_PAGE, &total)) return NULL;
    void *base = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) return NULL;
    uintptr_t block = ((uintptr_t)base + HEADER_BYTES + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1);
#if defined(MADV_HUGEPAGE)
    /* Whole huge pages only, so that the last page does not add up to 2 MiB. A refusal costs nothing. */
    (void)madvise((void *)block, bytes & ~(size_t)(HUGE_PAGE - 1), MADV_HUGEPAGE);
#endif
    return finish_aligned(block, base, total);
}

void *mlxn_alloc_aligned(size_t bytes) {
    if (!mlxn_alloc_take(bytes)) return NULL;
    if (bytes >= LARGE_BLOCK) return taken(alloc_large(bytes));
    void *base = taken(calloc(1, bytes + HEADER_BYTES + 63));
    if (!base) return NULL;
    return finish_aligned(((uintptr_t)base + HEADER_BYTES + 63) & ~(uintptr_t)63, base, 0);
}

void mlxn_free_aligned(void *memory) {
    if (!memory) return;
    mlxn_alloc_give();
    aligned_header header;
    memcpy(&header, (const char *)memory - HEADER_BYTES, sizeof header);
    if (header.map_bytes)
        munmap(header.base, header.map_bytes);
    else
        free(header.base);
}

#endif
