//! What references a remote has. Only those that are asked for are kept, however many a server sends.

use std::collections::BTreeMap;

use gix::ObjectId;
use gix::protocol::handshake::Ref;
use gix::protocol::transport::client::blocking_io::{ReadlineBufRead, TransportV2Ext};

use super::words::{agent, failure};
use super::{Conversation, Step};
use crate::client::Error;
use crate::reference::Reference;

/// A reference as the remote lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What it points to: a commit or an annotated tag.
    pub target: ObjectId,
    /// The commit behind an annotated tag.
    pub peeled: Option<ObjectId>,
}

impl Listed {
    /// The commit.
    pub fn commit(self) -> ObjectId {
        self.peeled.unwrap_or(self.target)
    }
}

/// References by full name.
pub type Listing = BTreeMap<String, Listed>;

impl Conversation<'_> {
    /// The references that start with one of the prefixes.
    pub fn list(&mut self, prefixes: &[&str]) -> Result<Listing, Error> {
        let mut listing = Listing::new();
        self.each(prefixes, |name, listed| {
            if prefixes.iter().any(|prefix| name.starts_with(prefix)) {
                listing.insert(name.to_owned(), listed);
            }
        })?;
        Ok(listing)
    }

    /// Whether there are no references at all.
    pub fn is_empty(&mut self) -> Result<bool, Error> {
        let mut is_empty = true;
        self.each(&[], |_, _| is_empty = false)?;
        Ok(is_empty)
    }

    /// Goes through the references. Those that start with none of the prefixes may be among them.
    fn each(&mut self, prefixes: &[&str], mut take: impl FnMut(&str, Listed)) -> Result<(), Error> {
        if let Some(refs) = &self.handshake.refs {
            // The old protocol lists everything in the handshake.
            for (name, listed) in refs.iter().filter_map(advertised) {
                take(&name, listed);
            }
            return Ok(());
        }
        let (request, step, trouble, stop) = (self.request, self.step, &self.trouble, self.stop);
        let failed = |error: &dyn std::error::Error| failure(&request.remote, step, trouble, stop, error);
        let format = self.handshake.capabilities.capability("object-format");
        let format = format.and_then(|format| Some(("object-format", Some(format.value()?.to_string()))));
        let features = [Some(agent()), format].into_iter().flatten();
        let arguments = std::iter::once("peel".to_owned());
        let asked = prefixes.iter().map(|prefix| format!("ref-prefix {prefix}"));
        let arguments = arguments.chain(asked).map(Into::into);
        let mut reader = self
            .transport
            .invoke("ls-refs", features, Some(arguments), false)
            .map_err(|error| failed(&error))?;
        while let Some(line) = reader.readline() {
            let line = line.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
            let Some(line) = line.as_bstr() else { break };
            let line = String::from_utf8_lossy(line);
            match listed(line.trim_end()) {
                Some((name, listed)) => take(name, listed),
                None => return Err(failed(&std::io::Error::other("a reference cannot be understood"))),
            }
        }
        Ok(())
    }

    /// Whether a reference of the old protocol points to it.
    pub fn is_listed(&self, id: &ObjectId) -> bool {
        let refs = self.handshake.refs.iter().flatten();
        refs.filter_map(advertised)
            .any(|(_, listed)| listed.target == *id || listed.commit() == *id)
    }

    /// What to say about a reference that is not listed.
    pub fn missing(&mut self, name: &str) -> Error {
        match self.is_empty() {
            Err(error) => error,
            Ok(true) => self.empty(),
            Ok(false) => Error::Failed(match &self.request.reference {
                Reference::Name(name) => format!("unable to resolve ref '{name}' to a specific commit"),
                _ => format!(
                    "unable to clone '{}': couldn't find remote ref {name:?}",
                    self.request.remote
                ),
            }),
        }
    }

    /// What to say about a remote without references.
    pub fn empty(&self) -> Error {
        let remote = &self.request.remote;
        match (&self.request.reference, self.step) {
            (_, Step::List) => Error::Failed(format!(
                "unable to list remote for '{remote}': remote repository is empty"
            )),
            (Reference::Branch(_) | Reference::Any(_), Step::Clone) => Error::EmptyRepository,
            _ => Error::Failed(format!(
                "unable to clone: remote repository is empty: git repository: '{remote}'"
            )),
        }
    }
}

/// A reference of the old protocol.
fn advertised(found: &Ref) -> Option<(String, Listed)> {
    let (name, target, peeled) = match found {
        Ref::Direct { full_ref_name, object } => (full_ref_name, *object, None),
        Ref::Peeled {
            full_ref_name,
            tag,
            object,
        } => (full_ref_name, *tag, Some(*object)),
        Ref::Symbolic {
            full_ref_name,
            tag,
            object,
            ..
        } => (full_ref_name, tag.unwrap_or(*object), tag.map(|_| *object)),
        Ref::Unborn { .. } => return None,
    };
    Some((name.to_string(), Listed { target, peeled }))
}

/// A line of the new protocol: `ID NAME`, and what else there is to say; nothing if it cannot be understood.
pub fn listed(line: &str) -> Option<(&str, Listed)> {
    let mut words = line.split(' ');
    let target = ObjectId::from_hex(words.next()?.as_bytes()).ok()?;
    let name = words.next().filter(|name| !name.is_empty())?;
    let peeled = words.find_map(|word| word.strip_prefix("peeled:"));
    let peeled = match peeled {
        Some(id) => Some(ObjectId::from_hex(id.as_bytes()).ok()?),
        None => None,
    };
    Some((name, Listed { target, peeled }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name, and the first digit of the target and of what is behind it.
    fn check(line: &str, expected: Option<(&str, &str)>) {
        let line = line.replace("AAA", &"a".repeat(40)).replace("BBB", &"b".repeat(64));
        let digit = |id: ObjectId| id.to_string().chars().next().unwrap().to_string();
        let found = listed(&line);
        let found = found.map(|(name, listed)| {
            let peeled = listed.peeled.map(digit).unwrap_or_default();
            (name, digit(listed.target) + &peeled)
        });
        let found = found.as_ref().map(|(name, digits)| (*name, digits.as_str()));
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn a_line_names_a_reference() {
        check("AAA refs/heads/main", Some(("refs/heads/main", "a")));
        check("BBB refs/tags/v1 peeled:AAA", Some(("refs/tags/v1", "ba")));
        check("AAA HEAD symref-target:refs/heads/main", Some(("HEAD", "a")));
        check("AAA refs/tags/v1 x:y peeled:BBB", Some(("refs/tags/v1", "ab")));
        for line in ["", "AAA", "AAA ", "abc refs/heads/main", "AAA refs/tags/v1 peeled:x"] {
            check(line, None);
        }
    }
}
