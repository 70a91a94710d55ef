//! The metadata of a type in Arrow's C data interface, where Polars keeps what Arrow's formats
//! cannot say.

use std::marker::PhantomData;

use crate::arrow::CSchema;

/// The entries of a schema's metadata. A negative count or length is read as 0.
pub struct Metadata<'a> {
    /// What has not been read; the interface states no length of the whole.
    rest: *const u8,
    entries: usize,
    schema: PhantomData<&'a CSchema>,
}

impl<'a> Metadata<'a> {
    pub fn of(schema: &'a CSchema) -> Self {
        let mut metadata = Self { rest: schema.metadata.cast(), entries: 0, schema: PhantomData };
        if !schema.metadata.is_null() {
            // SAFETY: Polars' metadata begins with the number of entries.
            metadata.entries = unsafe { metadata.length() };
        }
        metadata
    }

    /// # Safety
    /// An integer follows.
    unsafe fn length(&mut self) -> usize {
        // SAFETY: the caller's promise; it need not be aligned.
        let length = unsafe { self.rest.cast::<i32>().read_unaligned() };
        // SAFETY: right behind what has been read.
        self.rest = unsafe { self.rest.add(size_of::<i32>()) };
        usize::try_from(length).unwrap_or(0)
    }

    /// # Safety
    /// A length and as many bytes follow.
    unsafe fn bytes(&mut self) -> &'a [u8] {
        // SAFETY: the caller's promise; the bytes live as long as the schema.
        unsafe {
            let length = self.length();
            let bytes = std::slice::from_raw_parts(self.rest, length);
            self.rest = self.rest.add(length);
            bytes
        }
    }
}

impl<'a> Iterator for Metadata<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.entries = self.entries.checked_sub(1)?;
        // SAFETY: as many entries follow, each a key and a value.
        Some(unsafe { (self.bytes(), self.bytes()) })
    }
}
