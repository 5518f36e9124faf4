/* A slow or read-only disk under one process: preloaded, it delays flushes and writes of files under some paths, or refuses
 * whatever would change them, with EROFS.
 *
 * SLOW_DISK_PATHS has the paths, separated by colons; of those that a file's name begins with the first one counts.
 * SLOW_DISK_CONTROL is a file of `struct control`, mapped by both sides, so that delays change while the process runs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define KINDS 8

struct control {
    /* Milliseconds that each takes. */
    _Atomic int flush[KINDS], write[KINDS];
    /* How many have been delayed. */
    _Atomic unsigned flushes[KINDS], writes[KINDS];
    /* Whether nothing may be changed, and how many calls have been refused for it. */
    _Atomic int read_only[KINDS];
    _Atomic unsigned refused[KINDS];
};

static struct control *control;
static char paths[KINDS][PATH_MAX];
static int count;

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("SLOW_DISK_CONTROL"), *list = getenv("SLOW_DISK_PATHS");
    if (!file || !list)
        return;
    for (const char *at = list; count < KINDS && *at; count++) {
        size_t length = strcspn(at, ":");
        if (length >= PATH_MAX)
            abort();
        memcpy(paths[count], at, length);
        at += length + (at[length] == ':');
    }
    int fd = open(file, O_RDWR | O_CLOEXEC);
    void *mapped = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED)
        abort();
    close(fd);
    control = mapped;
}

/* Of which kind a file is; -1: of none. */
static int kind_of(const char *path) {
    for (int kind = 0; control && kind < count; kind++)
        if (strncmp(path, paths[kind], strlen(paths[kind])) == 0)
            return kind;
    return -1;
}

static int kind_of_fd(int fd) {
    int error = errno;
    char link[40], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = control ? readlink(link, path, sizeof path - 1) : -1;
    errno = error;
    if (length <= 0)
        return -1;
    path[length] = 0;
    return kind_of(path);
}

static void delay(int kind, _Atomic int *delays, _Atomic unsigned *delayed) {
    int ms = kind < 0 ? 0 : delays[kind], error = errno;
    if (ms > 0) {
        struct timespec left = {ms / 1000, ms % 1000 * 1000000L};
        delayed[kind]++;
        while (nanosleep(&left, &left) != 0 && errno == EINTR)
            ;
    }
    errno = error;
}

static int refused(int kind) {
    if (kind < 0 || !control->read_only[kind])
        return 0;
    control->refused[kind]++;
    errno = EROFS;
    return 1;
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

/* Flushes of a file system that has become read-only succeed: there is nothing left to write. */
#define FLUSH(name)                                                            \
    int name(int fd) {                                                         \
        REAL(name);                                                            \
        if (control)                                                           \
            delay(kind_of_fd(fd), control->flush, control->flushes);           \
        return real(fd);                                                       \
    }

#define WRITE(name, offset_type)                                               \
    ssize_t name(int fd, const void *bytes, size_t length, offset_type offset) { \
        REAL(name);                                                            \
        int kind = kind_of_fd(fd);                                             \
        if (refused(kind))                                                     \
            return -1;                                                         \
        if (control)                                                           \
            delay(kind, control->write, control->writes);                      \
        return real(fd, bytes, length, offset);                                \
    }

#define CUT(name, offset_type)                                                 \
    int name(int fd, offset_type length) {                                     \
        REAL(name);                                                            \
        return refused(kind_of_fd(fd)) ? -1 : real(fd, length);                \
    }

#define OPEN(name)                                                             \
    int name(const char *path, int flags, ...) {                               \
        REAL(name);                                                            \
        va_list more;                                                          \
        va_start(more, flags);                                                 \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more);                                                          \
        int changes = (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC); \
        return changes && refused(kind_of(path)) ? -1 : real(path, flags, mode); \
    }

FLUSH(fsync)
FLUSH(fdatasync)
WRITE(pwrite, off_t)
WRITE(pwrite64, off64_t)
CUT(ftruncate, off_t)
CUT(ftruncate64, off64_t)
OPEN(open)
OPEN(open64)

ssize_t write(int fd, const void *bytes, size_t length) {
    REAL(write);
    return refused(kind_of_fd(fd)) ? -1 : real(fd, bytes, length);
}

int rename(const char *from, const char *to) {
    REAL(rename);
    return refused(kind_of(to)) ? -1 : real(from, to);
}

int unlink(const char *path) {
    REAL(unlink);
    return refused(kind_of(path)) ? -1 : real(path);
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    return refused(kind_of(path)) ? -1 : real(path, mode);
}
