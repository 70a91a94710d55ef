//! The C interface between Polars and its expression plugins, version 0.1: Arrow's C data
//! interface with a chunk list around it.
//!
//! Spoken directly rather than through the `polars` crates, because it is small and stable
//! (one build serves every Python polars since 1.27), because those crates take ten minutes
//! to build, and because a column type that they were not built for ends the process. The
//! source of the layout is the crate `polars-ffi`, module `version_0`; its referee is Polars
//! itself: `tests/python/test_polars_dtypes.py` takes every type through every function, against
//! the oldest Polars, the newest and its other builds.

use std::cell::RefCell;
use std::ffi::{CString, c_char, c_void};
use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::Arc;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, Field as ArrowField};

use super::dtype::Field;
use super::import::import_array;
use super::options::Options;
use crate::arrow::{CArray, CSchema, SharedArray, from_arrow};
use crate::error::{Error, Result, catch_panic};

/// A column, chunk by chunk.
pub struct Series {
    pub field: Field,
    pub chunks: Vec<ArrayRef>,
}

impl Series {
    pub fn len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.len()).sum()
    }

    /// The chunk that holds `row`, and the row's place in it.
    pub fn locate(&self, mut row: usize) -> Option<(&ArrayRef, usize)> {
        for chunk in &self.chunks {
            if row < chunk.len() {
                return Some((chunk, row));
            }
            row -= chunk.len();
        }
        None
    }
}

/// A series on its way over the interface. Its arrays are moved out by whoever imports it;
/// `release` frees the boxes around them.
#[repr(C)]
pub struct SeriesExport {
    field: *mut CSchema,
    arrays: *mut *mut CArray,
    len: usize,
    release: Option<unsafe extern "C" fn(*mut SeriesExport)>,
    private_data: *mut c_void,
}

struct Exported {
    _schema: Box<FFI_ArrowSchema>,
    arrays: Box<[*mut FFI_ArrowArray]>,
}

impl Drop for SeriesExport {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: the exporter's own function on its own structure, once: it sets
            // `release` to none.
            unsafe { release(self) }
        }
    }
}

unsafe extern "C" fn release_export(export: *mut SeriesExport) {
    // SAFETY: called with a structure that `export` filled, which put a boxed `Exported`
    // there and boxes into its `arrays`; the arrays themselves are the importer's by now.
    unsafe {
        let Some(export) = export.as_mut() else { return };
        let exported = Box::from_raw(export.private_data.cast::<Exported>());
        for &array in &exported.arrays {
            drop(Box::from_raw(array.cast::<ManuallyDrop<FFI_ArrowArray>>()));
        }
        export.release = None;
    }
}

fn export(field: &ArrowField, chunk: &ArrayRef) -> Result<SeriesExport> {
    let mut schema = Box::new(FFI_ArrowSchema::try_from(field).map_err(from_arrow)?);
    let array = Box::into_raw(Box::new(FFI_ArrowArray::new(&chunk.to_data())));
    let mut arrays = vec![array].into_boxed_slice();
    Ok(SeriesExport {
        // Both mirror the same C structures.
        field: ptr::from_mut(&mut *schema).cast(),
        arrays: arrays.as_mut_ptr().cast(),
        len: 1,
        release: Some(release_export),
        private_data: Box::into_raw(Box::new(Exported { _schema: schema, arrays })).cast(),
    })
}

/// # Safety
/// `export` is a valid export whose arrays nobody has moved out yet.
unsafe fn import(export: SeriesExport) -> Result<Series> {
    // SAFETY: by the caller's word the pointers are valid for `len` arrays; each array is
    // moved out once, and `export` frees only their boxes when it drops.
    let (schema, arrays) = unsafe {
        let arrays: Vec<CArray> = match export.len {
            0 => Vec::new(),
            len => std::slice::from_raw_parts(export.arrays, len)
                .iter()
                .map(|&array| ptr::read(array))
                .collect(),
        };
        (&*export.field, arrays)
    };
    let field = Field::of(schema);
    let chunks = arrays
        .into_iter()
        .map(|array| import_array(&SharedArray::new(&Arc::new(array)), &field.dtype));
    let chunks = chunks.collect::<Result<_>>()?;
    Ok(Series { field, chunks })
}

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::default();
}

fn set_last_error(message: &str) {
    // C strings end at the first NUL, so a NUL in a message is shown instead.
    let message = CString::new(message.replace('\0', "\\0")).unwrap_or_default();
    LAST_ERROR.set(message);
}

/// # Safety
/// The text lives until the next failure on this thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _polars_plugin_get_last_error_message() -> *const c_char {
    // Polars reads whatever comes, so there is a text even for a thread that is ending.
    LAST_ERROR.try_with(|last| last.borrow().as_ptr()).unwrap_or(c"the message is lost".as_ptr())
}

#[unsafe(no_mangle)]
pub extern "C" fn _polars_plugin_get_version() -> u32 {
    let (major, minor) = (0, 1);
    (major << 16) + minor
}

