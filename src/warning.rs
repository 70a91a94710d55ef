//! Warnings: the call succeeds, but the user should know how.

use std::cell::Cell;
use std::sync::OnceLock;

use crate::error::Result;

/// Takes warnings; an error is a warning that the caller made one of.
pub type Hook = fn(&str) -> Result<()>;

static HOOK: OnceLock<Hook> = OnceLock::new();

/// Sets what takes warnings; only the first call counts. Without one, they go to standard error.
pub fn set_hook(hook: Hook) {
    HOOK.get_or_init(|| hook);
}

thread_local! {
    static WARNS: Cell<bool> = const { Cell::new(false) };
}

/// Warns; where a filter of the caller's makes an error of the warning, it is returned.
pub fn warn(text: &str) -> Result<()> {
    // What a hook does may warn again, and so on without end.
    if WARNS.replace(true) {
        return Ok(());
    }
    let warned = match HOOK.get() {
        Some(hook) => hook(text),
        None => {
            eprintln!("s4-codec: warning: {text}");
            Ok(())
        }
    };
    WARNS.set(false);
    warned
}
