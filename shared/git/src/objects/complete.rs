//! Whether all of a commit is there. It is looked into wherever a server was told that something is there already: from a server
//! that is mistaken, or that remembers a history other than the one that was rewritten, something may be missing.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gix::ObjectId;
use gix::objs::{Kind, TreeRefIter};

use crate::pack::{Error, Packs, Reader};

/// Whether the trees below a commit's tree are there with all that they name. Files are not read.
pub fn is_complete(packs: &Arc<Packs>, tree: ObjectId, interrupt: &AtomicBool) -> Result<bool, Error> {
    let mut reader = Reader::new(Arc::clone(packs));
    let (mut seen, mut left, mut buffer) = (HashSet::from([tree]), vec![tree], Vec::new());
    while let Some(id) = left.pop() {
        if interrupt.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        match reader.object(&id, &mut buffer) {
            Ok(Kind::Tree) => {}
            Ok(_) | Err(Error::Missing(_)) => return Ok(false),
            Err(error) => return Err(error),
        }
        for entry in TreeRefIter::from_bytes(&buffer, id.kind()) {
            let entry = entry.map_err(|error| Error::Damaged(error.to_string()))?;
            let id = entry.oid.to_owned();
            if entry.mode.is_tree() {
                if seen.insert(id) {
                    left.push(id);
                }
            } else if !entry.mode.is_commit() && !packs.contains(&id) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
