// The project's own kernels: what nvCOMP leaves to do on the device.
//
// kernels.ptx is this file compiled for all GPUs from compute capability 5.0 on; compile.py
// writes it.

typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned char u8;

static __device__ u32 warp_index() { return (blockIdx.x * blockDim.x + threadIdx.x) / 32; }
static __device__ u32 warp_count() { return gridDim.x * (blockDim.x / 32); }

// Copies compressed chunks back to back, so that only their bytes are downloaded: nvCOMP writes
// each chunk to memory for the worst case.
//
// One warp per chunk, 16 bytes per lane. Sources, target and offsets are multiples of 16, and the
// memory after a chunk reaches to the next multiple, so that whole words are copied.
extern "C" __global__ void s4_gather(
    const u64* __restrict__ sources,
    const u64* __restrict__ sizes,
    const u64* __restrict__ offsets,
    u8* __restrict__ target,
    u32 count)
{
    const u32 lane = threadIdx.x % 32;
    for (u32 i = warp_index(); i < count; i += warp_count()) {
        const uint4* from = reinterpret_cast<const uint4*>(sources[i]);
        uint4* to = reinterpret_cast<uint4*>(target + offsets[i]);
        const u64 words = (sizes[i] + 15) / 16;
        for (u64 word = lane; word < words; word += 32) {
            to[word] = from[word];
        }
    }
}

// Copies chunks from and to any addresses. A chunk whose source is its target is left alone.
//
// One warp per chunk, 4 bytes per lane, stored at multiples of 4. A word of the source is read
// only if the chunk has some of its bytes.
extern "C" __global__ void s4_copy(
    const u64* __restrict__ sources,
    const u64* __restrict__ sizes,
    const u64* __restrict__ targets,
    u32 count)
{
    const u32 lane = threadIdx.x % 32;
    for (u32 i = warp_index(); i < count; i += warp_count()) {
        const u8* from = reinterpret_cast<const u8*>(sources[i]);
        u8* to = reinterpret_cast<u8*>(targets[i]);
        const u64 size = sizes[i];
        if (from == to) {
            continue;
        }
        const u64 head = min(size, (u64)(-targets[i] & 3));
        const u64 words = (size - head) / 4;
        const u32 shift = (sources[i] + head) % 4 * 8;
        const u32* aligned = reinterpret_cast<const u32*>((sources[i] + head) & ~(u64)3);
        u32* out = reinterpret_cast<u32*>(to + head);
        for (u64 word = lane; word < words; word += 32) {
            const u32 low = aligned[word];
            out[word] = shift == 0 ? low : __funnelshift_r(low, aligned[word + 1], shift);
        }
        const u64 tail = head + 4 * words;
        if (lane < head) {
            to[lane] = from[lane];
        }
        if (tail + lane < size) {
            to[tail + lane] = from[tail + lane];
        }
    }
}

// CRC-32C, reflected: bit 31 is the coefficient of x^0.
static const u32 POLYNOMIAL = 0x82F63B78;

// x to the power of 2 to the power of i, modulo the polynomial.
static __constant__ u32 POWERS[40] = {
    0x40000000, 0x20000000, 0x08000000, 0x00800000, 0x00008000, 0x82F63B78, 0x6EA2D55C, 0x18B8EA18,
    0x510AC59A, 0xB82BE955, 0xB8FDB1E7, 0x88E56F72, 0x74C360A4, 0xE4172B16, 0x0D65762A, 0x35D73A62,
    0x28461564, 0xBF455269, 0xE2EA32DC, 0xFE7740E6, 0xF946610B, 0x3C204F8F, 0x538586E3, 0x59726915,
    0x734D5309, 0xBC1AC763, 0x7D0722CC, 0xD289CABE, 0xE94CA9BC, 0x05B74F3F, 0xA51E1F42, 0x40000000,
    0x20000000, 0x08000000, 0x00800000, 0x00008000, 0x82F63B78, 0x6EA2D55C, 0x18B8EA18, 0x510AC59A,
};

// The product of two polynomials, modulo the polynomial.
static __device__ u32 multiply(u32 a, u32 b)
{
    u32 product = 0;
    for (int bit = 31; bit >= 0; bit--) {
        product ^= b & (0 - (a >> bit & 1));
        b = b >> 1 ^ (POLYNOMIAL & (0 - (b & 1)));
    }
    return product;
}

static __device__ u32 step(const u32 (*table)[256], u32 crc, u32 word)
{
    crc ^= word;
    return table[3][crc & 255] ^ table[2][crc >> 8 & 255] ^ table[1][crc >> 16 & 255]
        ^ table[0][crc >> 24];
}

