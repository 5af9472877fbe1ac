//! How much is done for one object before it is given up.
//!
//! To check a signature takes longer than to write one down that is not valid, and who fills the Secret and the repository may
//! write down as many as fit: copies of a key, subkeys that a signature names, signatures on each of them. All of them together
//! have one allowance. Once it is used up nothing passes any more, and what was found until then does not count.

use std::cell::Cell;

/// The most signatures that are checked for one object. A key that was made longer every year and has some addresses and
/// subkeys takes about ten.
pub const MAX_CHECKS: usize = 512;
/// As many bytes of an object take about as long to hash as a signature takes to check.
const BYTES: usize = 1 << 20;

/// What is left of the allowance; nothing once more was wanted than that.
#[derive(Debug)]
pub struct Effort(Cell<Option<usize>>);

impl Effort {
    /// All of it.
    pub fn new() -> Self {
        Self(Cell::new(Some(MAX_CHECKS)))
    }

    /// Whether a check that has so many bytes to hash is made and passed.
    pub fn passes<T, E>(&self, bytes: usize, check: impl FnOnce() -> Result<T, E>) -> bool {
        let left = self.0.get().and_then(|left| left.checked_sub(1 + bytes / BYTES));
        self.0.set(left);
        left.is_some() && check().is_ok()
    }

    /// Whether a check was wanted that was not made any more.
    pub fn is_over(&self) -> bool {
        self.0.get().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[usize], expected: (usize, bool)) {
        let effort = Effort::new();
        let passed = bytes.iter().filter(|bytes| effort.passes(**bytes, || Ok::<_, ()>(())));
        assert_eq!((passed.count(), effort.is_over()), expected);
    }

    #[test]
    fn checks_pass_while_there_is_something_left() {
        check(&[], (0, false));
        check(&[0; MAX_CHECKS], (MAX_CHECKS, false));
        check(&[0; MAX_CHECKS + 1], (MAX_CHECKS, true));
    }

    #[test]
    fn what_is_long_counts_for_many() {
        check(&[BYTES - 1; 3], (3, false));
        check(&[BYTES * (MAX_CHECKS - 1)], (1, false));
        check(&[BYTES * (MAX_CHECKS - 1), 0], (1, true));
        check(&[BYTES * MAX_CHECKS, 0], (0, true));
        assert!(!Effort::new().passes(0, || Err::<(), _>("not valid")));
    }
}
