//! What a Secret holds under one name.

/// An entry of the Secret with the keys.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it holds.
    pub content: &'a [u8],
}
