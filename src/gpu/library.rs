//! Shared libraries: those of `libloading`, or none without the feature `nvcomp-gpu`.

#[cfg(feature = "nvcomp-gpu")]
pub use libloading::Library;

#[cfg(not(feature = "nvcomp-gpu"))]
pub use without::Library;

#[cfg(not(feature = "nvcomp-gpu"))]
mod without {
    use std::ffi::OsStr;

    /// There is no library.
    pub enum Library {}

    impl Library {
        /// # Safety
        /// Always safe: it only fails.
        pub unsafe fn new(_name: &OsStr) -> Result<Self, std::io::Error> {
            Err(std::io::Error::other("built without the feature nvcomp-gpu"))
        }

        /// # Safety
        /// Always safe: it cannot be called.
        pub unsafe fn get<T>(&self, _name: &str) -> Result<&T, std::io::Error> {
            match *self {}
        }
    }
}
