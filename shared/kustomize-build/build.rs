//! How the program is linked.

fn main() {
    linking::pack_relocations();
}
