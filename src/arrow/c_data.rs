//! Arrow's C data and C stream interfaces, as a reader of what others export.
//!
//! The structures are read with checks at each step, because a producer may be careless or
//! hostile; what it says of memory it owns has to be believed, for the interface carries no
//! buffer lengths. Source: arrow.apache.org, "The Arrow C data interface".

use std::ffi::{CStr, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::ptr;

use crate::error::{Error, Result};

#[repr(C)]
pub struct CSchema {
    format: *const c_char,
    name: *const c_char,
    metadata: *const c_char,
    flags: i64,
    n_children: i64,
    children: *mut *mut CSchema,
    dictionary: *mut CSchema,
    release: Option<unsafe extern "C" fn(*mut CSchema)>,
    private_data: *mut c_void,
}

#[repr(C)]
pub struct CArray {
    pub length: i64,
    pub null_count: i64,
    pub offset: i64,
    n_buffers: i64,
    n_children: i64,
    buffers: *mut *const c_void,
    children: *mut *mut CArray,
    dictionary: *mut CArray,
    release: Option<unsafe extern "C" fn(*mut CArray)>,
    private_data: *mut c_void,
}

#[repr(C)]
pub struct CStream {
    get_schema: Option<unsafe extern "C" fn(*mut CStream, *mut CSchema) -> c_int>,
    get_next: Option<unsafe extern "C" fn(*mut CStream, *mut CArray) -> c_int>,
    get_last_error: Option<unsafe extern "C" fn(*mut CStream) -> *const c_char>,
    release: Option<unsafe extern "C" fn(*mut CStream)>,
    private_data: *mut c_void,
}

/// A structure of the interface: owned, moved bitwise, released once.
macro_rules! released_on_drop {
    ($name:ident, $what:literal) => {
        impl $name {
            /// Moves the structure out of where its producer put it, as the interface has it.
            ///
            /// # Safety
            /// `source` points to a structure of this kind that nobody else uses meanwhile.
            pub unsafe fn take(source: *mut Self) -> Result<Self> {
                // SAFETY: the caller's word; an all-zero structure is a released one.
                let taken = unsafe { ptr::replace(source, Self::released()) };
                match taken.release {
                    Some(_) => Ok(taken),
                    None => Err(Error::Argument(
                        concat!("the Arrow ", $what, " is released: it has been read already")
                            .into(),
                    )),
                }
            }

            fn released() -> Self {
                // SAFETY: null pointers, no functions and zeroes are values of all fields.
                unsafe { std::mem::zeroed() }
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                if let Some(release) = self.release {
                    // SAFETY: the producer's own function on its own structure, once.
                    unsafe { release(self) }
                }
            }
        }

        // SAFETY: the interface lets a consumer use and release a structure on any thread.
        unsafe impl Send for $name {}
    };
}

released_on_drop!(CSchema, "schema");
released_on_drop!(CArray, "array");
released_on_drop!(CStream, "stream");

// SAFETY: shared only to be read; releasing takes an exclusive reference.
unsafe impl Sync for CArray {}

/// Whether a producer's text is that of Python's KeyboardInterrupt: the last line of a
/// traceback, or the name after other words and a colon.
fn tells_interrupt(text: &str) -> bool {
    text.match_indices("KeyboardInterrupt").any(|(at, name)| {
        let (before, after) = (text[..at].trim_end_matches(' '), &text[at + name.len()..]);
        (before.is_empty() || before.ends_with([':', '\n', '(']))
            && (after.trim_start().is_empty() || after.starts_with([':', '\n', '(']))
    })
}

pub fn malformed(what: impl AsRef<str>) -> Error {
    Error::Argument(format!("malformed Arrow data: {}", what.as_ref()))
}

/// A count that a producer states.
pub fn count(stated: i64, of: &str) -> Result<usize> {
    usize::try_from(stated).map_err(|_| malformed(format!("{stated} {of}")))
}

/// The `i`-th of `n` structures behind an array of pointers.
///
/// # Safety
/// `children` is null or points to `n` pointers, each null or to a structure.
unsafe fn child<'a, T>(children: *mut *mut T, n: usize, i: usize) -> Result<&'a T> {
    if children.is_null() || i >= n {
        return Err(malformed(format!("child {i} is missing")));
    }
    // SAFETY: the caller's word.
    unsafe { (*children.add(i)).as_ref() }.ok_or_else(|| malformed(format!("child {i} is null")))
}

impl CSchema {
    pub fn format(&self) -> Result<&str> {
        text(self.format).ok_or_else(|| malformed("a schema without a format"))
    }

    pub fn name(&self) -> &str {
        text(self.name).unwrap_or("")
    }

    pub fn children(&self) -> Result<Vec<&Self>> {
        let n = count(self.n_children, "children")?;
        // SAFETY: the producer states `n_children` children.
        (0..n).map(|i| unsafe { child(self.children, n, i) }).collect()
    }

    pub fn dictionary(&self) -> Option<&Self> {
        // SAFETY: null, or the producer's schema of the dictionary's values.
        unsafe { self.dictionary.as_ref() }
    }

    /// The keys and values of the metadata.
    pub fn metadata(&self) -> Metadata<'_> {
        let mut metadata = Metadata { rest: self.metadata.cast(), entries: 0, schema: PhantomData };
        if !self.metadata.is_null() {
            // SAFETY: the producer's metadata begins with the number of entries.
            metadata.entries = unsafe { metadata.length() };
        }
        metadata
    }
}

