//! Arrow's C structures as a description of any bytes says, with lies that a consumer can notice.
//!
//! The interface states no lengths of buffers, so those are as long as the structures say:
//! what stays within them and what the checks refuse are all that comes out of here.

use std::any::Any;
use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr;

use arbitrary::{Result, Unstructured};

/// `struct ArrowSchema`
#[repr(C)]
pub struct Schema {
    format: *const c_char,
    name: *const c_char,
    metadata: *const c_char,
    flags: i64,
    n_children: i64,
    children: *mut *mut Schema,
    dictionary: *mut Schema,
    release: Option<unsafe extern "C" fn(*mut Schema)>,
    private_data: *mut c_void,
}

/// `struct ArrowArray`
#[repr(C)]
pub struct Array {
    length: i64,
    null_count: i64,
    offset: i64,
    n_buffers: i64,
    n_children: i64,
    buffers: *mut *const c_void,
    children: *mut *mut Array,
    dictionary: *mut Array,
    release: Option<unsafe extern "C" fn(*mut Array)>,
    private_data: *mut c_void,
}

/// `struct ArrowArrayStream`
#[repr(C)]
pub struct Stream {
    get_schema: Option<unsafe extern "C" fn(*mut Stream, *mut Schema) -> c_int>,
    get_next: Option<unsafe extern "C" fn(*mut Stream, *mut Array) -> c_int>,
    get_last_error: Option<unsafe extern "C" fn(*mut Stream) -> *const c_char>,
    release: Option<unsafe extern "C" fn(*mut Stream)>,
    private_data: *mut c_void,
}

/// What is behind a structure's pointers, until it is released.
type Memory = Vec<Box<dyn Any>>;

/// A type, with what its schema and arrays have in common.
pub struct Type {
    format: &'static [u8],
    layout: Layout,
    name: &'static str,
    children: Vec<Type>,
    dictionary: Option<Box<Type>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Layout {
    /// Nothing is read of it.
    Unread,
    /// Bits, and as many bytes a row.
    Fixed(usize),
    /// Offsets of that many bytes, and values.
    Offsets(usize),
    Views,
    /// Offsets of that many bytes, and a child.
    List(usize),
    /// Bits alone, and children.
    Nested,
}

const LEAVES: &[(&[u8], Layout)] = &[
    (b"z", Layout::Offsets(4)),
    (b"Z", Layout::Offsets(8)),
    (b"vz", Layout::Views),
    (b"u", Layout::Offsets(4)),
    (b"U", Layout::Offsets(8)),
    (b"vu", Layout::Views),
    (b"w:0", Layout::Fixed(0)),
    (b"w:5", Layout::Fixed(5)),
    (b"n", Layout::Unread),
    (b"c", Layout::Fixed(1)),
    (b"S", Layout::Fixed(2)),
    (b"i", Layout::Fixed(4)),
    (b"l", Layout::Fixed(8)),
    (b"L", Layout::Fixed(8)),
    (b"e", Layout::Fixed(2)),
    (b"g", Layout::Fixed(8)),
    (b"tdD", Layout::Fixed(4)),
    (b"d:9,0,32", Layout::Fixed(4)),
    (b"d:9,0,64", Layout::Fixed(8)),
    (b"d:20,0", Layout::Fixed(16)),
    (b"d:40,0,256", Layout::Fixed(32)),
    // Of no use here, or no formats.
    (b"b", Layout::Unread),
    (b"tsu:UTC", Layout::Fixed(8)),
    (b"+r", Layout::Unread),
    (b"d:99,0", Layout::Unread),
    (b"d:", Layout::Unread),
    (b"w:-1", Layout::Unread),
    (b"w:99999999999", Layout::Unread),
    (b"+w:-1", Layout::Unread),
    (b"", Layout::Unread),
    (b"\xff", Layout::Unread),
];

const LISTS: [(&[u8], Layout); 5] = [
    (b"+l", Layout::List(4)),
    (b"+L", Layout::List(8)),
    (b"+w:3", Layout::Nested),
    (b"+w:0", Layout::Nested),
    (b"+vl", Layout::Unread),
];

const NAMES: [&str; 5] = ["payload", "original_size", "crc32c", "payload_crc32c", "other"];

/// Longer than this is no array, and no value.
const MAX_ROWS: u8 = 24;
const MAX_OFFSET: u16 = 300;

impl Type {
    pub fn any(input: &mut Unstructured, depth: usize) -> Result<Self> {
        let name = *input.choose(&NAMES)?;
        let shape = if depth == 0 { 0 } else { input.arbitrary::<u8>()? % 8 };
        let leaf = |name, input: &mut Unstructured| {
            let &(format, layout) = input.choose(LEAVES)?;
            Ok(Self { format, layout, name, children: Vec::new(), dictionary: None })
        };
        let mut made = leaf(name, input)?;
        match shape {
            4 => {
                (made.format, made.layout) = *input.choose(&LISTS)?;
                made.children.push(Self::any(input, depth - 1)?);
            }
            5 => made.dictionary = Some(Self::any(input, depth - 1)?.into()),
            6 => {
                (made.format, made.layout) = (b"+s", Layout::Nested);
                for _ in 0..input.arbitrary::<u8>()? % 5 {
                    made.children.push(Self::any(input, depth - 1)?);
                }
            }
            // What compress returns.
            7 => {
                (made.format, made.layout) = (b"+s", Layout::Nested);
                for (i, name) in NAMES.iter().enumerate().take(4) {
                    let mut child = leaf(name, input)?;
                    if i > 0 && input.arbitrary::<u8>()? < 200 {
                        (child.format, child.layout) = (b"l", Layout::Fixed(8));
                    }
                    made.children.push(child);
                }
            }
            _ => {}
        }
        Ok(made)
    }

