//! For build scripts: how our programs are linked.
//!
//! A program that may lie anywhere in memory is adjusted by the loader when it starts, at tens of thousands of places. The usual
//! table of them has 24 bytes for each, which are read at every start and stay in memory; packed, it has a hundredth of
//! that.
//!
//! What this does not do: choose a linker, or change what is compiled.

use std::{env, fs};

/// The loader of x86-64, a fixed path of its ABI.
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
/// What a loader that knows packed tables has among its names: the version that a program with one asks for.
const KNOWS: &[u8] = b"GLIBC_ABI_DT_RELR";

/// Tells Cargo to give the package's programs a packed table of relocations. Loaders know those since glibc 2.36: where the
/// one of this machine does not, or where the program is built for another machine, the table stays as it is.
pub fn pack_relocations() {
    println!("cargo::rerun-if-changed={LOADER}");
    let target = env::var("TARGET").unwrap_or_default();
    let is_native = env::var("HOST").is_ok_and(|host| host == target);
    if is_native && target == "x86_64-unknown-linux-gnu" && knows_packed_tables() {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

fn knows_packed_tables() -> bool {
    fs::read(LOADER).is_ok_and(|loader| loader.windows(KNOWS.len()).any(|name| name == KNOWS))
}
