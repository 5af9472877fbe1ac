//! The whole way, with all the real parts: a commit is pushed, becomes an artifact, is applied, pruned and announced;
//! and then the same with parts that are killed, away, broken or hostile. Whatever happened, in the end the cluster
//! equals Git, nothing of others was touched, and every message arrived.

mod config;
mod fault_api_server;
mod fault_git;
mod fault_kill;
mod fault_receiver;
mod fault_store;
mod git_push;
mod stage;
