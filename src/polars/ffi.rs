//! The C interface between Polars and its expression plugins, version 0.1: Arrow's C data
//! interface with a chunk list around it.
//!
//! Used directly rather than through the `polars` crates: it is small and stable, so one build
//! serves every Python polars since 1.27; and those crates take ten minutes to build, and cannot
//! be built for Object and Extension columns. The layout is that of the crate `polars-ffi`,
//! module `version_0`. `tests/python/test_polars_dtypes.py` takes every type through every
//! function, with the oldest Polars, the newest and its other builds.

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
use super::options::PickledOptions;
use crate::arrow::{CArray, CSchema, SharedArray, from_arrow};
use crate::error::{Error, Result, catch_panic, collect};
use crate::memory::collect_chunks;

/// A column, chunk by chunk.
pub struct Series {
    pub field: Field,
    pub chunks: Vec<ArrayRef>,
}

impl Series {
    pub fn len(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.len()).sum()
    }

    /// The chunk that holds `row`, and the row's position in it.
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

/// A series as the interface passes it. The importer moves its arrays out; `release` frees the
/// boxes around them.
#[repr(C)]
pub struct SeriesExport {
    field: *mut CSchema,
    arrays: *mut *mut CArray,
    len: usize,
    release: Option<unsafe extern "C" fn(*mut SeriesExport)>,
    private_data: *mut c_void,
}

/// The private data of our own exports.
struct ExportOwner {
    _schema: Box<FFI_ArrowSchema>,
    arrays: Vec<*mut FFI_ArrowArray>,
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
    // SAFETY: called with a structure that `export` filled, which put a boxed
    // `ExportOwner` there and boxes into its `arrays`; the importer owns the arrays themselves.
    unsafe {
        let Some(export) = export.as_mut() else { return };
        let owner = Box::from_raw(export.private_data.cast::<ExportOwner>());
        for &array in &owner.arrays {
            drop(Box::from_raw(array.cast::<ManuallyDrop<FFI_ArrowArray>>()));
        }
        export.release = None;
    }
}

fn export(field: &ArrowField, chunks: &[ArrayRef]) -> Result<SeriesExport> {
    let mut schema = Box::new(FFI_ArrowSchema::try_from(field).map_err(from_arrow)?);
    let array = |chunk: &ArrayRef| Ok(Box::new(FFI_ArrowArray::new(&chunk.to_data())));
    let arrays = collect_chunks(chunks.iter().map(array))?;
    let mut arrays = collect(arrays.into_iter().map(Box::into_raw))?;
    Ok(SeriesExport {
        // Both mirror the same C structures.
        field: ptr::from_mut(&mut *schema).cast(),
        arrays: arrays.as_mut_ptr().cast(),
        len: arrays.len(),
        release: Some(release_export),
        private_data: Box::into_raw(Box::new(ExportOwner { _schema: schema, arrays })).cast(),
    })
}

/// # Safety
/// `export` is a valid export whose arrays nobody has moved out yet.
unsafe fn import(export: SeriesExport) -> Result<Series> {
    // SAFETY: by the caller's promise the pointers are valid, those of `len` arrays.
    let (schema, arrays) = unsafe {
        let arrays = match export.len {
            0 => &[][..],
            len => std::slice::from_raw_parts(export.arrays, len),
        };
        (&*export.field, arrays)
    };
    let field = Field::of(schema);
    // SAFETY: each array is moved out once; `export` frees only their boxes when it drops.
    let mut arrays = arrays.iter().map(|&array| unsafe { ptr::read(array) });
    let import = |array| import_array(&SharedArray::new(&Arc::new(array)), &field.dtype);
    let chunks = collect_chunks(arrays.by_ref().map(import));
    // After an error, the others are released here.
    arrays.for_each(drop);
    Ok(Series { chunks: chunks?, field })
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
    // Polars reads the text without a check, so there is one even on a thread that is ending.
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
unsafe fn options<E: Expression>(
    expression: &E,
    kwargs: *const u8,
    len: usize,
) -> Result<E::Options> {
    // SAFETY: the caller's promise; an empty slice needs no pointer.
    let pickled = if len == 0 { &[] } else { unsafe { std::slice::from_raw_parts(kwargs, len) } };
    expression.options(&PickledOptions::parse(pickled)?.only(E::OPTIONS)?)
}

/// One expression: the type of its result by the types of its inputs, and its result.
pub trait Expression {
    type Options;
    /// The names of its options.
    const OPTIONS: &[&str];
    fn options(&self, options: &PickledOptions) -> Result<Self::Options>;
    /// Checks the types of the inputs. Called for a plan and again for the data, because a
    /// schema that the author of a plan states may differ from the data's.
    fn check(&self, inputs: &[&Field]) -> Result<()>;
    fn output_type(&self, options: &Self::Options) -> DataType;
    /// At least one chunk.
    fn evaluate(&self, inputs: &[Series], options: &Self::Options) -> Result<Vec<ArrayRef>>;
}

/// # Safety
/// The arguments are those that Polars calls a plugin's field function with.
pub unsafe fn field_call<E: Expression>(
    expression: &E,
    fields: *const CSchema,
    len: usize,
    returned: *mut FFI_ArrowSchema,
    kwargs: *const u8,
    kwargs_len: usize,
) {
    let out = guarded(|| {
        // SAFETY: Polars lends `len` schemas and `kwargs_len` bytes for the call.
        let (fields, options) = unsafe {
            let fields = std::slice::from_raw_parts(fields, len);
            (fields, options(expression, kwargs, kwargs_len)?)
        };
        let data_type = expression.output_type(&options);
        let fields: Vec<_> = fields.iter().map(Field::of).collect();
        expression.check(&fields.iter().collect::<Vec<_>>())?;
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
    expression: &E,
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
        // All are imported before an error ends the call: only what is imported is released.
        // SAFETY: each export is imported once.
        let inputs: Vec<_> = inputs.into_iter().map(|input| unsafe { import(input) }).collect();
        let inputs = inputs.into_iter().collect::<Result<Vec<_>>>()?;
        // SAFETY: Polars lends `kwargs_len` bytes for the call.
        let options = unsafe { options(expression, kwargs, kwargs_len)? };
        expression.check(&inputs.iter().map(|input| &input.field).collect::<Vec<_>>())?;
        let name = inputs.first().map_or("", |input| &input.field.name);
        let out = expression.evaluate(&inputs, &options)?;
        let data_type = expression.output_type(&options);
        export(&ArrowField::new(name, data_type, true), &out)
    });
    if let Some(out) = out {
        // SAFETY: Polars passes an empty export to be overwritten.
        unsafe { ptr::write(returned, out) };
    }
}

/// Exports an [`Expression`] under the two symbols that Polars looks up.
macro_rules! export_expression {
    ($expression:expr, $evaluate:ident, $field:ident) => {
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
                $crate::polars::ffi::expression_call(
                    &$expression,
                    inputs,
                    len,
                    kwargs,
                    kwargs_len,
                    returned,
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
                $crate::polars::ffi::field_call(
                    &$expression,
                    fields,
                    len,
                    returned,
                    kwargs,
                    kwargs_len,
                );
            }
        }
    };
}
pub(crate) use export_expression;
