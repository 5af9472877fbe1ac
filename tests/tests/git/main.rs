//! Git from outside of a cluster: the client against real servers over http and ssh.

mod http;
mod ssh;
mod stage;
mod submodules;
