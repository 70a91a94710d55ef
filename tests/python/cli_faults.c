/* Lets calls to the system go wrong, or makes something happen before or after them: preloaded, so
 * that it stands before the C library. Only calls that concern relative paths, files that were
 * opened by such a path, and standard input and output count, in this process and on any thread.
 *
 * Linux with glibc.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum kind { NOTHING, ERROR, SHORT, TRUNCATE, SIGNAL_BEFORE, SIGNAL_AFTER };

/* What another process reads: the number of calls, and the name of the one that went wrong. */
struct report {
    atomic_long calls;
    char name[64];
};
static struct report *report;
/* Calls are numbered from 1 on; the one with this number goes wrong. */
static atomic_long chosen;
static atomic_int is_armed;
static enum kind kind;
/* The error or the signal. */
static int value;
/* Whether a descriptor counts. */
static atomic_char counts[1024];
/* The folder whose files count, with a slash at its end. */
static char folder[4096];

static int is_ours(const char *path) {
    return path[0] != '/' || !strncmp(path, folder, strlen(folder)) ||
           !strncmp(path, folder, strlen(folder) - 1);
}

static int is_counted(int file) { return file >= 0 && file < 1024 && atomic_load(&counts[file]); }

/* What is to happen to the call that is being made. */
static enum kind next(const char *name) {
    if (!atomic_load(&is_armed) || atomic_fetch_add(&report->calls, 1) + 1 != atomic_load(&chosen))
        return NOTHING;
    strcpy(report->name, name);
    if (kind == SIGNAL_BEFORE) kill(getpid(), value);
    if (kind == TRUNCATE) {
        int (*real)(const char *, off_t) = dlsym(RTLD_NEXT, "truncate64");
        real("in", 100);
    }
    return kind;
}

/* After a call: the signal, with errno left as it is. */
static void finish(enum kind of) {
    int error = errno;
    if (of == SIGNAL_AFTER) kill(getpid(), value);
    errno = error;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* A call that may fail as a whole. */
#define WRAPPED(result, name, parameters, arguments, is_concerned, failed)                         \
    result name parameters {                                                                       \
        if (!(is_concerned)) return REAL(name) arguments;                                          \
        enum kind of = next(#name);                                                                \
        if (of == ERROR) return failed;                                                            \
        result done = REAL(name) arguments;                                                        \
        finish(of);                                                                                \
        return done;                                                                               \
    }
#define FAILED (errno = value, -1)

/* A call that may move fewer bytes than it was asked to. */
#define MOVING(name, parameters, arguments, short_arguments)                                       \
    ssize_t name parameters {                                                                      \
        if (!is_counted(file)) return REAL(name) arguments;                                        \
        enum kind of = next(#name);                                                                \
        if (of == ERROR) return FAILED;                                                            \
        ssize_t done = of == SHORT && size > 1 ? REAL(name) short_arguments : REAL(name) arguments; \
        finish(of);                                                                                \
        return done;                                                                               \
    }

MOVING(read, (int file, void *data, size_t size), (file, data, size), (file, data, 1))
MOVING(write, (int file, const void *data, size_t size), (file, data, size), (file, data, 1))
MOVING(pread64, (int file, void *data, size_t size, off64_t at), (file, data, size, at),
       (file, data, 1, at))

WRAPPED(off64_t, lseek64, (int file, off64_t at, int from), (file, at, from), is_counted(file),
        FAILED)
WRAPPED(int, fsync, (int file), (file), is_counted(file), FAILED)
WRAPPED(int, fstat64, (int file, struct stat64 *found), (file, found), is_counted(file), FAILED)
WRAPPED(int, stat64, (const char *path, struct stat64 *found), (path, found), is_ours(path), FAILED)
WRAPPED(int, lstat64, (const char *path, struct stat64 *found), (path, found), is_ours(path),
        FAILED)
WRAPPED(int, fchmod, (int file, mode_t mode), (file, mode), is_counted(file), FAILED)
WRAPPED(int, rename, (const char *from, const char *to), (from, to), is_ours(from), FAILED)
WRAPPED(int, unlink, (const char *path), (path), is_ours(path), FAILED)
WRAPPED(int, ftruncate64, (int file, off64_t size), (file, size), is_counted(file), FAILED)
WRAPPED(int, posix_fallocate64, (int file, off64_t at, off64_t size), (file, at, size),
        is_counted(file), value)
WRAPPED(void *, mmap64,
        (void *at, size_t size, int protection, int flags, int file, off64_t offset),
        (at, size, protection, flags, file, offset), is_counted(file), (errno = value, MAP_FAILED))

/* A descriptor is gone whatever close says. */
int close(int file) {
    int is_concerned = is_counted(file);
    enum kind of = is_concerned ? next("close") : NOTHING;
    if (is_concerned) atomic_store(&counts[file], 0);
    int done = REAL(close)(file);
    finish(of);
    return of == ERROR ? FAILED : done;
}

int dup(int file) {
    int is_concerned = is_counted(file);
    enum kind of = is_concerned ? next("dup") : NOTHING;
    if (of == ERROR) return FAILED;
    int copy = REAL(dup)(file);
    if (is_concerned && copy >= 0 && copy < 1024) atomic_store(&counts[copy], 1);
    finish(of);
    return copy;
}

static int opened(const char *path, int flags, mode_t mode, const char *name,
                  int (*real)(const char *, int, ...)) {
    int is_concerned = is_ours(path);
    enum kind of = is_concerned ? next(name) : NOTHING;
    if (of == ERROR) return FAILED;
    int file = real(path, flags, mode);
    if (is_concerned && file >= 0 && file < 1024) atomic_store(&counts[file], 1);
    finish(of);
    return file;
}

#define OPENING(name)                                                                              \
    int name(const char *path, int flags, ...) {                                                   \
        va_list more;                                                                              \
        va_start(more, flags);                                                                     \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;                    \
        va_end(more);                                                                              \
        return opened(path, flags, mode, #name, REAL(name));                                       \
    }

OPENING(open)
OPENING(open64)

int openat64(int at, const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    enum kind of = is_ours(path) ? next("openat64") : NOTHING;
    if (of == ERROR) return FAILED;
    int file = REAL(openat64)(at, path, flags, mode);
    if (is_ours(path) && file >= 0 && file < 1024) atomic_store(&counts[file], 1);
    finish(of);
    return file;
}

/* From now on the call with this number goes wrong; calls concern files of the folder. */
void faults_arm(const char *of, struct report *to, int which, int with, long number) {
    strncpy(folder, of, sizeof folder - 1);
    report = to;
    kind = which;
    value = with;
    atomic_store(&counts[0], 1);
    atomic_store(&counts[1], 1);
    atomic_store(&chosen, number);
    atomic_store(&is_armed, 1);
}
