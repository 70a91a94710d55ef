//! The keyword arguments of a call, which Polars pickles (protocol 5) into the plan.
//!
//! A plan may come from elsewhere, so these bytes are untrusted input. Only one flat dict of names
//! to scalars is read: nothing nests, nothing recurses, and nothing is allocated for a length
//! that is only claimed. Strings and bytes are borrowed, not copied.
//!
//! The opcodes are those of Python's `pickletools`.

/// The most arguments of a call; twice as many objects can be referred to.
const MAX_ENTRIES: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar<'a> {
    None,
    Bool(bool),
    Int(i64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

/// A call's arguments by name. Of two with one name the later is used.
#[derive(Debug, PartialEq)]
pub struct PickledOptions<'a>(Vec<(&'a str, Scalar<'a>)>);

/// What is wrong with the arguments.
#[derive(Debug, PartialEq)]
pub struct OptionsError(pub String);

impl<T: Into<String>> From<T> for OptionsError {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl<'a> PickledOptions<'a> {
    /// Reads a pickled dict. An empty input is a call without arguments.
    pub fn parse(pickled: &'a [u8]) -> Result<Self, OptionsError> {
        if pickled.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let mut reader = Reader { rest: pickled };
        let entries = reader.dict();
        entries.map(Self).map_err(|OptionsError(reason)| {
            let at = pickled.len() - reader.rest.len();
            format!("{reason}, before byte {at} of {}", pickled.len()).into()
        })
    }

    /// Rejects arguments of other names, which a plan of a later version may have.
    pub fn only(self, names: &[&str]) -> Result<Self, OptionsError> {
        match self.0.iter().find(|(name, _)| !names.contains(name)) {
            Some((name, _)) => {
                let name: String = name.chars().take(40).collect();
                Err(format!("{name:?} is not an option of this version").into())
            }
            None => Ok(self),
        }
    }

    /// The argument, unless it is absent or `None`.
    fn get(&self, name: &str) -> Option<Scalar<'a>> {
        let found = self.0.iter().rev().find(|(other, _)| *other == name);
        found.map(|(_, value)| *value).filter(|value| *value != Scalar::None)
    }

    pub fn text(&self, name: &str) -> Result<Option<&'a str>, OptionsError> {
        match self.get(name) {
            None => Ok(None),
            Some(Scalar::Text(text)) => Ok(Some(text)),
            Some(_) => Err(format!("{name} must be a string").into()),
        }
    }

    pub fn bytes(&self, name: &str) -> Result<Option<&'a [u8]>, OptionsError> {
        match self.get(name) {
            None => Ok(None),
            Some(Scalar::Bytes(bytes)) => Ok(Some(bytes)),
            Some(_) => Err(format!("{name} must be bytes").into()),
        }
    }

    pub fn int(&self, name: &str) -> Result<Option<i64>, OptionsError> {
        match self.get(name) {
            None => Ok(None),
            Some(Scalar::Int(int)) => Ok(Some(int)),
            Some(_) => Err(format!("{name} must be an integer").into()),
        }
    }

    pub fn flag(&self, name: &str) -> Result<bool, OptionsError> {
        match self.get(name) {
            None => Ok(false),
            Some(Scalar::Bool(flag)) => Ok(flag),
            Some(_) => Err(format!("{name} must be a bool").into()),
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

/// An object in the memo, which later opcodes refer to.
#[derive(Clone, Copy)]
enum Object<'a> {
    Dict,
    Scalar(Scalar<'a>),
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: u64) -> Result<&'a [u8], OptionsError> {
        let split = usize::try_from(len).ok().and_then(|len| self.rest.split_at_checked(len));
        let (taken, rest) =
            split.ok_or_else(|| format!("expected {len} bytes, found {}", self.rest.len()))?;
        self.rest = rest;
        Ok(taken)
    }

    /// An unsigned number of up to eight bytes.
    fn number(&mut self, bytes: u64) -> Result<u64, OptionsError> {
        let taken = self.take(bytes)?;
        Ok(taken.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// The bytes after a length, which has `bytes` bytes itself.
    fn sized(&mut self, bytes: u64) -> Result<&'a [u8], OptionsError> {
        let len = self.number(bytes)?;
        self.take(len)
    }

    fn text(&mut self, bytes: u64) -> Result<Scalar<'a>, OptionsError> {
        let text = std::str::from_utf8(self.sized(bytes)?);
        text.map(Scalar::Text).map_err(|_| "a string that is not UTF-8".into())
    }

    /// A signed number of up to eight bytes.
    fn long(&mut self) -> Result<Scalar<'a>, OptionsError> {
        let bytes = self.sized(1)?;
        let sign = if bytes.last().is_some_and(|&byte| byte >= 0x80) { 0xff } else { 0 };
        let mut long = [sign; 8];
        let fits = long.get_mut(..bytes.len()).ok_or("an integer of more than 64 bits")?;
        fits.copy_from_slice(bytes);
        Ok(Scalar::Int(i64::from_le_bytes(long)))
    }

    fn dict(&mut self) -> Result<Vec<(&'a str, Scalar<'a>)>, OptionsError> {
        let mut entries = Vec::new();
        let mut memo: Vec<Object> = Vec::new();
        let mut stack: Vec<Scalar> = Vec::new();
        let (mut has_dict, mut is_marked) = (false, false);
        loop {
            let opcode = self.number(1)? as u8;
            let scalar = match opcode {
                b'N' => Scalar::None,
                0x88 => Scalar::Bool(true),
                0x89 => Scalar::Bool(false),
                b'K' => Scalar::Int(self.number(1)? as i64),
                b'M' => Scalar::Int(self.number(2)? as i64),
                b'J' => Scalar::Int((self.number(4)? as u32 as i32).into()),
                0x8a => self.long()?,
                0x8c => self.text(1)?,
                b'X' => self.text(4)?,
                0x8d => self.text(8)?,
                b'C' => Scalar::Bytes(self.sized(1)?),
                b'B' => Scalar::Bytes(self.sized(4)?),
                0x8e => Scalar::Bytes(self.sized(8)?),
                b'h' | b'j' => {
                    let i = self.number(if opcode == b'h' { 1 } else { 4 })?;
                    match usize::try_from(i).ok().and_then(|i| memo.get(i)) {
                        Some(Object::Scalar(scalar)) => *scalar,
                        Some(Object::Dict) => return Err("a dict inside a dict".into()),
                        None => return Err("a reference to an object that does not exist".into()),
                    }
                }
                // PROTO; and FRAME, whose length is for readers of files.
                0x80 if self.number(1)? <= 5 => continue,
                0x95 => {
                    self.take(8)?;
                    continue;
                }
                b'}' if !has_dict => {
                    has_dict = true;
                    continue;
                }
                b'(' if has_dict && !is_marked && stack.is_empty() => {
                    is_marked = true;
                    continue;
                }
                // MEMOIZE
                0x94 if has_dict && memo.len() < MAX_ENTRIES * 2 => {
                    memo.push(stack.last().map_or(Object::Dict, |&scalar| Object::Scalar(scalar)));
                    continue;
                }
                // SETITEM or SETITEMS
                b's' | b'u' if has_dict && is_marked == (opcode == b'u') => {
                    let (pairs, odd) = stack.as_chunks::<2>();
                    if !odd.is_empty() || (opcode == b's' && pairs.len() != 1) {
                        return Err("a name without a value".into());
                    }
                    for &[name, value] in pairs {
                        let Scalar::Text(name) = name else {
                            return Err("a name that is not a string".into());
                        };
                        entries.push((name, value));
                    }
                    if entries.len() > MAX_ENTRIES {
                        return Err(format!("more than {MAX_ENTRIES} entries").into());
                    }
                    stack.clear();
                    is_marked = false;
                    continue;
                }
                // STOP
                b'.' if has_dict && !is_marked && stack.is_empty() && self.rest.is_empty() => {
                    return Ok(entries);
                }
                _ => {
                    return Err(
                        format!("unexpected opcode {opcode:#04x} in a dict of scalars").into()
                    );
                }
            };
            if !has_dict || stack.len() == MAX_ENTRIES * 2 {
                return Err(format!("expected one dict of up to {MAX_ENTRIES} scalars").into());
            }
            stack.push(scalar);
        }
    }
}