    /// A schema of the type, released by its consumer.
    pub fn schema(&self, input: &mut Unstructured) -> Result<Schema> {
        let mut memory = Memory::new();
        let mut schema = self.schema_in(input, &mut memory)?;
        schema.private_data = Box::into_raw(Box::new(memory)).cast();
        schema.release = (!lies(input)?).then_some(release_schema);
        if schema.release.is_none() {
            // SAFETY: as above; nobody else does.
            unsafe { release_schema(&mut schema) };
        }
        Ok(schema)
    }

    fn schema_in(&self, input: &mut Unstructured, memory: &mut Memory) -> Result<Schema> {
        let mut children = Vec::new();
        for child in &self.children {
            let child = child.schema_in(input, memory)?;
            children.push(if lies(input)? { ptr::null_mut() } else { keep(memory, child) });
        }
        let dictionary = match &self.dictionary {
            Some(values) => {
                let values = values.schema_in(input, memory)?;
                keep(memory, values)
            }
            None => ptr::null_mut(),
        };
        let text = |text: &[u8], memory: &mut Memory| -> *const c_char {
            let text = CString::new(text).expect("no NUL");
            let address = text.as_ptr();
            memory.push(Box::new(text));
            address
        };
        let n_children = stated(input, children.len())?;
        Ok(Schema {
            format: if lies(input)? { ptr::null() } else { text(self.format, memory) },
            name: if lies(input)? { ptr::null() } else { text(self.name.as_bytes(), memory) },
            metadata: ptr::null(),
            flags: 2,
            n_children,
            children: addresses(children, memory),
            dictionary,
            release: None,
            private_data: ptr::null_mut(),
        })
    }

    /// An array of the type, released by its consumer.
    pub fn array(&self, input: &mut Unstructured) -> Result<Array> {
        let mut memory = Memory::new();
        let mut array = self.array_in(input, &mut memory)?;
        array.private_data = Box::into_raw(Box::new(memory)).cast();
        array.release = Some(release_array);
        Ok(array)
    }

