//! Arrow's C data and C stream interfaces, for reading what others export.
//!
//! Each step is checked, because a producer may be careless or hostile. Its buffers have to be
//! trusted to be long enough, as the interface carries no buffer lengths. Source:
//! arrow.apache.org, "The Arrow C data interface".

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::transmute;
use std::ptr;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};

use crate::error::{Error, Result};

/// `struct ArrowSchema`: a type, with its name and the types inside of it.
#[repr(C)]
pub struct CSchema {
    format: *const c_char,
    name: *const c_char,
    pub(crate) metadata: *const c_char,
    flags: i64,
    n_children: i64,
    children: *mut *mut CSchema,
    dictionary: *mut CSchema,
    release: Option<unsafe extern "C" fn(*mut CSchema)>,
    private_data: *mut c_void,
}

/// `struct ArrowArray`: the rows of a type, with the arrays inside of it.
#[repr(C)]
pub struct CArray {
    pub(crate) length: i64,
    pub(crate) null_count: i64,
    pub(crate) offset: i64,
    n_buffers: i64,
    n_children: i64,
    buffers: *mut *const c_void,
    children: *mut *mut CArray,
    dictionary: *mut CArray,
    release: Option<unsafe extern "C" fn(*mut CArray)>,
    private_data: *mut c_void,
}

/// `struct ArrowArrayStream`: a type and arrays of it, made one after another.
#[repr(C)]
pub struct CStream {
    get_schema: Option<unsafe extern "C" fn(*mut CStream, *mut CSchema) -> c_int>,
    get_next: Option<unsafe extern "C" fn(*mut CStream, *mut CArray) -> c_int>,
    get_last_error: Option<unsafe extern "C" fn(*mut CStream) -> *const c_char>,
    release: Option<unsafe extern "C" fn(*mut CStream)>,
    private_data: *mut c_void,
}

