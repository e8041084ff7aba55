/* slab.c: pages from the system, and slabs that packed weights share, on huge pages where the system grants them. */
#include <sys/mman.h>

#include "backend/cpu/device.h"

enum { HUGE_PAGE = 2 << 20, SLAB_BYTES = 32 << 20 };

struct cpu_slab {
    uint8_t *memory;
    uint64_t bytes, used;
    uint64_t live; /* allocations not yet freed, plus one while the device offers it for more */
};

/* Whole pages; with `huge`, so that the first byte lies on a huge page. */
static uint8_t *map_pages(uint64_t bytes, uint64_t total, bool huge) {
    uint8_t *memory = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return NULL;
    if (!huge) return memory;
    /* Give the ends back, so that what is left starts on a huge page. */
    uint8_t *start = (uint8_t *)(((uintptr_t)memory + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
    if (start > memory) munmap(memory, (size_t)(start - memory));
    uint64_t tail = total - bytes - (uint64_t)(start - memory);
    uint64_t page = 4096, keep = (bytes + page - 1) & ~(page - 1);
    if (tail > keep - bytes) munmap(start + keep, (size_t)(tail - (keep - bytes)));
#ifdef MADV_HUGEPAGE
    madvise(start, (size_t)bytes, MADV_HUGEPAGE);
#endif
    return start;
}

void *cpu_pages_alloc(uint64_t bytes, bool huge) {
    uint64_t total;
    if (!mlxn_add_u64(bytes, huge ? HUGE_PAGE : 0, &total) || total > SIZE_MAX || !mlxn_alloc_take((size_t)total))
        return NULL;
    void *memory = map_pages(bytes, total, huge);
    if (!memory) mlxn_alloc_give();
    return memory;
}

void cpu_pages_free(void *memory, uint64_t bytes) {
    if (!memory) return;
    munmap(memory, (size_t)bytes);
    mlxn_alloc_give();
}

static void drop(cpu_slab *slab) {
    if (--slab->live) return;
    cpu_pages_free(slab->memory, slab->bytes);
    mlxn_free(slab);
}

void *cpu_slab_alloc(cpu_device *device, uint64_t bytes, void **out) {
    *out = NULL;
    uint64_t need;
    if (!mlxn_align_u64(bytes ? bytes : 1, 64, &need)) return NULL;
    pthread_mutex_lock(&device->slab_lock);
    cpu_slab *slab = device->slab;
    if (!slab || slab->bytes - slab->used < need) {
        bool own = need > SLAB_BYTES / 2; /* large ones stand alone, the open slab stays open */
        cpu_slab *fresh = mlxn_alloc(sizeof *fresh);
        uint64_t size = own ? need : SLAB_BYTES;
        bool rounded = mlxn_align_u64(size, 4096, &size);
        uint8_t *memory = fresh && rounded ? cpu_pages_alloc(size, size >= HUGE_PAGE) : NULL;
        if (!memory) {
            mlxn_free(fresh);
            pthread_mutex_unlock(&device->slab_lock);
            return NULL;
        }
        *fresh = (cpu_slab){.memory = memory, .bytes = size, .live = own ? 0 : 1};
        if (!own) {
            if (slab) drop(slab);
            device->slab = fresh;
        }
        slab = fresh;
    }
    void *memory = slab->memory + slab->used;
    slab->used += need;
    slab->live++;
    *out = slab;
    pthread_mutex_unlock(&device->slab_lock);
    return memory;
}

void cpu_slab_free(cpu_device *device, void *slab) {
    if (!slab) return;
    pthread_mutex_lock(&device->slab_lock);
    drop(slab);
    pthread_mutex_unlock(&device->slab_lock);
}

void cpu_slabs_close(cpu_device *device) {
    if (device->slab) drop(device->slab);
    device->slab = NULL;
}
