/* Lets allocations of one module fail, and those of no other: preloaded, so that it stands before
 * the C library. Rust's allocator, libzstd and libdeflate are part of that module and call these
 * functions from it; what Python, Polars or PyArrow allocate themselves is left alone.
 *
 * Linux with glibc.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

/* Where the code of the module lies. */
static uintptr_t module_start, module_end;
/* Allocations are numbered from 1; those from first_failing to before end_failing fail. */
static atomic_long counted, first_failing, end_failing;

static int is_failing(void *caller) {
    uintptr_t address = (uintptr_t)caller;
    if (address < module_start || address >= module_end) return 0;
    long number = atomic_fetch_add(&counted, 1) + 1;
    return number >= atomic_load(&first_failing) && number < atomic_load(&end_failing);
}

#define FAILS is_failing(__builtin_return_address(0))

void *malloc(size_t size) {
    if (!FAILS) return __libc_malloc(size);
    errno = ENOMEM;
    return NULL;
}

void *calloc(size_t count, size_t size) {
    if (!FAILS) return __libc_calloc(count, size);
    errno = ENOMEM;
    return NULL;
}

void *realloc(void *memory, size_t size) {
    if (!FAILS) return __libc_realloc(memory, size);
    errno = ENOMEM;
    return NULL;
}

void *aligned_alloc(size_t alignment, size_t size) {
    if (!FAILS) return __libc_memalign(alignment, size);
    errno = ENOMEM;
    return NULL;
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
    if (FAILS || !(*memory = __libc_memalign(alignment, size))) return ENOMEM;
    return 0;
}

void *mmap(void *address, size_t size, int protection, int flags, int file, off_t offset) {
    if (!FAILS) return (void *)syscall(SYS_mmap, address, size, protection, flags, file, offset);
    errno = ENOMEM;
    return MAP_FAILED;
}

void *mmap64(void *address, size_t size, int protection, int flags, int file, off_t offset) {
    if (!FAILS) return (void *)syscall(SYS_mmap, address, size, protection, flags, file, offset);
    errno = ENOMEM;
    return MAP_FAILED;
}

/* A thread takes memory for its stack. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                   void *argument) {
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (FAILS) return EAGAIN;
    if (!real) real = dlsym(RTLD_NEXT, "pthread_create");
    return real(thread, attributes, start, argument);
}

static int find_module(struct dl_phdr_info *info, size_t size, void *name) {
    (void)size;
    if (!strstr(info->dlpi_name, name)) return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_X)) continue;
        module_start = info->dlpi_addr + part->p_vaddr;
        module_end = module_start + part->p_memsz;
    }
    return module_end > 0;
}

/* Chooses the module by a part of its path; returns whether it is loaded. */
int faults_choose(const char *name) { return dl_iterate_phdr(find_module, (void *)name); }

/* From now on the allocations numbered first to before end fail. */
void faults_arm(long first, long end) {
    atomic_store(&counted, 0);
    atomic_store(&first_failing, first);
    atomic_store(&end_failing, end);
}

/* Lets all succeed again; returns how many there were since faults_arm. */
long faults_disarm(void) {
    atomic_store(&end_failing, 0);
    return atomic_load(&counted);
}
