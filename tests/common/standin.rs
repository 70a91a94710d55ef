//! Steers the stand-in for NVIDIA's libraries (`tests/standin`), in this process.

use std::env::{current_exe, set_var};
use std::ffi::c_char;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use libloading::Library;
use s4_codec::gpu;

/// Exclusive use of the stand-in, in its first state.
pub struct Standin {
    library: &'static Library,
    /// Objects and bytes that tests before this one lost for good.
    lost: (u64, u64),
    _turn: MutexGuard<'static, ()>,
}

/// How a chunk fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ChunkFault {
    Status = 1,
    SizeShort = 2,
    WrongByte = 3,
    SizeHuge = 4,
}

const MEMORY: u64 = 8 << 30;

fn path() -> PathBuf {
    let exe = current_exe().expect("the path of this program");
    // target/<profile>/deps/<this> or target/<profile>/examples/<this>
    let profile = exe.ancestors().nth(2).expect("a folder of the profile");
    profile.join("examples/libgpu_standin.so")
}

fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let path = path();
        assert!(path.exists(), "{} is missing: cargo build --examples", path.display());
        for variable in ["S4_CUDA_LIBRARY", "S4_NVCOMP_LIBRARY"] {
            // SAFETY: whoever reads these variables asks for the stand-in first.
            unsafe { set_var(variable, &path) };
        }
        // SAFETY: loading it does nothing but read its settings.
        unsafe { Library::new(&path) }.expect("the stand-in loads")
    })
}

macro_rules! controls {
    ($($(#[$doc:meta])* $name:ident = $symbol:literal($($arg:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        impl Standin {
            $(
                $(#[$doc])*
                pub fn $name(&self $(, $arg: $type)*) $(-> $result)? {
                    // SAFETY: the type of the stand-in's function.
                    unsafe {
                        let function = self
                            .library
                            .get::<unsafe extern "C" fn($($type),*) $(-> $result)?>($symbol)
                            .expect($symbol);
                        function($($arg),*)
                    }
                }
            )*
        }
    };
}

controls! {
    /// Forgets calls, launches, violations and planned faults.
    reset = "standin_reset"();
    /// Calls since the last reset.
    calls = "standin_calls"() -> u64;
    /// The n-th call will fail, and with `sticky` all after it.
    fail_call = "standin_fail_call"(n: u64, status: i32, sticky: i32);
    /// So many allocations will be out of memory.
    fail_allocations = "standin_fail_allocations"(first: u64, count: u64);
    set_all_memory = "standin_set_memory"(bytes: u64);
    all_live = "standin_live"() -> u64;
    all_live_bytes = "standin_live_bytes"() -> u64;
    /// Whether streams run as far as they may whenever any is waited for.
    run_ahead = "standin_run_ahead"(on: i32);
    /// How often a stream with work is queried before it is done; 1 unless set.
    answer_after = "standin_answer_after"(questions: u64);
    /// The n-th launch will never end.
    hang_launch = "standin_hang_launch"(n: u64);
    /// The n-th launch will access memory that is not its own.
    crash_launch = "standin_crash_launch"(n: u64);
    launch_count = "standin_launches"() -> u64;
    violation_count = "standin_violations"() -> u64;
    plan_chunk_fault = "standin_chunk_fault"(kind: i32, nth: u64);
}

impl Standin {
    /// Waits for the tests before this one.
    pub fn take() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut standin = Self { library: library(), lost: (0, 0), _turn: turn };
        standin.reset();
        // What failed before has been looked at.
        let _ = gpu::release_memory();
        standin.lost = (standin.all_live(), standin.all_live_bytes());
        standin.set_memory(MEMORY);
        standin.run_ahead(0);
        standin.answer_after(1);
        standin.reset();
        standin
    }

    /// Objects that are alive.
    pub fn live(&self) -> u64 {
        self.all_live() - self.lost.0
    }

    /// Bytes of device memory that are allocated.
    pub fn live_bytes(&self) -> u64 {
        self.all_live_bytes() - self.lost.1
    }

    /// Sets how much memory the device has.
    pub fn set_memory(&self, bytes: u64) {
        self.set_all_memory(bytes + self.lost.1);
    }

    pub fn chunk_fault(&self, fault: ChunkFault, nth: u64) {
        self.plan_chunk_fault(fault as i32, nth);
    }

    fn text(&self, symbol: &str, n: u64) -> String {
        let mut text = [0u8; 500];
        // SAFETY: the type of the stand-in's function, and room for what it writes.
        let len = unsafe {
            let get = self
                .library
                .get::<unsafe extern "C" fn(u64, *mut c_char, usize) -> usize>(symbol)
                .expect(symbol);
            get(n, text.as_mut_ptr().cast(), text.len())
        };
        String::from_utf8_lossy(&text[..len.min(text.len() - 1)]).into_owned()
    }

    /// The name of the n-th call.
    pub fn call_name(&self, n: u64) -> String {
        self.text("standin_call_name", n)
    }

    /// What rules were broken.
    pub fn violations(&self) -> Vec<String> {
        (0..self.violation_count()).map(|n| self.text("standin_violation", n)).collect()
    }

    /// Of each launch: codec, direction, chunks, bytes of the longest and of all.
    pub fn launches(&self) -> Vec<[u64; 5]> {
        let launch = |n| {
            let mut launch = [0; 5];
            // SAFETY: the type of the stand-in's function, and room for what it writes.
            unsafe {
                let get = self
                    .library
                    .get::<unsafe extern "C" fn(u64, *mut [u64; 5])>("standin_launch")
                    .expect("standin_launch");
                get(n, &raw mut launch);
            }
            launch
        };
        (0..self.launch_count()).map(launch).collect()
    }
}
