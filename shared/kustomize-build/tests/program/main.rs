//! The program as people call it: a process of its own with real files, and real servers on this machine.

mod call;
mod command_line;
mod remote_bases;
