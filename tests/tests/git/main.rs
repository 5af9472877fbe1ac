//! Git from outside of a cluster: the client against real servers over http and ssh.

mod cache;
mod dialects;
mod hostile;
mod http;
mod kill;
mod proxy;
mod ssh;
mod stage;
mod submodules;
mod tls;
