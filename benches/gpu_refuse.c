// A fault of one GPU alone, for `gpu lost`: preloaded into a server, it waits for a file and from then on every copy that is asked for
// on the device of SORTIE_FAULT_DEVICE fails as an uncorrectable memory error does, while other devices go on. SORTIE_FAULT_TIMES
// says how often, 0 is for ever. The error comes from here: what the driver does to other devices is no part of it.
//
//     cc -shared -fPIC -O2 -o gpu_refuse.so gpu_refuse.c

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

// cudaErrorECCUncorrectable
enum { UNCORRECTABLE = 214 };

typedef int (*copy_call)(void *, const void *, size_t, int, void *);
typedef int (*device_call)(int *);

static atomic_int times;

static int fails(void *cuda) {
    const char *file = getenv("SORTIE_FAULT_FILE"), *device = getenv("SORTIE_FAULT_DEVICE");
    const char *most = getenv("SORTIE_FAULT_TIMES");
    device_call current = (device_call)dlsym(cuda, "cudaGetDevice");
    int number = -1;
    if (!file || !device || !current || current(&number) != 0 || number != atoi(device)) return 0;
    if (access(file, F_OK) != 0) return 0;
    int limit = most ? atoi(most) : 0;
    return limit == 0 || atomic_fetch_add(&times, 1) < limit;
}

int cudaMemcpyAsync(void *to, const void *from, size_t bytes, int kind, void *stream) {
    static void *cuda;
    if (!cuda) cuda = dlopen("libcudart.so.13", RTLD_LAZY | RTLD_NOLOAD);
    if (!cuda) return UNCORRECTABLE;
    if (fails(cuda)) return UNCORRECTABLE;
    return ((copy_call)dlsym(cuda, "cudaMemcpyAsync"))(to, from, bytes, kind, stream);
}
