//! GDeflate pages decode to what was encoded; damaged ones to as many bytes, or to none.

use std::mem::MaybeUninit;

use arbitrary::{Result, Unstructured};
use s4_codec::kernel::gdeflate::{Decoder, PAGE_MAX};

use super::encoder::{STYLES, encode};

/// Stands for bytes that a decoder has not written.
const UNTOUCHED: u8 = 0xEE;

thread_local! {
    /// One for all inputs: nothing of a page may be left to the next one.
    static DECODER: std::cell::RefCell<Decoder> = std::cell::RefCell::default();
}

pub fn law(data: &[u8]) -> Result<()> {
    let mut input = Unstructured::new(data);
    let form = input.arbitrary::<u8>()?;
    let len = usize::from(input.arbitrary::<u16>()?);
    if form % 2 == 0 {
        // A page of any bytes.
        let _any = decode(input.take_rest(), len);
        return Ok(());
    }
    let style = STYLES[usize::from(form / 2) % STYLES.len()];
    let flips: [(u16, u8); 2] = input.arbitrary()?;
    let part = input.take_rest();
    if part.is_empty() {
        return Ok(());
    }
    let value: Vec<u8> = part.iter().copied().cycle().take(part.len().max(len % 4096)).collect();
    let mut page = encode(&value, style);
    assert!(decode(&page, value.len()).as_ref() == Some(&value), "{style:?}");
    for (at, bits) in flips {
        let at = usize::from(at) % page.len();
        page[at] ^= bits;
    }
    let _damaged = decode(&page, value.len());
    Ok(())
}

fn decode(page: &[u8], len: usize) -> Option<Vec<u8>> {
    let len = len.min(PAGE_MAX);
    let mut dst = vec![MaybeUninit::new(UNTOUCHED); len];
    let result = DECODER.with_borrow_mut(|decoder| decoder.decode_page(page, &mut dst));
    // SAFETY: initialised above.
    let bytes: Vec<u8> = dst.iter().map(|byte| unsafe { byte.assume_init() }).collect();
    if result.is_err() {
        assert!(bytes.iter().all(|&byte| byte == UNTOUCHED), "refused, but bytes came out");
    }
    result.is_ok().then_some(bytes)
}