/// Runs `work`; a failure or a panic becomes the thread's last error.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Option<T> {
    match catch_panic(work) {
        Ok(value) => return Some(value),
        Err(error @ Error::Row(_)) => set_last_error(&error.to_string()),
        Err(error) => set_last_error(&format!("{}: {error}", error.class().name())),
    }
    None
}

/// # Safety
/// `kwargs` points to `len` bytes.
unsafe fn options<E: Expression>(kwargs: *const u8, len: usize) -> Result<E::Options> {
    // SAFETY: the caller's word; an empty slice needs no pointer.
    let pickled = if len == 0 { &[] } else { unsafe { std::slice::from_raw_parts(kwargs, len) } };
    E::options(&Options::parse(pickled)?.only(E::OPTIONS)?)
}

/// One expression: what it makes of its inputs' types, and of its inputs.
pub trait Expression {
    type Options;
    /// The names of its options.
    const OPTIONS: &[&str];
    fn options(options: &Options) -> Result<Self::Options>;
    /// Whether inputs of these types will do. Asked of a plan and again of what comes, as a
    /// schema that a plan's author stated may not be that of the data.
    fn check(inputs: &[&Field]) -> Result<()>;
    fn output_type(options: &Self::Options) -> DataType;
    fn evaluate(inputs: &[Series], options: &Self::Options) -> Result<ArrayRef>;
}

/// # Safety
/// The arguments are those that Polars calls a plugin's field function with.
pub unsafe fn field_call<E: Expression>(
    fields: *const CSchema,
    len: usize,
    returned: *mut FFI_ArrowSchema,
    kwargs: *const u8,
    kwargs_len: usize,
) {
    let out = guarded(|| {
        // SAFETY: Polars lends `len` schemas and `kwargs_len` bytes for the call.
        let (fields, options) =
            unsafe { (std::slice::from_raw_parts(fields, len), options::<E>(kwargs, kwargs_len)?) };
        let data_type = E::output_type(&options);
        let fields: Vec<_> = fields.iter().map(Field::of).collect();
        E::check(&fields.iter().collect::<Vec<_>>())?;
        let name = fields.first().map_or("", |field| &field.name);
        FFI_ArrowSchema::try_from(ArrowField::new(name, data_type, true)).map_err(from_arrow)
    });
    if let Some(out) = out {
        // SAFETY: Polars passes an empty schema to be overwritten.
        unsafe { ptr::write(returned, out) };
    }
}

/// # Safety
/// The arguments are those that Polars calls a plugin's expression with.
pub unsafe fn expression_call<E: Expression>(
    inputs: *mut SeriesExport,
    len: usize,
    kwargs: *const u8,
    kwargs_len: usize,
    returned: *mut SeriesExport,
) {
    let out = guarded(|| {
        // SAFETY: Polars hands over `len` exports and forgets them; every one is read,
        // and so owned and released here, before any of them can fail.
        let inputs: Vec<SeriesExport> =
            (0..len).map(|i| unsafe { ptr::read(inputs.add(i)) }).collect();
        // Import them all before judging any: what is not imported is not released.
        // SAFETY: each export is imported once.
        let inputs: Vec<_> = inputs.into_iter().map(|input| unsafe { import(input) }).collect();
        let inputs = inputs.into_iter().collect::<Result<Vec<_>>>()?;
        // SAFETY: Polars lends `kwargs_len` bytes for the call.
        let options = unsafe { options::<E>(kwargs, kwargs_len)? };
        E::check(&inputs.iter().map(|input| &input.field).collect::<Vec<_>>())?;
        let name = inputs.first().map_or("", |input| &input.field.name);
        let out = E::evaluate(&inputs, &options)?;
        export(&ArrowField::new(name, out.data_type().clone(), true), &out)
    });
    if let Some(out) = out {
        // SAFETY: Polars passes an empty export to be overwritten.
        unsafe { ptr::write(returned, out) };
    }
}

/// Exports an [`Expression`] under the two symbols that Polars looks up.
macro_rules! export_expression {
    ($expression:ty, $evaluate:ident, $field:ident) => {
        /// # Safety
        /// Called by Polars, with its own arguments.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $evaluate(
            inputs: *mut $crate::polars::ffi::SeriesExport,
            len: usize,
            kwargs: *const u8,
            kwargs_len: usize,
            returned: *mut $crate::polars::ffi::SeriesExport,
            _context: *mut std::ffi::c_void,
        ) {
            // SAFETY: Polars' own arguments, passed on.
            unsafe {
                $crate::polars::ffi::expression_call::<$expression>(
                    inputs, len, kwargs, kwargs_len, returned,
                );
            }
        }

        /// # Safety
        /// Called by Polars, with its own arguments.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $field(
            fields: *mut $crate::arrow::CSchema,
            len: usize,
            returned: *mut arrow_array::ffi::FFI_ArrowSchema,
            kwargs: *const u8,
            kwargs_len: usize,
        ) {
            // SAFETY: Polars' own arguments, passed on.
            unsafe {
                $crate::polars::ffi::field_call::<$expression>(
                    fields, len, returned, kwargs, kwargs_len,
                );
            }
        }
    };
}
pub(crate) use export_expression;
