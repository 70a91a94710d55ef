//! Memory and copies. Pointers are as [`super`] has them.

use std::ffi::{c_int, c_uchar, c_uint, c_void};
use std::ops::Range;

use super::{Handle, check_unneeded, id};
use crate::machine::{Machine, Needs, call};
use crate::status::{ILLEGAL_ADDRESS, INVALID_VALUE, OUT_OF_MEMORY};
use crate::streams::{Device, Work};

/// What both kinds of allocation begin with.
fn admit(machine: &mut Machine, bytes: usize) -> Result<(), c_int> {
    if bytes == 0 {
        return machine.refuse(INVALID_VALUE, "an allocation of 0 bytes");
    }
    if machine.device.log.allocation_fails() { Err(OUT_OF_MEMORY) } else { Ok(()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAlloc_v2(address: *mut u64, bytes: usize) -> c_int {
    call("cuMemAlloc_v2", Needs::Context, |machine| {
        // SAFETY: a valid pointer or null, as the module says.
        let place = unsafe { machine.place(address, INVALID_VALUE) }?;
        admit(machine, bytes)?;
        place.write(machine.device.memory.allocate(bytes).ok_or(OUT_OF_MEMORY)?);
        Ok(())
    })
}

/// Only the number of the device, which is always the first.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuPointerGetAttribute(
    value: *mut c_void,
    attribute: c_uint,
    address: u64,
) -> c_int {
    const DEVICE_ORDINAL: c_uint = 9;
    call("cuPointerGetAttribute", Needs::Init, |machine| {
        // SAFETY: a valid pointer or null, as the module says.
        let place = unsafe { machine.place(value.cast::<c_int>(), INVALID_VALUE) }?;
        if attribute != DEVICE_ORDINAL {
            return machine.refuse(INVALID_VALUE, format!("attribute {attribute}"));
        }
        if !machine.device.memory.is_device(address, 1) {
            return Err(INVALID_VALUE);
        }
        place.write(0);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFree_v2(address: u64) -> c_int {
    call("cuMemFree_v2", Needs::Context, |machine| {
        machine.check_ends()?;
        let Some(range) = machine.device.memory.release(address) else {
            return machine.refuse(INVALID_VALUE, format!("{address:#x} is no live allocation"));
        };
        check_unneeded(machine, &range);
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemHostAlloc(
    address: *mut *mut c_void,
    bytes: usize,
    _flags: c_uint,
) -> c_int {
    call("cuMemHostAlloc", Needs::Context, |machine| {
        machine.check_ends()?;
        // SAFETY: a valid pointer or null, as the module says.
        let place = unsafe { machine.place(address, INVALID_VALUE) }?;
        admit(machine, bytes)?;
        place.write(machine.device.memory.pin(bytes).ok_or(OUT_OF_MEMORY)?);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFreeHost(address: *mut c_void) -> c_int {
    call("cuMemFreeHost", Needs::Context, |machine| {
        machine.check_ends()?;
        let Some(range) = machine.device.memory.pinned(id(address)) else {
            return machine.refuse(INVALID_VALUE, format!("{address:?} is no pinned memory"));
        };
        check_unneeded(machine, &range);
        machine.device.memory.unpin(range.start);
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> c_int {
    call("cuMemGetInfo_v2", Needs::Context, |machine| {
        // SAFETY: a valid pointer or null, as the module says.
        unsafe { machine.place(free, INVALID_VALUE) }?.write(machine.device.memory.free() as usize);
        // SAFETY: as above.
        unsafe { machine.place(total, INVALID_VALUE) }?.write(machine.device.memory.total as usize);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyHtoDAsync_v2(
    to: u64,
    from: *const c_void,
    bytes: usize,
    stream: Handle,
) -> c_int {
    let name = "cuMemcpyHtoDAsync_v2";
    let from = from.addr() as u64;
    call(name, Needs::Context, |machine| {
        copy(machine, name, stream, Ends { host: from, device: to, bytes }, move |device| {
            device.memory.upload(to, from, bytes)
        })
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoHAsync_v2(
    to: *mut c_void,
    from: u64,
    bytes: usize,
    stream: Handle,
) -> c_int {
    let name = "cuMemcpyDtoHAsync_v2";
    let to = id(to);
    call(name, Needs::Context, |machine| {
        copy(machine, name, stream, Ends { host: to, device: from, bytes }, move |device| {
            device.memory.download(to, from, bytes)
        })
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD8Async(to: u64, value: c_uchar, bytes: usize, stream: Handle) -> c_int {
    let name = "cuMemsetD8Async";
    call(name, Needs::Context, |machine| {
        machine.check_stream(id(stream))?;
        if !machine.device.memory.is_device(to, bytes) {
            let what = format!("{bytes} bytes at {to:#x} are not in device memory");
            return machine.refuse(INVALID_VALUE, what);
        }
        let run = Box::new(move |device: &mut Device| match device.memory.access(to, bytes) {
            Some(bytes) => {
                bytes.fill(value);
                Ok(())
            }
            None => device.log.refuse(ILLEGAL_ADDRESS, "memory went before it was filled"),
        });
        let touched = to..to + bytes as u64;
        machine.streams.push(id(stream), Work { name, touches: Vec::from([touched]), run });
        Ok(())
    })
}

struct Ends {
    host: u64,
    device: u64,
    bytes: usize,
}

/// Queues a copy. One from or to memory that is not pinned would not be asynchronous, and
/// is refused, since whether that memory will be there is not known.
fn copy(
    machine: &mut Machine,
    name: &'static str,
    stream: Handle,
    Ends { host, device, bytes }: Ends,
    run: impl FnOnce(&mut Device) -> Option<()> + Send + 'static,
) -> Result<(), c_int> {
    machine.check_stream(id(stream))?;
    let memory = &machine.device.memory;
    if !memory.is_device(device, bytes) {
        let what = format!("{bytes} bytes at {device:#x} are not in device memory");
        return machine.refuse(INVALID_VALUE, what);
    }
    if !memory.is_pinned(host, bytes) {
        let what = format!("{bytes} bytes at {host:#x} are not in pinned memory");
        return machine.refuse(INVALID_VALUE, what);
    }
    let range = |start: u64| -> Range<u64> { start..start + bytes as u64 };
    let run = Box::new(move |device: &mut Device| match run(device) {
        Some(()) => Ok(()),
        None => device.log.refuse(ILLEGAL_ADDRESS, "memory went before the copy ran"),
    });
    machine.streams.push(id(stream), Work { name, touches: vec![range(host), range(device)], run });
    Ok(())
}
