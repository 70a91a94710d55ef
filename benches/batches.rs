//! How columns are cut into batches and launches, against the stand-in for a GPU:
//! `cargo build --release --example gpu_standin && cargo bench --bench batches`.
//! The timings mean nothing; the plans are those of a GPU with that much memory.

#[path = "../tests/common/standin.rs"]
#[allow(dead_code, reason = "only tests inject faults")]
mod standin;

use s4_codec::codec::Codec;
use s4_codec::column::{self, Offsets, Rows};
use s4_codec::gpu::Device;
use s4_codec::kernel::fcg1::{Algorithm, Encoding};
use s4_codec::pool::NO_INTERRUPT;
use standin::Standin;

/// Rows of these lengths, cut from one text.
struct Cut {
    text: Vec<u8>,
    lens: Box<dyn Fn(usize) -> usize + Sync>,
    rows: usize,
}

impl Rows for Cut {
    fn count(&self) -> usize {
        self.rows
    }
    fn get(&self, row: usize) -> Option<&[u8]> {
        let len = (self.lens)(row);
        let start = row * 7919 * 16 % (self.text.len() - len + 1);
        Some(&self.text[start..start + len])
    }
}

fn text(len: usize) -> Vec<u8> {
    let lines = (0u64..).flat_map(|n| format!("{n} GET /item/{} 200\n", n * 37 % 101).into_bytes());
    lines.take(len).collect()
}

fn cut(len: usize, rows: usize, lens: impl Fn(usize) -> usize + Sync + 'static) -> Cut {
    Cut { text: text(len), lens: Box::new(lens), rows }
}

/// 16 B to 16 MiB: each length four times rarer than the one before.
fn mixed_len(row: usize) -> usize {
    let rank = (row + 1).trailing_zeros() / 2;
    (16 << (2 * rank)).min(16 << 20)
}

fn main() {
    let gpu = Standin::take();
    let columns = [
        ("10 million values of 20 bytes", cut(64 << 20, 10_000_000, |_| 20)),
        ("one value of 3 GiB", cut(3 << 30, 1, |_| 3 << 30)),
        ("200,000 values of 16 B to 16 MiB", cut(64 << 20, 200_000, mixed_len)),
    ];
    let device = Device::Gpu(0);
    let codecs = [Algorithm::Zstd, Algorithm::GDeflate, Algorithm::Bitcomp]
        .map(|algorithm| Codec::Nvcomp { encoding: Encoding::new(algorithm), device });
    for memory in [80u64 << 30, 8 << 30] {
        println!("\nGPU with {} GiB", memory >> 30);
        for (name, rows) in &columns {
            println!("  {name}, compressed");
            for codec in &codecs {
                s4_codec::gpu::release_memory().expect("given back");
                gpu.set_memory(memory);
                gpu.reset();
                column::compress::<Offsets, _>(codec, std::slice::from_ref(rows), NO_INTERRUPT)
                    .expect("compresses");
                describe(codec, &gpu);
            }
        }
    }
}

fn describe(codec: &Codec, gpu: &Standin) {
    let launches = gpu.launches();
    let mut chunks: Vec<_> = launches.iter().map(|launch| launch[2]).collect();
    chunks.sort_unstable();
    let total: u64 = chunks.iter().sum();
    let most = launches.iter().map(|launch| launch[4]).max().unwrap_or(0);
    println!(
        "    {:16} {:6} launches, {:9} chunks in all, {:6} in the median launch, {:6} at most; \
         {:5.1} MiB of originals at most; {:5} MiB of the GPU held",
        codec.name(),
        launches.len(),
        total,
        chunks.get(chunks.len() / 2).copied().unwrap_or(0),
        chunks.last().copied().unwrap_or(0),
        most as f64 / f64::from(1 << 20),
        gpu.live_bytes() >> 20,
    );
    assert!(gpu.violations().is_empty());
}
