//! What a session works off.

use std::ops::Range;

use super::batch::Batch;
use super::error::GpuError;
use super::results::{BatchResults, CompressedSizes, Destination};
use super::session::Session;

/// Items that go to a GPU in order: the rows of a column, or the chunks of one value.
pub trait BatchSource<'a> {
    /// What ends the work early: an error of the GPU or of the source.
    type Error: From<GpuError>;

    /// Whether a batch that nvCOMP refuses goes again in halves, so that only the bad items
    /// fail; else the refusal is the source's error.
    const SPLITS_REFUSED: bool;

    /// The number of items.
    fn count(&self) -> usize;

    /// Asked before each batch and while waiting; `true` ends the work.
    fn is_interrupted(&self) -> bool;

    /// As many of `items`, from the first on, as fit one batch, and the item after the last of
    /// them: the first itself if no batch holds it. The batch is empty if none of them has
    /// anything for a GPU.
    fn fill(
        &self,
        session: &mut Session,
        items: Range<usize>,
    ) -> Result<(Batch<'a>, usize), GpuError>;

    /// Where the chunks of a compressed batch go, if they stay on the device; `None` if they go to
    /// the host. Asked batch by batch, in order, also of empty ones, which have no sizes. What was
    /// not taken yet may come again, in other batches, after memory ran out.
    fn place(
        &mut self,
        _items: Range<usize>,
        _sizes: Option<&CompressedSizes>,
    ) -> Option<Vec<Destination>> {
        None
    }

    /// Takes the results of a batch; none where it was empty.
    fn take(
        &mut self,
        items: Range<usize>,
        results: Option<&BatchResults>,
    ) -> Result<(), Self::Error>;
}

/// How far the work on a source has come.
pub struct Progress {
    /// All items before this one are done.
    pub(super) done: usize,
    /// Items per batch at most. Halved for each batch that nvCOMP refuses, down to 0, with
    /// which an item runs alone; doubled by each that succeeds.
    pub(super) max_items: usize,
}

impl Default for Progress {
    fn default() -> Self {
        Self { done: 0, max_items: usize::MAX }
    }
}

impl Progress {
    /// Goes on after the next item, which ran alone.
    pub fn skip_one(&mut self) {
        self.done += 1;
        self.max_items = self.max_items.saturating_mul(2).max(1);
    }
}
