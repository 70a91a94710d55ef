//! The driver API, with CUDA's names and signatures.
//!
//! Every pointer that a function takes is valid for what CUDA's documentation says, or null.
//! That is what the blocks of unsafe code here rely on.
#![allow(non_snake_case, reason = "CUDA's names")]

mod copies;
mod order;

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ops::Range;
use std::ptr::without_provenance_mut;

use super::kernels::{Kernel, Launch};
use super::machine::{HANDLE_STEP, Machine, Needs, call, new_handle, put_text};
use super::status::{self, *};
use super::streams::Work;

type Handle = *mut c_void;

fn id(handle: Handle) -> u64 {
    handle.addr() as u64
}

fn handle(id: u64) -> Handle {
    without_provenance_mut(id as usize)
}

/// A handle, as queued work refers to it: a range of one.
fn whole(id: u64) -> Range<u64> {
    id..id + 1
}

#[unsafe(no_mangle)]
extern "C" fn cuInit(flags: c_uint) -> c_int {
    call("cuInit", Needs::Nothing, |machine| {
        if flags != 0 {
            return machine.refuse(INVALID_VALUE, "flags must be 0");
        }
        if machine.devices == 0 {
            return Err(NO_DEVICE);
        }
        machine.initialised = true;
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorName(error: c_int, name: *mut *const c_char) -> c_int {
    // SAFETY: a valid pointer or null, as the module says.
    match (status::name(error), unsafe { name.as_mut() }) {
        (Some(known), Some(name)) => *name = known.as_ptr(),
        _ => return INVALID_VALUE,
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> c_int {
    call("cuDriverGetVersion", Needs::Nothing, |machine| {
        // SAFETY: a valid pointer or null, as the module says.
        unsafe { machine.place(version, INVALID_VALUE) }?.write(13_000);
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> c_int {
    call("cuDeviceGetCount", Needs::Init, |machine| {
        // SAFETY: a valid pointer or null, as the module says.
        unsafe { machine.place(count, INVALID_VALUE) }?.write(machine.devices);
        Ok(())
    })
}

fn check_device(machine: &mut Machine, device: c_int) -> Result<(), c_int> {
    if (0..machine.devices).contains(&device) {
        return Ok(());
    }
    machine.refuse(INVALID_DEVICE, format!("there is no device {device}"))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGet(device: *mut c_int, ordinal: c_int) -> c_int {
    call("cuDeviceGet", Needs::Init, |machine| {
        check_device(machine, ordinal)?;
        // SAFETY: a valid pointer or null, as the module says.
        unsafe { machine.place(device, INVALID_VALUE) }?.write(ordinal);
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, len: c_int, device: c_int) -> c_int {
    call("cuDeviceGetName", Needs::Init, |machine| {
        check_device(machine, device)?;
        let len = usize::try_from(len).unwrap_or(0);
        // SAFETY: a buffer of so many bytes or null, as the module says.
        unsafe { put_text(&format!("Stand-in GPU {device}"), name, len) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut Handle, device: c_int) -> c_int {
    call("cuDevicePrimaryCtxRetain", Needs::Init, |machine| {
        check_device(machine, device)?;
        // SAFETY: a valid pointer or null, as the module says.
        let context = unsafe { machine.place(context, INVALID_VALUE) }?;
        context.write(handle(machine.retain(device)));
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRelease_v2(device: c_int) -> c_int {
    call("cuDevicePrimaryCtxRelease_v2", Needs::Init, |machine| {
        check_device(machine, device)?;
        machine.release(device)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxPushCurrent_v2(context: Handle) -> c_int {
    call("cuCtxPushCurrent_v2", Needs::Init, |machine| machine.push_context(id(context)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxPopCurrent_v2(context: *mut Handle) -> c_int {
    call("cuCtxPopCurrent_v2", Needs::Init, |machine| {
        let popped = machine.pop_context()?;
        // SAFETY: a valid pointer or null, as the module says; null is allowed.
        if let Some(context) = unsafe { context.as_mut() } {
            *context = handle(popped);
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoadData(module: *mut Handle, image: *const c_void) -> c_int {
    call("cuModuleLoadData", Needs::Context, |machine| {
        machine.check_ends()?;
        // SAFETY: a valid pointer or null, as the module says.
        let module = unsafe { machine.place(module, INVALID_VALUE) }?;
        if image.is_null() {
            return machine.refuse(INVALID_VALUE, "no image");
        }
        // SAFETY: not null, and therefore PTX that ends in a NUL.
        let ptx = unsafe { CStr::from_ptr(image.cast()) }.to_string_lossy();
        if !Kernel::all_in(&ptx) {
            return Err(INVALID_PTX);
        }
        let id = new_handle();
        machine.modules.insert(id, new_handle());
        module.write(handle(id));
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleUnload(module: Handle) -> c_int {
    call("cuModuleUnload", Needs::Context, |machine| {
        machine.check_ends()?;
        let Some(functions) = machine.modules.remove(&id(module)) else {
            return machine.refuse(INVALID_HANDLE, format!("{module:?} is no module"));
        };
        check_unneeded(machine, &(functions..functions + HANDLE_STEP));
        Ok(())
    })
}

/// Records that queued work needs what is about to go.
fn check_unneeded(machine: &mut Machine, range: &Range<u64>) {
    if let Some(name) = machine.streams.needs(range) {
        let what = format!("{:#x} goes while {name} that needs it is queued", range.start);
        machine.device.log.violate(what);
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleGetFunction(
    function: *mut Handle,
    module: Handle,
    name: *const c_char,
) -> c_int {
    call("cuModuleGetFunction", Needs::Context, |machine| {
        // SAFETY: a valid pointer or null, as the module says.
        let function = unsafe { machine.place(function, INVALID_VALUE) }?;
        let Some(&known) = machine.modules.get(&id(module)) else {
            return machine.refuse(INVALID_HANDLE, format!("{module:?} is no module"));
        };
        if name.is_null() {
            return machine.refuse(INVALID_VALUE, "no name");
        }
        // SAFETY: not null, and therefore a string.
        let name = unsafe { CStr::from_ptr(name) }.to_bytes();
        function.write(handle(known + Kernel::find(name).ok_or(NOT_FOUND)?));
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuLaunchKernel(
    function: Handle,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    _shared_bytes: c_uint,
    stream: Handle,
    params: *mut *mut c_void,
    extra: *mut *mut c_void,
) -> c_int {
    call("cuLaunchKernel", Needs::Context, |machine| {
        let mut modules = machine.modules.values();
        let kernel = modules
            .find_map(|&functions| id(function).checked_sub(functions).and_then(Kernel::of_number));
        let Some(kernel) = kernel else {
            return machine.refuse(INVALID_HANDLE, format!("{function:?} is no function"));
        };
        machine.check_stream(id(stream))?;
        let product = |dimensions: [c_uint; 3]| dimensions.into_iter().map(u128::from).product();
        let blocks: u128 = product([grid_x, grid_y, grid_z]);
        let threads: u128 = product([block_x, block_y, block_z]);
        if blocks == 0 || !(1..=1024).contains(&threads) {
            let what = format!("{blocks} blocks of {threads} threads");
            return machine.refuse(INVALID_VALUE, what);
        }
        // SAFETY: the parameters of the kernel, as the module says.
        let Some(launch) = (unsafe { Launch::new(kernel, params.cast()) }) else {
            return machine.refuse(INVALID_VALUE, "a parameter is missing");
        };
        if !extra.is_null() {
            return machine.refuse(INVALID_VALUE, "parameters come twice");
        }
        let mut touches = launch.touches();
        touches.push(whole(id(function)));
        let run = Box::new(move |device: &mut _| launch.run(device));
        machine.streams.push(id(stream), Work { name: kernel.name(), touches, run });
        Ok(())
    })
}
