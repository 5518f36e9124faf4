/* A slow disk under one process: preloaded, it delays flushes and writes of files under some paths.
 *
 * SLOW_DISK_PATHS has the paths, separated by colons; of those that a file's name begins with the first one counts.
 * SLOW_DISK_CONTROL is a file of `struct control`, mapped by both sides, so that delays change while the process runs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
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

static void delay(int fd, _Atomic int *delays, _Atomic unsigned *delayed) {
    int error = errno;
    char link[40], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length > 0) {
        path[length] = 0;
        for (int kind = 0; kind < count; kind++) {
            if (strncmp(path, paths[kind], strlen(paths[kind])) != 0)
                continue;
            int ms = delays[kind];
            if (ms > 0) {
                struct timespec left = {ms / 1000, ms % 1000 * 1000000L};
                delayed[kind]++;
                while (nanosleep(&left, &left) != 0 && errno == EINTR)
                    ;
            }
            break;
        }
    }
    errno = error;
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define FLUSH(name)                                      \
    int name(int fd) {                                   \
        REAL(name);                                      \
        if (control)                                     \
            delay(fd, control->flush, control->flushes); \
        return real(fd);                                 \
    }

#define WRITE(name, offset_type)                                                \
    ssize_t name(int fd, const void *bytes, size_t length, offset_type offset) { \
        REAL(name);                                                             \
        if (control)                                                            \
            delay(fd, control->write, control->writes);                         \
        return real(fd, bytes, length, offset);                                 \
    }

FLUSH(fsync)
FLUSH(fdatasync)
WRITE(pwrite, off_t)
WRITE(pwrite64, off64_t)