/// What the structures have in common: they are moved bitwise, and released once by their owner.
macro_rules! released_on_drop {
    ($name:ident, $what:literal) => {
        impl $name {
            /// Moves the structure out of the producer's memory and leaves a released one there.
            ///
            /// # Errors
            /// The structure has been released or moved out before.
            ///
            /// # Safety
            /// `source` points to a valid structure of this kind that nothing else uses
            /// meanwhile.
            pub unsafe fn take(source: *mut Self) -> Result<Self> {
                // SAFETY: the caller's promise; an all-zero structure is a released one.
                let taken = unsafe { ptr::replace(source, Self::released()) };
                match taken.release {
                    Some(_) => Ok(taken),
                    None => Err(Error::Argument(
                        concat!(
                            "the Arrow ",
                            $what,
                            " is released: it can be read only once; export it again"
                        )
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

        // SAFETY: the interface allows a structure to be used and released on any thread.
        unsafe impl Send for $name {}
    };
}

released_on_drop!(CSchema, "schema");
released_on_drop!(CArray, "array");
released_on_drop!(CStream, "stream");

// SAFETY: a shared array is only read; to release it takes an exclusive reference.
unsafe impl Sync for CArray {}
// SAFETY: as above.
unsafe impl Sync for CSchema {}

/// Whether a producer's error text reports Python's KeyboardInterrupt: the last line of a
/// traceback, or the name after other words and a colon.
fn reports_interrupt(text: &str) -> bool {
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
pub fn count(stated: i64, what: &str) -> Result<usize> {
    usize::try_from(stated).map_err(|_| malformed(format!("invalid {what} {stated}")))
}

/// The `i`-th of `n` structures behind an array of pointers.
///
/// # Safety
/// `children` is null or points to `n` pointers, each null or to a structure.
unsafe fn child<'a, T>(children: *mut *mut T, n: usize, i: usize) -> Result<&'a T> {
    if children.is_null() || i >= n {
        return Err(malformed(format!("child {i} is missing")));
    }
    // SAFETY: the caller's promise, and `i` is below `n`.
    unsafe { (*children.add(i)).as_ref() }.ok_or_else(|| malformed(format!("child {i} is null")))
}

impl From<FFI_ArrowSchema> for CSchema {
    fn from(schema: FFI_ArrowSchema) -> Self {
        // SAFETY: both mirror the interface's structure and own what is in it.
        unsafe { transmute(schema) }
    }
}

impl From<FFI_ArrowArray> for CArray {
    fn from(array: FFI_ArrowArray) -> Self {
        // SAFETY: both mirror the interface's structure and own what is in it.
        unsafe { transmute(array) }
    }
}

impl CSchema {
    pub(crate) fn format(&self) -> Result<&str> {
        text(self.format).ok_or_else(|| malformed("a schema has no format"))
    }

    pub(crate) fn name(&self) -> &str {
        text(self.name).unwrap_or("")
    }

    pub(crate) fn children(&self) -> Result<Vec<&Self>> {
        let n = count(self.n_children, "number of children")?;
        // SAFETY: the producer states `n_children` children.
        (0..n).map(|i| unsafe { child(self.children, n, i) }).collect()
    }

    pub(crate) fn dictionary(&self) -> Option<&Self> {
        // SAFETY: null, or the producer's schema of the dictionary's values.
        unsafe { self.dictionary.as_ref() }
    }
}

fn text<'a>(text: *const c_char) -> Option<&'a str> {
    // SAFETY: null, or a C string that lives as long as the producer's structure.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })?.to_str().ok()
}

/// What an exported array keeps: the addresses of its buffers, and their owner.
struct Exported<T> {
    buffers: [*const c_void; 3],
    _owner: T,
}

impl CArray {
    /// An array with a validity buffer and two others, which are `owner`'s, without children.
    pub(super) fn new<T: Send>(
        rows: usize,
        null_count: usize,
        buffers: [*mut c_void; 3],
        owner: T,
    ) -> Self {
        unsafe extern "C" fn release<T>(array: *mut CArray) {
            // SAFETY: the consumer's array, which is released once; its private data is the box
            // that was made for it.
            unsafe {
                (*array).release = None;
                drop(Box::from_raw((*array).private_data.cast::<Exported<T>>()));
            }
        }
        let buffers = buffers.map(|buffer| buffer.cast_const());
        let kept = Box::leak(Box::new(Exported { buffers, _owner: owner }));
        Self {
            length: rows as i64,
            null_count: null_count as i64,
            offset: 0,
            n_buffers: 3,
            n_children: 0,
            buffers: kept.buffers.as_mut_ptr(),
            children: ptr::null_mut(),
            dictionary: ptr::null_mut(),
            release: Some(release::<T>),
            private_data: ptr::from_mut(kept).cast(),
        }
    }

    /// The `i`-th buffer, which may be null.
    pub(crate) fn buffer(&self, i: usize) -> Result<*const u8> {
        if self.buffers.is_null() || i >= self.buffers()? {
            return Err(malformed(format!(
                "buffer {i} is missing; the array has {}",
                self.n_buffers
            )));
        }
        // SAFETY: the producer states `n_buffers` pointers.
        Ok(unsafe { *self.buffers.add(i) }.cast())
    }

    pub(crate) fn buffers(&self) -> Result<usize> {
        count(self.n_buffers, "number of buffers")
    }

    pub(crate) fn children(&self) -> Result<usize> {
        count(self.n_children, "number of children")
    }

    pub(crate) fn child(&self, i: usize) -> Result<&Self> {
        let n = self.children()?;
        // SAFETY: the producer states `n_children` children.
        unsafe { child(self.children, n, i) }
    }

    pub(crate) fn dictionary(&self) -> Result<&Self> {
        // SAFETY: null, or the producer's array of the dictionary's values.
        unsafe { self.dictionary.as_ref() }.ok_or_else(|| malformed("the dictionary is missing"))
    }
}

impl CStream {
    pub(crate) fn schema(&mut self) -> Result<CSchema> {
        let get_schema =
            self.get_schema.ok_or_else(|| malformed("the stream has no get_schema"))?;
        let mut schema = CSchema::released();
        // SAFETY: the producer's own function on its own stream.
        let code = unsafe { get_schema(self, &mut schema) };
        self.check(code)?;
        match schema.release {
            Some(_) => Ok(schema),
            None => Err(malformed("the stream has no schema")),
        }
    }

    /// The next chunk, or `None` at the end.
    pub(crate) fn next_array(&mut self) -> Result<Option<CArray>> {
        let get_next = self.get_next.ok_or_else(|| malformed("the stream has no get_next"))?;
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
        // SAFETY: the producer's own function on its own stream, right after it failed.
        let reason = self.get_last_error.and_then(|last| text(unsafe { last(self) }));
        // Only its text is left of a Python producer's exception.
        if reason.is_some_and(reports_interrupt) {
            return Err(Error::Interrupted);
        }
        let system = std::io::Error::from_raw_os_error(code);
        Err(Error::Backend(format!(
            "the producer of the Arrow stream failed: {}",
            reason.map_or_else(|| system.to_string(), str::to_owned)
        )))
    }
}
