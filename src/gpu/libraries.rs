//! Finds and loads libcuda and libnvcomp.
//!
//! libcuda: `S4_CUDA_LIBRARY`, else the system's loader. libnvcomp: `S4_NVCOMP_LIBRARY`, else
//! `NVCOMP_HOME/lib{64,}`, else an installed wheel `nvidia-libnvcomp-cu*`, else the system's
//! loader. Loaded libraries are never unloaded.

use std::env::var_os;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::driver::Driver;
use super::error::GpuError;
use super::library::Library;
use super::nvcomp::Nvcomp;

const CUDA: &str = "libcuda.so.1";
const NVCOMP: [&str; 3] = ["libnvcomp.so.6", "libnvcomp.so.5", "libnvcomp.so"];

/// Where the wheels put the library, within a folder of packages.
const IN_PACKAGES: &str = "nvidia/libnvcomp/lib64";

static PACKAGES: OnceLock<Vec<PathBuf>> = OnceLock::new();

/// Sets the folders where packages are installed; only the first call counts.
pub fn set_package_folders(folders: Vec<PathBuf>) {
    PACKAGES.get_or_init(|| folders);
}

/// Both libraries; the driver may find no GPU.
pub struct Libraries {
    pub driver: Driver,
    pub nvcomp: Nvcomp,
}

impl Libraries {
    pub fn load() -> Result<Self, GpuError> {
        Ok(Self { driver: driver()?, nvcomp: nvcomp()? })
    }
}

/// An environment variable, if it is set and not empty.
fn set(variable: &str) -> Option<OsString> {
    var_os(variable).filter(|value| !value.is_empty())
}

fn driver() -> Result<Driver, GpuError> {
    let (name, hint) = match set("S4_CUDA_LIBRARY") {
        Some(path) => (path, " (S4_CUDA_LIBRARY)"),
        None => (CUDA.into(), ""),
    };
    let library = open(&name)
        .map_err(|reason| GpuError::Absent(format!("no NVIDIA driver found{hint}: {reason}")))?;
    Driver::bind(library, &name.to_string_lossy())
}

fn nvcomp() -> Result<Nvcomp, GpuError> {
    if let Some(path) = set("S4_NVCOMP_LIBRARY") {
        return bind(Path::new(&path), " (S4_NVCOMP_LIBRARY)");
    }
    if let Some(home) = set("NVCOMP_HOME") {
        let folders = ["lib64", "lib"].map(|folder| Path::new(&home).join(folder));
        return match first_in(folders.iter().cloned()) {
            Some(path) => bind(&path, " (NVCOMP_HOME)"),
            None => Err(GpuError::Unavailable(format!(
                "NVCOMP_HOME is {}, but neither its lib64 nor its lib has {}",
                home.display(),
                NVCOMP.join(" or ")
            ))),
        };
    }
    let packages = PACKAGES.get().into_iter().flatten();
    if let Some(path) = first_in(packages.map(|folder| folder.join(IN_PACKAGES))) {
        return bind(&path, "");
    }
    for name in NVCOMP {
        if let Ok(library) = open(OsStr::new(name)) {
            return Nvcomp::bind(library, Path::new(name));
        }
    }
    Err(GpuError::Unavailable(
        "nvCOMP is not installed: run pip install 's4-codec[gpu]' (or '[gpu-cu13]'), or set \
         NVCOMP_HOME"
            .into(),
    ))
}

fn first_in(folders: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    let mut files = folders.flat_map(|folder| NVCOMP.map(|name| folder.join(name)));
    files.find(|path| path.exists())
}

fn bind(path: &Path, hint: &str) -> Result<Nvcomp, GpuError> {
    let library = open(path.as_os_str()).map_err(|reason| {
        GpuError::Unavailable(format!("nvCOMP cannot be loaded{hint}: {reason}"))
    })?;
    Nvcomp::bind(library, path)
}

/// Loads a library for good, or says why not. Unloading one that may have started threads or
/// registered handlers is not safe.
fn open(name: &OsStr) -> Result<&'static Library, String> {
    // SAFETY: loading runs the initialisers of NVIDIA's libraries, or of those that the user
    // named instead.
    let library = unsafe { Library::new(name) };
    library.map(|library| &*Box::leak(Box::new(library))).map_err(|error| {
        match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        }
    })
}
