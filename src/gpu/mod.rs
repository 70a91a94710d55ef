//! nvCOMP on NVIDIA GPUs: batches of chunks, of one value or of many, coded in one launch.
//!
//! ```text
//! libraries -> driver, nvcomp -> context -> session of batches -> kernels: kernel, prefetched
//! ```
//!
//! Everything of NVIDIA's is loaded when a GPU is first asked for; nothing is needed to build
//! or to import. RunRows GPU has one [`queue`], and each call that gets it a [`session`]; what a
//! session leaves in good order, the next takes over. A GPU is asked for on the calling thread
//! alone, never on the pool's.
//!
//! What goes to a GPU has been vetted on the host, for the decoders define nothing for input
//! that is not valid; every status and size is read back, and the manifest confirms the rest.

mod batch;
mod context;
mod device;
mod driver;
mod error;
mod kernel;
mod libraries;
mod library;
mod nvcomp;
mod prefetched;
mod queue;
mod results;
mod session;
mod trace;
mod transfer;

pub use batch::{Batch, Chunk, Cost, ItemId, class_of};
pub use device::{
    Device, available, available_or_warn, check, falls_back, open, release_memory, status,
    worthwhile,
};
pub use error::GpuError;
pub use kernel::GpuKernel;
pub use libraries::set_package_folders;
pub use nvcomp::{Direction, Work};
pub use prefetched::{Prefetch, PrefetchedKernel};
pub use session::Session;
