//! nvCOMP on NVIDIA GPUs: batches of chunks, of one value or of many, coded in one launch.
//!
//! ```text
//! policy -> device -> session -> batch -> transfer -> results -> kernel, prefetched
//!             |                              |
//!         libraries                driver, nvcomp, context
//! ```
//!
//! NVIDIA's libraries are loaded when a GPU is first asked for; building and importing need
//! nothing of theirs. A session is one call's exclusive use of a GPU; what it leaves in good
//! order, the next call's takes over. Only the calling thread asks for a GPU, never a thread of
//! the pool.
//!
//! The decoders define nothing for invalid input. So all that goes to a GPU has been vetted on
//! the host, every status and size is read back, and the manifest confirms the rest.

mod batch;
mod context;
mod device;
mod driver;
mod error;
mod kernel;
mod kernels;
mod layout;
mod libraries;
mod library;
mod mirror;
mod nvcomp;
mod pinned;
mod policy;
mod prefetched;
mod resident;
mod results;
mod session;
mod source;
mod trace;
mod transfer;

pub use device::{Device, available, check, ordinal_of, release_memory, status};
pub use error::GpuError;
pub use libraries::set_package_folders;
pub use resident::DeviceBuffer;

pub(crate) use batch::{Batch, Chunk, Cost, ItemId, Source, size_class};
pub(crate) use device::open;
pub(crate) use driver::DevicePtr;
pub(crate) use kernel::GpuKernel;
pub(crate) use mirror::Mirror;
pub(crate) use nvcomp::{Direction, Work};
pub(crate) use pinned::{PinnedBlock, SMALLEST_COLUMN, grow as grow_pinned, take as take_pinned};
pub(crate) use policy::{CodecFrom, Placement, Workload, may_use, warn_fallback};
pub(crate) use prefetched::{Prefetch, PrefetchedKernel};
pub(crate) use resident::{STEP_BYTES, steps};
pub(crate) use results::{BatchResults, CompressedSizes, Destination};
pub(crate) use session::Session;
pub(crate) use source::{BatchSource, Progress};
