//! nvCOMP on NVIDIA GPUs: batches of chunks, of one value or of many, coded in one launch.
//!
//! ```text
//! libraries -> driver, nvcomp -> engine -> session of slabs -> kernels: kernel, prefetched
//! ```
//!
//! Everything of NVIDIA's is loaded when a GPU is first asked for; nothing is needed to build
//! or to import. Each GPU has one [`queue`], and each call that gets it a [`session`]; what a
//! session leaves in good order, the next takes over. A GPU is asked for on the calling thread
//! alone, never on the pool's.
//!
//! What goes to a GPU has been vetted on the host, for the decoders define nothing for input
//! that is not valid; every status and size is read back, and the manifest confirms the rest.

mod device;
mod driver;
mod engine;
mod failure;
mod home;
mod kernel;
mod libraries;
mod loader;
mod nvcomp;
mod prefetched;
mod queue;
mod session;
mod slab;
mod timings;
mod way;

pub use device::{
    Device, available, available_or_warn, check, falls_back, open, release_memory, status,
    worthwhile,
};
pub use failure::Failure;
pub use kernel::GpuKernel;
pub use libraries::set_package_folders;
pub use nvcomp::{Direction, Work};
pub use prefetched::{Prefetch, PrefetchedKernel};
pub use session::Session;
pub use slab::{Chunk, Cost, Slab, class_of};
