/* A stand-in for CUDA's libraries that computes nothing: memory is the host's, and every call succeeds.
 *
 * With it before the real libraries ONNX Runtime's CUDA provider loads where there is no GPU, so that it says where it
 * would place each node of a model, and whether it would capture it as a CUDA graph. Nothing can be run.
 * Built and used by benchmarks/gpu_placement.py. Signatures: CUDA Runtime API 13, cuBLAS, cuDNN 9.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef void *Handle;

static int allocated(Handle *to, size_t bytes) {
  *to = aligned_alloc(256, (bytes + 511) / 256 * 256);
  return 0;
}

static int given(Handle *to) {
  *to = (Handle)256; /* a handle that nothing looks into */
  return 0;
}

#define NOTHING(name, ...) int name(__VA_ARGS__) { return 0; }

/* One device, of compute capability 9.0. */
int cuInit(unsigned flags) { return 0; }
int cuDeviceGetCount(int *count) { return *count = 1, 0; }
NOTHING(cuTensorMapEncodeTiled, void)
NOTHING(cudaSetDevice, int device)
int cudaGetDevice(int *device) { return *device = 0, 0; }
int cudaGetDeviceCount(int *count) { return *count = 1, 0; }
int cudaDriverGetVersion(int *version) { return *version = 13000, 0; }
int cudaRuntimeGetVersion(int *version) { return *version = 13000, 0; }
NOTHING(cudaDeviceSynchronize, void)

int cudaDeviceGetAttribute(int *value, int attribute, int device) {
  switch (attribute) {
    case 8: *value = 49152; break;    /* shared memory of a block */
    case 10: *value = 32; break;      /* warp */
    case 12: *value = 65536; break;   /* registers of a block */
    case 16: *value = 132; break;     /* multiprocessors */
    case 39: *value = 2048; break;    /* threads of a multiprocessor */
    case 75: *value = 9; break;       /* compute capability, major */
    case 76: *value = 0; break;       /* and minor */
    case 97: *value = 232448; break;  /* shared memory of a block, by request */
    default: *value = 1024;
  }
  return 0;
}

int cudaGetDeviceProperties(char *properties, int device) { /* struct cudaDeviceProp of CUDA 13 */
  memset(properties, 0, 1008);
  strcpy(properties, "stand-in");
  *(size_t *)(properties + 288) = (size_t)80 << 30; /* memory */
  *(size_t *)(properties + 296) = 49152;
  *(int *)(properties + 304) = 65536;
  *(int *)(properties + 308) = 32;
  *(int *)(properties + 320) = 1024;
  *(int *)(properties + 360) = 9;
  return 0;
}

/* Memory. */
int cudaMalloc(Handle *to, size_t bytes) { return allocated(to, bytes); }
int cudaMallocHost(Handle *to, size_t bytes) { return allocated(to, bytes); }
int cudaHostAlloc(Handle *to, size_t bytes, unsigned flags) { return allocated(to, bytes); }
int cudaFree(Handle at) { return free(at), 0; }
int cudaFreeAsync(Handle at, Handle stream) { return free(at), 0; }
int cudaFreeHost(Handle at) { return free(at), 0; }
int cudaMemGetInfo(size_t *left, size_t *total) { return *left = *total = (size_t)80 << 30, 0; }
int cudaMemcpy(Handle to, const void *from, size_t bytes, int kind) { return memcpy(to, from, bytes), 0; }
int cudaMemcpyAsync(Handle to, const void *from, size_t bytes, int kind, Handle stream) {
  return memcpy(to, from, bytes), 0;
}
int cudaMemset(Handle at, int value, size_t bytes) { return memset(at, value, bytes), 0; }
int cudaMemsetAsync(Handle at, int value, size_t bytes, Handle stream) { return memset(at, value, bytes), 0; }
int cudaPointerGetAttributes(char *attributes, const void *at) { return memset(attributes, 0, 32), 0; }

/* Streams and events. */
int cudaStreamCreate(Handle *stream) { return given(stream); }
int cudaStreamCreateWithFlags(Handle *stream, unsigned flags) { return given(stream); }
NOTHING(cudaStreamDestroy, Handle stream)
NOTHING(cudaStreamSynchronize, Handle stream)
NOTHING(cudaStreamWaitEvent, Handle stream, Handle event, unsigned flags)
int cudaEventCreate(Handle *event) { return given(event); }
int cudaEventCreateWithFlags(Handle *event, unsigned flags) { return given(event); }
NOTHING(cudaEventDestroy, Handle event)
NOTHING(cudaEventRecord, Handle event, Handle stream)
NOTHING(cudaEventSynchronize, Handle event)

/* Errors. */
NOTHING(cudaGetLastError, void)
NOTHING(cudaPeekAtLastError, void)
const char *cudaGetErrorName(int error) { return "stand-in"; }
const char *cudaGetErrorString(int error) { return "stand-in"; }

/* Libraries upon it. */
int cublasCreate_v2(Handle *handle) { return given(handle); }
int cublasLtCreate(Handle *handle) { return given(handle); }
NOTHING(cublasDestroy_v2, Handle handle)
NOTHING(cublasLtDestroy, Handle handle)
NOTHING(cublasSetStream_v2, Handle handle, Handle stream)
NOTHING(cublasSetMathMode, Handle handle, int mode)
int cudnnCreate(Handle *handle) { return given(handle); }
NOTHING(cudnnDestroy, Handle handle)
NOTHING(cudnnSetStream, Handle handle, Handle stream)
size_t cudnnGetVersion(void) { return 90000; }