    fn array_in(&self, input: &mut Unstructured, memory: &mut Memory) -> Result<Array> {
        let length = rows(input)?;
        let offset = if input.arbitrary::<u8>()? < 180 { 0 } else { rows(input)? };
        // Those that are refused have no rows.
        let end = match (usize::try_from(length), usize::try_from(offset)) {
            (Ok(length), Ok(offset)) if length < 1000 && offset < 1000 => length + offset,
            _ => 0,
        };
        let mut buffers = vec![buffer(input, end.div_ceil(8), memory)?];
        match self.layout {
            Layout::Unread => buffers.clear(),
            Layout::Nested => {}
            Layout::Fixed(width) => buffers.push(buffer(input, end * width, memory)?),
            Layout::List(width) => buffers.push(offsets(input, end, width, memory)?),
            Layout::Offsets(width) => {
                buffers.push(offsets(input, end, width, memory)?);
                buffers.push(buffer(input, MAX_OFFSET.into(), memory)?);
            }
            Layout::Views => views(input, end, memory, &mut buffers)?,
        }
        let may_lie = self.layout != Layout::Views;
        let n_buffers = if may_lie { stated(input, buffers.len())? } else { buffers.len() as i64 };
        let mut children = Vec::new();
        for child in &self.children {
            let child = child.array_in(input, memory)?;
            children.push(if lies(input)? { ptr::null_mut() } else { keep(memory, child) });
        }
        let dictionary = match &self.dictionary {
            Some(values) if !lies(input)? => {
                let values = values.array_in(input, memory)?;
                keep(memory, values)
            }
            _ => ptr::null_mut(),
        };
        let null_count = match input.arbitrary::<u8>()? {
            0..150 => 0,
            150..220 => -1,
            other => i64::from(other) - 230,
        };
        let n_children = stated(input, children.len())?;
        Ok(Array {
            length,
            null_count,
            offset,
            n_buffers,
            n_children,
            buffers: addresses(buffers, memory),
            children: addresses(children, memory),
            dictionary,
            release: None,
            private_data: ptr::null_mut(),
        })
    }

    /// A stream of a few arrays.
    pub fn stream(&self, input: &mut Unstructured) -> Result<Stream> {
        let schema = Some(self.schema(input)?);
        let mut arrays = Vec::new();
        for _ in 0..input.arbitrary::<u8>()? % 4 {
            arrays.push(Owned(self.array(input)?));
        }
        let state = Producer {
            schema: schema.map(OwnedSchema),
            arrays: arrays.into_iter(),
            fails: lies(input)?,
            is_silent: lies(input)?,
        };
        Ok(Stream {
            get_schema: (!lies(input)?).then_some(get_schema),
            get_next: (!lies(input)?).then_some(get_next),
            get_last_error: (!lies(input)?).then_some(get_last_error),
            release: Some(release_stream),
            private_data: Box::into_raw(Box::new(state)).cast(),
        })
    }
}

fn lies(input: &mut Unstructured) -> Result<bool> {
    Ok(input.arbitrary::<u8>()? > 250)
}

/// A number of rows: a few, or so many that no buffer has them.
fn rows(input: &mut Unstructured) -> Result<i64> {
    if lies(input)? {
        return input.choose(&[-1, i64::MIN, i64::MAX, i64::MAX / 32]).copied();
    }
    Ok((input.arbitrary::<u8>()? % MAX_ROWS).into())
}

/// A count that is true, too small, or negative.
fn stated(input: &mut Unstructured, count: usize) -> Result<i64> {
    let count = count as i64;
    Ok(if lies(input)? { *input.choose(&[-1, i64::MIN, 0, count / 2])? } else { count })
}

fn keep<T: 'static>(memory: &mut Memory, item: T) -> *mut T {
    let address = Box::into_raw(Box::new(item));
    // SAFETY: the box's own address; it is not moved out of until its memory is freed.
    memory.push(unsafe { Box::from_raw(address) });
    address
}

fn addresses<T: 'static>(items: Vec<T>, memory: &mut Memory) -> *mut T {
    if items.is_empty() {
        return ptr::null_mut();
    }
    let mut items = items.into_boxed_slice();
    let address = items.as_mut_ptr();
    memory.push(Box::new(items));
    address
}

fn placed(bytes: Vec<u8>, memory: &mut Memory) -> *const c_void {
    // Zero bytes have an address as well.
    let bytes = if bytes.is_empty() { vec![0] } else { bytes };
    addresses(bytes, memory).cast_const().cast()
}

/// So many bytes of the input, repeated; or a null pointer.
fn buffer(input: &mut Unstructured, len: usize, memory: &mut Memory) -> Result<*const c_void> {
    if lies(input)? {
        return Ok(ptr::null());
    }
    let part = input.bytes(len.min(input.len()).min(40))?;
    let bytes: Vec<u8> = part.iter().chain(&[0, 1]).copied().cycle().take(len).collect();
    Ok(placed(bytes, memory))
}

