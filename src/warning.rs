//! Warnings: what went well in the end, but not as it should have.

use std::sync::OnceLock;

static HOOK: OnceLock<fn(&str)> = OnceLock::new();

/// Says who takes warnings; the first call counts. Without, they go to standard error.
pub fn set_hook(hook: fn(&str)) {
    HOOK.get_or_init(|| hook);
}

pub fn warn(text: &str) {
    match HOOK.get() {
        Some(hook) => hook(text),
        None => eprintln!("s4-codec: warning: {text}"),
    }
}
