//! Tests that leave their process in a state that no other test may meet.

use std::env::{self, current_exe};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const CASE: &str = "S4_TEST_CASE";

/// What a process may take at most, its exit included.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs each of `cases` of the test `name` in a process of its own, which has to end well.
pub fn in_own_processes(name: &str, settings: &[(&str, &str)], cases: usize, run: impl Fn(usize)) {
    if let Ok(case) = env::var(CASE) {
        return run(case.parse().expect("the number of a case"));
    }
    for case in 0..cases {
        let mut child = Command::new(current_exe().expect("the path of this program"))
            .args([name, "--exact"])
            .env(CASE, case.to_string())
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let started = Instant::now();
        while child.try_wait().expect("its status").is_none() {
            if started.elapsed() > LIMIT {
                child.kill().expect("it ends");
                panic!("case {case} still runs after {LIMIT:?}");
            }
            sleep(Duration::from_millis(5));
        }
        let done = child.wait_with_output().expect("what it said");
        let said = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success(), "case {case}: {said}");
    }
}
