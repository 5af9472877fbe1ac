//! The objects of a build in their order, with indexes by identity so that no look-up walks the list.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::{Behavior, Id, Key, ORIGIN, Resource};
use crate::error::Problems;
use crate::{Error, Touch};

type Index = HashMap<Key, Places>;

/// Positions of objects; nearly always of one.
#[derive(Clone, Debug)]
enum Places {
    One(usize),
    Several(Vec<usize>),
}

impl Places {
    fn as_slice(&self) -> &[usize] {
        match self {
            Places::One(at) => std::slice::from_ref(at),
            Places::Several(all) => all,
        }
    }
}

/// Adds a position, the highest so far.
fn note(index: &mut Index, key: Key, at: usize) {
    match index.entry(key) {
        Entry::Vacant(free) => {
            free.insert(Places::One(at));
        }
        Entry::Occupied(mut taken) => match taken.get_mut() {
            places if places.as_slice().last() == Some(&at) => {}
            Places::Several(all) => all.push(at),
            Places::One(first) => *taken.get_mut() = Places::Several(vec![*first, at]),
        },
    }
}

/// Objects in order. No two have the same identity, except where upstream does not look either: between a transformer that
/// renames and the next step that collects.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resources {
    list: Vec<Resource>,
    current: OnceCell<Index>,
    any: OnceCell<Index>,
}