/// Offsets below [`MAX_OFFSET`], mostly ascending.
fn offsets(
    input: &mut Unstructured,
    rows: usize,
    width: usize,
    memory: &mut Memory,
) -> Result<*const c_void> {
    let mut offsets = Vec::new();
    for _ in 0..=rows {
        offsets.push(i64::from(input.arbitrary::<u16>()? % MAX_OFFSET));
    }
    if !lies(input)? {
        offsets.sort_unstable();
    }
    if lies(input)? {
        offsets[0] = *input.choose(&[-1, i32::MIN.into()])?;
    }
    let bytes = offsets.iter().flat_map(|offset| offset.to_le_bytes().into_iter().take(width));
    let mut bytes: Vec<u8> = bytes.collect();
    if input.arbitrary::<u8>()? < 30 {
        // Not aligned.
        bytes.insert(0, 0);
        return Ok(placed(bytes, memory).wrapping_byte_add(1));
    }
    Ok(placed(bytes, memory))
}

/// Views into two blocks, and the blocks' lengths.
fn views(
    input: &mut Unstructured,
    rows: usize,
    memory: &mut Memory,
    buffers: &mut Vec<*const c_void>,
) -> Result<()> {
    const BLOCK: usize = 64;
    let mut views = Vec::new();
    for _ in 0..rows {
        let [len, block, start]: [u8; 3] = input.arbitrary()?;
        let (len, block, start) = (len % 40, block % 16, start % 64);
        let fields = [u32::from(len), 0, u32::from(block / 6), start.into()];
        views.extend(fields.into_iter().flat_map(u32::to_le_bytes));
        if lies(input)? {
            let at = views.len() - 16;
            views[at..].fill(0xff);
        }
    }
    buffers.push(placed(views, memory));
    let mut lens = Vec::new();
    for _ in 0..2 {
        buffers.push(buffer(input, BLOCK, memory)?);
        let len = if lies(input)? { -1 } else { i64::from(input.arbitrary::<u8>()? % 65) };
        lens.extend(len.to_le_bytes());
    }
    buffers.push(placed(lens, memory));
    Ok(())
}

struct Owned(Array);

struct OwnedSchema(Schema);

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(release) = self.0.release {
            // SAFETY: an array that was not handed out.
            unsafe { release(&mut self.0) }
        }
    }
}

impl Drop for OwnedSchema {
    fn drop(&mut self) {
        if let Some(release) = self.0.release {
            // SAFETY: a schema that was not handed out.
            unsafe { release(&mut self.0) }
        }
    }
}

struct Producer {
    schema: Option<OwnedSchema>,
    arrays: std::vec::IntoIter<Owned>,
    fails: bool,
    is_silent: bool,
}

const FAILED: c_int = 5;

unsafe extern "C" fn get_schema(stream: *mut Stream, out: *mut Schema) -> c_int {
    // SAFETY: the consumer's stream, made here, and room for a schema.
    unsafe {
        let producer = &mut *(*stream).private_data.cast::<Producer>();
        match producer.schema.take() {
            Some(mut schema) => {
                out.write(ptr::read(&schema.0));
                schema.0.release = None;
                0
            }
            None => FAILED,
        }
    }
}

unsafe extern "C" fn get_next(stream: *mut Stream, out: *mut Array) -> c_int {
    // SAFETY: the consumer's stream, made here, and room for an array.
    unsafe {
        let producer = &mut *(*stream).private_data.cast::<Producer>();
        match producer.arrays.next() {
            Some(mut array) => {
                out.write(ptr::read(&array.0));
                array.0.release = None;
                0
            }
            None if producer.fails => FAILED,
            None => {
                (*out).release = None;
                0
            }
        }
    }
}

unsafe extern "C" fn get_last_error(stream: *mut Stream) -> *const c_char {
    // SAFETY: the consumer's stream, made here.
    let producer = unsafe { &*(*stream).private_data.cast::<Producer>() };
    if producer.is_silent { ptr::null() } else { c"no more of it".as_ptr() }
}

unsafe extern "C" fn release_schema(schema: *mut Schema) {
    // SAFETY: a schema made here, released once.
    unsafe {
        (*schema).release = None;
        drop(Box::from_raw((*schema).private_data.cast::<Memory>()));
    }
}

unsafe extern "C" fn release_array(array: *mut Array) {
    // SAFETY: an array made here, released once.
    unsafe {
        (*array).release = None;
        drop(Box::from_raw((*array).private_data.cast::<Memory>()));
    }
}

unsafe extern "C" fn release_stream(stream: *mut Stream) {
    // SAFETY: a stream made here, released once.
    unsafe {
        (*stream).release = None;
        drop(Box::from_raw((*stream).private_data.cast::<Producer>()));
    }
}
