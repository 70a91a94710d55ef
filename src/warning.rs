//! Warnings: what went well in the end, but not as it should have.

use std::cell::Cell;
use std::sync::OnceLock;

static HOOK: OnceLock<fn(&str)> = OnceLock::new();

/// Says who takes warnings; the first call counts. Without, they go to standard error.
pub fn set_hook(hook: fn(&str)) {
    HOOK.get_or_init(|| hook);
}

thread_local! {
    static WARNS: Cell<bool> = const { Cell::new(false) };
}

pub fn warn(text: &str) {
    // What a hook does may warn again, and so on without end.
    if WARNS.replace(true) {
        return;
    }
    match HOOK.get() {
        Some(hook) => hook(text),
        None => eprintln!("s4-codec: warning: {text}"),
    }
    WARNS.set(false);
}
