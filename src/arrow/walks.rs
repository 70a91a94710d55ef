//! Walks over the rows of Arrow data that make no arrays.

use std::sync::{Arc, Mutex};

use super::input::{ArrowInput, payload_column, values_column};
use super::window::each_window;
use super::{ByteRows, PayloadRows};
use crate::codec::Form;
use crate::column::{DecompressOptions, Rows, Splitter};
use crate::error::{Error, Result, RowError};
use crate::pool::{InterruptCheck, Listener};
use crate::process::lock;

/// Hands every row of binary data, string data or lists of numbers that is not null to `take`.
pub fn each_value(
    mut input: ArrowInput,
    take: impl FnMut(&[u8]) -> Result<()> + Send + 'static,
    interrupted: InterruptCheck,
) -> Result<()> {
    let column = values_column("training", &mut input)?;
    let take = Mutex::new(take);
    let function = move |chunks: &[ByteRows], interrupted: InterruptCheck| {
        let mut take = lock(&take);
        let mut listener = Listener::new(interrupted);
        let rows = chunks.iter().map(Rows::count).sum();
        let mut before = 0;
        for chunk in chunks {
            for row in 0..chunk.count() {
                listener.step()?;
                if let Some(source) = chunk.refusal(row) {
                    let context = "value of a column".into();
                    let (row, name, mistake) = (before + row, None, None);
                    let bad = RowError { row, rows, name, context, mistake, source };
                    return Err(Error::Row(bad.into()));
                }
                chunk.get(row).map_or(Ok(()), &mut *take)?;
            }
            before += chunk.count();
        }
        Ok(Vec::new())
    };
    each_window(input, column, |_, _| false, function, interrupted).map(drop)
}

/// Splits payloads or frames into ranges of rows that decode to at most `max_bytes` each, or are
/// one row. Returns the first row of each range.
pub fn split_rows(
    options: &DecompressOptions,
    form: Form,
    max_bytes: u64,
    mut input: ArrowInput,
    interrupted: InterruptCheck,
) -> Result<Vec<usize>> {
    let column = payload_column("decode", form, &mut input)?;
    let split = Arc::new(Mutex::new(Splitter::new(max_bytes)));
    let (options, window_split) = (options.clone(), Arc::clone(&split));
    let function = move |chunks: &[PayloadRows], interrupted: InterruptCheck| {
        let mut split = lock(&window_split);
        let mut listener = Listener::new(interrupted);
        chunks.iter().try_for_each(|chunk| split.extend(&options, chunk, &mut listener))?;
        Ok(Vec::new())
    };
    each_window(input, column, |_, _| false, function, interrupted)?;
    let mut split = lock(&split);
    Ok(std::mem::replace(&mut *split, Splitter::new(max_bytes)).starts())
}