// The CRC-32C of each chunk, at any address.
//
// One warp per chunk. Each lane has a segment of 16 times a power of two bytes, by four bytes at a
// time ("slicing-by-4", Kounavis and Berry, 2005). Segments are laid from the chunk's end, so that
// only the first is shorter: zeros before a message change nothing, and each segment moves by a
// known power of x as segments are combined in pairs.
extern "C" __global__ void s4_crc32c(
    const u64* __restrict__ chunks,
    const u64* __restrict__ sizes,
    u32* __restrict__ crcs,
    u32 count)
{
    __shared__ u32 table[4][256];
    for (u32 i = threadIdx.x; i < 256; i += blockDim.x) {
        u32 crc = i;
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (POLYNOMIAL & (0 - (crc & 1)));
        }
        table[0][i] = crc;
    }
    __syncthreads();
    for (u32 i = threadIdx.x; i < 256; i += blockDim.x) {
        u32 crc = table[0][i];
        for (int slice = 1; slice < 4; slice++) {
            crc = crc >> 8 ^ table[0][crc & 255];
            table[slice][i] = crc;
        }
    }
    __syncthreads();

    const u32 lane = threadIdx.x % 32;
    for (u32 i = warp_index(); i < count; i += warp_count()) {
        const u8* chunk = reinterpret_cast<const u8*>(chunks[i]);
        const u64 size = sizes[i];
        u32 log = 4;
        while ((u64)32 << log < size) {
            log++;
        }
        const u64 after = (u64)(31 - lane) << log;
        u64 end = size > after ? size - after : 0;
        u64 at = end > (u64)1 << log ? end - ((u64)1 << log) : 0;
        u32 crc = end > 0 && at == 0 ? 0xFFFFFFFF : 0;
        while (at < end && (chunks[i] + at) % 16 != 0) {
            crc = crc >> 8 ^ table[0][(crc ^ chunk[at++]) & 255];
        }
        for (; at + 16 <= end; at += 16) {
            const uint4 words = *reinterpret_cast<const uint4*>(chunk + at);
            crc = step(table, crc, words.x);
            crc = step(table, crc, words.y);
            crc = step(table, crc, words.z);
            crc = step(table, crc, words.w);
        }
        while (at < end) {
            crc = crc >> 8 ^ table[0][(crc ^ chunk[at++]) & 255];
        }
        // Lane 31 gets them all.
        for (u32 round = 0; round < 5; round++) {
            const u32 before = __shfl_up_sync(0xFFFFFFFF, crc, 1 << round);
            crc ^= multiply(POWERS[3 + log + round], before);
        }
        if (lane == 31) {
            crcs[i] = size == 0 ? 0 : ~crc;
        }
    }
}

// The length of the UTF-8 sequence that a byte begins, as far as that byte tells; 0 if it begins
// none.
static __device__ u32 sequence_len(u32 lead)
{
    return lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
}

// Whether the second byte of a sequence may follow its first (Unicode 16.0, table 3-7).
static __device__ bool may_follow(u32 lead, u32 second)
{
    const u32 least = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    const u32 most = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    return least <= second && second <= most;
}

// Sets bad[row] to 1 for each row of values that is not UTF-8. Offsets has rows + 1 items.
//
// Each thread takes TILE bytes, whatever rows they belong to, and with them all sequences that
// begin there.
static const u64 TILE = 256;

extern "C" __global__ void s4_utf8(
    const u8* __restrict__ values,
    const u64* __restrict__ offsets,
    u8* __restrict__ bad,
    u64 rows)
{
    const u64 total = offsets[rows];
    const u64 threads = (u64)gridDim.x * blockDim.x;
    for (u64 tile = (u64)blockIdx.x * blockDim.x + threadIdx.x; tile < (total + TILE - 1) / TILE;
         tile += threads) {
        u64 at = tile * TILE;
        const u64 end = min(at + TILE, total);
        // The last row that begins at or before the tile.
        u64 row = 0, beyond = rows;
        while (beyond - row > 1) {
            const u64 middle = row + (beyond - row) / 2;
            if (offsets[middle] <= at) {
                row = middle;
            } else {
                beyond = middle;
            }
        }
        bool is_bad = false;
        if (at > offsets[row] && (values[at] & 0xC0) == 0x80) {
            // It continues a sequence of the tile before, or none.
            u64 back = 1;
            while (back < 4 && at - back > offsets[row] && (values[at - back] & 0xC0) == 0x80) {
                back++;
            }
            const u32 len = back < 4 ? sequence_len(values[at - back]) : 0;
            is_bad = len <= back;
            at = at - back + len;
        }
        while (true) {
            const u64 row_end = offsets[row + 1];
            while (!is_bad && at < min(end, row_end)) {
                const u32 lead = values[at];
                const u32 len = sequence_len(lead);
                is_bad = len == 0 || len > row_end - at
                    || (len > 1 && !may_follow(lead, values[at + 1]))
                    || (len > 2 && (values[at + 2] & 0xC0) != 0x80)
                    || (len > 3 && (values[at + 3] & 0xC0) != 0x80);
                at += len;
            }
            if (is_bad) {
                bad[row] = 1;
                is_bad = false;
            }
            at = row_end;
            if (at >= end) {
                break;
            }
            do {
                row++;
            } while (offsets[row + 1] <= at);
        }
    }
}
