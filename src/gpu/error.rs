//! Why a GPU could not do its work.

use crate::error::Error;
use crate::kernel::Fault;

/// A CUDA status that says only that memory is short.
const OUT_OF_MEMORY: i32 = 2;
const NOT_INITIALIZED: i32 = 3;

/// CUDA statuses after which the context serves no call any more: faults of kernels and of
/// the hardware.
const CONTEXT_IS_LOST: [i32; 14] =
    [201, 214, 220, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 999];

/// What went wrong on the way to a GPU or on it. Data that is bad is no failure: that is
/// told chunk by chunk.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GpuError {
    /// There is no driver or no GPU, as on most machines.
    #[error("{0}")]
    Absent(String),

    /// There may be a GPU, but it cannot be used, and why.
    #[error("{0}")]
    Unavailable(String),

    #[error("out of memory: {bytes} bytes of {kind} memory could not be had")]
    OutOfMemory { bytes: usize, kind: &'static str },

    #[error("{call} failed: {name} ({status}){}", hint(*status))]
    Cuda { call: &'static str, status: i32, name: String },

    #[error("{call} failed: {}", nvcomp_status(*status))]
    Nvcomp { call: String, status: i32 },

    /// Chunks that a decoder looks at before it begins, and will not have: one of them is bad.
    #[error("{call} refuses them: {}", nvcomp_status(*status))]
    Refused { call: String, status: i32 },

    /// The host's part failed.
    #[error(transparent)]
    Host(#[from] Error),
}

impl GpuError {
    /// Whether less work at a time might succeed.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::OutOfMemory { .. } | Self::Cuda { status: OUT_OF_MEMORY, .. })
    }

    /// Whether some of the work is bad, and the rest might succeed without it.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

impl From<GpuError> for Error {
    fn from(failure: GpuError) -> Self {
        match failure {
            GpuError::Host(error) => error,
            other => Self::Unavailable(format!("GPU: {other}")),
        }
    }
}

impl From<GpuError> for Fault {
    fn from(failure: GpuError) -> Self {
        match failure {
            GpuError::Host(error) => Self::Other(Box::new(error)),
            refused @ GpuError::Refused { .. } => Self::Container(refused.to_string()),
            other => Self::Unavailable(format!("GPU: {other}")),
        }
    }
}

fn hint(status: i32) -> &'static str {
    match status {
        NOT_INITIALIZED => {
            "; CUDA does not work in a process that was forked after its parent had used it: \
             start processes by spawn"
        }
        status if CONTEXT_IS_LOST.contains(&status) => {
            "; this process's CUDA context is lost, so that only a new process can use the GPU"
        }
        _ => "",
    }
}

/// A status of nvCOMP in words; of one that is not known, the number.
pub fn nvcomp_status(status: i32) -> String {
    let words = match status {
        10 => "invalid value",
        11 => "not supported",
        12 => "cannot decompress",
        13 => "bad checksum",
        14 => "cannot verify checksums",
        15 => "output buffer too small",
        16 => "wrong header length",
        17 => "alignment",
        18 => "chunk too large",
        19 => "cannot compress",
        20 => "wrong input length",
        21 => "batch too large",
        22 => "too many parts of a chunk",
        23 => "too few parts of a chunk",
        24 => "output alignment",
        1000 => "CUDA error",
        10_000 => "internal error",
        _ => "unknown",
    };
    format!("nvCOMP status {status} ({words})")
}
