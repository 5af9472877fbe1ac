//! `lifeline PROGRAM [ARGUMENT…]` becomes PROGRAM, which the kernel kills with SIGKILL when the process that started
//! it dies. It forwards nothing and supervises nothing: the process id stays the same.

use std::os::unix::process::{CommandExt, parent_id};
use std::process::{Command, ExitCode};

use rustix::process::{Signal, set_parent_process_death_signal};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(program) = arguments.next() else {
        eprintln!("usage: lifeline PROGRAM [ARGUMENT…]");
        return ExitCode::from(2);
    };
    let parent = parent_id();
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        eprintln!("lifeline: cannot tie the process to its parent: {error}");
        return ExitCode::FAILURE;
    }
    if parent == 1 || parent_id() != parent {
        // The parent died before it could be watched.
        return ExitCode::FAILURE;
    }
    let error = Command::new(&program).args(arguments).exec();
    eprintln!("lifeline: cannot start {}: {error}", program.display());
    ExitCode::from(127)
}
