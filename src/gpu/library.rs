//! Loading of shared libraries: `libloading`'s, or none without the feature `nvcomp-gpu`.

#[cfg(feature = "nvcomp-gpu")]
pub use libloading::Library;

#[cfg(not(feature = "nvcomp-gpu"))]
pub use without::Library;

#[cfg(not(feature = "nvcomp-gpu"))]
mod without {
    use std::ffi::OsStr;

    /// No library was ever loaded.
    pub enum Library {}

    impl Library {
        /// # Safety
        /// Nothing is done.
        pub unsafe fn new(_name: &OsStr) -> Result<Self, std::io::Error> {
            Err(std::io::Error::other("built without the feature nvcomp-gpu"))
        }

        /// # Safety
        /// Never called.
        pub unsafe fn get<T>(&self, _name: &str) -> Result<&T, std::io::Error> {
            match *self {}
        }
    }
}
