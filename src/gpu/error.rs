//! Errors of GPUs and of the libraries that drive them.

use crate::error::Error;
use crate::kernel::Fault;

/// The CUDA status for too little memory.
const OUT_OF_MEMORY: i32 = 2;
const NOT_INITIALIZED: i32 = 3;

/// nvCOMP's status for any error of CUDA's.
const NVCOMP_CUDA_ERROR: i32 = 1000;

/// CUDA statuses after which the context fails every call, as do new ones in the same process:
/// faults of kernels and of the hardware.
const PROCESS_IS_LOST: [i32; 11] = [214, 220, 700, 702, 710, 714, 715, 716, 717, 718, 719];
/// Those of a context that another library has destroyed. A new one may work.
const CONTEXT_IS_GONE: [i32; 2] = [201, 709];

/// Why a GPU did not do its work. Bad data is reported chunk by chunk instead.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GpuError {
    /// There is no driver or no GPU, as on most machines.
    #[error("{0}")]
    Absent(String),

    /// There may be a GPU, but it cannot be used.
    #[error("{0}")]
    Unavailable(String),

    /// CUDA in this process cannot be used any more, for this reason.
    #[error(
        "{0}; CUDA in this process is lost, for other libraries too: only a new process can use a \
         GPU. To decode zstd and GDeflate on the CPU, pass device=\"auto\" to the codec, or \
         device=None to decode()"
    )]
    Lost(String),

    /// There is too little device or pinned memory.
    #[error("out of memory: could not allocate {bytes} bytes of {kind} memory")]
    OutOfMemory {
        /// Bytes of the allocation.
        bytes: usize,
        /// "device" or "pinned".
        kind: &'static str,
    },

    /// A function of the driver failed.
    #[error("{call} failed: {name} ({status}){}", hint(*status))]
    Cuda {
        /// Its name.
        call: &'static str,
        /// What it returned.
        status: i32,
        /// The driver's name of that status.
        name: String,
    },

    /// A function of nvCOMP failed.
    #[error("{call} failed: {}", nvcomp_status(*status))]
    Nvcomp {
        /// Its name.
        call: String,
        /// What it returned.
        status: i32,
    },

    /// A batch that nvCOMP examined and did not begin: one of its chunks is bad.
    #[error("{call} refuses the chunks: {}", nvcomp_status(*status))]
    Refused {
        /// The function that refused it.
        call: String,
        /// What it returned.
        status: i32,
    },

    /// The host's part of the work failed, or the caller ended it.
    #[error(transparent)]
    Host(#[from] Error),
}

impl GpuError {
    /// A defect of this crate.
    pub fn internal(what: &str) -> Self {
        Self::Unavailable(format!("internal error: {what}"))
    }

    /// Whether no later call of this process can use CUDA.
    pub fn loses_process(&self) -> bool {
        match self {
            Self::Lost(_) => true,
            Self::Cuda { status, .. } => PROCESS_IS_LOST.contains(status),
            _ => false,
        }
    }

    /// Whether less work at a time might succeed.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::OutOfMemory { .. } | Self::Cuda { status: OUT_OF_MEMORY, .. })
    }

    /// Whether nvCOMP met an error of CUDA, which the driver names.
    pub fn is_cuda_in_nvcomp(&self) -> bool {
        matches!(self, Self::Nvcomp { status: NVCOMP_CUDA_ERROR, .. })
    }

    /// Whether the caller ended the work.
    pub fn is_interrupt(&self) -> bool {
        matches!(self, Self::Host(Error::Interrupted))
    }

    /// Whether the batch might succeed without its bad chunks.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

impl From<GpuError> for Error {
    fn from(error: GpuError) -> Self {
        match error {
            GpuError::Host(error) => error,
            other => Self::Unavailable(format!("GPU: {other}")),
        }
    }
}

impl From<GpuError> for Fault {
    fn from(error: GpuError) -> Self {
        match error {
            GpuError::Host(error) => Self::Other(Box::new(error)),
            refused @ GpuError::Refused { .. } => Self::Container(refused.to_string()),
            other => Self::Unavailable(format!("GPU: {other}")),
        }
    }
}

fn hint(status: i32) -> &'static str {
    match status {
        NOT_INITIALIZED => {
            "; CUDA does not work in a process that was forked after its parent used CUDA: \
             start processes by spawn"
        }
        status if CONTEXT_IS_GONE.contains(&status) => {
            "; another library has destroyed the CUDA context: the next call makes a new one"
        }
        _ => "",
    }
}

/// A status of nvCOMP, in words if it is known.
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
        NVCOMP_CUDA_ERROR => "CUDA error",
        10_000 => "internal error",
        _ => "unknown",
    };
    format!("nvCOMP status {status} ({words})")
}
