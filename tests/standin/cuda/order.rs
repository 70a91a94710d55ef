//! Streams and events. Pointers are as [`super`] has them.

use std::ffi::{c_int, c_uint};
use std::thread;

use super::{Handle, check_unneeded, handle, id, whole};
use crate::machine::{Machine, Needs, call};
use crate::status::{INVALID_CONTEXT, INVALID_HANDLE, INVALID_VALUE, NOT_READY};

/// The legacy one, and that of the thread.
const DEFAULT_STREAMS: [u64; 2] = [1, 2];

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamCreateWithPriority(
    stream: *mut Handle,
    _flags: c_uint,
    priority: c_int,
) -> c_int {
    call("cuStreamCreateWithPriority", Needs::Context, |machine| {
        if !(GREATEST_PRIORITY..=0).contains(&priority) {
            return machine.refuse(INVALID_VALUE, format!("there is no priority {priority}"));
        }
        // SAFETY: a valid pointer or null, as the module says.
        let place = unsafe { machine.place(stream, INVALID_VALUE) }?;
        let context = machine.context().ok_or(INVALID_CONTEXT)?;
        place.write(handle(machine.streams.create_stream(context)));
        Ok(())
    })
}

const GREATEST_PRIORITY: c_int = -5;

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxGetStreamPriorityRange(least: *mut c_int, greatest: *mut c_int) -> c_int {
    call("cuCtxGetStreamPriorityRange", Needs::Context, |machine| {
        // SAFETY: valid pointers or null, as the module says.
        unsafe {
            machine.place(least, INVALID_VALUE)?.write(0);
            machine.place(greatest, INVALID_VALUE)?.write(GREATEST_PRIORITY);
        }
        Ok(())
    })
}

/// As CUDA does, lets queued work finish.
#[unsafe(no_mangle)]
extern "C" fn cuStreamDestroy_v2(stream: Handle) -> c_int {
    call("cuStreamDestroy_v2", Needs::Context, |machine| {
        machine.check_stream(id(stream))?;
        machine.check_ends()?;
        let outcome = machine.streams.synchronize(id(stream), &mut machine.device);
        machine.streams.remove_stream(id(stream));
        outcome
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamSynchronize(stream: Handle) -> c_int {
    call("cuStreamSynchronize", Needs::Context, |machine| {
        machine.check_stream(id(stream))?;
        match machine.streams.synchronize(id(stream), &mut machine.device) {
            Err(NOT_READY) => machine.check_ends(),
            other => other,
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSynchronize() -> c_int {
    let status = call("cuCtxSynchronize", Needs::Context, |machine| {
        let context = machine.context();
        let streams = machine.streams.of_context(context);
        streams
            .into_iter()
            .try_for_each(|stream| machine.streams.synchronize(stream, &mut machine.device))
    });
    if status == NOT_READY {
        // It blocks, for no other call would tell: whoever calls it can give it a thread.
        loop {
            thread::park();
        }
    }
    status
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamQuery(stream: Handle) -> c_int {
    call("cuStreamQuery", Needs::Context, |machine| {
        // Nothing is ever queued on the default streams.
        if DEFAULT_STREAMS.contains(&id(stream)) {
            return Ok(());
        }
        machine.check_stream(id(stream))?;
        machine.streams.query(id(stream), &mut machine.device)
    })
}

fn check_event(machine: &mut Machine, event: Handle) -> Result<(), c_int> {
    if machine.streams.has_event(id(event)) {
        return Ok(());
    }
    machine.refuse(INVALID_HANDLE, format!("{event:?} is no event"))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamWaitEvent(stream: Handle, event: Handle, flags: c_uint) -> c_int {
    call("cuStreamWaitEvent", Needs::Context, |machine| {
        machine.check_stream(id(stream))?;
        check_event(machine, event)?;
        if flags != 0 {
            return machine.refuse(INVALID_VALUE, "flags must be 0");
        }
        machine.streams.wait(id(stream), id(event));
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventCreate(event: *mut Handle, _flags: c_uint) -> c_int {
    call("cuEventCreate", Needs::Context, |machine| {
        // SAFETY: a valid pointer or null, as the module says.
        let place = unsafe { machine.place(event, INVALID_VALUE) }?;
        place.write(handle(machine.streams.create_event()));
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventDestroy_v2(event: Handle) -> c_int {
    call("cuEventDestroy_v2", Needs::Context, |machine| {
        check_event(machine, event)?;
        check_unneeded(machine, &whole(id(event)));
        machine.streams.remove_event(id(event));
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventRecord(event: Handle, stream: Handle) -> c_int {
    call("cuEventRecord", Needs::Context, |machine| {
        check_event(machine, event)?;
        machine.check_stream(id(stream))?;
        machine.streams.record(id(event), id(stream));
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventQuery(event: Handle) -> c_int {
    call("cuEventQuery", Needs::Context, |machine| {
        check_event(machine, event)?;
        machine.streams.query_event(id(event), &mut machine.device)
    })
}
