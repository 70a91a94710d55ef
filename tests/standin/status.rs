//! Status codes of the driver API and of nvCOMP.

use std::ffi::{CStr, c_int};

pub const INVALID_VALUE: c_int = 1;
pub const OUT_OF_MEMORY: c_int = 2;
pub const NOT_INITIALIZED: c_int = 3;
pub const NO_DEVICE: c_int = 100;
pub const INVALID_DEVICE: c_int = 101;
pub const INVALID_CONTEXT: c_int = 201;
pub const INVALID_PTX: c_int = 218;
pub const INVALID_HANDLE: c_int = 400;
pub const NOT_FOUND: c_int = 500;
pub const NOT_READY: c_int = 600;
pub const ILLEGAL_ADDRESS: c_int = 700;
pub const UNKNOWN: c_int = 999;

const NAMES: [(c_int, &CStr); 16] = [
    (0, c"CUDA_SUCCESS"),
    (INVALID_VALUE, c"CUDA_ERROR_INVALID_VALUE"),
    (OUT_OF_MEMORY, c"CUDA_ERROR_OUT_OF_MEMORY"),
    (NOT_INITIALIZED, c"CUDA_ERROR_NOT_INITIALIZED"),
    (NO_DEVICE, c"CUDA_ERROR_NO_DEVICE"),
    (INVALID_DEVICE, c"CUDA_ERROR_INVALID_DEVICE"),
    (200, c"CUDA_ERROR_INVALID_IMAGE"),
    (INVALID_CONTEXT, c"CUDA_ERROR_INVALID_CONTEXT"),
    (INVALID_PTX, c"CUDA_ERROR_INVALID_PTX"),
    (INVALID_HANDLE, c"CUDA_ERROR_INVALID_HANDLE"),
    (NOT_FOUND, c"CUDA_ERROR_NOT_FOUND"),
    (NOT_READY, c"CUDA_ERROR_NOT_READY"),
    (ILLEGAL_ADDRESS, c"CUDA_ERROR_ILLEGAL_ADDRESS"),
    (716, c"CUDA_ERROR_MISALIGNED_ADDRESS"),
    (719, c"CUDA_ERROR_LAUNCH_FAILED"),
    (UNKNOWN, c"CUDA_ERROR_UNKNOWN"),
];

/// What the driver calls one of its codes.
pub fn name(status: c_int) -> Option<&'static CStr> {
    NAMES.iter().find(|(code, _)| *code == status).map(|(_, name)| *name)
}

/// nvCOMP's codes, for calls and for chunks.
pub mod nvcomp {
    pub const INVALID_VALUE: i32 = 10;
    pub const NOT_SUPPORTED: i32 = 11;
    pub const CANNOT_DECOMPRESS: i32 = 12;
    pub const OUTPUT_TOO_SMALL: i32 = 15;
    pub const ALIGNMENT: i32 = 17;
    pub const CHUNK_TOO_LARGE: i32 = 18;
    pub const CANNOT_COMPRESS: i32 = 19;
    pub const CUDA_ERROR: i32 = 1000;
}
