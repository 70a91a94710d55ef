// Copies compressed chunks back to back, so that only their bytes are downloaded: nvCOMP writes
// each chunk to memory for the worst case.
//
// One warp per chunk, 16 bytes per lane. Sources, target and offsets are multiples of 16, and the
// memory after a chunk reaches to the next multiple, so that whole words are copied.
//
// gather.ptx is this file compiled for all GPUs from compute capability 5.0 on:
//   NVRTC 12.0, --gpu-architecture=compute_50, then ".version 8.0" lowered to 6.0.

typedef unsigned long long u64;

extern "C" __global__ void s4_gather(
    const u64* __restrict__ sources,
    const u64* __restrict__ sizes,
    const u64* __restrict__ offsets,
    unsigned char* __restrict__ target,
    unsigned int count)
{
    const unsigned int lane = threadIdx.x % 32;
    const unsigned int warps = gridDim.x * (blockDim.x / 32);
    for (unsigned int i = (blockIdx.x * blockDim.x + threadIdx.x) / 32; i < count; i += warps) {
        const uint4* from = reinterpret_cast<const uint4*>(sources[i]);
        uint4* to = reinterpret_cast<uint4*>(target + offsets[i]);
        const u64 words = (sizes[i] + 15) / 16;
        for (u64 word = lane; word < words; word += 32) {
            to[word] = from[word];
        }
    }
}
