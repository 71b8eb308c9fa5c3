// A real fault on one GPU, for `gpu lost`: preloaded into a server, it waits for a file and then stores to an address that nobody
// has, on the device of SORTIE_FAULT_DEVICE. CUDA takes that device's context from the whole process, as it does after a broken
// kernel or a fault of the hardware.
//
//     nvcc -shared -Xcompiler -fPIC -o gpu_fault.so gpu_fault.cu

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <unistd.h>

__global__ void store_nowhere() { *reinterpret_cast<volatile int *>(16) = 1; }

static void wait_and_break(const char *file, int device) {
    while (access(file, F_OK) != 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    cudaSetDevice(device);
    store_nowhere<<<1, 1>>>();
    const cudaError_t error = cudaDeviceSynchronize();
    std::fprintf(stderr, "gpu_fault: device %d: %s\n", device, cudaGetErrorString(error));
}

__attribute__((constructor)) static void start() {
    const char *file = std::getenv("SORTIE_FAULT_FILE"), *device = std::getenv("SORTIE_FAULT_DEVICE");
    if (file && device) std::thread(wait_and_break, file, std::atoi(device)).detach();
}