/// The entries of a schema's metadata. A negative count or length is read as 0.
pub struct Metadata<'a> {
    /// What has not been read; the interface states no length of the whole.
    rest: *const u8,
    entries: usize,
    schema: PhantomData<&'a CSchema>,
}

impl<'a> Metadata<'a> {
    /// # Safety
    /// An integer follows.
    unsafe fn length(&mut self) -> usize {
        // SAFETY: the caller's word; it need not be aligned.
        let length = unsafe { self.rest.cast::<i32>().read_unaligned() };
        // SAFETY: right behind what has been read.
        self.rest = unsafe { self.rest.add(size_of::<i32>()) };
        usize::try_from(length).unwrap_or(0)
    }

    /// # Safety
    /// A length and as many bytes follow.
    unsafe fn bytes(&mut self) -> &'a [u8] {
        // SAFETY: the caller's word; the bytes live as long as the schema.
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
        // SAFETY: the producer states as many entries, each a key and a value.
        Some(unsafe { (self.bytes(), self.bytes()) })
    }
}

fn text<'a>(text: *const c_char) -> Option<&'a str> {
    // SAFETY: null, or a C string of the producer's that lives as long as the structure.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })?.to_str().ok()
}

impl CArray {
    /// The `i`-th buffer, null or not, of exactly or at least so many.
    pub fn buffer(&self, i: usize) -> Result<*const u8> {
        if self.buffers.is_null() || i >= self.buffers()? {
            return Err(malformed(format!("buffer {i} of {} is missing", self.n_buffers)));
        }
        // SAFETY: the producer states `n_buffers` pointers.
        Ok(unsafe { *self.buffers.add(i) }.cast())
    }

    pub fn buffers(&self) -> Result<usize> {
        count(self.n_buffers, "buffers")
    }

    pub fn children(&self) -> Result<usize> {
        count(self.n_children, "children")
    }

    pub fn child(&self, i: usize) -> Result<&Self> {
        let n = self.children()?;
        // SAFETY: the producer states `n_children` children.
        unsafe { child(self.children, n, i) }
    }

    pub fn dictionary(&self) -> Result<&Self> {
        // SAFETY: null, or the producer's array of the dictionary's values.
        unsafe { self.dictionary.as_ref() }.ok_or_else(|| malformed("no dictionary"))
    }
}

impl CStream {
    pub fn schema(&mut self) -> Result<CSchema> {
        let get_schema = self.get_schema.ok_or_else(|| malformed("a stream without get_schema"))?;
        let mut schema = CSchema::released();
        // SAFETY: the producer's own function on its own stream.
        let code = unsafe { get_schema(self, &mut schema) };
        self.check(code)?;
        match schema.release {
            Some(_) => Ok(schema),
            None => Err(malformed("a stream without a schema")),
        }
    }

    /// The next chunk, or `None` at the end.
    pub fn next(&mut self) -> Result<Option<CArray>> {
        let get_next = self.get_next.ok_or_else(|| malformed("a stream without get_next"))?;
        let mut array = CArray::released();
        // SAFETY: the producer's own function on its own stream.
        let code = unsafe { get_next(self, &mut array) };
        self.check(code)?;
        Ok(Some(array).filter(|array| array.release.is_some()))
    }

    fn check(&mut self, code: c_int) -> Result<()> {
        if code == 0 {
            return Ok(());
        }
        // SAFETY: the producer's own function on its own stream, right after the failure.
        let reason = self.get_last_error.and_then(|last| text(unsafe { last(self) }));
        // All that is left of a Python producer's exception is its text.
        if reason.is_some_and(tells_interrupt) {
            return Err(Error::Interrupted);
        }
        let system = std::io::Error::from_raw_os_error(code);
        Err(Error::Backend(format!(
            "the producer of the Arrow stream failed: {}",
            reason.map_or_else(|| system.to_string(), str::to_owned)
        )))
    }
}
