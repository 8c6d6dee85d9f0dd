/* Delays every sync of a file by SYNC_DELAY_US microseconds, like a spinning or networked disk:
   cc -shared -fPIC -o slow_sync.so slow_sync.c -ldl, then LD_PRELOAD it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static void delay(void) {
    const char *microseconds = getenv("SYNC_DELAY_US");
    if (microseconds) usleep((useconds_t)atoi(microseconds));
}

int fsync(int fd) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    delay();
    return real(fd);
}

int fdatasync(int fd) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    delay();
    return real(fd);
}