impl Resources {
    /// The objects.
    pub fn iter(&self) -> std::slice::Iter<'_, Resource> {
        self.list.iter()
    }

    /// The objects, to change.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, Resource> {
        self.touch();
        self.list.iter_mut()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The object at a position.
    pub fn get(&self, index: usize) -> Option<&Resource> {
        self.list.get(index)
    }

    /// The object at a position, to change.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut Resource> {
        self.touch();
        self.list.get_mut(index)
    }

    /// The object at a position, to change in anything but its identity, present or past.
    pub fn body_mut(&mut self, index: usize) -> Option<&mut Resource> {
        self.list.get_mut(index)
    }

    /// The list itself, given away.
    pub fn into_list(self) -> Vec<Resource> {
        self.list
    }

    /// These objects, unchecked.
    pub fn from_list(list: Vec<Resource>) -> Self {
        Self {
            list,
            ..Self::default()
        }
    }

    /// Forgets the indexes: an identity may have changed.
    pub fn touch(&mut self) {
        self.current.take();
        self.any.take();
    }

    fn current(&self) -> &Index {
        self.current.get_or_init(|| {
            let mut index = Index::new();
            for (at, resource) in self.list.iter().enumerate() {
                note(&mut index, resource.id().key(), at);
            }
            index
        })
    }

    fn any(&self) -> &Index {
        self.any.get_or_init(|| {
            let mut index = Index::new();
            for (at, resource) in self.list.iter().enumerate() {
                add_any(&mut index, at, resource);
            }
            index
        })
    }

    /// Positions of the objects that have this identity now.
    pub fn with_id(&self, id: &Id) -> &[usize] {
        self.current().get(&id.key()).map_or(&[], Places::as_slice)
    }

    /// Positions of the objects that have or had this identity.
    pub fn with_any_id(&self, id: &Id) -> &[usize] {
        self.any().get(&id.key()).map_or(&[], Places::as_slice)
    }

    /// Adds an object.
    ///
    /// # Errors
    /// When one of its identity is there.
    pub fn append(&mut self, resource: Resource) -> Result<(), Error> {
        let id = resource.id();
        let key = id.key();
        if self.current().contains_key(&key) {
            return Err(self.conflict(&id, &resource));
        }
        let at = self.list.len();
        if let Some(index) = self.current.get_mut() {
            note(index, key, at);
        }
        if let Some(index) = self.any.get_mut() {
            add_any(index, at, &resource);
        }
        self.list.push(resource);
        Ok(())
    }

    /// Adds all objects of another set.
    ///
    /// # Errors
    /// When an identity is already there.
    pub fn append_all(&mut self, other: Resources) -> Result<(), Error> {
        let mut problems = Problems::default();
        for resource in other.list {
            problems.note(self.append(resource))?;
        }
        problems.finish()
    }

    /// Adds a generated object, or merges it into or puts it in place of the one it names, as its behavior says.
    ///
    /// # Errors
    /// When the behavior asks for an object that is not there, or the other way round.
    pub fn absorb(&mut self, mut resource: Resource, author: &Arc<Touch>) -> Result<(), Error> {
        let id = resource.id();
        let behavior = resource.memory.behavior;
        let at = match (self.with_any_id(&id), behavior) {
            ([], Behavior::Merge | Behavior::Replace) => {
                return Err(Error::new(format!("id {id} does not exist; cannot merge or replace")));
            }
            ([], Behavior::Unspecified | Behavior::Create) => return self.append(resource),
            ([at], Behavior::Merge | Behavior::Replace) => *at,
            ([_], Behavior::Unspecified | Behavior::Create) => {
                return Err(Error::new(format!(
                    "id {id} exists; can not use behavior: '{}', behavior must be merge or replace",
                    behavior.name()
                )));
            }
            (_, _) => {
                return Err(Error::new(format!(
                    "found multiple objects that could accept merge of {id}"
                )));
            }
        };
        let Some(old) = self.list.get(at) else { return Ok(()) };
        resource.take_metadata_of(old)?;
        if behavior == Behavior::Merge {
            resource.merge_data_of(old);
            if let Some(origin) = old.annotation(ORIGIN) {
                resource.set_annotation(ORIGIN, &origin)?;
            }
            resource.place.clone_from(&old.place);
        }
        resource.touched_by.clone_from(&old.touched_by);
        resource.touch(author);
        if self.with_id(&resource.id()) != [at] {
            return Err(Error::new(format!(
                "cannot find resource with id {} to replace",
                resource.id()
            )));
        }
        self.touch();
        if let Some(slot) = self.list.get_mut(at) {
            *slot = resource;
        }
        Ok(())
    }

    /// Drops the objects that were deleted or emptied.
    pub fn drop_empty(&mut self) {
        if self.list.iter().any(|resource| resource.node.is_empty()) {
            self.list.retain(|resource| !resource.node.is_empty());
            self.touch();
        }
    }

    /// Drops the objects that are configuration for the build itself.
    pub fn drop_local_config(&mut self) {
        self.list.retain(|resource| !resource.is_local_config());
        self.touch();
    }

    /// Checks that every object has a kind and a name.
    ///
    /// # Errors
    /// Names every object that has not.
    pub fn check_identities(&self) -> Result<(), Error> {
        let mut problems = Problems::default();
        for resource in &self.list {
            let checked = resource.check_identity();
            problems.note(checked.map_err(|error| error.in_origin(resource.place.as_ref())))?;
        }
        problems.finish()
    }

    /// Checks that no two objects have the same identity.
    ///
    /// # Errors
    /// Names every identity that is there again.
    pub fn check_unique(&mut self) -> Result<(), Error> {
        self.touch();
        let mut problems = Problems::default();
        for (at, resource) in self.list.iter().enumerate() {
            let id = resource.id();
            if self.with_id(&id).first() != Some(&at) {
                problems.note::<()>(Err(self.conflict(&id, resource)))?;
            }
        }
        problems.finish()
    }

    /// The error of an object whose identity another one has.
    fn conflict(&self, id: &Id, resource: &Resource) -> Error {
        let mut message = format!("may not add resource with an already registered id: {id}");
        let first = self.with_id(id).first().and_then(|at| self.get(*at));
        if let Some(origin) = first.and_then(|first| first.place.as_ref()) {
            message.push_str(&format!(", which is also in {origin}"));
        }
        Error::new(message).about(resource).in_origin(resource.place.as_ref())
    }
}

fn add_any(index: &mut Index, at: usize, resource: &Resource) {
    if resource.node.is_empty() {
        return;
    }
    for id in resource.previous_ids().chain(std::iter::once(resource.id())) {
        note(index, id.key(), at);
    }
}
