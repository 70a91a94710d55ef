//! Frames of the values in a GPU's memory that no codec has shrunk: passthrough's, which hold the
//! values as they are.

use super::ResidentRows;
use crate::codec::{AnyKernel, Codec, Fallback, Form, ValueWriter};
use crate::column::compress::compress_row;
use crate::column::layout::RowWriter;
use crate::error::{Error, Result, reserve};
use crate::gpu::{DevicePtr, STEP_BYTES, Session, Source};
use crate::kernel::passthrough::Passthrough;
use crate::pool::InterruptCheck;

/// Values that are no further apart are downloaded together with what is between them, which takes
/// about as long as another download.
const MAX_GAP: u64 = 64 << 10;

/// Downloads the values of `unshrunk` rows, which are in ascending order and not null, and writes
/// their frames.
pub fn write_frames<R: ResidentRows, W: RowWriter>(
    session: &mut Session,
    rows: &R,
    unshrunk: &[usize],
    out: &mut W,
    written: &mut [W::Row],
    interrupted: InterruptCheck,
) -> Result<()> {
    let writer = ValueWriter::new(&Codec::Passthrough, Form::Frame, Fallback::Never);
    let value = |row: &usize| match rows.get(*row) {
        Some(Source::Device(address, len)) => (address, len),
        Some(Source::Host(_)) | None => (0, 0),
    };
    let mut values = Vec::new();
    let mut rest = unshrunk;
    while let Some((first, others)) = rest.split_first() {
        if interrupted() {
            return Err(Error::Interrupted);
        }
        let (start, len) = value(first);
        let (mut end, mut count) = (start + len as DevicePtr, 1);
        for row in others {
            let (address, len) = value(row);
            let next_end = address + len as DevicePtr;
            if address - end > MAX_GAP || next_end - start > STEP_BYTES as DevicePtr {
                break;
            }
            (end, count) = (next_end, count + 1);
        }
        let (together, later) = rest.split_at(count);
        rest = later;

        let len = (end - start) as usize;
        values.clear();
        reserve(&mut values, len)?;
        // SAFETY: rows and what is between them are live, and the download initialises all of it.
        unsafe {
            session.download(start, &mut values.spare_capacity_mut()[..len])?;
            values.set_len(len);
        }
        for row in together {
            let (address, len) = value(row);
            let value = &values[(address - start) as usize..][..len];
            let kernel = &mut AnyKernel::Passthrough(Passthrough);
            (written[*row], _) = compress_row(writer, kernel, out, value)?;
        }
    }
    Ok(())
}
