//! Sharing the keys of one text: the same few names come again and again.

use std::cell::RefCell;

use super::Name;

/// How many names are looked out for. With more, some are kept twice.
const PLACES: usize = 256;

/// Names that were given out.
pub(super) struct Names(RefCell<Vec<Option<Name>>>);

impl Names {
    /// None yet.
    pub fn new() -> Self {
        Self(RefCell::new(vec![None; PLACES]))
    }

    /// The name of this text, the one that was given out before if it is still known.
    pub fn of(&self, text: &str) -> Name {
        let hash = text.bytes().fold(text.len(), |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(usize::from(byte))
        });
        let mut places = self.0.borrow_mut();
        let Some(place) = places.get_mut(hash % PLACES) else {
            return text.into();
        };
        if let Some(name) = place.as_ref().filter(|name| ***name == *text) {
            return name.clone();
        }
        let name = Name::from(text);
        *place = Some(name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_given_out_again_until_another_takes_its_place() {
        let names = Names::new();
        let first = names.of("spec");
        assert!(Name::ptr_eq(&first, &names.of("spec")));
        for number in 0..10 * PLACES {
            assert_eq!(&*names.of(&number.to_string()), number.to_string());
        }
        assert_eq!(names.of("spec"), first);
    }
}
